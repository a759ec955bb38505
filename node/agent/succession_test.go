package agent

import (
	"slices"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestTheVoterWithTheFewestPartitionsStandsFirstAndTheDeadLeaderNever(t *testing.T) {
	of := func(n topology.NodeID) topology.Assignment {
		return topology.Assignment{Process: topology.Process{Node: n}}
	}
	s := &raftfsm.State{
		Nodes: []*raftfsm.Node{{ID: "n1", Status: raftfsm.Alive}, {ID: "n2", Status: raftfsm.Alive}, {ID: "n3", Status: raftfsm.Alive},
			{ID: "n4", Status: raftfsm.Lost}, {ID: "n5", Status: raftfsm.Alive}, {ID: "n6", Status: raftfsm.Alive}},
		Queries: []*raftfsm.Query{{Stages: []*raftfsm.Stage{{Partitions: []topology.Assignment{of("n2"), of("n2"), of("n3")}}}}},
	}
	voters := []raftfsm.Server{{Node: "n1", Voter: true}, {Node: "n2", Voter: true}, {Node: "n3", Voter: true}, {Node: "n4", Voter: true}, {Node: "n5", Voter: false},
		{Node: "n6", Voter: true}, {Node: "n7", Voter: true}}
	if got, want := successors(s, voters, topology.Process{Node: "n1"}), []topology.NodeID{"n6", "n3", "n2"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
