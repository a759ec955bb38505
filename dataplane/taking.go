package dataplane

import (
	"fmt"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// take is this node's subscription to a log of the peer: a log of what came, which a partition of this node reads.
type take struct {
	link    *Link
	edge    Edge
	log     *Log
	schema  *batch.Schema
	pending []*Rows // of epoch last, whose marker has not come
	last    topology.Epoch
	bytes   uint64 // of messages since the subscription began
	arrived []arrival
	freed   uint64 // bytes whose epochs are consumed
	acked   topology.Epoch
	dirty   bool // an Ack is due

	pool struct {
		sync.Mutex
		free []*Rows
	}
}

type arrival struct {
	last  topology.Epoch
	bytes uint64
}

// Subscribe asks the peer for what edge names, from an epoch on, and gives a cursor over what comes. consumed: see Subscribe.Consumed. Only
// active subscriptions hold the producer back. wake is called whenever there may be something new, and when the subscription has failed:
// ErrLost when the link ends, *TrimmedError from below the producer's floor, *BeyondError. Closing the cursor ends the subscription.
func (l *Link) Subscribe(edge Edge, from, consumed topology.Epoch, active bool, schema *batch.Schema, wake func()) *Cursor {
	t := &take{link: l, schema: schema, acked: from - 1}
	t.log = NewLog(from, Limits{Bytes: 1 << 62, Epochs: 1 << 30}, false, t.put, func() { l.consumed(t) })
	c, err := t.log.Subscribe(edge.ConsumerInstance, from, true, wake)
	if err != nil {
		panic(err) // an empty log takes a subscription from its first epoch
	}
	c.taken = t
	l.mu.Lock()
	l.subscriptions++
	edge.ID = l.subscriptions
	t.edge = edge
	if l.ended {
		l.mu.Unlock()
		t.log.Fail(ErrLost)
		return c
	}
	l.takes = append(l.takes, t)
	l.control = (&Subscribe{Edge: edge, From: from, Active: active, Credit: l.config.Credit, Consumed: consumed}).Append(l.control)
	l.mu.Unlock()
	l.notify()
	return c
}

// drop ends a subscription of this node.
func (l *Link) drop(t *take) {
	l.mu.Lock()
	n := len(l.takes)
	l.takes = slices.DeleteFunc(l.takes, func(x *take) bool { return x == t })
	if len(l.takes) < n && !l.ended {
		l.control = (&Unsubscribe{Subscription: t.edge.ID}).Append(l.control)
	}
	l.mu.Unlock()
	l.notify()
}

func (t *take) get() *Rows {
	t.pool.Lock()
	defer t.pool.Unlock()
	if n := len(t.pool.free); n > 0 {
		r := t.pool.free[n-1]
		t.pool.free = t.pool.free[:n-1]
		return r
	}
	return &Rows{Batch: batch.New(t.schema)}
}

func (t *take) put(r *Rows) {
	r.Reset()
	t.pool.Lock()
	defer t.pool.Unlock()
	if len(t.pool.free) < 64 {
		t.pool.free = append(t.pool.free, r)
	}
}

// consumed notes that readers of t have acknowledged epochs: an Ack is due.
func (l *Link) consumed(t *take) {
	through := t.log.Acknowledged()
	l.mu.Lock()
	if through > t.acked {
		t.acked, t.dirty = through, true
	}
	l.mu.Unlock()
	l.notify()
}

// take finds a subscription of this node; nil when it has been forgotten.
func (l *Link) take(id uint32) *take {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.takes {
		if t.edge.ID == id {
			return t
		}
	}
	return nil
}

func (l *Link) frame(payload []byte, size int, dec *FrameDecoder) error {
	h, _, err := DecodeFrameHeader(payload)
	if err != nil {
		return err
	}
	t := l.take(h.Subscription)
	if t == nil {
		return nil
	}
	if want := t.log.Next(); h.First != want {
		return fmt.Errorf("%w: rows of epoch %d of stage %d output %d, epoch %d was next", ErrMalformed, h.First, h.Stream.Stage, h.Stream.Output, want)
	}
	if n := len(t.pending); n > 0 && h.Last != t.last {
		return fmt.Errorf("%w: rows of epochs %d and %d of stage %d output %d under one marker", ErrMalformed, t.last, h.Last, h.Stream.Stage, h.Stream.Output)
	}
	t.last = h.Last
	r := t.get()
	f := Frame{Rows: r, Producers: r.Producers}
	if err := dec.Decode(payload, &f); err != nil {
		return err
	}
	f.Rows.Producers = f.Producers
	t.pending = append(t.pending, f.Rows)
	t.bytes += uint64(size)
	return nil
}

func (l *Link) markers(payload []byte, size int) error {
	var ms Markers
	if err := ms.Decode(payload); err != nil {
		return err
	}
	for _, m := range ms.List {
		t := l.take(m.Subscription)
		if t == nil {
			continue
		}
		if want := t.log.Next(); m.First != want || m.Last < m.First {
			return fmt.Errorf("%w: marker for epochs [%d,%d] of stage %d output %d, epoch %d was next", ErrMalformed, m.First, m.Last, m.Stage, m.Output, want)
		}
		if t.log.Ended() {
			return fmt.Errorf("%w: marker for epochs [%d,%d] of stage %d output %d, which has ended", ErrMalformed, m.First, m.Last, m.Stage, m.Output)
		}
		if len(t.pending) > 0 && m.Last != t.last {
			return fmt.Errorf("%w: marker for epochs [%d,%d] of stage %d output %d after rows of epoch %d", ErrMalformed, m.First, m.Last, m.Stage, m.Output, t.last)
		}
		t.bytes += uint64(size)
		l.mu.Lock()
		t.arrived = append(t.arrived, arrival{m.Last, t.bytes})
		l.mu.Unlock()
		size, t.bytes = 0, 0
		rows := append([]*Rows(nil), t.pending...)
		clear(t.pending)
		t.pending = t.pending[:0]
		t.log.SetDurable(m.Durable)
		t.log.Append(Entry{First: m.First, Last: m.Last, Rows: rows, Watermark: m.Watermark, Idle: m.Idle, End: m.End, ChainSum: m.ChainSum,
			Range: m.Producer, Narrowed: m.Narrowed, ChainBefore: m.ChainBefore})
	}
	return nil
}
