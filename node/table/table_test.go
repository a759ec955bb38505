package table

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestATableWithoutAPrimaryKeyIsRefused(t *testing.T) {
	c := testConfig()
	c.Primary = nil
	if err := NewStore().Definition().Check(c); err == nil || !strings.Contains(err.Error(), "PRIMARY KEY") {
		t.Fatal(err)
	}
	if err := NewStore().Definition().Check(testConfig()); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyNetWeightsCountAndOfSeveralInsertsTheLast(t *testing.T) {
	for _, try := range []struct {
		rows []change
		want string // value of key 1 that was "xx" before; "-" gone
	}{
		{[]change{{1, 1, "x"}}, "x"},
		{[]change{{-1, 1, "xx"}}, "-"},
		{[]change{{-1, 1, "xx"}, {1, 1, "x"}}, "x"},
		{[]change{{1, 1, "x"}, {-1, 1, "xx"}}, "x"},
		{[]change{{-1, 1, "xx"}, {1, 1, "xx"}}, "xx"},
		{[]change{{1, 1, "x"}, {-1, 1, "x"}}, "xx"},
		{[]change{{-1, 1, "xx"}, {1, 1, "x"}, {-1, 1, "x"}}, "-"},
		{[]change{{-1, 1, "xx"}, {1, 1, "x"}, {-1, 1, "x"}, {1, 1, "xxx"}}, "xxx"},
		{[]change{{1, 1, "xxx"}, {1, 1, "x"}}, "x"},
		{[]change{{1, 1, "xxx"}, {1, 1, "x"}, {-1, 1, "x"}}, "xxx"},
		{[]change{{-1, 1, "x"}, {1, 1, "x"}, {-1, 1, "x"}}, "-"},
	} {
		s := NewStore()
		l := openLane(t, s, testAll)
		write(t, l, testAll, 1, change{1, 1, "xx"})
		write(t, l, testAll, 2, try.rows...)
		commit(t, l, 2)
		want := change{1, 1, try.want}.row() + "\n"
		if try.want == "-" {
			want = ""
		}
		if got := read(t, s, testAll, 2); got != want {
			t.Errorf("%v: %q, want %q", try.rows, got, want)
		}
	}
}

func TestWhatIsVisibleDoesNotDependOnHowEmptyEpochsAreCut(t *testing.T) {
	for _, seed := range []uint64{1, 2} {
		m, random := newModel(), rand.New(rand.NewPCG(seed, 9))
		for range 20 {
			m.write(m.random(random, 10))
			m.write(nil)
		}
		want := ""
		for _, cut := range []int{0, 1, 3, 1000} {
			s := NewStore()
			l, first := openLane(t, s, testAll), topology.Epoch(1)
			for e := topology.Epoch(1); e <= m.last(); e++ {
				if m.rows[e] == nil && int(e-first) < cut && e < m.last() {
					continue
				}
				if err := l.Write(first, e, views(m.rows[e], testAll, nil)); err != nil {
					t.Fatal(err)
				}
				first = e + 1
			}
			if err := l.End(); err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for e := topology.Epoch(1); e <= m.last(); e++ {
				all.WriteString(read(t, s, testAll, e) + "--\n")
			}
			if want == "" {
				want = all.String()
			}
			if all.String() != want {
				t.Fatalf("with up to %d empty epochs in a range:\n%s\nwant\n%s", cut, all.String(), want)
			}
		}
	}
}

func TestValuesOfAllTypesAreShownAsJSON(t *testing.T) {
	schema := batch.NewSchema(
		batch.Field{Name: "k", Type: batch.TypeString.AsNotNull()}, batch.Field{Name: "b", Type: batch.TypeBoolean},
		batch.Field{Name: "d", Type: batch.DecimalOf(30, 2)}, batch.Field{Name: "f", Type: batch.TypeDouble}, batch.Field{Name: "y", Type: batch.TypeBytes},
		batch.Field{Name: "day", Type: batch.TypeDate}, batch.Field{Name: "at", Type: batch.TypeTimestamp}, batch.Field{Name: "ltz", Type: batch.TypeTimestampLTZ},
		batch.Field{Name: "a", Type: batch.ArrayOf(batch.TypeInt)}, batch.Field{Name: "m", Type: batch.MapOf(batch.TypeString, batch.TypeDouble)},
		batch.Field{Name: "r", Type: batch.RowOf(batch.Field{Name: "x", Type: batch.TypeInt}, batch.Field{Name: "y", Type: batch.TypeString})})
	b := batch.New(schema)
	for _, null := range []bool{false, true} {
		b.Cols[0].AppendString(fmt.Sprintf("null %v", null))
		for i := 1; null && i < len(b.Cols); i++ {
			b.Cols[i].AppendNull()
		}
		if !null {
			b.Cols[1].AppendBool(true)
			b.Cols[2].AppendDec(batch.Dec{Hi: 1, Lo: 5})
			b.Cols[3].AppendFloat64(math.NaN())
			b.Cols[4].AppendBytes([]byte{0, 255})
			b.Cols[5].AppendInt64(1)
			b.Cols[6].AppendInt64(1)
			b.Cols[7].AppendInt64(-1)
			b.Cols[8].Children[0].AppendInt64(-3)
			b.Cols[8].Children[0].AppendNull()
			b.Cols[8].CloseList()
			b.Cols[9].Children[0].AppendString("p")
			b.Cols[9].Children[1].AppendFloat64(0.5)
			b.Cols[9].CloseList()
			b.Cols[10].Children[0].AppendInt64(7)
			b.Cols[10].Children[1].AppendString("\"")
			b.Cols[10].CloseRow()
		}
		b.EndRow(batch.Insert)
	}
	s := NewStore()
	made, err := s.Definition().NewSink(connector.Config{Table: "t", Schema: schema, Primary: []int{0}, Query: testQuery})
	if err != nil {
		t.Fatal(err)
	}
	lane, err := made.(connector.RangeSink).OpenRange(context.Background(), topology.Range{To: 1})
	if err != nil {
		t.Fatal(err)
	}
	again, err := made.(connector.RangeSink).OpenRange(context.Background(), topology.Range{To: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := lane.Write(1, 1, []connector.Rows{{Batch: b, To: 2}}); err != nil {
		t.Fatal(err)
	}
	if err := again.(connector.Keeper).Apply(0, lane.(connector.Keeper).AppendDelta(nil, 0, 0, topology.EpochForever), 1); err != nil {
		t.Fatal(err)
	}
	want := `{"k":"null false","b":true,"d":184467440737095516.21,"f":"NaN","y":"AP8=","day":"1970-01-02","at":"1970-01-01T00:00:00.001","ltz":"1969-12-31T23:59:59.999Z",` +
		`"a":[-3,null],"m":{"p":0.5},"r":{"x":7,"y":"\""}}` + "\n" +
		`{"k":"null true","b":null,"d":null,"f":null,"y":null,"day":null,"at":null,"ltz":null,"a":null,"m":null,"r":null}` + "\n"
	for _, l := range []connector.Lane{lane, again} {
		commit(t, l.(connector.Keeper), 1)
		if got := read(t, s, topology.Range{To: 1}, 1); got != want {
			t.Fatalf("%s\nwant\n%s", got, want)
		}
	}
}

func TestReadsAreWholeEpochsWhileTheTableIsWritten(t *testing.T) {
	s := NewStore()
	l := openLane(t, s, testAll)
	commit(t, l, 0)
	const keys, epochs = 3000, 30
	done := make(chan struct{})
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() {
			for newest := topology.Epoch(0); ; {
				got, err := s.Read(context.Background(), Request{Query: testQuery, Table: "t", Range: testAll, Where: "n > 0"})
				if err != nil || got.Epoch < newest || got.Epoch > 0 && len(got.Rows) != keys {
					t.Errorf("epoch %d after %d: %d rows, %v", got.Epoch, newest, len(got.Rows), err)
					return
				}
				newest = got.Epoch
				for i := 1; i < len(got.Rows); i++ { // in an epoch all rows have the same value
					if _, one, _ := strings.Cut(string(got.Rows[i].Values), `"n":`); !strings.HasSuffix(string(got.Rows[0].Values), `"n":`+one) {
						t.Errorf("epoch %d holds %s and %s", newest, got.Rows[0].Values, got.Rows[i].Values)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for e := topology.Epoch(1); e <= epochs; e++ {
		rows := make([]change, keys)
		for k := range rows {
			rows[k] = change{1, int64(k), strings.Repeat("x", int(e))}
		}
		write(t, l, testAll, e, rows...)
		commit(t, l, e)
		l.Acknowledge(e)
		l.Trim(e)
	}
	close(done)
	wait.Wait()
}

func TestLimitsHoldAndAreTold(t *testing.T) {
	s := NewStore()
	l := openLane(t, s, testAll)
	big := strings.Repeat("x", 10<<20)
	for k := range int64(8) {
		write(t, l, testAll, topology.Epoch(k+1), change{1, k, big})
	}
	commit(t, l, 8)
	r := Request{Query: testQuery, Table: "t", Range: testAll}
	_, err := s.Read(context.Background(), r)
	if large := (*TooLargeError)(nil); !errors.As(err, &large) {
		t.Fatal(err)
	}
	r.Limit = 2
	if got, err := s.Read(context.Background(), r); err != nil || len(got.Rows) != 2 {
		t.Fatal(len(got.Rows), err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Read(ctx, r); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestATailShowsEveryVisibleChangeOnce(t *testing.T) {
	s := NewStore()
	l := openLane(t, s, testAll)
	write(t, l, testAll, 1, change{1, 1, "a"}, change{1, 2, "b"})
	commit(t, l, 1)
	follower := s.Hub().Follow(testQuery, "t")
	defer follower.Close()
	write(t, l, testAll, 2, change{-1, 1, "a"}, change{1, 1, "aa"})
	write(t, l, testAll, 3, change{-1, 1, "aa"}, change{1, 3, "c"}, change{1, 2, "b"})
	write(t, l, testAll, 4, change{1, 1, "d"})
	commit(t, l, 3)
	next := func() string {
		e, err := follower.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d", e.Epoch)
		for _, c := range e.Changes {
			text += " " + c.Op + string(c.Row)
		}
		if e.Ended {
			text += " ended"
		}
		return text
	}
	expect := func(want ...string) {
		t.Helper()
		if got := next(); len(got) != len(strings.Join(want, " ")) || !func() bool {
			for _, w := range want {
				if !strings.Contains(got, w) {
					return false
				}
			}
			return true
		}() {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	expect("2", "-U"+change{1, 1, "a"}.row(), "+U"+change{1, 1, "aa"}.row())
	expect("3", "-D"+change{1, 1, "aa"}.row(), "+I"+change{1, 3, "c"}.row())
	if err := l.End(); err != nil {
		t.Fatal(err)
	}
	expect("4", "+I"+change{1, 1, "d"}.row())
	expect("0", "ended")
	for range 2 {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := follower.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	follower.Close()
	if _, err := follower.Next(context.Background()); !errors.Is(err, tail.ErrClosed) || len(s.tables) != 0 {
		t.Fatal(err, s.tables)
	}
}

func TestASlowFollowerOfATableIsToldWhatItMissed(t *testing.T) {
	s := NewStore()
	s.Hub().BytesMax = 1 << 20
	l := openLane(t, s, testAll)
	follower := s.Hub().Follow(testQuery, "t")
	defer follower.Close()
	const epochs = 40
	for e := topology.Epoch(1); e <= epochs; e++ {
		write(t, l, testAll, e, change{1, int64(e), strings.Repeat("x", 100<<10)})
		commit(t, l, e)
	}
	if err := l.End(); err != nil {
		t.Fatal(err)
	}
	shown, dropped := 0, int64(0)
	for {
		e, err := follower.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if e.Ended {
			break
		}
		shown, dropped = shown+len(e.Changes), dropped+e.Dropped
	}
	if shown == 0 || shown > 10 || shown+int(dropped) != epochs {
		t.Fatalf("%d rows shown, %d dropped, of %d", shown, dropped, epochs)
	}
}

// TestVersionsAndDeletedKeysLeaveMemory: what was trimmed takes no room.
func TestVersionsAndDeletedKeysLeaveMemory(t *testing.T) {
	s := NewStore()
	l := openLane(t, s, testAll)
	const keys = 2000
	var most int64
	for e := topology.Epoch(1); e < 200; e++ {
		rows := make([]change, 0, keys)
		for k := range int64(keys) {
			if k%10 == int64(e)%10 {
				rows = append(rows, change{-1, k, "x"})
			} else if k%10 == int64(e+1)%10 {
				rows = append(rows, change{1, k, "yy"})
			}
		}
		write(t, l, testAll, e, rows...)
		commit(t, l, e)
		if e%4 == 0 {
			l.Acknowledge(e)
			l.Trim(e)
		}
		if info := s.Tables()[0]; e > 20 {
			most = max(most, info.Bytes)
			if info.Rows > keys {
				t.Fatalf("%d rows", info.Rows)
			}
		}
	}
	if most > keys*150 {
		t.Fatalf("%d bytes for %d keys", most, keys)
	}
	t.Logf("%d bytes for %d keys", most, keys)
}

func FuzzApply(f *testing.F) {
	l := openLane(f, NewStore(), testAll)
	write(f, l, testAll, 1, change{1, 1, "a"}, change{1, 2, ""}, change{1, 300, "ccc"}, change{1, 4, "d"}, change{1, 55, "e"})
	write(f, l, testAll, 2, change{-1, 1, "a"}, change{1, 2, "b"})
	for g := range topology.KeyGroup(testGroups) {
		for _, from := range []topology.Epoch{0, 1} {
			delta := l.AppendDelta(nil, g, from, 2)
			f.Add(delta)
			f.Add(delta[:len(delta)/2])
		}
	}
	head := binary.LittleEndian.AppendUint64([]byte{1, 0}, newLayout(testSchema, []int{1}).fingerprint())
	f.Add(head)
	f.Add(append(head, 0xff, 0xff, 0xff, 0xff, 0x0f))
	f.Fuzz(func(t *testing.T, delta []byte) {
		s := NewStore()
		l := openLane(t, s, testAll)
		write := rowsOf([]change{{1, 1, "a"}})
		if err := l.Write(1, 1, []connector.Rows{{Batch: write, To: 1}}); err != nil {
			t.Fatal(err)
		}
		before := l.AppendDelta(nil, 0, 0, topology.EpochForever)
		base := openLane(t, s, testAll)
		if err := base.Apply(0, before, 1); err != nil {
			t.Fatal(err)
		}
		err := base.Apply(0, delta, 2)
		after := base.AppendDelta(nil, 0, 0, topology.EpochForever)
		if corrupt := (*CorruptError)(nil); err != nil && (!errors.As(err, &corrupt) || string(after) != string(before)) {
			t.Fatalf("%v, and the table changed", err)
		}
		if err == nil && len(delta) > 1 && delta[1] == 1 && string(after) != string(delta) {
			t.Fatalf("a base %x came back as %x", delta, after)
		}
		commit(t, base, 2)
		read(t, s, testAll, 2)
	})
}

// BenchmarkPut writes 1 M keys of two columns in 256 key groups again and again, an epoch of 10,000 rows at a time, a checkpoint every 128.
func BenchmarkPut(b *testing.B) {
	schema := batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt.AsNotNull()}, batch.Field{Name: "n", Type: batch.TypeBigInt})
	const keys, groups, epochRows = 1 << 20, 256, 10_000
	s := NewStore()
	made, err := s.Definition().NewSink(connector.Config{Table: "t", Schema: schema, Primary: []int{0}, Query: testQuery})
	if err != nil {
		b.Fatal(err)
	}
	opened, err := made.(connector.RangeSink).OpenRange(context.Background(), topology.Range{To: groups})
	if err != nil {
		b.Fatal(err)
	}
	l := opened.(connector.Keeper)
	var prepared [][]connector.Rows
	for from := 0; from < keys; from += epochRows {
		batches := make([]*batch.Batch, groups)
		for i := range batches {
			batches[i] = batch.New(schema)
		}
		for k := from; k < min(from+epochRows, keys); k++ {
			var key [9]byte
			key[0] = 1
			binary.BigEndian.PutUint64(key[1:], uint64(k)^1<<63)
			at := batches[topology.GroupOf(batch.HashKey(key[:]), groups)]
			at.Cols[0].AppendInt64(int64(k))
			at.Cols[1].AppendInt64(int64(k) * 7)
			at.EndRow(batch.Insert)
		}
		var rows []connector.Rows
		for g, at := range batches {
			rows = append(rows, connector.Rows{Batch: at, To: at.Len(), Group: topology.KeyGroup(g)})
		}
		prepared = append(prepared, rows)
	}
	e := topology.Epoch(0)
	epoch := func() {
		e++
		rows := prepared[int(e)%len(prepared)]
		for _, r := range rows { // another value each time
			for i := range r.Batch.Cols[1].Int64s {
				r.Batch.Cols[1].Int64s[i]++
			}
		}
		if err := l.Write(e, e, rows); err != nil {
			b.Fatal(err)
		}
		if err := l.Commit(e); err != nil {
			b.Fatal(err)
		}
		if e%128 == 0 {
			l.Acknowledge(e)
			l.Trim(e)
		}
	}
	for range prepared {
		epoch()
	}
	fresh := s.Tables()[0].Bytes
	for range 2 * len(prepared) {
		epoch()
	}
	for b.Loop() {
		epoch()
	}
	b.ReportMetric(float64(fresh)/keys, "fresh-B/key")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/epochRows, "ns/row")
	b.ReportMetric(float64(s.Tables()[0].Bytes)/keys, "B/key")
}
