package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/autoscale"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestIdentityUnderElasticity: what sinks show is byte for byte what one node that never fails gives, while stages are scaled out and in, nodes
// drained and used again, partitions moved, with standby shadows in every third schedule, and processes, disks and network fail in the middle of
// it. In every other schedule somebody who takes part in a change is lost at a point of it, see drawInChange; in two of three of the others faults come at
// any time. Every schedule, of 200, is one of five whole agents; those of node/engine (TestKeyGroupsThatMoveUnderFaultsChangeNoByte)
// are beside them. In the end no change is under way.
func TestIdentityUnderElasticity(t *testing.T) {
	seen := &tally{counts: map[string]int{}}
	t.Run("schedules", func(t *testing.T) {
		for i, q := range faultQueries {
			t.Run(q.name, func(t *testing.T) {
				want := onOneNode(t, q.sql, q.sinks, q.tables...)
				for _, seed := range seeds(t, 40, 3) {
					t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) { identityUnderElasticity(t, seed, i, want, seen) })
					})
				}
			})
		}
	})
	for _, name := range slices.Sorted(maps.Keys(seen.counts)) {
		t.Logf("%4d %s", seen.counts[name], name)
	}
	if testing.Short() || os.Getenv("SEEPNODE_ROUNDS") != "" || os.Getenv("SEEPNODE_SEED") != "" {
		return
	}
	for _, what := range []string{"scale out", "scale in", "drain", "move", "merge", "merged", "standby", "a standby took over", raftfsm.KindSwitched, raftfsm.KindDropped, raftfsm.KindReassigned} {
		if seen.of(what) == 0 {
			t.Errorf("not once in all schedules: %s", what)
		}
	}
	seen.checkLosses(t)
}

// countChanges counts what changed in a query.
func (y *tally) countChanges(q *raftfsm.Query) {
	merges := map[string]bool{}
	for i := range q.History {
		h := &q.History[i]
		y.count("%s", h.Kind)
		switch h.Kind {
		case raftfsm.KindShadowed:
			y.count("%s", figureOf(h, raftfsm.FigureWhat))
			if figureOf(h, raftfsm.FigureWhat) == "merge" {
				merges[figureOf(h, raftfsm.FigureInstances)] = true
			}
		case raftfsm.KindSwitched:
			if merges[figureOf(h, raftfsm.FigureInstances)] {
				y.count("merged")
			}
		case raftfsm.KindReassigned:
			if q.Standby > 0 && strings.Contains(figureOf(h, raftfsm.FigureInstances), ",") {
				y.count("a standby took over")
			}
		}
	}
}

func identityUnderElasticity(t *testing.T, seed uint64, query int, want map[string]string, seen *tally) {
	q := &faultQueries[query]
	sql := q.sql
	if seed%3 == 1 {
		sql = fmt.Sprintf("SET 'standby' = '%d';\n", 1+seed/3%2) + sql
	}
	w := newTrial(t, seed*uint64(len(faultQueries))+uint64(query)+1_000_000, 5, burstsRegistry(t))
	defer w.end()
	if _, err := w.person().AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql, Set: sinkPaths(t, w.dir, q.sinks)}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var people sync.WaitGroup
	changes := rand.New(rand.NewPCG(seed, 77))
	var faults []fault
	if often := changes.IntN(3) > 0; seed%2 == 1 {
		w.tally, faults = seen, drawInChange(int(seed/2%10_000)*len(faultQueries)+query, w.r, w.names)
	} else if often {
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
	} else {
		w.until("every change has come to its end", func() bool {
			return !slices.ContainsFunc(w.latest().Query("q").Stages, func(st *raftfsm.Stage) bool {
				return slices.ContainsFunc(st.Shadows, func(sh topology.Shadow) bool { return sh.Purpose != topology.ForStandby })
			})
		})
	}
	sameBytes(t, w.shown(q.sinks, q.tables...), want)
	if query := w.latest().Query("q"); query != nil {
		count := map[string]int{}
		for _, h := range query.History {
			count[h.Kind]++
		}
		seen.countChanges(query)
		t.Logf("%v; %d faults, history %v", time.Since(w.began), w.during, count)
		if t.Failed() {
			for _, h := range query.History[max(0, len(query.History)-60):] {
				t.Logf("history %d %s %s", h.AtMs%1_000_000, h.Kind, h.Text)
			}
			t.Logf("seed %d:\n%s", seed, w.story())
		}
	}
}

// rescale asks for another layout, for a partition to be moved, or for a node to be drained or used again. That nobody can be asked just now is no mistake.
func (w *trial) rescale(ctx context.Context, r *rand.Rand) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	q := w.latest().Query("q")
	if q == nil {
		return
	}
	name := w.names[r.IntN(len(w.names))]
	var err error
	switch r.IntN(9) {
	case 5, 6:
		w.move(ctx, q, r)
	case 7, 8:
		w.merge(ctx, q, r)
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

// move puts a partition on a node, as the policy for nodes that are too busy does. That it is there, or on its way somewhere, is no mistake either.
func (w *trial) move(ctx context.Context, q *raftfsm.Query, r *rand.Rand) {
	s := r.IntN(len(q.Stages))
	part := q.Stages[s].Partitions[r.IntN(len(q.Stages[s].Partitions))]
	to := w.latest().Nodes[r.IntN(len(w.names))].Process()
	agents := w.running()
	if len(agents) == 0 {
		return
	}
	by := agents[r.IntN(len(agents))]
	k := moveCommand(q, &autoscale.Move{Query: q.ID, Stage: topology.StageID(s), Range: part.Range, From: part.Process, To: to, Text: "it is to go there"})
	_, _ = by.member.Propose(ctx, raftfsm.Envelope{AtMs: by.clock.now().UnixMilli(), Command: k})
}

// merge makes one of neighbours that are on one node, as the coordinator does when nothing has happened for longer than most of these schedules last. It is
// tried for a while: neighbours come to one node by what is under way.
func (w *trial) merge(ctx context.Context, q *raftfsm.Query, r *rand.Rand) {
	for range 40 {
		var parts []raftfsm.Part
		var stages []topology.StageID
		for s, st := range q.Stages {
			for i := 1; i < len(st.Partitions); i++ {
				a, b := &st.Partitions[i-1], &st.Partitions[i]
				rng := topology.Range{From: a.Range.From, To: b.Range.To}
				if st.Merges(rng, a.Process) && !slices.ContainsFunc(st.Shadows, func(sh topology.Shadow) bool { return sh.Range.Overlaps(rng) && sh.Purpose != topology.ForStandby }) {
					parts, stages = append(parts, raftfsm.Part{Range: rng, Process: a.Process}), append(stages, topology.StageID(s))
				}
			}
		}
		agents := w.running()
		if len(parts) > 0 && len(agents) > 0 {
			k, by := r.IntN(len(parts)), agents[r.IntN(len(agents))]
			_, _ = by.member.Propose(ctx, raftfsm.Envelope{AtMs: by.clock.now().UnixMilli(), Command: &raftfsm.ShadowStart{Query: q.ID, Version: q.Version,
				Stage: stages[k], Restore: q.Complete, Parts: parts[k : k+1], What: "merge"}})
			return
		}
		sleep(ctx, 10*time.Millisecond)
		if q = w.latest().Query("q"); q == nil || ctx.Err() != nil {
			return
		}
	}
}

// TestInvariant25NothingRunsWhereTheFingerprintDiffers: nodes of another binary are in the cluster, with room, while stages are scaled, partitions moved,
// nodes drained and lost.
func TestInvariant25NothingRunsWhereTheFingerprintDiffers(t *testing.T) {
	q := &faultQueries[1]
	want := onOneNode(t, q.sql, q.sinks, q.tables...)
	for _, seed := range seeds(t, 6, 1) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := prepareTrial(t, seed+5_000_000, 5, nil)
				defer w.end()
				w.own = map[string]*operator.Registry{"n2": burstsRegistry(t), "n4": burstsRegistry(t)} // whose operators change their fingerprint
				w.found()
				if _, err := w.person().AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: "SET 'standby' = '1';\n" + q.sql, Set: sinkPaths(t, w.dir, q.sinks)}); err != nil {
					t.Fatal(err)
				}
				changes := rand.New(rand.NewPCG(seed, 25))
				faults := drawFaults(w.r, w.names)
				ctx, cancel := context.WithCancel(t.Context())
				var people sync.WaitGroup
				people.Go(func() {
					for n := 6; n > 0 && ctx.Err() == nil && !w.finished("q"); n-- {
						w.rescale(ctx, changes)
						sleep(ctx, time.Duration(changes.IntN(300))*time.Millisecond)
					}
					for _, name := range w.names {
						_, _ = w.person().UndrainNode(ctx, name)
					}
				})
				ok := w.endure(faults, 2*time.Minute, func() bool {
					w.samePrints()
					return w.finished("q")
				})
				cancel()
				people.Wait()
				if !ok {
					w.explain()
					t.Errorf("the query did not finish\n%s", w.story())
				}
				sameBytes(t, w.shown(q.sinks, q.tables...), want)
			})
		})
	}
}

// samePrints looks that what runs of the query runs on processes of its fingerprint.
func (w *trial) samePrints() {
	q := w.latest().Query("q")
	if q == nil {
		return
	}
	for _, a := range w.running() {
		work := a.working()
		if work == nil || a.record.Fingerprint == q.Fingerprint {
			continue
		}
		for _, r := range work.queries.all() {
			if n := len(r.report().Partitions); n > 0 {
				w.t.Errorf("%s has fingerprint %s and runs %d partitions of a query of %s", a.config.Name, a.record.Fingerprint, n, q.Fingerprint)
			}
		}
	}
}
