package engine

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// progress is safe to call while the query runs.
func (r *run) progress() Progress {
	p := Progress{Elapsed: time.Since(r.started), RowsSkipped: r.skipped.total.Load(), Epoch: topology.EpochForever}
	highest := topology.Epoch(0)
	for _, part := range r.parts {
		e := topology.Epoch(part.stats.epoch.Load())
		if !part.stats.ended.Load() {
			p.Epoch = min(p.Epoch, e)
		}
		highest = max(highest, e)
		if part.source != nil {
			p.RowsIn += part.stats.rows.Load()
			p.Head = max(p.Head, e)
		}
		p.RowsLate += part.stats.late.Load()
		p.StateBytes += part.stats.stateBytes.Load()
		p.LongestStep = max(p.LongestStep, time.Duration(part.stats.longestStepNs.Swap(0)))
		p.LongestEpoch = max(p.LongestEpoch, time.Duration(part.stats.longestEpochNs.Swap(0)))
		p.Steps += part.stats.steps.Load()
	}
	if p.Epoch == topology.EpochForever {
		p.Epoch = highest // all have ended
	}
	if r.clocked() {
		p.LagMs = max(0, int64(r.clockEpoch()-p.Epoch)*r.plan.Settings.EpochMs)
	}
	return p
}

// skipSamples is how many skipped rows of a table are logged with their text.
const skipSamples = 5

// skipCounter counts skipped rows and logs the first few of every table.
type skipCounter struct {
	total atomic.Int64
	mu    sync.Mutex
	seen  map[string]int
}

func (c *skipCounter) add(table string, s connector.SkippedRow, log *slog.Logger) {
	c.total.Add(1)
	c.mu.Lock()
	if c.seen == nil {
		c.seen = map[string]int{}
	}
	c.seen[table]++
	n := c.seen[table]
	c.mu.Unlock()
	if n <= skipSamples {
		log.Warn("row skipped", "table", table, "split", s.Split, "offset", s.Offset, "reason", s.Err, "text", s.Text)
	}
}
