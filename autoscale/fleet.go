package autoscale

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Fleet decides for the whole cluster how many nodes should work, and which partitions should leave a node that is too busy while others
// have room. It is told what the machines of the queries think.
type Fleet struct {
	config FleetConfig
	busy   []busyNode
	calmMs int64
	tried  []triedMove
}

// triedMove is a move that was asked for: while it does not show, another one is.
type triedMove struct {
	move    Move
	againMs int64
}

// triedMs is how long a move is not asked for again.
const triedMs = 60_000

// FleetConfig are its numbers. Shares of a node are from 0 to 1.
type FleetConfig struct {
	Fill    float64 // what partitions that are put together on one node may use of it
	High    float64 // a node above it for HighFor samples gives partitions away
	HighFor int
	Room    float64 // what a node that takes one may use with it
	CalmMs  int64   // between two moves
}

// DefaultFleetConfig is a little above what the rate policy aims at.
func DefaultFleetConfig() FleetConfig {
	return FleetConfig{Fill: 0.8, High: 0.85, HighFor: 3, Room: 0.75, CalmMs: 5_000}
}

type busyNode struct {
	process topology.Process
	samples int
}

// Need is the work of a stage and how it is to be cut.
type Need struct {
	Work       float64 // in nodes used wholly
	Partitions int     // how many it should have; 0: that is not known
}

// NewFleet makes the machine of a cluster whose queries' policies aim at what c says.
func NewFleet(c *Config) Fleet {
	k, def := DefaultFleetConfig(), DefaultConfig()
	aim := c.TargetUse / def.TargetUse
	if c.Policy == PolicyThreshold {
		aim = c.Delta / def.Delta
	}
	k.Fill, k.High, k.Room = min(fillMost, aim*k.Fill), min(highMost, aim*k.High), min(roomMost, aim*k.Room)
	return Fleet{config: k}
}

// No aim lets nodes be fuller than this.
const fillMost, highMost, roomMost = 0.95, 0.97, 0.9

// FleetSample is the cluster at one time.
type FleetSample struct {
	AtMs  int64
	Needs []Need
	// Present is how many nodes the queries are on of which nothing is decided, like those that are paused or wait.
	Present int
	Nodes   []FleetNode // that may be given partitions, ascending by process
}

// FleetNode is a node.
type FleetNode struct {
	NodeLoad
	// Leader: it gets partitions last.
	Leader     bool
	Partitions []FleetPartition
}

// FleetPartition is a partition on a node.
type FleetPartition struct {
	Query   topology.QueryID
	Stage   topology.StageID
	Range   topology.Range
	Use     float64
	Pinned  bool // something else changes it just now
	Display string
}

// FleetEffects are what a step gives.
type FleetEffects struct {
	Nodes int // that should work
	Text  string
	Move  *Move // nil: none
}

// Move puts a partition on another node.
type Move struct {
	Query topology.QueryID
	Stage topology.StageID
	Range topology.Range
	From  topology.Process
	To    topology.Process
	Text  string
}

func (f *Fleet) setDefaults() {
	if f.config == (FleetConfig{}) {
		f.config = DefaultFleetConfig()
	}
}

// Step takes a sample.
func (f *Fleet) Step(s *FleetSample) (e FleetEffects) {
	f.setDefaults()
	e.Nodes, e.Text = f.nodes(s.Needs, s.Present)
	e.Move = f.move(s)
	return e
}

// nodes puts the partitions that there should be on as few nodes as hold them: the largest first, each where it fits. Partitions of a stage
// are on a node each, or they are one; and those of which nothing is decided keep their nodes.
func (f *Fleet) nodes(needs []Need, present int) (int, string) {
	var sizes []float64
	total, least := 0.0, max(1, present)
	for _, n := range needs {
		total += n.Work
		least = max(least, n.Partitions)
		parts := max(1, n.Partitions)
		for range parts {
			sizes = append(sizes, n.Work/float64(parts))
		}
	}
	slices.SortFunc(sizes, func(a, b float64) int { return cmp.Compare(b, a) })
	var bins []float64
	for _, size := range sizes {
		i := slices.IndexFunc(bins, func(have float64) bool { return have+size <= f.config.Fill })
		if i < 0 {
			i, bins = len(bins), append(bins, 0)
		}
		bins[i] += size
	}
	n := max(least, len(bins))
	return n, fmt.Sprintf("all partitions need %.2f nodes; put together up to %s each that is %d", total, percent(f.config.Fill), n)
}

// move finds the busiest node that has been so for long, and of its partitions the largest that another has room for.
func (f *Fleet) move(s *FleetSample) *Move {
	var busy []busyNode
	for i := range s.Nodes {
		n := &s.Nodes[i]
		if len(n.Partitions) < 2 || n.load() <= f.config.High {
			continue
		}
		b := busyNode{n.Process, 1}
		if k := slices.IndexFunc(f.busy, func(x busyNode) bool { return x.process == n.Process }); k >= 0 {
			b.samples += f.busy[k].samples
		}
		busy = append(busy, b)
	}
	f.busy = busy
	if s.AtMs < f.calmMs {
		return nil
	}
	var best *Move
	gain := 0.0
	for _, b := range busy {
		if b.samples < f.config.HighFor {
			continue
		}
		from := &s.Nodes[slices.IndexFunc(s.Nodes, func(n FleetNode) bool { return n.Process == b.process })]
		for _, to := range roomiest(s.Nodes, b.process) {
			for i := range from.Partitions {
				p := &from.Partitions[i]
				m := Move{Query: p.Query, Stage: p.Stage, Range: p.Range, From: from.Process, To: to.Process}
				if p.Pinned || p.Use <= gain || to.load()+p.Use > f.config.Room || to.runs(p.Query, p.Stage) || f.hasTried(m, s.AtMs) {
					continue
				}
				gain = p.Use
				m.Text = fmt.Sprintf("%s is at %s with %d partitions and %s at %s: %s, which uses %s, goes there", from.Process.Node, percent(from.load()),
					len(from.Partitions), to.Process.Node, percent(to.load()), p.Display, percent(p.Use))
				best = &m
			}
		}
	}
	if best != nil {
		f.calmMs = s.AtMs + f.config.CalmMs
		f.busy = nil
		again := triedMove{move: *best, againMs: s.AtMs + triedMs}
		again.move.Text = ""
		f.tried = append(f.tried, again)
	}
	return best
}

// hasTried says whether a move was asked for lately.
func (f *Fleet) hasTried(m Move, nowMs int64) bool {
	f.tried = slices.DeleteFunc(f.tried, func(x triedMove) bool { return nowMs >= x.againMs })
	return slices.ContainsFunc(f.tried, func(x triedMove) bool { return x.move == m })
}

// runs says whether a node has a partition of a stage: a second one would be joined with it and count as one.
func (n *FleetNode) runs(query topology.QueryID, stage topology.StageID) bool {
	return slices.ContainsFunc(n.Partitions, func(p FleetPartition) bool { return p.Query == query && p.Stage == stage })
}

// load is how busy a node is: its processors, or its partitions if they say more.
func (n *FleetNode) load() float64 {
	parts := 0.0
	for i := range n.Partitions {
		parts += n.Partitions[i].Use
	}
	if n.Use >= 0 {
		return n.Use
	}
	return parts
}

// roomiest are the other nodes, the least busy first and the leader's last.
func roomiest(nodes []FleetNode, but topology.Process) (list []*FleetNode) {
	for i := range nodes {
		if nodes[i].Process != but {
			list = append(list, &nodes[i])
		}
	}
	slices.SortStableFunc(list, func(a, b *FleetNode) int {
		if a.Leader != b.Leader {
			if a.Leader {
				return 1
			}
			return -1
		}
		return cmp.Or(cmp.Compare(a.load(), b.load()), strings.Compare(string(a.Process.Node), string(b.Process.Node)))
	})
	return list
}

// Needs are what the fleet must know of a query. A stage that nothing is known of needs one partition and nothing else.
func (m *Machine) Needs() []Need {
	if len(m.latest) == 0 {
		return []Need{{Partitions: 1}}
	}
	var out []Need
	for i := range m.latest {
		st, f, mem := &m.query.Stages[i], &m.latest[i], &m.detector.stages[i]
		work := f.Work
		// Between two loads the peak of the window counts, so that nodes are not given back and asked for again.
		if rate := mem.trueRate(); rate > 0 {
			for _, p := range mem.peaks {
				work = max(work, p/rate)
			}
		}
		n := Need{Work: work, Partitions: st.Fixed}
		if st.auto() {
			n.Partitions = m.wanted(i, work)
		}
		out = append(out, n)
	}
	return out
}

// needsAfter is how many samples are seen before a query's needs are known: a window, and what was in it before.
const needsAfter = 5

// Known says whether enough was seen of the query for Needs: until then it keeps the nodes that it is on.
func (m *Machine) Known() bool { return m.seen >= needsAfter }

// wanted is how many partitions a stage should have for some work, whatever nodes there are: as many as it has while they are neither too
// few nor clearly too many.
func (m *Machine) wanted(i int, work float64) int {
	st, have := &m.query.Stages[i], m.latest[i].Partitions
	all := st.bound(st.Groups)
	if m.need(i, work, m.config.HighUse, all) > have {
		return m.need(i, work, m.config.TargetUse, all)
	}
	return min(st.bound(have), m.need(i, work, m.config.LowUse, all))
}
