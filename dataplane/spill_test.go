package dataplane

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// openSpill makes a spill in a directory of its own that had a file of an earlier process, and closes it with the test: nothing is left then.
func openSpill(t *testing.T, c SpillConfig) *Spill {
	t.Helper()
	c.Dir = filepath.Join(t.TempDir(), "spill")
	if err := errors.Join(os.Mkdir(c.Dir, 0o700), os.WriteFile(filepath.Join(c.Dir, "old.spill"), []byte("of an earlier process"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if c.DiskBytes == 0 {
		c.DiskBytes = 1 << 30
	}
	s, err := NewSpill(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.Close(), s.Close()); err != nil {
			t.Error(err)
		}
		if left := spillFiles(t, s); len(left) > 0 {
			t.Errorf("files are left: %v", left)
		}
	})
	return s
}

func spillFiles(t *testing.T, s *Spill) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(s.config.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// spillSchema has a column of every physical kind that is not nested.
var spillSchema = batch.NewSchema(batch.Field{Name: "i", Type: batch.TypeBigInt}, batch.Field{Name: "f", Type: batch.TypeDouble},
	batch.Field{Name: "b", Type: batch.TypeBoolean}, batch.Field{Name: "s", Type: batch.TypeString})

// someRows are rows for key groups of 8 from key groups of 4, in canonical order.
func someRows(r *rand.Rand) *Rows {
	out := &Rows{Batch: batch.New(spillSchema), Offsets: []uint32{0}}
	for g := range topology.KeyGroup(8) {
		for p := range topology.KeyGroup(4) {
			for range r.IntN(4) {
				c := out.Batch.Cols
				if c[0].AppendInt64(r.Int64()); r.IntN(5) == 0 {
					c[1].AppendNull()
				} else {
					c[1].AppendFloat64(r.NormFloat64())
				}
				c[2].AppendBool(r.IntN(2) == 0)
				c[3].AppendBytes(bytes.Repeat([]byte{byte(r.Uint32())}, r.IntN(30)))
				out.Batch.EndRow(int8(1 - 2*r.IntN(2)))
				out.run(p)
			}
		}
		if n := uint32(out.Batch.Len()); n > out.Offsets[len(out.Offsets)-1] {
			out.Groups, out.Offsets = append(out.Groups, g), append(out.Offsets, n)
		}
	}
	return out
}

// spelled is all that an entry is, its rows as frames of one consumer range.
func spelled(t *testing.T, e Entry) string {
	t.Helper()
	var enc FrameEncoder
	var out []byte
	for _, r := range e.Rows {
		var err error
		if out, err = enc.AppendFrame(out, &Frame{Header: FrameHeader{Producer: everyGroup, Consumer: everyGroup}, Rows: r, Producers: r.Producers}, 0, r.Batch.Len()); err != nil {
			t.Fatal(err)
		}
	}
	e.Rows = nil
	return fmt.Sprintf("%+v %x", e, out)
}

// TestWhatWentToDiskIsReadBackAsItWasAndGoesWhenItIsTrimmed: rows that the log gives back are written over at once, so that nobody can still need them.
func TestWhatWentToDiskIsReadBackAsItWasAndGoesWhenItIsTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 7))
		s := openSpill(t, SpillConfig{MemoryBytes: 1, SegmentBytes: 8 << 10})
		recycled := 0
		l := NewLog(1, roomy, true, func(x *Rows) {
			recycled++
			x.Reset()
		}, nil)
		l.SpillTo(s)
		active, err := l.Subscribe(1, 1, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		const epochs = 200
		want := map[topology.Epoch]string{}
		for e := topology.Epoch(1); e <= epochs; e++ {
			entry := Entry{First: e, Last: e, Watermark: int64(e), ChainSum: r.Uint64(), Range: topology.Range{From: 0, To: 4}}
			for range r.IntN(3) {
				if rows := someRows(r); rows.Batch.Len() > 0 {
					entry.Rows = append(entry.Rows, rows)
				}
			}
			want[e] = spelled(t, entry)
			l.Append(entry)
			if got, ok := active.Next(); !ok || spelled(t, got) != want[e] {
				t.Fatalf("epoch %d from memory: %v %+v", e, ok, got)
			}
			active.Ack(e)
			synctest.Wait()
		}
		if n := l.HeldBytes(); n != epochs*entryBytes || s.Stats().MemoryBytes != n {
			t.Errorf("%d bytes in memory, %d counted", n, s.Stats().MemoryBytes)
		}
		if l.SpilledBytes() == 0 || recycled == 0 || len(spillFiles(t, s)) < 3 {
			t.Fatalf("%d bytes on disk, %d pieces given back, files %v", l.SpilledBytes(), recycled, spillFiles(t, s))
		}
		for _, from := range []topology.Epoch{1, 50, epochs} {
			c, err := l.Subscribe(2, from, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			for e := from; e <= epochs; e++ {
				got, ok := c.Next()
				if !ok { // it is on its way
					synctest.Wait()
					got, ok = c.Next()
				}
				if !ok || spelled(t, got) != want[e] {
					t.Fatalf("epoch %d from disk: %v %v\n%s\n%s", e, ok, c.Err(), spelled(t, got), want[e])
				}
			}
			c.Close()
		}
		had := len(spillFiles(t, s))
		l.Trim(epochs / 2)
		synctest.Wait()
		if now := len(spillFiles(t, s)); now == 0 || now >= had {
			t.Errorf("files after half was trimmed: %d of %d", now, had)
		}
		l.Trim(epochs)
		synctest.Wait()
		if left := spillFiles(t, s); len(left) > 0 || l.SpilledBytes() != 0 || l.HeldBytes() != 0 || s.Stats().MemoryBytes != 0 || s.Stats().DiskBytes != 0 {
			t.Errorf("everything is trimmed: files %v, %d bytes of the log, %+v", left, l.SpilledBytes(), s.Stats())
		}
	})
}

// TestALogThatIsDroppedGivesUpItsFiles, also while something is read from them.
func TestALogThatIsDroppedGivesUpItsFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpill(t, SpillConfig{MemoryBytes: 1})
		l := spilledLog(t, s, 50)
		c, err := l.Subscribe(2, 1, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Next()
		l.Drop(ErrNotYet)
		synctest.Wait()
		if _, ok := c.Next(); ok || !errors.Is(c.Err(), ErrNotYet) {
			t.Errorf("read from what was dropped: %v, %v", ok, c.Err())
		}
		if left := spillFiles(t, s); len(left) > 0 || s.Stats().MemoryBytes != 0 || s.Stats().DiskBytes != 0 {
			t.Errorf("files %v, %+v", left, s.Stats())
		}
	})
}

// spilledLog is a log whose entries 1 to n, each of a row of its own number, have been consumed and are on disk.
func spilledLog(t *testing.T, s *Spill, n topology.Epoch) *Log {
	t.Helper()
	l := NewLog(1, roomy, true, nil, nil)
	l.SpillTo(s)
	active, err := l.Subscribe(1, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for e := topology.Epoch(1); e <= n; e++ {
		l.Append(full(e, e, int64(e)))
		active.Ack(e)
	}
	l.Append(Entry{First: n + 1, Last: n + 1, Watermark: int64(n)})
	synctest.Wait()
	return l
}

// Nobody holds the log back for a reader that is no active one: it is trimmed while an entry is read from disk for it.
func TestAReaderWhoseLogIsTrimmedUnderItIsToldSo(t *testing.T) {
	const epochs = 10
	for _, through := range []topology.Epoch{epochs, epochs + 1} {
		synctest.Test(t, func(t *testing.T) {
			l := spilledLog(t, openSpill(t, SpillConfig{MemoryBytes: 1}), epochs)
			c, err := l.Subscribe(2, 1, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			if e, ok := c.Next(); ok {
				t.Fatalf("entry %d was in memory", e.Last)
			}
			synctest.Wait()
			e, ok := c.Next()
			before := c.Before()
			if !ok || e.Last != 1 {
				t.Fatalf("read %d, %v", e.Last, ok)
			}
			l.cursors[0].Ack(epochs + 1)
			l.Trim(through)
			synctest.Wait()
			if got := c.Before(); got != before {
				t.Errorf("before the entry that it has the stream stood %+v, %+v by now", before, got)
			}
			var trimmed *TrimmedError
			if e, ok := c.Next(); ok || !errors.As(c.Err(), &trimmed) || trimmed.Floor != through+1 {
				t.Errorf("trimmed through %d: read %d, %v, error %v", through, e.Last, ok, c.Err())
			}
		})
	}
}

// TestADamagedRecordIsNeverReadAsRows: who asks is told to restore anew, and when that is an active subscriber the log's process is told which file it is.
func TestADamagedRecordIsNeverReadAsRows(t *testing.T) {
	const epochs = 20
	damages := map[string]func(t *testing.T, file string, content []byte){
		"a bit":    func(t *testing.T, file string, content []byte) { content[len(content)/2] ^= 4 },
		"cut":      func(t *testing.T, file string, content []byte) { clear(content[len(content)/2:]) },
		"exchange": func(t *testing.T, file string, content []byte) { copy(content[len(content)/2:], content) },
	}
	for name, damage := range damages {
		for _, active := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, active %v", name, active), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var told []error
					s := openSpill(t, SpillConfig{MemoryBytes: 1, Damaged: func(err error) { told = append(told, err) }})
					l := spilledLog(t, s, epochs)
					files := spillFiles(t, s)
					content, err := os.ReadFile(files[0])
					if err != nil {
						t.Fatal(err)
					}
					damage(t, files[0], content)
					if err := os.WriteFile(files[0], content, 0o600); err != nil {
						t.Fatal(err)
					}
					c, err := l.Subscribe(2, 1, active, nil)
					if err != nil {
						t.Fatal(err)
					}
					at := topology.Epoch(1)
					for ; ; at++ {
						c.Next()
						synctest.Wait()
						if c.Err() != nil {
							break
						}
						if c.Position() == at { // that asked for it
							if e, ok := c.Next(); !ok || e.Last != at || e.Rows[0].Batch.Cols[0].Int64s[0] != int64(at) {
								t.Fatalf("epoch %d is %+v", at, e)
							}
						}
					}
					var trimmed *TrimmedError
					if !errors.As(c.Err(), &trimmed) || at > epochs || trimmed.From > trimmed.Floor {
						t.Errorf("at epoch %d: %v", at, c.Err())
					}
					if len(told) != map[bool]int{true: 1}[active] {
						t.Fatalf("told %v", told)
					}
					if active && !strings.Contains(told[0].Error(), files[0]+" at offset ") {
						t.Errorf("%v does not say where", told[0])
					}
				})
			})
		}
	}
}

// TestAPeersSubscriptionToWhatIsDamagedIsAnsweredWithTRIMMED.
func TestAPeersSubscriptionToWhatIsDamagedIsAnsweredWithTRIMMED(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openSpill(t, SpillConfig{MemoryBytes: 1})
		source := spilledLog(t, s, 20)
		for _, f := range spillFiles(t, s) {
			if err := os.Truncate(f, 1); err != nil {
				t.Fatal(err)
			}
		}
		ca, cb := pair(t)
		a := NewLink(ca, LinkConfig{Cluster: 5, Self: "a", Peer: "b", Credit: 1 << 20, Resolve: func(Stream) (*Log, error) { return source, nil }})
		b := NewLink(cb, LinkConfig{Cluster: 5, Self: "b", Peer: "a", Credit: 1 << 20, Resolve: func(Stream) (*Log, error) { return nil, errors.New("nothing here") }})
		c := b.Subscribe(edge(), 1, 0, false, oneColumn, nil)
		stop := running(t, a, b)
		synctest.Wait()
		var trimmed *TrimmedError
		if _, ok := c.Next(); ok || !errors.As(c.Err(), &trimmed) || trimmed.Floor != 2 {
			t.Errorf("got rows: %v, error %v", ok, c.Err())
		}
		stop()
	})
}

// smallDisk is a disk that takes so many bytes a file, and writes when it is let.
type smallDisk struct {
	room atomic.Int64
	turn chan struct{} // nil: always
}

type smallFile struct {
	*os.File
	disk *smallDisk
}

func (d *smallDisk) create(dir string) (SpillFile, error) {
	f, err := os.CreateTemp(dir, "*")
	return smallFile{f, d}, err
}

func (f smallFile) WriteAt(b []byte, at int64) (int, error) {
	if f.disk.turn != nil {
		<-f.disk.turn
	}
	if room := max(0, f.disk.room.Load()-at); int64(len(b)) > room {
		n, err := f.File.WriteAt(b[:room], at)
		return n, errors.Join(err, syscall.ENOSPC)
	}
	return f.File.WriteAt(b, at)
}

// TestAFullDiskLeavesEverythingInMemoryAndGoesOnWhenThereIsRoom.
func TestAFullDiskLeavesEverythingInMemoryAndGoesOnWhenThereIsRoom(t *testing.T) {
	for _, limited := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			d := &smallDisk{}
			d.room.Store(1000)
			c := SpillConfig{MemoryBytes: 1, Create: d.create}
			if limited {
				d.room.Store(1 << 30)
				c.DiskBytes = 1000
			}
			s := openSpill(t, c)
			const epochs = 100
			l := spilledLog(t, s, epochs)
			st := s.Stats()
			if st.Full == nil || st.Limited != limited || !limited && !errors.Is(st.Full, syscall.ENOSPC) || !s.Pressed() || st.DiskBytes > 1000 {
				t.Fatalf("%+v, pressed %v", st, s.Pressed())
			}
			s.mu.Lock()
			all := len(s.all)
			s.mu.Unlock()
			time.Sleep(10 * spillRetry) // it tries again and again, and leaves no file behind each time
			if left := spillFiles(t, s); len(left) > all+1 {
				t.Errorf("%d files", len(left))
			}
			if limited {
				l.Trim(epochs - 10)
			} else {
				d.room.Store(1 << 30)
			}
			time.Sleep(spillRetry)
			synctest.Wait()
			if st := s.Stats(); st.Full != nil || l.SpilledBytes() == 0 {
				t.Errorf("there is room: %+v, %d bytes of the log", st, l.SpilledBytes())
			}
			reads(t, l, l.Floor(), epochs)
		})
	}
}

// TestFilesLeaveTheReserveOfTheFileSystemToOthers, and goes on when these have given room back.
func TestFilesLeaveTheReserveOfTheFileSystemToOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const reserve = 1 << 20
		var others atomic.Uint64 // what they leave
		var broken atomic.Bool
		var s *Spill
		s = openSpill(t, SpillConfig{MemoryBytes: 1, ReserveBytes: reserve, Free: func() (uint64, error) {
			if broken.Load() {
				return 0, syscall.EIO
			}
			return others.Load() - uint64(s.disk.Load()), nil
		}})
		others.Store(reserve + 1000)
		const epochs = 100
		l := spilledLog(t, s, epochs)
		most := uint64(0)
		for e := topology.Epoch(epochs + 2); e <= 2*epochs; e++ { // one by one, so that it is not all refused at once
			l.Append(full(e, e, int64(e)))
			l.cursors[0].Ack(e)
			synctest.Wait()
			most = max(most, uint64(s.disk.Load()))
		}
		if st := s.Stats(); !errors.Is(st.Full, syscall.ENOSPC) || st.Limited || most > 1000 || !s.Pressed() {
			t.Fatalf("%d bytes on disk: %+v, pressed %v", most, st, s.Pressed())
		}
		broken.Store(true)
		time.Sleep(2 * spillRetry)
		if st := s.Stats(); !errors.Is(st.Full, syscall.ENOSPC) && !errors.Is(st.Full, syscall.EIO) {
			t.Errorf("nobody can say what is left: %+v", st)
		}
		broken.Store(false)
		others.Store(reserve + 1<<20)
		time.Sleep(2 * spillRetry)
		synctest.Wait()
		if st := s.Stats(); st.Full != nil || l.SpilledBytes() <= 1000 {
			t.Errorf("there is room: %+v, %d bytes of the log", st, l.SpilledBytes())
		}
		reads(t, l, 1, epochs)
	})
}

// TestWhatConsumersAreDoneWithGoesToDiskAlsoWhenNothingIsAppendedAnyMore, however they come to be done with it: sources that stand still because memory is
// short append nothing.
func TestWhatConsumersAreDoneWithGoesToDiskAlsoWhenNothingIsAppendedAnyMore(t *testing.T) {
	const epochs = 20
	for name, done := range map[string]func(*Log, *Cursor){
		"acknowledged": func(_ *Log, c *Cursor) {
			for e := topology.Epoch(1); e <= epochs; e++ {
				c.Ack(e)
			}
		},
		"gone":            func(_ *Log, c *Cursor) { c.Close() },
		"no longer to be": func(l *Log, _ *Cursor) { l.Expect([]uint64{2}) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openSpill(t, SpillConfig{MemoryBytes: epochs*entryBytes + 1})
				l := NewLog(1, roomy, true, nil, nil)
				l.SpillTo(s)
				active, err := l.Subscribe(1, 1, true, nil)
				if err != nil {
					t.Fatal(err)
				}
				for e := topology.Epoch(1); e <= epochs; e++ {
					l.Append(full(e, e, int64(e)))
				}
				synctest.Wait()
				if !s.Pressed() || l.SpilledBytes() != 0 {
					t.Fatalf("pressed %v, %d bytes on disk", s.Pressed(), l.SpilledBytes())
				}
				relief, stop := s.Relief()
				defer stop()
				done(l, active)
				synctest.Wait()
				if s.Pressed() || l.SpilledBytes() == 0 {
					t.Errorf("pressed %v, %d bytes on disk", s.Pressed(), l.SpilledBytes())
				}
				select {
				case <-relief:
				default:
					t.Error("nobody is told")
				}
			})
		})
	}
}

// TestWhoWaitsForMemoryIsToldEachTimeThatItIsBackAtItsLimit, and not before.
func TestWhoWaitsForMemoryIsToldEachTimeThatItIsBackAtItsLimit(t *testing.T) {
	s := MemorySpill(100)
	relief, stop := s.Relief()
	for _, c := range []struct {
		bytes int64
		told  bool
	}{{100, false}, {-50, false}, {60, false}, {-9, false}, {-1, true}, {1, false}, {20, false}, {-100, true}, {-21, false}} {
		s.keep(c.bytes)
		select {
		case <-relief:
			if !c.told {
				t.Errorf("told at %d bytes after %d", s.Stats().MemoryBytes, c.bytes)
			}
		default:
			if c.told {
				t.Errorf("not told at %d bytes after %d", s.Stats().MemoryBytes, c.bytes)
			}
		}
	}
	stop()
	s.keep(200)
	s.keep(-200)
	if len(relief) > 0 || len(s.relief) > 0 {
		t.Error("told after the end")
	}
}

// reads holds what a new subscriber reads of a spilledLog against what was put into it.
func reads(t *testing.T, l *Log, from, to topology.Epoch) {
	t.Helper()
	c, err := l.Subscribe(3, from, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for at := from; at <= to; at++ {
		e, ok := c.Next()
		if !ok {
			synctest.Wait()
			e, ok = c.Next()
		}
		if !ok || e.Last != at || e.Rows[0].Batch.Cols[0].Int64s[0] != int64(at) {
			t.Fatalf("epoch %d is %+v, %v", at, e, c.Err())
		}
	}
}

// TestASlowDiskHoldsNobodyUp: while a write hangs, entries are appended, acknowledged, read and trimmed, also those that are being written.
func TestASlowDiskHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &smallDisk{turn: make(chan struct{})}
		d.room.Store(1 << 30)
		s := openSpill(t, SpillConfig{MemoryBytes: 1, Create: d.create})
		l := spilledLog(t, s, 100) // the first write hangs
		if l.SpilledBytes() != 0 {
			t.Fatal("something is on disk")
		}
		reads(t, l, 1, 100)
		l.Trim(50)
		for e := topology.Epoch(102); e <= 150; e++ {
			l.Append(full(e, e, int64(e)))
			l.cursors[0].Ack(e) // the active one
		}
		close(d.turn)
		synctest.Wait()
		if l.SpilledBytes() == 0 {
			t.Error("nothing is on disk")
		}
		reads(t, l, 51, 100)
		reads(t, l, 102, 150)
		l.Trim(150)
		synctest.Wait()
		if left := spillFiles(t, s); len(left) > 0 || s.Stats().MemoryBytes != 0 || s.Stats().DiskBytes != 0 {
			t.Errorf("files %v, %+v", left, s.Stats())
		}
	})
}

// TestReadersWritersAndTrimsAtOnceNeverGiveOtherRows runs logs of a node on real goroutines: what is read is what was put in, from memory or disk,
// and rows that are given back are written over at once. Whose log is trimmed under it is told so, and nothing else is told.
func TestReadersWritersAndTrimsAtOnceNeverGiveOtherRows(t *testing.T) {
	s := openSpill(t, SpillConfig{MemoryBytes: 4 << 10, SegmentBytes: 16 << 10})
	const epochs = 3000
	var wg sync.WaitGroup
	var fromDisk, trims atomic.Int64
	for n := range uint64(3) {
		l := NewLog(1, roomy, true, func(r *Rows) {
			for i := range r.Batch.Cols[0].Int64s {
				r.Batch.Cols[0].Int64s[i] = -1
			}
		}, nil)
		l.SpillTo(s)
		var shadows sync.WaitGroup
		wake := make(chan struct{}, 1)
		active, err := l.Subscribe(1, 1, true, func() {
			select {
			case wake <- struct{}{}:
			default:
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for e := topology.Epoch(1); e <= epochs; e++ {
				l.Append(full(e, e, int64(e)))
			}
		})
		check := func(c *Cursor, wake chan struct{}, through topology.Epoch) {
			for c.Position() <= through {
				e, ok := c.Next()
				if !ok {
					if err := c.Err(); err != nil {
						if trimmed := new(TrimmedError); c == active || !errors.As(err, &trimmed) || trimmed.From >= trimmed.Floor {
							t.Error(err)
						}
						trims.Add(1)
						return
					}
					<-wake
					continue
				}
				if got := e.Rows[0].Batch.Cols[0].Int64s[0]; got != int64(e.Last) {
					t.Errorf("epoch %d is %d", e.Last, got)
				}
				c.Ack(e.Last)
			}
		}
		wg.Go(func() {
			r := rand.New(rand.NewPCG(3, n))
			pinned := topology.Epoch(0)
			for at := topology.Epoch(100); at <= epochs; at += 100 {
				check(active, wake, at)
				fromDisk.Add(l.SpilledBytes())
				if r.IntN(2) == 0 {
					if r.IntN(2) == 0 {
						shadows.Wait()
					}
					l.Trim(pinned)
					pinned = at - topology.Epoch(r.IntN(100))
				}
				wake := make(chan struct{}, 1)
				c, err := l.Subscribe(2, l.Floor(), false, func() {
					select {
					case wake <- struct{}{}:
					default:
					}
				})
				if err != nil {
					t.Error(err)
					return
				}
				shadows.Go(func() {
					check(c, wake, at)
					c.Close()
				})
			}
			shadows.Wait()
			l.Drop(ErrNotYet)
		})
	}
	wg.Wait()
	if fromDisk.Load() == 0 {
		t.Error("nothing was ever on disk")
	}
	t.Logf("%d readers had their log trimmed under them", trims.Load())
	if st := s.Stats(); st.MemoryBytes != 0 {
		t.Errorf("%d bytes of memory are counted of no log", st.MemoryBytes)
	}
}

// BenchmarkAppend is what an epoch costs a log that keeps it: without a spill, with one that has room, with one that writes everything.
func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name   string
		memory int64 // 0: no spill
	}{{"alone", 0}, {"counted", 1 << 40}, {"spilled", 1}} {
		b.Run(c.name, func(b *testing.B) {
			pool := sync.Pool{New: func() any { return rowsFor(1, make([]int64, 1000)...) }}
			l := NewLog(1, roomy, true, func(r *Rows) { pool.Put(r) }, nil)
			if c.memory > 0 {
				s, err := NewSpill(SpillConfig{Dir: b.TempDir(), MemoryBytes: c.memory, DiskBytes: 1 << 40})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close() //nolint:errcheck // nothing is read
				l.SpillTo(s)
			}
			active, err := l.Subscribe(1, 1, true, nil)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for e := topology.Epoch(1); b.Loop(); e++ {
				l.Append(Entry{First: e, Last: e, Rows: []*Rows{pool.Get().(*Rows)}, Watermark: int64(e)})
				active.Next()
				active.Ack(e)
				if e%128 == 0 {
					l.Trim(e - 64)
				}
			}
			l.Drop(ErrNotYet)
		})
	}
}
