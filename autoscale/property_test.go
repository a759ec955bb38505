package autoscale

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// drawModel draws a query of a source, a keyed stage and a sink on computers of which a part is gone for being there. The keyed stage is what
// needs nodes: a node takes worth rows per second of the source.
func drawModel(t *rapid.T) (m *model, worth float64) {
	worth = rapid.Float64Range(20, 20_000).Draw(t, "worth")
	fixed := rapid.Float64Range(0, 0.6).Draw(t, "fixed")
	m = newModel(wordCount(), []float64{1000 * worth, worth / (1 - fixed), 1000 * worth}, []float64{1, 1, 0.1})
	m.fixed = []float64{fixed / 2, fixed, fixed / 2}
	m.ceiling = rapid.Float64Range(0.93, 1).Draw(t, "ceiling")
	m.known, m.costS = rapid.Bool().Draw(t, "known"), rapid.IntRange(1, 4).Draw(t, "cost")
	m.rng.Uint64()
	return m, worth
}

// onlySecond says that only the keyed stage was given another layout.
func onlySecond(t *rapid.T, m *model, all []*Decision) {
	if p := m.parts(); p[0] != 1 || p[2] != 1 {
		t.Fatalf("the layout is %v: the source and the sink need one node each\n%s", p, describe(all))
	}
}

func TestASteadyLoadNeverMakesALayoutSwing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, worth := drawModel(t)
		m.noise = rapid.Float64Range(0, 0.1).Draw(t, "noise")
		work := rapid.Float64Range(0.01, 8).Draw(t, "work")
		machine := NewMachine(m.query, DefaultConfig())
		load := func(int) float64 { return work * worth }
		begin := m.run(machine, 150, load, nil)
		// What is between two numbers of nodes may come to the other one, once.
		late := m.run(machine, 300, load, nil)
		if len(late) > 1 || m.noise == 0 && m.ceiling == 1 && len(late) > 0 {
			t.Fatalf("a steady load of %.2f nodes:\n%s---\n%s", work, describe(begin), describe(late))
		}
		onlySecond(t, m, begin)
	})
}

func TestAFewDecisionsGiveOneNodeMoreThanTheAimAtTheMost(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, worth := drawModel(t)
		work := rapid.Float64Range(0.01, 12).Draw(t, "work")
		c := DefaultConfig()
		machine := NewMachine(m.query, c)
		all := m.run(machine, 180, func(int) float64 { return work * worth }, nil)
		least := ceil(work)
		if n := m.parts()[1]; n < least || n > ceil(work/c.TargetUse)+1 {
			t.Fatalf("%d partitions for a work of %.2f nodes\n%s", n, work, describe(all))
		}
		if n := m.parts()[1]; work <= 2.8 && n > least+1 {
			t.Fatalf("%d partitions where %d hold the load\n%s", n, least, describe(all))
		}
		if len(all) > 4 {
			t.Fatalf("%d decisions for one load of %.2f nodes\n%s", len(all), work, describe(all))
		}
		if m.backlog > worth/2 {
			t.Fatalf("%.0f rows wait still\n%s", m.backlog, describe(all))
		}
		onlySecond(t, m, all)
	})
}

func TestALayoutIsMadeSmallerOnlyWhereThatHoldsThePeak(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, worth := drawModel(t)
		smallerOnlyWhereThatHoldsThePeak(t, m, worth, drawCurve(t, worth, 8))
	})
}

// What a smaller layout was decided on once was the sample of the second in which the load jumped.
func TestALayoutIsNotMadeSmallerInTheSecondInWhichTheLoadRises(t *testing.T) {
	const worth, fixed = 20, 0.6
	m := newModel(wordCount(), []float64{1000 * worth, worth / (1 - fixed), 1000 * worth}, []float64{1, 1, 0.1})
	m.fixed, m.known, m.costS = []float64{fixed / 2, fixed, fixed / 2}, false, 2
	smallerOnlyWhereThatHoldsThePeak(t, m, worth, curve{{0, 0}, {5, 5}, {14, 20}, {14, 79.84375}, {19, 79.84375}, {89, 10}, {89, 157.5}, {94, 157.5}, {99, 20}})
}

// smallerOnlyWhereThatHoldsThePeak lets a load come of which a keyed stage's node takes worth rows per second.
func smallerOnlyWhereThatHoldsThePeak(t interface{ Fatalf(string, ...any) }, m *model, worth float64, load curve) {
	c := DefaultConfig()
	machine := NewMachine(m.query, c)
	for second := range load.seconds() {
		for _, d := range m.run(machine, 1, func(int) float64 { return load.at(second) }, nil) {
			for _, target := range d.Targets {
				if target.Stage != 1 || len(target.Ranges) >= target.From {
					continue
				}
				// A load is known as the mean of three seconds.
				peak := 0.0
				for back := range c.PeakS - 3 {
					at := second - back
					peak = max(peak, (load.at(at)+load.at(at-1)+load.at(at-2))/3)
				}
				if hold := float64(len(target.Ranges)) * worth; hold < peak {
					t.Fatalf("%d partitions hold %.0f rows/s, %.0f came lately: %s", len(target.Ranges), hold, peak, d.Text)
				}
			}
		}
	}
}

func TestLimitsAndFixedStagesAreNeverLeft(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, worth := drawModel(t)
		c := DefaultConfig()
		c.Policy = rapid.SampledFrom([]string{PolicyRate, PolicyThreshold}).Draw(t, "policy")
		m.slots = rapid.IntRange(1, 6).Draw(t, "slots")
		st := &m.query.Stages[1]
		st.Min = rapid.IntRange(0, 3).Draw(t, "min")
		st.Max = st.Min + rapid.IntRange(0, 4).Draw(t, "max")
		m.query.Stages[0].Fixed = 1
		machine := NewMachine(m.query, c)
		curve := drawCurve(t, worth, 20)
		for second := range curve.seconds() {
			for _, d := range m.run(machine, 1, func(int) float64 { return curve.at(second) }, nil) {
				for _, target := range d.Targets {
					n := len(target.Ranges)
					if target.Stage != 1 || n < max(1, min(st.Min, m.slots)) || st.Max > 0 && n > st.Max || n > max(m.slots, st.Min, target.From) {
						t.Fatalf("of %d to %d partitions on %d nodes: %s", st.Min, st.Max, m.slots, d.Text)
					}
				}
			}
		}
	})
}

func TestALimitThatNeedsMoreNodesThanThereAreIsNotDecidedForEver(t *testing.T) {
	m := newModel(wordCount(), []float64{1_000_000, 100_000, 10_000_000}, []float64{1, 6, 0.1})
	m.slots, m.query.Stages[1].Min = 3, 5
	machine := NewMachine(m.query, DefaultConfig())
	all := m.run(machine, 120, func(int) float64 { return 1000 }, nil)
	if p := m.parts(); len(all) != 1 || p[1] != 3 {
		t.Errorf("%v partitions\n%s", p, describe(all))
	}
}

func TestAHotKeyGroupIsIsolatedAndToldInsteadOfMoreNodes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, worth := drawModel(t)
		hot := rapid.IntRange(0, 255).Draw(t, "group")
		part := rapid.Float64Range(0.3, 0.8).Draw(t, "part")
		m.groups[1] = make([]float64, 256)
		for g := range m.groups[1] {
			m.groups[1][g] = (1 - part) / 255
		}
		m.groups[1][hot], m.hotKey, m.chance = part, "alice", true
		// One node is too little for the key group, whatever the others have.
		work := rapid.Float64Range(1.2, 4).Draw(t, "work") / part
		machine := NewMachine(m.query, DefaultConfig())
		told := map[topology.KeyGroup]int{}
		all := m.run(machine, 180, func(int) float64 { return work * worth }, func(_ *Sample, e *Effects) {
			for _, h := range e.Hot {
				if told[h.Group]++; h.Key != "alice" || h.Stage != 1 {
					t.Fatalf("told: %+v", h)
				}
			}
		})
		if told[topology.KeyGroup(hot)] != 1 || len(told) != 1 {
			t.Fatalf("key group %d was told %v times\n%s", hot, told, describe(all))
		}
		for _, r := range m.layout[1] {
			// Alone but for what is nothing beside it.
			if r.Contains(topology.KeyGroup(hot)) && sum(m.groups[1][r.From:r.To]) > 1.1*part {
				t.Fatalf("key group %d has no range of its own: %v\n%s", hot, m.layout[1], describe(all))
			}
		}
		// The hot one lets 1/part nodes' work pass; the rest of it is to be held.
		if n, most := len(m.layout[1]), ceil((1/part-1)/0.7)+4; n > most {
			t.Fatalf("%d partitions, more than %d, where one key group bounds all\n%s", n, most, describe(all))
		}
	})
}

func TestAQueryThatIsBehindCatchesUpInTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, worth := drawModel(t)
		work := rapid.Float64Range(0.5, 5).Draw(t, "work")
		c := DefaultConfig()
		machine := NewMachine(m.query, c)
		load := func(int) float64 { return work * worth }
		all := m.run(machine, 150, load, nil)
		m.backlog += rapid.Float64Range(5, 120).Draw(t, "behind") * work * worth
		behind := m.backlog
		all = append(all, m.run(machine, int(2.5*c.CatchUpS), load, nil)...)
		if m.backlog > 0.05*behind {
			t.Fatalf("%.0f of %.0f rows that waited wait still\n%s", m.backlog, behind, describe(all))
		}
	})
}

// curve is an offered rate over time: it stays or goes straight from one point to the next.
type curve []curvePoint

type curvePoint struct {
	second int
	rate   float64
}

func (c curve) seconds() int { return c[len(c)-1].second }

func (c curve) at(second int) float64 {
	for i := len(c) - 1; i >= 0; i-- {
		if p := c[i]; p.second <= second {
			if i == len(c)-1 {
				return p.rate
			}
			next := c[i+1]
			return p.rate + (next.rate-p.rate)*float64(second-p.second)/float64(max(1, next.second-p.second))
		}
	}
	return c[0].rate
}

// drawCurve draws up to so many nodes' worth of rows that rise, stay, fall, jump and stop.
func drawCurve(t *rapid.T, worth, nodes float64) (c curve) {
	c = curve{{0, 0}}
	for range rapid.IntRange(1, 6).Draw(t, "points") {
		last := c[len(c)-1]
		to := worth * rapid.Float64Range(0, nodes).Draw(t, "nodes")
		if rapid.Bool().Draw(t, "jump") {
			c = append(c, curvePoint{last.second, to})
		}
		c = append(c, curvePoint{last.second + rapid.IntRange(5, 120).Draw(t, "seconds"), to})
	}
	return c
}

// followsAnyCurve is what holds for any load that does not need more than the nodes there are: it is followed, in not many decisions, and
// all is given back when it ends.
func followsAnyCurve(t *rapid.T) {
	m, worth := drawModel(t)
	m.noise, m.fails = rapid.Float64Range(0, 0.1).Draw(t, "noise"), rapid.IntRange(0, 1).Draw(t, "fails")
	m.slots = 16
	machine := NewMachine(m.query, DefaultConfig())
	c := drawCurve(t, worth, 10)
	all := m.run(machine, c.seconds(), func(s int) float64 { return c.at(s) }, nil)
	// A straight rise of minutes takes a decision now and then, a jump two.
	if most := 3*len(c) + c.seconds()/20; len(all) > most {
		t.Fatalf("%d decisions, more than %d\n%s", len(all), most, describe(all))
	}
	last := c[len(c)-1].rate
	all = append(all, m.run(machine, 120, func(int) float64 { return last }, nil)...)
	if m.backlog > worth {
		t.Fatalf("two minutes after the last change %.0f rows wait, of %.0f a second\n%s", m.backlog, last, describe(all))
	}
	if n, most := m.parts()[1], ceil(last*1.1/worth/0.7)+1; n > most {
		t.Fatalf("%d partitions for a work of %.2f nodes, more than %d\n%s", n, last/worth, most, describe(all))
	}
	all = append(all, m.run(machine, 40, func(int) float64 { return 0 }, nil)...)
	if p := m.parts(); !slices.Equal(p, []int{1, 1, 1}) {
		t.Fatalf("40 s after the load's end the layout is %v\n%s", p, describe(all))
	}
}

func TestAnyLoadCurveIsFollowedAndGivenBack(t *testing.T) { rapid.Check(t, followsAnyCurve) }

func FuzzAnyLoadCurveIsFollowed(f *testing.F) { f.Fuzz(rapid.MakeFuzz(followsAnyCurve)) }
