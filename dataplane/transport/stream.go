package transport

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Streams is a network of byte streams in memory between named hosts, with faults that can be set for each direction between two
// of them. It starts no goroutines and uses no sockets; made inside a testing/synctest bubble it runs on the bubble's clock.
type Streams struct {
	bufferBytes int

	mu        sync.Mutex
	listeners map[string]*streamListener
	numbered  int
	faults    map[direction]fault
	frozen    map[string]bool
	kills     map[string]int // how often a host was killed: Hosts made before are dead
	ends      []*streamEnd
	changed   chan struct{} // closed and replaced when faults change
}

type direction struct{ from, to string }

type fault struct {
	delay   time.Duration
	held    bool
	refused bool
}

// NewStreams makes a network without faults. A connection holds up to bufferBytes in each direction before its writer waits; 0
// is 256 KiB.
func NewStreams(bufferBytes int) *Streams {
	return &Streams{bufferBytes: Options{BufferBytes: bufferBytes}.orDefaults().BufferBytes, listeners: map[string]*streamListener{},
		faults: map[direction]fault{}, frozen: map[string]bool{}, kills: map[string]int{}, changed: make(chan struct{})}
}

// Host is the network as a process on the host of that name uses it, until Kill(name).
func (s *Streams) Host(name string) *Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Host{network: s, name: name, life: s.kills[name]}
}

// SetDelay makes bytes written from now on arrive d later. Connecting takes both directions' delays.
func (s *Streams) SetDelay(from, to string, d time.Duration) {
	s.setFault(from, to, func(f *fault) { f.delay = d })
}

// SetHeld starts or ends a one-way partition: as under TCP nothing is lost, but nothing arrives, the ends of connections
// included, and nobody can connect, until it is ended or the connection is given up.
func (s *Streams) SetHeld(from, to string, held bool) {
	s.setFault(from, to, func(f *fault) { f.held = held })
}

// SetRefused makes connecting from one host to another fail at once, as a firewall that rejects does. Open connections stay.
func (s *Streams) SetRefused(from, to string, refused bool) {
	s.setFault(from, to, func(f *fault) { f.refused = refused })
}

func (s *Streams) setFault(from, to string, set func(f *fault)) {
	s.change(func() {
		d := direction{from, to}
		f := s.faults[d]
		set(&f)
		s.faults[d] = f
	})
}

// SetFrozen stops or resumes a host: while frozen its bytes neither leave nor arrive, and nobody can connect to it. What it was
// sent before, or is sent meanwhile, arrives when it resumes.
func (s *Streams) SetFrozen(host string, frozen bool) {
	s.change(func() { s.frozen[host] = frozen })
}

// change makes a change of faults and applies all of them.
func (s *Streams) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	for _, e := range s.ends {
		out, in := s.fault(e.local, e.peer), s.fault(e.peer, e.local)
		e.out.change(func() { e.out.delay, e.out.held, e.out.unaware = out.delay, out.held, in.held })
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Streams) fault(from, to string) fault {
	f := s.faults[direction{from, to}]
	f.held = f.held || s.frozen[from] || s.frozen[to]
	return f
}

// Disconnect breaks every connection between a and b at once: both ends fail with ErrReset, and what was on its way is lost.
func (s *Streams) Disconnect(a, b string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.ends {
		if e.local == a && e.peer == b || e.local == b && e.peer == a {
			e.out.change(func() { e.out.writerErr, e.out.readerErr = ErrReset, ErrReset })
		}
	}
}

// Kill ends the process of a host: its listeners are gone, its connections fail with ErrReset at both ends, at the peer's as soon
// as the network lets it arrive, and dialing it is refused. Its Host and all that came from it can do nothing more; the next
// process of that name has a Host of its own.
func (s *Streams) Kill(host string) {
	var closing []*streamListener
	s.change(func() {
		s.kills[host]++
		for addr, l := range s.listeners {
			if l.host == host {
				closing = append(closing, l)
				delete(s.listeners, addr)
			}
		}
		for _, e := range s.ends {
			if e.local == host && !e.closed {
				e.out.kill()
				e.in.change(func() { e.in.readerErr, e.in.readerClosed = ErrReset, true })
			}
		}
	})
	for _, l := range closing {
		l.Close()
	}
}

// Open counts the connections of which an end is still open and the listeners.
func (s *Streams) Open() (conns, listeners int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ends) / 2, len(s.listeners)
}

// Host is the network as one process uses it: what it dials and what dials it are subject to the faults of its host.
type Host struct {
	network *Streams
	name    string
	life    int
}

func (h *Host) dead() bool { return h.network.kills[h.name] != h.life }

// Listen accepts connections at addr, "host:port". Without a host (or with 0.0.0.0) it is this one's name; without a port, or with
// port 0, one is chosen.
func (h *Host) Listen(addr string) (net.Listener, error) {
	s := h.network
	s.mu.Lock()
	defer s.mu.Unlock()
	if h.dead() {
		return nil, fmt.Errorf("transport: host %s was killed: %w", h.name, net.ErrClosed)
	}
	addr = h.complete(addr)
	if s.listeners[addr] != nil {
		return nil, fmt.Errorf("transport: address %s is in use", addr)
	}
	l := &streamListener{network: s, host: h.name, addr: addr, queue: make(chan net.Conn, 64), done: make(chan struct{})}
	s.listeners[addr] = l
	return l, nil
}

func (h *Host) complete(addr string) string {
	host, port := addr, ""
	if i := strings.LastIndexByte(addr, ':'); i >= 0 {
		host, port = addr[:i], addr[i+1:]
	}
	if host == "" || host == "0.0.0.0" || host == "[::]" {
		host = h.name
	}
	if port == "" || port == "0" {
		port = fmt.Sprint(h.number())
	}
	return host + ":" + port
}

func (h *Host) number() int {
	h.network.numbered++
	return h.network.numbered
}

// Dial connects to a listener. ctx bounds the connecting only.
func (h *Host) Dial(ctx context.Context, addr string) (net.Conn, error) {
	l, err := h.reach(ctx, addr)
	if err != nil {
		return nil, fmt.Errorf("transport: connecting from %s to %s: %w", h.name, addr, err)
	}
	mine, theirs := h.connect(l)
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
	return nil, fmt.Errorf("transport: connecting from %s to %s: %w", h.name, addr, ErrRefused)
}

// reach waits until a round trip to addr is possible, and for as long as it takes.
func (h *Host) reach(ctx context.Context, addr string) (*streamListener, error) {
	s := h.network
	waited := false
	for {
		s.mu.Lock()
		l, dead := s.listeners[addr], h.dead()
		to := ""
		if l != nil {
			to = l.host
		} else if i := strings.LastIndexByte(addr, ':'); i >= 0 {
			to = addr[:i] // the host refuses, if it can be reached
		}
		there, back := s.fault(h.name, to), s.fault(to, h.name)
		changed := s.changed
		s.mu.Unlock()
		trip, open := there.delay+back.delay, !there.held && !back.held
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case dead:
			return nil, ErrReset
		case open && (waited || trip == 0) && (l == nil || there.refused):
			return nil, ErrRefused
		case open && (waited || trip == 0):
			return l, nil
		}
		var arrived <-chan time.Time
		if open {
			timer := time.NewTimer(trip)
			defer timer.Stop()
			arrived = timer.C
		}
		select {
		case <-arrived:
			waited = true
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (h *Host) connect(l *streamListener) (mine, theirs *streamEnd) {
	s := h.network
	there, back := newPipe(s.bufferBytes), newPipe(s.bufferBytes)
	s.mu.Lock()
	defer s.mu.Unlock()
	f, g := s.fault(h.name, l.host), s.fault(l.host, h.name)
	there.delay, there.held, there.unaware = f.delay, f.held, g.held
	back.delay, back.held, back.unaware = g.delay, g.held, f.held
	addr := fmt.Sprintf("%s:%d", h.name, h.number())
	x := &streamEnd{network: s, local: h.name, peer: l.host, localAddr: addr, peerAddr: l.addr, in: back, out: there}
	y := &streamEnd{network: s, local: l.host, peer: h.name, localAddr: l.addr, peerAddr: addr, in: there, out: back, other: x}
	x.other = y
	s.ends = append(s.ends, x, y)
	return x, y
}

// streamAddr is an address of the network in memory.
type streamAddr string

func (a streamAddr) Network() string { return "memory" }
func (a streamAddr) String() string  { return string(a) }

// streamEnd is one end of a connection in memory.
type streamEnd struct {
	network             *Streams
	local, peer         string
	localAddr, peerAddr string
	in, out             *pipe
	other               *streamEnd
	closed              bool // under network.mu
}

func (e *streamEnd) Read(p []byte) (int, error)  { return e.in.Read(p) }
func (e *streamEnd) Write(p []byte) (int, error) { return e.out.Write(p) }
func (e *streamEnd) LocalAddr() net.Addr         { return streamAddr(e.localAddr) }
func (e *streamEnd) RemoteAddr() net.Addr        { return streamAddr(e.peerAddr) }

// CloseWrite ends what the peer reads; the other direction stays open.
func (e *streamEnd) CloseWrite() error {
	e.out.closeWriter()
	return nil
}

func (e *streamEnd) Close() error {
	e.network.forget(e)
	e.out.closeWriter()
	e.in.closeReader()
	return nil
}

func (e *streamEnd) SetReadDeadline(t time.Time) error {
	e.in.setDeadline(&e.in.readBy, t)
	return nil
}

func (e *streamEnd) SetWriteDeadline(t time.Time) error {
	e.out.setDeadline(&e.out.writeBy, t)
	return nil
}

func (e *streamEnd) SetDeadline(t time.Time) error {
	e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

// forget drops a connection when both ends are closed; before, faults still reach what the closed end wrote.
func (s *Streams) forget(e *streamEnd) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e.closed = true
	if e.other.closed {
		s.ends = slices.DeleteFunc(s.ends, func(x *streamEnd) bool { return x == e || x == e.other })
	}
}

type streamListener struct {
	network *Streams
	host    string
	addr    string
	queue   chan net.Conn
	done    chan struct{}
	mu      sync.Mutex
	closed  bool
}

func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *streamListener) Addr() net.Addr { return streamAddr(l.addr) }

func (l *streamListener) Close() error {
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
