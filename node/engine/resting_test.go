package engine_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestASourceWithoutRowsSavesTheCheckpointsThatOthersSaveHoweverLateItHearsOfThem: its key groups have no split, so it seals only what it is told
// that others have sealed. By the time it hears of a checkpoint epoch the next ones may have begun: its clock is ahead, or what it is told comes late.
func TestASourceWithoutRowsSavesTheCheckpointsThatOthersSaveHoweverLateItHearsOfThem(t *testing.T) {
	c := newCatalog(t)
	sql := `SET 'checkpoint.epochs' = '32';
CREATE TABLE rows (id BIGINT) WITH ('connector'='datagen','rows-per-second'='1000','splits'='1');
CREATE TABLE out (id BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT id FROM rows`
	const nodes = 2
	for i, ahead := range []time.Duration{0, 25 * time.Millisecond, 25 * time.Millisecond, 75 * time.Millisecond, 400 * time.Millisecond} {
		t.Run(fmt.Sprintf("ahead=%v,seed=%d", ahead, i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, c, sql, map[string]string{"out": t.TempDir()}, uint64(i), time.Now().UnixMilli())
				w.ahead = map[topology.NodeID]time.Duration{quietNode(w, nodes): ahead}
				for i := range nodes {
					w.start(engine.NodeName(i))
				}
				w.place(nodes)
				defer w.end()
				epochs := topology.Epoch(20 * time.Second / (time.Duration(w.plan.Settings.EpochMs) * time.Millisecond))
				for range 10_000 {
					time.Sleep(2 * time.Millisecond)
					synctest.Wait()
					if err := w.failure(); err != nil {
						t.Fatal(err)
					}
					w.lead()
				}
				if got := w.placement.Complete; got < epochs*9/10 {
					w.dump()
					t.Errorf("after %d epochs checkpoint %d is complete", epochs, got)
				}
			})
		})
	}
}

// quietNode is the node of two whose part of the source has no split.
func quietNode(w *world, nodes int) topology.NodeID {
	for _, place := range engine.EvenLayout(w.plan.Stages[0], nodes) {
		if !place.Range.Contains(topology.GroupOf(engine.SplitHash("0000"), w.plan.Stages[0].Groups)) {
			return place.Node
		}
	}
	panic("both have one")
}
