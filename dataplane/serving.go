package dataplane

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

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
		l.trimmed(s, trimmed)
		return nil
	}
	l.notify()
	return err
}

// trimmed ends a subscription from below what there is. The caller holds the lock.
func (l *Link) trimmed(s *serve, err *TrimmedError) {
	l.control = (&Trimmed{Edge: s.edge, From: s.next, Floor: err.Floor}).Append(l.control)
	l.serves = slices.DeleteFunc(l.serves, func(x *serve) bool { return x == s })
	l.notify()
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
	var trimmed *TrimmedError
	switch {
	case s.gone:
		return nil
	case errors.As(why, &trimmed):
		l.trimmed(s, trimmed)
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
