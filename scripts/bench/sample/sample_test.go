package sample

import (
	"testing"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestQuantilesAreValuesOfTheSample(t *testing.T) {
	var s Sample
	for i := 100; i > 0; i-- {
		s = append(s, time.Duration(i))
	}
	for p, want := range map[float64]time.Duration{0: 1, 0.5: 50, 0.95: 95, 0.99: 99, 0.999: 100, 1: 100} {
		if got := s.Quantile(p); got != want {
			t.Errorf("%v: %d, want %d", p, got, want)
		}
	}
	if s[0] != 100 || Sample(nil).Max() != 0 || (Sample{7}).Quantile(0.5) != 7 {
		t.Error("the sample was sorted in place, or small ones are wrong")
	}
}

func TestClockGoesFromOneKnownEpochToAll(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	c, err := ClockOf(200, start.Add(2*time.Second), 10*time.Millisecond)
	if err != nil || !c.Start.Equal(start) || !c.Time(topology.Epoch(7)).Equal(start.Add(70*time.Millisecond)) {
		t.Fatal(c, err)
	}
	if got := c.Created(time.UnixMilli(1234).UTC()); !got.Equal(start.Add(1234 * time.Millisecond)) {
		t.Fatal(got)
	}
	if _, err := ClockOf(0, start, time.Second); err == nil {
		t.Fatal("a clock without an epoch")
	}
}
