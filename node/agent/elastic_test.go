package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// TestIdentityUnderElasticity: what sinks show is byte for byte what one node that never fails gives, while people scale stages out and in,
// drain nodes and take that back, and processes, disks and network fail in the middle of it.
func TestIdentityUnderElasticity(t *testing.T) {
	for i, q := range faultQueries {
		t.Run(q.name, func(t *testing.T) {
			want := onOneNode(t, q.sql, q.sinks)
			for _, seed := range seeds(t, 3, 1) {
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) { identityUnderElasticity(t, seed, i, want) })
				})
			}
		})
	}
}

func identityUnderElasticity(t *testing.T, seed uint64, query int, want map[string]string) {
	q := &faultQueries[query]
	w := newTrial(t, seed*uint64(len(faultQueries))+uint64(query)+1_000_000, 5, burstsRegistry(t))
	defer w.end()
	if _, err := w.person().AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: q.sql, Set: sinkPaths(t, w.dir, q.sinks)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var people sync.WaitGroup
	changes := rand.New(rand.NewPCG(seed, 77))
	var faults []fault
	if changes.IntN(3) > 0 {
		faults = drawFaults(w.r, w.names)
	}
	people.Go(func() {
		for n := 4 + changes.IntN(6); n > 0 && ctx.Err() == nil && !w.finished("q"); n-- {
			w.rescale(ctx, changes)
			sleep(ctx, time.Duration(changes.IntN(400))*time.Millisecond)
		}
		for _, name := range w.names { // all may have something again
			_, _ = w.person().UndrainNode(ctx, name)
		}
	})
	ok := w.endure(faults, 2*time.Minute, func() bool { return w.finished("q") })
	cancel()
	people.Wait()
	if !ok {
		w.explain()
		t.Errorf("the query did not finish")
	}
	sameFiles(t, sinkFiles(t, w.dir, q.sinks), want)
	if query := w.latest().Query("q"); query != nil {
		count := map[string]int{}
		for _, h := range query.History {
			count[h.Kind]++
		}
		t.Logf("%v; %d faults, history %v", time.Since(w.began), w.during, count)
		if t.Failed() {
			for _, h := range query.History[max(0, len(query.History)-60):] {
				t.Logf("history %d %s %s", h.AtMs%1_000_000, h.Kind, h.Text)
			}
			t.Logf("seed %d:\n%s", seed, w.story())
		}
	}
}

// rescale asks for another layout, or for a node to be drained or used again. That nobody can be asked just now is no mistake.
func (w *trial) rescale(ctx context.Context, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	q := w.latest().Query("q")
	if q == nil {
		return
	}
	name := w.names[r.IntN(len(w.names))]
	var err error
	switch r.IntN(5) {
	case 0:
		_, err = w.person().DrainNode(ctx, name)
	case 1:
		_, err = w.person().UndrainNode(ctx, name)
	default:
		s := r.IntN(len(q.Stages))
		n := 1 + r.IntN(min(4, q.Stages[s].Groups))
		_, err = w.person().ScaleQuery(ctx, "q", client.ScaleRequest{Stages: []client.ScaleStage{{Stage: fmt.Sprint(s), Partitions: n}}})
	}
	var answer *client.Error
	if errors.As(err, &answer) && answer.Status < 500 && answer.Status != 409 && ctx.Err() == nil {
		w.t.Errorf("it was refused: %v", err)
	}
}
