package state

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"pgregory.net/rapid"
)

// takenSnapshot is a snapshot that has not been encoded yet, and what the group would have encoded when it was taken.
type takenSnapshot struct {
	snapshot *Snapshot
	want     []byte
}

func (s *takenSnapshot) check(t rapid.TB) {
	for range 2 {
		if got := s.snapshot.Append([]byte("before")); !bytes.Equal(got[6:], s.want) {
			t.Fatalf("the snapshot encodes to\n%x\nwhen it was taken the group encoded to\n%x", got[6:], s.want)
		}
	}
}

func TestSnapshotEncodesToWhatTheGroupDidWhenItWasTakenWhateverComesAfter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := NewGroup()
		for i, cols := range [][]batch.Type{allKinds, {batch.TypeBigInt}, {}} {
			if _, err := g.Register(fmt.Sprint("t", i), cols); err != nil {
				t.Fatal(err)
			}
		}
		first, second, bare := g.tables[0], g.tables[1], g.tables[2]
		key := keyGen(rapid.Bool().Draw(t, "bigint"))
		epoch, acked := topology.Epoch(0), topology.Epoch(0)
		var taken []takenSnapshot
		idle := []*Snapshot{{}, {}}
		t.Repeat(map[string]func(*rapid.T){
			"begin": func(t *rapid.T) { epoch++; g.Begin(epoch) },
			"put": func(t *rapid.T) {
				slot, _ := put(first, key.Draw(t, "k"))
				writeRow(first, slot, rowGen.Draw(t, "row"))
				slot, _ = put(second, key.Draw(t, "k"))
				second.Int64s(0)[slot]++
			},
			"delete": func(t *rapid.T) {
				for _, tab := range g.tables {
					if slot, ok := find(tab, key.Draw(t, "k")); ok {
						tab.Delete(slot)
					}
				}
			},
			"bare": func(t *rapid.T) { put(bare, key.Draw(t, "k")) },
			"acknowledge": func(t *rapid.T) {
				acked = max(acked, epoch-topology.Epoch(rapid.IntRange(1, 3).Draw(t, "back")))
				g.Acknowledge(acked)
			},
			"reload": func(t *rapid.T) {
				if err := g.Reload(); err != nil {
					t.Fatal(err)
				}
			},
			"take": func(t *rapid.T) {
				if len(idle) == 0 {
					return
				}
				s := takenSnapshot{snapshot: idle[0]}
				idle = idle[1:]
				if rapid.IntRange(0, 3).Draw(t, "base") == 0 {
					g.SnapshotBase(s.snapshot)
					s.want = g.AppendBase(nil)
				} else {
					from := acked + topology.Epoch(rapid.IntRange(-1, 3).Draw(t, "from"))
					g.Snapshot(s.snapshot, from)
					s.want = g.AppendDelta(nil, from)
				}
				taken = append(taken, s)
			},
			"encode": func(t *rapid.T) {
				if len(taken) > 0 {
					taken[0].check(t)
					idle, taken = append(idle, taken[0].snapshot), taken[1:]
				}
			},
		})
		for i := range taken {
			taken[i].check(t)
		}
	})
}

// TestSnapshotGivesBackMemoryThatItNoLongerNeeds takes a large snapshot and then a small one.
func TestSnapshotGivesBackMemoryThatItNoLongerNeeds(t *testing.T) {
	g := NewGroup()
	tab := must[*Table](t)(g.Register("t", allKinds))
	g.Begin(1)
	for k := range int64(50_000) {
		slot, _ := put(tab, string(bigKey(k)))
		tab.SetBytes(4, slot, []byte("some text"))
	}
	var s Snapshot
	g.Snapshot(&s, 0)
	large := s.MemBytes()
	g.Acknowledge(1)
	g.Begin(2)
	put(tab, string(bigKey(7)))
	g.Snapshot(&s, 1)
	if small := s.MemBytes(); small > large/8 {
		t.Errorf("a snapshot of one entry keeps %d bytes of the %d of 50,000", small, large)
	}
}

func TestSnapshotOfTheSameSizeAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Skip("allocations are not counted under the race detector")
	}
	g := NewGroup()
	tab := must[*Table](t)(g.Register("t", allKinds))
	g.Begin(1)
	for k := range int64(1000) {
		put(tab, string(bigKey(k)))
	}
	var s Snapshot
	g.Snapshot(&s, 0)
	if n := testing.AllocsPerRun(10, func() { g.Snapshot(&s, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
