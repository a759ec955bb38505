package engine

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Progress is how far a query, or a node's part of it, is.
type Progress struct {
	Epoch       topology.Epoch // lowest complete epoch over the partitions that have not ended
	Head        topology.Epoch // highest epoch sealed by a source
	LagMs       int64          // how far Epoch is behind the clock; 0 without a clock
	RowsIn      int64          // rows read by sources
	RowsSkipped int64
	RowsLate    int64
	StateBytes  int64
	// LongestStep is the longest time that a partition took for one epoch, LongestEpoch the longest time from the instant an epoch
	// was to be sealed to its end in a last stage; both since progress was last asked for.
	LongestStep, LongestEpoch time.Duration
	Elapsed                   time.Duration
	Steps                     int64 // epochs or ranges of epochs taken, over all partitions
}

// progressOf adds up what partitions say of themselves, while they run.
func progressOf(parts []*partition) Progress {
	p := Progress{Epoch: topology.EpochForever}
	highest := topology.Epoch(0)
	for _, part := range parts {
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
	return p
}

// Progress is how far this node's part of the query is. It is safe to call while the query runs.
func (q *Query) Progress() Progress {
	p := progressOf(q.partitions())
	p.Elapsed = q.elapsed()
	p.RowsSkipped = q.skipped.total.Load()
	if q.clocked() {
		p.LagMs = q.lagMs(p.Epoch)
	}
	return p
}

func (q *Query) lagMs(e topology.Epoch) int64 {
	return max(0, int64(q.clockEpoch()-e)*q.plan.Settings.EpochMs)
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
