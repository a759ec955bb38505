package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wire joins members in memory: one listener for each address and purpose.
type wire struct {
	mu   sync.Mutex
	open map[string]*wireListener
}

type wireListener struct {
	of    *wire
	name  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (w *wire) listen(name string) *wireListener {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := &wireListener{of: w, name: name, conns: make(chan net.Conn), done: make(chan struct{})}
	w.open[name] = l
	return l
}

func (w *wire) dial(ctx context.Context, name string) (net.Conn, error) {
	w.mu.Lock()
	l := w.open[name]
	w.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("nobody listens at %s", name)
	}
	near, far := net.Pipe()
	select {
	case l.conns <- far:
		return near, nil
	case <-l.done:
	case <-ctx.Done():
	}
	return nil, errors.Join(fmt.Errorf("nobody accepts at %s", name), near.Close(), far.Close())
}

func (l *wireListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *wireListener) Close() error {
	l.once.Do(func() {
		l.of.mu.Lock()
		if l.of.open[l.name] == l {
			delete(l.of.open, l.name)
		}
		l.of.mu.Unlock()
		close(l.done)
	})
	return nil
}

func (l *wireListener) Addr() net.Addr { return wireAddr(l.name) }

type wireAddr string

func (a wireAddr) Network() string { return "wire" }
func (a wireAddr) String() string  { return string(a) }

// cluster is members in one process; gossip is perfect.
type cluster struct {
	t *testing.T
	w *wire

	mu    sync.Mutex
	nodes map[topology.NodeID]*node // what gossip knows
	all   []*node                   // to be closed
}

// node is one member with what it serves.
type node struct {
	*Member
	config Config
	stores *raftfsm.Stores
	server *http.Server
	stop   context.CancelFunc
	done   sync.WaitGroup
	ended  chan struct{} // closed when Run has ended, with err
	err    error
}

func newCluster(t *testing.T) *cluster {
	return &cluster{t: t, w: &wire{open: map[string]*wireListener{}}, nodes: map[topology.NodeID]*node{}}
}

func (c *cluster) others(self topology.NodeID) []Candidate {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Candidate
	for id, n := range c.nodes {
		if id != self {
			list = append(list, Candidate{id, n.config.Node.Addresses.Data, n.Machine().View().Cluster.ID, n.config.Expect})
		}
	}
	return list
}

// start runs a member on stores; tune may change its configuration.
func (c *cluster) start(name string, boot topology.BootID, stores *raftfsm.Stores, tune func(*Config)) *node {
	c.t.Helper()
	id := topology.NodeID(name)
	rc := raftfsm.DefaultConfig()
	rc.Stores = stores
	config := Config{
		Node:        raftfsm.Node{ID: id, Boot: boot, Addresses: raftfsm.Addresses{Data: name}, Fingerprint: "test"},
		Raft:        rc,
		Others:      func() []Candidate { return c.others(id) },
		DialRaft:    func(ctx context.Context, a string) (net.Conn, error) { return c.w.dial(ctx, "raft "+a) },
		DialControl: func(ctx context.Context, a string) (net.Conn, error) { return c.w.dial(ctx, "control "+host(a)) },
		Logger:      slog.New(slog.DiscardHandler), Now: time.Now,
		Chance: func() (uint64, error) { return 42, nil },
	}
	if tune != nil {
		tune(&config)
	}
	config.Incoming = c.w.listen("raft " + config.Node.Addresses.Data)
	m, err := Open(config)
	if err != nil {
		c.t.Fatal(err)
	}
	n := &node{Member: m, config: config, stores: stores, ended: make(chan struct{})}
	mux := http.NewServeMux()
	m.Handle(mux)
	n.server = &http.Server{Handler: mux}
	n.done.Go(func() { n.server.Serve(c.w.listen("control " + config.Node.Addresses.Data)) }) //nolint:errcheck // ends with Close
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	c.mu.Lock()
	c.nodes[id] = n
	c.all = append(c.all, n)
	c.mu.Unlock()
	n.done.Go(func() {
		defer close(n.ended)
		n.err = m.Run(ctx)
	})
	return n
}

// host is the address without the port that the HTTP library adds.
func host(address string) string {
	if h, _, err := net.SplitHostPort(address); err == nil {
		return h
	}
	return address
}

func (c *cluster) kill(n *node) {
	c.t.Helper()
	c.mu.Lock()
	if c.nodes[n.config.Node.ID] == n {
		delete(c.nodes, n.config.Node.ID)
	}
	c.mu.Unlock()
	n.stop()
	if err := errors.Join(n.server.Close(), n.Close()); err != nil {
		c.t.Error(err)
	}
	n.done.Wait()
}

func (c *cluster) close() {
	for _, n := range c.all {
		c.kill(n)
	}
}

// joined waits until a member may act.
func (c *cluster) joined(n *node) *raftfsm.State {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	s, err := n.Joined(ctx)
	if err != nil {
		c.t.Fatalf("%s did not join in a minute: %v; raft %+v", n.config.Node.ID, err, n.Group().Status())
	}
	return s
}

func (c *cluster) leader() *node {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		for _, n := range c.nodes {
			if _, ok := n.Group().Leads(); ok {
				c.mu.Unlock()
				return n
			}
		}
		c.mu.Unlock()
	}
	c.t.Fatal("no leader for a minute")
	return nil
}
