package autoscale

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden scripts anew")

// scripts are loads of a query over time; testdata has what is decided of them, for people to read.
var scripts = map[string]struct {
	seconds int
	load    func(second int) float64
	setup   func(m *model, c *Config)
}{
	"a step of ten times and back": {280, step10(10_000), nil},
	"the threshold policy takes the same step": {400, func(s int) float64 {
		switch {
		case s < 200:
			return 50_000
		case s < 300:
			return 5_000
		}
		return 0
	}, func(m *model, c *Config) { c.Policy = PolicyThreshold }},
	"a hot key": {120, func(int) float64 { return 60_000 }, func(m *model, c *Config) {
		m.groups[1] = make([]float64, 256)
		for g := range m.groups[1] {
			m.groups[1][g] = 0.6 / 255
		}
		m.groups[1][77], m.hotKey = 0.4, "alice"
	}},
	"uneven key groups": {120, func(int) float64 { return 30_000 }, func(m *model, c *Config) {
		m.groups[1] = make([]float64, 256)
		for g := range m.groups[1] {
			m.groups[1][g] = float64(g) / (255 * 128)
		}
	}},
	"limits and fixed stages": {120, func(int) float64 { return 100_000 }, func(m *model, c *Config) {
		m.query.Stages[0].Fixed, m.query.Stages[1].Min, m.query.Stages[1].Max = 1, 2, 4
	}},
	// A fifth of a core each, as in bench-elastic.
	"small computers of which half is gone whatever comes": {160, func(s int) float64 {
		switch {
		case s < 10:
			return 30
		case s < 40:
			return 30 + 30*float64(s-10)
		case s < 60:
			return 930
		case s < 90:
			return 930 - 30*float64(s-60)
		case s < 110:
			return 30
		}
		return 0
	}, func(m *model, c *Config) {
		m.fixed, m.rate, m.ratio, m.ceiling = []float64{0.3, 0.5, 0.3}, []float64{20_000, 600, 1e6}, []float64{1, 1, 0.1}, 0.95
	}},
	"a rescale that fails": {90, func(int) float64 { return 50_000 }, func(m *model, c *Config) { m.fails = 2 }},
	"few nodes":            {90, func(s int) float64 { return 100_000 }, func(m *model, c *Config) { m.slots = 3 }},
	"a source that always has more": {120, func(int) float64 { return 0 }, func(m *model, c *Config) {
		m.endless, m.rate[0] = true, 50_000
		m.query.Stages[0].Max = 4
	}},
}

func TestScripts(t *testing.T) {
	for name, s := range scripts {
		t.Run(name, func(t *testing.T) {
			c := DefaultConfig()
			m := newModel(wordCount(), []float64{1_000_000, 100_000, 10_000_000}, []float64{1, 6, 0.1})
			if s.setup != nil {
				s.setup(m, &c)
			}
			if err := c.Validate(); err != nil {
				t.Fatal(err)
			}
			got := play(m, NewMachine(m.query, c), s.seconds, s.load)
			path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%s has (%v)\n%s\nit is\n%s", path, err, want, got)
			}
		})
	}
}

// play writes a story: each change of the offered load, each decision and what is told, and every 20 seconds how it stands.
func play(m *model, machine *Machine, seconds int, load func(int) float64) string {
	var b strings.Builder
	offered := -1.0
	m.run(machine, seconds, load, func(s *Sample, e *Effects) {
		say := func(format string, args ...any) {
			fmt.Fprintf(&b, "%4d s  "+format+"\n", append([]any{m.now}, args...)...)
		}
		if x := load(m.now - 1); x != offered && !m.endless {
			offered = x
			say("%s rows/s come", count(x))
		}
		if e.CostMs > 0 {
			say("the layout is %v, after %d ms", m.parts(), e.CostMs)
		}
		for _, h := range e.Hot {
			say("hot: %s", h.Text(&m.query))
		}
		if e.Decision != nil {
			say("decided: %s", e.Decision.Text)
		}
		if m.now%20 == 0 {
			say("%s rows/s are taken, %s wait; use %s of %d partitions", count(s.Stages[0].rowsIn()), count(m.backlog), percent(machine.latest[1].Now/float64(len(s.Stages[1].Partitions))), len(s.Stages[1].Partitions))
		}
	})
	return b.String()
}
