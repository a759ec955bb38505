package dataplane

import (
	"fmt"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Entry is what a producer partition gives one stream for the epoch range [First, Last]: First..Last-1 are empty and leave the
// watermark as it was; rows, watermark, idleness and end belong to Last.
type Entry struct {
	First, Last topology.Epoch
	// Rows are pieces in canonical order: for each consumer key group its rows are those of the pieces one after the other.
	// They belong to the log; nobody changes them.
	Rows []*Rows
	// Watermark is the minimum over the producer's key groups that are not idle, in milliseconds.
	Watermark int64
	// Idle: all of the producer's key groups are idle.
	Idle bool
	// End: nothing follows; every later epoch is empty and the watermark is topology.WatermarkEnd.
	End bool
	// ChainSum is the sum of the chains of the producer's key groups in Range after Last.
	ChainSum uint64
	// Range is what the producer's key groups were; the zero range when that never changes.
	Range topology.Range
	// Narrowed: the producer gave key groups away before First. ChainBefore is the sum of the chains of those it kept, before First;
	// ChainUnknown that nobody knows it.
	Narrowed, ChainUnknown bool
	ChainBefore            uint64
}

// stand is how the stream stands after e, and before it when it is the first of a narrower range.
func (e *Entry) stand() Stand { return Stand{e.Watermark, e.Idle, e.ChainSum, e.Range} }

// StandBefore corrects how the stream stood before e, as what came before e says it, when the producer gave key groups away since.
func (e *Entry) StandBefore(before Stand) Stand {
	if e.Narrowed {
		before.ChainSum, before.Range = e.ChainBefore, e.Range
		if e.ChainUnknown {
			before.Range = topology.Range{}
		}
	}
	return before
}

func (e *Entry) empty() bool { return len(e.Rows) == 0 }

func (e *Entry) memBytes() int64 {
	n := 64
	for _, r := range e.Rows {
		n += r.MemBytes()
	}
	return int64(n)
}

// TrimmedError is the answer to a subscription from below the log's floor: the asker restores anew from a later checkpoint.
type TrimmedError struct{ From, Floor topology.Epoch }

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("TRIMMED: epoch %d was asked for, the log starts at %d; restore from a checkpoint at or after %d", e.From, e.Floor, e.Floor-1)
}

// BeyondError is the answer to a consumer that has consumed epochs of a source that are not in the seal log which the source's present owner
// adopted: no vault has them any more, and the owner seals these epochs anew. What was made of them must go.
type BeyondError struct{ Consumed, End topology.Epoch }

func (e *BeyondError) Error() string {
	return fmt.Sprintf("epochs up to %d were consumed, the seals that were adopted end with epoch %d", e.Consumed, e.End)
}

// Limits bounds how far a producer runs ahead of its active consumers. All limits yield to the lowest incomplete epoch.
type Limits struct {
	Bytes  int64 // of entries not yet acknowledged
	Epochs int   // entries not yet acknowledged
}

// Log is a partition's output log for one stream: what it emitted since the trim point, kept for whoever subscribes. Safe for
// concurrent use. It holds what it must and blocks nobody: producers ask MayAppend before they produce.
type Log struct {
	mu      sync.Mutex
	entries []logEntry // entries[head:] are held
	head    int
	floor   topology.Epoch // the lowest epoch a subscription may start from
	next    topology.Epoch // the epoch the next entry starts with
	ended   bool
	bytes   int64 // appended since the log was made
	count   int64
	cursors []*Cursor
	// before is how the stream stood before floor.
	before Stand
	failed error // why nothing will ever be appended any more
	// durable is the last epoch all of whose seals are fsynced, DurableUnknown before anybody said so.
	durable topology.Epoch
	// adopted is where the seals end that the producer, a source, adopted of former owners; -1 when it did not.
	adopted topology.Epoch
	// expected are the active consumers that there are to be: one that has not subscribed yet holds the producer back as if it had.
	expected map[uint64]*expectation
	limits   Limits
	// retain keeps acknowledged entries until Trim; otherwise they go as soon as every active cursor has acknowledged them.
	retain bool
	held   int64 // bytes of entries
	// recycle takes back the rows of entries that every cursor has acknowledged; may be nil. Those of entries that a cursor may
	// still be reading are left to the garbage collector.
	recycle func(*Rows)
	// wakeProducer is called without the lock when an acknowledgement may have made room.
	wakeProducer func()
}

// Stand is how a stream stands after an epoch.
type Stand struct {
	Watermark int64
	Idle      bool
	ChainSum  uint64         // of the key groups in Range
	Range     topology.Range // the zero range when it is not known of which key groups the sum is
}

// DurableUnknown is a durable mark before anybody has said one.
const DurableUnknown topology.Epoch = -1

// expectation is what is known of a consumer that is to be: where the log stood when it was first expected, or where its last
// subscription ended.
type expectation struct {
	bytes, count int64
	cursors      int // active ones; a consumer may subscribe before it is expected
}

type logEntry struct {
	Entry
	bytesEnd int64 // Log.bytes after this entry
	countEnd int64
	// still: it is empty and leaves the stream as the entry before it, so that none of its epochs matters more than another.
	still bool
}

// NewLog makes an empty log whose first entry starts with epoch next. recycle and wakeProducer may be nil.
func NewLog(next topology.Epoch, limits Limits, retain bool, recycle func(*Rows), wakeProducer func()) *Log {
	return &Log{floor: next, next: next, limits: limits, retain: retain, recycle: recycle, wakeProducer: wakeProducer,
		before: Stand{Watermark: topology.WatermarkNone}, durable: DurableUnknown, adopted: -1, expected: map[uint64]*expectation{}}
}

// Cursor is one subscription's place in a log. Used by one goroutine, except Ack, which is safe for concurrent use.
type Cursor struct {
	log      *Log
	taken    *take          // the subscription to another node that fills log; nil for a log of this node
	producer topology.Range // only rows from these key groups are given; the zero range: all
	consumer uint64
	active   bool
	read     topology.Epoch // next epoch to be read
	started  bool           // Next has given something
	over     bool           // Next has given the end
	closed   bool
	acked    topology.Epoch // all epochs up to here are consumed
	// consumed is what the consumer took from former instances; failed says that it cannot go on with this one.
	consumed topology.Epoch
	failed   error
	bytes    int64 // Log.bytes through the last acknowledged entry
	count    int64
	wake     func()
}

// Restart makes an empty log start with epoch next, before which the stream stood as before says.
func (l *Log) Restart(next topology.Epoch, before Stand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) > l.head {
		panic("dataplane: Restart of a log that holds entries")
	}
	l.floor, l.next, l.before = next, next, before
}

// Expect says which active consumers there are to be, by their numbers. One that has not subscribed yet holds the producer back from
// where the log stands now, and, in a log that does not retain, everything is kept for it.
func (l *Log) Expect(consumers []uint64) {
	l.mu.Lock()
	for n := range l.expected {
		if !slices.Contains(consumers, n) {
			delete(l.expected, n)
		}
	}
	for _, n := range consumers {
		if l.expected[n] == nil {
			e := &expectation{bytes: l.bytes, count: l.count}
			for _, c := range l.cursors {
				if c.active && c.consumer == n {
					e.cursors++
				}
			}
			l.expected[n] = e
		}
	}
	l.mu.Unlock()
	if l.wakeProducer != nil {
		l.wakeProducer()
	}
}

// SetAdopted says that the producer, a source, goes on by itself behind epoch end: up to it former owners' seals have decided. Consumers
// that took more from former instances see a *BeyondError.
func (l *Log) SetAdopted(end topology.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.adopted = end
	for _, c := range l.cursors {
		c.judge()
	}
	l.wakeReaders()
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

// Retain says whether acknowledged entries are kept until Trim from now on.
func (l *Log) Retain(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retain = on
}

// SetDurable says that all seals up to epoch e are fsynced; it never falls. The epochs need not have been appended.
func (l *Log) SetDurable(e topology.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e <= l.durable {
		return
	}
	l.durable = e
	l.wakeReaders()
}

func (l *Log) wakeReaders() {
	for _, c := range l.cursors {
		if c.wake != nil {
			c.wake()
		}
	}
}

// Subscribe starts a cursor of a consumer, named by its number, at epoch from. Below the floor it fails with *TrimmedError. Only active
// cursors hold the producer back. wake is called, with the log's lock held, whenever there may be something new to read.
func (l *Log) Subscribe(consumer uint64, from topology.Epoch, active bool, wake func()) (*Cursor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < l.floor {
		return nil, &TrimmedError{From: from, Floor: l.floor}
	}
	if !active && !l.retain {
		return nil, fmt.Errorf("dataplane: only a log that retains its entries takes subscriptions that do not hold the producer back")
	}
	c := &Cursor{log: l, consumer: consumer, active: active, read: from, acked: from - 1, bytes: l.bytes, count: l.count, wake: wake}
	for _, e := range l.entries[l.head:] {
		if e.Last >= from {
			c.bytes, c.count = e.bytesEnd-e.memBytes(), e.countEnd-1
			break
		}
	}
	l.cursors = append(l.cursors, c)
	if e := l.expected[consumer]; active && e != nil {
		e.cursors++
	}
	return c, nil
}

// Append adds the next entry; its First must be the log's next epoch and it must not follow End. The log takes e.Rows over.
// An empty entry that changes nothing only makes the last one longer.
func (l *Log) Append(e Entry) {
	l.mu.Lock()
	if e.First != l.next || e.Last < e.First || l.ended {
		l.mu.Unlock()
		panic(fmt.Sprintf("dataplane: entry [%d,%d] appended to a log at epoch %d (ended %v)", e.First, e.Last, l.next, l.ended))
	}
	l.next, l.ended = e.Last+1, e.End
	if still := l.still(&e); !still || !l.extend(&e) {
		n := e.memBytes()
		l.bytes += n
		l.held += n
		l.count++
		l.entries = append(l.entries, logEntry{e, l.bytes, l.count, still})
	}
	l.wakeReaders()
	l.mu.Unlock()
}

// still says that e is empty and brings no news.
func (l *Log) still(e *Entry) bool {
	if len(l.entries) == l.head || !e.empty() || e.End {
		return false
	}
	last := &l.entries[len(l.entries)-1]
	return last.Watermark == e.Watermark && last.Idle == e.Idle && last.ChainSum == e.ChainSum && last.Range == e.Range && !e.Narrowed
}

// extend codes an entry without news into one before it that has none either: the news of an entry belong to its last epoch and may not
// move. A cursor that has read that entry reads on behind it, because it remembers an epoch and not an entry.
func (l *Log) extend(e *Entry) bool {
	last := &l.entries[len(l.entries)-1]
	if last.still {
		last.Last = e.Last
	}
	return last.still
}

// MayAppend says whether the producer may produce its next epoch: every active consumer either has room, or has consumed all
// there is and so needs exactly that epoch.
func (l *Log) MayAppend() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.expected {
		if e.cursors == 0 && l.floor < l.next && (l.bytes-e.bytes >= l.limits.Bytes || l.count-e.count >= int64(l.limits.Epochs)) {
			return false
		}
	}
	for _, c := range l.cursors {
		if !c.active || c.acked+1 >= l.next {
			continue
		}
		if l.bytes-c.bytes >= l.limits.Bytes || l.count-c.count >= int64(l.limits.Epochs) {
			return false
		}
	}
	return true
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
	if c.closed || c.failed != nil {
		return Entry{}, of, false
	}
	if c.read >= l.next {
		if !l.ended || c.over {
			return Entry{}, of, false
		}
		// Whoever asks behind the end learns that it has ended: every later epoch is empty.
		last := l.lastStand()
		e := Entry{First: c.read, Last: c.read, Watermark: topology.WatermarkEnd, End: true, ChainSum: last.ChainSum, Range: last.Range}
		c.read, c.started, c.over = c.read+1, true, true
		return e, c.producer, true
	}
	lo, hi := l.head, len(l.entries)
	for lo < hi {
		if mid := (lo + hi) / 2; l.entries[mid].Last < c.read {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	e = l.entries[lo].Entry
	e.First = max(e.First, c.read)
	c.read, c.started, c.over = e.Last+1, true, e.End
	return e, c.producer, true
}

// lastStand is how the stream stands after the last entry.
func (l *Log) lastStand() Stand {
	if len(l.entries) == l.head {
		return l.before
	}
	return l.entries[len(l.entries)-1].stand()
}

// Before is how the stream stood before the entry that Next gave last, or, when it has given none, before the subscription's first
// epoch: an entry whose range begins earlier than it ends does not say it.
func (c *Cursor) Before() Stand {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.before
	at := c.read // the first epoch that is not before
	if c.started {
		at = c.read - 1
	}
	for i := range l.entries[l.head:] {
		e := &l.entries[l.head+i]
		if e.Last >= at {
			if e.First <= at {
				before = e.StandBefore(before)
			}
			break
		}
		before = e.stand()
	}
	return before
}

// Durable is the last epoch all of whose seals are fsynced, DurableUnknown before the producer has said so.
func (c *Cursor) Durable() topology.Epoch {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.log.durable
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

// Fail says that nothing will ever be appended any more: readers see it in Err.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	l.wakeReaders()
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

func (l *Log) slowest() topology.Epoch {
	low := l.next - 1
	if !l.retain {
		for _, e := range l.expected {
			if e.cursors == 0 {
				low = l.floor - 1
			}
		}
	}
	for _, c := range l.cursors {
		if c.active {
			low = min(low, c.acked)
		}
	}
	return low
}

// Acknowledged is the last epoch that every active cursor has acknowledged.
func (l *Log) Acknowledged() topology.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.slowest()
}

// Trim drops the entries that end at or before through and that every active consumer has acknowledged: a later Subscribe starts above
// them. (A consumer that was restored from an older checkpoint may not be there yet.)
func (l *Log) Trim(through topology.Epoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trim(min(through, l.slowest()))
}

func (l *Log) trim(through topology.Epoch) {
	through = min(through, l.next-1)
	read := topology.EpochForever // every cursor has given back what ends at or before it
	for _, c := range l.cursors {
		read = min(read, c.acked)
	}
	for l.head < len(l.entries) && l.entries[l.head].Last <= through {
		e := &l.entries[l.head]
		l.before = e.stand()
		l.held -= e.memBytes()
		if l.recycle != nil && e.Last <= read {
			for _, r := range e.Rows {
				l.recycle(r)
			}
		}
		*e = logEntry{}
		l.head++
	}
	l.floor = max(l.floor, through+1)
	switch {
	case l.head == len(l.entries):
		l.entries, l.head = l.entries[:0], 0
	case l.head > 64 && l.head > len(l.entries)/2:
		n := copy(l.entries, l.entries[l.head:])
		clear(l.entries[n:])
		l.entries, l.head = l.entries[:n], 0
	}
}

// Floor is the lowest epoch a subscription may start from.
func (l *Log) Floor() topology.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.floor
}

// Next is the epoch that the next entry starts with.
func (l *Log) Next() topology.Epoch {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// HeldBytes is the memory of the entries held.
func (l *Log) HeldBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

// Len is the number of entries held.
func (l *Log) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.entries) - l.head
}
