package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// place is where and what the partition is.
func (p *partition) place() topology.Partition {
	return topology.Partition{Stage: p.spec.ID, Range: p.rng, Node: p.node.config.ID, Boot: p.node.config.Boot}
}

// Connect subscribes every partition to its producers: on this node directly, elsewhere over the link with their node, once for all
// partitions of a stage here. It waits for links until ctx is done.
func (q *Query) Connect(ctx context.Context) error {
	if err := q.awaitLinks(ctx); err != nil {
		return err
	}
	for _, p := range q.parts {
		if err := p.follow(&q.config.Topology); err != nil {
			return err
		}
	}
	return nil
}

// Change is a new topology with what the partitions that it adds start from.
type Change struct {
	Topology topology.Topology
	Restore  func(p topology.Partition) (Restored, error)
	Replay   *SealLog // what added source partitions seal again before they go on by themselves
}

// Update puts a topology into force: partitions that it adds here are restored and started, and all partitions take from where it places
// their producers, each from the epoch that it needs next. Partitions that it no longer places here are not stopped by it.
func (q *Query) Update(ctx context.Context, c Change) error {
	q.config.Topology = c.Topology
	q.config.Restore, q.config.Replay, q.config.Resume = c.Restore, c.Replay, c.Replay != nil
	if err := q.awaitLinks(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	for k := range q.taken {
		if !slices.Contains(c.Topology.Partitions[k.producer.Stage], k.producer) {
			delete(q.taken, k)
		}
	}
	q.mu.Unlock()
	old := q.partitions()
	for s, places := range c.Topology.Partitions {
		for _, place := range places {
			if q.here(place) && q.find(place) == nil {
				if err := q.addPartition(ctx, q.plan.Stages[s], place.Range); err != nil {
					return err
				}
			}
		}
	}
	var added []*partition
	for _, p := range q.partitions() {
		if !slices.Contains(old, p) {
			added = append(added, p)
		}
	}
	for _, p := range added {
		if err := p.follow(&c.Topology); err != nil {
			return err
		}
		q.start(p)
	}
	for _, p := range old {
		p.placed.Store(&c.Topology)
		p.notify()
	}
	q.node.retry()
	return nil
}

// find is the node's partition at a place, or nil.
func (q *Query) find(place topology.Partition) *partition {
	for _, p := range q.partitions() {
		if p.place() == place {
			return p
		}
	}
	return nil
}

// awaitLinks waits for the links with all nodes that run partitions of the query.
func (q *Query) awaitLinks(ctx context.Context) error {
	for _, places := range q.config.Topology.Partitions {
		for _, place := range places {
			if !q.here(place) {
				if _, err := q.node.link(ctx, Peer{place.Node, place.Boot}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// follow makes the partition take from where a topology places its producers. What it took so far from a producer that has moved is
// dropped; the successor gives the same rows from the epoch that is needed next. Called between epochs.
func (p *partition) follow(t *topology.Topology) error {
	if p.over {
		return nil // it takes nothing any more and must hold nobody back
	}
	p.topology, p.absent = t, false
	p.inlets = slices.Grow(p.inlets, len(p.spec.Inputs))[:len(p.spec.Inputs)]
	for i, in := range p.spec.Inputs {
		old := p.inlets[i]
		var stream []*inlet
		for _, place := range t.Partitions[in.Stage] {
			if k := slices.IndexFunc(old, func(x *inlet) bool { return x.place == place && x.cursor != nil }); k >= 0 {
				stream = append(stream, old[k])
				continue
			}
			log, err := p.query.log(p, place, in)
			if errors.Is(err, errNoLink) || errors.Is(err, dataplane.ErrNotYet) {
				// It is gone, or not there yet: the next topology or the link brings the rows.
				stream = append(stream, &inlet{place: place, watermark: topology.WatermarkNone})
				p.absent = true
				continue
			}
			if err != nil {
				return err
			}
			c, err := log.Subscribe(p.next, true, p.notify)
			if err != nil {
				return fmt.Errorf("%v cannot take from %v: %w", p.place(), place, err)
			}
			stream = append(stream, &inlet{place: place, cursor: c, watermark: topology.WatermarkNone})
		}
		for _, x := range old {
			if !slices.Contains(stream, x) && x.cursor != nil {
				x.cursor.Close()
			}
		}
		p.inlets[i] = stream
	}
	return nil
}

// takeKey names what the node takes from a partition elsewhere for one of its stages.
type takeKey struct {
	producer topology.Partition
	output   int
}

// taken is what came of a subscription that partitions of one stage here may share: its rows are for the key groups in hull.
type taken struct {
	log  *dataplane.Log
	hull topology.Range
}

// log is the output log of the partition at place, or the one that its entries are put into when it is elsewhere.
func (q *Query) log(p *partition, place topology.Partition, in plan.Input) (*dataplane.Log, error) {
	stream := dataplane.Stream{Query: q.config.ID, Stage: place.Stage, Output: uint16(in.Output)}
	if q.here(place) {
		return q.node.resolve(stream, place.Range)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	key := takeKey{place, in.Output}
	if t, ok := q.taken[key]; ok && t.log.Serves(p.next) && t.hull.From <= p.rng.From && t.hull.To >= p.rng.To {
		return t.log, nil
	}
	q.node.mu.Lock()
	link := q.node.links[Peer{place.Node, place.Boot}]
	q.node.mu.Unlock()
	if link == nil {
		return nil, fmt.Errorf("node %s has no connection with node %s: %w", q.node.config.ID, place.Node, errNoLink)
	}
	hull := p.rng
	for _, other := range q.partitions() {
		if other.spec == p.spec {
			hull.From, hull.To = min(hull.From, other.rng.From), max(hull.To, other.rng.To)
		}
	}
	edge := dataplane.Edge{Stream: stream, Producer: place.Range, ConsumerStage: p.spec.ID, Consumer: hull}
	log := link.Subscribe(edge, p.next, q.plan.Stages[place.Stage].Outputs[in.Output].Schema)
	q.taken[key] = taken{log, hull}
	return log, nil
}

var errNoLink = errors.New("it is not connected")

// Trim says that checkpoint c is complete and nothing older is pinned: nobody will take epochs up to c again.
func (q *Query) Trim(c topology.Epoch) {
	q.mu.Lock()
	q.complete = max(q.complete, c)
	q.mu.Unlock()
	for _, p := range q.partitions() {
		for _, l := range p.logs {
			l.Trim(c)
		}
		p.notify()
	}
}
