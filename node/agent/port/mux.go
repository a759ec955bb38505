package port

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// HandshakeTimeout cuts connections that do not say, or do not hear, who they are in time.
	HandshakeTimeout = 5 * time.Second

	halfOpenMax        = 512 // connections that have not finished the preface
	halfOpenPerHostMax = 128
	acceptQueue        = 64
	loggedMax          = 1024 // addresses whose refusal is remembered as logged
	drainBytesMax      = 64 << 10
)

// Config says what a Mux listens on and answers.
type Config struct {
	// Listener is the data port's. It is the Mux's from then on.
	Listener net.Listener
	// Network dials other data ports.
	Network Network
	// Cluster is the cluster's id, 0 while it is not known.
	Cluster uint64
	// HTTP is where the HTTP API listens, for those who mistake this port for it; may be empty.
	HTTP   string
	Logger *slog.Logger
}

// Mux is a data port: it hands connections that come in to the listener of their kind, and makes such connections.
type Mux struct {
	config  Config
	cluster atomic.Uint64
	done    chan struct{}
	wg      sync.WaitGroup

	mu        sync.Mutex
	listeners map[Kind]*kindListener
	half      map[net.Conn]string // connections in their preface, and their hosts
	perHost   map[string]int
	logged    map[string]bool
	closed    bool
}

// NewMux serves a data port until Close. Connections of a kind are refused until its Listen.
func NewMux(c Config) *Mux {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mux{config: c, done: make(chan struct{}), listeners: map[Kind]*kindListener{}, half: map[net.Conn]string{}, perHost: map[string]int{},
		logged: map[string]bool{}}
	m.cluster.Store(c.Cluster)
	m.wg.Go(m.accept)
	return m
}

// SetCluster sets the cluster's id once it is known. Connections that are open stay.
func (m *Mux) SetCluster(id uint64) { m.cluster.Store(id) }

// Addr is the address that is listened on.
func (m *Mux) Addr() net.Addr { return m.config.Listener.Addr() }

// Listen takes the connections of a kind. One listener at a time; when it is closed they are refused again.
func (m *Mux) Listen(k Kind) (net.Listener, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, net.ErrClosed
	case !k.known():
		return nil, fmt.Errorf("port: unknown %v", k)
	case m.listeners[k] != nil:
		return nil, fmt.Errorf("port: %v connections are taken already", k)
	}
	l := &kindListener{mux: m, kind: k, queue: make(chan net.Conn, acceptQueue), done: make(chan struct{})}
	m.listeners[k] = l
	return l, nil
}

// Close ends the port and its listeners and waits for what it started. Connections that were accepted or dialed stay open. Closing
// twice is fine.
func (m *Mux) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		m.wg.Wait()
		return nil
	}
	m.closed = true
	close(m.done)
	var listeners []*kindListener
	for _, k := range kinds {
		if l := m.listeners[k]; l != nil {
			listeners = append(listeners, l)
		}
	}
	for c := range m.half {
		c.Close()
	}
	m.mu.Unlock()
	err := m.config.Listener.Close()
	for _, l := range listeners {
		l.Close()
	}
	m.wg.Wait()
	return err
}

func (m *Mux) accept() {
	pause := time.Duration(0)
	for {
		c, err := m.config.Listener.Accept()
		switch {
		case err == nil:
			pause = 0
			if m.admit(c) {
				m.wg.Go(func() { m.greet(c) })
			}
			continue
		case m.isClosed():
			return
		case errors.Is(err, net.ErrClosed):
			m.config.Logger.Error("the data port was closed from outside: no peer can connect to this node", "address", m.Addr().String())
			return
		}
		// Out of file descriptors, most likely: that passes.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		if pause > 500*time.Millisecond {
			m.config.Logger.Error("no connection can be accepted on the data port", "address", m.Addr().String(), "error", err)
		}
		select {
		case <-time.After(pause):
		case <-m.done:
			return
		}
	}
}

func (m *Mux) isClosed() bool {
	select {
	case <-m.done:
		return true
	default:
		return false
	}
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// admit counts a connection as half open, or closes it.
func (m *Mux) admit(c net.Conn) bool {
	host := hostOf(c.RemoteAddr())
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(m.half) >= halfOpenMax || m.perHost[host] >= halfOpenPerHostMax {
		c.Close()
		if !m.closed {
			m.logOnce("half-open "+host, slog.LevelWarn, "too many connections to the data port that do not say what they are: closing new ones", "from", host)
		}
		return false
	}
	m.half[c] = host
	m.perHost[host]++
	return true
}

func (m *Mux) settle(c net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	host := m.half[c]
	delete(m.half, c)
	if m.perHost[host]--; m.perHost[host] == 0 {
		delete(m.perHost, host)
	}
}

// logOnce logs what repeats with every attempt the first time. It is called with the lock held.
func (m *Mux) logOnce(key string, level slog.Level, text string, args ...any) {
	if m.logged[key] {
		return
	}
	if len(m.logged) >= loggedMax {
		clear(m.logged)
	}
	m.logged[key] = true
	m.config.Logger.Log(context.Background(), level, text, args...)
}

// greet reads the preface of a connection, answers it, and hands it over or closes it.
func (m *Mux) greet(c net.Conn) {
	defer m.settle(c)
	// A deadline that cannot be set is of a connection that is gone: reading says so.
	_ = c.SetDeadline(time.Now().Add(HandshakeTimeout))
	p, err := readPreface(c)
	from := c.RemoteAddr().String()
	var other *stranger
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &other):
		m.answerStranger(c, other)
		return
	case errors.As(err, &plain) && plain.Conn != nil:
		m.answerPlain(plain.Conn, plain.RecordHeader[0], plain.RecordHeader[1])
		return
	case errors.Is(explainTLS(err), errTLS):
		m.mu.Lock()
		m.logOnce("TLS "+hostOf(c.RemoteAddr()), slog.LevelWarn, "refused a connection to the data port", "from", from, "error", explainTLS(err))
		m.mu.Unlock()
		c.Close()
		return
	case err != nil:
		// Scanners and health checks connect and say nothing: not worth a line for each.
		if !errors.Is(err, io.EOF) && !m.isClosed() {
			m.config.Logger.Debug("connection to the data port did not say what it is", "from", from, "error", err)
		}
		c.Close()
		return
	}
	l, code, text := m.judge(p, c.RemoteAddr())
	if code != accepted {
		m.refuse(c, appendRefusal(nil, code, text))
		return
	}
	if _, err := c.Write([]byte{accepted}); err != nil {
		c.Close()
		return
	}
	_ = c.SetDeadline(time.Time{})
	l.hand(p.kind.serve(c))
}

// judge gives the listener for a preface, or the answer that refuses it.
func (m *Mux) judge(p preface, remote net.Addr) (l *kindListener, code byte, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	own, host, from := m.cluster.Load(), hostOf(remote), remote.String()
	switch {
	case p.version != Version:
		m.logOnce(fmt.Sprintf("version %d %s", p.version, host), slog.LevelWarn, "refused a connection of another protocol version: run the same release of seepnode on all nodes",
			"from", from, "their_version", p.version, "our_version", Version)
		return nil, refused, fmt.Sprintf("the data port at %s speaks protocol version %d, not %d: run the same release of seepnode on all nodes", m.Addr(), Version, p.version)
	case own != 0 && p.cluster != 0 && own != p.cluster:
		m.logOnce(fmt.Sprintf("cluster %x %s", p.cluster, host), slog.LevelWarn, "refused a connection of another cluster: a node there has this one's address in --join or in its data directory",
			"from", from, "their_cluster", ClusterName(p.cluster), "our_cluster", ClusterName(own))
		return nil, refused, fmt.Sprintf("the node at %s belongs to cluster %s, not %s: check --join, or give the node that is to change clusters an empty --data-dir",
			m.Addr(), ClusterName(own), ClusterName(p.cluster))
	}
	if l = m.listeners[p.kind]; l == nil || m.closed {
		return nil, refusedForNow, fmt.Sprintf("the node at %s does not take %v connections (yet, or any more)", m.Addr(), p.kind)
	}
	return l, accepted, ""
}

// ClusterName is a cluster's id as people read it.
func ClusterName(id uint64) string { return fmt.Sprintf("%016x", id) }

// answerStranger tells something that is not a node where it has come to.
func (m *Mux) answerStranger(c net.Conn, s *stranger) {
	m.mu.Lock()
	m.logOnce("stranger "+hostOf(c.RemoteAddr()), slog.LevelInfo, "the data port got "+s.what, "from", c.RemoteAddr().String())
	m.mu.Unlock()
	text := "this is seepnode's data port"
	if m.config.HTTP != "" {
		text += "; the HTTP API is on " + m.config.HTTP
	}
	text += "\n"
	if s.http {
		text = fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(text), text)
	}
	m.refuse(c, []byte(text))
}

// answerPlain tells what does not speak TLS that this data port does.
func (m *Mux) answerPlain(c net.Conn, first, second byte) {
	if !Kind(first).known() || second != Version {
		m.answerStranger(c, &stranger{fmt.Sprintf("something that does not speak TLS (first bytes %q)", []byte{first, second}), isHTTP(first, second)})
		return
	}
	m.mu.Lock()
	m.logOnce("plain "+hostOf(c.RemoteAddr()), slog.LevelWarn, "refused a node that does not speak TLS: "+errTLS.Error(), "from", c.RemoteAddr().String())
	m.mu.Unlock()
	m.refuse(c, appendRefusal(nil, refused, fmt.Sprintf("the data port at %s speaks TLS: %v", m.Addr(), errTLS)))
}

// refuse sends a last answer. Closing with unread bytes would reset the connection before the answer is read, so they are read.
func (m *Mux) refuse(c net.Conn, answer []byte) {
	defer c.Close()
	if _, err := c.Write(answer); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	io.CopyN(io.Discard, c, drainBytesMax)
}

// kindListener is a net.Listener of the connections of one kind.
type kindListener struct {
	mux   *Mux
	kind  Kind
	queue chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// hand waits while the queue is full, for as long as a handshake may take: its connection counts as half open.
func (l *kindListener) hand(c net.Conn) {
	timeout := time.NewTimer(HandshakeTimeout)
	defer timeout.Stop()
	select {
	case <-l.done:
		c.Close()
		return
	default:
	}
	select {
	case l.queue <- c:
		// Close may have emptied the queue before.
		select {
		case <-l.done:
			l.drop()
		default:
		}
	case <-l.done:
		c.Close()
	case <-l.mux.done:
		c.Close()
	case <-timeout.C:
		c.Close()
		l.mux.config.Logger.Warn("connections wait too long to be taken: closing new ones", "kind", l.kind.String())
	}
}

func (l *kindListener) drop() {
	for {
		select {
		case c := <-l.queue:
			c.Close()
		default:
			return
		}
	}
}

func (l *kindListener) Accept() (net.Conn, error) {
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

func (l *kindListener) Addr() net.Addr { return l.mux.Addr() }

func (l *kindListener) Close() error {
	l.once.Do(func() {
		l.mux.mu.Lock()
		if l.mux.listeners[l.kind] == l {
			delete(l.mux.listeners, l.kind)
		}
		l.mux.mu.Unlock()
		close(l.done)
		l.drop()
	})
	return nil
}

// RefusedError is a data port's refusal: of a foreign cluster, another version, a kind of connection that it does not take.
type RefusedError struct {
	Kind   Kind
	Addr   string
	Text   string // the other side's
	ForNow bool   // trying again may help
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v connection to %s was refused: %s", e.Kind, e.Addr, e.Text)
}

// Dial connects to the data port at addr for a kind of connection, as a node of this cluster. ctx and HandshakeTimeout bound it.
// Errors: *RefusedError; Refused says whether nobody listens there.
func (m *Mux) Dial(ctx context.Context, k Kind, addr string) (net.Conn, error) {
	c, err := Dial(ctx, m.config.Network, k, addr, m.cluster.Load())
	var refusal *RefusedError
	if errors.As(err, &refusal) && !refusal.ForNow || errors.Is(err, errNotOurs) || errors.Is(err, errTLS) {
		m.mu.Lock()
		m.logOnce("dial "+addr+" "+err.Error(), slog.LevelWarn, "cannot connect", "to", addr, "error", err)
		m.mu.Unlock()
	}
	return c, err
}

// Dial is Mux.Dial for those without a data port; cluster is 0 when it is not known.
func Dial(ctx context.Context, n Network, k Kind, addr string, cluster uint64) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, HandshakeTimeout)
	defer cancel()
	c, err := n.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	code, text, err := introduce(c, preface{k, Version, cluster})
	if !stop() && err == nil {
		err = os.ErrDeadlineExceeded // the deadline of the past may be set after this
	}
	switch {
	case err == nil && code == accepted:
		return k.serve(c), nil
	case err == nil:
		err = &RefusedError{k, addr, text, code == refusedForNow}
	case ctx.Err() != nil:
		err = fmt.Errorf("port: %v connection to %s: no answer: %w", k, addr, ctx.Err())
	case errors.Is(err, io.EOF):
		err = fmt.Errorf("port: %v connection to %s: closed without an answer: %w", k, addr, io.ErrUnexpectedEOF)
	default:
		err = fmt.Errorf("port: %v connection to %s: %w", k, addr, explainTLS(err))
	}
	c.Close()
	return nil, err
}

func introduce(c net.Conn, p preface) (code byte, text string, err error) {
	if _, err := c.Write(p.append(nil)); err != nil {
		return 0, "", err
	}
	return readAnswer(c)
}
