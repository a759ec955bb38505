package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// linkCredit is how many bytes of messages a subscription between nodes may have under way.
const linkCredit = 16 << 20

// Node is one in-process node: its partitions share its workers, its links carry what they take from partitions elsewhere.
type Node struct {
	ID      topology.NodeID
	workers int
	// tokens bounds the goroutines that work at a time.
	tokens chan struct{}
	parts  []*partition
	links  map[topology.NodeID]*dataplane.Link
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

func newNode(id topology.NodeID, workers int) *Node {
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	return &Node{ID: id, workers: workers, tokens: make(chan struct{}, workers), links: map[topology.NodeID]*dataplane.Link{}, stop: func() {}}
}

// resolve finds the output log of one of the node's partitions.
func (n *Node) resolve(s dataplane.Stream, producer topology.Range) (*dataplane.Log, error) {
	for _, p := range n.parts {
		if p.spec.ID == s.Stage && p.rng == producer && int(s.Output) < len(p.logs) {
			return p.logs[s.Output], nil
		}
	}
	return nil, fmt.Errorf("node %s runs no partition of stage %d %v with output %d", n.ID, s.Stage, producer, s.Output)
}

// serve runs the node's links until close; a link that fails ends the query.
func (n *Node) serve(ctx context.Context, fail context.CancelCauseFunc) {
	ctx, n.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, l := range n.links {
		n.wg.Go(func() {
			if err := l.Run(ctx); err != nil && ctx.Err() == nil {
				fail(err)
			}
		})
	}
}

func (n *Node) close() {
	n.stop()
	n.wg.Wait()
}

// connect subscribes every partition to its producers: in the process directly, between nodes over a link for each pair.
func (r *run) connect(ctx context.Context, fail context.CancelCauseFunc) error {
	if len(r.nodes) > 1 {
		if err := r.openLinks(ctx); err != nil {
			return err
		}
	}
	taken := map[takeKey]*dataplane.Log{}
	for _, p := range r.parts {
		for _, in := range p.spec.Inputs {
			var stream []*inlet
			for _, q := range r.parts {
				if q.spec.ID != in.Stage {
					continue
				}
				log := q.logs[in.Output]
				if q.node != p.node {
					log = r.take(taken, p, q, in)
				}
				c, err := log.Subscribe(1, true, p.notify)
				if err != nil {
					return err
				}
				stream = append(stream, &inlet{cursor: c, watermark: topology.WatermarkNone})
			}
			p.inlets = append(p.inlets, stream)
		}
	}
	for _, n := range r.nodes {
		n.serve(ctx, fail)
	}
	return nil
}

// takeKey names what one node takes from one partition elsewhere, once for all partitions of a stage.
type takeKey struct {
	node     topology.NodeID
	producer *partition
	output   int
}

// take subscribes p's node to an output of q, for the smallest range that holds all key groups of p's stage on the node.
func (r *run) take(taken map[takeKey]*dataplane.Log, p, q *partition, in plan.Input) *dataplane.Log {
	key := takeKey{p.node.ID, q, in.Output}
	if log := taken[key]; log != nil {
		return log
	}
	hull := p.rng
	for _, other := range p.node.parts {
		if other.spec == p.spec {
			hull.From, hull.To = min(hull.From, other.rng.From), max(hull.To, other.rng.To)
		}
	}
	edge := dataplane.Edge{Stream: dataplane.Stream{Query: r.queryID(), Stage: q.spec.ID, Output: uint16(in.Output)}, Producer: q.rng,
		ConsumerStage: p.spec.ID, Consumer: hull}
	log := p.node.links[q.node.ID].Subscribe(edge, 1, q.spec.Outputs[in.Output].Schema)
	taken[key] = log
	return log
}

func (r *run) queryID() topology.QueryID {
	return topology.QueryID{Incarnation: r.options.Incarnation, Generation: 1}
}

// openLinks opens one connection between every two nodes.
func (r *run) openLinks(ctx context.Context) error {
	of, addr := r.options.Transport, ""
	if of == nil {
		tcp := transport.NewTCP(transport.Options{})
		of, addr = func(topology.NodeID) transport.Transport { return tcp }, "127.0.0.1:0"
	}
	for i, a := range r.nodes {
		l, err := of(a.ID).Listen(addr)
		if err != nil {
			return fmt.Errorf("node %s cannot listen: %w", a.ID, err)
		}
		for _, b := range r.nodes[i+1:] {
			if err := r.openLink(ctx, l, of(b.ID), a, b); err != nil {
				return errors.Join(err, l.Close())
			}
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// openLink connects b to a, who listens.
func (r *run) openLink(ctx context.Context, l transport.Listener, t transport.Transport, a, b *Node) error {
	var accepted transport.Conn
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() { accepted, failed = l.Accept() })
	dialed, err := t.Dial(ctx, l.Addr())
	if err != nil {
		l.Close() // ends Accept
	}
	wg.Wait()
	if err := errors.Join(err, failed); err != nil {
		return fmt.Errorf("node %s cannot reach node %s: %w", b.ID, a.ID, err)
	}
	a.links[b.ID] = r.newLink(accepted, a, b)
	b.links[a.ID] = r.newLink(dialed, b, a)
	return nil
}

func (r *run) newLink(c transport.Conn, self, peer *Node) *dataplane.Link {
	return dataplane.NewLink(c, dataplane.LinkConfig{Query: r.queryID(), Self: self.ID, Boot: 1, Peer: peer.ID, Resolve: self.resolve, Credit: linkCredit})
}
