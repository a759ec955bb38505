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
	cost   cost       // of its partitions, to their nodes
	full   full       // what a node took that could do no more
	groups groupLoads // of its rows over its key groups
	// ratio are the rows that come in for each row into the stages before it, or, of a source, nothing.
	ratio float64
	peaks []float64 // demand of the last samples, oldest first
	// endlessRows is what came in of an endless source before it was last given more, and endlessFull that this brought nothing.
	endlessRows float64
	endlessFull bool
	// recutMs is before when its key groups are not cut anew for balance alone.
	recutMs int64
}

// smooth is the weight of the latest sample in a remembered ratio, smoothBehind where it may be too low.
const smooth, smoothBehind = 0.2, 0.1

// Figures is what the detector makes of a stage.
type Figures struct {
	Partitions int
	RowsIn     float64 // per second
	Demand     float64 // rows per second that it is to take in at the aim's use of nodes, with what it has to make up for at full use
	TrueRate   float64 // rows per second that one partition takes for which nothing of its node is left, beside Fixed
	Fixed      float64 // the share of a node that a partition uses whatever comes
	// Work is Demand in nodes used wholly, Now what rows use now. A use is of what Fixed leaves, also below.
	Work, Now float64
	// Hottest is the use of a node by its heaviest partition if Demand came now, single key groups left out.
	Hottest float64
	LagS    float64
	Backlog float64 // rows; -1 not known
	// Peak is the highest Demand of the last window.
	Peak   float64
	part   float64   // of what comes, that is in Demand: the rest cannot be taken
	uses   []float64 // by partition, now
	loads  []float64 // by key group, in nodes used wholly
	even   bool      // nothing is known of the loads of key groups, they are taken for even
	ranges []topology.Range
}

// step takes a sample and gives the figures of every stage. Costs and ratios are learned of a settled layout only: around a change a sample
// is of two.
func (d *detector) step(s *Sample, settled bool) []Figures {
	if d.stages == nil {
		d.stages = make([]stageMemory, len(d.query.Stages))
	}
	out := make([]Figures, len(d.query.Stages))
	base := make([]float64, len(out)) // what comes
	late := make([]float64, len(out)) // what is to be made up for, per second
	behind, known, falling := false, true, false
	for i := range s.Stages {
		load := &s.Stages[i]
		behind = behind || load.saturated()
		falling = falling || load.falling()
		if d.query.Stages[i].Source && load.Backlog < 0 && load.rowsIn() > 0 {
			known = false
		}
	}
	for i := range out {
		st, m, load := &d.query.Stages[i], &d.stages[i], &s.Stages[i]
		f := &out[i]
		f.Partitions, f.RowsIn, f.Backlog = len(load.Partitions), load.rowsIn(), load.Backlog
		if behind {
			f.LagS = load.LagS // otherwise nothing comes, and nothing is behind
		}
		if settled {
			if m.cost.learn(load.observations(&m.cost, falling)) {
				m.full = full{} // of other rows
			}
		}
		f.Fixed, _ = m.cost.line()
		rest := 0.0 // of what the fixed part leaves, the mean
		for k := range load.Partitions {
			p := &load.Partitions[k]
			u := p.usedByRows(f.Fixed)
			f.uses, f.Now, rest = append(f.uses, u), f.Now+u, rest+p.usedOfRest(f.Fixed)/float64(len(load.Partitions))
		}
		m.full.look(load, rest, settled, falling, d.bottleneck(s, i))
		f.TrueRate = m.trueRate()
		if len(load.Groups) > 0 && sum(load.Groups) > 0 {
			m.groups.add(load.Groups)
		}
		if len(st.Inputs) == 0 {
			base[i] = d.offered(load, m, behind)
			late[i] = max(0, load.Backlog) / d.config.CatchUpS
		} else {
			base[i], late[i] = d.passedOn(s, topology.StageID(i), base, late, settled)
		}
		if behind && !known && load.LagS > d.config.LagLeastS && !load.Endless {
			late[i] = max(late[i], base[i]*load.LagS/d.config.CatchUpS)
		}
		// What is late may be made up for with all that nodes can.
		f.Demand = max(base[i], d.config.TargetUse*(base[i]+late[i]))
		f.weigh(load, m.groups.shares())
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

// observations are what the partitions of a stage did, with the rows of their nodes' other partitions left out. A stage that does next to
// nothing tells nothing. A partition that is near its node's end while the query falls behind is at it: not all of the processors' time can be
// had.
func (s *StageLoad) observations(c *cost, falling bool) (out []observation) {
	const leastUse = 0.01
	fixed, _ := c.line()
	for i := range s.Partitions {
		p := &s.Partitions[i]
		if use := p.used(fixed); p.RowsIn > 0 && use >= leastUse {
			if falling && use >= saturatedUse {
				use = 1
			}
			out = append(out, observation{p.RowsIn, use})
		}
	}
	return out
}

// used is how much a partition uses of its node with its fixed part. What the node does beyond that is its partitions' in proportion to
// the time they work: where processors are few, much of what rows cost is done beside the partitions. On a node that can do no more the
// time they take says little.
func (p *PartitionLoad) used(fixed float64) float64 {
	if p.NodeUse < 0 {
		return p.Use
	}
	part := min(p.NodeUse, fixed) + max(0, p.NodeUse-fixed)*p.Part
	if p.NodeUse >= saturatedNode {
		return part
	}
	return max(p.Busy, part)
}

// bottleneck says whether a stage holds those before it back and is not held back itself.
func (d *detector) bottleneck(s *Sample, i int) bool {
	return !s.Stages[i].blocked() && slices.ContainsFunc(d.query.Stages[i].Inputs, func(in topology.StageID) bool { return s.Stages[in].blocked() })
}

// usedOfRest is how much of what its fixed part leaves of its node a partition uses.
func (p *PartitionLoad) usedOfRest(fixed float64) float64 {
	return share((p.used(fixed) - fixed) / (1 - fixed))
}

// usedByRows is how much of a node the rows of a partition use, as usedOfRest. On a node that can do no more it is all, however much of that the
// fixed part is thought to be: where that is most of it, the little that was not had of the processors would be much of the rest.
func (p *PartitionLoad) usedByRows(fixed float64) float64 {
	use := p.usedOfRest(fixed)
	if p.NodeUse >= saturatedNode {
		use = max(use, p.NodeUse*p.Part)
	}
	return use
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

// passedOn is how many rows per second come into a stage when the stages before it take their demand, and how many more when they make up for
// what is late.
func (d *detector) passedOn(s *Sample, i topology.StageID, base, late []float64, settled bool) (want, more float64) {
	m, load := &d.stages[i], &s.Stages[i]
	var before, out float64
	for _, in := range d.query.Stages[i].Inputs {
		before += s.Stages[in].rowsIn()
		out += s.Stages[in].rowsOut()
		want += base[in]
		more += late[in]
	}
	if before > 0 && (settled || m.ratio == 0) {
		// What was given counts, if it is more: a stage that is behind has not taken all of it. A stage before it may give rows to others
		// too, so that where nothing waits what was taken counts.
		rows := load.rowsIn()
		if load.saturated() && m.ratio == 0 {
			rows = max(rows, out)
		}
		switch ratio := rows / before; {
		case m.ratio == 0:
			m.ratio = ratio
		case ratio < m.ratio && load.saturated():
			// It may have fallen behind. Its producers are held back then, so that before long it takes what they give.
			m.ratio += smoothBehind * (ratio - m.ratio)
		default:
			m.ratio += smooth * (ratio - m.ratio)
		}
	}
	return want * m.ratio, more * m.ratio
}

// weigh computes what the demand means for nodes and for the heaviest partition. Shares are those of key groups, nil when not known.
func (f *Figures) weigh(load *StageLoad, shares []float64) {
	for i := range load.Partitions {
		f.ranges = append(f.ranges, load.Partitions[i].Range)
	}
	if f.TrueRate > 0 {
		f.Work = f.Demand / f.TrueRate
	}
	groups := int(f.ranges[len(f.ranges)-1].To)
	if f.loads = shares; len(shares) != groups {
		f.loads, f.even = make([]float64, groups), true
		for g := range f.loads {
			f.loads[g] = 1 / float64(groups)
		}
	}
	for g := range f.loads {
		f.loads[g] *= f.Work
	}
	f.Hottest = heaviest(f.loads, f.ranges)
}

// trueRate is how many rows per second a partition takes for which nothing of its node is left; 0 while nothing is known.
func (m *stageMemory) trueRate() float64 {
	if rate := m.cost.rate(); m.full.rows == 0 || rate < m.full.rows {
		return rate
	}
	return m.full.rows
}

// rises says that the demand is clearly greater than a second before.
func (m *stageMemory) rises() bool {
	n := len(m.peaks)
	return n > 1 && m.peaks[n-1] > rising*m.peaks[n-2]
}

// peak is the highest demand of the last samples, in nodes; ok is false before there are so many.
func (m *stageMemory) peak(samples int) (work float64, ok bool) {
	if len(m.peaks) < samples {
		return 0, false
	}
	top, rate := slices.Max(m.peaks[len(m.peaks)-samples:]), m.trueRate()
	switch {
	case top == 0:
		return 0, true
	case rate == 0:
		return 0, false
	}
	return top / rate, true
}
