package engine_test

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/engine"
)

// TestLostPartitionsAreRestoredElsewhereAndTheOutputIsTheSameBytes kills processes of a running query, one after the other, several at once
// and all of them, and starts new ones; survivors never roll back. Files are those of a run that never fails.
func TestLostPartitionsAreRestoredElsewhereAndTheOutputIsTheSameBytes(t *testing.T) {
	sameBytesUnder(t, schedule{12, 3, 9, 4})
}

// TestKeyGroupsThatMoveUnderFaultsChangeNoByte moves partitions and parts of them, one at a time or cut into pieces, merges neighbours, and kills
// processes in the middle of it; sources move too.
func TestKeyGroupsThatMoveUnderFaultsChangeNoByte(t *testing.T) {
	sameBytesUnder(t, schedule{16, 3, 40, 10})
}

// schedule says how much happens in each of so many runs of a query: events, of which moves of 12 begin a move.
type schedule struct{ rounds, short, events, moves int }

func (s schedule) seeds() (first uint64, rounds int) {
	if rounds = s.rounds; testing.Short() {
		rounds = s.short
	}
	if text := os.Getenv("SEEPNODE_SEED"); text != "" {
		first, _ = strconv.ParseUint(text, 10, 64)
		rounds = 1
	}
	if text := os.Getenv("SEEPNODE_FIRST"); text != "" {
		first, _ = strconv.ParseUint(text, 10, 64)
	}
	if text := os.Getenv("SEEPNODE_ROUNDS"); text != "" {
		rounds, _ = strconv.Atoi(text)
	}
	return first, rounds
}

// sameBytesUnder holds the files of a query's runs under a schedule against those of a run in which nothing happens.
func sameBytesUnder(t *testing.T, happens schedule) {
	first, rounds := happens.seeds()
	merges, readBack := 0, int64(0)
	defer func() {
		if happens.moves > 6 && rounds >= happens.rounds && merges == 0 && !t.Failed() {
			t.Error("no neighbours on one node became one")
		}
		if rounds > 2 && readBack == 0 && !t.Failed() {
			t.Error("nobody ever needed what had gone to disk")
		}
	}()
	for _, q := range identityQueries {
		t.Run(q.name, func(t *testing.T) {
			if len(q.sinks) == 0 {
				return
			}
			c := newCatalog(t, burstsDefinition())
			sql := "SET 'checkpoint.epochs' = '8';\n" + q.sql
			p, want := runQuery(t, c, sql, variant{nodes: 1, workers: 1, batchRows: 1000, forkRows: 1 << 40}.options(c), q.sinks...)
			for i := range uint64(rounds) {
				seed := first + i
				t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						got := killAndReassign(t, c, sql, q.sinks, seed, 0, happens)
						merges += got.merges
						readBack += got.readBack
						got.result = want.result // chains are compared by the engine itself, whenever producers change
						got.sameAs(t, p, want)
					})
				})
			}
		})
	}
}

// TestSourcesThatFollowTheClockLoseAndDoubleNothingUnderFaults: a fast source and one that is quiet nearly always are sealed by the clock while
// processes are killed. What is put into which epoch depends on the faults; what windows hold in the end does not.
func TestSourcesThatFollowTheClockLoseAndDoubleNothingUnderFaults(t *testing.T) {
	happens := schedule{16, 3, 16, 6}
	_, rounds := happens.seeds()
	c := newCatalog(t)
	sql := `SET 'checkpoint.epochs' = '32';
CREATE TABLE fast (id BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 5, 3), WATERMARK FOR ts AS ts)
  WITH ('connector'='datagen','rows-per-second'='3000','number-of-rows'='4000','splits'='3','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='3999');
CREATE TABLE quiet (id BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 5000, 3), WATERMARK FOR ts AS ts)
  WITH ('connector'='datagen','rows-per-second'='2','number-of-rows'='4','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='3');
CREATE TABLE out (ws TIMESTAMP_LTZ(3), n BIGINT, lo BIGINT, hi BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE seen (id BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT window_start, COUNT(*), MIN(id), MAX(id) FROM TABLE(TUMBLE(TABLE fast, DESCRIPTOR(ts), INTERVAL '1' SECOND)) GROUP BY window_start, window_end;
INSERT INTO seen SELECT id FROM fast UNION ALL SELECT id + 100000 FROM quiet`
	sinks := []string{"out", "seen"}
	_, want := runQuery(t, c, sql, variant{nodes: 1, workers: 1, batchRows: 1000, forkRows: 1 << 40}.options(c), sinks...)
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := killAndReassign(t, c, sql, sinks, seed, time.Now().UnixMilli(), happens)
				for _, sink := range sinks {
					a, b := want.lines(sink), got.lines(sink)
					slices.Sort(a)
					slices.Sort(b)
					if !slices.Equal(a, b) {
						t.Errorf("table %s has %d rows, without faults %d", sink, len(b), len(a))
					}
				}
			})
		})
	}
}

func killAndReassign(t *testing.T, c *catalog, sql string, sinks []string, seed uint64, t0Ms int64, happens schedule) outcome {
	dirs := map[string]string{}
	for _, s := range sinks {
		dirs[s] = t.TempDir()
	}
	return newWorld(t, c, sql, dirs, seed, t0Ms).suffer(dirs, happens)
}

// suffer runs the world's query to its end while what the schedule says happens, and gives what is in dirs then.
func (w *world) suffer(dirs map[string]string, happens schedule) outcome {
	t := w.t
	const nodes = 4
	for i := range nodes {
		w.start(engine.NodeName(i))
	}
	w.place(nodes)
	defer w.end()
	left := 1 + w.intN(happens.events)
	next := w.steps.Load() + int64(w.intN(150))
	for round := 0; ; round++ {
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if err := w.failure(); err != nil {
			w.dump()
			t.Fatalf("after %d killed: %v", w.killed, err)
		}
		if w.lead() && !w.adopts() {
			break
		}
		if round > 50_000 {
			w.dump()
			t.Fatal("stuck")
		}
		if left > 0 && w.steps.Load() >= next {
			left--
			next = w.steps.Load() + int64(w.intN(150))
			if w.intN(12) < happens.moves {
				w.move()
			} else {
				w.strike(nodes)
			}
		}
	}
	w.end()
	t.Logf("%d killed, %d adoptions, %d switches, %d merges, %d narrowed, %d steps, %d read back from disk", w.killed, w.adoptions, w.switches, w.merges, w.narrowed, w.steps.Load(), w.spilled.Load())
	return outcome{files: readFiles(t, dirs), merges: w.merges, readBack: w.spilled.Load()}
}

// adopts says whether some source is still to adopt former owners' logs: these could not leave the cluster.
func (w *world) adopts() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, stage := range w.placement.Stages {
		if slices.ContainsFunc(stage, func(pl engine.Placed) bool { return pl.Role == engine.Active && len(pl.Adopt) > 0 }) {
			return true
		}
	}
	return false
}

// strike kills some processes, one as a rule, and starts others.
func (w *world) strike(nodes int) {
	if w.intN(2) == 0 {
		w.bury()
	}
	if w.intN(8) == 0 {
		w.everything()
	}
	n := 1
	if w.intN(4) == 0 {
		n += w.intN(nodes)
	}
	for range n {
		victim := engine.NodeName(w.intN(nodes))
		if w.nodes[victim] == nil {
			continue
		}
		if len(w.nodes) > 1 && w.intN(3) == 0 {
			w.lose(victim)
			continue
		}
		w.killed++
		w.kill(victim)
		if len(w.nodes) == 0 || w.intN(2) == 0 {
			w.start(victim)
		}
	}
	if len(w.nodes) == 0 {
		w.start(engine.NodeName(0))
	}
	if w.intN(3) == 0 {
		time.Sleep(w.delay())
		w.lead()
	}
	w.reassign()
	if name := engine.NodeName(w.intN(nodes)); w.nodes[name] == nil && w.intN(2) == 0 {
		w.start(name)
	}
}
