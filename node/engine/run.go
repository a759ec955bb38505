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

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
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
	Paranoid  bool                                      // see QueryConfig
	// Layout places a stage's partitions; nil: EvenLayout.
	Layout func(stage *plan.Stage, nodes int) []topology.Partition

	Connectors *connector.Registry
	Operators  *operator.Registry
	Logger     *slog.Logger
	Stdout     io.Writer

	Incarnation uint64
	// KeepSeals keeps what was sealed in Result.Seals, for a Replay. It grows with the query's life.
	KeepSeals bool
	// Acknowledged says that Backup has each checkpoint for good when Save returns.
	Acknowledged bool
	// Replay, Resume, Backup, Restore, TraceChains and Skipped: see QueryConfig. With Replay and Resume the run adds to the log it replays.
	Replay  *SealLog
	Resume  bool
	Backup  Backup
	Restore func(ctx context.Context, stage topology.StageID, r topology.Range, epoch topology.Epoch, take func(chain []backup.GroupDelta) error) error
	// From is the complete checkpoint that the query starts from, with Restore; 0: it starts from nothing.
	From topology.Epoch
	// Until: see QueryConfig. Reached is called when all partitions are there, or have ended, and before anything is closed.
	Until       topology.Epoch
	Reached     func() error
	Resealed    uint32 // see QueryConfig
	TraceChains func(stage topology.StageID, rng topology.Range, epoch topology.Epoch, chains [][]uint64)
	Skipped     func(table string, row connector.SkippedRow)
	// Started is called when all partitions are about to run, with a function that says how far the query is. May be nil.
	Started func(progress func() Progress)
}

// Result is what a query leaves.
type Result struct {
	// Chains are the final chains: by stage, then by its outputs and after them its sinks, then by key group.
	Chains   [][][]uint64
	Seals    *SealLog // with Options.KeepSeals
	Progress Progress
}

// localRun is one query on the in-process nodes of one call of Run.
type localRun struct {
	plan    *plan.Plan
	options Options
	seals   *SealLog
	nodes   []*Node
	queries []*Query
	started time.Time
	links   sync.WaitGroup
	unlink  context.CancelFunc
}

// Run runs a plan to its end on in-process nodes with a fixed topology, or until ctx is done: then the error is ctx's cause. Sinks keep what they
// have made visible.
func Run(ctx context.Context, p *plan.Plan, o Options) (*Result, error) {
	o.Nodes = max(1, o.Nodes)
	if o.Stdout == nil {
		o.Stdout = os.Stdout
	}
	o.Stdout = &sharedWriter{w: o.Stdout}
	r := &localRun{plan: p, options: o, started: time.Now(), unlink: func() {}}
	err := r.execute(ctx)
	result := &Result{Seals: r.seals, Progress: r.progress(), Chains: r.chains()}
	r.unlink()
	for _, q := range r.queries {
		err = errors.Join(err, q.Close(err == nil))
	}
	r.links.Wait()
	return result, err
}

// sharedWriter lets several nodes write to one writer.
type sharedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *sharedWriter) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(b)
}

// execute makes nodes, joins them, and runs the query's part on each until all have ended or one fails.
func (r *localRun) execute(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	o := &r.options
	for i := range o.Nodes {
		r.nodes = append(r.nodes, NewNode(NodeConfig{ID: NodeName(i), Boot: 1, Workers: o.Workers, Limits: o.Limits,
			Connectors: o.Connectors, Operators: o.Operators, Logger: o.Logger, Stdout: o.Stdout}))
	}
	if err := r.join(ctx, cancel); err != nil {
		return causeOr(ctx, err)
	}
	c := QueryConfig{ID: topology.QueryID{Incarnation: o.Incarnation, Generation: 1}, Name: "query", Plan: r.plan, Paranoid: o.Paranoid,
		Replay: o.Replay, Resume: o.Resume, Backup: o.Backup, Restore: o.Restore, TraceChains: o.TraceChains, Skipped: o.Skipped, Until: o.Until,
		Resealed: o.Resealed}
	switch {
	case o.Replay != nil:
		c.T0Ms = o.Replay.T0Ms()
	case r.plan.Settings.SealRows == 0:
		c.T0Ms = r.started.UnixMilli()
	}
	if o.KeepSeals {
		r.seals = NewSealLog(c.T0Ms)
		c.Seals = r.seals
	}
	for _, n := range r.nodes {
		acking := &ackingBackup{Backup: o.Backup}
		if c := &c; o.Acknowledged {
			c.Backup = acking
		}
		q, err := n.NewQuery(c)
		acking.query = q
		if err != nil {
			return causeOr(ctx, err)
		}
		r.queries = append(r.queries, q)
	}
	placement := r.placement()
	for _, q := range r.queries {
		q.Update(placement)
	}
	if o.Started != nil {
		o.Started(r.progress)
	}
	var wg sync.WaitGroup
	for _, q := range r.queries {
		wg.Go(func() { cancel(q.Run(ctx)) })
	}
	for _, q := range r.queries {
		select {
		case <-q.Ended():
		case <-ctx.Done():
		}
	}
	if o.Reached != nil && ctx.Err() == nil {
		if err := o.Reached(); err != nil {
			cancel(err)
		}
	}
	cancel(errEnded)
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

// errEnded ends a run when all partitions have ended.
var errEnded = errors.New("all partitions have ended")

// ackingBackup acknowledges what it has saved.
type ackingBackup struct {
	Backup
	query *Query
}

func (b *ackingBackup) Save(c backup.Checkpoint) {
	b.Backup.Save(c)
	b.query.Acknowledge(c.Stage, c.Instance, c.Epoch, 0, 0)
}

// placement lays all stages out, for good.
func (r *localRun) placement() Placement {
	p, instance := Placement{Complete: r.options.From, Trim: r.options.From}, uint64(0)
	layout := r.options.Layout
	if layout == nil {
		layout = EvenLayout
	}
	for _, s := range r.plan.Stages {
		var stage []Placed
		for _, place := range layout(s, r.options.Nodes) {
			instance++
			stage = append(stage, Placed{Partition: place, Instance: instance, Role: Active, Restore: r.options.From})
		}
		p.Stages = append(p.Stages, stage)
	}
	return p
}

// causeOr is why ctx is done, of which err is only a consequence then; err when it is not.
func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// join opens one connection between every two nodes and serves it until unlink.
func (r *localRun) join(ctx context.Context, fail context.CancelCauseFunc) error {
	linked, unlink := context.WithCancel(context.WithoutCancel(ctx))
	r.unlink = unlink
	of, addr := r.options.Transport, ""
	if of == nil {
		tcp := transport.NewTCP(transport.Options{})
		of, addr = func(topology.NodeID) transport.Transport { return tcp }, "127.0.0.1:0"
	}
	for i, a := range r.nodes[:len(r.nodes)-1] {
		l, err := of(a.config.ID).Listen(addr)
		if err != nil {
			return fmt.Errorf("node %s cannot listen: %w", a.config.ID, err)
		}
		for _, b := range r.nodes[i+1:] {
			accepted, dialed, err := connect(ctx, l, of(b.config.ID))
			if err != nil {
				return fmt.Errorf("node %s cannot reach node %s: %w", b.config.ID, a.config.ID, errors.Join(err, l.Close()))
			}
			r.serve(linked, fail, a, b, accepted)
			r.serve(linked, fail, b, a, dialed)
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

func (r *localRun) serve(ctx context.Context, fail context.CancelCauseFunc, self, peer *Node, conn transport.Conn) {
	r.links.Go(func() {
		if err := self.Join(ctx, Peer{peer.config.ID, peer.config.Boot}, conn); err != nil && ctx.Err() == nil {
			fail(err)
		}
	})
}

// connect dials a listener and accepts what was dialed.
func connect(ctx context.Context, l transport.Listener, t transport.Transport) (accepted, dialed transport.Conn, err error) {
	var failed, closing error
	var wg sync.WaitGroup
	wg.Go(func() { accepted, failed = l.Accept() })
	if dialed, err = t.Dial(ctx, l.Addr()); err != nil {
		closing = l.Close() // ends Accept
	}
	wg.Wait()
	if err = errors.Join(err, failed, closing); err == nil {
		return accepted, dialed, nil
	}
	for _, c := range []transport.Conn{accepted, dialed} {
		if c != nil {
			err = errors.Join(err, c.Close()) // one side alone
		}
	}
	return nil, nil, err
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
		out = append(out, topology.Partition{Stage: s.ID, Range: rng, Node: NodeName(node), Boot: 1})
	}
	return out
}

// NodeName is the name of the i-th in-process node, from 0.
func NodeName(i int) topology.NodeID { return topology.NodeID(fmt.Sprintf("n%d", i+1)) }

// progress adds up the nodes' progress. It is safe to call while the query runs.
func (r *localRun) progress() Progress {
	var parts []*partition
	for _, q := range r.queries {
		parts = append(parts, q.partitions()...)
	}
	p := progressOf(parts)
	p.Elapsed = time.Since(r.started)
	for i, q := range r.queries {
		p.RowsSkipped += q.skipped.total.Load()
		if i == 0 && q.clocked() {
			p.LagMs = q.lagMs(p.Epoch)
		}
	}
	return p
}

// chains puts the chains of all partitions together.
func (r *localRun) chains() (out [][][]uint64) {
	for _, s := range r.plan.Stages {
		chains := make([][]uint64, len(s.Outputs))
		for _, op := range s.Ops {
			if op.Sink != nil {
				chains = append(chains, nil)
			}
		}
		for i := range chains {
			chains[i] = make([]uint64, s.Groups)
		}
		for _, q := range r.queries {
			for _, p := range q.parts {
				if p.spec == s {
					for i, c := range p.chains {
						copy(chains[i][p.rng.From:], c)
					}
				}
			}
		}
		out = append(out, chains)
	}
	return out
}
