package vault

import (
	"context"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Commit is the future of something put into a vault.
type Commit struct {
	held, done chan struct{}
	holding    sync.Once
	err        error
	wantsBase  bool
}

func newCommit() *Commit { return &Commit{held: make(chan struct{}), done: make(chan struct{})} }

// Held is closed when the vault holds what was put in memory: enough for a seal to be released, lost when the vault's
// process ends. It is closed at the latest when Done is.
func (c *Commit) Held() <-chan struct{} { return c.held }

// Done is closed when what was put is fsynced or has failed.
func (c *Commit) Done() <-chan struct{} { return c.done }

// Err is what went wrong, nil while and when nothing did. A seal that was Held and then failed for want of room is still held
// and written later; putting it again gives another Commit for that.
func (c *Commit) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// WantsBase is Held.WantsBase of the key group that a delta was put for; valid after Done.
func (c *Commit) WantsBase() bool {
	select {
	case <-c.done:
		return c.wantsBase
	default:
		return false
	}
}

// Wait waits until what was put is fsynced, and says what went wrong.
func (c *Commit) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitHeld waits until what was put is held.
func (c *Commit) WaitHeld(ctx context.Context) error {
	select {
	case <-c.held:
		return c.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Commit) hold() { c.holding.Do(func() { close(c.held) }) }

func (c *Commit) finish(o outcome) {
	c.err, c.wantsBase = o.err, o.wantsBase
	close(c.done)
	c.hold()
}

// outcome is how an operation ended.
type outcome struct {
	err       error
	wantsBase bool
}

// waiter is told that something is held, unless it ends at once, and then how it ended; either may be nil. They must not block;
// held must not use the vault.
type waiter struct {
	held func()
	done func(outcome)
}

func (c *Commit) waiter() waiter { return waiter{held: c.hold, done: c.finish} }

// op is one record that waits for its fsync.
type op struct {
	offset, bytes int // in the queue's buffer
	kind          recordType
	serial        uint64         // of a seal
	chain         *chain         // of a delta
	to            topology.Epoch // of a delta
	// applied takes the record into the index, under vault.mu; it may replace the outcome.
	applied func(r ref) outcome
	// undo takes a delta that found no room out of the index, under vault.mu; nil for what is held come what may.
	undo  func()
	dones []func(outcome)
}

// queue is records that wait, end to end in one buffer.
type queue struct {
	buf []byte
	ops []*op
	// taken are bytes at the start of buf whose operations have been taken: they are moved out of the way now and then, not each
	// time, or taking little of a long queue would copy all of it under the vault's lock.
	taken int
}

// bytes is how many wait.
func (q *queue) bytes() int { return len(q.buf) - q.taken }

func (q *queue) add(r *record, o *op) {
	o.offset = len(q.buf)
	o.kind = r.typ
	q.buf = appendRecord(q.buf, r)
	o.bytes = len(q.buf) - o.offset
	q.ops = append(q.ops, o)
}

// take moves operations of at most most bytes, but at least one, from q to dst, which is empty.
func (q *queue) take(dst *queue, most int) {
	n := 0
	for n < len(q.ops) && (n == 0 || q.ops[n].offset+q.ops[n].bytes-q.taken <= most) {
		n++
	}
	if n == len(q.ops) && q.taken == 0 {
		*q, *dst = *dst, *q
		return
	}
	end := len(q.buf)
	if n < len(q.ops) {
		end = q.ops[n].offset
	}
	dst.buf = append(dst.buf, q.buf[q.taken:end]...)
	for _, o := range q.ops[:n] {
		o.offset -= q.taken
	}
	dst.ops = append(dst.ops, q.ops[:n]...)
	q.ops = append(q.ops[:0], q.ops[n:]...)
	if q.taken = end; q.taken >= len(q.buf)-q.taken {
		q.pack()
	}
}

// pack moves what waits to the start of the buffer.
func (q *queue) pack() {
	q.buf = append(q.buf[:0], q.buf[q.taken:]...)
	for _, o := range q.ops {
		o.offset -= q.taken
	}
	q.taken = 0
}

// putBack puts what was taken before what has come since.
func (q *queue) putBack(taken *queue) {
	q.pack()
	shift := len(taken.buf)
	for _, o := range q.ops {
		o.offset += shift
	}
	taken.buf = append(taken.buf, q.buf...)
	taken.ops = append(taken.ops, q.ops...)
	*q, *taken = *taken, *q
	taken.reset()
}

func (q *queue) reset() {
	if cap(q.buf) > 32<<20 {
		q.buf = nil
	}
	q.buf, q.taken = q.buf[:0], 0
	clear(q.ops)
	q.ops = q.ops[:0]
}
