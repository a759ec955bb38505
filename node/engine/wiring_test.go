package engine

import (
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestMismatchOfChainsIsNarrowedToWhatBothCutsBound: producers before and after a change may be cut differently.
func TestMismatchOfChainsIsNarrowedToWhatBothCutsBound(t *testing.T) {
	part := func(from, to topology.KeyGroup, sum uint64) chainPart {
		return chainPart{groups: topology.Range{From: from, To: to}, sum: sum}
	}
	for name, c := range map[string]struct {
		a, b []chainPart
		want topology.Range
	}{
		"same":                  {[]chainPart{part(0, 4, 1), part(4, 8, 2)}, []chainPart{part(0, 4, 1), part(4, 8, 2)}, topology.Range{}},
		"same, cut anew":        {[]chainPart{part(0, 8, 3)}, []chainPart{part(0, 3, 1), part(3, 8, 2)}, topology.Range{}},
		"same, merged":          {[]chainPart{part(0, 3, 1), part(3, 8, 2)}, []chainPart{part(0, 8, 3)}, topology.Range{}},
		"one of two":            {[]chainPart{part(0, 4, 1), part(4, 8, 2)}, []chainPart{part(0, 4, 1), part(4, 8, 9)}, topology.Range{From: 4, To: 8}},
		"a single key group":    {[]chainPart{part(0, 7, 1), part(7, 8, 2)}, []chainPart{part(0, 7, 1), part(7, 8, 9)}, topology.Range{From: 7, To: 8}},
		"split":                 {[]chainPart{part(0, 4, 1), part(4, 8, 2)}, []chainPart{part(0, 4, 1), part(4, 5, 2), part(5, 8, 1)}, topology.Range{From: 4, To: 8}},
		"cuts that cross":       {[]chainPart{part(0, 4, 1), part(4, 8, 2), part(8, 9, 1)}, []chainPart{part(0, 6, 1), part(6, 8, 1), part(8, 9, 1)}, topology.Range{From: 0, To: 8}},
		"two that would cancel": {[]chainPart{part(0, 4, 1), part(4, 8, 2)}, []chainPart{part(0, 4, 2), part(4, 8, 1)}, topology.Range{From: 0, To: 4}},
	} {
		if got := differing(c.a, c.b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
