package agent

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestAPartitionOnASlowNodeIsTakenOverByAShadowThatGetsAhead: without anybody's doing, with a standby shadow beside it or not, and not a row is lost,
// doubled or changed.
func TestAPartitionOnASlowNodeIsTakenOverByAShadowThatGetsAhead(t *testing.T) {
	const sql = `
SET 'checkpoint.epochs' = '32';
SET 'parallelism.default' = '3';
CREATE TABLE src (id BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='300','number-of-rows'='4500','splits'='3','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='4499','fields.k.min'='0','fields.k.max'='200');
CREATE TABLE out (k BIGINT, started BIGINT, n BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT k, started, n FROM bursts(TABLE src PARTITION BY k, 1500)`
	sinks := []string{"out"}
	var want map[string]int
	synctest.Test(t, func(t *testing.T) { want = rowsOfKeys(t, onOneNode(t, sql, sinks)) })
	for standby := range 3 {
		for _, seed := range seeds(t, 2, 1) {
			t.Run(fmt.Sprintf("standby=%d,seed=%d", standby, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := prepareTrial(t, seed+4_000_000, 5, nil)
					w.logMemory = 0 // sources that stand still at every checkpoint leave nobody behind
					defer w.end()
					slow := map[string]*atomic.Int64{}
					w.own = map[string]*operator.Registry{}
					for _, n := range w.names {
						ms := &atomic.Int64{}
						slow[n], w.own[n] = ms, dragging(t, func() time.Duration { return time.Duration(ms.Load()) * time.Millisecond })
					}
					w.found()
					text := fmt.Sprintf("SET 'standby' = '%d';", standby) + sql
					if _, err := w.person().AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: text, Set: sinkPaths(t, w.dir, sinks)}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Second)
					part := w.latest().Query("q").Stages[1].Partitions[1]
					slow[string(part.Process.Node)].Store(40)
					w.until("the partition on the slow node is taken over", func() bool {
						h := w.latest().Query("q").History
						return slices.ContainsFunc(h, func(e raftfsm.Entry) bool {
							return e.Kind == raftfsm.KindShadowed && slices.Contains(e.Figures, raftfsm.KV{Key: raftfsm.FigureWhat, Value: "straggler"})
						}) && !slices.ContainsFunc(w.latest().Query("q").Stages[1].Partitions, func(a topology.Assignment) bool { return a.Instance == part.Instance })
					})
					w.until("the query has finished", func() bool { return w.finished("q") })
					if got := rowsOfKeys(t, sinkFiles(t, w.dir, sinks)); !maps.Equal(got, want) {
						t.Errorf("rows by key: %v\none node gives %v", got, want)
					}
				})
			})
		}
	}
}

// rowsOfKeys counts the rows in the bursts of each key. Where one burst ends and the next begins depends on what came in one epoch, and so on the time.
func rowsOfKeys(t *testing.T, files map[string]string) map[string]int {
	t.Helper()
	rows := map[string]int{}
	for _, text := range files {
		for line := range strings.Lines(text) {
			fields := strings.Split(strings.TrimSpace(line), ",")
			n, err := strconv.Atoi(fields[len(fields)-1])
			if err != nil {
				t.Fatal(err)
			}
			rows[fields[0]] += n
		}
	}
	return rows
}
