package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestAVaultForgetsOnlyWhatTheMetadataNeedsNoMore(t *testing.T) {
	id := func(incarnation uint64, generation uint32) topology.QueryID {
		return topology.QueryID{Incarnation: incarnation, Generation: generation}
	}
	state := &raftfsm.State{Incarnations: 5, Queries: []*raftfsm.Query{
		{Name: "runs", ID: id(2, 1), State: raftfsm.Running, Complete: 256},
		{Name: "fresh", ID: id(3, 2), State: raftfsm.Running, Complete: 128, Since: 128},
		{Name: "later", ID: id(4, 2), State: raftfsm.Running, Complete: 256, Since: 128},
		{Name: "removed", ID: id(5, 1), State: raftfsm.Removing},
	}}
	k := vaultKeeper{trimmed: map[topology.QueryID]topology.Epoch{}}
	held := []topology.QueryID{id(1, 1), id(2, 1), id(3, 1), id(3, 2), id(4, 1), id(5, 1), id(6, 1)}
	drop, trim := k.next(state, held)
	if want := []topology.QueryID{id(1, 1), id(4, 1), id(5, 1)}; !slices.Equal(drop, want) {
		t.Errorf("dropped %v, want %v", drop, want)
	}
	if want := []trimming{{id(2, 1), 256}, {id(3, 2), 128}}; !slices.Equal(trim, want) {
		t.Errorf("trimmed %v, want %v", trim, want)
	}
	if _, again := k.next(state, held); len(again) != 0 {
		t.Errorf("trimmed again: %v", again)
	}
}

func TestAProcessThatIsReplacedRunsNothingAndOneTakenForLostWhatIsStillItsOwn(t *testing.T) {
	self := topology.Process{Node: "n1", Boot: 7}
	query := &raftfsm.Query{Name: "q", ID: topology.QueryID{Incarnation: 1, Generation: 1}, State: raftfsm.Running,
		Stages: []*raftfsm.Stage{{Groups: 1, Partitions: []topology.Assignment{{Range: topology.Range{To: 1}, Process: self, Instance: 1}}}}}
	for _, test := range []struct {
		name   string
		boot   topology.BootID
		status raftfsm.Status
		state  raftfsm.QueryState
		runs   bool
	}{
		{"alive", 7, raftfsm.Alive, raftfsm.Running, true},
		{"leaving", 7, raftfsm.Leaving, raftfsm.Running, true},
		{"finished, for its tables", 7, raftfsm.Alive, raftfsm.Finished, true},
		{"lost, and not yet reassigned", 7, raftfsm.Lost, raftfsm.Running, true},
		{"replaced", 8, raftfsm.Alive, raftfsm.Running, false},
		{"failed", 7, raftfsm.Alive, raftfsm.Failed, false},
		{"removed", 7, raftfsm.Alive, raftfsm.Removing, false},
	} {
		q := *query
		q.State = test.state
		s := &raftfsm.State{Nodes: []*raftfsm.Node{{ID: "n1", Boot: test.boot, Status: test.status}}, Queries: []*raftfsm.Query{&q}}
		if got := len(wanted(s, self)) == 1; got != test.runs {
			t.Errorf("%s: runs %v, want %v", test.name, got, test.runs)
		}
	}
}

func TestConnectionsToVaultsEndWithTheirProcessAndWhenItIsLost(t *testing.T) {
	c := connectedVaults{}
	node := func(id string, boot topology.BootID, status raftfsm.Status) *raftfsm.Node {
		return &raftfsm.Node{ID: topology.NodeID(id), Boot: boot, Status: status}
	}
	for i, step := range []struct {
		nodes []*raftfsm.Node
		ended string
	}{
		{[]*raftfsm.Node{node("a", 1, raftfsm.Alive), node("b", 2, raftfsm.Alive), node("c", 3, raftfsm.Lost)}, "[]"},
		{[]*raftfsm.Node{node("a", 1, raftfsm.Alive), node("b", 2, raftfsm.Lost), node("c", 3, raftfsm.Lost)}, "[b/2]"},
		{[]*raftfsm.Node{node("a", 1, raftfsm.Leaving), node("b", 2, raftfsm.Lost), node("c", 3, raftfsm.Alive)}, "[]"},
		{[]*raftfsm.Node{node("a", 4, raftfsm.Alive), node("b", 2, raftfsm.Alive), node("c", 3, raftfsm.Alive)}, "[a/1]"},
		{[]*raftfsm.Node{node("a", 4, raftfsm.Left), node("b", 2, raftfsm.Lost), node("c", 3, raftfsm.Alive)}, "[a/4 b/2]"},
	} {
		if got := fmt.Sprint(c.ended(&raftfsm.State{Nodes: step.nodes})); got != step.ended {
			t.Errorf("step %d: ended %s, want %s", i, got, step.ended)
		}
	}
}
