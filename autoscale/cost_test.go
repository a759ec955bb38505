package autoscale

import (
	"math"
	"math/rand/v2"
	"testing"
)

// seconds has a cost learn so many seconds of partitions that use fixed + perRow a row, with noise.
func (c *cost) seconds(rng *rand.Rand, n int, rows func(int) []float64, fixed, perRow, noise float64) {
	for s := range n {
		var seen []observation
		for _, r := range rows(s) {
			seen = append(seen, observation{r, min(1, fixed+perRow*r+noise*(2*rng.Float64()-1))})
		}
		c.learn(seen)
	}
}

func each(rows ...float64) func(int) []float64 { return func(int) []float64 { return rows } }

func within(got, want, part float64) bool { return math.Abs(got-want) <= part*want }

func TestTheFixedPartOfAPartitionsUseIsNoWork(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var c cost
	// A computer of a fifth of a core: half of it is gone for being there.
	c.seconds(rng, 20, each(30), 0.5, 0.002, 0.05)
	if r := c.rate(); r < 45 {
		t.Errorf("at one low rate a partition is thought to take %.0f rows/s", r)
	}
	c.seconds(rng, 30, func(s int) []float64 { return []float64{30 + 4*float64(s)} }, 0.5, 0.002, 0.05)
	if fixed, perRow := c.line(); !within(fixed, 0.5, 0.15) || !within(perRow, 0.002, 0.25) || !within(c.rate(), 250, 0.2) {
		t.Errorf("after a rise of the rate it is %.2f + %.4f a row, %.0f rows/s in all; it should be 0.5 + 0.002, 250", fixed, perRow, c.rate())
	}
}

// Rows of one key may cost less than those of others: that a partition does more of them for as much is no fixed part.
func TestDifferencesBetweenPartitionsTellNothingOfTheFixedPart(t *testing.T) {
	var c cost
	for range 30 {
		c.learn([]observation{{rows: 100, use: 0.8}, {rows: 10, use: 0.7}})
	}
	if c.known {
		t.Errorf("the fixed part is said to be known, %.2f", c.anchor)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	c = cost{}
	c.seconds(rng, 40, func(s int) []float64 { return []float64{50 + float64(s), 150 + 3*float64(s)} }, 0.4, 0.001, 0.02)
	if fixed, perRow := c.line(); !within(fixed, 0.4, 0.15) || !within(perRow, 0.001, 0.2) {
		t.Errorf("it is %.2f + %.4f a row, not 0.4 + 0.001", fixed, perRow)
	}
}

func TestAPartitionThatCanDoNoMoreTellsWhatANodeTakes(t *testing.T) {
	var c cost
	c.seconds(rand.New(rand.NewPCG(1, 3)), 3, each(200), 1, 0, 0)
	if r := c.rate(); !within(r, 200, 0.05) {
		t.Errorf("a partition that uses all of its node for 200 rows/s is thought to take %.0f", r)
	}
}

// What fills the state at first costs next to nothing for a row: that must not be held against the rows that come later, nor for them.
func TestRowsOfAnotherKindAreLearnedAnew(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	var c cost
	c.seconds(rng, 4, each(3000), 0.3, 0.0001, 0)
	c.seconds(rng, 20, each(30), 0.5, 0.002, 0.02)
	if r := c.rate(); r < 45 {
		t.Errorf("after the burst a partition is thought to take %.0f rows/s", r)
	}
	c.seconds(rng, 3, each(250), 0.5, 0.002, 0)
	if r := c.rate(); !within(r, 250, 0.3) {
		t.Errorf("a partition that 250 rows/s use wholly is thought to take %.0f", r)
	}
}

func TestWhatUsesAllOfItsNodeNowCountsForMoreThanWhatDidBefore(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 6))
	var c cost
	c.seconds(rng, 4, each(3000), 1, 0, 0) // rows that fill the state
	c.seconds(rng, 3, each(640), 1, 0, 0)
	if r := c.rate(); !within(r, 640, 0.1) {
		t.Errorf("a partition that 640 rows/s use wholly is thought to take %.0f", r)
	}
}

func TestWhatChanceSpreadsIsTakenForEven(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 5))
	const groups = 256
	deviation := func(rows float64, mean func(g int) float64) float64 {
		var l groupLoads
		for range 40 {
			window := make([]float64, groups)
			for range int(rows) {
				for {
					if g := rng.IntN(groups); rng.Float64() < mean(g) {
						window[g]++
						break
					}
				}
			}
			l.add(window)
		}
		top := 0.0
		for _, r := range Cut(l.shares(), groups, 8) {
			part := 0.0
			for g := r.From; g < r.To; g++ {
				part += mean(int(g))
			}
			top = max(top, part)
		}
		total := 0.0
		for g := range groups {
			total += mean(g)
		}
		return top / total * 8
	}
	if d := deviation(90, func(int) float64 { return 1 }); d > 1.15 {
		t.Errorf("with 30 even rows/s the heaviest of 8 has %.2f of its part", d)
	}
	if d := deviation(3000, func(g int) float64 { return float64(g) / groups }); d > 1.15 {
		t.Errorf("with 1,000 uneven rows/s the heaviest of 8 has %.2f of its part", d)
	}
	hot := func(g int) float64 {
		if g == 77 {
			return 1
		}
		return 0.002
	}
	var l groupLoads
	window := make([]float64, groups)
	for g := range window {
		window[g] = 300 * hot(g)
	}
	l.add(window)
	if s := l.shares()[77]; s < 0.55 {
		t.Errorf("of a key group with two thirds of the rows %.2f are seen at once", s)
	}
}
