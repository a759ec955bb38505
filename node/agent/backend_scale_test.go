package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// scaled is a query with four stages of two partitions, of which a person has fixed the first and limited the third.
func scaled() *raftfsm.Query {
	q := &raftfsm.Query{Name: "q", Scale: []raftfsm.StageScale{{Stage: 0, Want: 2}, {Stage: 2, Auto: true, Min: 2, Max: 5}}}
	for _, name := range []string{"read", "count", "join", "write"} {
		q.Stages = append(q.Stages, &raftfsm.Stage{Name: name, Groups: 8, Partitions: []topology.Assignment{
			{Range: topology.Range{To: 4}, Process: topology.Process{Node: "n1"}}, {Range: topology.Range{From: 4, To: 8}, Process: topology.Process{Node: "n2"}}}})
	}
	return q
}

func TestLimitsAloneAreOfTheStagesThatAreAutomatic(t *testing.T) {
	for name, c := range map[string]struct {
		least, most int
		want        []raftfsm.StageScale
	}{
		"a limit that is not given stays": {0, 4, []raftfsm.StageScale{{Stage: 1, Auto: true, Max: 4}, {Stage: 2, Auto: true, Min: 2, Max: 4}, {Stage: 3, Auto: true, Max: 4}}},
		"who is below grows": {3, 0, []raftfsm.StageScale{{Stage: 1, Auto: true, Min: 3, Want: 3}, {Stage: 2, Auto: true, Min: 3, Max: 5, Want: 3},
			{Stage: 3, Auto: true, Min: 3, Want: 3}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, text, err := wantedStages(scaled(), &client.ScaleRequest{Min: c.least, Max: c.most})
			equal := func(a, b raftfsm.StageScale) bool {
				return a.Stage == b.Stage && a.Auto == b.Auto && a.Min == b.Min && a.Max == b.Max && a.Want == b.Want && a.Borders == nil && b.Borders == nil
			}
			if err != nil || !slices.EqualFunc(got, c.want, equal) {
				t.Errorf("%+v, %q, %v; want %+v", got, text, err, c.want)
			}
		})
	}
}

func TestLimitsThatMakeNoSenseAreRefused(t *testing.T) {
	fixed := scaled()
	for s := range fixed.Stages {
		fixed.Scale = append(fixed.Scale[:s], raftfsm.StageScale{Stage: topology.StageID(s), Want: 2})
	}
	for want, c := range map[string]struct {
		q           *raftfsm.Query
		least, most int
	}{
		"is to have 6 to 5 partitions":     {scaled(), 6, 0},
		"is to have 2 to 1 partitions":     {scaled(), 0, 1},
		"no stage of query q is automatic": {fixed, 0, 4},
	} {
		if got, _, err := wantedStages(c.q, &client.ScaleRequest{Min: c.least, Max: c.most}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want an error with %q", got, err, want)
		}
	}
}
