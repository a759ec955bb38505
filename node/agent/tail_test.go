package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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

// TestATailOfFilesShowsTheirRowsInOrderAlsoWhenTheLaneMoves: from when it begins, each row once, while the node that writes them is killed.
func TestATailOfFilesShowsTheirRowsInOrderAlsoWhenTheLaneMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.three()
		dir := filepath.Join(c.dir, "out")
		sql := fmt.Sprintf(`
CREATE TABLE numbers (v BIGINT) WITH ('connector' = 'datagen', 'number-of-rows' = '1500', 'rows-per-second' = '100', 'splits' = '3',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '1', 'fields.v.end' = '1500');
CREATE TABLE out (v BIGINT) WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'csv');
INSERT INTO out SELECT v FROM numbers;`, dir)
		if _, err := c.api(c.leader()).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		top, err := c.api(c.leader()).Topology(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		lane := top.Stages[len(top.Stages)-1].Partitions[0].Node
		agents := c.running()
		writes := slices.IndexFunc(agents, func(a *Agent) bool { return a.config.Name == lane })
		asked := agents[(writes+1)%3]
		done := make(chan []string, 1)
		go func() {
			var rows []string
			for row, err := range c.api(asked).Tail(t.Context(), "q", client.TailRequest{Sink: "out"}) {
				var v struct{ V int64 }
				if err == nil {
					err = json.Unmarshal([]byte(row.Row), &v)
				}
				if err != nil || row.Op != client.OpInsert || row.Dropped != 0 {
					t.Errorf("after %d rows: %+v, %v", len(rows), row, err)
					break
				}
				rows = append(rows, fmt.Sprint(v.V))
			}
			done <- rows
		}()
		time.Sleep(4 * time.Second)
		c.kill(agents[writes])
		c.finished(asked, "q")
		got, want := <-done, csvRows(t, dir)
		if len(want) != 1500 || len(got) < 1000 || len(got) > len(want) || !slices.Equal(got, want[len(want)-len(got):]) {
			t.Errorf("%d rows in files end with\n%v, the tail showed %d:\n%v", len(want), want[max(0, len(want)-len(got)):], len(got), got)
		}
	})
}

// csvRows are the lines of all files of a sink, ascending by name.
func csvRows(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, strings.Fields(string(text))...)
	}
	return rows
}

// TestASlowReaderOfATailIsToldHowManyRowsItMissed: the rows shown and missed are all there were from the first on, also when the query finishes while
// nobody reads.
func TestASlowReaderOfATailIsToldHowManyRowsItMissed(t *testing.T) {
	for _, sink := range []string{"blackhole", "table"} {
		for _, end := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, until the end %v", sink, end), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { slowTail(t, sink, end) })
			})
		}
	}
}

func slowTail(t *testing.T, sink string, untilEnd bool) {
	c := newCluster(t)
	defer c.close()
	for _, a := range c.three() {
		a.tables.Hub().BytesMax = 50_000
	}
	const rows = 3000
	sql := fmt.Sprintf(`
CREATE TABLE texts (v BIGINT, s STRING) WITH ('connector' = 'datagen', 'number-of-rows' = '%d', 'rows-per-second' = '300',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '1', 'fields.v.end' = '%d', 'fields.s.length' = '1000');
CREATE TABLE out (v BIGINT, s STRING, PRIMARY KEY (v) NOT ENFORCED) WITH ('connector' = '%s');
INSERT INTO out SELECT v, s FROM texts;`, rows, rows, sink)
	asked := c.leader()
	if _, err := c.api(asked).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
		t.Fatal(err)
	}
	var first, shown, missed int64
	var end error
	for row, err := range c.api(asked).Tail(t.Context(), "q", client.TailRequest{}) {
		if end = err; err != nil {
			break
		}
		if shown++; shown == 1 {
			var v struct{ V int64 }
			if err := json.Unmarshal([]byte(row.Row), &v); err != nil {
				t.Fatal(err)
			}
			first = v.V
			if untilEnd {
				c.finished(asked, "q")
			} else {
				time.Sleep(6 * time.Second)
			}
		}
		missed += row.Dropped
	}
	if untilEnd {
		if end == nil {
			t.Fatal("nothing was said of the last rows")
		}
		_, text, _ := strings.Cut(end.Error(), "the last ")
		last := int64(0)
		if _, err := fmt.Sscanf(text, "%d rows were left out", &last); err != nil {
			t.Fatalf("%q: %v", end, err)
		}
		missed += last
	} else if end != nil {
		t.Fatal(end)
	}
	if missed == 0 || first > 100 || first-1+shown+missed != rows {
		t.Errorf("from row %d on %d rows were shown and %d missed, of %d", first, shown, missed, rows)
	}
}
