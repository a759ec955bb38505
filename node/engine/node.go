package engine

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// linkCredit is how many bytes of messages a subscription between nodes may have under way.
const linkCredit = 16 << 20

// NodeConfig is what all queries of a node share.
type NodeConfig struct {
	ID         topology.NodeID
	Boot       topology.BootID
	Cluster    uint64 // nodes of another cluster are refused
	Workers    int    // goroutines that work at a time, default GOMAXPROCS
	Limits     Limits // zero: DefaultLimits
	Connectors *connector.Registry
	Operators  *operator.Registry // nil: none
	Logger     *slog.Logger       // nil: discarded
	Stdout     io.Writer          // of tables that print; nil: os.Stdout. Safe for concurrent use
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
	wg      sync.WaitGroup
}

// NewNode makes a node without queries and links.
func NewNode(c NodeConfig) *Node {
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits()
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
	l := dataplane.NewLink(conn, dataplane.LinkConfig{Cluster: n.config.Cluster, Self: n.config.ID, Boot: n.config.Boot, Peer: peer.Node, PeerBoot: peer.Boot, Resolve: n.resolve, Credit: linkCredit})
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

// link waits for the link with a peer.
func (n *Node) link(ctx context.Context, peer Peer) (*dataplane.Link, error) {
	for {
		n.mu.Lock()
		l, changed := n.links[peer], n.changed
		n.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("node %s has no connection with node %s: %w", n.config.ID, peer.Node, context.Cause(ctx))
		}
	}
}

// resolve finds the output log of one of the node's partitions; dataplane.ErrNotYet when it is not here, or not here yet.
func (n *Node) resolve(s dataplane.Stream, producer topology.Range) (*dataplane.Log, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	q := n.queries[s.Query]
	if q == nil {
		return nil, dataplane.ErrNotYet
	}
	for _, p := range q.parts {
		if p.spec.ID == s.Stage && p.rng == producer && int(s.Output) < len(p.logs) {
			return p.logs[s.Output], nil
		}
	}
	return nil, dataplane.ErrNotYet
}

// add makes a query's partitions known to peers, who may have subscribed before.
func (n *Node) add(q *Query) error {
	n.mu.Lock()
	if n.queries[q.config.ID] != nil {
		n.mu.Unlock()
		return fmt.Errorf("node %s runs query %q already", n.config.ID, q.config.Name)
	}
	n.queries[q.config.ID] = q
	links := n.allLinks()
	n.mu.Unlock()
	for _, l := range links {
		l.Retry()
	}
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
