package agent

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestTheLeaderTellsHowLongACompleteCheckpointTookAndHowManyBytesItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		a := c.start("n1", nil)
		c.ready(a)
		// Until a checkpoint with rows is complete: the first may be of a time before them.
		if _, err := c.api(a).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(100_000, 1000)}); err != nil {
			t.Fatal(err)
		}
		var got *client.Checkpoints
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			var err error
			if got, err = c.api(a).Checkpoints(t.Context(), "counts"); err != nil {
				t.Fatal(err)
			}
			if got.CompleteEpoch >= 256 && len(got.Checkpoints) > 0 && got.Checkpoints[0].Bytes > 0 { // which the leader notes a little later
				break
			}
		}
		if len(got.Checkpoints) == 0 {
			t.Fatal("no checkpoint is complete after 20 s")
		}
		// Each of ten keys has a count in its state, and every source partition its position.
		last := got.Checkpoints[0]
		if !last.Complete || last.Epoch != got.CompleteEpoch || last.Bytes < 100 || last.Completed.Before(last.Time) {
			t.Errorf("%+v", last)
		}
		found := map[string]float64{}
		families, err := a.registry().Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.Metric {
				found[f.GetName()] += m.GetGauge().GetValue()
			}
		}
		s := a.Snapshot()
		if len(s.Queries) != 1 || s.Queries[0].CheckpointBytes < 100 || topology.Epoch(s.Queries[0].CompleteEpoch) < last.Epoch {
			t.Errorf("%+v", s.Queries)
		}
		if found["seepnode_checkpoint_bytes"] < 100 {
			t.Errorf("%v", found)
		}
	})
}

// mayBeZero are the metrics that a cluster without troubles leaves at 0, or that virtual time does: nothing takes any while it works.
var mayBeZero = []string{"seepnode_rows_skipped_total", "seepnode_blocked_seconds_total", "seepnode_blocks_below_k", "seepnode_clock_offset_seconds",
	"seepnode_control_errors_total", "seepnode_vault_compactions_total", "seepnode_vault_pending", "seepnode_vault_full", "seepnode_vault_failed",
	"seepnode_raft_leader_silence_seconds", "seepnode_busy_seconds_total", "seepnode_epoch_lag_seconds", "seepnode_spilled_bytes", "seepnode_spill_full",
	"seepnode_stage_spilled_bytes"}

func TestEveryMetricOfAClusterThatWorksAndRecoversHasAFigure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		nodes := c.three()
		leader := c.leader()
		if _, err := c.api(leader).AddQuery(t.Context(), client.AddQueryRequest{Name: "late", SQL: `
SET 'parallelism.default' = '2';
CREATE TABLE s (k BIGINT, v BIGINT, ts AS TO_TIMESTAMP_LTZ(v, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'datagen', 'rows-per-second' = '1000',
  'fields.k.min' = '0', 'fields.k.max' = '99', 'fields.v.min' = '946684700000', 'fields.v.max' = '946684800000');
CREATE TABLE t (w TIMESTAMP_LTZ(3), k BIGINT, n BIGINT, PRIMARY KEY (w, k) NOT ENFORCED) WITH ('connector' = 'table');
INSERT INTO t SELECT window_start, k, COUNT(*) FROM TABLE(TUMBLE(TABLE s, DESCRIPTOR(ts), INTERVAL '10' SECOND)) GROUP BY window_start, window_end, k;`}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		q := leader.Machine().View().Query("late")
		i := slices.IndexFunc(nodes, func(a *Agent) bool { return a != leader && a.self == q.Stages[1].Partitions[0].Process })
		if i < 0 {
			t.Fatalf("no node but the leader runs partitions: %+v", q.Stages)
		}
		c.kill(nodes[i])
		time.Sleep(5 * time.Second)
		found := map[string]float64{}
		for _, a := range c.running() {
			r := prometheus.NewRegistry()
			r.MustRegister(a.metrics)
			families, err := r.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				for _, m := range f.Metric {
					name := f.GetName()
					for _, label := range m.GetLabel() {
						if label.GetName() == "phase" {
							name += " " + label.GetValue()
						}
					}
					found[name] += math.Abs(m.GetGauge().GetValue()) + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
		for name, figure := range found {
			if figure == 0 && !slices.Contains(mayBeZero, name) {
				t.Errorf("%s is 0 on all nodes", name)
			}
		}
		if rates := detail(t, c.api(leader), "late").Rates; rates.BytesPerS <= 0 || rates.RowsInPerS <= 0 {
			t.Errorf("its rates are %+v", rates)
		}
	})
}

func detail(t *testing.T, api *client.Client, name string) *client.QueryDetail {
	t.Helper()
	q, err := api.Query(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return q
}
