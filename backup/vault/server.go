package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// Conn is a connection that keeps messages apart: package dataplane/transport has them.
type Conn interface {
	// Send queues a copy of msg, which is written at the latest by Flush. Any goroutine may call it.
	Send(msg []byte) error
	Flush() error
	// Receive gives the next message, valid until the next Receive. io.EOF says that the peer closed.
	Receive() ([]byte, error)
	Close() error
}

const (
	// RequestsMax is how many requests of one connection may be under way.
	RequestsMax = 1024
	// streamsMax is how many of them may be Chain or Fence, which read files.
	streamsMax = 16
	// A stream may have this much on its way, besides one part.
	creditMax = 2 * streamBytes
	// Replies are gathered into messages of about this size.
	sendBytes = 256 << 10
	// Parts of streams wait while more than this waits for the peer.
	replyBytesMax = 1 << 20
	// answerBytesMax is how much may wait of other answers, to a peer that asks and does not read. Its requests are read all the same: where both
	// ends of a TCP connection have much to say, one that stops reading can stop both directions for ever. What is sent into a full receive buffer
	// is dropped, and with it, as out of the window, every acknowledgement that follows.
	answerBytesMax = 16 << 20
)

// server answers one connection.
type server struct {
	v    *Vault
	conn Conn

	mu       sync.Mutex
	out      []byte        // replies that wait
	answers  int           // bytes of them that are no parts of streams
	wake     chan struct{} // there are some
	room     chan struct{} // closed and replaced when what waited is being written: streams go on
	requests int
	streams  map[uint64]*stream
	closed   bool
	workers  sync.WaitGroup
}

// stream is a Chain or Fence under way. Its parts go out while it has credit.
type stream struct {
	credit int64
	more   chan struct{}
	cancel context.CancelFunc
}

// Serve answers a Client on conn until ctx ends or the connection does, and closes it. Puts are answered when they are held
// and when they are fsynced, in the order in which that happens. nil says that the peer closed.
func (v *Vault) Serve(ctx context.Context, conn Conn) error {
	s := &server{v: v, conn: conn, wake: make(chan struct{}, 1), room: make(chan struct{}), streams: map[uint64]*stream{}}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	s.reply(&message{typ: typeHello, node: v.config.Node, boot: v.config.Boot}, false)
	s.workers.Go(func() { s.send(ctx, cancel) })
	err := s.receive(ctx)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	ended := ctx.Err()
	cancel()
	closeErr := conn.Close()
	s.workers.Wait()
	switch {
	case ended != nil:
		return ended
	case errors.Is(err, io.EOF):
		return closeErr
	}
	return fmt.Errorf("vault: serving a connection: %w", err)
}

// reply queues a reply, unless the connection has ended. last ends a request.
func (s *server) reply(m *message, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if last {
		s.requests--
	}
	if s.closed {
		return
	}
	at := len(s.out)
	s.out = m.append(s.out)
	s.answers += len(s.out) - at
	notify(s.wake)
}

func (s *server) finish(id uint64, o outcome) {
	if o.err != nil {
		s.reply(&message{typ: typeRefused, id: id, refusal: refusalOf(o.err)}, true)
		return
	}
	s.reply(&message{typ: typeDone, id: id, wants: o.wantsBase}, true)
}

// send writes what is queued, all that is there in one go.
func (s *server) send(ctx context.Context, cancel context.CancelFunc) {
	defer cancel()
	var buf []byte
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		buf, s.out, s.answers = s.out, buf[:0], 0
		close(s.room)
		s.room = make(chan struct{})
		s.mu.Unlock()
		if len(buf) == 0 {
			continue
		}
		if s.write(buf) != nil {
			return // receiving says why
		}
		if cap(buf) > 4*replyBytesMax {
			buf = nil
		}
	}
}

// write sends messages that lie end to end, small ones together.
func (s *server) write(buf []byte) error {
	for len(buf) > 0 {
		n := 0
		for n < len(buf) {
			next := messageHeaderBytes + int(binary.LittleEndian.Uint32(buf[n+4:]))
			if n > 0 && n+next > sendBytes {
				break
			}
			n += next
		}
		if err := s.conn.Send(buf[:n]); err != nil {
			return err
		}
		buf = buf[n:]
	}
	return s.conn.Flush()
}

func (s *server) receive(ctx context.Context) error {
	for {
		msg, err := s.conn.Receive()
		if err != nil {
			return err
		}
		for len(msg) > 0 {
			var m message
			if msg, err = decodeMessage(msg, &m); err != nil {
				return err
			}
			if err := s.handle(ctx, &m); err != nil {
				return err
			}
		}
		s.mu.Lock()
		waiting := s.answers
		s.mu.Unlock()
		if waiting > answerBytesMax {
			return fmt.Errorf("%w: its peer asks and does not read: %d bytes of answers wait", ErrBusy, waiting)
		}
	}
}

// handle starts a request, or takes what belongs to one.
func (s *server) handle(ctx context.Context, m *message) error {
	switch m.typ {
	case typeCredit, typeCancel:
		s.adjust(m)
		return nil
	}
	s.mu.Lock()
	s.requests++
	busy := s.requests > RequestsMax
	s.mu.Unlock()
	id := m.id
	if busy {
		s.finish(id, outcome{err: fmt.Errorf("%w: %d on one connection", ErrBusy, RequestsMax)})
		return nil
	}
	done := waiter{done: func(o outcome) { s.finish(id, o) }}
	held := waiter{done: done.done, held: func() { s.reply(&message{typ: typeHeld, id: id}, false) }}
	switch m.typ {
	case typePutDelta:
		s.v.putDelta(ctx, m.delta, done)
	case typePutSeal:
		s.v.putSeal(ctx, m.put, held)
	case typeAdopt:
		s.v.adopt(ctx, Adoption{m.put.Query, m.put.Source, m.put.Term, m.start, m.seals, m.begin, m.end}, held)
	case typeTrim:
		s.v.trim(ctx, m.chain.Query, m.through, done)
	case typeDrop:
		s.v.drop(ctx, m.chain.Query, done)
	case typeStatus:
		all, err := s.v.Acknowledged(ctx, m.chain.Query, m.chain.Stage, m.chain.Range, m.chain.Through)
		if err != nil {
			s.finish(id, outcome{err: err})
			return nil
		}
		s.reply(&message{typ: typeStanding, id: id, held: all}, false)
		s.finish(id, outcome{})
	case typeChain, typeFence:
		return s.stream(ctx, m)
	default:
		return fmt.Errorf("%w: %v is no request", ErrMalformed, m.typ)
	}
	return nil
}

func (s *server) adjust(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.streams[m.id]
	if t == nil {
		return // it has ended
	}
	if m.typ == typeCancel {
		t.cancel()
		return
	}
	t.credit = min(creditMax, t.credit+int64(min(m.credit, creditMax)))
	notify(t.more)
}

// stream starts a request that is answered by many messages.
func (s *server) stream(ctx context.Context, m *message) error {
	ctx, cancel := context.WithCancel(ctx)
	t := &stream{credit: int64(min(m.credit, creditMax)), more: make(chan struct{}, 1), cancel: cancel}
	id := m.id
	s.mu.Lock()
	double, busy := s.streams[id] != nil, len(s.streams) >= streamsMax
	if !double && !busy {
		s.streams[id] = t
	}
	s.mu.Unlock()
	switch {
	case double:
		cancel()
		return fmt.Errorf("%w: two requests of number %d", ErrMalformed, id)
	case busy:
		cancel()
		s.finish(id, outcome{err: fmt.Errorf("%w: %d chains and logs on one connection", ErrBusy, streamsMax)})
		return nil
	}
	r := *m
	s.workers.Go(func() {
		defer cancel()
		var err error
		if r.typ == typeChain {
			err = s.v.Chain(ctx, r.chain, func(d *Delta) error { return s.part(ctx, t, &message{typ: typeDelta, id: id, delta: *d}) })
		} else {
			err = s.fence(ctx, t, id, &r)
		}
		s.mu.Lock()
		delete(s.streams, id)
		s.mu.Unlock()
		s.finish(id, outcome{err: err})
	})
	return nil
}

func (s *server) fence(ctx context.Context, t *stream, id uint64, m *message) error {
	log, err := s.v.FenceLog(ctx, FenceRequest{m.put.Query, m.put.Source, m.put.Term})
	if err != nil {
		return err
	}
	defer s.v.closeLog(log)
	s.reply(&message{typ: typeFenced, id: id, state: log.State}, false)
	return log.Each(func(x *Seal) error { return s.part(ctx, t, &message{typ: typeSeal, id: id, put: SealPut{Seal: *x}}) })
}

// part queues one part of a stream once it has credit and few replies wait: what streams read is not to lie here many times over.
func (s *server) part(ctx context.Context, t *stream, m *message) error {
	for {
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			return ErrClosed
		}
		room := s.room
		if t.credit > 0 && len(s.out) <= replyBytesMax {
			at := len(s.out)
			s.out = m.append(s.out)
			t.credit -= int64(len(s.out) - at)
			s.mu.Unlock()
			notify(s.wake)
			return nil
		}
		s.mu.Unlock()
		select {
		case <-t.more:
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
