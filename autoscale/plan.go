package autoscale

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Query is what the policies know of a query's plan and of what people want of it.
type Query struct {
	Name   string
	Stages []Stage // upstream before downstream
}

// Stage is a stage of a plan.
type Stage struct {
	Name   string // for people
	Groups int    // key groups: the most partitions it can have
	Source bool
	Inputs []topology.StageID
	Fixed  int // partitions that a person wants; 0: they are found automatically
	Min    int // fewest; 0: 1
	Max    int // most; 0: as many as there are key groups
}

// bound brings a number of partitions into what the stage can and may have.
func (s *Stage) bound(n int) int {
	n = max(n, s.Min, 1)
	if s.Max > 0 {
		n = min(n, s.Max)
	}
	return max(1, min(n, s.Groups))
}

func (s *Stage) auto() bool { return s.Fixed == 0 }

// label names a stage in a sentence.
func (q *Query) label(s topology.StageID) string {
	if name := q.Stages[s].Name; name != "" {
		return fmt.Sprintf("stage %d (%s)", s, name)
	}
	return fmt.Sprintf("stage %d", s)
}

// Policies.
const (
	PolicyRate      = "rate"
	PolicyThreshold = "threshold"
)

// Config are the numbers of the policies. Times are in seconds, shares from 0 to 1.
type Config struct {
	Policy string

	// Rate.
	TargetUse  float64 // of a node, by each partition, after a decision
	HighUse    float64 // above it a stage gets more
	LowUse     float64 // a smaller layout must keep below it, with the peak of PeakS
	PeakS      int
	OverFor    int     // samples above HighUse in a row before it counts
	SettleS    float64 // a layout is measured after so long without a change, and only then anything is decided
	RecutS     float64 // between two cuts of a stage into as many partitions as it has
	FlapS      float64 // growing so soon after shrinking makes the next shrinking wait twice as long
	CatchUpS   float64 // rows that are behind are to be made up for within so long, with all that nodes can
	LagLeastS  float64 // less is no lag
	OutOfCost  float64 // cool-down of growing, in measured costs of the last rescale
	InOfCost   float64 // cool-down of shrinking
	OutLeastS  float64 // and at least so long
	InLeastS   float64
	FailPauseS float64 // after a rescale that failed

	// Threshold.
	Delta     float64 // δ
	Reports   int     // k
	ReportS   int     // r
	LowDelta  float64 // one partition less must keep below it,
	LowReport int     // so many reports in a row
}

// DefaultConfig is the rate policy; the threshold policy's numbers are the paper's.
func DefaultConfig() Config {
	return Config{
		Policy: PolicyRate, TargetUse: 0.7, HighUse: 0.82, LowUse: 0.68, PeakS: 15, OverFor: 2, SettleS: 4, RecutS: 30, FlapS: 120, CatchUpS: 30, LagLeastS: 1,
		OutOfCost: 2, InOfCost: 5, OutLeastS: 3, InLeastS: 10, FailPauseS: 15,
		Delta: 0.7, Reports: 2, ReportS: 5, LowDelta: lowDelta * 0.7, LowReport: 3,
	}
}

// Set changes a number by its name for people: threshold (δ), reports (k) and report-interval (r) of the threshold policy, target and
// catch-up of the rate policy.
func (c *Config) Set(name, value string) error {
	for _, o := range options {
		if o.name != name {
			continue
		}
		if err := o.set(c, value); err != nil {
			return fmt.Errorf("%s=%s: %w", name, value, err)
		}
		return nil
	}
	var names []string
	for _, o := range options {
		names = append(names, o.name)
	}
	return fmt.Errorf("there is no %.40q; there are %s", name, strings.Join(names, ", "))
}

// option is a number that people may change.
type option struct {
	name string
	set  func(c *Config, value string) error
}

var options = []option{
	{"threshold", func(c *Config, value string) (err error) {
		if c.Delta, err = percentOf(value); err == nil {
			c.LowDelta = lowDelta * c.Delta
		}
		return err
	}},
	{"reports", func(c *Config, value string) (err error) {
		c.Reports, err = countOf(value, 1, 100)
		return err
	}},
	{"report-interval", func(c *Config, value string) (err error) {
		seconds, err := secondsOf(value, time.Second, 10*time.Minute)
		c.ReportS = int(seconds)
		return err
	}},
	{"target", func(c *Config, value string) (err error) {
		def := DefaultConfig()
		if c.TargetUse, err = percentOf(value); err == nil {
			c.HighUse, c.LowUse = min(1, c.TargetUse*def.HighUse/def.TargetUse), c.TargetUse*def.LowUse/def.TargetUse
		}
		return err
	}},
	{"catch-up", func(c *Config, value string) (err error) {
		c.CatchUpS, err = secondsOf(value, time.Second, time.Hour)
		return err
	}},
}

// lowDelta is what of the threshold a smaller layout must keep below, in the threshold policy.
const lowDelta = 0.7

// percentOf reads a use of nodes: of 5 to 95 %.
func percentOf(value string) (float64, error) {
	n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(value, "%")), 64)
	if err != nil || !(n >= 5 && n <= 95) {
		return 0, errors.New("give a number of percent from 5 to 95, like 70")
	}
	return n / 100, nil
}

func countOf(value string, least, most int) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("give a number from %d to %d", least, most)
	}
	return n, nil
}

// secondsOf reads a time of whole seconds.
func secondsOf(value string, least, most time.Duration) (float64, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most || d%time.Second != 0 {
		return 0, fmt.Errorf("give whole seconds from %s to %s, like 5s", least, most)
	}
	return d.Seconds(), nil
}

// Validate says what of the numbers makes no sense.
func (c *Config) Validate() error {
	switch {
	case c.Policy != PolicyRate && c.Policy != PolicyThreshold:
		return fmt.Errorf("autoscale policy %.40q is not known: give %s or %s", c.Policy, PolicyRate, PolicyThreshold)
	case !(0 < c.LowUse && c.LowUse < c.TargetUse && c.TargetUse < c.HighUse && c.HighUse <= 1):
		return fmt.Errorf("uses of %g, %g and %g must ascend between 0 and 1", c.LowUse, c.TargetUse, c.HighUse)
	case !(0 < c.LowDelta && c.LowDelta < c.Delta && c.Delta <= 1) || c.Reports < 1 || c.ReportS < 1 || c.LowReport < 1:
		return fmt.Errorf("threshold %g (low %g) in %d reports of %d s makes no sense", c.Delta, c.LowDelta, c.Reports, c.ReportS)
	case c.PeakS < 1 || c.OverFor < 1 || c.CatchUpS <= 0:
		return fmt.Errorf("a window of %d s, %d samples and %g s to catch up make no sense", c.PeakS, c.OverFor, c.CatchUpS)
	}
	return nil
}
