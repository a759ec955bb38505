package engine

import (
	"context"
	"fmt"

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
		if err := p.subscribe(); err != nil {
			return err
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

// subscribe makes the partition take from where the topology places its producers, from the epoch that it needs first.
func (p *partition) subscribe() error {
	if p.over {
		return nil // it takes nothing any more and must hold nobody back
	}
	for _, in := range p.spec.Inputs {
		var stream []*inlet
		for _, place := range p.query.config.Topology.Partitions[in.Stage] {
			log, err := p.query.log(p, place, in)
			if err != nil {
				return err
			}
			c, err := log.Subscribe(p.next, true, p.notify)
			if err != nil {
				return fmt.Errorf("%v cannot take from %v: %w", p.place(), place, err)
			}
			stream = append(stream, &inlet{cursor: c, watermark: topology.WatermarkNone})
		}
		p.inlets = append(p.inlets, stream)
	}
	return nil
}

// takeKey names what the node takes from a partition elsewhere for one of its stages.
type takeKey struct {
	producer topology.Partition
	output   int
}

// log is the output log of the partition at place, or the one that its entries are put into when it is elsewhere.
func (q *Query) log(p *partition, place topology.Partition, in plan.Input) (*dataplane.Log, error) {
	stream := dataplane.Stream{Query: q.config.ID, Stage: place.Stage, Output: uint16(in.Output)}
	if q.here(place) {
		return q.node.resolve(stream, place.Range)
	}
	key := takeKey{place, in.Output}
	if log := q.taken[key]; log != nil {
		return log, nil
	}
	link := q.node.linkWith(Peer{place.Node, place.Boot})
	if link == nil {
		return nil, fmt.Errorf("node %s has lost its connection with node %s", q.node.config.ID, place.Node)
	}
	hull := p.rng
	for _, other := range q.parts {
		if other.spec == p.spec {
			hull.From, hull.To = min(hull.From, other.rng.From), max(hull.To, other.rng.To)
		}
	}
	edge := dataplane.Edge{Stream: stream, Producer: place.Range, ConsumerStage: p.spec.ID, Consumer: hull}
	log := link.Subscribe(edge, p.next, q.plan.Stages[place.Stage].Outputs[in.Output].Schema)
	q.taken[key] = log
	return log, nil
}
