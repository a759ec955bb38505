package autoscale

import (
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Cut gives n contiguous ranges of key groups whose heaviest is as light as it can be. Without loads, or when all are 0, the ranges
// have equal lengths. N is brought between 1 and the number of key groups.
func Cut(loads []float64, groups, n int) []topology.Range {
	n = max(1, min(n, groups))
	total := sum(loads)
	if len(loads) != groups || total <= 0 {
		return topology.Split(groups, n)
	}
	// The least limit under which n ranges are enough, by halving.
	low, high := 0.0, total
	for _, l := range loads {
		low = max(low, l)
	}
	for range 40 {
		if mid := (low + high) / 2; pieces(loads, mid) <= n {
			high = mid
		} else {
			low = mid
		}
	}
	return spread(loads, n, high)
}

// pieces counts the ranges that are filled up to a limit, one after the other.
func pieces(loads []float64, limit float64) int {
	n, have := 1, 0.0
	for _, l := range loads {
		if have > 0 && have+l > limit {
			n, have = n+1, 0
		}
		have += l
	}
	return n
}

// spread fills ranges up to their fair part of what is left, never above the limit, and leaves a key group for every range to come.
func spread(loads []float64, n int, limit float64) []topology.Range {
	out := make([]topology.Range, 0, n)
	left, from := sum(loads), 0
	for i := range n {
		rest := n - i
		to, have := from, 0.0
		for to < len(loads)-(rest-1) {
			l := loads[to]
			full := have+l > limit*(1+1e-9) || have+l/2 > left/float64(rest)
			// What comes behind must fit into the ranges that are left.
			if to > from && full && rest > 1 && pieces(loads[to:], limit*(1+1e-9)) < rest {
				break
			}
			have += l
			to++
		}
		out = append(out, topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(to)})
		left -= have
		from = to
	}
	return out
}

// heaviest gives the load of the heaviest of ranges. Those that are nearly all one key group do not count: no cut makes it lighter.
func heaviest(loads []float64, ranges []topology.Range) (load float64) {
	for _, r := range ranges {
		if _, alone := dominated(loads, r); !alone {
			load = max(load, sum(loads[r.From:r.To]))
		}
	}
	return load
}

// dominated gives the key group that is nearly all of a range's load, if one is.
func dominated(loads []float64, r topology.Range) (topology.KeyGroup, bool) {
	const nearly = 0.95
	g := r.From
	for i := r.From; i < r.To; i++ {
		if loads[i] > loads[g] {
			g = i
		}
	}
	return g, loads[g] > 0 && loads[g] >= nearly*sum(loads[r.From:r.To])
}

func sum(list []float64) (n float64) {
	for _, x := range list {
		n += x
	}
	return n
}

func sameRanges(a, b []topology.Range) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
