package agent

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// countSQL counts generated rows into a table.
func countSQL(rows, perSecond int) string {
	return fmt.Sprintf(`
SET 'parallelism.default' = '2';
CREATE TABLE numbers (k BIGINT, v BIGINT) WITH (
  'connector' = 'datagen', 'number-of-rows' = '%d', 'rows-per-second' = '%d',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '9',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '1', 'fields.v.end' = '%d');
CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH (
  'connector' = 'table');
INSERT INTO counts SELECT k, COUNT(*) FROM numbers GROUP BY k;
`, rows, perSecond, rows)
}

func (c *cluster) finished(a *Agent, name string) *client.QueryDetail {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	q, err := c.api(a).AwaitQuery(ctx, name, client.UntilFinished)
	if err != nil {
		c.explain()
		c.t.Fatalf("query %s: %v", name, err)
	}
	if !q.Reached(client.UntilFinished) {
		c.explain()
	}
	if q.State != client.StateFinished {
		c.t.Fatalf("query %s is %s: %s %s", name, q.State, q.Reason, q.Resolves)
	}
	return q
}

// explain logs how the parts of queries do, for a test that fails.
func (c *cluster) explain() {
	c.t.Helper()
	if list := c.running(); len(list) > 0 {
		for _, q := range list[0].Machine().View().Queries {
			c.t.Logf("query %s is %v: %s %s; complete %d", q.Name, q.State, q.Reason, q.Resolves, q.Complete)
			for s, st := range q.Stages {
				c.t.Logf("stage %d: %+v, shadows %+v, vaults %+v", s, st.Partitions, st.Shadows, st.Vaults)
			}
			c.t.Logf("seals %+v", q.Seals)
			for _, h := range q.History[max(0, len(q.History)-40):] {
				c.t.Logf("history %d %s %s", h.AtMs%1_000_000, h.Kind, h.Text)
			}
		}
	}
	for _, a := range c.running() {
		nodes := ""
		for _, n := range a.Machine().View().Nodes {
			nodes += fmt.Sprintf(" %v %v", n.Process(), n.Status)
		}
		c.t.Logf("%s: Raft %+v, metadata %d,%s", a.config.Name, a.member.Group().Status(), a.Machine().View().Version, nodes)
		w := a.working()
		if w == nil {
			c.t.Logf("%s does not work: %v", a.config.Name, a.Err())
			continue
		}
		for _, r := range w.queries.all() {
			c.t.Logf("%s: %+v", a.config.Name, r.report())
			if s := r.seals.current(); s != nil {
				c.t.Logf("%s: seals %+v, %v, waiting for %q", a.config.Name, s.Stats(), s.Err(), s.Waiting())
			}
		}
	}
}

func TestAQueryAddedThroughAnyPeerRunsToItsEnd(t *testing.T) {
	for _, peer := range []int{0, 1, 2} {
		t.Run(fmt.Sprintf("n%d", peer+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				defer c.close()
				agents := c.three()
				q, err := c.api(agents[peer]).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(1000, 100_000)})
				if err != nil {
					t.Fatal(err)
				}
				if q.Incarnation != 1 {
					t.Errorf("incarnation %d", q.Incarnation)
				}
				c.finished(agents[(peer+1)%3], "counts")
				read, err := c.api(agents[(peer+2)%3]).ReadTable(t.Context(), client.TableReadRequest{Query: "counts", Table: "counts"})
				if err != nil || len(read.Rows) != 10 {
					t.Fatalf("%+v, %v", read, err)
				}
			})
		})
	}
}

// counts are the rows of a table that was read at an agent.
func (c *cluster) counts(a *Agent) []string {
	c.t.Helper()
	read, err := c.api(a).ReadTable(c.t.Context(), client.TableReadRequest{Query: "counts", Table: "counts", Limit: 100})
	if err != nil {
		c.t.Fatal(err)
	}
	var rows []string
	for _, r := range read.Rows {
		rows = append(rows, string(r))
	}
	return rows
}

// undisturbed are the counts on one node that never fails.
func undisturbed(t *testing.T, rows int) (out []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		a := c.start("n1", nil)
		c.ready(a)
		if _, err := c.api(a).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 100_000)}); err != nil {
			t.Fatal(err)
		}
		c.finished(a, "counts")
		out = c.counts(a)
	})
	return out
}

func TestAKilledNodeChangesNoResult(t *testing.T) {
	const rows = 2000
	want := undisturbed(t, rows)
	for _, victim := range []string{"the leader", "another"} {
		for _, after := range []time.Duration{500 * time.Millisecond, 3 * time.Second} {
			t.Run(fmt.Sprintf("%s after %v", victim, after), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newCluster(t)
					defer c.close()
					c.three()
					leader := c.leader()
					if _, err := c.api(leader).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 200)}); err != nil {
						t.Fatal(err)
					}
					time.Sleep(after)
					dead := leader
					if victim == "another" {
						dead = c.running()[0]
						if dead == leader {
							dead = c.running()[1]
						}
					}
					c.kill(dead)
					q := c.finished(c.running()[0], "counts")
					for _, a := range c.running() {
						if got := c.counts(a); !slices.Equal(got, want) {
							t.Errorf("%s: %v, want %v", a.config.Name, got, want)
						}
					}
					if q.BlocksBelowK != 0 {
						t.Errorf("%d blocks have too few copies", q.BlocksBelowK)
					}
				})
			})
		}
	}
}

func TestAClusterOfOneGoesOnWithItsQueryAfterItsRestart(t *testing.T) {
	const rows = 2000
	want := undisturbed(t, rows)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		a := c.start("n1", nil)
		c.ready(a)
		if _, err := c.api(a).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 200)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		c.kill(a)
		a = c.start("n1", nil)
		c.ready(a)
		c.finished(a, "counts")
		if got := c.counts(a); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func TestARemovedQueryIsGoneEverywhereAndItsNameIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		api := c.api(agents[0])
		add := client.AddQueryRequest{Name: "counts", SQL: countSQL(1_000_000, 1000)}
		if _, err := api.AddQuery(t.Context(), add); err != nil {
			t.Fatal(err)
		}
		if _, err := api.AddQuery(t.Context(), add); !client.IsConflict(err) {
			t.Fatalf("a name was given twice: %v", err)
		}
		time.Sleep(3 * time.Second)
		if _, err := api.RemoveQuery(t.Context(), "counts"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if list, err := api.Queries(t.Context()); err != nil || len(list) != 0 {
			t.Fatalf("%+v, %v", list, err)
		}
		for _, a := range agents {
			if held := a.working().vault.Queries(); len(held) != 0 {
				t.Errorf("%s keeps state of %v", a.config.Name, held)
			}
		}
		if _, err := api.AddQuery(t.Context(), add); err != nil {
			t.Errorf("the name is not free: %v", err)
		}
	})
}

func TestAPausedQueryStandsStillAndGoesOn(t *testing.T) {
	const rows = 1000
	want := undisturbed(t, rows)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		api := c.api(agents[0])
		if _, err := api.AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 200)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if q, err := api.PauseQuery(t.Context(), "counts"); err != nil || q.State != client.StatePaused {
			t.Fatalf("%+v, %v", q, err)
		}
		time.Sleep(time.Minute)
		if q, err := api.Query(t.Context(), "counts"); err != nil || q.RowsIn >= rows {
			t.Fatalf("%d rows were read while the query was paused, %v", q.RowsIn, err)
		}
		if _, err := api.ResumeQuery(t.Context(), "counts"); err != nil {
			t.Fatal(err)
		}
		c.finished(agents[1], "counts")
		if got := c.counts(agents[2]); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
