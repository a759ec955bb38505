package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// network joins the Raft transports of a cluster in memory. Faults are set for each direction of each pair.
type network struct {
	mu      sync.Mutex
	members map[topology.NodeID]*faultyTransport
	cut     map[[2]topology.NodeID]bool // nothing of the first arrives at the second, answers included
}

func newNetwork() *network {
	return &network{members: map[topology.NodeID]*faultyTransport{}, cut: map[[2]topology.NodeID]bool{}}
}

var errCut = errors.New("cut off")

// faultyTransport is one node's end. Requests go one way and their answers the other.
type faultyTransport struct {
	*raft.InmemTransport
	self topology.NodeID
	net  *network
}

func (n *network) transport(id topology.NodeID) *faultyTransport {
	_, t := raft.NewInmemTransportWithTimeout(raft.ServerAddress(id), 200*time.Millisecond)
	f := &faultyTransport{t, id, n}
	n.mu.Lock()
	defer n.mu.Unlock()
	for other, o := range n.members {
		o.Connect(raft.ServerAddress(id), t)
		t.Connect(raft.ServerAddress(other), o.InmemTransport)
	}
	t.Connect(raft.ServerAddress(id), t)
	n.members[id] = f
	return f
}

// setCut makes what from sends to the others vanish, or no longer.
func (n *network) setCut(from topology.NodeID, to []topology.NodeID, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, id := range to {
		n.cut[[2]topology.NodeID{from, id}] = cut
	}
}

func (n *network) isCut(from, to topology.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut[[2]topology.NodeID{from, to}]
}

func (f *faultyTransport) call(to raft.ServerAddress, request func() error) error {
	peer := topology.NodeID(to)
	if f.net.isCut(f.self, peer) {
		time.Sleep(20 * time.Millisecond)
		return errCut
	}
	err := request()
	if f.net.isCut(peer, f.self) {
		time.Sleep(20 * time.Millisecond)
		return errCut
	}
	return err
}

func (f *faultyTransport) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (f *faultyTransport) AppendEntries(id raft.ServerID, to raft.ServerAddress, a *raft.AppendEntriesRequest, r *raft.AppendEntriesResponse) error {
	return f.call(to, func() error { return f.InmemTransport.AppendEntries(id, to, a, r) })
}

func (f *faultyTransport) RequestVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestVoteRequest, r *raft.RequestVoteResponse) error {
	return f.call(to, func() error { return f.InmemTransport.RequestVote(id, to, a, r) })
}

func (f *faultyTransport) RequestPreVote(id raft.ServerID, to raft.ServerAddress, a *raft.RequestPreVoteRequest, r *raft.RequestPreVoteResponse) error {
	return f.call(to, func() error { return f.InmemTransport.RequestPreVote(id, to, a, r) })
}

func (f *faultyTransport) InstallSnapshot(id raft.ServerID, to raft.ServerAddress, a *raft.InstallSnapshotRequest, r *raft.InstallSnapshotResponse, data io.Reader) error {
	return f.call(to, func() error { return f.InmemTransport.InstallSnapshot(id, to, a, r, data) })
}

func (f *faultyTransport) TimeoutNow(id raft.ServerID, to raft.ServerAddress, a *raft.TimeoutNowRequest, r *raft.TimeoutNowResponse) error {
	return f.call(to, func() error { return f.InmemTransport.TimeoutNow(id, to, a, r) })
}

// cluster is a group of nodes in one process.
type cluster struct {
	t   testing.TB
	net *network
	ids []topology.NodeID

	mu     sync.Mutex
	groups map[topology.NodeID]*Group
	stores map[topology.NodeID]*Stores // nil: on disk
	dir    string
	tune   func(*Config)
	terms  []string // "node term" of every leader loop that ran
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// newCluster starts nodes n1 to n<n>, all voters; dir "" keeps them in memory.
func newCluster(t testing.TB, n int, dir string, tune func(*Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, net: newNetwork(), groups: map[topology.NodeID]*Group{}, stores: map[topology.NodeID]*Stores{}, dir: dir, tune: tune}
	var servers []Server
	for i := 1; i <= n; i++ {
		id := process(i).Node
		c.ids = append(c.ids, id)
		servers = append(servers, Server{id, string(id), true})
	}
	for _, id := range c.ids {
		if founded, err := c.start(id).Bootstrap(servers); err != nil || !founded {
			t.Fatalf("%s: founded %v, %v", id, founded, err)
		}
	}
	return c
}

// start opens a node on what its stores hold.
func (c *cluster) start(id topology.NodeID) *Group {
	c.t.Helper()
	config := DefaultConfig()
	config.Node = id
	if c.dir != "" {
		config.Dir = c.dir + "/" + string(id)
	} else {
		c.mu.Lock()
		if c.stores[id] == nil {
			c.stores[id] = MemoryStores()
		}
		config.Stores = c.stores[id]
		c.mu.Unlock()
	}
	if c.tune != nil {
		c.tune(&config)
	}
	loop := func(ctx context.Context, term uint64) {
		c.mu.Lock()
		c.terms = append(c.terms, fmt.Sprintf("%s %d", id, term))
		c.mu.Unlock()
		<-ctx.Done()
	}
	g, err := Open(config, NewMachine(), c.net.transport(id), loop, quiet())
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.groups[id] = g
	return g
}

// cutOff isolates a node, both ways, or ends it.
func (c *cluster) cutOff(id topology.NodeID, cut bool) {
	for _, other := range c.ids {
		if other != id {
			c.net.setCut(id, []topology.NodeID{other}, cut)
			c.net.setCut(other, []topology.NodeID{id}, cut)
		}
	}
}

// kill takes a node from the others first, so that it says nothing more to them, and ends it.
func (c *cluster) kill(id topology.NodeID) {
	c.t.Helper()
	c.cutOff(id, true)
	c.mu.Lock()
	g := c.groups[id]
	delete(c.groups, id)
	c.mu.Unlock()
	if err := g.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// restart starts a killed node with what it had written.
func (c *cluster) restart(id topology.NodeID) *Group {
	c.t.Helper()
	c.cutOff(id, false)
	return c.start(id)
}

func (c *cluster) close() {
	c.mu.Lock()
	groups := c.groups
	c.groups = map[topology.NodeID]*Group{}
	c.mu.Unlock()
	for _, id := range c.ids {
		if g := groups[id]; g != nil {
			if err := errors.Join(g.Close(), g.Close()); err != nil {
				c.t.Error(err)
			}
		}
	}
}

// leader waits for a node that leads and knows what was before it.
func (c *cluster) leader() (topology.NodeID, *Group) {
	c.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		c.mu.Lock()
		for _, id := range c.ids {
			if g := c.groups[id]; g != nil {
				if _, ok := g.Leads(); ok {
					c.mu.Unlock()
					return id, g
				}
			}
		}
		c.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, g := range c.groups {
		members, err := g.Members()
		c.t.Logf("%s: %+v, members %v, %v", id, g.Status(), members, err)
	}
	c.t.Fatal("no leader for a minute")
	return "", nil
}

// propose is what a peer does with a request: to the leader, and again to the next one while it is uncertain.
func (c *cluster) propose(e Envelope) Outcome {
	c.t.Helper()
	for {
		_, g := c.leader()
		out, err := g.Propose(c.t.Context(), e)
		switch {
		case err == nil:
			return out
		case errors.Is(err, ErrNotLeader), errors.Is(err, ErrUncertain), errors.Is(err, ErrClosed):
			time.Sleep(10 * time.Millisecond)
		default:
			c.t.Fatalf("%T: %v", e.Command, err)
		}
	}
}

// same waits until all running nodes have applied version, and gives their state's bytes, which must be equal.
func (c *cluster) same(version uint64) []byte {
	c.t.Helper()
	var first []byte
	for _, id := range c.ids {
		c.mu.Lock()
		g := c.groups[id]
		c.mu.Unlock()
		if g == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
		s, err := g.Machine().WaitVersion(ctx, version)
		cancel()
		if err != nil {
			c.t.Fatalf("%s: %v at version %d, want %d", id, err, g.Machine().View().Version, version)
		}
		data := bytesOf(c.t, s)
		if first == nil {
			first = data
		}
		if !slices.Equal(first, data) {
			c.t.Fatalf("%s has another state:\n%s\n%s", id, data, first)
		}
	}
	return first
}
