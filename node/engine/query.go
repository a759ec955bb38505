package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seepnode/seepnode/backup"
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
	T0Ms     int64 // time(0) in milliseconds since the Unix epoch; now, unless the query runs sealed rows or a replay
	Paranoid bool  // encode, drop and decode every touched key group after every epoch
	// Retain keeps outputs until the placement's Trim, for whoever takes a lost or moved partition over. Without it they go when
	// they are consumed.
	Retain bool
	// Seals is where the node's sources note what they seal; nil: nowhere.
	Seals *SealLog
	// Replay runs the seals of an earlier run again instead of sealing anew.
	Replay *SealLog
	// Resume lets the sources go on by themselves when Replay is at its end.
	Resume bool
	// Sealer keeps what the node's sources seal; nil: nobody, and what is sealed is released and durable at once.
	Sealer Sealer
	// Backup takes the partitions' checkpoints; nil: there are none.
	Backup Backup
	// Restore calls take with the deltas that lead to the state of each key group of a range at a complete checkpoint, oldest first: once for each
	// key group, from any goroutine, before it returns. Take does not keep them.
	Restore func(ctx context.Context, stage topology.StageID, r topology.Range, epoch topology.Epoch, take func(chain []backup.GroupDelta) error) error
	// Until ends a Replay that is of a query's past: every partition takes the epochs up to it, and no more. 0: the Replay has the query's end.
	Until topology.Epoch
	// TraceChains, when set, is called after every step with the chains of a partition's outputs and sinks, in order. For finding
	// where two runs part. It may be called concurrently for different partitions.
	TraceChains func(stage topology.StageID, rng topology.Range, epoch topology.Epoch, chains [][]uint64)
	// Skipped is told of rows left out by 'on-error' = 'skip'; may be nil. Safe for concurrent use.
	Skipped func(table string, row connector.SkippedRow)
	// Resealed is the last generation that gave up what was sealed, 0 when none did: see connector.Config.
	Resealed uint32
}

// Query is one node's part of a running query: the instances of partitions that the placement puts there. Update says where everything
// is, Run brings about what it says.
type Query struct {
	node    *Node
	config  QueryConfig
	plan    *plan.Plan
	limits  Limits
	zone    *time.Location
	started time.Time    // when the clock stood at T0
	ahead   atomic.Int64 // nanoseconds that time here is ahead of the node's clock, see awaits
	seals   *SealLog
	sealing *sealing // nil without a Sealer
	skipped skipCounter
	heard   atomic.Int64 // the latest epoch that is known to be released at some source
	changed chan struct{}
	ended   chan struct{} // closed when every partition here has ended
	// onStatus is called when Status has changed in a way that the cluster waits for; may be nil.
	onStatus atomic.Pointer[func()]

	mu        sync.Mutex
	placement *Placement
	parts     []*partition // in the order they were started
	sinks     []sinkTable
	// spread says that some partition may be on another node: rows carry their producing key groups then.
	spread atomic.Bool
	err    error // why the query failed here
}

// sinkTable is a table that the node writes.
type sinkTable struct {
	table int
	sink  connector.Sink
}

// NewQuery readies a query on the node. Update and Run follow, and Close also when NewQuery was all that happened.
func (n *Node) NewQuery(c QueryConfig) (*Query, error) {
	zone, err := expr.LoadZone(c.Plan.Settings.Zone)
	if err != nil {
		return nil, fmt.Errorf("'table.local-time-zone' = '%s': %w", c.Plan.Settings.Zone, err)
	}
	q := &Query{node: n, config: c, plan: c.Plan, limits: n.config.Limits, zone: zone, seals: c.Seals,
		changed: make(chan struct{}, 1), ended: make(chan struct{})}
	q.spread.Store(c.Retain)
	q.started = n.config.Clock()
	if q.clocked() {
		q.started = q.started.Add(-time.Duration(q.started.UnixMilli()-c.T0Ms) * time.Millisecond)
	}
	if c.Sealer != nil {
		q.sealing = &sealing{query: q, sealer: c.Sealer}
		c.Sealer.OnMarks(q.sealing.marks)
	}
	if err := n.add(q); err != nil {
		return nil, err
	}
	return q, nil
}

// OnStatus sets what is called, from any goroutine, when Status has changed in a way that the cluster waits for. It must not block.
func (q *Query) OnStatus(f func()) { q.onStatus.Store(&f) }

func (q *Query) statusChanged() {
	if f := q.onStatus.Load(); f != nil {
		(*f)()
	}
}

// Update says where the query's partitions are from now on. It does not block; the latest counts.
func (q *Query) Update(p Placement) {
	p.Stages = slices.Clone(p.Stages)
	for s := range p.Stages {
		p.Stages[s] = slices.Clone(p.Stages[s])
		slices.SortStableFunc(p.Stages[s], func(a, b Placed) int {
			return cmp.Or(cmp.Compare(a.Role, b.Role), cmp.Compare(a.Range.From, b.Range.From))
		})
	}
	q.mu.Lock()
	q.placement = &p
	for _, stage := range p.Stages {
		for i := range stage {
			if !q.here(stage[i].Partition) {
				q.spread.Store(true)
			}
		}
	}
	q.mu.Unlock()
	q.wake()
}

func (q *Query) wake() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// here says that a place is this process.
func (q *Query) here(place topology.Partition) bool {
	return place.Node == q.node.config.ID && place.Boot == q.node.config.Boot
}

// partitions are the instances on this node now.
func (q *Query) partitions() []*partition {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*partition(nil), q.parts...)
}

// Run starts, follows and stops the node's instances as Update says, until ctx is done or one fails: the error is what failed, or ctx's
// cause. Instances that have ended go on serving what they emitted.
func (q *Query) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	if q.config.Retain {
		wg.Go(func() { q.stirSources(ctx) })
	}
	over := false
	for ctx.Err() == nil {
		if q.reconcile(ctx, cancel, &wg) && !over {
			over = true
			close(q.ended)
		}
		select {
		case <-q.changed:
		case <-ctx.Done():
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// Ended is closed when, for the first time, every partition that is placed here has ended.
func (q *Query) Ended() <-chan struct{} { return q.ended }

// reconcile starts the instances that the placement puts here, stops those that it no longer does, and lets all know of it. It says
// whether all of them have ended.
func (q *Query) reconcile(ctx context.Context, fail context.CancelCauseFunc, wg *sync.WaitGroup) (ended bool) {
	q.mu.Lock()
	placement := q.placement
	if placement == nil {
		q.mu.Unlock()
		return false
	}
	want := map[uint64]*Placed{}
	for _, stage := range placement.Stages {
		for i := range stage {
			// One that gave key groups away is active before it is retired.
			if q.here(stage[i].Partition) && want[stage[i].Instance] == nil {
				want[stage[i].Instance] = &stage[i]
			}
		}
	}
	var keep, gone, fresh []*partition
	for _, p := range q.parts {
		if want[p.instance] == nil || p.anew.Load() {
			gone = append(gone, p)
			continue
		}
		delete(want, p.instance)
		keep = append(keep, p)
	}
	for _, stage := range placement.Stages {
		for i := range stage {
			if pl := &stage[i]; want[pl.Instance] == pl && pl.Role != Retired {
				p := newPartition(q, q.plan.Stages[pl.Stage], pl)
				keep, fresh = append(keep, p), append(fresh, p)
			}
		}
	}
	q.parts = keep
	q.mu.Unlock()
	for _, p := range gone {
		p.leave()
	}
	ended = true
	for _, p := range keep {
		p.placement.Store(placement)
		ended = ended && p.reached()
	}
	for _, p := range fresh {
		p.start(ctx, fail, wg)
	}
	for _, p := range keep {
		p.notify()
	}
	return ended
}

// fail notes why the query failed here.
func (q *Query) fail(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = err
	}
	q.mu.Unlock()
	q.statusChanged()
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
	q.mu.Lock()
	defer q.mu.Unlock()
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
		UpsertKey: t.UpsertKey, Query: q.config.ID, Resealed: q.config.Resealed}
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

// Close gives back what the query holds on this node, after Run has returned; done says that the whole query has finished. Sinks keep
// what they have made visible.
func (q *Query) Close(done bool) (err error) {
	q.node.remove(q.config.ID)
	for _, s := range q.sinks {
		if e := s.sink.Close(done); e != nil {
			err = errors.Join(err, fmt.Errorf("table %q: %w", q.plan.Tables[s.table].Name, e))
		}
	}
	return err
}

// Acknowledge says that all vaults have the checkpoint of an instance at epoch c on disk, where one copy of it takes so many bytes. Safe for
// concurrent use.
func (q *Query) Acknowledge(stage topology.StageID, instance uint64, c topology.Epoch, bytes int64, version uint64) {
	for _, p := range q.partitions() {
		if p.spec.ID == stage && p.instance == instance {
			p.acknowledged(c, bytes, version)
		}
	}
}

// NeedBase says that some vault of these key groups has nothing that deltas could follow: the instance's next checkpoint brings their
// whole state. Safe for concurrent use.
func (q *Query) NeedBase(stage topology.StageID, instance uint64, groups []topology.KeyGroup) {
	for _, p := range q.partitions() {
		if p.spec.ID == stage && p.instance == instance {
			p.needBase(groups)
		}
	}
}

// log finds an output log of an instance here; nil when it is not, or not yet.
func (q *Query) log(s dataplane.Stream) *dataplane.Log {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range q.parts {
		if p.instance == s.Instance && p.spec.ID == s.Stage && p.open.Load() && int(s.Output) < len(p.logs) {
			return p.logs[s.Output]
		}
	}
	return nil
}

// opened lets all who wait for the logs of an instance here ask again.
func (q *Query) opened() {
	q.node.retry()
	for _, p := range q.partitions() {
		p.notify()
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
