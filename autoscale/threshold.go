package autoscale

import (
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// report is what the threshold policy gathers of some seconds.
type report struct {
	samples int
	uses    [][]float64 // by stage and partition, summed
	high    []int       // reports above δ in a row, by stage
	low     []int       // reports in which fewer would do, in a row
	fewer   []int       // the most partitions that were needed in them
}

// threshold gives one more partition to every stage of which one was above δ in k reports in a row, and fewer to one that long needed
// fewer.
func (m *Machine) threshold(s *Sample) (targets []Target) {
	r := &m.report
	if !r.fits(s) {
		*r = report{high: make([]int, len(s.Stages)), low: make([]int, len(s.Stages)), fewer: make([]int, len(s.Stages))}
		for i := range s.Stages {
			r.uses = append(r.uses, make([]float64, len(s.Stages[i].Partitions)))
		}
	}
	for i := range m.latest {
		for j, u := range m.latest[i].uses {
			r.uses[i][j] += u
		}
	}
	if r.samples++; r.samples < m.config.ReportS {
		return nil
	}
	for i := range s.Stages {
		st, f := &m.query.Stages[i], &m.latest[i]
		m.count(i)
		if !st.auto() {
			continue
		}
		n := f.Partitions
		switch {
		case n != limited(st, s, n):
			n = limited(st, s, n)
		case r.high[i] >= m.config.Reports && !m.cooling(s.AtMs, true):
			n = min(n+1, most(st, s, n))
		case r.low[i] >= m.config.LowReport && !m.cooling(s.AtMs, false):
			n = st.bound(r.fewer[i])
		}
		if t, ok := m.target(i, Cut(f.loads, st.Groups, n)); ok && n != f.Partitions {
			targets = append(targets, t)
		}
	}
	r.samples = 0
	for i := range r.uses {
		clear(r.uses[i])
	}
	return targets
}

// fits says that the report is of the layout of a sample.
func (r *report) fits(s *Sample) bool {
	if len(r.uses) != len(s.Stages) {
		return false
	}
	for i := range r.uses {
		if len(r.uses[i]) != len(s.Stages[i].Partitions) {
			return false
		}
	}
	return true
}

// count ends a report of a stage. A partition that is one hot key group does not count: nothing helps it.
func (m *Machine) count(i int) {
	r, f := &m.report, &m.latest[i]
	top, total := 0.0, 0.0
	for j, u := range r.uses[i] {
		u /= float64(r.samples)
		total += u
		if !m.isHot(topology.StageID(i), f.ranges[j]) {
			top = max(top, u)
		}
	}
	if top > m.config.Delta {
		r.high[i]++
	} else {
		r.high[i] = 0
	}
	if n := ceil(total / m.config.LowDelta); n < f.Partitions {
		r.low[i]++
		r.fewer[i] = max(r.fewer[i], n)
	} else {
		r.low[i], r.fewer[i] = 0, 0
	}
}

func (m *Machine) isHot(s topology.StageID, r topology.Range) bool {
	if r.Len() == 1 {
		return true
	}
	return slices.ContainsFunc(m.hot, func(h Hot) bool { return h.Stage == s && r.Contains(h.Group) })
}
