package agent

import (
	"testing"
	"testing/synctest"
	"time"

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
			if got.CompleteEpoch >= 256 {
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
