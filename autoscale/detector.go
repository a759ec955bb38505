package autoscale

import (
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// detector is the bottleneck detector: it remembers of each stage what it is capable of and what came lately.
type detector struct {
	query  *Query
	config *Config
	stages []stageMemory
}

type stageMemory struct {
	// rate are the rows per second that one partition takes which uses its node wholly; 0 before the first row.
	rate float64
	// ratio are the rows that come in for each row into the stages before it, or, of a source, nothing.
	ratio float64
	peaks []float64 // demand of the last samples, oldest first
	// endlessRows is what came in of an endless source before it was last given more, and endlessFull that this brought nothing.
	endlessRows float64
	endlessFull bool
}

// smooth is the weight of the latest sample in what is remembered.
const smooth = 0.4

// Figures is what the detector makes of a stage.
type Figures struct {
	Partitions int
	RowsIn     float64 // per second
	Demand     float64 // rows per second that it is to take in, with what it has to make up for
	TrueRate   float64 // rows per second that one partition takes which uses its node wholly
	// Work is Demand in nodes used wholly; Now what the stage uses now.
	Work, Now float64
	// Hottest is the use of a node by its heaviest partition if Demand came now, single key groups left out.
	Hottest float64
	LagS    float64
	Backlog float64 // rows; -1 not known
	// Peak is the highest Demand of the last window.
	Peak   float64
	part   float64   // of what comes, that is in Demand: the rest cannot be taken
	loads  []float64 // by key group, in nodes used wholly
	ranges []topology.Range
}

// step takes a sample and gives the figures of every stage.
func (d *detector) step(s *Sample) []Figures {
	if d.stages == nil {
		d.stages = make([]stageMemory, len(d.query.Stages))
	}
	out := make([]Figures, len(d.query.Stages))
	base := make([]float64, len(out)) // demand without what lags
	behind, known := false, false
	for i := range s.Stages {
		behind = behind || s.Stages[i].saturated()
		known = known || s.Stages[i].Backlog >= 0
	}
	for i := range out {
		st, m, load := &d.query.Stages[i], &d.stages[i], &s.Stages[i]
		f := &out[i]
		f.Partitions, f.RowsIn, f.Backlog, f.Now = len(load.Partitions), load.rowsIn(), load.Backlog, load.use()
		if behind {
			f.LagS = load.LagS // otherwise nothing comes, and nothing is behind
		}
		m.learnRate(f.RowsIn, f.Now)
		f.TrueRate = m.rate
		if len(st.Inputs) == 0 {
			base[i] = d.offered(load, m, behind)
		} else {
			base[i] = d.passedOn(s, topology.StageID(i), base, load)
		}
		if load.Backlog > 0 {
			base[i] += load.Backlog / d.config.CatchUpS
		}
		f.Demand = base[i]
		if behind && !known && load.LagS > d.config.LagLeastS && !load.Endless {
			f.Demand += base[i] * load.LagS / d.config.CatchUpS
		}
		f.weigh(load)
	}
	most := d.passes(out)
	for i := range out {
		out[i].scale(min(1, most))
		m := &d.stages[i]
		m.peaks = append(m.peaks, out[i].Demand)
		if drop := len(m.peaks) - d.config.PeakS; drop > 0 {
			m.peaks = m.peaks[drop:]
		}
		out[i].Peak = slices.Max(m.peaks)
	}
	return out
}

// passes is the part of the demand that the query can take at most, however many nodes it gets: a stage that has all partitions that it
// may have, or a key group that is too much for one node, bounds what the others have to do.
func (d *detector) passes(figures []Figures) float64 {
	most := 1.0
	for i := range figures {
		st, f := &d.query.Stages[i], &figures[i]
		if f.Work <= 0 {
			continue
		}
		parts := float64(st.bound(st.Groups))
		if !st.auto() {
			parts = float64(f.Partitions)
		}
		most = min(most, parts/f.Work)
		for _, l := range f.loads {
			if l > 0 {
				most = min(most, 1/l)
			}
		}
	}
	return most
}

// scale makes the demand a part of what it was.
func (f *Figures) scale(part float64) {
	f.part = part
	f.Demand *= part
	f.Work *= part
	f.Hottest *= part
	for g := range f.loads {
		f.loads[g] *= part
	}
}

// learnRate notes the true rate. A stage that does next to nothing tells nothing.
func (m *stageMemory) learnRate(rows, use float64) {
	const leastUse = 0.01
	if rows <= 0 || use < leastUse {
		return
	}
	if rate := rows / use; m.rate == 0 {
		m.rate = rate
	} else {
		m.rate += smooth * (rate - m.rate)
	}
}

// offered is how many rows per second come to a source, whether or not it takes them.
func (d *detector) offered(load *StageLoad, m *stageMemory, behind bool) float64 {
	rows := load.rowsIn()
	switch {
	case load.Backlog >= 0:
		return max(0, rows+load.BacklogGrowth)
	case load.Endless && !m.endlessFull:
		return 2 * rows // nobody knows: as long as it helps, twice as much
	case load.LagGrowth < 0 && load.LagGrowth > wakes || load.LagS > d.config.LagLeastS && behind:
		// Of each second that passes it takes 1 - LagGrowth seconds' rows.
		return rows / max(leastPace, 1-load.LagGrowth)
	}
	return rows
}

// wakes is a change of lag, in seconds a second, that is no catching up: a source that had nothing to say for a while has a row again.
const wakes = -5

// leastPace is the slowest that a source is taken to be, in seconds' rows for each second.
const leastPace = 0.05

// passedOn is how many rows per second come into a stage when the stages before it take their demand.
func (d *detector) passedOn(s *Sample, i topology.StageID, base []float64, load *StageLoad) float64 {
	m := &d.stages[i]
	var before, out, want float64
	for _, in := range d.query.Stages[i].Inputs {
		before += s.Stages[in].rowsIn()
		out += s.Stages[in].rowsOut()
		want += base[in]
	}
	if before > 0 {
		// What was given counts, if it is more: a stage that is behind has not taken all of it. A stage before it may give rows to others
		// too, so that where nothing waits what was taken counts.
		rows := load.rowsIn()
		if load.saturated() && m.ratio == 0 {
			rows = max(rows, out)
		}
		switch ratio := rows / before; {
		case m.ratio == 0:
			m.ratio = ratio
		case !load.saturated() || ratio > m.ratio:
			m.ratio += smooth * (ratio - m.ratio)
		}
	}
	return want * m.ratio
}

// weigh computes what the demand means for nodes and for the heaviest partition.
func (f *Figures) weigh(load *StageLoad) {
	for i := range load.Partitions {
		f.ranges = append(f.ranges, load.Partitions[i].Range)
	}
	if f.TrueRate > 0 {
		f.Work = f.Demand / f.TrueRate
	}
	f.Hottest = f.Work / float64(max(1, f.Partitions))
	groups := int(f.ranges[len(f.ranges)-1].To)
	total := sum(load.Groups)
	if len(load.Groups) != groups || total <= 0 {
		return
	}
	f.loads = make([]float64, groups)
	for g, rows := range load.Groups {
		f.loads[g] = rows / total * f.Work
	}
	f.Hottest = heaviest(f.loads, f.ranges)
}

// peak is the highest demand of the last samples, in nodes; ok is false before there are so many.
func (m *stageMemory) peak(samples int) (work float64, ok bool) {
	if len(m.peaks) < samples {
		return 0, false
	}
	top := slices.Max(m.peaks[len(m.peaks)-samples:])
	switch {
	case top == 0:
		return 0, true
	case m.rate == 0:
		return 0, false
	}
	return top / m.rate, true
}
