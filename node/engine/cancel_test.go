package engine_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// counted does something at the n-th step of a transport, be it to listen, dial, accept, or send, and knows what is open.
type counted struct {
	left, open atomic.Int64
	at         func(conn transport.Conn) // conn is nil but at a Send
}

func (c *counted) step(conn transport.Conn) {
	if c.left.Add(-1) == 0 {
		c.at(conn)
	}
}

type countedTransport struct {
	transport.Transport
	*counted
}
type countedListener struct {
	transport.Listener
	*counted
}
type countedConn struct {
	transport.Conn
	*counted
	closed sync.Once // which a second Close waits for
}

func (t countedTransport) Listen(addr string) (transport.Listener, error) {
	t.step(nil)
	l, err := t.Transport.Listen(addr)
	return countedListener{l, t.counted}, err
}

func (t countedTransport) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	t.step(nil)
	c, err := t.Transport.Dial(ctx, addr)
	return t.count(c, err)
}

func (l countedListener) Accept() (transport.Conn, error) {
	l.step(nil)
	c, err := l.Listener.Accept()
	return l.count(c, err)
}

func (c *counted) count(conn transport.Conn, err error) (transport.Conn, error) {
	if err != nil {
		return conn, err
	}
	c.open.Add(1)
	return &countedConn{Conn: conn, counted: c}, nil
}

func (c *countedConn) Send(msg []byte) error {
	c.step(c.Conn)
	return c.Conn.Send(msg)
}

func (c *countedConn) Close() error {
	c.closed.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// runCounted runs a random query on several nodes and does at in its n-th step; done says that the query got so far.
func runCounted(t *testing.T, seed uint64, n int64, tcp bool, at func(transport.Conn, context.CancelCauseFunc)) (err error, done bool) {
	t.Helper()
	_, settings, sql := randomQuery(seed)
	c := newCatalog(t, burstsDefinition())
	registerCapture(t, c)
	p := c.compile(t, settings+sql, nil)
	r := rand.New(rand.NewPCG(seed, 9))
	o := variant{nodes: 3 + r.IntN(3), workers: 2, batchRows: 3, forkRows: 50, memory: true, tiny: r.IntN(3) == 0, uneven: 1 + r.Uint64()>>1}.options(c)
	ctx, stop := context.WithTimeoutCause(context.Background(), 10*time.Minute, errors.New("the query hangs"))
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	k := &counted{at: func(conn transport.Conn) { at(conn, cancel) }}
	k.left.Store(n)
	of := o.Transport
	if tcp {
		shared := transport.NewTCP(transport.Options{})
		of = func(topology.NodeID) transport.Transport { return shared }
	}
	o.Transport = func(id topology.NodeID) transport.Transport {
		if tcp {
			return countedTransport{loopback{of(id)}, k}
		}
		return countedTransport{of(id), k}
	}
	_, err = engine.Run(ctx, p, o)
	if open := k.open.Load(); open != 0 {
		t.Errorf("seed %d, step %d: %d connections are still open", seed, n, open)
	}
	return err, k.left.Load() <= 0
}

// loopback listens on a free port of this machine.
type loopback struct{ transport.Transport }

func (l loopback) Listen(string) (transport.Listener, error) {
	return l.Transport.Listen("127.0.0.1:0")
}

// steps are moments from the first steps of nodes that join to late in a query.
func steps(t *testing.T, claim func(seed uint64, n int64, tcp bool)) {
	for i := range uint64(rounds(t, 40, 12)) {
		n := int64(i) + 1 // while joining
		if i%2 == 1 {
			n = int64(rand.New(rand.NewPCG(i, 10)).IntN(300)) + 20
		}
		claim(plannable[i%uint64(len(plannable))], n, i%4 == 3)
	}
}

// plannable are seeds of random queries that are not refused.
var plannable = []uint64{0, 1, 2, 3, 4, 5, 6, 7}

// TestCancelAtAnyMomentEndsCleanly: the error is what was given to cancel and nothing is left open; no goroutine is left either, by goleak.
func TestCancelAtAnyMomentEndsCleanly(t *testing.T) {
	stop, stopped := errors.New("stop"), 0
	steps(t, func(seed uint64, n int64, tcp bool) {
		err, done := runCounted(t, seed, n, tcp, func(_ transport.Conn, cancel context.CancelCauseFunc) { cancel(stop) })
		if err != nil && !errors.Is(err, stop) || !done && err != nil {
			t.Errorf("seed %d, step %d: %v", seed, n, err)
		}
		if err != nil {
			stopped++
		}
	})
	if stopped == 0 {
		t.Error("no query was stopped")
	}
}

// TestConnectionThatBreaksAtAnyMomentEndsTheQuery: rows may be lost then, so it must not look as if it had finished, nor hang.
func TestConnectionThatBreaksAtAnyMomentEndsTheQuery(t *testing.T) {
	failed := 0
	steps(t, func(seed uint64, n int64, tcp bool) {
		var broken atomic.Bool
		err, _ := runCounted(t, seed, n, tcp, func(conn transport.Conn, _ context.CancelCauseFunc) {
			if conn != nil {
				broken.Store(true)
				conn.Close()
			}
		})
		switch {
		case err != nil && !broken.Load():
			t.Errorf("seed %d, step %d: %v without a broken connection", seed, n, err)
		case err != nil && strings.Contains(err.Error(), "hangs"):
			t.Errorf("seed %d, step %d: %v", seed, n, err)
		case err != nil:
			failed++
		}
	})
	if failed == 0 {
		t.Error("no query failed")
	}
}

// lateFailure dials, and then says that it has not.
type lateFailure struct {
	transport.Transport
	*counted
}

func (l lateFailure) Dial(ctx context.Context, addr string) (transport.Conn, error) {
	c, err := l.Transport.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(errors.New("too late"), c.Close())
}

func (l lateFailure) Listen(addr string) (transport.Listener, error) {
	listener, err := l.Transport.Listen(addr)
	return countedListener{listener, l.counted}, err
}

func TestConnectionAcceptedFromANodeThatFailedToDialIsClosed(t *testing.T) {
	c := newCatalog(t)
	registerCapture(t, c)
	registerFixed(t, c, "fixed", &fixed{})
	o := plainVariant.options(c)
	o.Nodes = 2
	of, k := o.Transport, &counted{}
	o.Transport = func(id topology.NodeID) transport.Transport { return lateFailure{of(id), k} }
	_, err := engine.Run(context.Background(), c.compile(t, "SET 'seal'='rows:1';"+copySQL, nil), o)
	if err == nil || !strings.Contains(err.Error(), "too late") {
		t.Errorf("error %v", err)
	}
	if open := k.open.Load(); open != 0 {
		t.Errorf("%d connections are still open", open)
	}
}

// failingSource fails at one of the things it is asked for.
type failingSource struct {
	fixed
	at string
}

func (f *failingSource) Discover(ctx context.Context) ([]connector.Split, error) {
	if f.at == "discover" {
		return nil, errors.New("no list of splits")
	}
	return f.fixed.Discover(ctx)
}

func (f *failingSource) Open(ctx context.Context, s connector.Split, offset int64) (connector.Reader, error) {
	switch f.at {
	case "open":
		return nil, errors.New("no such split")
	case "panic":
		panic("out of bounds")
	}
	return f.fixed.Open(ctx, s, offset)
}

func TestSourceThatFailsOrPanicsFailsTheQueryWithItsReason(t *testing.T) {
	for at, want := range map[string]string{"discover": "no list of splits", "open": "no such split", "panic": "out of bounds", "never": ""} {
		c := newCatalog(t)
		got := registerCapture(t, c)
		registerFixed(t, c, "fixed", &failingSource{fixed{ids: []string{"a", "b"}, rows: map[string][]int64{"a": {1}, "b": {2}}}, at})
		o := variant{nodes: 2, workers: 1, batchRows: 100, forkRows: 1 << 40, memory: true}.options(c)
		_, err := engine.Run(context.Background(), c.compile(t, "SET 'seal'='rows:1';"+copySQL, nil), o)
		if want == "" && (err != nil || len(got.rows["out"]) != 2) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: error %v, want %q", at, err, want)
		}
	}
}
