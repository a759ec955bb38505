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
	Resolve func(stream Stream, producer topology.Range) (*Log, error)
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
	serves []*serve    // what the peer subscribed to here
	takes  []*take     // what this node subscribed to there
	gone   []*serve    // forgotten, cursors to be closed
	early  []Subscribe // by the peer, to partitions that are not here yet
	// control are messages to be sent before anything else.
	control       []byte
	subscriptions uint32
	closed        bool
	said          error // why the peer gave up, or nil
}

// serve is a peer's subscription to a log of this node.
type serve struct {
	edge   Edge
	cursor *Cursor
	credit int64 // bytes that may be under way
	sent   uint64
	acked  uint64
	needs  topology.Epoch
	begun  bool // Subscribed has been sent
	gone   bool // forgotten: the sending goroutine closes the cursor, because it may be reading just now
}

// take is this node's subscription to a log of the peer: a log of what came, which partitions of this node read.
type take struct {
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

// Subscribe asks the peer for what edge names, from an epoch on, and gives the log that it is put into. The reader subscribes
// to that log before it lets the link's Run receive.
func (l *Link) Subscribe(edge Edge, from topology.Epoch, schema *batch.Schema) *Log {
	l.mu.Lock()
	l.subscriptions++
	edge.ID = l.subscriptions
	l.mu.Unlock()
	t := &take{edge: edge, schema: schema, acked: from - 1}
	t.log = NewLog(from, Limits{Bytes: 1 << 62, Epochs: 1 << 30}, false, t.put, func() { l.consumed(t) })
	l.mu.Lock()
	l.takes = append(l.takes, t)
	l.control = (&Subscribe{Edge: edge, From: from, Active: true, Credit: l.config.Credit}).Append(l.control)
	l.mu.Unlock()
	l.notify()
	return t.log
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
	defer l.mu.Unlock()
	l.closed = true
	for _, s := range append(l.serves, l.gone...) {
		s.cursor.Close()
	}
	l.serves, l.gone = nil, nil
	if l.said != nil {
		return l.said
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
		s.cursor.Close()
	}
	l.gone = l.gone[:0]
	*buf = append(*buf, l.control...)
	l.control = l.control[:0]
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
	return append(serves, l.serves...)
}

// fill appends entries of one subscription as frames, each entry followed by its marker, until there is enough for a write; more
// says that it stopped for that.
func (l *Link) fill(buf *[]byte, enc *FrameEncoder, s *serve) (more bool, err error) {
	for len(*buf) < sendBytes {
		l.mu.Lock()
		free := !s.gone && (int64(s.sent-s.acked) < s.credit || s.cursor.Position() <= s.needs)
		l.mu.Unlock()
		if !free {
			return false, nil
		}
		e, ok := s.cursor.Next()
		if !ok {
			return false, nil
		}
		size := -len(*buf)
		if !s.begun {
			// Only now is it known how the stream stood before: a producer that was restored may have been behind the first epoch asked for.
			watermark, idle := s.cursor.Before()
			*buf = (&Subscribed{Edge: s.edge, Watermark: watermark, Idle: idle}).Append(*buf)
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
		m := Markers{Query: s.edge.Stream.Query, List: []Marker{{Subscription: s.edge.ID, Stage: s.edge.Stream.Stage, Output: s.edge.Stream.Output, Producer: s.edge.Producer,
			First: e.First, Last: e.Last, Watermark: e.Watermark, Idle: e.Idle, End: e.End, ChainSum: e.ChainSum, Released: e.Last, Durable: e.Last}}}
		*buf = m.Append(*buf)
		l.mu.Lock()
		s.sent += uint64(size + len(*buf))
		l.mu.Unlock()
	}
	return true, nil
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
			t.log.Restart(t.log.Next(), s.Watermark, s.Idle)
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

// start serves a subscription, or keeps it for Retry.
func (l *Link) start(s Subscribe) error {
	l.mu.Lock()
	log, err := l.config.Resolve(s.Edge.Stream, s.Edge.Producer)
	if errors.Is(err, ErrNotYet) {
		l.early = append(l.early, s) // under one lock with Resolve: a Retry in between would miss it
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	cursor, err := log.Subscribe(s.From, s.Active, l.notify)
	var trimmed *TrimmedError
	if errors.As(err, &trimmed) {
		l.mu.Lock()
		l.control = (&Trimmed{Edge: s.Edge, From: s.From, Floor: trimmed.Floor}).Append(l.control)
		l.mu.Unlock()
		l.notify()
		return nil
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.serves = append(l.serves, &serve{edge: s.Edge, cursor: cursor, credit: s.Credit, needs: s.From})
	l.mu.Unlock()
	l.notify()
	return nil
}

// Retry serves the subscriptions that came before their partitions.
func (l *Link) Retry() {
	l.mu.Lock()
	early := l.early
	l.early = nil
	l.mu.Unlock()
	for _, s := range early {
		if err := l.start(s); err != nil {
			l.mu.Lock()
			l.control = (&Failure{Text: err.Error()}).Append(l.control)
			l.mu.Unlock()
			l.notify()
		}
	}
}

// Forget ends all subscriptions of a query, both ways; what still comes of it is dropped.
func (l *Link) Forget(query topology.QueryID) {
	l.mu.Lock()
	l.serves = slices.DeleteFunc(l.serves, func(s *serve) bool {
		if s.edge.Stream.Query != query {
			return false
		}
		s.gone = true
		l.gone = append(l.gone, s)
		return true
	})
	l.takes = slices.DeleteFunc(l.takes, func(t *take) bool { return t.edge.Stream.Query == query })
	l.early = slices.DeleteFunc(l.early, func(s Subscribe) bool { return s.Edge.Stream.Query == query })
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
		t.log.Append(Entry{First: m.First, Last: m.Last, Rows: rows, Watermark: m.Watermark, Idle: m.Idle, End: m.End, ChainSum: m.ChainSum})
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
