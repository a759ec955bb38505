package agent

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// TestATailShowsEveryChangeOnceAlsoWhenThePartsMove folds a tail's rows: every -U and -D takes away exactly what was shown before, and
// what is left is the table, while a node that holds a part of it is killed.
func TestATailShowsEveryChangeOnceAlsoWhenThePartsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.three()
		asked := c.leader()
		api := c.api(asked)
		if _, err := api.AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(1000, 100)}); err != nil {
			t.Fatal(err)
		}
		type tailed struct {
			rows []client.TailRow
			err  error
		}
		done := make(chan tailed, 1)
		go func() {
			var all tailed
			for row, err := range api.Tail(t.Context(), "counts", client.TailRequest{}) {
				if err != nil {
					all.err = err
					break
				}
				all.rows = append(all.rows, row)
			}
			done <- all
		}()
		time.Sleep(4 * time.Second)
		top, err := api.Topology(t.Context(), "counts")
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range top.Stages[len(top.Stages)-1].Partitions {
			i := slices.IndexFunc(c.running(), func(a *Agent) bool { return a.config.Name == p.Node })
			if i >= 0 && p.Node != asked.config.Name {
				c.kill(c.running()[i])
				break
			}
		}
		c.finished(asked, "counts")
		got := <-done
		if got.err != nil {
			t.Fatalf("after %d rows: %v", len(got.rows), got.err)
		}
		now := fold(t, got.rows)
		if want := c.counts(asked); !slices.Equal(now, want) {
			t.Errorf("the tail's rows add up to %v, the table is %v", now, want)
		}
	})
}

// fold makes a table of its changes.
func fold(t *testing.T, rows []client.TailRow) []string {
	t.Helper()
	type row struct{ K, N int64 }
	now := map[int64]int64{}
	for i, r := range rows {
		var v row
		if err := json.Unmarshal([]byte(r.Row), &v); err != nil {
			t.Fatal(err)
		}
		before, had := now[v.K]
		switch r.Op {
		case client.OpInsert, client.OpUpdateAfter:
			now[v.K] = v.N
		case client.OpUpdateBefore, client.OpDelete:
			if had && before != v.N {
				t.Errorf("row %d, epoch %d: %s %s, and %d was shown before", i, r.Epoch, r.Op, r.Row, before)
			}
		}
	}
	var list []string
	for k, n := range now {
		list = append(list, fmt.Sprintf(`{"k":%d,"n":%d}`, k, n))
	}
	slices.Sort(list)
	return list
}
