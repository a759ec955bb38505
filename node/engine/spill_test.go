package engine_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/seepnode/seepnode/dataplane"
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
