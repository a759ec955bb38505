package autoscale

import (
	"math"
)

const (
	// uneven is how much more than the aim the heaviest partition may have before one more partition is taken instead.
	uneven = 1.07
	// gain is the least by which twice as much capacity must raise what an endless source gives, or it gets no more.
	gain = 1.1
	// relief is how much lighter the heaviest partition must become for key groups to be cut anew, recutWindows how many windows of
	// their rows must have been seen.
	relief       = 0.75
	recutWindows = 10
	// rising is how much greater than a second before a demand is that is waited for: up to risingFor seconds with a larger layout, as one
	// decision is better than two, and with a smaller one until it rises no more.
	rising    = 1.1
	risingFor = 3
)

// rate gives every stage its target from the true rates: all that need more at once, and, where the peak of the last window allows it,
// less. Alone says that nodes do nothing but that; while neighbours are made one, nothing is learned of nodes, and what is known of them may ask for
// more, which ends it.
func (m *Machine) rate(s *Sample, alone bool) (targets []Target) {
	grow, rises := false, false
	for i := range m.latest {
		st, f := &m.query.Stages[i], &m.latest[i]
		if alone {
			m.lookEndless(i, s)
		}
		if st.auto() && (m.wantsMore(i, s) || limited(st, s, f.Partitions) != f.Partitions) {
			grow = true
			rises = rises || m.detector.stages[i].rises()
		}
	}
	if m.over++; !grow {
		m.over = 0
	}
	enough := m.config.OverFor
	if rises {
		enough += risingFor
	}
	if m.over >= enough && !m.cooling(s.AtMs, true) {
		for i := range m.latest {
			if t, ok := m.larger(i, s); ok {
				targets = append(targets, t)
			}
		}
	}
	if grow || !alone || m.cooling(s.AtMs, false) {
		return targets
	}
	for i := range m.latest {
		if t, ok := m.smaller(i, s); ok {
			targets = append(targets, t)
		}
	}
	return targets
}

// lookEndless notes whether what an endless source was given last brought nothing.
func (m *Machine) lookEndless(i int, s *Sample) {
	if mem := &m.detector.stages[i]; m.query.Stages[i].auto() && s.Stages[i].Endless && mem.endlessRows > 0 && m.latest[i].RowsIn < gain*mem.endlessRows {
		mem.endlessFull = true
	}
}

// wantsMore says that a stage, as it is cut, does not hold its demand, and that another cut would do clearly better.
func (m *Machine) wantsMore(i int, s *Sample) bool {
	f, mem := &m.latest[i], &m.detector.stages[i]
	if f.Hottest <= m.config.HighUse {
		return false
	}
	t, ok := m.grown(i, s)
	if !ok {
		return false
	}
	if len(t.Ranges) > f.Partitions {
		return true
	}
	if f.even || mem.groups.seen < recutWindows || s.AtMs < mem.recutMs {
		return false
	}
	return heaviest(f.loads, t.Ranges) < relief*f.Hottest
}

// larger is the target of a stage that wants more, or one outside its limits.
func (m *Machine) larger(i int, s *Sample) (Target, bool) {
	st, f := &m.query.Stages[i], &m.latest[i]
	switch {
	case !st.auto():
		return Target{}, false
	case limited(st, s, f.Partitions) != f.Partitions:
		n := st.bound(max(f.Partitions, m.need(i, f.Work, m.config.TargetUse, most(st, s, f.Partitions))))
		if s.Slots > 0 {
			n = min(n, max(s.Slots, f.Partitions))
		}
		return m.target(i, Cut(f.loads, st.Groups, n))
	case m.wantsMore(i, s):
		return m.grown(i, s)
	}
	return Target{}, false
}

// grown is a stage's layout for its demand, not smaller than it is.
func (m *Machine) grown(i int, s *Sample) (Target, bool) {
	st, f := &m.query.Stages[i], &m.latest[i]
	n := max(f.Partitions, min(m.need(i, f.Work, m.config.TargetUse, most(st, s, f.Partitions)), most(st, s, f.Partitions)))
	return m.target(i, Cut(f.loads, st.Groups, n))
}

// smaller is a stage's layout for the peak of the last window, if that has fewer partitions.
func (m *Machine) smaller(i int, s *Sample) (Target, bool) {
	st, f := &m.query.Stages[i], &m.latest[i]
	work, ok := m.detector.stages[i].peak(m.config.PeakS)
	if m.detector.stages[i].rises() {
		return Target{}, false // nobody knows how far: a sample is the mean of some seconds, and of what could be taken
	}
	if !st.auto() || !ok || work > 0 && s.AtMs < m.patientMs || f.Partitions <= st.bound(1) || s.Stages[i].Endless && work > 0 {
		return Target{}, false
	}
	n := m.need(i, work, m.config.LowUse, f.Partitions)
	if n >= f.Partitions {
		return Target{}, false
	}
	// While the load still falls fast it is waited until it is down, so that one decision is enough.
	if late, _ := m.detector.stages[i].peak((m.config.PeakS + 1) / 2); m.need(i, late, m.config.LowUse, f.Partitions) <= n/2 {
		return Target{}, false
	}
	return m.target(i, Cut(f.loads, st.Groups, n))
}

// need is how many partitions hold some work at a use of their nodes, at most most. Key groups that alone are more than that have a
// range of their own each and do not count.
func (m *Machine) need(i int, work, use float64, most int) int {
	st, f := &m.query.Stages[i], &m.latest[i]
	most = max(1, min(most, st.bound(st.Groups)))
	if f.Work <= 0 {
		return st.bound(min(most, ceil(work/use)))
	}
	loads := make([]float64, len(f.loads))
	hot, rest := 0, 0.0
	for g, l := range f.loads {
		if loads[g] = l / f.Work * work; loads[g] > use {
			hot++
		} else {
			rest += loads[g]
		}
	}
	n := st.bound(min(most, ceil(rest/use)+hot))
	for n < most {
		if heaviest(loads, Cut(loads, st.Groups, n)) <= use*uneven {
			break
		}
		n++
	}
	return st.bound(n)
}

func ceil(x float64) int {
	const slack = 1e-6
	return max(1, int(math.Ceil(min(x, 1e9)-slack)))
}
