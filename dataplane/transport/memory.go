package transport

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Memory is a network in memory between named nodes, with faults that can be set for each direction between two of them. It
// starts no goroutines and uses no sockets; made inside a testing/synctest bubble it runs on the bubble's clock.
type Memory struct {
	options Options

	mu        sync.Mutex
	listeners map[string]*memoryListener
	numbered  int
	faults    map[direction]fault
	ends      []*memoryEnd
	changed   chan struct{} // closed and replaced when faults change
}

type direction struct{ from, to string }

type fault struct {
	delay time.Duration
	held  bool
}

// NewMemory makes a network without faults.
func NewMemory(o Options) *Memory {
	return &Memory{options: o.orDefaults(), listeners: map[string]*memoryListener{}, faults: map[direction]fault{}, changed: make(chan struct{})}
}

// Node is the network as the node of that name uses it: what it dials and what dials it are subject to that node's faults.
func (m *Memory) Node(name string) Transport { return &memoryNode{m, name} }

// SetDelay makes bytes written from now on arrive d later. Connecting takes both directions' delays.
func (m *Memory) SetDelay(from, to string, d time.Duration) {
	m.setFault(from, to, func(f *fault) { f.delay = d })
}

// SetHeld starts or ends a one-way partition: as under TCP nothing is lost, but nothing arrives, the ends of connections
// included, and nobody can connect, until it is ended or the connection is given up.
func (m *Memory) SetHeld(from, to string, held bool) {
	m.setFault(from, to, func(f *fault) { f.held = held })
}

func (m *Memory) setFault(from, to string, set func(f *fault)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := direction{from, to}
	f := m.faults[d]
	set(&f)
	m.faults[d] = f
	for _, e := range m.ends {
		if e.local == from && e.peer == to {
			e.out.change(func() { e.out.delay, e.out.held = f.delay, f.held })
			e.in.change(func() { e.in.unaware = f.held })
		}
	}
	close(m.changed)
	m.changed = make(chan struct{})
}

// Disconnect breaks every connection between a and b at once: both ends fail with ErrReset, and what was on its way is lost.
func (m *Memory) Disconnect(a, b string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.ends {
		if e.local == a && e.peer == b || e.local == b && e.peer == a {
			e.out.change(func() { e.out.broken = ErrReset })
		}
	}
}

// memoryEnd is one end of a connection in memory.
type memoryEnd struct {
	network     *Memory
	local, peer string
	in, out     *pipe
	other       *memoryEnd
	closed      bool // under network.mu
}

func (e *memoryEnd) Read(p []byte) (int, error)  { return e.in.Read(p) }
func (e *memoryEnd) Write(p []byte) (int, error) { return e.out.Write(p) }

func (e *memoryEnd) Close() error {
	e.network.forget(e)
	e.out.closeWriter()
	e.in.closeReader()
	return nil
}

// forget drops a connection when both ends are closed; before, faults still reach what the closed end wrote.
func (m *Memory) forget(e *memoryEnd) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e.closed = true
	if e.other.closed {
		m.ends = slices.DeleteFunc(m.ends, func(x *memoryEnd) bool { return x == e || x == e.other })
	}
}

type memoryNode struct {
	network *Memory
	name    string
}

func (n *memoryNode) Listen(addr string) (Listener, error) {
	m := n.network
	m.mu.Lock()
	defer m.mu.Unlock()
	if addr == "" {
		m.numbered++
		addr = fmt.Sprintf("%s:%d", n.name, m.numbered)
	}
	if m.listeners[addr] != nil {
		return nil, fmt.Errorf("transport: address %s is in use", addr)
	}
	l := &memoryListener{network: m, node: n.name, addr: addr, queue: make(chan Conn, 64), done: make(chan struct{})}
	m.listeners[addr] = l
	return l, nil
}

func (n *memoryNode) Dial(ctx context.Context, addr string) (Conn, error) {
	l, err := n.reach(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("transport: connecting from %s to %s: %w", n.name, addr, err)
	}
	mine, theirs := n.network.connect(n.name, l.node)
	// The listener's lock makes sure that its Close finds the connection in the queue or this finds the listener closed.
	l.mu.Lock()
	if !l.closed {
		select {
		case l.queue <- theirs:
			l.mu.Unlock()
			return mine, nil
		default:
		}
	}
	l.mu.Unlock()
	mine.Close()
	theirs.Close()
	return nil, fmt.Errorf("transport: connecting from %s to %s: %w", n.name, addr, ErrRefused)
}

// reach waits until a round trip to addr is possible, and for as long as it takes.
func (n *memoryNode) reach(ctx context.Context, addr string) (*memoryListener, error) {
	m := n.network
	waited := false
	for {
		m.mu.Lock()
		l := m.listeners[addr]
		if l == nil {
			m.mu.Unlock()
			return nil, ErrRefused
		}
		there, back := m.faults[direction{n.name, l.node}], m.faults[direction{l.node, n.name}]
		changed := m.changed
		m.mu.Unlock()
		trip := there.delay + back.delay
		if !there.held && !back.held && (waited || trip == 0) {
			return l, ctx.Err()
		}
		var arrived <-chan time.Time
		if !there.held && !back.held {
			timer := time.NewTimer(trip)
			defer timer.Stop()
			arrived = timer.C
		}
		select {
		case <-arrived:
			waited = true
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (m *Memory) connect(a, b string) (Conn, Conn) {
	there, back := newPipe(m.options.BufferBytes), newPipe(m.options.BufferBytes)
	m.mu.Lock()
	defer m.mu.Unlock()
	f, g := m.faults[direction{a, b}], m.faults[direction{b, a}]
	there.delay, there.held, there.unaware = f.delay, f.held, g.held
	back.delay, back.held, back.unaware = g.delay, g.held, f.held
	x := &memoryEnd{network: m, local: a, peer: b, in: back, out: there}
	y := &memoryEnd{network: m, local: b, peer: a, in: there, out: back, other: x}
	x.other = y
	m.ends = append(m.ends, x, y)
	return newConn(x, b, m.options), newConn(y, a, m.options)
}

type memoryListener struct {
	network *Memory
	node    string
	addr    string
	queue   chan Conn
	done    chan struct{}
	mu      sync.Mutex
	closed  bool
}

func (l *memoryListener) Accept() (Conn, error) {
	select {
	case <-l.done:
		return nil, ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, ErrClosed
	}
}

func (l *memoryListener) Addr() string { return l.addr }

func (l *memoryListener) Close() error {
	l.network.mu.Lock()
	if l.network.listeners[l.addr] == l {
		delete(l.network.listeners, l.addr)
	}
	l.network.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case c := <-l.queue:
			c.Close()
		default:
			return nil
		}
	}
}
