package engine_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/engine"
)

// TestWithEveryLimitAtOneByteAndOneEpochEveryPlanStillFinishesWhileItsLogsGoToDisk is invariant 16 with spilling, and with processes that are killed and
// partitions that move, so that what is on disk is needed.
func TestWithEveryLimitAtOneByteAndOneEpochEveryPlanStillFinishesWhileItsLogsGoToDisk(t *testing.T) {
	happens := schedule{4, 1, 12, 5}
	first, rounds := happens.seeds()
	back := int64(0)
	for _, q := range identityQueries {
		t.Run(q.name, func(t *testing.T) {
			c := newCatalog(t, burstsDefinition())
			sql := "SET 'checkpoint.epochs' = '4';\n" + q.sql
			p, want := runQuery(t, c, sql, variant{nodes: 1, workers: 1, batchRows: 1000, forkRows: 1 << 40}.options(c), q.sinks...)
			for i := range uint64(rounds) {
				t.Run(fmt.Sprintf("seed=%d", first+i), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						dirs := map[string]string{}
						for _, s := range q.sinks {
							dirs[s] = t.TempDir()
						}
						w := newWorld(t, c, sql, dirs, 1_000_000+first+i, 0)
						w.limits = variant{tiny: true, workers: 1, batchRows: 7, forkRows: 1}.options(c).Limits
						w.spill = dataplane.SpillConfig{Dir: t.TempDir(), MemoryBytes: 1, DiskBytes: 1 << 30, SegmentBytes: 1}
						got := w.suffer(dirs, happens)
						if len(q.sinks) > 0 {
							got.result = want.result
							got.sameAs(t, p, want)
						}
						back += got.readBack
					})
				})
			}
		})
	}
	if back == 0 && !t.Failed() {
		t.Error("nobody ever needed what had gone to disk")
	}
}

// TestMemoryAndDiskOfLogsStayUnderTheirBudgetsWhenNoCheckpointCompletesForAnHour is invariant 19 for what is kept for those that are restored: it goes to disk,
// and when that is used up, too, sources stand still, nothing is dropped, and all goes on when checkpoints complete again.
func TestMemoryAndDiskOfLogsStayUnderTheirBudgetsWhenNoCheckpointCompletesForAnHour(t *testing.T) {
	c := newCatalog(t)
	const rows, memory, disk = 400_000, 192 << 10, 64 << 10
	sql := fmt.Sprintf(`SET 'checkpoint.epochs' = '8';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='40000','number-of-rows'='%d','splits'='6','fields.k.min'='0','fields.k.max'='9');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, COUNT(*) FROM (SELECT k, v FROM src WHERE v <> 0) GROUP BY k, v`, rows)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, c, sql, nil, 1, time.Now().UnixMilli())
		w.spill = dataplane.SpillConfig{Dir: t.TempDir(), MemoryBytes: memory, DiskBytes: disk, SegmentBytes: 16 << 10}
		w.hang = make(chan struct{})
		defer w.end()
		w.start(engine.NodeName(0))
		w.place(1)
		most := dataplane.SpillStats{}
		read := func() (rows int64) {
			for _, n := range w.alive() {
				for _, p := range n.query.Status().Partitions {
					if p.Stage == 0 {
						rows += p.Rows
					}
				}
				s := n.spill.Stats()
				most.MemoryBytes, most.DiskBytes = max(most.MemoryBytes, s.MemoryBytes), max(most.DiskBytes, s.DiskBytes)
			}
			return rows
		}
		lead := func(d, every time.Duration) {
			for until := time.Now().Add(d); time.Now().Before(until); time.Sleep(every) {
				w.lead()
				read()
			}
		}
		lead(10*time.Second, 2*time.Millisecond)
		before, full := read(), 0
		lead(time.Hour, time.Second)
		if after := read(); after != before || before == 0 || before >= 12*3200 { // 13 open checkpoints would stop them, too
			t.Errorf("sources read %d rows, an hour later %d of %d: they do not stand still", before, after, rows)
		}
		for _, n := range w.alive() {
			if s := n.spill.Stats(); s.Full != nil && s.Limited {
				full++
			}
		}
		t.Logf("%d rows were read; at most %d bytes in memory, %d on disk", before, most.MemoryBytes, most.DiskBytes)
		// Beyond its limit a node keeps what comes up to the next checkpoint, of 80 ms.
		if most.MemoryBytes > 2*memory || most.DiskBytes > disk || most.DiskBytes < disk/2 || full == 0 {
			t.Errorf("%+v, the disk is said to be used up: %d", most, full)
		}
		close(w.hang)
		for i := 0; !w.lead(); i++ {
			if err := w.failure(); err != nil || i > 100_000 {
				w.dump()
				t.Fatalf("it does not go on: %v", err)
			}
			time.Sleep(2 * time.Millisecond)
		}
		if n := read(); n != rows {
			t.Errorf("%d rows were read of %d", n, rows)
		}
		lead(time.Second, 2*time.Millisecond) // until all have heard what need not be kept any more
		synctest.Wait()
		if left, err := filepath.Glob(filepath.Join(w.spill.Dir, "*", "*")); err != nil || len(left) > 1 {
			t.Errorf("files are left: %v %v", left, err)
		}
	})
}
