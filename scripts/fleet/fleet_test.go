package fleet

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/scripts/bench/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRowsOfAScheduleAreTheAreaBelowItsRate(t *testing.T) {
	s := Schedule{{0, 100}, {10 * time.Second, 100}, {20 * time.Second, 1000}, {20 * time.Second, 10}, {30 * time.Second, 0}}
	for _, at := range []time.Duration{0, time.Second, 10 * time.Second, 14 * time.Second, 20 * time.Second, 25 * time.Second, time.Minute} {
		want := 0.0
		for x := time.Duration(0); x < at; x += time.Millisecond {
			want += s.Rate(x+time.Millisecond/2) / 1000
		}
		if got := s.Rows(at); math.Abs(got-want) > 1 {
			t.Errorf("%g rows until %s, want %g", got, at, want)
		}
	}
	if s.Rate(15*time.Second) != 550 || s.Rate(20*time.Second) != 10 || s.Rate(time.Hour) != 0 || s.Peak() != 1000 || s.End() != 30*time.Second {
		t.Error(s.Rate(15*time.Second), s.Rate(20*time.Second), s.Rate(time.Hour), s.Peak(), s.End())
	}
	later := s.After(5 * time.Second)
	if later.Rate(time.Second) != 100 || later.Rate(20*time.Second) != 550 || later.String() != "0 ms: 100, 5000 ms: 100, 15000 ms: 100, 25000 ms: 1000, 25000 ms: 10, 35000 ms: 0" {
		t.Error(later)
	}
}

// sightsOf is a watch that saw epochs of 10 ms.
func sightsOf(start time.Time, seen ...sight) *Watch {
	return &Watch{clock: sample.Clock{Start: start, Length: 10 * time.Millisecond}, seen: seen, cancel: func() {}}
}

func TestAgesAreThoseOfAllInstantsThatWereSeenFirst(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	w := sightsOf(start, sight{at(25), 1, 2}, sight{at(90), 2, 5}, sight{at(95), 5, 6})
	ages := w.Ages(at(0), at(1000))
	if len(ages) != 50 || ages.Max() != 90*time.Millisecond-20*time.Millisecond-instant/2 || ages.Quantile(0) != 5*time.Millisecond+instant/2 {
		t.Error(len(ages), ages.Max(), ages.Quantile(0))
	}
	if got := w.Ages(at(91), at(1000)); len(got) != 10 {
		t.Error(got)
	}
	for _, c := range []struct{ from, to, want int }{{0, 100, 65}, {30, 60, 30}, {80, 300, 205}} {
		if got := w.Silence(at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("silent for %s between %d and %d", got, c.from, c.to)
		}
	}
	for due, want := range map[int]int{15: 10, 20: 5, 21: 69, 60: 35} {
		if got, err := w.Shows(context.Background(), at(due)); err != nil || got != time.Duration(want)*time.Millisecond {
			t.Errorf("what is due at %d was seen after %s, want %d ms (%v)", due, got, want, err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.Shows(ended, at(61)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if w.Check() != nil || sightsOf(start).Check() == nil {
		t.Error("a watch that saw something fails, or one that saw nothing does not")
	}
}
