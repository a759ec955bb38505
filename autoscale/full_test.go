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
	if steady := m.run(machine, 240, func(int) float64 { return 360 }, look); len(steady) > 0 || worst > 0.1 {
		t.Errorf("for 360 rows/s: it was %.1f s behind at the most\n%s", worst, describe(steady))
	}
	down := m.run(machine, 60, func(int) float64 { return 100 }, look)
	if n := m.parts()[1]; n != 1 {
		t.Errorf("%d partitions for 100 rows/s\n%s", n, describe(down))
	}
}

func TestRowsThatHaveBecomeCheaperFreeWhatANodeTakes(t *testing.T) {
	load := func(rows float64) *StageLoad { return &StageLoad{Partitions: []PartitionLoad{{RowsIn: rows}}} }
	var x full
	for range fullFor {
		x.look(load(400), []float64{1}, true)
	}
	if x.rows != 400 {
		t.Fatalf("a full partition took 400 rows/s, known is %v", x.rows)
	}
	if x.look(load(420), []float64{0.9}, true); x.rows < 400 {
		t.Errorf("420 rows/s are no other rows, known is %v", x.rows)
	}
	if x.look(load(600), []float64{0.5}, true); x.rows != 0 {
		t.Errorf("half a node took 600 rows/s, known is %v", x.rows)
	}
}
