package raftfsm

import "testing"

func TestWhatAPersonDrainsIsThePersonsUntilItIsUndrained(t *testing.T) {
	s := new(State)
	for _, e := range oneOfEach()[:4] { // the cluster, its settings and two nodes
		s, _ = s.Apply(e)
	}
	for _, c := range []struct {
		drain bool
		by    DrainedBy
		want  DrainedBy
		did   bool
	}{
		{true, ByPool, ByPool, true},
		{true, ByNotice, ByNotice, true},
		{true, ByPerson, ByPerson, true},
		{true, ByPool, ByPerson, false},
		{true, ByPerson, ByPerson, false},
		{false, ByPerson, ByPerson, true},
		{true, ByPool, ByPool, true},
		{false, ByPool, ByPerson, true},
	} {
		before := s.Node("n1").Version
		s, _ = s.Apply(Envelope{Command: &NodeDrain{Node: "n1", Version: before, Drain: c.drain, By: c.by}})
		n := s.Node("n1")
		if n.Drain != c.drain || n.DrainedBy != c.want || (n.Version > before) != c.did {
			t.Errorf("%+v: the node is %v by %q, version %d after %d", c, n.Drain, n.DrainedBy, n.Version, before)
		}
	}
}
