package dataplane

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

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
	// durable is the last epoch all of whose seals are fsynced, DurableUnknown before anybody said so: of the key groups that the producer has.
	durable topology.Epoch
	// of are these, the zero range when they are not known.
	of topology.Range
	// adopted is where the seals end that the producer, a source, adopted of former owners; -1 when it did not.
	adopted topology.Epoch
	// expected are the active consumers that there are to be: one that has not subscribed yet holds the producer back as if it had.
	expected map[uint64]*expectation
	limits   Limits
	// retain keeps acknowledged entries until Trim; otherwise they go as soon as every active cursor has acknowledged them.
	retain bool
	held   int64        // bytes of entries in memory
	sent   atomic.Int64 // bytes of frames that links have sent of it
	// spill is what counts them and takes what memory has no room for, nil for a log that is alone.
	spill   *Spill
	number  uint64         // of the log in spill
	cold    topology.Epoch // what ends at or before it has been offered to spill
	onDisk  int64          // bytes of records
	dropped bool           // it holds nothing any more
	// recycle takes back the rows of entries that every cursor has acknowledged; may be nil. Those of entries that a cursor may
	// still be reading are left to the garbage collector.
	recycle func(*Rows)
	// wakeProducer is called without the lock when an acknowledgement, or a consumer that has come, may have made room.
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
	bytes int64 // that it takes in memory while its rows are there
	// spilled is where the rows are that are not in Rows. While spilling, those in Rows are being read and are not used again.
	spilled  *spillRecord
	spilling bool
}

// held is what the entry takes in memory.
func (e *logEntry) held() int64 {
	if e.spilled != nil {
		return entryBytes
	}
	return e.bytes
}

// NewLog makes an empty log whose first entry starts with epoch next. recycle and wakeProducer may be nil.
func NewLog(next topology.Epoch, limits Limits, retain bool, recycle func(*Rows), wakeProducer func()) *Log {
	return &Log{floor: next, next: next, limits: limits, retain: retain, recycle: recycle, wakeProducer: wakeProducer,
		before: Stand{Watermark: topology.WatermarkNone}, durable: DurableUnknown, adopted: -1, expected: map[uint64]*expectation{}}
}

// SpillTo makes the log's entries count for s, and go there when memory is short. The log is empty; Drop ends it.
func (l *Log) SpillTo(s *Spill) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spill, l.number = s, s.add(l)
}

// Drop is Fail for a log that is read no more: it gives up what it holds.
func (l *Log) Drop(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed, l.dropped = err, true
	for i := range l.entries[l.head:] {
		l.unspill(&l.entries[l.head+i])
	}
	l.hold(-l.held)
	l.entries, l.head = nil, 0
	if l.spill != nil {
		l.spill.drop(l)
	}
	l.wakeReaders()
}

// hold counts memory that is taken, or given back.
func (l *Log) hold(bytes int64) {
	l.held += bytes
	if l.spill != nil {
		l.spill.keep(bytes)
	}
}

// unspill gives up an entry's record.
func (l *Log) unspill(e *logEntry) {
	if e.spilled != nil {
		l.onDisk -= int64(e.spilled.size)
		l.spill.release(e.spilled.segment, 1)
		e.spilled = nil
	}
}

// Restart makes an empty log start with epoch next, before which the stream stood as before says.
func (l *Log) Restart(next topology.Epoch, before Stand) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) > l.head {
		panic("dataplane: Restart of a log that holds entries")
	}
	l.floor, l.next, l.before, l.of = next, next, before, before.Range
}

// Narrow says which key groups the producer still has: its durable mark is of these alone from now on.
func (l *Log) Narrow(to topology.Range) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.of = to
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
	l.cooled()
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

// Retain says whether acknowledged entries are kept until Trim from now on.
func (l *Log) Retain(on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retain = on
	l.cooled()
}

// cooled lets the spill look at what active consumers may not need any more. The caller holds the lock.
func (l *Log) cooled() {
	if l.retain && l.spill != nil {
		l.spill.mayRelieve()
	}
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
	c, expected, err := l.subscribe(consumer, from, active, wake)
	if expected && l.wakeProducer != nil {
		l.wakeProducer() // it may have waited for this consumer, which may have all there is and so acknowledge nothing
	}
	return c, err
}

func (l *Log) subscribe(consumer uint64, from topology.Epoch, active bool, wake func()) (c *Cursor, expected bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if from < l.floor {
		return nil, false, &TrimmedError{From: from, Floor: l.floor}
	}
	if !active && !l.retain {
		return nil, false, fmt.Errorf("dataplane: only a log that retains its entries takes subscriptions that do not hold the producer back")
	}
	c = &Cursor{log: l, consumer: consumer, active: active, read: from, acked: from - 1, bytes: l.bytes, count: l.count, wake: wake}
	for _, e := range l.entries[l.head:] {
		if e.Last >= from {
			c.bytes, c.count = e.bytesEnd-e.bytes, e.countEnd-1
			break
		}
	}
	l.cursors = append(l.cursors, c)
	if e := l.expected[consumer]; active && e != nil {
		e.cursors++
		expected = true
	}
	return c, expected, nil
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
		l.count++
		l.entries = append(l.entries, logEntry{Entry: e, bytesEnd: l.bytes, countEnd: l.count, still: still, bytes: n})
		l.hold(n)
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
		if !l.holds(c) || c.acked+1 >= l.next {
			continue
		}
		if l.bytes-c.bytes >= l.limits.Bytes || l.count-c.count >= int64(l.limits.Epochs) {
			return false
		}
	}
	return true
}

// lastStand is how the stream stands after the last entry.
func (l *Log) lastStand() Stand { return l.standBefore(len(l.entries)) }

// standBefore is how the stream stood before the entry at i.
func (l *Log) standBefore(i int) Stand {
	if i == l.head {
		return l.before
	}
	return l.entries[i-1].stand()
}

// Fail says that nothing will ever be appended any more: readers see it in Err.
func (l *Log) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
	l.wakeReaders()
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
		if l.holds(c) {
			low = min(low, c.acked)
		}
	}
	return low
}

// holds says whether a cursor holds the producer back: not one of an active consumer that is no longer to be, since the cluster has put another in
// its place. It may not know that, and stand still for ever.
func (l *Log) holds(c *Cursor) bool {
	return c.active && (len(l.expected) == 0 || l.expected[c.consumer] != nil)
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
	read, freed := l.givenBack(), int64(0)
	for l.head < len(l.entries) && l.entries[l.head].Last <= through {
		e := &l.entries[l.head]
		l.before = e.stand()
		freed += e.held()
		l.unspill(e)
		l.reuse(e, read)
		*e = logEntry{}
		l.head++
	}
	if freed > 0 {
		l.hold(-freed)
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

// givenBack is up to where every cursor has given back what it read.
func (l *Log) givenBack() topology.Epoch {
	read := topology.EpochForever
	for _, c := range l.cursors {
		read = min(read, c.acked)
	}
	return read
}

// reuse gives the rows of an entry back when nobody reads them, given up to where every cursor has given back what it read.
func (l *Log) reuse(e *logEntry, read topology.Epoch) {
	if l.recycle == nil || e.spilling || e.Last > read {
		return
	}
	for _, r := range e.Rows {
		l.recycle(r)
	}
}

// find is the index of the first entry that does not end before epoch e.
func (l *Log) find(e topology.Epoch) int {
	return l.head + sort.Search(len(l.entries)-l.head, func(i int) bool { return l.entries[l.head+i].Last >= e })
}

// takeCold appends to dst the oldest entries that have not been offered to the spill, are kept only in case somebody is restored, and have
// rows: some spillBytes of them. What they are is not changed until spilled has been called.
func (l *Log) takeCold(dst []spillEntry) []spillEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.retain || l.dropped {
		return dst
	}
	through, taken := l.slowest(), int64(0)
	for i := l.find(l.cold + 1); i < len(l.entries) && l.entries[i].Last <= through && taken < spillBytes; i++ {
		e := &l.entries[i]
		l.cold = e.Last
		if len(e.Rows) > 0 {
			e.spilling = true
			taken += e.bytes
			dst = append(dst, spillEntry{last: e.Last, pieces: e.Rows})
		}
	}
	return dst
}

// spilled takes over where the entries of list, in order, are from now on; those without a record stay in memory, and if the disk took nothing they
// are offered again.
func (l *Log) spilled(list []spillEntry, took bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	read, freed := l.givenBack(), int64(0)
	for _, x := range list {
		i := l.find(x.last)
		if l.dropped || i == len(l.entries) || l.entries[i].Last != x.last {
			if x.record != nil {
				l.spill.release(x.record.segment, 1) // trimmed meanwhile
			}
			continue
		}
		e := &l.entries[i]
		if e.spilling = false; x.record == nil {
			continue
		}
		l.reuse(e, read)
		e.spilled, e.Rows = x.record, nil
		l.onDisk += int64(x.record.size)
		freed += e.bytes - entryBytes
	}
	if !took && len(list) > 0 {
		l.cold = min(l.cold, list[0].last-1)
	}
	l.hold(-freed)
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

// Ended says that the last entry has been appended.
func (l *Log) Ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// SentBytes are those of the frames that other nodes were sent, once for each consumer.
func (l *Log) SentBytes() int64 { return l.sent.Load() }

// SpilledBytes is what entries take on disk.
func (l *Log) SpilledBytes() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.onDisk
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
