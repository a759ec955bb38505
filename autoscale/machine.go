package autoscale

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Machine decides on the layout of one query. It begins with nothing known: losing one costs some seconds of looking.
type Machine struct {
	query    Query
	config   Config
	detector detector

	over   int // samples in a row that ask for more
	seen   int // samples
	layout []placed
	// changedMs is when the layout was last seen to change, mergedMs when neighbours were last seen to be made one, shrunkMs when this machine last
	// made the layout smaller; 0: never. Patience is how many times longer than the least a layout is kept before it is made smaller.
	changedMs, mergedMs, shrunkMs int64
	patience                      float64
	report                        report // threshold
	asked                         *asked
	hot                           []Hot // told already, those that are still
	// calmMs is before when nothing is made larger, quietMs nothing smaller, patientMs nothing smaller of what has work.
	calmMs, quietMs, patientMs int64
	latest                     []Figures
	latestAtMs                 int64
	waiting                    string
}

// asked is the last decision until the layout is there.
type asked struct {
	decision Decision
	seenMs   int64 // when a change was last seen under way, or of the decision
}

// failAfterMs is how long a decision may show no effect before it is taken for failed.
const failAfterMs = 10_000

// patienceMost bounds how much longer shrinking is put off than by its cost, patientMostMs how long.
const patienceMost, patientMostMs = 8, 60_000

// placed is where a partition is.
type placed struct {
	stage topology.StageID
	r     topology.Range
	node  topology.NodeID
}

// giveUpMs is how long a change may be under way before it is decided anew, on what there is then.
const giveUpMs = 120_000

// NewMachine makes the machine of a query. Config must be valid.
func NewMachine(q Query, c Config) *Machine {
	m := &Machine{query: q, config: c, patience: 1}
	m.detector = detector{query: &m.query, config: &m.config}
	return m
}

// SetQuery tells it what people want by now; the stages are the same.
func (m *Machine) SetQuery(q Query) { m.query = q }

// Effects are what a step gives.
type Effects struct {
	Decision *Decision // nil: all stays
	// Hot are key groups that more nodes do not help, each told once while it is so.
	Hot []Hot
	// Cost is how long the last decision took until it was the layout, told once; 0 otherwise.
	CostMs int64
}

// Step takes a sample.
func (m *Machine) Step(s Sample) (e Effects) {
	if len(s.Stages) != len(m.query.Stages) {
		return e
	}
	m.seen++
	settled, alone := m.settled(&s)
	m.latest, m.latestAtMs, m.waiting = m.detector.step(&s, settled && alone), s.AtMs, ""
	for i := range m.latest {
		if groups := int(m.latest[i].ranges[len(m.latest[i].ranges)-1].To); groups != m.query.Stages[i].Groups {
			return e // not the plan that this is about
		}
	}
	e.CostMs = m.settle(&s)
	e.Hot = m.hotGroups(&s)
	if s.Pending || m.asked != nil {
		m.over, m.waiting = 0, "a change of the layout is under way"
		m.report = report{}
		return e
	}
	if !settled {
		m.over, m.waiting = 0, "the layout has changed just now and is measured"
		m.report = report{}
		return e
	}
	var targets []Target
	switch {
	case m.config.Policy != PolicyThreshold:
		targets = m.rate(&s, alone)
	case alone:
		targets = m.threshold(&s)
	default:
		m.report = report{}
	}
	if !alone && len(targets) == 0 && m.waiting == "" {
		m.waiting = "partitions on a node are made one, or were just now, and what that costs is not measured"
	}
	if len(targets) > 0 {
		e.Decision = m.decide(&s, targets)
	}
	return e
}

// settled says that the layout has been as it is for so long that samples are of no other, alone that they are of no merge either.
func (m *Machine) settled(s *Sample) (settled, alone bool) {
	var layout []placed
	for i := range s.Stages {
		for _, p := range s.Stages[i].Partitions {
			layout = append(layout, placed{topology.StageID(i), p.Range, p.Node})
		}
	}
	if s.Pending || m.layout != nil && !slices.Equal(layout, m.layout) {
		m.changedMs = s.AtMs
	}
	if s.Merging {
		m.mergedMs = s.AtMs
	}
	m.layout = layout
	past := func(ms int64) bool { return ms == 0 || s.AtMs-ms >= int64(1000*m.config.SettleS) }
	return past(m.changedMs), past(m.mergedMs)
}

// decide makes a decision of targets.
func (m *Machine) decide(s *Sample, targets []Target) *Decision {
	d := Decision{AtMs: s.AtMs, Policy: m.config.Policy, Targets: targets}
	var words []string
	for i := range targets {
		f := &m.latest[targets[i].Stage]
		words = append(words, m.query.change(&targets[i], f))
		d.Figures = append(d.Figures, targets[i].figures(f)...)
		if st := &s.Stages[targets[i].Stage]; st.Endless && len(targets[i].Ranges) >= targets[i].From {
			m.detector.stages[targets[i].Stage].endlessRows = f.RowsIn
		}
		m.remember(&targets[i], s.AtMs)
	}
	d.Text = strings.Join(words, "; ")
	m.asked = &asked{decision: d, seenMs: s.AtMs}
	m.over = 0
	return &d
}

// remember notes a target, so that what is made smaller and soon larger again is made smaller less readily, and what is cut anew is let be.
func (m *Machine) remember(t *Target, nowMs int64) {
	flapMs := int64(1000 * m.config.FlapS)
	switch n := len(t.Ranges); {
	case n < t.From:
		if m.shrunkMs > 0 && nowMs-m.shrunkMs > flapMs*patienceMost {
			m.patience = 1
		}
		m.shrunkMs = nowMs
	case n == t.From:
		m.detector.stages[t.Stage].recutMs = nowMs + int64(1000*m.config.RecutS)
	case m.shrunkMs > 0 && nowMs-m.shrunkMs < flapMs:
		m.patience, m.shrunkMs = min(2*m.patience, patienceMost), 0
	}
}

// settle sees what became of the last decision, and gives its cost when it is done.
func (m *Machine) settle(s *Sample) (costMs int64) {
	if m.asked == nil {
		if s.Pending {
			m.rest(s.AtMs, 0) // a recovery, or what a person asked for
		}
		return 0
	}
	took := s.AtMs - m.asked.decision.AtMs
	switch {
	case s.Pending && took < giveUpMs:
		m.asked.seenMs = s.AtMs
	case m.reached():
		costMs = max(1, took)
		m.rest(s.AtMs, costMs)
		m.asked = nil
	case s.AtMs-m.asked.seenMs >= failAfterMs || took >= giveUpMs:
		// It was dropped, or nothing took it up. Stages are changed one after the other, so that nothing may be under way for a moment.
		m.calmMs = s.AtMs + int64(1000*m.config.FailPauseS)
		m.quietMs = m.calmMs
		m.asked = nil
	}
	return costMs
}

// rest begins the cool-down: what was measured meanwhile is of two layouts.
func (m *Machine) rest(nowMs, costMs int64) {
	after := func(least, times float64) int64 { return nowMs + int64(max(1000*least, times*float64(costMs))) }
	m.calmMs = max(m.calmMs, after(m.config.OutLeastS, m.config.OutOfCost))
	m.quietMs = max(m.quietMs, after(m.config.InLeastS, m.config.InOfCost))
	m.patientMs = min(after(m.patience*m.config.InLeastS, m.patience*m.config.InOfCost), nowMs+patientMostMs)
	for i := range m.detector.stages {
		st := &m.detector.stages[i]
		st.peaks = nil
		if st.endlessRows > 0 {
			st.endlessFull = false
		}
	}
}

// reached says that the layout is the one that was asked for.
func (m *Machine) reached() bool {
	for _, t := range m.asked.decision.Targets {
		if !sameRanges(m.latest[t.Stage].ranges, t.Ranges) {
			return false
		}
	}
	return true
}

// hotGroups gives the key groups that are too much for a node and have a range of their own already, if they were not told before.
func (m *Machine) hotGroups(s *Sample) (told []Hot) {
	var now []Hot
	for i := range m.latest {
		f := &m.latest[i]
		if f.even {
			continue
		}
		for _, r := range f.ranges {
			g, ok := dominated(f.loads, r)
			k := slices.IndexFunc(m.hot, func(x Hot) bool { return x.Stage == topology.StageID(i) && x.Group == g })
			// What was told is hot until it is clearly not.
			if k < 0 && (!ok || f.loads[g] <= m.config.HighUse) || k >= 0 && f.loads[g] <= m.config.LowUse {
				continue
			}
			h := Hot{Stage: topology.StageID(i), Group: g, Work: f.loads[g] / f.part, Key: s.Stages[i].HotKey, Share: s.Stages[i].HotShare}
			if busiest(f.loads) != g {
				h.Key, h.Share = "", 0
			}
			if k < 0 || m.hot[k].Key == "" && h.Key != "" {
				told = append(told, h)
			}
			now = append(now, h)
		}
	}
	m.hot = now
	return told
}

func busiest(loads []float64) topology.KeyGroup {
	g := 0
	for i := range loads {
		if loads[i] > loads[g] {
			g = i
		}
	}
	return topology.KeyGroup(g)
}

// Standing is what a machine thinks just now, for people.
type Standing struct {
	AtMs   int64
	Stages []Figures
	Hot    []Hot
	Asked  *Decision // not yet the layout; nil: none
	// Waiting says why nothing is decided; "" when it is looked every second.
	Waiting string
}

// Standing gives it. The slices are not to be changed.
func (m *Machine) Standing() Standing {
	out := Standing{AtMs: m.latestAtMs, Stages: m.latest, Hot: m.hot, Waiting: m.waiting}
	if m.asked != nil {
		out.Asked = &m.asked.decision
	}
	return out
}

// cooling says why nothing is decided yet.
func (m *Machine) cooling(nowMs int64, growing bool) bool {
	until := m.quietMs
	if growing {
		until = m.calmMs
	}
	if nowMs >= until {
		return false
	}
	if growing {
		m.waiting = fmt.Sprintf("the last change of the layout has to settle, %.0f s more", float64(until-nowMs)/1000)
	}
	return true
}

// target gives the stage's target of n partitions by load, ok false when that is what it has.
func (m *Machine) target(i int, ranges []topology.Range) (Target, bool) {
	f := &m.latest[i]
	t := Target{Stage: topology.StageID(i), From: f.Partitions, Ranges: ranges}
	return t, !sameRanges(ranges, f.ranges)
}

// most is how many partitions a stage may grow to on the nodes there are.
func most(st *Stage, s *Sample, now int) int {
	n := st.bound(st.Groups)
	if s.Slots > 0 {
		n = min(n, max(s.Slots, now))
	}
	return cmp.Or(n, 1)
}

// limited brings a number of partitions into a stage's limits, as far as there are nodes.
func limited(st *Stage, s *Sample, n int) int {
	to := st.bound(n)
	if s.Slots > 0 && to > n {
		to = max(n, min(to, s.Slots))
	}
	return to
}
