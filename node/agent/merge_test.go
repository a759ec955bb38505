package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestNeighboursOnOneNodeBecomeOneWhenTheQueryIsCalm: a stage of a table and one of windows are scaled out and in again, by which all partitions come to
// one node each. Nobody does anything else, and what is left are single partitions; the history tells of it. Not a row is lost, doubled or changed, and who
// reads the table meanwhile sees no time go back.
func TestNeighboursOnOneNodeBecomeOneWhenTheQueryIsCalm(t *testing.T) {
	const sql = `
SET 'checkpoint.epochs' = '64';
CREATE TABLE src (id BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='100','number-of-rows'='4000','splits'='3','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='3999','fields.k.min'='0','fields.k.max'='200');
CREATE TABLE out (k BIGINT, ws TIMESTAMP_LTZ(3), n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='table');
INSERT INTO out SELECT k, window_start, COUNT(*), SUM(id) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '2' SECOND)) GROUP BY k, window_start, window_end;
INSERT INTO counts SELECT k, COUNT(*) FROM src GROUP BY k`
	sinks := []string{"out"}
	var want []string
	synctest.Test(t, func(t *testing.T) {
		want = sortedLines(onOneNode(t, strings.Replace(sql, "'table'", "'blackhole'", 1), sinks))
	})
	for _, seed := range seeds(t, 2, 1) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newTrial(t, seed+6_000_000, 5, nil)
				defer w.end()
				if _, err := w.person().AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql, Set: sinkPaths(t, w.dir, sinks)}); err != nil {
					t.Fatal(err)
				}
				inner := func(holds func(st *raftfsm.Stage) bool) bool {
					return !slices.ContainsFunc(w.latest().Query("q").Stages, func(st *raftfsm.Stage) bool { return !st.Source && st.Groups > 1 && !holds(st) })
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				read := make(chan int64, 1)
				go func() { read <- w.readOn(ctx) }()
				for _, n := range []int{3, 1} {
					if _, err := w.person().ScaleQuery(t.Context(), "q", client.ScaleRequest{Stages: []client.ScaleStage{{Stage: "*", Partitions: n}}}); err != nil {
						t.Fatal(err)
					}
					w.until(fmt.Sprintf("there are %d partitions", n), func() bool {
						return inner(func(st *raftfsm.Stage) bool { return len(st.Shadows) == 0 && onProcesses(st) == n })
					})
				}
				if inner(func(st *raftfsm.Stage) bool { return len(st.Partitions) == 1 }) {
					t.Error("scaling in left no neighbours on one node: this shows nothing")
				}
				w.until("neighbours are one", func() bool {
					return inner(func(st *raftfsm.Stage) bool { return len(st.Partitions) == 1 })
				})
				w.until("the query has finished", func() bool { return w.finished("q") })
				time.Sleep(time.Second)
				cancel()
				if rows := <-read; rows != 4000 {
					t.Errorf("the table's last read counts %d rows", rows)
				}
				if got := sortedLines(sinkFiles(t, w.dir, sinks)); !slices.Equal(got, want) {
					t.Errorf("%d rows, one node gives %d", len(got), len(want))
				}
				told := 0
				for _, h := range w.latest().Query("q").History {
					if h.Kind == "switched" && strings.HasPrefix(h.Text, "merge: ") {
						told++
						t.Log(h.Text)
					}
				}
				if told == 0 {
					t.Error("the history tells of no merge")
				}
			})
		})
	}
}

// onProcesses is how many processes run a stage.
func onProcesses(st *raftfsm.Stage) int {
	var names []string
	for _, a := range st.Partitions {
		names = append(names, string(a.Process.Node))
	}
	slices.Sort(names)
	return len(slices.Compact(names))
}

func sortedLines(files map[string]string) (lines []string) {
	for _, text := range files {
		lines = append(lines, strings.Split(strings.TrimSpace(text), "\n")...)
	}
	slices.Sort(lines)
	return lines
}

// readOn reads the table until ctx ends, at one peer after the other, and gives what the last read counts: rows only come.
func (w *trial) readOn(ctx context.Context) (last int64) {
	newest := topology.Epoch(0)
	for i := 0; ctx.Err() == nil; i++ {
		got, err := w.personAt(w.names[i%len(w.names)]).ReadTable(ctx, client.TableReadRequest{Query: "q", Table: "counts", Limit: 1000, MinEpoch: newest})
		if err == nil {
			sum := int64(0)
			for _, r := range got.Rows {
				var row struct{ N int64 }
				if err := json.Unmarshal(r, &row); err != nil {
					w.t.Error(err)
				}
				sum += row.N
			}
			if sum < last || got.Epoch < newest {
				w.t.Errorf("a read of epoch %d counts %d rows, one of epoch %d before it %d", got.Epoch, sum, newest, last)
			}
			last, newest = sum, got.Epoch
		}
		sleep(ctx, 200*time.Millisecond)
	}
	return last
}
