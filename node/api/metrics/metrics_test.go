package metrics

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type fixed Snapshot

func (f *fixed) Snapshot() Snapshot { return Snapshot(*f) }

func example() *fixed {
	return &fixed{
		Version: "1", Fingerprint: "amd64 v1",
		Stages: []Stage{
			{Query: "q", Stage: "0", RowsIn: 7, Busy: 1500 * time.Millisecond, EpochLag: 20 * time.Millisecond},
			{Query: "q", Stage: "1", Late: 2, HasWatermark: true, WatermarkLag: time.Second},
		},
		Queries:        []Query{{Query: "q", Leader: true, BlocksBelowK: 3}, {Query: "r"}},
		Raft:           Raft{State: "Follower", Term: 4},
		Nodes:          map[string]int{"alive": 4, "lost": 1},
		QueriesByState: map[string]int{"RUNNING": 2},
		Vault:          Vault{Full: true},
	}
}

func TestMetricsAreCleanToTheLinter(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(New(example()))
	problems, err := testutil.GatherAndLint(registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMetricsSayWhatTheSnapshotSays(t *testing.T) {
	m := New(example())
	m.ObserveRecovery(Restore, 180*time.Millisecond)
	m.ObserveRecovery("lunch", time.Hour)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	want := `
# HELP seepnode_rows_in_total Rows that partitions on this node took in.
# TYPE seepnode_rows_in_total counter
seepnode_rows_in_total{query="q",stage="0"} 7
seepnode_rows_in_total{query="q",stage="1"} 0
# HELP seepnode_blocks_below_k Blocks of state with fewer full copies than there should be; on the leader.
# TYPE seepnode_blocks_below_k gauge
seepnode_blocks_below_k{query="q"} 3
# HELP seepnode_watermark_lag_seconds Now minus the lowest watermark; absent without one.
# TYPE seepnode_watermark_lag_seconds gauge
seepnode_watermark_lag_seconds{query="q",stage="1"} 1
# HELP seepnode_nodes Nodes of the cluster.
# TYPE seepnode_nodes gauge
seepnode_nodes{status="alive"} 4
seepnode_nodes{status="lost"} 1
# HELP seepnode_raft_state 1 for this node's state in the Raft group, 0 for the others.
# TYPE seepnode_raft_state gauge
seepnode_raft_state{state="Candidate"} 0
seepnode_raft_state{state="Follower"} 1
seepnode_raft_state{state="Leader"} 0
seepnode_raft_state{state="Shutdown"} 0
`
	err := testutil.GatherAndCompare(registry, strings.NewReader(want), "seepnode_rows_in_total", "seepnode_blocks_below_k",
		"seepnode_watermark_lag_seconds", "seepnode_nodes", "seepnode_raft_state")
	if err != nil {
		t.Error(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	observed := map[string]uint64{}
	for _, f := range families {
		if f.GetName() == recoveryName {
			for _, metric := range f.Metric {
				observed[metric.Label[0].GetValue()] = metric.Histogram.GetSampleCount()
			}
		}
	}
	if len(observed) != 4 || observed["restore"] != 1 || observed["detect"] != 0 {
		t.Errorf("recovery phases observed %v", observed)
	}
}

func TestEveryMetricIsInTheTableOnce(t *testing.T) {
	table := Table()
	descs := make(chan *prometheus.Desc, 1000)
	New(example()).Describe(descs)
	close(descs)
	n := 0
	for d := range descs {
		n++
		_, rest, _ := strings.Cut(d.String(), `fqName: "`)
		name, _, _ := strings.Cut(rest, `"`)
		if strings.Count(table, "| `"+name+"` |") != 1 {
			t.Errorf("%s is not in the table once", name)
		}
	}
	if lines := strings.Count(table, "\n") - 2; lines != n {
		t.Errorf("the table has %d metrics, there are %d", lines, n)
	}
}

func TestLabelsThatAreNotUTF8SpoilNothing(t *testing.T) {
	s := example()
	s.Stages[0].Query = "a\xffb"
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(New(s))
	if _, err := registry.Gather(); err != nil {
		t.Error(err)
	}
}
