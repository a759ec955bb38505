package autoscale

import (
	"cmp"
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Counters are what a process says of a partition of a query. They only grow while the instance lives.
type Counters struct {
	Stage    topology.StageID
	Range    topology.Range
	Process  topology.Process
	Instance uint64
	// Time in nanoseconds, rows.
	BusyNs, IdleNs, BlockedNs, RowsIn, RowsOut int64
	LagMs                                      int64   // now
	Backlog                                    int64   // rows due and not read, now; -1: not known, as of everything but some sources
	CutRows                                    int64   // of RowsIn, those of reads that a limit ended
	Groups                                     []int64 // rows of each key group of Range; nil: not known
	HotKey                                     string
	HotShare                                   float64
}

// NodeCounters are what a process says of itself. All of its partitions are among those of the same reading, of whatever query.
type NodeCounters struct {
	Process topology.Process
	AtMs    int64   // when it said so
	CPUNs   int64   // processor time of the process; 0: not known
	Cores   float64 // it may use so many at once
	Shadows bool    // it brings partitions up, or keeps them up beside active ones
}

// Reading are the counters of all processes, for all queries, at one time.
type Reading struct {
	AtMs    int64
	Nodes   []NodeCounters // ascending by process
	Queries []QueryCounters
}

// QueryCounters are the active partitions of a query.
type QueryCounters struct {
	ID         topology.QueryID
	Pending    bool // see Sample
	Merging    bool
	Partitions []Counters // ascending by stage, then range
}

// Meter turns counters into loads over the last seconds. The zero value is one of no readings.
type Meter struct {
	// WindowMs is over how long loads are; 3 s when 0.
	WindowMs int64
	readings []*Reading // oldest first
	// idle is how many cores a process takes that runs no partition, as seen lately; 0: none was seen.
	idle float64
}

const (
	meterWindowMs = 3000
	// idleCores is what a process takes that runs no partition, until one was seen: gossip, Raft, keep-alives.
	idleCores = 0.02
	// idleNew is the weight of the latest reading in what is remembered of idle processes, idleMost the most of a node that they take.
	idleNew  = 0.1
	idleMost = 0.5
	// saturatedNode: above it partitions wait for the processors of their node, and the time they take says little.
	saturatedNode = 0.9
	// cutShare of rows from reads that a limit ended make a source endless.
	cutShare = 0.5
)

// NodeLoad is what a node did lately.
type NodeLoad struct {
	Process topology.Process
	Use     float64 // of what its processors have beside what an idle agent takes; -1 not known
	Cores   float64
	// Worked is the time that its partitions worked, together, in seconds per second.
	Worked float64
}

// Add takes the next reading.
func (m *Meter) Add(r *Reading) {
	m.readings = append(m.readings, r)
	window := cmp.Or(m.WindowMs, meterWindowMs)
	for len(m.readings) > 2 && r.AtMs-m.readings[1].AtMs >= window {
		m.readings = slices.Delete(m.readings, 0, 1)
	}
	m.learnIdle()
}

// learnIdle remembers what the process takes that does least of those that run no partition and bring none up.
func (m *Meter) learnIdle() {
	least := 0.0
	for _, s := range m.spans() {
		if s.first.Shadows || s.last.Shadows || s.from.runs(s.first.Process) || s.to.runs(s.last.Process) {
			continue
		}
		if cores, ok := s.cores(); ok && (least == 0 || cores < least) {
			least = cores
		}
	}
	switch {
	case least == 0:
	case m.idle == 0:
		m.idle = least
	default:
		m.idle += idleNew * (least - m.idle)
	}
}

// runs says whether a process runs any partition.
func (r *Reading) runs(p topology.Process) bool {
	for i := range r.Queries {
		if slices.ContainsFunc(r.Queries[i].Partitions, func(c Counters) bool { return c.Process == p }) {
			return true
		}
	}
	return false
}

// span is what a process said last and what it said before.
type span struct {
	first, last *NodeCounters
	from, to    *Reading
}

// cores is how many it used, ok false when that is not known.
func (s *span) cores() (n float64, ok bool) {
	if s.first.CPUNs <= 0 || s.last.CPUNs < s.first.CPUNs {
		return 0, false
	}
	return float64(s.last.CPUNs-s.first.CPUNs) / 1e6 / float64(s.last.AtMs-s.first.AtMs), true
}

// spans gives those of all processes of the last reading, of which something is known from before. A process that said nothing since
// the reading before is compared as it was.
func (m *Meter) spans() []span {
	if len(m.readings) < 2 {
		return nil
	}
	last := m.readings[len(m.readings)-1]
	var out []span
	for i := range last.Nodes {
		n := &last.Nodes[i]
		for _, r := range m.readings[:len(m.readings)-1] {
			if before := r.node(n.Process); before != nil && n.AtMs > before.AtMs {
				out = append(out, span{before, n, r, last})
				break
			}
		}
	}
	return out
}

func (r *Reading) node(p topology.Process) *NodeCounters {
	i, ok := slices.BinarySearchFunc(r.Nodes, p, func(n NodeCounters, p topology.Process) int { return compareProcess(n.Process, p) })
	if !ok {
		return nil
	}
	return &r.Nodes[i]
}

func (r *Reading) query(id topology.QueryID) *QueryCounters {
	for i := range r.Queries {
		if r.Queries[i].ID == id {
			return &r.Queries[i]
		}
	}
	return nil
}

func compareProcess(a, b topology.Process) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot))
}

// partition gives the counters of the instance that c is of, which may have had a greater range then.
func (q *QueryCounters) partition(c *Counters) *Counters {
	if q == nil {
		return nil
	}
	for i := range q.Partitions {
		if x := &q.Partitions[i]; x.Instance == c.Instance && x.Process == c.Process && x.Stage == c.Stage {
			return x
		}
	}
	return nil
}

// Nodes are the loads of the processes, ascending by process.
func (m *Meter) Nodes() []NodeLoad {
	var out []NodeLoad
	for _, s := range m.spans() {
		out = append(out, m.node(s))
	}
	return out
}

func (m *Meter) node(s span) NodeLoad {
	seconds := float64(s.last.AtMs-s.first.AtMs) / 1000
	n := NodeLoad{Process: s.last.Process, Cores: s.last.Cores, Use: -1}
	if cores, ok := s.cores(); ok && n.Cores > 0 {
		idle := min(cmp.Or(m.idle, idleCores), idleMost*n.Cores)
		n.Use = share((cores - idle) / (n.Cores - idle))
	}
	for i := range s.to.Queries {
		q := &s.to.Queries[i]
		before := s.from.query(q.ID)
		for j := range q.Partitions {
			if c := &q.Partitions[j]; c.Process == s.last.Process {
				n.Worked += c.minus(before.partition(c)).busy(seconds)
			}
		}
	}
	return n
}

// growth is how much counters have grown.
type growth struct{ busyNs, idleNs, blockedNs, rowsIn, rowsOut, cutRows int64 }

// minus gives the growth since before, which may be nil: the instance is new.
func (c *Counters) minus(before *Counters) growth {
	if before == nil || before.BusyNs > c.BusyNs || before.RowsIn > c.RowsIn {
		before = &Counters{}
	}
	return growth{c.BusyNs - before.BusyNs, max(0, c.IdleNs-before.IdleNs), max(0, c.BlockedNs-before.BlockedNs), c.RowsIn - before.RowsIn,
		max(0, c.RowsOut-before.RowsOut), max(0, c.CutRows-before.CutRows)}
}

func (g growth) busy(seconds float64) float64 { return share(float64(g.busyNs) / 1e9 / seconds) }

func share(x float64) float64 { return max(0, min(1, x)) }

// Query is the sample of a query with so many stages; ok is false while there is too little to say.
func (m *Meter) Query(id topology.QueryID, stages int) (s Sample, ok bool) {
	spans := m.spans()
	if len(spans) == 0 {
		return s, false
	}
	last := m.readings[len(m.readings)-1]
	q := last.query(id)
	if q == nil {
		return s, false
	}
	s = Sample{AtMs: last.AtMs, Pending: q.Pending, Merging: q.Merging, Stages: make([]StageLoad, stages)}
	var nodes []NodeLoad
	for _, sp := range spans {
		nodes = append(nodes, m.node(sp))
	}
	for i := range s.Stages {
		s.Stages[i].Backlog = -1
	}
	cut := make([]float64, stages)
	for i := range q.Partitions {
		c := &q.Partitions[i]
		k := slices.IndexFunc(spans, func(sp span) bool { return sp.last.Process == c.Process })
		if int(c.Stage) >= stages || k < 0 {
			return s, false // of a process nothing is known yet
		}
		sp := spans[k]
		seconds := float64(sp.last.AtMs-sp.first.AtMs) / 1000
		before := sp.from.query(id).partition(c)
		g := c.minus(before)
		st := &s.Stages[c.Stage]
		p := PartitionLoad{Range: c.Range, Node: c.Process.Node, RowsIn: float64(g.rowsIn) / seconds, RowsOut: float64(g.rowsOut) / seconds}
		p.Busy = g.busy(seconds)
		p.Blocked = share(float64(g.blockedNs) / 1e9 / seconds)
		p.Idle = share(1 - p.Busy - p.Blocked)
		p.Use, p.NodeUse, p.Part = useOf(p.Busy, &nodes[k]), nodes[k].Use, 1
		if nodes[k].Worked > 0 {
			p.Part = share(p.Busy / nodes[k].Worked)
		}
		st.Partitions = append(st.Partitions, p)
		if lag := float64(c.LagMs) / 1000; lag >= st.LagS {
			st.LagS, st.LagGrowth = lag, 0
			if before != nil {
				st.LagGrowth = (lag - float64(before.LagMs)/1000) / seconds
			}
		}
		if c.Backlog >= 0 {
			st.Backlog = max(0, st.Backlog) + float64(c.Backlog)
			if before != nil && before.Backlog >= 0 {
				st.BacklogGrowth += float64(c.Backlog-before.Backlog) / seconds
			}
		}
		cut[c.Stage] += float64(g.cutRows) / seconds
		st.addGroups(c, before)
	}
	for i := range s.Stages {
		st := &s.Stages[i]
		if len(st.Partitions) == 0 {
			return s, false
		}
		st.join()
		st.Endless = st.Backlog < 0 && cut[i] > cutShare*st.rowsIn() && cut[i] > 0
	}
	return s, true
}

// useOf is how much of its node a partition uses that worked for a share of the time. Where the processors are what limits, as on a node
// with a quota, the partition's part of their time counts. While they are saturated, partitions that share them wait for each other,
// so that only that part says anything.
func useOf(busy float64, n *NodeLoad) float64 {
	if n.Use < 0 || n.Worked <= 0 {
		return busy
	}
	part := n.Use * busy / n.Worked
	if n.Use >= saturatedNode {
		return part
	}
	return max(busy, part)
}

// group is how many rows a key group had; 0 where that is not known, and of no counters.
func (c *Counters) group(g topology.KeyGroup) int64 {
	if c == nil || !c.Range.Contains(g) || len(c.Groups) != c.Range.Len() {
		return 0
	}
	return c.Groups[g-c.Range.From]
}

// join makes neighbours on one node one partition: what they are together is what counts for the node.
func (s *StageLoad) join() {
	out := s.Partitions[:1]
	for _, p := range s.Partitions[1:] {
		last := &out[len(out)-1]
		if last.Node != p.Node || last.Range.To != p.Range.From {
			out = append(out, p)
			continue
		}
		last.Range.To = p.Range.To
		last.Busy, last.Blocked = share(last.Busy+p.Busy), max(last.Blocked, p.Blocked)
		last.Idle, last.Use, last.Part = share(1-last.Busy-last.Blocked), share(last.Use+p.Use), share(last.Part+p.Part)
		last.RowsIn, last.RowsOut = last.RowsIn+p.RowsIn, last.RowsOut+p.RowsOut
	}
	s.Partitions = out
}

// addGroups adds the rows of a partition's key groups, and its hottest key if its key group is the busiest.
func (s *StageLoad) addGroups(c, before *Counters) {
	if len(c.Groups) != c.Range.Len() {
		return
	}
	if need := int(c.Range.To); len(s.Groups) < need {
		s.Groups = append(s.Groups, make([]float64, need-len(s.Groups))...)
	}
	busiest := 0.0
	for _, x := range s.Groups {
		busiest = max(busiest, x)
	}
	for i, rows := range c.Groups {
		if was := before.group(c.Range.From + topology.KeyGroup(i)); was <= rows {
			rows -= was
		}
		x := float64(rows)
		s.Groups[int(c.Range.From)+i] = x
		if x > busiest {
			busiest = x
			s.HotKey, s.HotShare = c.HotKey, c.HotShare
		}
	}
}
