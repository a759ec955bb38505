package engine_test

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestASourceThatIsRestoredBehindItsEndLetsFormerOwnersLogsGo: while a log is named, who keeps it may not leave the cluster.
func TestASourceThatIsRestoredBehindItsEndLetsFormerOwnersLogsGo(t *testing.T) {
	q := identityQueries[0]
	c := newCatalog(t, burstsDefinition())
	dirs := map[string]string{}
	for _, s := range q.sinks {
		dirs[s] = t.TempDir()
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, c, "SET 'checkpoint.epochs' = '8';\n"+q.sql, dirs, 0, 0)
		for i := range 3 {
			w.start(engine.NodeName(i))
		}
		w.place(3)
		defer w.end()
		until := func(what string, is func() bool) {
			for range 50_000 {
				time.Sleep(2 * time.Millisecond)
				synctest.Wait()
				if err := w.failure(); err != nil {
					t.Fatal(err)
				}
				if is() {
					return
				}
			}
			w.dump()
			t.Fatal(what)
		}
		until("the query does not end", w.lead)
		w.kill(engine.NodeName(0))
		w.reassign()
		if !w.adopts() {
			t.Fatal("no source was on the node that was killed")
		}
		until("a log of the node that was killed is still named", func() bool { return w.lead() && !w.adopts() })
	})
}

// TestVaultsOfTheWorldMakeDurableUnderTheNextTermWhatWasReleasedUnderTheOneBefore as those of the cluster do: it may be the last seal there is.
func TestVaultsOfTheWorldMakeDurableUnderTheNextTermWhatWasReleasedUnderTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, chance: rand.New(rand.NewPCG(1, 2))}
		n := &worldNode{w: w, ctx: t.Context()}
		n.log = &worldLog{id: 1, owner: n}
		n.OnMarks(func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			if n.log.term == 0 {
				n.log.promise = 1 // a successor takes the log before its last record is durable
			}
		})
		n.Put(backup.SealRecord{First: 1, Last: 42})
		n.wg.Wait()
		if released, durable := n.Marks(); released != 42 || durable != 0 {
			t.Fatalf("released %d durable %d under the first term", released, durable)
		}
		n.follow(1)
		n.wg.Wait()
		if released, durable := n.Marks(); released != 42 || durable != topology.Epoch(42) {
			t.Fatalf("released %d durable %d under the next term", released, durable)
		}
	})
}
