package vault

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// clientBytes of requests may be under way, besides one that is larger.
	clientBytes = 32 << 20
	// streamBytes of one chain or log may be on their way or unread.
	streamBytes = 4 << 20
)

// Client is a vault on another node, over one connection. Any goroutine may call its methods; many requests may be under way.
type Client struct {
	conn  Conn
	hello chan struct{} // closed when the vault has said who it is
	ended chan struct{} // closed with err when the connection has ended
	dirty chan struct{} // something waits for a Flush

	mu    sync.Mutex
	node  topology.NodeID
	boot  topology.BootID
	calls map[uint64]*call
	last  uint64
	bytes int
	freed chan struct{} // closed and replaced when a request has ended
	spare spare
	// unsent is why nothing could be sent any more, if that is why the connection ended.
	unsent error
	err    error
}

// spare is memory of parts that were taken, for those that come: a restore reads much, and memory that was in use before costs less.
type spare struct {
	streams int // that are under way; without one nothing is kept
	parts   [][]byte
	bytes   int // of parts, capacity counted
}

// What is kept is bounded, of all streams of a connection. Few parts, since they are searched.
const (
	spareBytes    = 2 * streamBytes
	sparePartsMax = 16
)

// copyOf is a copy of part, in the smallest memory that it fits in.
func (s *spare) copyOf(part []byte) []byte {
	best := -1
	for i, p := range s.parts {
		if cap(p) >= len(part) && (best < 0 || cap(p) < cap(s.parts[best])) {
			best = i
		}
	}
	if best < 0 {
		return append([]byte(nil), part...)
	}
	memory := s.parts[best]
	s.parts, s.bytes = slices.Delete(s.parts, best, best+1), s.bytes-cap(memory)
	return append(memory[:0], part...)
}

// add takes the memory of a part that is not used any more.
func (s *spare) add(part []byte) {
	if s.streams > 0 && s.bytes+cap(part) <= spareBytes && len(s.parts) < sparePartsMax {
		s.parts, s.bytes = append(s.parts, part), s.bytes+cap(part)
	}
}

// end forgets everything with the last stream.
func (s *spare) end() {
	if s.streams--; s.streams == 0 {
		s.parts, s.bytes = nil, 0
	}
}

// call is one request under way.
type call struct {
	w     waiter
	bytes int

	// Of a stream: messages as they came, checked, until they are taken.
	streams bool
	parts   [][]byte
	unread  int // bytes of parts
	arrived chan struct{}
	ended   bool
	outcome outcome
}

// NewClient makes a client on an open connection to a node that Serves. Run serves it.
func NewClient(conn Conn) *Client {
	return &Client{conn: conn, hello: make(chan struct{}), ended: make(chan struct{}), dirty: make(chan struct{}, 1), calls: map[uint64]*call{}, freed: make(chan struct{})}
}

// Run receives answers until ctx or the connection ends, closes the connection, and fails what is under way.
func (c *Client) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { c.conn.Close() })
	defer stop()
	var flusher sync.WaitGroup
	flusher.Go(c.flush)
	err := c.receive()
	c.mu.Lock()
	err = cmp.Or(c.unsent, err) // that nothing more arrives is because this end closed the connection then
	c.mu.Unlock()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	c.fail(err)
	closeErr := c.conn.Close()
	flusher.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return errors.Join(err, closeErr)
}

// Hello waits until the vault has said whose it is; Node and Boot are valid then.
func (c *Client) Hello(ctx context.Context) error {
	select {
	case <-c.hello:
		return nil
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Node is the node of the vault, after Hello.
func (c *Client) Node() topology.NodeID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.node
}

// Boot is the boot id of the vault, after Hello.
func (c *Client) Boot() topology.BootID {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.boot
}

// fail ends everything under way.
func (c *Client) fail(err error) {
	c.mu.Lock()
	c.err = fmt.Errorf("vault of node %s: connection ended: %w", c.node, err)
	calls := c.calls
	c.calls = map[uint64]*call{}
	c.mu.Unlock()
	close(c.ended)
	for _, x := range calls {
		c.end(x, outcome{err: c.err})
	}
}

// flush writes what has been sent since the last time, so that requests made at once share a write.
func (c *Client) flush() {
	for {
		select {
		case <-c.dirty:
			if err := c.conn.Flush(); err != nil {
				c.mu.Lock()
				c.unsent = cmp.Or(c.unsent, err)
				c.mu.Unlock()
				c.conn.Close()
			}
		case <-c.ended:
			return
		}
	}
}

func (c *Client) receive() error {
	for {
		msg, err := c.conn.Receive()
		if err != nil {
			return err
		}
		for len(msg) > 0 {
			var m message
			whole := msg
			if msg, err = decodeMessage(msg, &m); err != nil {
				return err
			}
			if err := c.handle(&m, whole[:len(whole)-len(msg)]); err != nil {
				return err
			}
		}
	}
}

func (c *Client) handle(m *message, whole []byte) error {
	c.mu.Lock()
	if m.typ == typeHello {
		defer c.mu.Unlock()
		if c.boot != 0 || m.boot == 0 {
			return fmt.Errorf("%w: Hello out of place", ErrMalformed)
		}
		c.node, c.boot = m.node, m.boot
		close(c.hello)
		return nil
	}
	x := c.calls[m.id]
	if x == nil {
		c.mu.Unlock()
		return fmt.Errorf("%w: %v for request %d, which is not under way", ErrMalformed, m.typ, m.id)
	}
	switch m.typ {
	case typeDelta, typeSeal, typeFenced, typeStanding:
		defer c.mu.Unlock()
		if !x.streams {
			return fmt.Errorf("%w: %v for a request that does not ask for it", ErrMalformed, m.typ)
		}
		if x.unread += len(whole); x.unread > creditMax+MessageBytesMax {
			return fmt.Errorf("%w: %d bytes for request %d, which has no credit for them", ErrMalformed, x.unread, m.id)
		}
		x.parts = append(x.parts, c.spare.copyOf(whole))
		notify(x.arrived)
		return nil
	case typeHeld:
		c.mu.Unlock()
		if x.w.held != nil {
			x.w.held()
		}
		return nil
	case typeDone, typeRefused:
		delete(c.calls, m.id)
		c.bytes -= x.bytes
		close(c.freed)
		c.freed = make(chan struct{})
		node := c.node
		c.mu.Unlock()
		o := outcome{wantsBase: m.wants}
		if m.typ == typeRefused {
			o = outcome{err: m.refusal.err(node)}
		}
		c.end(x, o)
		return nil
	}
	c.mu.Unlock()
	return fmt.Errorf("%w: %v is no answer", ErrMalformed, m.typ)
}

func (c *Client) end(x *call, o outcome) {
	if !x.streams {
		x.w.done(o)
		return
	}
	c.mu.Lock()
	x.ended, x.outcome = true, o
	c.mu.Unlock()
	notify(x.arrived)
}

// start sends a request once there is room for it.
func (c *Client) start(ctx context.Context, m *message, x *call) error {
	c.mu.Lock()
	for {
		if c.err != nil {
			c.mu.Unlock()
			return c.err
		}
		if len(c.calls) == 0 || len(c.calls) < RequestsMax && c.bytes+x.bytes <= clientBytes {
			break
		}
		freed := c.freed
		c.mu.Unlock()
		select {
		case <-freed:
		case <-c.ended:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
	}
	c.last++
	m.id = c.last
	c.calls[m.id] = x
	c.bytes += x.bytes
	c.mu.Unlock()
	if err := c.send(m); err != nil {
		c.mu.Lock()
		_, mine := c.calls[m.id]
		if mine {
			delete(c.calls, m.id)
			c.bytes -= x.bytes
		}
		c.mu.Unlock()
		if mine {
			return err
		}
	}
	return nil
}

func (c *Client) send(m *message) error {
	err := c.conn.Send(m.append(nil))
	notify(c.dirty) // also after an error: a connection over which nothing can be sent any more is closed, whatever else waits for its answers
	if err != nil {
		return fmt.Errorf("vault of node %s: sending %v: %w", c.Node(), m.typ, err)
	}
	return nil
}

// put sends a request whose commit is all of its answer.
func (c *Client) put(ctx context.Context, m *message, bytes int) *Commit {
	commit := newCommit()
	if bytes > PayloadBytesMax {
		commit.finish(outcome{err: fmt.Errorf("%w: %v of %d bytes, at most %d", ErrTooLarge, m.typ, bytes, PayloadBytesMax)})
		return commit
	}
	if err := c.start(ctx, m, &call{w: commit.waiter(), bytes: bytes}); err != nil {
		commit.finish(outcome{err: err})
	}
	return commit
}

// PutDelta is Vault.PutDelta on the other node. It waits for room among the requests under way.
func (c *Client) PutDelta(ctx context.Context, d Delta) *Commit {
	if d.Base {
		d.From = 0
	}
	if err := d.check(); err != nil {
		return failedCommit(err)
	}
	return c.put(ctx, &message{typ: typePutDelta, delta: d}, d.Data.StoredLen())
}

func failedCommit(err error) *Commit {
	commit := newCommit()
	commit.finish(outcome{err: err})
	return commit
}

// PutSeal is Vault.PutSeal on the other node.
func (c *Client) PutSeal(ctx context.Context, p SealPut) *Commit {
	if err := errors.Join(checkSeal(&p.Seal), checkSource(p.Source)); err != nil {
		return failedCommit(err)
	}
	return c.put(ctx, &message{typ: typePutSeal, put: p}, p.Data.StoredLen())
}

// Adopt is Vault.Adopt on the other node; AdoptLog puts what is too large for one message.
func (c *Client) Adopt(ctx context.Context, a Adoption) *Commit {
	err := checkSource(a.Source)
	bytes := 0
	for i := range a.Seals {
		err = errors.Join(err, checkSeal(&a.Seals[i]))
		bytes += a.Seals[i].Data.StoredLen() + 64
	}
	if a.Start < 1 {
		err = errors.Join(err, fmt.Errorf("%w: log that starts at epoch %d", ErrMalformed, a.Start))
	}
	if err != nil {
		return failedCommit(err)
	}
	m := &message{typ: typeAdopt, put: SealPut{Query: a.Query, Source: a.Source, Term: a.Term}, start: a.Start, seals: a.Seals, begin: a.Begin, end: a.End}
	return c.put(ctx, m, bytes)
}

// Trim is Vault.Trim on the other node.
func (c *Client) Trim(ctx context.Context, id topology.QueryID, through topology.Epoch) *Commit {
	return c.put(ctx, &message{typ: typeTrim, chain: ChainRequest{Query: id}, through: max(0, through)}, 0)
}

// Drop is Vault.Drop on the other node.
func (c *Client) Drop(ctx context.Context, id topology.QueryID) *Commit {
	return c.put(ctx, &message{typ: typeDrop, chain: ChainRequest{Query: id}}, 0)
}

// ask sends a request that is answered by parts and calls take with each.
func (c *Client) ask(ctx context.Context, m *message, take func(m *message) error) error {
	x := &call{streams: true, arrived: make(chan struct{}, 1)}
	m.credit = streamBytes
	c.mu.Lock()
	c.spare.streams++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.spare.end()
		c.mu.Unlock()
	}()
	if err := c.start(ctx, m, x); err != nil {
		return err
	}
	var failed error
	var parts [][]byte
	for {
		c.mu.Lock()
		for _, p := range parts {
			c.spare.add(p)
		}
		clear(parts)
		ended, o := x.ended, x.outcome
		parts, x.parts, x.unread = x.parts, parts[:0], 0
		c.mu.Unlock()
		credit := 0
		for _, p := range parts {
			var part message
			if err := part.parse(p); err != nil && failed == nil {
				failed = err
			}
			if failed == nil {
				if failed = take(&part); failed != nil {
					failed = errors.Join(failed, c.send(&message{typ: typeCancel, id: m.id}))
				}
			}
			credit += len(p)
		}
		switch {
		case ended && failed != nil:
			return failed
		case ended:
			return o.err
		case credit > 0:
			if err := c.send(&message{typ: typeCredit, id: m.id, credit: uint64(credit)}); err != nil && failed == nil {
				failed = err
			}
		}
		select {
		case <-x.arrived:
		case <-ctx.Done():
			// The call stays until the vault answers; its parts are few, for it gets no more credit.
			return errors.Join(ctx.Err(), c.send(&message{typ: typeCancel, id: m.id}))
		}
	}
}

// Fence is Vault.Fence on the other node.
func (c *Client) Fence(ctx context.Context, r FenceRequest, take func(s *Seal) error) (LogState, error) {
	if err := checkSource(r.Source); err != nil {
		return LogState{}, err
	}
	var state LogState
	err := c.ask(ctx, &message{typ: typeFence, put: SealPut{Query: r.Query, Source: r.Source, Term: r.Term}}, func(m *message) error {
		if m.typ == typeFenced {
			state = m.state
			return nil
		}
		return take(&m.put.Seal)
	})
	return state, err
}

// Chain is Vault.Chain on the other node.
func (c *Client) Chain(ctx context.Context, r ChainRequest, take func(d *Delta) error) error {
	if r.Range.To > topology.MaxKeyGroups || r.Range.From >= r.Range.To || r.After < 0 || r.Through < r.After {
		return fmt.Errorf("%w: chain of key groups %v from epoch %d to %d", ErrMalformed, r.Range, r.After, r.Through)
	}
	return c.ask(ctx, &message{typ: typeChain, chain: r}, func(m *message) error { return take(&m.delta) })
}

// Acknowledged is Vault.Acknowledged on the other node.
func (c *Client) Acknowledged(ctx context.Context, id topology.QueryID, stage topology.StageID, r topology.Range, at topology.Epoch) ([]Held, error) {
	if r.From >= r.To || r.To > topology.MaxKeyGroups {
		return nil, fmt.Errorf("%w: key groups %v", ErrMalformed, r)
	}
	var all []Held
	err := c.ask(ctx, &message{typ: typeStatus, chain: ChainRequest{Query: id, Stage: stage, Range: r, Through: max(0, at)}}, func(m *message) error {
		all = m.held
		return nil
	})
	return all, err
}
