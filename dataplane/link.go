package dataplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Conn is what a Link needs of a connection: package transport has them.
type Conn interface {
	// Send queues a copy of msg, which holds one or more messages of this package; it is written at the latest by Flush.
	Send(msg []byte) error
	Flush() error
	// Receive gives the next message, valid until the next Receive.
	Receive() ([]byte, error)
	Close() error
}

// LinkConfig says whom a link joins and what it may serve.
type LinkConfig struct {
	Cluster uint64 // both ends are of the same
	Self    topology.NodeID
	Boot    topology.BootID
	// Peer and PeerBoot are expected at the other end.
	Peer     topology.NodeID
	PeerBoot topology.BootID
	// Resolve finds the output log of a partition of this node that a peer subscribes to. ErrNotYet keeps the subscription until Retry.
	// It is called with the link's lock held and must not call the link.
	Resolve func(stream Stream) (*Log, error)
	// Heard is told of epochs that the peer says are released; may be nil. It must not block.
	Heard func(query topology.QueryID, released topology.Epoch)
	// Credit is how many bytes of messages a subscription may have under way; the epoch its consumer needs next is always sent.
	Credit int64
}

// sendBytes is how much a link gathers before it writes.
const sendBytes = 256 << 10

// ErrNotYet says that a partition is not here, or not here yet.
var ErrNotYet = errors.New("no such partition here yet")

// Link carries the subscriptions of all queries between two nodes, both ways, over one connection. One goroutine sends and one
// receives; the receiver never waits for a consumer, so that one slow subscription stops no other.
type Link struct {
	config LinkConfig
	conn   Conn
	wake   chan struct{}

	mu     sync.Mutex
	serves []*serve // what the peer subscribed to here
	takes  []*take  // what this node subscribed to there
	gone   []*serve // forgotten, cursors to be closed
	// control are messages to be sent before anything else.
	control []byte
	// released are epochs that the peer is to be told of, the last of each query.
	released      []Released
	subscriptions uint32
	ended         bool  // Run has returned
	leaving       bool  // nothing is sent any more after what is queued
	said          error // why the peer gave up, or nil
}

// serve is a peer's subscription to a log of this node.
type serve struct {
	edge   Edge
	active bool
	next   topology.Epoch // where to go on, while there is no cursor
	// consumed is Subscribe.Consumed until the subscription has been served.
	consumed topology.Epoch
	cursor   *Cursor // nil while the partition is not here
	credit   int64   // bytes that may be under way
	sent     uint64
	acked    uint64
	needs    topology.Epoch
	begun    bool           // Subscribed has been sent
	told     topology.Epoch // the durable mark sent last
	over     bool           // the end has been sent, and is not sent again
	left     bool           // its query is gone from here: the sending goroutine closes the cursor
	gone     bool           // forgotten: the sending goroutine closes the cursor, because it may be reading just now
}

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

// NewLink makes a link over an open connection. Run serves it.
func NewLink(conn Conn, c LinkConfig) *Link {
	return &Link{config: c, conn: conn, wake: make(chan struct{}, 1)}
}

func (l *Link) notify() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
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

// ErrLost says that the link ended under a subscription.
var ErrLost = errors.New("the connection with the producer's node is lost")

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

// Tell tells the peer of a released epoch of a query.
func (l *Link) Tell(query topology.QueryID, released topology.Epoch) {
	l.mu.Lock()
	i := slices.IndexFunc(l.released, func(r Released) bool { return r.Query == query })
	if i >= 0 {
		l.released[i].Epoch = max(l.released[i].Epoch, released)
	} else {
		l.released = append(l.released, Released{query, released})
	}
	l.mu.Unlock()
	l.notify()
}

// Leave says goodbye and ends the link: its end is no sign of a failure.
func (l *Link) Leave(reason string) {
	l.mu.Lock()
	l.control = (&Goodbye{Reason: reason}).Append(l.control)
	l.leaving = true
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

// Run says Hello and serves the link until ctx is done, the connection ends or a protocol error comes up; it closes the connection. The error
// is nil only when ctx was done or the peer said goodbye.
func (l *Link) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { l.conn.Close() })
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.receive(); err != nil {
			cancel(err)
		}
	})
	err := l.send(ctx)
	cancel(err)
	l.conn.Close()
	wg.Wait()
	l.mu.Lock()
	serves, takes, said := append(l.serves, l.gone...), l.takes, l.said
	l.ended = true
	l.serves, l.gone, l.takes = nil, nil, nil
	l.mu.Unlock()
	for _, s := range serves {
		if s.cursor != nil {
			s.cursor.Close()
		}
	}
	for _, t := range takes {
		t.log.Fail(ErrLost)
	}
	if said != nil {
		return said
	}
	err = context.Cause(ctx)
	if errors.Is(err, context.Canceled) || errors.Is(err, errGoodbye) {
		return nil
	}
	return fmt.Errorf("dataplane link of %s with %s: %w", l.config.Self, l.config.Peer, err)
}

var errGoodbye = errors.New("the peer said goodbye")

// Close ends the connection; Run returns then.
func (l *Link) Close() { l.conn.Close() }

// send writes what is due, one write for as much as is there.
func (l *Link) send(ctx context.Context) error {
	buf := (&Hello{Cluster: l.config.Cluster, Node: l.config.Self, Boot: l.config.Boot}).Append(nil)
	var enc FrameEncoder
	var serves []*serve
	for {
		serves = l.gather(&buf, serves[:0])
		more := false
		for _, s := range serves {
			sent, err := l.fill(&buf, &enc, s)
			if err != nil {
				return err
			}
			more = more || sent
		}
		if len(buf) > 0 {
			if err := l.conn.Send(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		if more {
			continue
		}
		if err := l.conn.Flush(); err != nil {
			return err
		}
		l.mu.Lock()
		leaving := l.leaving && len(l.control) == 0
		l.mu.Unlock()
		if leaving {
			return errGoodbye
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// gather appends control messages and due Acks to buf and gives the subscriptions served.
func (l *Link) gather(buf *[]byte, serves []*serve) []*serve {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.gone {
		if s.cursor != nil {
			s.cursor.Close()
		}
	}
	l.gone = l.gone[:0]
	l.closeLeft()
	*buf = append(*buf, l.control...)
	l.control = l.control[:0]
	for i := range l.released {
		*buf = l.released[i].Append(*buf)
	}
	l.released = l.released[:0]
	for _, t := range l.takes {
		if !t.dirty {
			continue
		}
		t.dirty = false
		n := 0
		for n < len(t.arrived) && t.arrived[n].last <= t.acked {
			t.freed += t.arrived[n].bytes
			n++
		}
		t.arrived = append(t.arrived[:0], t.arrived[n:]...)
		*buf = (&Ack{Edge: t.edge, Position: t.acked, Needs: t.acked + 1, Bytes: t.freed}).Append(*buf)
	}
	for _, s := range l.serves {
		if s.cursor != nil {
			serves = append(serves, s)
		}
	}
	return serves
}

// closeLeft takes the cursors from subscriptions whose query is gone from here. The caller holds the lock.
func (l *Link) closeLeft() {
	for _, s := range slices.Clone(l.serves) {
		if !s.left {
			continue
		}
		if s.left = false; s.cursor == nil {
			continue
		}
		s.cursor.Close()
		s.next, s.over, s.cursor = s.cursor.Position(), s.cursor.ended(), nil
		if err := l.resume(s); err != nil { // it may be here again already
			l.control = (&Failure{Text: err.Error()}).Append(l.control)
		}
	}
}

// fill appends entries of one subscription as frames, each entry followed by its marker, until there is enough for a write; more
// says that it stopped for that.
func (l *Link) fill(buf *[]byte, enc *FrameEncoder, s *serve) (more bool, err error) {
	for len(*buf) < sendBytes {
		if s.cursor.Err() != nil {
			return false, l.suspend(s)
		}
		l.mu.Lock()
		free := !s.gone && (int64(s.sent-s.acked) < s.credit || s.cursor.Position() <= s.needs)
		l.mu.Unlock()
		if !free {
			return false, nil
		}
		durable := s.cursor.Durable()
		e, ok := s.cursor.Next()
		if !ok {
			if durable > s.told {
				s.told = durable
				*buf = (&Durable{Subscription: s.edge.ID, Epoch: durable}).Append(*buf)
			}
			return false, nil
		}
		s.told = durable
		size := -len(*buf)
		if !s.begun {
			// Only now is it known how the stream stood before: a producer that was restored may have been behind the first epoch asked for.
			*buf = (&Subscribed{Edge: s.edge, Before: s.cursor.Before()}).Append(*buf)
			s.begun = true
		}
		h := FrameHeader{Subscription: s.edge.ID, Stream: s.edge.Stream, Producer: s.edge.Producer, Consumer: s.edge.Consumer, First: e.First, Last: e.Last}
		for _, r := range e.Rows {
			_, _, from, to := r.Span(s.edge.Consumer)
			if *buf, err = enc.AppendFrame(*buf, &Frame{Header: h, Rows: r, Producers: r.Producers}, int(from), int(to)); err != nil {
				return false, err
			}
			if len(*buf) >= sendBytes {
				if err := l.conn.Send(*buf); err != nil {
					return false, err
				}
				size += len(*buf)
				*buf = (*buf)[:0]
			}
		}
		m := Markers{Query: s.edge.Stream.Query, List: []Marker{{Subscription: s.edge.ID, Stage: s.edge.Stream.Stage, Output: s.edge.Stream.Output, Producer: of(e.Range, s.edge.Producer),
			First: e.First, Last: e.Last, Watermark: e.Watermark, Idle: e.Idle, End: e.End, ChainSum: e.ChainSum, Durable: durable,
			Narrowed: e.Narrowed, ChainUnknown: e.ChainUnknown, ChainBefore: e.ChainBefore}}}
		*buf = m.Append(*buf)
		l.mu.Lock()
		s.sent += uint64(size + len(*buf))
		l.mu.Unlock()
	}
	return true, nil
}

// of is a range, or another one when it is not known.
func of(r, other topology.Range) topology.Range {
	if r.Len() > 0 {
		return r
	}
	return other
}

// receive takes messages until the connection ends.
func (l *Link) receive() error {
	var dec FrameDecoder
	greeted := false
	for {
		msg, err := l.conn.Receive()
		if err != nil {
			return err
		}
		for len(msg) > 0 {
			var m Message
			size := len(msg)
			if m, msg, err = Next(msg); err != nil {
				return err
			}
			if !greeted && m.Type != TypeHello {
				return fmt.Errorf("%w: %v before Hello", ErrMalformed, m.Type)
			}
			greeted = true
			if err := l.handle(m, size-len(msg), &dec); err != nil {
				return err
			}
		}
	}
}

func (l *Link) handle(m Message, size int, dec *FrameDecoder) error {
	switch m.Type {
	case TypeHello:
		return l.hello(m.Payload)
	case TypeSubscribe:
		return l.subscribed(m.Payload)
	case TypeSubscribed:
		var s Subscribed
		if err := s.Decode(m.Payload); err != nil {
			return err
		}
		if t := l.take(s.Edge.ID); t != nil {
			if t.log.Len() > 0 {
				return fmt.Errorf("%w: Subscribed after entries of stage %d output %d", ErrMalformed, s.Edge.Stream.Stage, s.Edge.Stream.Output)
			}
			t.log.Restart(t.log.Next(), s.Before)
		}
		return nil
	case TypeUnsubscribe:
		return l.unsubscribed(m.Payload)
	case TypeDurable:
		var d Durable
		if err := d.Decode(m.Payload); err != nil {
			return err
		}
		if t := l.take(d.Subscription); t != nil {
			t.log.SetDurable(d.Epoch)
		}
		return nil
	case TypeReleased:
		var r Released
		if err := r.Decode(m.Payload); err != nil {
			return err
		}
		if l.config.Heard != nil {
			l.config.Heard(r.Query, r.Epoch)
		}
		return nil
	case TypeFrame:
		return l.frame(m.Payload, size, dec)
	case TypeMarkers:
		return l.markers(m.Payload, size)
	case TypeAck:
		return l.ack(m.Payload)
	case TypeTrimmed:
		var t Trimmed
		if err := t.Decode(m.Payload); err != nil {
			return err
		}
		if taken := l.take(t.Edge.ID); taken != nil {
			taken.log.Fail(&TrimmedError{From: t.From, Floor: t.Floor})
		}
		return nil
	case TypeBeyond:
		var b Beyond
		if err := b.Decode(m.Payload); err != nil {
			return err
		}
		if taken := l.take(b.Subscription); taken != nil {
			taken.log.Fail(&BeyondError{Consumed: b.Consumed, End: b.End})
		}
		return nil
	case TypeGoodbye:
		return errGoodbye
	case TypeFailure:
		var f Failure
		if err := f.Decode(m.Payload); err != nil {
			return err
		}
		err := fmt.Errorf("node %s gave the connection up: %s", l.config.Peer, f.Text)
		l.mu.Lock()
		l.said = err
		l.mu.Unlock()
		return err
	}
	return fmt.Errorf("%w: %v", ErrMalformed, m.Type)
}

func (l *Link) hello(payload []byte) error {
	var h Hello
	if err := h.Decode(payload); err != nil {
		return err
	}
	if h.Cluster != l.config.Cluster {
		return fmt.Errorf("node %s is of cluster %016x, this node of %016x; start it with another --data-dir or join it to its own cluster", h.Node, h.Cluster, l.config.Cluster)
	}
	if h.Node != l.config.Peer || h.Boot != l.config.PeerBoot {
		return fmt.Errorf("the peer is node %s (boot %d), not %s (boot %d)", h.Node, h.Boot, l.config.Peer, l.config.PeerBoot)
	}
	return nil
}

func (l *Link) subscribed(payload []byte) error {
	var s Subscribe
	if err := s.Decode(payload); err != nil {
		return err
	}
	return l.start(s)
}

// start serves a subscription, now or when its partition is here.
func (l *Link) start(s Subscribe) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	x := &serve{edge: s.Edge, next: s.From, consumed: s.Consumed, active: s.Active, credit: s.Credit, needs: s.From, told: DurableUnknown}
	l.serves = append(l.serves, x)
	return l.resume(x)
}

// resume gives a subscription a cursor when its partition is here. Resolve is asked under the lock, so that no Retry falls between its
// answer and the subscription. The caller holds the lock.
func (l *Link) resume(s *serve) error {
	log, err := l.config.Resolve(s.edge.Stream)
	if errors.Is(err, ErrNotYet) {
		return nil
	}
	if err == nil {
		s.cursor, err = log.Subscribe(s.edge.ConsumerInstance, s.next, s.active, l.notify)
	}
	if err == nil {
		s.cursor.Of(s.edge.Producer)
		s.cursor.skipEnd(s.over)
	}
	if err == nil && s.consumed > 0 {
		s.cursor.Took(s.consumed)
		s.consumed = 0
	}
	var trimmed *TrimmedError
	if errors.As(err, &trimmed) {
		l.control = (&Trimmed{Edge: s.edge, From: s.next, Floor: trimmed.Floor}).Append(l.control)
		l.serves = slices.DeleteFunc(l.serves, func(x *serve) bool { return x == s })
		err = nil
	}
	l.notify()
	return err
}

// suspend takes the cursor from a subscription that gives nothing any more. When its partition is gone, it goes on where it was when the partition is here again,
// restored, because that gives the same rows.
func (l *Link) suspend(s *serve) error {
	why := s.cursor.Err()
	s.cursor.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	s.next, s.over, s.cursor = s.cursor.Position(), s.cursor.ended(), nil
	var beyond *BeyondError
	switch {
	case s.gone:
		return nil
	case errors.As(why, &beyond):
		l.control = (&Beyond{Subscription: s.edge.ID, Consumed: beyond.Consumed, End: beyond.End}).Append(l.control)
		l.serves = slices.DeleteFunc(l.serves, func(x *serve) bool { return x == s })
		l.notify()
		return nil
	}
	return l.resume(s)
}

// unsubscribed ends a subscription of the peer.
func (l *Link) unsubscribed(payload []byte) error {
	var u Unsubscribe
	if err := u.Decode(payload); err != nil {
		return err
	}
	l.mu.Lock()
	l.leaveServes(func(s *serve) bool { return s.edge.ID == u.Subscription })
	l.mu.Unlock()
	l.notify()
	return nil
}

// leaveServes ends the peer's subscriptions that which names. The caller holds the lock.
func (l *Link) leaveServes(which func(*serve) bool) {
	l.serves = slices.DeleteFunc(l.serves, func(s *serve) bool {
		if !which(s) {
			return false
		}
		s.gone = true
		l.gone = append(l.gone, s)
		return true
	})
}

// Retry serves the subscriptions that came before their partitions, and those whose partitions were gone.
func (l *Link) Retry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slices.Clone(l.serves) {
		if s.cursor != nil {
			continue
		}
		if err := l.resume(s); err != nil {
			l.control = (&Failure{Text: err.Error()}).Append(l.control)
			l.notify()
		}
	}
}

// Forget ends this node's subscriptions of a query; what still comes of it is dropped. Those of the peer stay until it ends them: the query may
// begin anew here, when its sources get another seal log, and then they go on where they were.
func (l *Link) Forget(query topology.QueryID) {
	l.mu.Lock()
	for _, s := range l.serves {
		s.left = s.left || s.edge.Stream.Query == query
	}
	l.takes = slices.DeleteFunc(l.takes, func(t *take) bool {
		if t.edge.Stream.Query != query {
			return false
		}
		if !l.ended {
			l.control = (&Unsubscribe{Subscription: t.edge.ID}).Append(l.control)
		}
		return true
	})
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
			Range: m.Producer, Narrowed: m.Narrowed, ChainUnknown: m.ChainUnknown, ChainBefore: m.ChainBefore})
	}
	return nil
}

func (l *Link) ack(payload []byte) error {
	var a Ack
	if err := a.Decode(payload); err != nil {
		return err
	}
	l.mu.Lock()
	var cursor *Cursor
	for _, s := range l.serves {
		if s.edge.ID == a.Edge.ID {
			cursor, s.acked, s.needs = s.cursor, a.Bytes, a.Needs
		}
	}
	l.mu.Unlock()
	if cursor == nil {
		return nil // forgotten meanwhile
	}
	cursor.Ack(a.Position)
	l.notify()
	return nil
}
