package member

import (
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestFoundersAreTheFirstByNameAndNobodyFoundsBesideACluster(t *testing.T) {
	node := func(id topology.NodeID, cluster uint64, expect int) Candidate {
		return Candidate{Node: id, Address: string(id), Cluster: cluster, Expect: expect}
	}
	for _, test := range []struct {
		name   string
		self   Candidate
		others []Candidate
		list   int
		ok     bool
	}{
		{"all there", node("n2", 0, 3), []Candidate{node("n1", 0, 3), node("n3", 0, 3)}, 3, true},
		{"one missing", node("n2", 0, 3), []Candidate{node("n1", 0, 3)}, 2, false},
		{"others expect another number", node("n2", 0, 3), []Candidate{node("n1", 0, 5), node("n3", 0, 0)}, 1, false},
		{"one too many, and it is not this one", node("n2", 0, 2), []Candidate{node("n1", 0, 2), node("n3", 0, 2)}, 2, true},
		{"one too many, and it is this one", node("n3", 0, 2), []Candidate{node("n1", 0, 2), node("n2", 0, 2)}, 2, false},
		{"a cluster is there", node("n2", 0, 2), []Candidate{node("n1", 42, 2)}, 2, false},
		{"it is only to join", node("n2", 0, 0), []Candidate{node("n1", 0, 0)}, 1, false},
	} {
		list, ok := founders(test.self, test.others)
		if len(list) != test.list || ok != test.ok {
			t.Errorf("%s: %v, %v", test.name, list, ok)
		}
	}
}
