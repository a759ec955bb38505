package main

import (
	"encoding/json"
	"errors"
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
