package autoscale

import "testing"

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
	load := func(rows ...float64) *StageLoad {
		s := &StageLoad{Backlog: -1}
		for _, x := range rows {
			s.Partitions = append(s.Partitions, PartitionLoad{RowsIn: x})
		}
		return s
	}
	var x full
	look := func(falling bool, l *StageLoad, uses ...float64) { x.look(l, uses, true, falling) }
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
	x.look(load(600), []float64{0.5}, false, false)
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
