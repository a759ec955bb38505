package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Limits bound memory and shape work; none of them can reach an output byte.
type Limits struct {
	BatchRows  int   // rows of a piece that a source reads
	ForkRows   int64 // rows of an epoch from which a partition forks over its key groups
	GroupBytes int   // bytes a source key group may put into one epoch; 0: 4 MiB
	Log        dataplane.Limits
}

// DefaultLimits are those of a node without a memory limit of its own.
func DefaultLimits() Limits {
	return Limits{BatchRows: 16 << 10, ForkRows: 4 << 10, Log: dataplane.Limits{Bytes: 64 << 20, Epochs: 256}}
}

// Options say how a plan is run on in-process nodes.
type Options struct {
	Nodes     int                                       // in-process nodes, default 1
	Workers   int                                       // goroutines that work at a time on each node, default GOMAXPROCS
	Transport func(topology.NodeID) transport.Transport // a node's, between nodes; nil: loopback TCP
	Limits    Limits                                    // zero: DefaultLimits
	Paranoid  bool                                      // encode, drop and decode every touched key group after every epoch
	// Layout places a stage's partitions; nil: one per node (source stages too), key groups in equal ranges.
	Layout func(stage *plan.Stage, nodes int) []topology.Partition

	Connectors *connector.Registry
	Operators  *operator.Registry
	Logger     *slog.Logger
	Stdout     io.Writer

	Incarnation uint64
	// Replay runs the seals of an earlier run again instead of sealing anew.
	Replay *SealLog
	// TraceChains, when set, is called after every step with the chains of a partition's outputs and sinks, in order. For finding where two runs
	// part; may be called concurrently for different partitions.
	TraceChains func(stage topology.StageID, rng topology.Range, epoch topology.Epoch, chains [][]uint64)
	// Skipped is told of rows left out by 'on-error' = 'skip'; may be nil. Safe for concurrent use.
	Skipped func(table string, row connector.SkippedRow)
	// Started is called when all partitions run, with a function that says how far the query is. May be nil.
	Started func(progress func() Progress)
}

// Result is what a finished query leaves.
type Result struct {
	// Chains are the final chains: by stage, then by its outputs and after them its sinks, then by key group.
	Chains   [][][]uint64
	Seals    *SealLog
	Progress Progress
}

// Progress is how far a query is.
type Progress struct {
	Epoch       topology.Epoch // lowest complete epoch over all partitions
	Head        topology.Epoch // highest epoch sealed by a source
	LagMs       int64          // how far the lowest complete epoch is behind the clock; 0 without a clock
	RowsIn      int64          // rows read by sources
	RowsSkipped int64
	RowsLate    int64
	StateBytes  int64
	// LongestStep is the longest time that a partition took for one epoch, LongestEpoch the longest time from the instant an epoch
	// was to be sealed to its end in a last stage; both since the last call of progress.
	LongestStep, LongestEpoch time.Duration
	Elapsed                   time.Duration
	Steps                     int64 // epochs or ranges of epochs taken, over all partitions
}

// run is one query running on the nodes of this process.
type run struct {
	plan     *plan.Plan
	options  Options
	limits   Limits
	zone     *time.Location
	t0Ms     int64
	started  time.Time
	seals    *SealLog
	logger   *slog.Logger
	nodes    []*Node
	parts    []*partition
	sinks    []*sinkTable
	skipped  skipCounter
	topology topology.Topology
}

// sinkTable is a table being written, opened once for the whole process.
type sinkTable struct {
	table int
	sink  connector.Sink
}

// Run runs a plan to its end, or until ctx is done: then the error is ctx's cause. Sinks keep what they have made visible.
func Run(ctx context.Context, p *plan.Plan, o Options) (*Result, error) {
	r, err := newRun(p, o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	err = r.execute(ctx, cancel)
	for _, s := range r.sinks {
		if e := s.sink.Close(err == nil); e != nil && err == nil {
			err = fmt.Errorf("table %q: %w", p.Tables[s.table].Name, e)
		}
	}
	if err != nil {
		return r.result(), err
	}
	return r.result(), nil
}

func newRun(p *plan.Plan, o Options) (*run, error) {
	o.Nodes = max(1, o.Nodes)
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.Operators == nil {
		o.Operators = &operator.Registry{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	zone, err := expr.LoadZone(p.Settings.Zone)
	if err != nil {
		return nil, fmt.Errorf("'table.local-time-zone' = '%s': %w", p.Settings.Zone, err)
	}
	r := &run{plan: p, options: o, limits: o.Limits, zone: zone, logger: o.Logger, seals: &SealLog{}}
	r.started = time.Now()
	switch {
	case o.Replay != nil:
		r.t0Ms = o.Replay.T0Ms()
	case p.Settings.SealRows == 0:
		r.t0Ms = r.started.UnixMilli()
	}
	r.seals.start(r.t0Ms)
	return r, nil
}

// execute builds nodes and partitions, connects them and waits for all to end.
func (r *run) execute(ctx context.Context, cancel context.CancelCauseFunc) (err error) {
	if err := r.place(); err != nil {
		return err
	}
	defer func() {
		for _, n := range r.nodes {
			n.stop()
		}
		for _, n := range r.nodes {
			n.close()
		}
	}()
	defer func() {
		for _, p := range r.parts {
			err = errors.Join(err, p.closeLanes())
		}
	}()
	if err := r.build(ctx); err != nil {
		return err
	}
	if err := r.connect(ctx, cancel); err != nil {
		return err
	}
	if r.options.Started != nil {
		r.options.Started(r.progress)
	}
	var wg sync.WaitGroup
	for _, p := range r.parts {
		wg.Go(func() {
			if err := p.loop(ctx); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// place decides which node runs which key groups.
func (r *run) place() error {
	groups := make([]int, len(r.plan.Stages))
	for i, s := range r.plan.Stages {
		groups[i] = s.Groups
		layout := r.options.Layout
		if layout == nil {
			layout = EvenLayout
		}
		r.topology.Partitions = append(r.topology.Partitions, layout(s, r.options.Nodes))
	}
	return r.topology.Validate(groups)
}

// EvenLayout gives every node one partition of the stage, key groups in equal ranges; a stage with fewer key groups than nodes starts at a
// node that depends on its number, so that single lanes spread.
func EvenLayout(s *plan.Stage, nodes int) []topology.Partition {
	var out []topology.Partition
	for i, rng := range topology.Split(s.Groups, nodes) {
		node := i
		if s.Groups < nodes {
			node = (i + int(s.ID)) % nodes
		}
		out = append(out, topology.Partition{Stage: s.ID, Range: rng, Node: NodeName(node)})
	}
	return out
}

// NodeName is the name of the i-th in-process node, from 0.
func NodeName(i int) topology.NodeID { return topology.NodeID(fmt.Sprintf("n%d", i+1)) }

// build makes nodes, partitions, sources and lanes.
func (r *run) build(ctx context.Context) error {
	byName := map[topology.NodeID]*Node{}
	for i := range r.options.Nodes {
		n := newNode(NodeName(i), r.options.Workers)
		r.nodes = append(r.nodes, n)
		byName[n.ID] = n
	}
	for _, s := range r.plan.Stages {
		for _, place := range r.topology.Partitions[s.ID] {
			n := byName[place.Node]
			if n == nil {
				return fmt.Errorf("%v: there is no such node", place)
			}
			p := newPartition(n, r, s, place.Range)
			if err := r.openPartition(ctx, p); err != nil {
				return err
			}
			n.parts = append(n.parts, p)
			r.parts = append(r.parts, p)
		}
	}
	return nil
}

// openPartition opens a partition's source and the lanes of its sinks, and compiles its operators once, so that their mistakes show at once.
func (r *run) openPartition(ctx context.Context, p *partition) error {
	if p.spec.Source >= 0 {
		src, err := r.openSource(p.spec.Source)
		if err != nil {
			return err
		}
		p.source = newSource(r.plan.Tables[p.spec.Source], src)
		for _, op := range p.spec.Ops {
			if op.Watermark != nil {
				p.source.idleMs = op.Watermark.IdleMs
			}
		}
		if r.options.Replay != nil {
			p.source.replay = append([]Seal{}, r.options.Replay.forStage(p.spec.ID)...)
		}
	}
	x, err := newExecutor(p)
	if err != nil {
		return err
	}
	p.executors = append(p.executors, x)
	for _, i := range p.sinkOps {
		sink, err := r.openSink(p.spec.Ops[i].Sink)
		if err != nil {
			return err
		}
		lanes := []int{int(p.rng.From)}
		if !p.spec.Ops[i].Sink.Fused {
			for g := p.rng.From + 1; g < p.rng.To; g++ {
				lanes = append(lanes, int(g))
			}
		}
		p.lanes = append(p.lanes, nil)
		for _, n := range lanes {
			lane, err := sink.Open(ctx, n)
			if err != nil {
				return fmt.Errorf("table %q: %w", r.plan.Tables[p.spec.Ops[i].Sink.Table].Name, err)
			}
			k := len(p.lanes) - 1
			p.lanes[k] = append(p.lanes[k], lane)
		}
	}
	return nil
}

func (p *partition) closeLanes() (err error) {
	for _, lanes := range p.lanes {
		for _, l := range lanes {
			err = errors.Join(err, l.Close())
		}
	}
	return err
}

func (r *run) openSource(table int) (connector.Source, error) {
	t := r.plan.Tables[table]
	def, c, err := r.connector(t)
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

func (r *run) openSink(s *plan.Sink) (connector.Sink, error) {
	for _, open := range r.sinks {
		if open.table == s.Table {
			return open.sink, nil
		}
	}
	t := r.plan.Tables[s.Table]
	def, c, err := r.connector(t)
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
	r.sinks = append(r.sinks, &sinkTable{s.Table, sink})
	return sink, nil
}

func (r *run) connector(t *plan.Table) (*connector.Definition, connector.Config, error) {
	def, ok := r.options.Connectors.Lookup(t.Connector)
	if !ok {
		return nil, connector.Config{}, fmt.Errorf("table %q: this binary has no connector %q", t.Name, t.Connector)
	}
	c := connector.Config{Table: t.Name, Schema: t.Schema, Primary: t.Primary, Options: t.Options, Incarnation: r.options.Incarnation,
		CheckpointEpochs: r.plan.Settings.CheckpointEpochs, Lanes: max(1, t.Lanes), Zone: r.zone, Logger: r.logger, Stdout: r.options.Stdout,
		UpsertKey: t.UpsertKey, Query: r.queryID()}
	if r.plan.Settings.SealRows == 0 {
		c.EpochMs = r.plan.Settings.EpochMs
	}
	c.Skipped = func(s connector.SkippedRow) {
		r.skipped.add(t.Name, s, r.logger)
		if r.options.Skipped != nil {
			r.options.Skipped(t.Name, s)
		}
	}
	return def, c, nil
}

// buildKernel compiles an operator for one worker.
func (r *run) buildKernel(op *plan.Op) (relational.Kernel, error) {
	return relational.Build(op, r.options.Operators.Lookup, r.plan.Settings.Seed)
}

func (r *run) traceChains(p *partition, epoch topology.Epoch) {
	if r.options.TraceChains != nil {
		r.options.TraceChains(p.spec.ID, p.rng, epoch, p.chains)
	}
}

func (r *run) result() *Result {
	res := &Result{Seals: r.seals, Progress: r.progress()}
	for _, s := range r.plan.Stages {
		var chains [][]uint64
		for _, p := range r.parts {
			if p.spec != s {
				continue
			}
			if chains == nil {
				chains = make([][]uint64, len(p.chains))
			}
			for i, c := range p.chains {
				chains[i] = append(chains[i], c...)
			}
		}
		res.Chains = append(res.Chains, chains)
	}
	return res
}
