package table

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// lane holds the rows of a partition's key groups. It is a connector.Keeper.
type lane struct {
	sink   *sink
	layout *layout
	rng    topology.Range
	groups []group // of rng

	// Of the goroutine that writes.
	floor    topology.Epoch // deltas start here or later
	behind   int            // key groups that have not been told of floor, from tell on, around
	tell     int
	written  topology.Epoch
	begun    bool // the epoch that it starts from is known
	views    []connector.Rows
	changes  changes
	keyBytes []byte
	scratch  *batch.Batch // of rows that are restored
	rowBytes []byte

	deltas []deltaEntry // of the goroutine that makes deltas

	gave  bool           // key groups outside kept were given away and are still here
	kept  topology.Range // of the goroutine that writes
	given topology.Epoch // the last epoch written before

	rows, bytes atomic.Int64

	mu        sync.Mutex
	visible   topology.Epoch
	committed bool           // Commit was called: reads may ask
	ended     bool           // nothing changes any more: every later epoch is like visible
	restored  topology.Epoch // nothing is known of earlier ones
	trim      topology.Epoch
	pins      []topology.Epoch // of reads under way, in no order
	closed    bool
	answers   topology.Range // reads of these key groups are answered; rng, or less

	tailing tailing
}

var _ connector.Keeper = (*lane)(nil)

func newLane(s *sink, r topology.Range) *lane {
	return &lane{sink: s, layout: s.layout, rng: r, groups: make([]group, r.Len()), answers: r, kept: r}
}

// Narrow: see connector.Narrower. What is given away goes when no delta under way can ask for it.
func (l *lane) Narrow(r topology.Range) {
	l.gave, l.kept, l.given = true, r, l.written
	l.mu.Lock()
	l.answers = r
	l.mu.Unlock()
	l.tailing.giveAway(r)
}

// answering are the key groups of which reads are answered.
func (l *lane) answering() topology.Range {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answers
}

// release lets go of what was given away.
func (l *lane) release() {
	l.gave = false
	for i := range l.groups {
		if l.kept.Contains(l.rng.From + topology.KeyGroup(i)) {
			continue
		}
		g := &l.groups[i]
		g.mu.Lock()
		l.rows.Add(-int64(g.live))
		l.bytes.Add(-int64(g.memBytes()))
		g.reset()
		g.mu.Unlock()
	}
}

// reading says whether reads are under way.
func (l *lane) reading() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.pins) > 0
}

func (l *lane) group(g topology.KeyGroup) *group { return &l.groups[g-l.rng.From] }

// Write adds the net change of every key, as versions of epoch last.
func (l *lane) Write(first, last topology.Epoch, rows []connector.Rows) error {
	if !l.begun {
		l.begin(first - 1)
	}
	l.written = last
	l.acknowledge(acknowledgeExtra)
	if len(rows) == 0 {
		return nil
	}
	l.views = l.views[:0]
	sorted, total := true, 0
	for _, r := range rows {
		if total += r.To - r.From; r.From < r.To {
			sorted = sorted && (len(l.views) == 0 || l.views[len(l.views)-1].Group <= r.Group)
			l.views = append(l.views, r)
		}
	}
	if !sorted { // several inputs: within a key group the order stays
		slices.SortStableFunc(l.views, func(a, b connector.Rows) int { return int(a.Group) - int(b.Group) })
	}
	l.acknowledge(2 * total)
	limit, following := l.pruneLimit(), l.tailing.part.Followed()
	for from := 0; from < len(l.views); {
		to := from + 1
		for to < len(l.views) && l.views[to].Group == l.views[from].Group {
			to++
		}
		number := l.views[from].Group
		if !l.writeGroup(number, l.views[from:to], last, limit, following) {
			return &LimitError{Table: l.sink.config.Table, Group: number}
		}
		from = to
	}
	clear(l.views)
	return nil
}

// begin says that what is kept is the state of epoch e: earlier ones are not known.
func (l *lane) begin(e topology.Epoch) {
	l.begun = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restored = max(l.restored, e)
}

// pruneExtra is how many more versions a write to a key group looks at for pruning than it adds, so that pruning catches up.
const pruneExtra = 64

func (l *lane) writeGroup(number topology.KeyGroup, views []connector.Rows, epoch, limit topology.Epoch, following bool) bool {
	g := l.group(number)
	g.mu.Lock()
	defer g.mu.Unlock()
	live, memory := g.live, g.memBytes()
	if !l.changes.collect(g, l.layout, views) {
		return false
	}
	for i := range l.changes.keys {
		k := &l.changes.keys[i]
		view, row, effect := l.changes.net(l.layout, views, k)
		changed, ok := false, true
		switch effect {
		case upsert:
			l.rowBytes = l.layout.appendRow(l.rowBytes[:0], views[view].Batch, row)
			changed, ok = g.put(k.entry, epoch, l.rowBytes, false)
		case remove:
			changed, ok = g.put(k.entry, epoch, nil, true)
		}
		if !ok {
			return false
		}
		if g.head[k.entry] == none { // came and went within the epoch
			g.remove(k.entry)
		}
		if changed && following {
			l.tailing.add(epoch, number, k.entry)
		}
	}
	g.prune(limit, 2*len(l.changes.keys)+pruneExtra)
	l.rows.Add(int64(g.live - live))
	l.bytes.Add(int64(g.memBytes() - memory))
	return true
}

// pruneLimit is the epoch before which no version and no tombstone is needed.
func (l *lane) pruneLimit() topology.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := min(l.trim, l.floor, l.visible)
	for _, e := range l.pins {
		limit = min(limit, e)
	}
	return limit
}

// Commit shows the epochs up to through to readers.
func (l *lane) Commit(through topology.Epoch) error {
	if !l.begun { // restored, nothing written since
		l.begin(through)
	}
	l.mu.Lock()
	l.committed = true
	l.visible = max(l.visible, through)
	l.mu.Unlock()
	l.sink.store.shown.tell()
	return l.publish(through, false)
}

// Committed is the last epoch that readers see.
func (l *lane) Committed() topology.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.visible
}

// End shows everything: from now on every later epoch is like the last.
func (l *lane) End() error {
	l.mu.Lock()
	l.committed, l.ended = true, true
	l.visible = max(l.visible, l.written, l.restored)
	through := l.visible
	l.mu.Unlock()
	l.sink.store.shown.tell()
	return l.publish(through, true)
}

// Close takes the lane out of the store; reads that have begun go on.
func (l *lane) Close() error {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	l.mu.Unlock()
	if closed {
		return nil
	}
	l.sink.store.close(l)
	l.tailing.part.Close()
	return nil
}

// AppendDelta: see connector.Keeper.
func (l *lane) AppendDelta(dst []byte, g topology.KeyGroup, from, through topology.Epoch) []byte {
	return l.appendDelta(dst, l.group(g), from, through)
}

// Changed: see connector.Keeper. From an epoch of which it is no longer known what changed, it is true.
func (l *lane) Changed(g topology.KeyGroup, from topology.Epoch) bool {
	switch group := l.group(g); {
	case from == 0:
		return group.live > 0
	case from < group.floor:
		return true
	default:
		return group.last > from
	}
}

// Size: see connector.Keeper.
func (l *lane) Size(g topology.KeyGroup) int {
	group := l.group(g)
	return len(group.data) - group.garbage
}

// Apply: see connector.Keeper. A delta that cannot be read changes nothing.
func (l *lane) Apply(g topology.KeyGroup, delta []byte, at topology.Epoch) error {
	group := l.group(g)
	live, memory := group.live, group.memBytes()
	if err := l.apply(group, g, delta, at); err != nil {
		return err
	}
	l.rows.Add(int64(group.live - live))
	l.bytes.Add(int64(group.memBytes() - memory))
	l.floor, l.written = max(l.floor, at), max(l.written, at)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.restored = max(l.restored, at)
	return nil
}

// Acknowledge: see connector.Keeper.
func (l *lane) Acknowledge(c topology.Epoch) {
	l.scratch = nil // whatever was restored, is
	if c <= l.floor {
		return
	}
	l.floor = c
	if l.gave && c >= l.given && !l.reading() {
		l.release()
	}
	l.behind = len(l.groups)
	if !l.begun { // restored: there are no Writes that this could wait for
		l.acknowledge(math.MaxInt)
	}
}

// acknowledgeExtra is how many touched entries a Write without rows looks at for acknowledging.
const acknowledgeExtra = 1024

// acknowledge tells key groups of the floor, as many as have some budget touched entries.
func (l *lane) acknowledge(budget int) {
	if l.behind == 0 {
		return
	}
	limit := l.pruneLimit()
	for ; l.behind > 0 && budget > 0; l.behind-- {
		g := &l.groups[l.tell]
		l.tell = (l.tell + 1) % len(l.groups)
		if g.used == 0 && g.data == nil {
			continue
		}
		budget -= acknowledgeGroup + len(g.dirty)
		g.mu.Lock()
		memory := g.memBytes()
		g.acknowledge(l.floor)
		g.prune(limit, pruneExtra)
		l.bytes.Add(int64(g.memBytes() - memory))
		g.mu.Unlock()
	}
}

// acknowledgeGroup is what acknowledging a key group costs beside its touched entries, in entries.
const acknowledgeGroup = 32

// Trim: see connector.Keeper.
func (l *lane) Trim(through topology.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trim = max(l.trim, through)
}

// shows says whether reads are answered.
func (l *lane) shows() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.committed
}

// bounds are the oldest and newest epoch that can be read; newest is without end when ended. ok is false before the first Commit.
func (l *lane) bounds() (oldest, newest topology.Epoch, ended, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.trim, l.restored), l.visible, l.ended, l.committed
}

// pin keeps the versions of epoch e of the key groups r until unpin, if they can be read.
func (l *lane) pin(e topology.Epoch, r topology.Range) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.From < l.answers.From || r.To > l.answers.To {
		return fmt.Errorf("table %s: key groups %v have been given away: %w", l.sink.config.Table, r, ErrNotHere)
	}
	switch oldest := max(l.trim, l.restored); {
	case !l.committed || e > l.visible && !l.ended:
		return &NotVisibleError{Epoch: e, Visible: l.visible}
	case e < oldest && !(l.ended && e >= l.visible):
		return &TrimmedError{Epoch: e, Oldest: oldest}
	}
	l.pins = append(l.pins, e)
	return nil
}

func (l *lane) unpin(e topology.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.pins, e); i >= 0 {
		l.pins = slices.Delete(l.pins, i, i+1)
	}
}

// effect is what an epoch does to a key in the end.
type effect uint8

const (
	nothing effect = 0
	upsert  effect = 1
	remove  effect = 2
)

// changes are the rows of one key group and epoch by key: the working memory of a write.
type changes struct {
	keys  []keyChange
	rows  []rowChange
	slots []uint32 // open addressing by entry: index in keys + 1
	key   []byte
	arena []byte // encoded rows, for the general case
	nets  []rowNet
}

// keyChange are the rows of one key, a list in canonical order.
type keyChange struct {
	entry       uint32
	first, last int32 // in rows
	count       int32
	retractions int32
}

type rowChange struct {
	view, row int32
	next      int32
}

// rowNet is a row of a key with more than two, encoded in arena.
type rowNet struct {
	from, to  int32
	view, row int32
	weight    int8
}

// collect orders rows by key, keys by their first touch. It fails when g is full.
func (c *changes) collect(g *group, l *layout, views []connector.Rows) bool {
	c.keys, c.rows = c.keys[:0], c.rows[:0]
	total := 0
	for _, v := range views {
		total += v.To - v.From
	}
	size := 8
	for size < 2*total {
		size *= 2
	}
	if cap(c.slots) < size {
		c.slots = make([]uint32, size)
	}
	c.slots = c.slots[:size]
	clear(c.slots)
	for n, v := range views {
		for i := v.From; i < v.To; i++ {
			c.key = l.appendKey(c.key[:0], v.Batch, i)
			entry, ok := g.entry(batch.HashKey(c.key), c.key)
			if !ok {
				return false
			}
			k, at := c.change(entry), int32(len(c.rows))
			c.rows = append(c.rows, rowChange{view: int32(n), row: int32(i), next: -1})
			if k.count == 0 {
				k.first = at
			} else {
				c.rows[k.last].next = at
			}
			k.last = at
			k.count++
			if v.Batch.Weight(i) == batch.Retract {
				k.retractions++
			}
		}
	}
	return true
}

// change finds or makes the list of an entry.
func (c *changes) change(entry uint32) *keyChange {
	mask := len(c.slots) - 1
	for pos := int(entry*0x9e3779b1>>4) & mask; ; pos = (pos + 1) & mask {
		n := c.slots[pos]
		if n == 0 {
			c.keys = append(c.keys, keyChange{entry: entry})
			c.slots[pos] = uint32(len(c.keys))
			return &c.keys[len(c.keys)-1]
		}
		if c.keys[n-1].entry == entry {
			return &c.keys[n-1]
		}
	}
}

// net is what the rows of a key come to: weights summed per row, deletions before inserts, and of several inserts the last.
func (c *changes) net(l *layout, views []connector.Rows, k *keyChange) (view, row int, what effect) {
	switch {
	case k.retractions == 0:
		r := c.rows[k.last]
		return int(r.view), int(r.row), upsert
	case k.retractions == k.count:
		return 0, 0, remove
	}
	c.arena, c.nets = c.arena[:0], c.nets[:0]
	for at := k.first; at >= 0; at = c.rows[at].next {
		r := c.rows[at]
		b := views[r.view].Batch
		from := int32(len(c.arena))
		c.arena = l.appendRow(c.arena, b, int(r.row))
		c.nets = append(c.nets, rowNet{from, int32(len(c.arena)), r.view, r.row, b.Weight(int(r.row))})
	}
	if len(c.nets) > 2 {
		slices.SortFunc(c.nets, func(a, b rowNet) int {
			if order := bytes.Compare(c.arena[a.from:a.to], c.arena[b.from:b.to]); order != 0 {
				return order
			}
			return int(a.from) - int(b.from)
		})
	}
	best := rowNet{from: -1}
	for i := 0; i < len(c.nets); {
		weight, last := 0, rowNet{from: -1}
		j := i
		for ; j < len(c.nets) && bytes.Equal(c.arena[c.nets[j].from:c.nets[j].to], c.arena[c.nets[i].from:c.nets[i].to]); j++ {
			weight += int(c.nets[j].weight)
			if c.nets[j].weight > 0 {
				last = c.nets[j]
			}
		}
		switch {
		case weight > 0 && last.from > best.from:
			best, what = last, upsert
		case weight < 0 && what == nothing:
			what = remove
		}
		i = j
	}
	return int(best.view), int(best.row), what
}
