package main

import (
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/bench/sample"
)

func TestCreationIsReadFromARow(t *testing.T) {
	start := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	clock := sample.Clock{Start: start, Length: 10 * time.Millisecond}
	for row, want := range map[string]time.Time{
		`{"k":3,"n":1,"latest":"1970-01-01T00:00:03.069","bytes":null}`: start.Add(3069 * time.Millisecond),
		`{"k":3,"n":1,"latest":"1970-01-01T00:01:00","bytes":7}`:        start.Add(time.Minute),
		`{"k":3,"n":1,"latest":"1970-01-01 00:00:00.5Z","bytes":7}`:     start.Add(500 * time.Millisecond),
		`{"k":3,"n":1,"latest":null,"bytes":1000}`:                      {},
	} {
		if got, err := created(clock, []byte(row)); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v %v", row, got, err)
		}
	}
	for _, wrong := range []string{`{"latest":"yesterday"}`, `[]`} {
		if _, err := created(clock, []byte(wrong)); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}

func TestEveryPartitionHasAKeyToWatch(t *testing.T) {
	groups := groupsOf(256)
	for part := range partitions {
		r := topology.Range{From: topology.KeyGroup(part * 256 / partitions), To: topology.KeyGroup((part + 1) * 256 / partitions)}
		found := false
		for _, g := range groups {
			found = found || r.Contains(g)
		}
		if !found {
			t.Errorf("none in %v", r)
		}
	}
}

func TestResultSaysWhetherTheAimIsMet(t *testing.T) {
	for _, c := range []struct {
		first sample.Sample
		want  string
	}{
		{sample.Sample{200 * time.Millisecond, 250 * time.Millisecond, 900 * time.Millisecond}, "| non-leader | 1.5 | 250 / 900 / 900 |"},
		{sample.Sample{200 * time.Millisecond, 1100 * time.Millisecond}, "max 1000: missed"},
	} {
		var out strings.Builder
		r := result{stateBytes: 1_500_000, first: c.first}
		if met := r.row(&out, kindOther); met == strings.Contains(out.String(), "missed") || !strings.Contains(out.String(), c.want) {
			t.Errorf("%s", out.String())
		}
	}
}

func TestWrongArgumentsAreNamed(t *testing.T) {
	for _, c := range []struct{ sizes, kinds, want string }{
		{"1,x", kindOther, "-sizes"}, {"0", kindOther, "-sizes"}, {"1", "sideways", "-kinds"},
	} {
		o := options{losses: 1, rows: 1000}
		if err := o.read(c.sizes, c.kinds); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
}
