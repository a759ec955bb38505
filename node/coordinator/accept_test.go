package coordinator

import (
	"errors"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// burn takes away what is on the disks of nodes.
func (w *world) burn(nodes ...*agent) {
	for _, a := range nodes {
		a.disk = map[diskKey]map[topology.Epoch]bool{}
	}
}

// accept is what a person's request does.
func (w *world) accept() (missing []string) {
	w.t.Helper()
	for range 200 {
		k, missing, err := AcceptLoss(w.viewAt(), w.state.Query("a"))
		if err != nil {
			w.t.Fatal(err)
		}
		if k != nil && w.apply(k).Done() {
			if _, ok := k.(*raftfsm.GenerationChange); ok {
				return missing
			}
		}
		w.step()
	}
	w.t.Fatal("it never goes on")
	return nil
}

func TestAQueryThatWaitsForWhatIsLostGoesOnWhenThatIsAccepted(t *testing.T) {
	for _, c := range []struct {
		name    string
		returns bool
	}{{"dead nodes stay away", false}, {"they come back with empty disks", true}} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 5)
			w.addQuery("a")
			w.runFor(1000)
			before := w.state.Query("a")
			dead := []*agent{w.at(before.Stages[1].Partitions[0].Process)}
			for _, p := range before.Stages[1].Vaults[0].Members {
				dead = append(dead, w.at(p))
			}
			for _, a := range dead {
				w.kill(a)
			}
			w.burn(dead...)
			if c.returns {
				for _, a := range dead {
					w.start(a)
				}
			}
			w.runFor(6000)
			q := w.state.Query("a")
			if q.State != raftfsm.Waiting || q.Resolves == "" {
				t.Fatalf("the query is %v: %s", q.State, q.Resolves)
			}
			missing := w.accept()
			q = w.state.Query("a")
			if q.State != raftfsm.Running || q.ID.Generation != 2 || q.Resealed != 2 || len(q.Empty) == 0 || q.Since < before.Complete {
				t.Fatalf("%v, generation %d, empty %v, since %d", q.State, q.ID.Generation, q.Empty, q.Since)
			}
			last := q.History[len(q.History)-1]
			if last.Kind != "generation" || len(missing) < 2 || !strings.Contains(last.Text, missing[0]) || !strings.Contains(last.Text, missing[1]) {
				t.Fatalf("the history says %q, the answer %q", last.Text, missing)
			}
			w.converge(20_000)
			if q = w.state.Query("a"); q.Complete <= q.Since || q.ID.Generation != 2 {
				t.Fatalf("complete %d since %d, generation %d", q.Complete, q.Since, q.ID.Generation)
			}
		})
	}
}

func TestALossIsAcceptedOnlyWhereSomethingIsLost(t *testing.T) {
	w := newWorld(t, 1, 4)
	w.addQuery("a")
	w.runFor(1000)
	refused := func(why string) {
		t.Helper()
		var refused *AcceptError
		k, _, err := AcceptLoss(w.viewAt(), w.state.Query("a"))
		if !errors.As(err, &refused) || k != nil || !strings.Contains(refused.Text, why) {
			t.Fatalf("%T, %v", k, err)
		}
	}
	refused("is RUNNING")
	q := w.state.Query("a")
	w.apply(&raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Waiting, Resolves: "nothing"})
	for _, a := range w.nodes {
		w.agentTick(a)
	}
	refused("nothing that query a needs is lost")
	w.step()
	refused("is RUNNING") // by itself
}
