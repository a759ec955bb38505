package autoscale

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// model is a query whose figures follow from rows, rates and layout: what cannot be taken waits at the source, a bottleneck blocks
// those before it, and a rescale takes a time in which all goes on. One step is one second.
type model struct {
	query   Query
	rate    []float64   // by stage: rows/s that one node's worth takes, if its fixed part did not count
	fixed   []float64   // by stage: the share of a node that a partition uses whatever comes
	ratio   []float64   // by stage: rows in for each row of the source
	groups  [][]float64 // by stage: shares of the rows; nil: even and not known
	hotKey  string
	known   bool                       // the source knows its backlog
	endless bool                       // the source always has more
	ceiling float64                    // the use of a node that can do no more
	bent    func(rows float64) float64 // the use of a node of the second stage; nil: it follows from rate and fixed
	noise   float64                    // of the offered rate
	chance  bool                       // rows of key groups are counts of what comes by chance
	costS   int                        // of a rescale
	fails   int                        // so many rescales are dropped
	merging bool                       // neighbours of the second stage are made one, which costs as much as their rows, until a decision ends it
	slots   int
	window  int // seconds that a sample smooths over
	rng     *rand.Rand

	now     int
	backlog float64
	lag     float64
	layout  [][]topology.Range
	asked   *Decision
	doneAt  int
	history []Sample
	cost    []int
}

func newModel(q Query, rate, ratio []float64) *model {
	m := &model{query: q, rate: rate, ratio: ratio, fixed: make([]float64, len(rate)), groups: make([][]float64, len(rate)), known: true, ceiling: 1, costS: 1, window: 3, rng: rand.New(rand.NewPCG(1, 2))}
	for i := range q.Stages {
		m.layout = append(m.layout, topology.Split(q.Stages[i].Groups, 1))
	}
	return m
}

// shares are the parts of a stage's rows that its partitions take.
func (m *model) shares(i int) []float64 {
	var out []float64
	for _, r := range m.layout[i] {
		if m.groups[i] == nil {
			out = append(out, float64(r.Len())/float64(m.query.Stages[i].Groups))
		} else {
			out = append(out, sum(m.groups[i][r.From:r.To]))
		}
	}
	return out
}

// worth is how many rows per second a partition takes.
func (m *model) worth(i int) float64 { return m.rate[i] * (1 - m.fixed[i]) }

// capacity is how many rows of the source a stage lets through in a second.
func (m *model) capacity(i int) float64 {
	return m.worth(i) / slices.Max(m.shares(i)) / cmp.Or(m.ratio[i], math.SmallestNonzeroFloat32)
}

// step lets a second pass with rows offered, and gives the sample after it.
func (m *model) step(offered float64) Sample {
	m.now++
	if m.asked != nil && m.now >= m.doneAt {
		if m.fails > 0 {
			m.fails--
		} else {
			for _, t := range m.asked.Targets {
				m.layout[t.Stage] = t.Ranges
			}
		}
		m.asked, m.history = nil, nil
	}
	if m.noise > 0 {
		offered *= 1 + m.noise*(2*m.rng.Float64()-1)
	}
	before, lagged := m.backlog, m.lag
	least := math.Inf(1)
	for i := range m.rate {
		least = min(least, m.capacity(i))
	}
	rows := min(offered+m.backlog, least)
	if m.endless {
		rows = least
	} else {
		m.backlog += offered - rows
		m.lag = m.backlog / max(offered, 1)
	}
	s := Sample{AtMs: int64(m.now) * 1000, Pending: m.asked != nil, Merging: m.merging, Slots: m.slots}
	for i := range m.rate {
		st := StageLoad{Backlog: -1, HotKey: m.hotKey, HotShare: 0.9}
		for _, part := range m.groups[i] {
			st.Groups = append(st.Groups, m.rows(3*rows*m.ratio[i]*part))
		}
		if m.hotKey == "" {
			st.HotShare = 0
		}
		for k, share := range m.shares(i) {
			in := rows * m.ratio[i] * share
			p := PartitionLoad{Range: m.layout[i][k], Node: topology.NodeID(fmt.Sprintf("n%d", k)), RowsIn: in, RowsOut: in, Busy: m.ceiling * (in/m.rate[i] + m.fixed[i])}
			if i == 1 && m.bent != nil {
				p.Busy = m.bent(in)
			}
			if i == 1 && m.merging {
				p.Busy = min(m.ceiling, 2*p.Busy)
			}
			p.Use, p.NodeUse, p.Part = p.Busy, -1, 1
			if i+1 < len(m.ratio) {
				p.RowsOut = in * m.ratio[i+1] / cmp.Or(m.ratio[i], 1)
			}
			if m.backlog > 1 || m.endless {
				p.Blocked = max(0, 1-p.Busy)
				if least == m.capacity(i) || i > 0 {
					p.Blocked = 0
				}
			}
			p.Idle = max(0, 1-p.Busy-p.Blocked)
			st.Partitions = append(st.Partitions, p)
		}
		if i == 0 && m.known && !m.endless {
			st.Backlog, st.BacklogGrowth = m.backlog, m.backlog-before
		}
		if i == 0 {
			st.Endless = m.endless
		}
		st.LagS, st.LagGrowth = m.lag, m.lag-lagged
		s.Stages = append(s.Stages, st)
	}
	m.history = append(m.history, s)
	return m.smoothed()
}

// rows is a count of rows of which so many are expected.
func (m *model) rows(mean float64) float64 {
	if !m.chance {
		return mean
	}
	return max(0, math.Round(mean+math.Sqrt(mean)*m.rng.NormFloat64()))
}

// smoothed is the mean of the last window.
func (m *model) smoothed() Sample {
	last := m.history[max(0, len(m.history)-m.window):]
	out := last[len(last)-1]
	out.Stages = slices.Clone(out.Stages)
	n := float64(len(last))
	for i := range out.Stages {
		st := &out.Stages[i]
		st.Partitions = slices.Clone(st.Partitions)
		st.BacklogGrowth, st.LagGrowth = 0, 0
		for k := range st.Partitions {
			p := &st.Partitions[k]
			p.RowsIn, p.RowsOut, p.Busy, p.Use, p.Blocked, p.Idle = 0, 0, 0, 0, 0, 0
			for _, h := range last {
				x := h.Stages[i].Partitions[k]
				p.RowsIn, p.RowsOut, p.Busy = p.RowsIn+x.RowsIn/n, p.RowsOut+x.RowsOut/n, p.Busy+x.Busy/n
				p.Use, p.Blocked, p.Idle = p.Use+x.Use/n, p.Blocked+x.Blocked/n, p.Idle+x.Idle/n
			}
		}
		for _, h := range last {
			st.BacklogGrowth += h.Stages[i].BacklogGrowth / n
			st.LagGrowth += h.Stages[i].LagGrowth / n
		}
	}
	return out
}

// take carries a decision out, costS later.
func (m *model) take(d *Decision) {
	m.asked, m.doneAt, m.merging = d, m.now+max(1, m.costS), false
}

// parts are the numbers of partitions.
func (m *model) parts() []int {
	var out []int
	for _, l := range m.layout {
		out = append(out, len(l))
	}
	return out
}

// run lets the machine and the model go on for so many seconds and gives the decisions.
func (m *model) run(machine *Machine, seconds int, offered func(second int) float64, each func(s *Sample, e *Effects)) (out []*Decision) {
	for range seconds {
		s := m.step(offered(m.now))
		e := machine.Step(s)
		if each != nil {
			each(&s, &e)
		}
		if e.Decision != nil {
			out = append(out, e.Decision)
			m.take(e.Decision)
		}
	}
	return out
}

// wordCount has a source, a keyed count that takes most of the work, and a sink.
func wordCount() Query {
	return Query{Name: "words", Stages: []Stage{
		{Name: "source", Groups: 256, Source: true},
		{Name: "count", Groups: 256, Inputs: []topology.StageID{0}},
		{Name: "sink", Groups: 1, Inputs: []topology.StageID{1}},
	}}
}

func describe(list []*Decision) string {
	var b strings.Builder
	for _, d := range list {
		fmt.Fprintf(&b, "%d s: %s\n", d.AtMs/1000, d.Text)
	}
	return b.String()
}
