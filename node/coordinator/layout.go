package coordinator

import (
	"cmp"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// piece is a contiguous range of a stage's key groups on one process.
type piece struct {
	Range   topology.Range
	Process topology.Process
}

// joined gives the partitions of a stage, neighbours on one process as one.
func joined(parts []topology.Assignment) []piece {
	var out []piece
	for _, a := range parts {
		if n := len(out); n > 0 && out[n-1].Process == a.Process {
			out[n-1].Range.To = a.Range.To
			continue
		}
		out = append(out, piece{a.Range, a.Process})
	}
	return out
}

// cutByLoad gives n contiguous ranges of about equal load that cover a stage's key groups, each of them at least one key group. Without
// loads, or with none of them above 0, their lengths are about equal.
func cutByLoad(groups, n int, loads []int64) []topology.Range {
	n = max(1, min(n, groups))
	total := int64(0)
	for _, x := range loads {
		total += x
	}
	if len(loads) != groups || total <= 0 {
		return topology.Split(groups, n)
	}
	// A key group costs something without a row: what is cold is spread, too.
	floor := max(1, total/int64(8*groups))
	total += floor * int64(groups)
	out := make([]topology.Range, 0, n)
	from, have := 0, int64(0)
	for i := 1; i <= n; i++ {
		to := from
		for to < groups-(n-i) {
			x := loads[to] + floor
			// The border goes where it is nearer to the i-th part of all.
			if to > from && i < n && (have+x)*int64(n)-total*int64(i) > total*int64(i)-have*int64(n) {
				break
			}
			have += x
			to++
		}
		out = append(out, topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(to)})
		from = to
	}
	return out
}

// heaviest is the load of the heaviest range.
func heaviest(ranges []topology.Range, loads []int64) (most int64) {
	for _, r := range ranges {
		sum := int64(0)
		for _, x := range loads[r.From:r.To] {
			sum += x
		}
		most = max(most, sum)
	}
	return most
}

// layOut gives ranges, which cover a stage's key groups, to processes. Those that have most of a range keep it, so that few key groups
// move; the rest goes where the fewest partitions are. Each process gets one range while there are enough of them. What a partition keeps
// is in one piece. Nil when nobody takes some range.
func (h *hosts) layOut(q *raftfsm.Query, s topology.StageID, ranges []topology.Range) []piece {
	st := q.Stages[s]
	if h.none() {
		return nil
	}
	most := (len(ranges) + len(h.list) - 1) / len(h.list)
	owner := make([]*host, len(ranges))
	count := map[topology.Process]int{}
	for _, c := range h.claims(st, ranges) {
		if owner[c.at] != nil || count[c.host.process] >= most || splitsAny(st, ranges, owner, c.at, c.host) {
			continue
		}
		owner[c.at] = c.host
		count[c.host.process]++
	}
	kept := map[topology.Process]bool{}
	for _, x := range owner {
		if x != nil {
			kept[x.process] = true
		}
	}
	for _, a := range st.Partitions { // what it has now and gives away weighs no more
		if x := h.find(a.Process); x != nil && !kept[a.Process] {
			x.load--
		}
	}
	out := make([]piece, len(ranges))
	for i, r := range ranges {
		if owner[i] == nil {
			able := h.only(func(x *host) bool {
				return count[x.process] < most && !runsAny(st, x.process, r) && !splitsAny(st, ranges, owner, i, x)
			})
			if able.none() {
				return nil
			}
			owner[i] = h.find(able.choose(st.Source, 0, blockMembers(st, r), q.ID.Incarnation, uint64(s), uint64(r.From)))
			count[owner[i].process]++
		}
		out[i] = piece{r, owner[i].process}
	}
	return out
}

// claim says how many key groups of a range a process has already.
type claim struct {
	at   int // of ranges
	host *host
	have int
}

// claims are those of all processes, the greatest first.
func (h *hosts) claims(st *raftfsm.Stage, ranges []topology.Range) []claim {
	var out []claim
	for i, r := range ranges {
		for _, x := range h.list {
			have := 0
			for _, a := range st.Partitions {
				if a.Process == x.process && a.Range.Overlaps(r) {
					have += int(min(a.Range.To, r.To) - max(a.Range.From, r.From))
				}
			}
			if have > 0 {
				out = append(out, claim{i, x, have})
			}
		}
	}
	slices.SortStableFunc(out, func(a, b claim) int { return cmp.Compare(b.have, a.have) }) // then by range, then by process
	return out
}

// splitsAny says whether a partition of a process would keep key groups in two pieces if the process got the range at, too.
func splitsAny(st *raftfsm.Stage, ranges []topology.Range, owner []*host, at int, x *host) bool {
	for _, a := range st.Partitions {
		if a.Process != x.process || !a.Range.Overlaps(ranges[at]) {
			continue
		}
		for i, r := range ranges {
			if owner[i] == x && (i < at-1 || i > at+1) && r.Overlaps(a.Range) {
				return true
			}
		}
	}
	return false
}

// runsAny says whether a process runs key groups of r.
func runsAny(st *raftfsm.Stage, p topology.Process, r topology.Range) bool {
	return slices.ContainsFunc(st.Partitions, func(a topology.Assignment) bool { return a.Process == p && a.Range.Overlaps(r) })
}

// partsFor are the shadows that bring a stage to a layout: what each process lacks of its range, neighbours together. Key groups of a
// source come from one owner at a time, because that is whose seals are gone on from.
func partsFor(st *raftfsm.Stage, want []piece) (parts []raftfsm.Part, groups int) {
	for _, w := range want {
		for _, a := range st.Partitions {
			r := topology.Range{From: max(a.Range.From, w.Range.From), To: min(a.Range.To, w.Range.To)}
			if r.From >= r.To || a.Process == w.Process {
				continue
			}
			groups += r.Len()
			if n := len(parts); n > 0 && !st.Source && parts[n-1].Process == w.Process && parts[n-1].Range.To == r.From {
				parts[n-1].Range.To = r.To
				continue
			}
			parts = append(parts, raftfsm.Part{Range: r, Process: w.Process})
		}
	}
	return parts, groups
}

// only gives the hosts that which accepts; what is counted for one is counted in both.
func (h *hosts) only(which func(*host) bool) *hosts {
	out := &hosts{view: h.view}
	for _, x := range h.list {
		if which(x) {
			out.list = append(out.list, x)
		}
	}
	return out
}

func (h *hosts) find(p topology.Process) *host {
	if i := slices.IndexFunc(h.list, func(x *host) bool { return x.process == p }); i >= 0 {
		return h.list[i]
	}
	return nil
}
