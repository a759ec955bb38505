package agent

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
)

// TestSourcesThatChangePlacesChangeNoByte: both processes' seal logs end with the switch, each goes on from the other's, and both seal to new ones.
func TestSourcesThatChangePlacesChangeNoByte(t *testing.T) {
	var swaps atomic.Int64
	t.Run("schedules", func(t *testing.T) {
		changed(t, 7_000_000, func(t *testing.T, w *trial) {
			for range 3 {
				time.Sleep(time.Duration(w.r.IntN(200)) * time.Millisecond)
				if w.swapSources(t) {
					swaps.Add(1)
				}
			}
		})
	})
	if swaps.Load() == 0 && !t.Failed() && !testing.Short() { // of few schedules all may find the query over
		t.Error("no sources have changed places")
	}
}

// swapSources has two neighbouring partitions of the first source change places, and says whether they have before the query had finished.
func (w *trial) swapSources(t *testing.T) bool {
	q := w.latest().Query("q")
	if q == nil || q.State != raftfsm.Running {
		return false
	}
	for i := 1; i < len(q.Stages[0].Partitions); i++ {
		a, b := q.Stages[0].Partitions[i-1], q.Stages[0].Partitions[i]
		if a.Process == b.Process {
			continue
		}
		w.note("%v on %v and %v on %v are to change places", a.Range, a.Process, b.Range, b.Process)
		by := w.running()[0]
		out, err := by.member.Propose(t.Context(), raftfsm.Envelope{AtMs: by.clock.now().UnixMilli(), Command: &raftfsm.ShadowStart{Query: q.ID, Version: q.Version,
			Stage: 0, Restore: q.Complete, Parts: []raftfsm.Part{{Range: a.Range, Process: b.Process}, {Range: b.Range, Process: a.Process}}, What: "move"}})
		if err != nil || out.Code != raftfsm.Applied {
			return false
		}
		swapped := false
		w.until("the sources have changed places", func() bool {
			now := w.latest().Query("q")
			for _, p := range now.Stages[0].Partitions {
				swapped = swapped || p.Range == a.Range && p.Process == b.Process
			}
			return swapped || now.State == raftfsm.Finished
		})
		return swapped
	}
	return false
}
