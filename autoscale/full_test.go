package autoscale

import (
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// bent is what a node of a fifth of a core was seen to use with so many rows per second: the more there are, the less it has to do for each. At 430 it
// could do no more.
func bent(rows float64) float64 {
	seen := []struct{ rows, use float64 }{{0, 0.45}, {64, 0.5}, {101, 0.66}, {150, 0.77}, {225, 0.9}, {264, 0.95}, {359, 0.987}, {430, 1}}
	for i, x := range seen[1:] {
		if before := seen[i]; rows < x.rows {
			return before.use + (x.use-before.use)*(rows-before.rows)/(x.rows-before.rows)
		}
	}
	return 1
}

// TestWhatANodeTookThatCouldDoNoMoreBoundsWhatIsGivenToIt: rows that only fill a state cost little, and a line through them and later ones promises half as
// many of these again as a node takes. While a load rose, and again when what it had been given had been taken back, the query fell behind.
func TestWhatANodeTookThatCouldDoNoMoreBoundsWhatIsGivenToIt(t *testing.T) {
	m := newModel(wordCount(), []float64{1_000_000, 4000, 10_000_000}, []float64{1, 1, 0.1})
	m.bent = func(float64) float64 { return 0.55 }
	machine := NewMachine(m.query, DefaultConfig())
	m.run(machine, 5, func(int) float64 { return 2000 }, nil)
	m.rate[1], m.bent = 430, bent
	worst := 0.0
	look := func(*Sample, *Effects) { worst = max(worst, m.lag) }
	m.run(machine, 10, func(int) float64 { return 64 }, look)
	up := m.run(machine, 55, func(second int) float64 { return 64 + 9*float64(second-15) }, look)
	if n := m.parts()[1]; n != 2 || worst > 0.1 {
		t.Errorf("%d partitions for 550 rows/s of 430 each; it was %.1f s behind at the most\n%s", n, worst, describe(up))
	}
	if steady := m.run(machine, 3600, func(int) float64 { return 360 }, look); len(steady) > 4 || worst > 1 {
		t.Errorf("for an hour of 360 rows/s: it was %.1f s behind at the most\n%s", worst, describe(steady))
	}
	down := m.run(machine, 60, func(int) float64 { return 100 }, look)
	if n := m.parts()[1]; n != 1 {
		t.Errorf("%d partitions for 100 rows/s\n%s", n, describe(down))
	}
}

func TestWhatFullPartitionsTookIsKnownUntilOthersShowOtherwise(t *testing.T) {
	load := func(rows ...float64) StageLoad {
		s := StageLoad{Backlog: -1}
		for _, x := range rows {
			s.Partitions = append(s.Partitions, PartitionLoad{RowsIn: x})
		}
		return s
	}
	var x full
	looks := func(settled, falling bool, l StageLoad, uses ...float64) {
		for i := range uses {
			l.Partitions[i].Use = uses[i]
		}
		x.look(&l, sum(uses)/float64(len(uses)), settled, falling, true)
	}
	look := func(falling bool, l StageLoad, uses ...float64) { looks(true, falling, l, uses...) }
	about := func(what string, want float64) {
		t.Helper()
		if x.rows < 0.98*want || x.rows > 1.02*want {
			t.Errorf("%s: %.0f rows/s are known, want about %.0f", what, x.rows, want)
		}
	}
	for range 10 {
		look(true, load(100, 200, 200), 1, 0.4, 0.4)
	}
	about("one of three is full", 0)
	for range fullFor {
		look(false, load(400), 1)
	}
	about("the only one is", 400)
	look(false, load(420), 0.9)
	about("a few more are no other rows", 400)
	for range 5 {
		look(false, load(330), 0.96)
	}
	about("who keeps up with less may hold more", 400)
	looks(false, false, load(600), 0.5)
	about("a change is under way", 400)
	for range 20 {
		look(true, load(300), 0.9)
	}
	about("who falls behind with less does not", 300)
	if x.fades >= fullFades {
		t.Errorf("it was thought to hold too much, and fades by %v as before", x.fades)
	}
	look(false, load(600), 0.5)
	about("half of it took twice as many", 0)
}

// TestAFullNodeIsFullWhateverItsFixedPart: what it was not given of its processors in a second says nothing of what is left.
func TestAFullNodeIsFullWhateverItsFixedPart(t *testing.T) {
	for _, fixed := range []float64{0, 0.5, 0.8} {
		for _, c := range []struct{ node, part, least, most float64 }{{0.95, 1, 0.95, 1}, {0.95, 0.5, 0.47, 0.5}, {1, 1, 1, 1}, {0.85, 1, (0.85 - fixed) / (1 - fixed), (0.85 - fixed) / (1 - fixed)}} {
			p := PartitionLoad{NodeUse: c.node, Part: c.part}
			if use := p.usedByRows(fixed); use < c.least-1e-9 || use > c.most+1e-9 {
				t.Errorf("%v of a node used, %v of it by a partition with a fixed part of %v: rows use %v", c.node, c.part, fixed, use)
			}
		}
	}
}

// TestWhoFallsBehindGetsMoreWhateverTheFixedPartIsThoughtToBe: rows that filled the state had cost next to nothing, so that a node's use is taken for
// fixed nearly all, and what it would take for three times as much as it takes. One of two nodes is a little less used than the other. The source, whose
// node is as much used, is held back and gets no more.
func TestWhoFallsBehindGetsMoreWhateverTheFixedPartIsThoughtToBe(t *testing.T) {
	q := wordCount()
	machine := NewMachine(q, DefaultConfig())
	lag := 0.0
	var last Sample
	decided := 0
	for second := range 40 {
		rows, use := 1500.0, []float64{0.82, 0.83}
		if second > 6 {
			rows, use = 700, []float64{0.96, 0.88}
			lag += 0.1
		}
		s := Sample{AtMs: int64(second+1) * 1000, Slots: 8}
		for i, st := range []StageLoad{{Backlog: -1, LagS: lag, LagGrowth: 0.1}, {Backlog: -1, LagS: lag, LagGrowth: 0.1}, {Backlog: -1}} {
			ranges := topology.Split(q.Stages[i].Groups, 1)
			if i == 1 {
				ranges = topology.Split(256, 2)
			}
			for k, r := range ranges {
				p := PartitionLoad{Range: r, Node: topology.NodeID(fmt.Sprintf("n%d%d", i, k)), RowsIn: rows / float64(len(ranges)), RowsOut: rows / float64(len(ranges)), Busy: 0.1, Idle: 0.9, Use: 0.1, NodeUse: 0.1, Part: 1}
				if i == 1 {
					p.Busy, p.Idle, p.Use, p.NodeUse = use[k], 1-use[k], use[k], use[k]
				}
				if i == 0 {
					p.Use, p.NodeUse = 0.87, 0.87
				}
				if i == 0 && second > 6 {
					p.Blocked, p.Idle = 0.5, 0.4
				}
				st.Partitions = append(st.Partitions, p)
			}
			if second <= 6 {
				st.LagGrowth = 0
			}
			s.Stages = append(s.Stages, st)
		}
		last = s
		if e := machine.Step(s); e.Decision != nil {
			decided = second
			if t0 := e.Decision.Targets[0]; len(e.Decision.Targets) != 1 || t0.Stage != 1 || len(t0.Ranges) < 3 {
				t.Errorf("%s", describe([]*Decision{e.Decision}))
			}
			break
		}
	}
	if decided == 0 || decided > 20 {
		t.Errorf("second %d: %.1f s behind, %+v", decided, last.Stages[1].LagS, machine.Standing().Stages[1])
	}
}
