package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/zeebo/xxh3"
)

const (
	// groupBytesMax and sourceBytesMax cap what a source puts into one epoch: per key group and per partition.
	groupBytesMax  = 4 << 20
	sourceBytesMax = 32 << 20
	// openReadersMax bounds the readers a partition keeps open between epochs.
	openReadersMax = 256
	// idlePoll is how long a source under 'seal' = 'rows:N' waits before it asks an idle split again.
	idlePoll = 5 * time.Millisecond
)

// source is the reading side of a source partition: its splits by key group.
type source struct {
	table   *plan.Table
	src     connector.Source
	schema  *batch.Schema
	groups  []sourceGroup // key groups of the partition that have splits, ascending
	known   map[string]*split
	found   []string // splits found since the last seal
	idleMs  int64    // 'scan.watermark.idle-timeout'; 0 never
	bounded bool
	nextAsk time.Time // when to ask for new splits
	replay  []Seal    // what to seal again; nil when sealing anew
	// through holds, while resuming, the last epoch that was sealed of each key group of the partition before: up to it the replay decides,
	// after it the key group is sealed anew even if others are still replayed. Nil: the replay decides all.
	through []topology.Epoch
	// put is the last epoch up to which all key groups are in the node's seal log, adopted ones included: the durable mark goes no further.
	put     topology.Epoch
	quiet   int            // epochs since the last with news
	news    topology.Epoch // the last epoch with news
	tried   topology.Epoch // there was nothing up to this epoch when it was last looked
	told    topology.Epoch // a paused source has told the others that it stands here
	kept    []keptSeals    // by key group of the partition, for checkpoints; nil: there are none
	weighed time.Time      // when it was last looked how many rows are due
}

type sourceGroup struct {
	group  topology.KeyGroup
	splits []*split
	first  int // splits before it have ended
}

type split struct {
	connector.Split
	group     topology.KeyGroup
	offset    int64
	reader    connector.Reader
	ended     bool
	idle      bool
	lastRowMs int64 // epoch time of the last row, for idleness
	watermark int64
	changed   topology.Epoch // the last epoch with news
	want      *SplitSeal     // replay: what to read in this epoch
	sealed    SplitSeal      // this epoch's part of the seal
	news      bool
	// keptAs is its name in keptSeals, in the chunk keptIn.
	keptAs, keptIn uint64
}

// splitSpan says that rows [from, to) of source piece number piece come from split.
type splitSpan struct {
	split    *split
	piece    int
	from, to int
}

func newSource(t *plan.Table, src connector.Source) *source {
	return &source{table: t, src: src, schema: t.Schema, known: map[string]*split{}, bounded: src.Bounded()}
}

// discover adds the splits of key groups in rng that are not yet known, in the order of their names.
func (s *source) discover(ctx context.Context, p *partition, nowMs int64) error {
	found, err := s.src.Discover(ctx)
	if err != nil {
		return fmt.Errorf("table %q: cannot list its splits: %w", s.table.Name, err)
	}
	for _, f := range found {
		if g := topology.GroupOf(xxh3.HashString(f.ID), p.spec.Groups); p.rng.Contains(g) && !s.replayed(p, g, p.next) {
			s.add(p, f.ID, nowMs)
		}
	}
	return nil
}

func (s *source) add(p *partition, id string, nowMs int64) *split {
	if k := s.known[id]; k != nil {
		return k
	}
	g := topology.GroupOf(xxh3.HashString(id), p.spec.Groups)
	if !p.rng.Contains(g) {
		return nil
	}
	k := &split{Split: connector.Split{ID: id}, group: g, watermark: topology.WatermarkNone, lastRowMs: nowMs, changed: p.next}
	p.changed[g-p.rng.From] = p.next
	s.known[id] = k
	s.found = append(s.found, id)
	i := sort.Search(len(s.groups), func(i int) bool { return s.groups[i].group >= g })
	if i == len(s.groups) || s.groups[i].group != g {
		s.groups = append(s.groups, sourceGroup{})
		copy(s.groups[i+1:], s.groups[i:])
		s.groups[i] = sourceGroup{group: g}
	}
	s.groups[i].splits = append(s.groups[i].splits, k)
	return k
}

// skipSeals leaves out what was sealed up to a checkpoint.
func (s *source) skipSeals(c topology.Epoch) {
	for len(s.replay) > 0 && s.replay[0].Last <= c {
		s.replay = s.replay[1:]
	}
}

// replayed says that the replay, not the source, says what epoch e of key group g holds.
func (s *source) replayed(p *partition, g topology.KeyGroup, e topology.Epoch) bool {
	return s.replay != nil && (s.through == nil || s.through[g-p.rng.From] >= e)
}

// anew says that some key group of the partition is sealed anew in epoch e while others are replayed.
func (s *source) anew(e topology.Epoch) bool {
	return s.through != nil && slices.Min(s.through) < e
}

// ended says that no row can come any more.
func (s *source) ended() bool {
	if len(s.replay) > 0 {
		return false // splits of a later seal may be this partition's
	}
	return s.bounded && !s.live()
}

// endedOf says that no row of key group g can come any more behind epoch e, of which it has had all, whatever range of key groups is a
// partition.
func (s *source) endedOf(p *partition, g topology.KeyGroup, e topology.Epoch) bool {
	if !s.bounded || len(s.replay) > 0 && s.replayed(p, g, e+1) {
		return false
	}
	of := s.group(g)
	return of == nil || of.first == len(of.splits)
}

// live says that some split has not ended.
func (s *source) live() bool {
	for i := range s.groups {
		if s.groups[i].first < len(s.groups[i].splits) {
			return true
		}
	}
	return false
}

// budget is what one read of a split may take.
type budget struct {
	rows, bytes int
	elapsedMs   int64
}

// read fills the executor with the rows of key groups [from, to) of s.groups that are sealed into the epoch.
func (s *source) read(ctx context.Context, x *executor, from, to int) error {
	x.spans = x.spans[:0]
	q := x.part.query
	pieces := 0
	cur := x.sourcePiece(&pieces)
	perGroup := groupBytesMax
	if n := len(s.groups); n > 0 {
		perGroup = max(64<<10, min(perGroup, sourceBytesMax/n))
	}
	if q.limits.GroupBytes > 0 {
		perGroup = min(perGroup, q.limits.GroupBytes)
	}
	for gi := from; gi < to; gi++ {
		g := &s.groups[gi]
		left := perGroup
		for si := g.first; si < len(g.splits); si++ {
			sp := g.splits[si]
			if sp.ended {
				continue
			}
			b := budget{rows: math.MaxInt, bytes: left, elapsedMs: q.elapsedMs(x.ctx.Epoch)}
			switch {
			case s.replayed(x.part, g.group, x.ctx.Epoch):
				if sp.want == nil {
					continue
				}
				b = budget{rows: sp.want.Rows, bytes: math.MaxInt, elapsedMs: -1}
			case q.plan.Settings.SealRows > 0:
				b = budget{rows: q.plan.Settings.SealRows, bytes: math.MaxInt, elapsedMs: -1}
			case left <= 0:
				continue
			}
			used, err := s.readSplit(ctx, x, sp, b, &cur, &pieces)
			if err != nil {
				return x.part.failedSource(s.table.Name, sp.ID, g.group, x.ctx.Epoch, err)
			}
			left -= used
		}
		x.closeSource(cur, g.group)
	}
	x.streams[0] = x.streams[0][:0]
	for _, p := range x.source[:pieces] {
		if p.Batch.Len() > 0 {
			x.streams[0] = append(x.streams[0], p)
			x.rows += int64(p.Batch.Len())
		}
	}
	return nil
}

// sourcePiece is the next empty piece to read into.
func (x *executor) sourcePiece(n *int) *relational.Grouped {
	if *n == len(x.source) {
		x.source = append(x.source, &relational.Grouped{Batch: batch.New(x.part.source.schema)})
	}
	g := x.source[*n]
	*n++
	g.Reset()
	return g
}

func (x *executor) closeSource(piece *relational.Grouped, g topology.KeyGroup) {
	x.closeGroup(piece, g)
}

// readSplit reads one split into pieces of at most the batch size and notes what it sealed; it returns the bytes taken.
func (s *source) readSplit(ctx context.Context, x *executor, sp *split, b budget, cur **relational.Grouped, pieces *int) (int, error) {
	if sp.reader == nil {
		rd, err := s.src.Open(ctx, sp.Split, sp.offset)
		if err != nil {
			return 0, err
		}
		sp.reader = rd
	}
	sealed := SplitSeal{ID: sp.ID, From: sp.offset}
	used := 0
	for b.rows > 0 && used < b.bytes {
		if (*cur).Batch.Len() >= x.part.query.limits.BatchRows {
			x.closeSource(*cur, sp.group)
			*cur = x.sourcePiece(pieces)
		}
		c := *cur
		n := c.Batch.Len()
		before := c.Batch.MemBytes()
		status, err := sp.reader.Read(c.Batch, connector.Limit{Rows: min(b.rows, x.part.query.limits.BatchRows-n), Bytes: b.bytes - used, ElapsedMs: b.elapsedMs})
		if err != nil {
			return used, err
		}
		got := c.Batch.Len() - n
		used += c.Batch.MemBytes() - before
		if got > 0 {
			x.spans = append(x.spans, splitSpan{sp, *pieces - 1, n, n + got})
			sealed.Check, x.mixed = c.Batch.Chain(sealed.Check, n, n+got, x.mixed)
			sealed.Rows += got
			b.rows -= got
		}
		if status == connector.End {
			sealed.End = true
			break
		}
		if status == connector.Idle {
			if sp.want == nil && x.part.query.plan.Settings.SealRows > 0 {
				if err := x.part.node.idle(ctx, idlePoll); err != nil {
					return used, err
				}
				continue
			}
			break
		}
		if err := ctx.Err(); err != nil {
			return used, err
		}
	}
	x.part.load[sp.group-x.part.rng.From] += int64(sealed.Rows)
	if used >= b.bytes {
		x.cutRows += int64(sealed.Rows)
	}
	sealed.To = sp.reader.Offset()
	return used, s.seal(x, sp, sealed)
}

// seal notes what was read of a split, or, when sealing again, compares it with the seal.
func (s *source) seal(x *executor, sp *split, got SplitSeal) error {
	timeMs := x.ctx.TimeMs
	if w := sp.want; w != nil {
		if got.Rows != w.Rows || got.To != w.To || got.Check != w.Check {
			return fmt.Errorf("split %q gives other rows than were sealed in epoch %d: %d rows up to offset %d, sealed were %d rows up to offset %d; the source has changed since",
				sp.ID, x.ctx.Epoch, got.Rows, got.To, w.Rows, w.To)
		}
		got.End, got.Idle = w.End, w.Idle
	} else {
		if got.Rows > 0 {
			sp.lastRowMs = timeMs
		}
		got.Idle = s.idleMs > 0 && !got.End && timeMs-sp.lastRowMs >= s.idleMs
	}
	sp.news = got.Rows > 0 || got.End || got.Idle != sp.idle || got.To != got.From
	if sp.news {
		sp.changed, x.part.changed[sp.group-x.part.rng.From] = x.ctx.Epoch, x.ctx.Epoch
	}
	sp.offset, sp.idle, sp.ended, sp.sealed = got.To, got.Idle, got.End, got
	return nil
}

// trackWatermark raises the watermarks of the splits whose rows are in pieces. Between reading and the watermark operator
// stand only computed columns, so that rows have kept their places.
func (x *executor) trackWatermark(op *plan.Op, pieces []*relational.Grouped) error {
	next := 0
	for n, piece := range pieces {
		col, err := x.watermark.Eval(piece.Batch, &x.ctx.Env)
		if err != nil {
			return x.part.stateless(op, piece, x.ctx.Epoch, err)
		}
		nulls := col.HasNulls()
		for ; next < len(x.spans) && x.source[x.spans[next].piece] == x.streams[0][n]; next++ {
			sp := &x.spans[next]
			for i := sp.from; i < sp.to; i++ {
				if !nulls || !col.IsNull(i) {
					sp.split.watermark = max(sp.split.watermark, col.Int64s[i])
				}
			}
		}
	}
	return nil
}

// finishEpoch ends the epoch for all splits, closes the readers of ended ones, keeps few others open, and gives what was sealed.
func (s *source) finishEpoch() (splits []SplitSeal) {
	open := 0
	for i := range s.groups {
		g := &s.groups[i]
		for _, sp := range g.splits[g.first:] {
			if sp.news {
				splits = append(splits, sp.sealed)
				sp.news = false
			}
			sp.want = nil
			if sp.reader != nil {
				open++
			}
			if sp.ended || open > openReadersMax {
				sp.close()
			}
		}
		for g.first < len(g.splits) && g.splits[g.first].ended {
			g.first++
		}
	}
	return splits
}

// stand is the partition's watermark: the minimum over its splits that have neither ended nor are idle. It falls when a split appears
// or wakes up that is behind; the stages that take it never let theirs fall. (Were it held up here already, how key groups are cut
// into partitions would show.)
func (s *source) stand() (watermark int64, idle bool) {
	watermark, idle = topology.WatermarkEnd, true
	for i := range s.groups {
		g := &s.groups[i]
		for _, sp := range g.splits[g.first:] {
			if !sp.ended && !sp.idle {
				idle, watermark = false, min(watermark, sp.watermark)
			}
		}
	}
	switch {
	case s.ended():
		return topology.WatermarkEnd, false
	case idle:
		return topology.WatermarkNone, true
	}
	return watermark, false
}

func (sp *split) close() {
	if sp.reader != nil {
		sp.reader.Close() // reading is over: what it could still say changes nothing
		sp.reader = nil
	}
}

func (s *source) close() {
	for _, k := range s.known {
		k.close()
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
