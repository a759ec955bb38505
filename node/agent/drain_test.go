package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestADrainOfAQueryThatHasFinishedOrSoonDoesEnds: partitions, those of sources too, and copies go to other nodes, one node after the other,
// and what the sinks show stays as it is.
func TestADrainOfAQueryThatHasFinishedOrSoonDoesEnds(t *testing.T) {
	changed(t, 2_000_000, func(t *testing.T, w *trial) {
		if w.r.IntN(2) == 0 {
			w.until("the query has finished", func() bool { return w.finished("q") })
		}
		time.Sleep(time.Duration(w.r.IntN(1200)) * time.Millisecond)
		for range 3 {
			name := w.names[w.r.IntN(len(w.names))]
			w.note("%s is drained", name)
			if _, err := w.person().DrainNode(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			w.until(name+" holds nothing", func() bool { return len(w.latest().NamedBy(topology.NodeID(name), 1)) == 0 })
			if _, err := w.person().UndrainNode(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// changed runs each of faultQueries on four whole agents, several times, changes something meanwhile, and compares what it shows in the end with one node's.
func changed(t *testing.T, seeded uint64, change func(t *testing.T, w *trial)) {
	for i, q := range faultQueries {
		t.Run(q.name, func(t *testing.T) {
			want := onOneNode(t, q.sql, q.sinks, q.tables...)
			for _, seed := range seeds(t, 4, 1) {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						w := newTrial(t, seed*uint64(len(faultQueries))+uint64(i)+seeded, 4, burstsRegistry(t))
						defer w.end()
						if _, err := w.person().AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: q.sql, Set: sinkPaths(t, w.dir, q.sinks)}); err != nil {
							t.Fatal(err)
						}
						change(t, w)
						w.until("the query has finished", func() bool { return w.finished("q") })
						sameBytes(t, w.shown(q.sinks, q.tables...), want)
					})
				})
			}
		})
	}
}

// until waits for something, a minute at most.
func (w *trial) until(what string, done func() bool) {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().Before(end) {
			continue
		}
		if q := w.latest().Query("q"); q != nil {
			for _, h := range q.History[max(0, len(q.History)-40):] {
				w.t.Logf("history %d %s %s", h.AtMs%1_000_000, h.Kind, h.Text)
			}
		}
		w.explain()
		w.t.Fatalf("after a minute not: %s\n%s", what, w.story())
	}
}
