package state

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
)

const benchGroups = 256

// benchRows is rows of a keyed count as a key group's operator sees them: of one table at a time, as an epoch's batch that is
// sorted by key group gives them.
type benchRows struct {
	hashes []uint64
	keys   []byte // bigintKeyLen each
	ints   []int64
	ends   [benchGroups]int // of each group's rows
}

func newBenchRows(keys, rows int, seed uint64) *benchRows {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var by [benchGroups][]int64
	var key [bigintKeyLen]byte
	key[0] = 1
	for range rows {
		v := rnd.Int64N(int64(keys))
		binary.BigEndian.PutUint64(key[1:], uint64(v)^1<<63)
		g := batch.HashKey(key[:]) % benchGroups
		by[g] = append(by[g], v)
	}
	b := &benchRows{}
	for g := range by {
		for _, v := range by[g] {
			binary.BigEndian.PutUint64(key[1:], uint64(v)^1<<63)
			b.hashes, b.keys, b.ints = append(b.hashes, batch.HashKey(key[:])), append(b.keys, key[:]...), append(b.ints, v)
		}
		b.ends[g] = len(b.hashes)
	}
	return b
}

func newBenchTables() []*Table {
	tables := make([]*Table, benchGroups)
	for i := range tables {
		tables[i] = NewTable([]batch.Type{batch.TypeBigInt})
		tables[i].Begin(1)
	}
	return tables
}

func (b *benchRows) count(tables []*Table) {
	row := 0
	for g, end := range b.ends {
		t := tables[g]
		for ; row < end; row++ {
			slot, _ := t.Upsert(b.hashes[row], b.keys[row*bigintKeyLen:row*bigintKeyLen+bigintKeyLen])
			t.Int64s(0)[slot]++
		}
	}
}

func (b *benchRows) countRuns(tables []*Table, u *Upserts) {
	row := 0
	for g, end := range b.ends {
		t := tables[g]
		t.UpsertInt64s(u, b.hashes[row:end], b.ints[row:end])
		counts := t.Int64s(0)
		for _, slot := range u.Slots {
			counts[slot]++
		}
		row = end
	}
}

func BenchmarkUpsertAndAdd(b *testing.B) {
	const rows = 1 << 20
	for _, perTable := range []int{400, 4_000, 40_000} {
		keys := perTable * benchGroups
		data := newBenchRows(keys, rows, 7)
		b.Run(fmt.Sprintf("table/%d_keys_per_table", perTable), func(b *testing.B) {
			tables := newBenchTables()
			fill := newBenchRows(keys, 2*keys, 8)
			fill.count(tables)
			data.count(tables)
			runtime.GC()
			b.ResetTimer()
			for range b.N {
				data.count(tables)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
		b.Run(fmt.Sprintf("run/%d_keys_per_table", perTable), func(b *testing.B) {
			tables := newBenchTables()
			newBenchRows(keys, 2*keys, 8).count(tables)
			runtime.GC()
			b.ResetTimer()
			var u Upserts
			for range b.N {
				data.countRuns(tables, &u)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
		b.Run(fmt.Sprintf("gomap/%d_keys_per_table", perTable), func(b *testing.B) {
			maps := make([]map[int64]int64, benchGroups)
			for g := range maps {
				maps[g] = map[int64]int64{}
			}
			count := func(rows *benchRows) {
				row := 0
				for g, end := range rows.ends {
					for ; row < end; row++ {
						maps[g][rows.ints[row]]++
					}
				}
			}
			count(newBenchRows(keys, 2*keys, 8))
			count(data)
			runtime.GC()
			b.ResetTimer()
			for range b.N {
				count(data)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/row")
		})
	}
}

func BenchmarkInsertNewKeys(b *testing.B) {
	for _, keys := range []int{100_000, 1_000_000} {
		data := newBenchRows(keys*8, keys, 9)
		b.Run(fmt.Sprintf("table/%d", keys), func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				data.count(newBenchTables())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/row")
		})
	}
}

func benchTable(keys int) *Table {
	t := NewTable([]batch.Type{batch.TypeBigInt, batch.TypeString})
	t.Begin(1)
	rnd := rand.New(rand.NewPCG(1, 1))
	for range keys {
		key := bigKey(rnd.Int64N(int64(keys) * benchGroups))
		slot, _ := t.Upsert(batch.HashKey(key), key)
		t.Int64s(0)[slot] = rnd.Int64N(1000)
		t.SetBytes(1, slot, key)
	}
	return t
}

func BenchmarkRestore(b *testing.B) {
	t := benchTable(40_000)
	encoded := t.AppendBase(nil)
	b.SetBytes(int64(len(encoded)))
	b.ReportAllocs()
	for range b.N {
		if err := NewTable(t.types).Apply(encoded); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(t.Len())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mkeys/s")
}

func BenchmarkDelta(b *testing.B) {
	t := benchTable(40_000)
	var dst []byte
	b.ReportAllocs()
	for range b.N {
		dst = t.AppendDelta(dst[:0], 0)
	}
	b.ReportMetric(float64(t.Len())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mkeys/s")
	b.ReportMetric(float64(len(dst))/float64(t.Len()), "B/key")
}

func BenchmarkTouchedAndAcknowledged(b *testing.B) {
	t := benchTable(40_000)
	slots := t.Sorted(nil, nil)
	epoch := t.epoch
	for range b.N {
		epoch++
		t.Begin(epoch)
		for _, slot := range slots {
			t.Touch(slot)
		}
		t.Acknowledge(epoch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(slots)), "ns/key")
}

// Run by hand: SEEPNODE_BENCH_GC=1 go test -run TestLongestStepWithTenMillionKeys -v. It prints the longest epoch of 10,000
// rows while the tables grow to 10 M keys and while they hold them, with a collection always under way in the second part.
func TestLongestStepWithTenMillionKeys(t *testing.T) {
	if os.Getenv("SEEPNODE_BENCH_GC") == "" {
		t.Skip("run by hand with SEEPNODE_BENCH_GC=1")
	}
	const keys, step = 10_000_000, 10_000
	tables := newBenchTables()
	var upserts Upserts
	run := func(name string, steps int, draw func(i int) int64) {
		took := make([]time.Duration, 0, steps)
		for s := range steps {
			rows := &benchRows{}
			var by [benchGroups][]int64
			for i := range step {
				v := draw(s*step + i)
				by[batch.HashKey(bigKey(v))%benchGroups] = append(by[batch.HashKey(bigKey(v))%benchGroups], v)
			}
			for g := range by {
				for _, v := range by[g] {
					rows.ints = append(rows.ints, v)
					rows.hashes = append(rows.hashes, batch.HashKey(bigKey(v)))
				}
				rows.ends[g] = len(rows.hashes)
			}
			start := time.Now()
			rows.countRuns(tables, &upserts)
			took = append(took, time.Since(start))
		}
		slices.Sort(took)
		t.Logf("%s: %d epochs of %d rows: median %v, p99 %v, longest %v", name, steps, step, took[steps/2], took[steps*99/100], took[steps-1])
	}
	run("growing", keys/step, func(i int) int64 { return int64(i) })
	rnd := rand.New(rand.NewPCG(3, 3))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				runtime.GC()
			}
		}
	}()
	run("held, always collecting", 1000, func(int) int64 { return rnd.Int64N(keys) })
	close(stop)
	<-done
	bytes := 0
	for _, tab := range tables {
		bytes += tab.MemBytes()
	}
	var stats debug.GCStats
	debug.ReadGCStats(&stats)
	start := time.Now()
	runtime.GC()
	t.Logf("%d MB in tables, %.1f B/key; a full collection takes %v, the longest stop of the world was %v",
		bytes>>20, float64(bytes)/keys, time.Since(start), slices.Max(stats.Pause))
}

func BenchmarkSnapshot(b *testing.B) {
	for _, keys := range []int{1_000_000, 10_000_000} {
		const touched = 128_000
		groups := make([]*Group, benchGroups)
		for i := range groups {
			groups[i] = NewGroup()
			if _, err := groups[i].Register("t", []batch.Type{batch.TypeBigInt}); err != nil {
				b.Fatal(err)
			}
			groups[i].Begin(1)
		}
		touch := func(v int64) {
			key := bigKey(v)
			hash := batch.HashKey(key)
			t := groups[hash%benchGroups].tables[0]
			slot, _ := t.Upsert(hash, key)
			t.Int64s(0)[slot]++
		}
		for v := range keys {
			touch(int64(v))
		}
		for _, g := range groups {
			g.Acknowledge(1)
			g.Begin(2)
		}
		rnd := rand.New(rand.NewPCG(4, 4))
		for range touched {
			touch(rnd.Int64N(int64(keys)))
		}
		snapshots := make([]Snapshot, benchGroups)
		var dst []byte
		each := func(name string, f func(i int, g *Group)) {
			eachCold(b, fmt.Sprintf("%s/keys=%d", name, keys), groups, touched, f)
		}
		each("take", func(i int, g *Group) { g.Snapshot(&snapshots[i], 1) })
		each("encode", func(i int, _ *Group) { dst = snapshots[i].Append(dst[:0]) })
		each("delta", func(_ int, g *Group) { dst = g.AppendDelta(dst[:0], 1) })
	}
}

// eachCold measures what f takes for a key, of so many in all groups, when nothing of them is in the processor's caches.
func eachCold(b *testing.B, name string, groups []*Group, keys float64, f func(i int, g *Group)) {
	cold := make([]byte, 64<<20)
	b.Run(name, func(b *testing.B) {
		for range b.N {
			b.StopTimer()
			for i := range cold {
				cold[i]++
			}
			b.StartTimer()
			for i, g := range groups {
				f(i, g)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
	})
}

// BenchmarkSnapshotOfAll is of a keyed count and two sums of which every key has changed.
func BenchmarkSnapshotOfAll(b *testing.B) {
	const keys = 1_000_000
	groups := make([]*Group, benchGroups)
	for i := range groups {
		groups[i] = NewGroup()
		if _, err := groups[i].Register("t", []batch.Type{batch.TypeBigInt, batch.TypeBigInt, batch.TypeBigInt}); err != nil {
			b.Fatal(err)
		}
		groups[i].Begin(1)
	}
	rnd := rand.New(rand.NewPCG(4, 4))
	for _, v := range rnd.Perm(keys) {
		key := bigKey(int64(v))
		hash := batch.HashKey(key)
		t := groups[hash%benchGroups].tables[0]
		slot, _ := t.Upsert(hash, key)
		for c := range 3 {
			t.Int64s(c)[slot] = rnd.Int64N(50_000)
		}
	}
	snapshots := make([]Snapshot, benchGroups)
	var dst []byte
	each := func(name string, f func(i int, g *Group)) { eachCold(b, name, groups, keys, f) }
	each("copy", func(i int, g *Group) { g.SnapshotBase(&snapshots[i]) })
	each("encode", func(i int, _ *Group) { dst = snapshots[i].Append(dst[:0]) })
}
