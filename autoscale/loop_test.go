package autoscale

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// step10 is the load of the paper's closed loop: 1x, 10x from second 30, 1x from 120, nothing from 200.
func step10(x float64) func(int) float64 {
	return func(second int) float64 {
		switch {
		case second < 30:
			return x
		case second < 120:
			return 10 * x
		case second < 200:
			return x
		}
		return 0
	}
}

func TestALoadStepIsFollowedInAtMostTwoDecisionsEachWay(t *testing.T) {
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("backlog known %v", known), func(t *testing.T) {
			m := newModel(wordCount(), []float64{1_000_000, 100_000, 10_000_000}, []float64{1, 6, 0.1})
			m.known = known
			machine := NewMachine(m.query, DefaultConfig())
			up := m.run(machine, 115, step10(10_000), nil)
			// 100,000 x 6 rows/s of 100,000 a node at 70 %: nine.
			if n := m.parts()[1]; n < 9 || n > 10 {
				t.Errorf("the count has %d partitions for 600,000 rows/s of 100,000 each\n%s", n, describe(up))
			}
			if len(up) < 1 || len(up) > 2 {
				t.Errorf("%d decisions for a step of the load\n%s", len(up), describe(up))
			}
			if m.backlog > 0 {
				t.Errorf("%.0f rows still wait", m.backlog)
			}
			down := m.run(machine, 85, step10(10_000), nil)
			if n := m.parts()[1]; len(down) < 1 || len(down) > 2 || n != 1 {
				t.Errorf("%d partitions after the step down\n%s", n, describe(down))
			}
			m.run(machine, 60, step10(10_000), nil)
			if p := m.parts(); !slices.Equal(p, []int{1, 1, 1}) {
				t.Errorf("%v partitions without load", p)
			}
		})
	}
}

func TestTheProcessedRateFollowsAStepWithinTenSeconds(t *testing.T) {
	m := newModel(wordCount(), []float64{1_000_000, 100_000, 10_000_000}, []float64{1, 6, 0.1})
	machine := NewMachine(m.query, DefaultConfig())
	m.run(machine, 30, step10(10_000), nil)
	m.run(machine, 10, step10(10_000), nil)
	if s := m.step(100_000); s.Stages[0].rowsIn() < 95_000 {
		t.Errorf("ten seconds after the step %.0f of 100,000 rows/s are taken", s.Stages[0].rowsIn())
	}
}

// TestALayoutGrowsAndDoesNotShrinkWhileNeighboursAreMadeOne: with more rows than the node takes that would never come to its end. What it costs is
// taken for no work.
func TestALayoutGrowsAndDoesNotShrinkWhileNeighboursAreMadeOne(t *testing.T) {
	m := newModel(wordCount(), []float64{1_000_000, 100_000, 10_000_000}, []float64{1, 6, 0.1})
	machine := NewMachine(m.query, DefaultConfig())
	m.run(machine, 60, func(int) float64 { return 20_000 }, nil)
	if n := m.parts()[1]; n != 2 {
		t.Fatalf("%d partitions for 120,000 rows/s of 100,000 each", n)
	}
	for _, offered := range []float64{20_000, 1_000} {
		m.merging = true
		if list := m.run(machine, 60, func(int) float64 { return offered }, nil); len(list) > 0 || !m.merging {
			t.Errorf("%.0f rows/s: %s", offered, describe(list))
		}
	}
	// A partition that is lost meanwhile is a change like any other: what its replay brings is no load.
	m.layout[1] = topology.Split(256, 3)
	m.history = nil
	if list := m.run(machine, int(machine.config.SettleS)-1, func(int) float64 { return 100_000 }, nil); len(list) > 0 {
		t.Errorf("decided on a layout that had changed just now: %s", describe(list))
	}
	m.layout[1] = topology.Split(256, 2)
	m.backlog, m.lag, m.history = 0, 0, nil
	m.run(machine, 10, func(int) float64 { return 20_000 }, nil)
	if list := m.run(machine, 10, func(int) float64 { return 40_000 }, nil); len(list) == 0 || m.parts()[1] < 4 {
		t.Errorf("%v partitions ten seconds after a step to 240,000 rows/s\n%s", m.parts(), describe(list))
	}
}

func TestTheThresholdPolicyDecidesNothingWhileNeighboursAreMadeOne(t *testing.T) {
	m := newModel(wordCount(), []float64{1_000_000, 100_000, 10_000_000}, []float64{1, 6, 0.1})
	c := DefaultConfig()
	c.Policy = PolicyThreshold
	machine := NewMachine(m.query, c)
	m.run(machine, 60, func(int) float64 { return 8_000 }, nil)
	m.merging = true
	if list := m.run(machine, 60, func(int) float64 { return 8_000 }, nil); len(list) > 0 {
		t.Errorf("%s", describe(list))
	}
	m.merging = false
	if list := m.run(machine, 60, func(int) float64 { return 15_000 }, nil); len(list) == 0 {
		t.Error("90,000 rows/s of 100,000 ask for nothing")
	}
}

func TestNoiseDoesNotFlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(wordCount(), []float64{1_000_000, 100_000, 10_000_000}, []float64{1, 6, 0.1})
		m.noise = rapid.Float64Range(0, 0.2).Draw(t, "noise")
		offered := rapid.Float64Range(100, 100_000).Draw(t, "offered")
		m.rng.Float64()
		machine := NewMachine(m.query, DefaultConfig())
		load := func(int) float64 { return offered }
		begin := m.run(machine, 60, load, nil)
		if later := m.run(machine, 240, load, nil); len(later) > 1 {
			t.Fatalf("a steady load, noise of %.0f %%:\n%s---\n%s", 100*m.noise, describe(begin), describe(later))
		}
	})
}

func TestAnyPlanConvergesOnALayoutThatHoldsTheLoad(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := Query{Name: "q"}
		var rate, ratio []float64
		stages := rapid.IntRange(1, 5).Draw(t, "stages")
		for i := range stages {
			st := Stage{Groups: rapid.SampledFrom([]int{1, 4, 256}).Draw(t, "groups"), Source: i == 0}
			if i > 0 {
				st.Inputs = append(st.Inputs, prev(i))
			}
			q.Stages = append(q.Stages, st)
			rate = append(rate, rapid.Float64Range(20_000, 1e6).Draw(t, "rate"))
			ratio = append(ratio, rapid.Float64Range(0.1, 4).Draw(t, "ratio"))
		}
		ratio[0] = 1
		m := newModel(q, rate, ratio)
		m.known, m.costS = rapid.Bool().Draw(t, "known"), rapid.IntRange(1, 5).Draw(t, "cost")
		machine := NewMachine(q, DefaultConfig())
		offered := rapid.Float64Range(10, 200_000).Draw(t, "offered")
		load := func(int) float64 { return offered }
		all := m.run(machine, 150, load, nil)
		late := m.run(machine, 150, load, nil)
		if len(late) > 0 {
			t.Fatalf("it goes on deciding under a steady load of %.0f:\n%s---\n%s", offered, describe(all), describe(late))
		}
		// A stage that cannot have more bounds the others.
		for i := range rate {
			work := offered * ratio[i] / rate[i]
			if n := m.parts()[i]; m.backlog < 1 && n > ceil(work/0.6)+1 {
				t.Fatalf("stage %d has %d partitions for a work of %.2f nodes\n%s", i, n, work, describe(all))
			}
			// Few key groups cannot be cut evenly: what a layout lacks by less than rates are measured to is no reason for another.
			if n := m.parts()[i]; m.backlog >= 1 && n < q.Stages[i].Groups && m.capacity(i) < 0.95*offered && !bounded(m, offered) {
				t.Fatalf("stage %d has %d partitions for a work of %.2f nodes, %.0f rows wait\n%s", i, n, work, m.backlog, describe(all))
			}
		}
		m.run(machine, 120, func(int) float64 { return 0 }, nil)
		m.backlog = 0
		m.run(machine, 60, func(int) float64 { return 0 }, nil)
		for i, n := range m.parts() {
			if n != 1 {
				t.Fatalf("stage %d has %d partitions without load", i, n)
			}
		}
	})
}

// bounded says that a stage has all the partitions that it can have and is still too slow.
func bounded(m *model, offered float64) bool {
	for i := range m.rate {
		if m.capacity(i) < offered && len(m.layout[i]) == m.query.Stages[i].Groups {
			return true
		}
	}
	return false
}

func prev(i int) topology.StageID { return topology.StageID(i - 1) }
