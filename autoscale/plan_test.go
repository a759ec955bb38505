package autoscale

import (
	"strconv"
	"strings"
	"testing"
)

func TestNumbersOfThePoliciesAreSetByName(t *testing.T) {
	c := DefaultConfig()
	for name, value := range map[string]string{"threshold": "10%", "reports": "3", "report-interval": "2s", "target": "60", "catch-up": "1m"} {
		if err := c.Set(name, value); err != nil {
			t.Error(err)
		}
	}
	if c.Delta != 0.1 || c.Reports != 3 || c.ReportS != 2 || c.TargetUse != 0.6 || c.CatchUpS != 60 {
		t.Errorf("%+v", c)
	}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for _, x := range [][3]string{
		{"threshold", "0.7", "from 5 to 95"}, {"threshold", "NaN", "from 5 to 95"}, {"threshold", "100", "from 5 to 95"}, {"reports", "0", "from 1 to 100"}, {"report-interval", "500ms", "whole seconds"},
		{"report-interval", "5", "like 5s"}, {"catch-up", "-1s", "whole seconds"}, {"delta", "70", "there are threshold, reports, report-interval, target, catch-up"},
	} {
		if err := c.Set(x[0], x[1]); err == nil || !strings.Contains(err.Error(), x[2]) {
			t.Errorf("%s=%s: %v; it should say %q", x[0], x[1], err, x[2])
		}
	}
}

func TestEveryThresholdThatCanBeSetIsValid(t *testing.T) {
	for percent := 5; percent <= 95; percent++ {
		for _, name := range []string{"threshold", "target"} {
			c := DefaultConfig()
			if err := c.Set(name, strconv.Itoa(percent)); err != nil {
				t.Error(err)
			}
			if err := c.Validate(); err != nil {
				t.Errorf("%s=%d: %v", name, percent, err)
			}
		}
	}
}

func FuzzSet(f *testing.F) {
	f.Add("threshold", "70%")
	f.Add("report-interval", "5s")
	f.Fuzz(func(t *testing.T, name, value string) {
		c := DefaultConfig()
		if c.Set(name, value) != nil {
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("%s=%s was taken: %v", name, value, err)
		}
	})
}
