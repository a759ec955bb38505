package dataplane

import (
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Cursor is one subscription's place in a log. Used by one goroutine, except Ack, which is safe for concurrent use.
type Cursor struct {
	log      *Log
	taken    *take          // the subscription to another node that fills log; nil for a log of this node
	producer topology.Range // only rows from these key groups are given; the zero range: all
	consumer uint64
	active   bool
	read     topology.Epoch // next epoch to be read
	started  bool           // Next has given something
	before   Stand          // how the stream stood before that
	over     bool           // Next has given the end
	closed   bool
	acked    topology.Epoch // all epochs up to here are consumed
	// consumed is what the consumer took from former instances; failed says that it cannot go on with this one.
	consumed topology.Epoch
	failed   error
	bytes    int64 // Log.bytes through the last acknowledged entry
	count    int64
	wake     func()
	// ahead are the rows of an entry that were read from disk for it, which one goroutine is doing while loading.
	ahead   loadedEntry
	loading bool
}

// loadedEntry are the rows of the entry that ends with epoch last, perhaps none; the zero value is no entry.
type loadedEntry struct {
	there bool
	last  topology.Epoch
	rows  []*Rows
}

// Of restricts what Next gives to rows from some of the producer's key groups. What it emitted before it gave others away has those
// too, which the consumer takes from somebody else.
func (c *Cursor) Of(producer topology.Range) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.producer = producer
}

// skipEnd says that the end was given by a cursor before this one.
func (c *Cursor) skipEnd(given bool) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.over = c.over || given
}

// ended says whether Next has given the end.
func (c *Cursor) ended() bool {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.over
}

// Took says that the consumer took epochs up to consumed from former instances of the producer, 0 for none.
func (c *Cursor) Took(consumed topology.Epoch) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.consumed = consumed
	c.judge()
}

func (c *Cursor) judge() {
	if c.log.adopted >= 0 && c.consumed > c.log.adopted {
		c.failed = &BeyondError{Consumed: c.consumed, End: c.log.adopted}
	}
}

// Next reads the entry with the next epoch, its First cut to that epoch; false when there is none yet.
func (c *Cursor) Next() (Entry, bool) {
	e, of, ok := c.next()
	if of.Len() > 0 && e.Range.Len() > 0 && (e.Range.From < of.From || e.Range.To > of.To) {
		e.Rows = RowsFrom(e.Rows, of)
	}
	return e, ok
}

// next is Next before it is restricted to the key groups given.
func (c *Cursor) next() (e Entry, of topology.Range, ok bool) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed || c.failed != nil || l.dropped || c.over { // behind the end comes nothing, also of a partition that was restored behind it and says it anew
		return Entry{}, of, false
	}
	if c.read >= l.next {
		if !l.ended {
			return Entry{}, of, false
		}
		// Whoever asks behind the end learns that it has ended: every later epoch is empty.
		last := l.lastStand()
		c.before = last
		e := Entry{First: c.read, Last: c.read, Watermark: topology.WatermarkEnd, End: true, ChainSum: last.ChainSum, Range: last.Range}
		c.read, c.started, c.over = c.read+1, true, true
		return e, c.producer, true
	}
	i := l.find(c.read)
	if i == len(l.entries) || l.entries[i].First > c.read { // trimmed, while it was read from disk
		c.failed = &TrimmedError{From: c.read, Floor: l.floor}
		return Entry{}, of, false
	}
	e = l.entries[i].Entry
	before := e.StandBefore(l.standBefore(i))
	if l.entries[i].spilled != nil {
		if !c.ahead.there || c.ahead.last != e.Last {
			c.load(&l.entries[i])
			return Entry{}, of, false
		}
		e.Rows, c.ahead = c.ahead.rows, loadedEntry{}
		if i++; i < len(l.entries) && l.entries[i].spilled != nil {
			c.load(&l.entries[i])
		}
	}
	e.First = max(e.First, c.read)
	c.before, c.read, c.started, c.over = before, e.Last+1, true, e.End
	return e, c.producer, true
}

// load reads a spilled entry for the cursor, which is woken then. The caller holds the lock.
func (c *Cursor) load(e *logEntry) {
	if c.loading {
		return
	}
	c.loading = true
	l, last := c.log, e.Last
	l.spill.load(l, e.spilled, last, func(rows []*Rows, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		c.loading = false
		if c.closed || l.dropped {
			return
		}
		if c.ahead = (loadedEntry{true, last, rows}); err != nil {
			c.failed = &TrimmedError{From: c.read, Floor: last + 1}
			l.spill.damaged(err, c.active)
		}
		if c.wake != nil {
			c.wake()
		}
	})
}

// Before is how the stream stood before the entry that Next gave last, or, when it has given none, before the subscription's first
// epoch: an entry whose range begins earlier than it ends does not say it.
func (c *Cursor) Before() Stand {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.started {
		return c.before // the entry may be gone by now
	}
	i := l.find(c.read)
	before := l.standBefore(i)
	if i < len(l.entries) && l.entries[i].First <= c.read {
		before = l.entries[i].StandBefore(before)
	}
	return before
}

// Durable is the last epoch all of whose seals are fsynced, DurableUnknown before the producer has said so, and when it has given away some of the
// cursor's key groups: what their new owner has sealed may be on no disk yet. Who has heard of that subscribes anew.
func (c *Cursor) Durable() topology.Epoch {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.producer.Len() > 0 && l.of.Len() > 0 && (c.producer.From < l.of.From || c.producer.To > l.of.To) {
		return DurableUnknown
	}
	return l.durable
}

// Ack says that all epochs up to through are consumed: rows read from them are not looked at any more.
func (c *Cursor) Ack(through topology.Epoch) {
	l := c.log
	l.mu.Lock()
	if through <= c.acked {
		l.mu.Unlock()
		return
	}
	c.acked = through
	for i := l.head; i < len(l.entries) && l.entries[i].Last <= through; i++ {
		if e := &l.entries[i]; e.countEnd > c.count {
			c.bytes, c.count = e.bytesEnd, e.countEnd
		}
	}
	if !l.retain {
		l.trim(l.slowest())
	} else if c.active {
		l.cooled()
	}
	l.mu.Unlock()
	if c.active && l.wakeProducer != nil {
		l.wakeProducer()
	}
}

// Acked is the last epoch acknowledged.
func (c *Cursor) Acked() topology.Epoch {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.acked
}

// Err is why Next will give nothing any more, or nil.
func (c *Cursor) Err() error {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if c.failed != nil {
		return c.failed
	}
	return c.log.failed
}

// Position is the epoch that Next reads next.
func (c *Cursor) Position() topology.Epoch {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.read
}

// Outstanding is the memory of entries not yet acknowledged, in bytes.
func (c *Cursor) Outstanding() int64 {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.log.bytes - c.bytes
}

// Close ends the subscription: it holds nothing back any more.
func (c *Cursor) Close() {
	l := c.log
	l.mu.Lock()
	open := !c.closed
	c.closed = true
	for i, x := range l.cursors {
		if x == c {
			l.cursors = append(l.cursors[:i], l.cursors[i+1:]...)
			break
		}
	}
	if e := l.expected[c.consumer]; e != nil && c.active && open {
		// It may come again over another connection: until then the producer goes no further than it might have with it.
		if e.cursors--; e.cursors == 0 {
			e.bytes, e.count = c.bytes, c.count
		}
	}
	if !l.retain {
		l.trim(l.slowest())
	} else if c.active {
		l.cooled()
	}
	l.mu.Unlock()
	if c.taken != nil {
		c.taken.link.drop(c.taken)
		return
	}
	if l.wakeProducer != nil {
		l.wakeProducer()
	}
}
