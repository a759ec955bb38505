package main

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/scripts/bench/sample"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRowsOfAScheduleAreTheAreaBelowItsRate(t *testing.T) {
	s := schedule{{0, 100}, {10 * time.Second, 100}, {20 * time.Second, 1000}, {20 * time.Second, 10}, {30 * time.Second, 0}}
	for _, at := range []time.Duration{0, time.Second, 10 * time.Second, 14 * time.Second, 20 * time.Second, 25 * time.Second, time.Minute} {
		want := 0.0
		for x := time.Duration(0); x < at; x += time.Millisecond {
			want += s.rate(x+time.Millisecond/2) / 1000
		}
		if got := s.rows(at); math.Abs(got-want) > 1 {
			t.Errorf("%g rows until %s, want %g", got, at, want)
		}
	}
	if s.rate(15*time.Second) != 550 || s.rate(20*time.Second) != 10 || s.rate(time.Hour) != 0 || s.peak() != 1000 || s.end() != 30*time.Second {
		t.Error(s.rate(15*time.Second), s.rate(20*time.Second), s.rate(time.Hour), s.peak(), s.end())
	}
	later := s.from(5 * time.Second)
	if later.rate(time.Second) != 100 || later.rate(20*time.Second) != 550 || later.String() != "0 ms: 100, 5000 ms: 100, 15000 ms: 100, 25000 ms: 1000, 25000 ms: 10, 35000 ms: 0" {
		t.Error(later)
	}
}

// sightsOf is a watch that saw epochs of 10 ms.
func sightsOf(start time.Time, seen ...sight) *watch {
	return &watch{clock: clock{Start: start, Length: 10 * time.Millisecond}, seen: seen, cancel: func() {}}
}

func TestAgesAreThoseOfAllInstantsThatWereSeenFirst(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	w := sightsOf(start, sight{at(25), 1, 2}, sight{at(90), 2, 5}, sight{at(95), 5, 6})
	ages := w.ages(at(0), at(1000))
	if len(ages) != 50 || ages.Max() != 90*time.Millisecond-20*time.Millisecond-instant/2 || ages.Quantile(0) != 5*time.Millisecond+instant/2 {
		t.Error(len(ages), ages.Max(), ages.Quantile(0))
	}
	if got := w.ages(at(91), at(1000)); len(got) != 10 {
		t.Error(got)
	}
	for _, c := range []struct{ from, to, want int }{{0, 100, 65}, {30, 60, 30}, {80, 300, 205}} {
		if got := w.silence(at(c.from), at(c.to)); got != time.Duration(c.want)*time.Millisecond {
			t.Errorf("silent for %s between %d and %d", got, c.from, c.to)
		}
	}
	for due, want := range map[int]int{15: 10, 20: 5, 21: 69, 60: 35} {
		if got, err := w.shows(context.Background(), at(due)); err != nil || got != time.Duration(want)*time.Millisecond {
			t.Errorf("what is due at %d was seen after %s, want %d ms (%v)", due, got, want, err)
		}
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.shows(ended, at(61)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if w.check() != nil || sightsOf(start).check() == nil {
		t.Error("a watch that saw something fails, or one that saw nothing does not")
	}
}

func TestTheSlowestRecoveryOfALossIsTold(t *testing.T) {
	var l loss
	n := l.read([]client.HistoryEntry{
		{Kind: "recovered", Figures: map[string]string{"detect_ms": "5", "commit_ms": "3", "restore_ms": "70", "replay_ms": "9"}},
		{Kind: "vaults"},
		{Kind: "recovered", Figures: map[string]string{"detect_ms": "5", "restore_ms": "10", "replay_ms": "20"}},
	})
	if n != 2 || l.detect != 5*time.Millisecond || l.commit != 3*time.Millisecond || l.restore != 70*time.Millisecond || l.replay != 9*time.Millisecond {
		t.Errorf("%d %+v", n, l)
	}
}

func TestCapacityGivesTheRateOfAUtilisation(t *testing.T) {
	c := capacity{cores: 0.4, idle: 0.04, perRow: 100e-6}
	if c.rate(0.5) != 1600 || c.rate(1) != 3600 || c.rate(0.05) != 1 {
		t.Error(c.rate(0.5), c.rate(1), c.rate(0.05))
	}
}

func TestReportHoldsWhatChartsNeed(t *testing.T) {
	r, err := newReport(filepath.Join(t.TempDir(), "results"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.data("x.csv", "t", "v")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(d.row(1, 2.5), d.row("a", 1500*time.Microsecond), d.close()); err != nil {
		t.Fatal(err)
	}
	r.aim("fast", true, "%d ms", 3)
	r.aim("small", false, "%d MB", 3)
	r.chart(chart{Name: "x", Panels: []panel{{Y: "v", Series: []series{{File: "x.csv", X: "t", Y: "v"}}}}})
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	text, _ := os.ReadFile(filepath.Join(r.dir, "x.csv"))
	if string(text) != "t,v\n1,2.500\na,1.500\n" {
		t.Errorf("%q", text)
	}
	summary, _ := os.ReadFile(filepath.Join(r.dir, "summary.md"))
	if string(summary) != "- fast: met (3 ms)\n- small: **missed** (3 MB)\n" {
		t.Errorf("%q", summary)
	}
	var charts []chart
	text, _ = os.ReadFile(filepath.Join(r.dir, "charts.json"))
	if err := json.Unmarshal(text, &charts); err != nil || len(charts) != 1 || charts[0].Panels[0].Series[0].File != "x.csv" {
		t.Errorf("%s: %v", text, err)
	}
}

func TestExperimentsAreChosenByTheirLetters(t *testing.T) {
	if all, err := choose(""); err != nil || len(all) != len(experiments) {
		t.Error(all, err)
	}
	if some, err := choose("c, d"); err != nil || len(some) != 2 || some[0].key != "c" || some[1].key != "d" {
		t.Error(some, err)
	}
	if _, err := choose("d,x"); err == nil || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), keys()) {
		t.Error(err)
	}
}

func TestQuantilesOfNothingAreZero(t *testing.T) {
	if replayed, caught := means(nil); replayed != 0 || caught != 0 || sample.Sample(nil).Max() != 0 {
		t.Error(replayed, caught)
	}
}
