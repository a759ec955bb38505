package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// QueryConfig is a query as one node gets it.
type QueryConfig struct {
	ID       topology.QueryID
	Name     string
	Plan     *plan.Plan
	Topology topology.Topology
	T0Ms     int64 // time(0) in milliseconds since the Unix epoch; now, unless the query runs sealed rows or a replay
	Paranoid bool  // encode, drop and decode every touched key group after every epoch
	// Seals is where the node's sources note what they seal; nil: nowhere.
	Seals *SealLog
	// Replay runs the seals of an earlier run again instead of sealing anew.
	Replay *SealLog
	// Resume lets the sources go on by themselves when Replay is at its end.
	Resume bool
	// Backup takes the partitions' checkpoints; nil: there are none.
	Backup Backup
	// Restore gives a partition's state at the checkpoint that the query starts from; nil: it starts from nothing.
	Restore func(p topology.Partition) (Restored, error)
	// TraceChains, when set, is called after every step with the chains of a partition's outputs and sinks, in order. For finding
	// where two runs part. It may be called concurrently for different partitions.
	TraceChains func(stage topology.StageID, rng topology.Range, epoch topology.Epoch, chains [][]uint64)
	// Skipped is told of rows left out by 'on-error' = 'skip'; may be nil. Safe for concurrent use.
	Skipped func(table string, row connector.SkippedRow)
}

// Query is one node's part of a running query: the partitions that the topology places there.
type Query struct {
	node    *Node
	config  QueryConfig
	plan    *plan.Plan
	limits  Limits
	zone    *time.Location
	started time.Time // when the clock stood at T0
	seals   *SealLog
	parts   []*partition
	sinks   []sinkTable
	skipped skipCounter
	taken   map[takeKey]*dataplane.Log
	// spread says that some partition is on another node: rows carry their producing key groups then.
	spread bool
}

// sinkTable is a table that the node writes.
type sinkTable struct {
	table int
	sink  connector.Sink
}

// NewQuery builds the node's partitions of a query, opens their sources and sinks and makes them known to peers. Connect, Run and Close
// follow; Close also when NewQuery was all that happened.
func (n *Node) NewQuery(ctx context.Context, c QueryConfig) (*Query, error) {
	groups := make([]int, len(c.Plan.Stages))
	for i, s := range c.Plan.Stages {
		groups[i] = s.Groups
	}
	if err := c.Topology.Validate(groups); err != nil {
		return nil, fmt.Errorf("query %q: %w", c.Name, err)
	}
	zone, err := expr.LoadZone(c.Plan.Settings.Zone)
	if err != nil {
		return nil, fmt.Errorf("'table.local-time-zone' = '%s': %w", c.Plan.Settings.Zone, err)
	}
	q := &Query{node: n, config: c, plan: c.Plan, limits: n.config.Limits, zone: zone, seals: c.Seals, taken: map[takeKey]*dataplane.Log{}}
	q.started = time.Now()
	if q.clocked() {
		q.started = q.started.Add(-time.Duration(q.started.UnixMilli()-c.T0Ms) * time.Millisecond)
	}
	for _, s := range c.Plan.Stages {
		for _, place := range c.Topology.Partitions[s.ID] {
			if !q.here(place) {
				q.spread = true
				continue
			}
			if err := q.addPartition(ctx, s, place.Range); err != nil {
				return nil, errors.Join(err, q.Close(false))
			}
		}
	}
	for _, p := range q.parts {
		for o, l := range p.logs {
			l.Await(q.consumers(p.spec.Outputs[o].Consumer))
		}
	}
	if err := n.add(q); err != nil {
		return nil, errors.Join(err, q.Close(false))
	}
	return q, nil
}

// here says that a place is this process.
func (q *Query) here(place topology.Partition) bool {
	return place.Node == q.node.config.ID && place.Boot == q.node.config.Boot
}

// consumers is how many subscriptions a stage's partitions make to an output log of this node: one for each partition here, one for each
// other node that has any.
func (q *Query) consumers(stage topology.StageID) int {
	n, elsewhere := 0, map[topology.NodeID]bool{}
	for _, place := range q.config.Topology.Partitions[stage] {
		if q.here(place) {
			n++
		} else {
			elsewhere[place.Node] = true
		}
	}
	return n + len(elsewhere)
}

// addPartition opens a partition's source and the lanes of its sinks, and compiles its operators once, so that their mistakes show at once.
func (q *Query) addPartition(ctx context.Context, s *plan.Stage, rng topology.Range) error {
	p := newPartition(q, s, rng)
	if err := q.openPartition(ctx, p, s, rng); err != nil {
		return errors.Join(err, p.closeLanes())
	}
	q.parts = append(q.parts, p)
	return nil
}

func (q *Query) openPartition(ctx context.Context, p *partition, s *plan.Stage, rng topology.Range) error {
	if s.Source >= 0 {
		src, err := q.openSource(s.Source)
		if err != nil {
			return err
		}
		p.source = newSource(q.plan.Tables[s.Source], src)
		for _, op := range s.Ops {
			if op.Watermark != nil {
				p.source.idleMs = op.Watermark.IdleMs
			}
		}
		if q.config.Replay != nil {
			p.source.replay = append([]Seal{}, q.config.Replay.forStage(s.ID)...)
			if q.config.Resume {
				p.source.through = q.config.Replay.through(s.ID, rng)
			}
		}
	}
	x, err := newExecutor(p)
	if err != nil {
		return err
	}
	p.executors = append(p.executors, x)
	if q.config.Restore != nil {
		r, err := q.config.Restore(topology.Partition{Stage: s.ID, Range: rng, Node: q.node.config.ID})
		if err != nil {
			return fmt.Errorf("stage %q %v: %w", s.Name, rng, err)
		}
		if err := p.restore(r); err != nil {
			return err
		}
		if p.source != nil {
			p.source.skipSeals(r.Epoch)
		}
	}
	for _, i := range p.sinkOps {
		if err := q.openLanes(ctx, p, s.Ops[i].Sink); err != nil {
			return err
		}
	}
	return nil
}

// openLanes opens the lanes of a sink that a partition writes: one for a fused sink, else one per key group.
func (q *Query) openLanes(ctx context.Context, p *partition, s *plan.Sink) error {
	sink, err := q.openSink(s)
	if err != nil {
		return err
	}
	last := p.rng.To - 1
	if s.Fused {
		last = p.rng.From
	}
	k := len(p.lanes)
	p.lanes = append(p.lanes, nil)
	for n := p.rng.From; n <= last; n++ {
		lane, err := sink.Open(ctx, int(n))
		if err != nil {
			return fmt.Errorf("table %q: %w", q.plan.Tables[s.Table].Name, err)
		}
		p.lanes[k] = append(p.lanes[k], lane)
	}
	return nil
}

func (q *Query) openSource(table int) (connector.Source, error) {
	t := q.plan.Tables[table]
	def, c, err := q.connector(t)
	if err != nil {
		return nil, err
	}
	if def.NewSource == nil {
		return nil, fmt.Errorf("table %q: connector %q cannot be read", t.Name, t.Connector)
	}
	src, err := def.NewSource(c)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	return src, nil
}

func (q *Query) openSink(s *plan.Sink) (connector.Sink, error) {
	for _, open := range q.sinks {
		if open.table == s.Table {
			return open.sink, nil
		}
	}
	t := q.plan.Tables[s.Table]
	def, c, err := q.connector(t)
	if err != nil {
		return nil, err
	}
	if def.NewSink == nil {
		return nil, fmt.Errorf("table %q: connector %q cannot be written", t.Name, t.Connector)
	}
	sink, err := def.NewSink(c)
	if err != nil {
		return nil, fmt.Errorf("table %q: %w", t.Name, err)
	}
	q.sinks = append(q.sinks, sinkTable{s.Table, sink})
	return sink, nil
}

func (q *Query) connector(t *plan.Table) (*connector.Definition, connector.Config, error) {
	n := &q.node.config
	def, ok := n.Connectors.Lookup(t.Connector)
	if !ok {
		return nil, connector.Config{}, fmt.Errorf("table %q: this binary has no connector %q", t.Name, t.Connector)
	}
	c := connector.Config{Table: t.Name, Schema: t.Schema, Primary: t.Primary, Options: t.Options, Incarnation: q.config.ID.Incarnation,
		CheckpointEpochs: q.plan.Settings.CheckpointEpochs, Lanes: max(1, t.Lanes), Zone: q.zone, Logger: n.Logger, Stdout: n.Stdout,
		UpsertKey: t.UpsertKey, Query: q.config.ID}
	if q.plan.Settings.SealRows == 0 {
		c.EpochMs = q.plan.Settings.EpochMs
	}
	c.Skipped = func(s connector.SkippedRow) {
		q.skipped.add(t.Name, s, n.Logger)
		if q.config.Skipped != nil {
			q.config.Skipped(t.Name, s)
		}
	}
	return def, c, nil
}

// Run runs the partitions until all of them have ended, one fails or ctx is done; then the error is what failed, or ctx's cause.
func (q *Query) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, p := range q.parts {
		wg.Go(func() {
			if err := p.loop(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Close gives back what the query holds on this node; done says that the whole query has finished. Sinks keep what they have made
// visible.
func (q *Query) Close(done bool) (err error) {
	q.node.remove(q.config.ID)
	for _, p := range q.parts {
		err = errors.Join(err, p.closeLanes())
	}
	for _, s := range q.sinks {
		if e := s.sink.Close(done); e != nil {
			err = errors.Join(err, fmt.Errorf("table %q: %w", q.plan.Tables[s.table].Name, e))
		}
	}
	return err
}

func (p *partition) closeLanes() (err error) {
	for _, lanes := range p.lanes {
		for _, l := range lanes {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

// Acknowledge says that all vaults have the checkpoints of a partition up to c on disk. Safe for concurrent use.
func (q *Query) Acknowledge(p topology.Partition, c topology.Epoch) {
	for _, x := range q.parts {
		if x.spec.ID == p.Stage && x.rng == p.Range {
			raise(&x.acked, int64(c))
		}
	}
}

// buildKernel compiles an operator for one worker.
func (q *Query) buildKernel(op *plan.Op) (relational.Kernel, error) {
	return relational.Build(op, q.node.config.Operators.Lookup, q.plan.Settings.Seed)
}

func (q *Query) traceChains(p *partition, epoch topology.Epoch) {
	if q.config.TraceChains != nil {
		q.config.TraceChains(p.spec.ID, p.rng, epoch, p.chains)
	}
}
