package main

import (
	"testing"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/sample"
)

func TestEveryMillisecondOfTheEpochsThatBecomeVisibleIsARow(t *testing.T) {
	at := time.Unix(100, 0)
	ages := visible(6, 9, at, 10*time.Millisecond, at.Add(4*time.Millisecond))
	if len(ages) != 30 || ages.Max() != 33*time.Millisecond+500*time.Microsecond || ages.Quantile(0) != 4*time.Millisecond+500*time.Microsecond {
		t.Fatal(len(ages), ages.Max(), ages.Quantile(0))
	}
	if got := sample.Ms(ages.Quantile(0.5)); got != "18.5" {
		t.Fatal(got)
	}
}

func TestWhatTheSystemSaysOfAProcessIsRead(t *testing.T) {
	ticks, err := cpuTicks("42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 110 25 0 0")
	if err != nil || ticks != 135 {
		t.Fatal(ticks, err)
	}
	kb, err := rssKB("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n")
	if err != nil || kb != 1234 {
		t.Fatal(kb, err)
	}
	for _, wrong := range []string{"", "42 (x) S", "no parentheses"} {
		if _, err := cpuTicks(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}
