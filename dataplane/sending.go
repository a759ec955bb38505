package dataplane

import (
	"context"
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

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
		durable := s.cursor.Durable()
		var e Entry
		ok := false
		if free {
			e, ok = s.cursor.Next()
		}
		if !ok {
			if durable > s.told { // takes no credit: whoever has ended acknowledges nothing more and still waits for it
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
			before := len(*buf)
			if *buf, err = enc.AppendFrame(*buf, &Frame{Header: h, Rows: r, Producers: r.Producers}, int(from), int(to)); err != nil {
				return false, err
			}
			s.cursor.log.sent.Add(int64(len(*buf) - before))
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
			Narrowed: e.Narrowed, ChainBefore: e.ChainBefore}}}
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
