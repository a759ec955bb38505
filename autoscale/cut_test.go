package autoscale

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// least is the lightest possible heaviest of n ranges, by trying all cuts.
func least(loads []float64, n int) float64 {
	if n == 1 {
		return sum(loads)
	}
	best := sum(loads)
	for i := 1; i <= len(loads)-(n-1); i++ {
		best = min(best, max(sum(loads[:i]), least(loads[i:], n-1)))
	}
	return best
}

func TestNoCutIsBetterBalanced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loads := rapid.SliceOfN(rapid.Float64Range(0, 10), 1, 9).Draw(t, "loads")
		n := rapid.IntRange(1, len(loads)).Draw(t, "n")
		got := Cut(loads, len(loads), n)
		top := 0.0
		for _, r := range got {
			top = max(top, sum(loads[r.From:r.To]))
		}
		if want := least(loads, n); top > want*(1+1e-6)+1e-9 {
			t.Fatalf("%v in %d: %v has %g, %g is possible", loads, n, got, top, want)
		}
	})
}

func TestACutCoversAllKeyGroupsOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.IntRange(1, 600).Draw(t, "groups")
		n := rapid.IntRange(-1, 700).Draw(t, "n")
		var loads []float64
		switch rapid.IntRange(0, 2).Draw(t, "loads") {
		case 1:
			loads = make([]float64, groups)
			loads[rapid.IntRange(0, groups-1).Draw(t, "hot")] = 5
		case 2:
			loads = rapid.SliceOfN(rapid.Float64Range(0, 1e6), groups, groups).Draw(t, "l")
		}
		got := Cut(loads, groups, n)
		if want := max(1, min(n, groups)); len(got) != want {
			t.Fatalf("%d ranges, not %d", len(got), want)
		}
		next := topology.KeyGroup(0)
		for _, r := range got {
			if r.From != next || r.Len() < 1 {
				t.Fatalf("%v does not follow %d in %v", r, next, got)
			}
			next = r.To
		}
		if int(next) != groups {
			t.Fatalf("the last range ends at %d of %d", next, groups)
		}
	})
}

func TestAHotKeyGroupGetsARangeOfItsOwn(t *testing.T) {
	loads := make([]float64, 256)
	for g := range loads {
		loads[g] = 1
	}
	loads[100] = 200
	got := Cut(loads, 256, 3)
	if want := (topology.Range{From: 100, To: 101}); got[1] != want {
		t.Errorf("key group 100 is in %v", got)
	}
}

// A big stage is cut in no time.
func BenchmarkCut(b *testing.B) {
	loads := make([]float64, topology.MaxKeyGroups)
	for g := range loads {
		loads[g] = float64(g % 100)
	}
	for b.Loop() {
		Cut(loads, len(loads), 64)
	}
}
