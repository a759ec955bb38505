package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// linkCredit is how many bytes of messages a subscription between nodes may have under way.
const linkCredit = 16 << 20

// NodeConfig is what all queries of a node share.
type NodeConfig struct {
	ID      topology.NodeID
	Boot    topology.BootID
	Cluster uint64 // nodes of another cluster are refused
	Workers int    // goroutines that work at a time, default GOMAXPROCS
	Limits  Limits // zero: DefaultLimits
	// Spill is the room for what partitions keep of their output; the caller closes it when all queries are closed. Nil: memory, as much as a
	// spill has without being told.
	Spill      *dataplane.Spill
	Connectors *connector.Registry
	Operators  *operator.Registry // nil: none
	Logger     *slog.Logger       // nil: discarded
	Stdout     io.Writer          // of tables that print; nil: os.Stdout. Safe for concurrent use
	Tails      *tail.Hub          // through which is followed what sinks get; nil: not at all
	// Clock is the time that epochs follow, the cluster's; nil: time.Now.
	Clock func() time.Time
}

// Node runs parts of queries: their partitions share its workers, its links carry what they take from partitions elsewhere.
type Node struct {
	config NodeConfig
	// tokens bounds the goroutines that work at a time.
	tokens chan struct{}

	mu      sync.Mutex
	queries map[topology.QueryID]*Query
	links   map[Peer]*dataplane.Link
	// changed is closed and made anew when links change.
	changed chan struct{}
}

// NewNode makes a node without queries and links.
func NewNode(c NodeConfig) *Node {
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits()
	}
	if c.Spill == nil {
		c.Spill = dataplane.MemorySpill(0)
	}
	if c.Operators == nil {
		c.Operators = &operator.Registry{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return &Node{config: c, tokens: make(chan struct{}, c.Workers), queries: map[topology.QueryID]*Query{},
		links: map[Peer]*dataplane.Link{}, changed: make(chan struct{})}
}

// Peer is one process of a node: what is subscribed of it is lost with it.
type Peer struct {
	Node topology.NodeID
	Boot topology.BootID
}

// idle waits without keeping a worker; the caller holds one.
func (n *Node) idle(ctx context.Context, d time.Duration) error {
	<-n.tokens
	defer func() { n.tokens <- struct{}{} }()
	return sleep(ctx, d)
}

// Join serves an open connection with a peer until ctx is done or the connection ends, and gives the link's error, which is nil when ctx
// was done or the peer said goodbye.
func (n *Node) Join(ctx context.Context, peer Peer, conn dataplane.Conn) error {
	l := dataplane.NewLink(conn, dataplane.LinkConfig{Cluster: n.config.Cluster, Self: n.config.ID, Boot: n.config.Boot, Peer: peer.Node, PeerBoot: peer.Boot, Resolve: n.resolve, Heard: n.heard, Credit: linkCredit})
	n.mu.Lock()
	for n.links[peer] != nil {
		// The peer connects again before the end of its old connection was noticed.
		old, changed := n.links[peer], n.changed
		n.mu.Unlock()
		old.Close()
		select {
		case <-changed:
		case <-ctx.Done():
			return conn.Close()
		}
		n.mu.Lock()
	}
	n.links[peer] = l
	n.announce()
	n.mu.Unlock()
	n.rewire()
	n.tellAgain(l)
	err := l.Run(ctx)
	n.mu.Lock()
	if n.links[peer] == l {
		delete(n.links, peer)
	}
	n.announce()
	n.mu.Unlock()
	return err
}

// announce wakes who waits for a link. The caller holds the lock.
func (n *Node) announce() {
	close(n.changed)
	n.changed = make(chan struct{})
}

// linkWith is the link with a peer, or nil.
func (n *Node) linkWith(peer Peer) *dataplane.Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.links[peer]
}

// rewire lets the partitions of all queries look for their producers again.
func (n *Node) rewire() {
	n.mu.Lock()
	queries := slices.Collect(maps.Values(n.queries))
	n.mu.Unlock()
	for _, q := range queries {
		for _, p := range q.partitions() {
			p.notify()
		}
	}
}

// hasActive says that a partition is active here that has not ended.
func (n *Node) hasActive() bool {
	n.mu.Lock()
	queries := slices.Collect(maps.Values(n.queries))
	n.mu.Unlock()
	for _, q := range queries {
		for _, p := range q.partitions() {
			// One that is being restored has not taken its role over yet.
			placement := p.placement.Load()
			if placement != nil && placement.roleOf(p.spec.ID, p.instance) == Active && phase(p.stats.phase.Load()) != ended {
				return true
			}
		}
	}
	return false
}

// resolve finds the output log of one of the node's partitions; dataplane.ErrNotYet when it is not here, or not here yet.
func (n *Node) resolve(s dataplane.Stream) (*dataplane.Log, error) {
	n.mu.Lock()
	q := n.queries[s.Query]
	n.mu.Unlock()
	if q != nil {
		if log := q.log(s); log != nil {
			return log, nil
		}
	}
	return nil, dataplane.ErrNotYet
}

// tellAgain tells a peer what sources have released: what was told over the connection before this one may be lost.
func (n *Node) tellAgain(l *dataplane.Link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for id, q := range n.queries {
		if heard := topology.Epoch(q.heard.Load()); heard > 0 {
			l.Tell(id, heard)
		}
	}
}

// heard takes note of an epoch that some source of a query on another node has released.
func (n *Node) heard(id topology.QueryID, released topology.Epoch) {
	n.mu.Lock()
	q := n.queries[id]
	n.mu.Unlock()
	if q != nil {
		q.hear(released)
	}
}

// retry lets peers subscribe to what has come up since they asked.
func (n *Node) retry() {
	n.mu.Lock()
	links := n.allLinks()
	n.mu.Unlock()
	for _, l := range links {
		l.Retry()
	}
}

// Leave says goodbye to all peers: that the connections end is no sign of a failure.
func (n *Node) Leave(reason string) {
	n.mu.Lock()
	links := n.allLinks()
	n.mu.Unlock()
	for _, l := range links {
		l.Leave(reason)
	}
}

// add makes a query known.
func (n *Node) add(q *Query) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.queries[q.config.ID] != nil {
		return fmt.Errorf("node %s runs query %q already", n.config.ID, q.config.Name)
	}
	n.queries[q.config.ID] = q
	return nil
}

func (n *Node) allLinks() []*dataplane.Link {
	var out []*dataplane.Link
	for _, l := range n.links {
		out = append(out, l)
	}
	return out
}

// remove forgets a query and what was subscribed of it.
func (n *Node) remove(id topology.QueryID) {
	n.mu.Lock()
	delete(n.queries, id)
	links := n.allLinks()
	n.mu.Unlock()
	for _, l := range links {
		l.Forget(id)
	}
}
