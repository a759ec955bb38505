package dataplane

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

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

// ErrLost says that the link ended under a subscription.
var ErrLost = errors.New("the connection with the producer's node is lost")

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
