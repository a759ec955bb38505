package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// partition runs a contiguous range of a stage's key groups: one goroutine that takes the whole input of an epoch, runs the
// stage's operators over it and appends the whole output to its logs.
type partition struct {
	query    *Query
	node     *Node
	spec     *plan.Stage
	rng      topology.Range // only narrowed, with report held
	placed   *Placed        // in the placement that is followed
	instance uint64
	made     time.Time
	stateAt  time.Time // when its state was there
	// heardBefore is the latest epoch of which its node knew that a source had released it when the instance was made, or that it was restored to.
	heardBefore topology.Epoch
	lacked      topology.Epoch // of a shadow: how many epochs it was behind what sources had told when it was nearest
	lackedAt    time.Time
	narrowed    narrowing // since the last entry of the logs
	taking      taking    // of its producers' successors
	load        []int64   // rows taken since it was made, by key group of rng
	loadAt      time.Time // when load was last shown
	hot         hotKey

	placement atomic.Pointer[Placement]
	followed  *Placement // what of placement has been taken over
	role      Role
	open      atomic.Bool // its logs may be subscribed to
	anew      atomic.Bool // it ended to be restored from a later checkpoint
	cancel    context.CancelCauseFunc
	done      chan struct{}

	wired     bool // every inlet that the placement asks for has its subscription
	fresh     bool // some inlet has begun since chains were compared
	standings []standing
	suspected *suspicion     // some producer gave other rows than the one before it, and which key group it is is being found out
	durable   topology.Epoch // every seal up to it is fsynced, as far as is known here
	gated     bool
	gate      topology.Epoch // nothing is shown outside before this epoch has been taken
	asked     topology.Epoch // what lanes were told to show
	retryAt   time.Time      // when to try a blocked lane again
	sealed    atomic.Int64   // of a source: its durable mark
	keepers   []connector.Keeper
	keeps     map[int]bool // lanes by sinkOps that are keepers

	outgrown []topology.KeyGroup // restored from long chains: the next checkpoints bring bases of them

	report     sync.Mutex // guards what follows
	lines      []line
	bases      map[topology.KeyGroup]bool
	saveMore   bool // the last checkpoint is to be saved once more, with what there is now
	lineChains []lineChains
	loadShown  []int64
	hotShown   string // the hottest key, and its share of its key group's rows
	hotShare   float64
	taken      []Taken

	inlets [][]*inlet // by stage input, then by producer partition, ascending
	logs   []*dataplane.Log
	pools  []*rowsPool
	groups [][]relational.Group // by op, then key group of rng; nil for operators without state
	chains [][]uint64           // by output, then fused or lane sinks, then key group of rng
	// chainsBefore are, of a source, the chains by output and key group before the epoch that is being sealed.
	chainsBefore [][]uint64
	sinkOps      []int              // ops that are sinks
	lanes        [][]connector.Lane // by sinkOps; one lane for a fused sink, one per key group otherwise
	tails        []*tail.Part       // by sinkOps
	source       *source
	needsBase    bool

	executors []*executor // free ones
	wake      chan struct{}
	next      topology.Epoch
	watermark int64
	idle      bool
	over      bool               // restored after its end
	gone      []topology.SealLog // logs of former owners that it has let go because it was
	// changed holds per key group the last epoch in which its state may have changed.
	changed []topology.Epoch
	from    topology.Epoch // the last checkpoint that is acknowledged; the next delta starts there
	saved   topology.Epoch // the last checkpoint that was saved
	acked   atomic.Int64   // what Acknowledge said; taken over between epochs

	tasks     []task
	rows      []connector.Rows
	laneRows  [][]connector.Rows
	saving    saving
	toForget  int                                // states of key groups that have not been told of from; the first of them is forgetAt
	forgetAt  int                                // op * key groups + key group
	rowsSaved int64                              // rows taken up to the last checkpoint
	replicas  map[*relational.Group]*state.Group // paranoid mode: what the deltas alone give
	memory    []int64                            // by op and key group: last known state size
	stats     partitionStats
	begun     time.Time // of the epoch being taken, for the statistics only
	lastRows  int64     // rows of the last epoch, to decide about forking
}

// partitionStats are read by others while the partition runs.
type partitionStats struct {
	epoch, rows, late, stateBytes, steps           atomic.Int64
	sealBytes                                      atomic.Int64 // of keptSeals
	tableBytes                                     atomic.Int64 // of keepers, at the last checkpoint
	durable, committed, restored, final, watermark atomic.Int64
	beyond                                         atomic.Int64
	role                                           atomic.Int32
	restoreMs, replayMs, restoredBytes             atomic.Int64
	busyNs, idleNs, blockedNs, emitted             atomic.Int64
	cutRows                                        atomic.Int64 // rows of reads that a limit of bytes ended
	backlog                                        atomic.Pointer[backlog]
	phase                                          atomic.Int32
	blocked                                        atomic.Pointer[string]
	// longestStepNs is the longest time that one epoch took here, longestEpochNs the longest time from the instant an epoch was to
	// be sealed to its end in a partition without consumers; both since they were last asked for.
	longestStepNs, longestEpochNs atomic.Int64
	ended                         atomic.Bool
	quiet                         atomic.Bool // a source without rows of late
}

// task is one executor's share of an epoch.
type task struct {
	x        *executor
	from, to int // of source.groups for a source stage
	err      error
}

func newPartition(q *Query, spec *plan.Stage, pl *Placed) *partition {
	rng := pl.Range
	p := &partition{query: q, node: q.node, spec: spec, rng: rng, placed: pl, instance: pl.Instance, role: pl.Role, made: time.Now(),
		heardBefore: topology.Epoch(q.heard.Load()), wake: make(chan struct{}, 1), next: 1, watermark: topology.WatermarkNone, durable: dataplane.DurableUnknown,
		inlets: make([][]*inlet, len(spec.Inputs)), standings: make([]standing, len(spec.Inputs)), keeps: map[int]bool{},
		groups: make([][]relational.Group, len(spec.Ops)), replicas: map[*relational.Group]*state.Group{}}
	p.saving.part = p
	p.sealed.Store(int64(dataplane.DurableUnknown))
	p.stats.durable.Store(int64(dataplane.DurableUnknown))
	p.stats.role.Store(int32(pl.Role))
	p.stats.phase.Store(int32(restoring))
	for i, op := range spec.Ops {
		if op.Sink != nil {
			p.sinkOps = append(p.sinkOps, i)
		}
		if op.Aggregate != nil || op.Partial != nil || op.Process != nil {
			p.groups[i] = make([]relational.Group, rng.Len())
		}
		p.needsBase = p.needsBase || usesRowIndex(op)
	}
	for o := range spec.Outputs {
		pool := &rowsPool{schema: spec.Outputs[o].Schema}
		p.pools = append(p.pools, pool)
		log := dataplane.NewLog(1, q.limits.Log, q.config.Retain, pool.put, p.notify)
		log.SpillTo(p.node.config.Spill)
		log.Restart(1, dataplane.Stand{Watermark: topology.WatermarkNone, Range: rng})
		p.logs = append(p.logs, log)
	}
	p.changed = make([]topology.Epoch, rng.Len())
	p.load = make([]int64, rng.Len())
	p.memory = make([]int64, len(spec.Ops)*rng.Len())
	p.chains = make([][]uint64, len(spec.Outputs)+len(p.sinkOps))
	for i := range p.chains {
		p.chains[i] = make([]uint64, rng.Len())
	}
	return p
}

// usesRowIndex says whether an expression of op counts rows, as RAND does.
func usesRowIndex(op *plan.Op) bool {
	used := false
	look := func(n *expr.Node) { used = used || n.Site != 0 }
	if op.Calc != nil {
		if op.Calc.Filter != nil {
			expr.Walk(op.Calc.Filter, look)
		}
		for _, n := range op.Calc.Project {
			expr.Walk(n, look)
		}
	}
	if op.FlatMap != nil {
		for _, n := range op.FlatMap.Args {
			expr.Walk(n, look)
		}
	}
	return used
}

func (p *partition) mayAppend() bool {
	for _, l := range p.logs {
		if !l.MayAppend() {
			return false
		}
	}
	return true
}

// step takes the epochs [p.next, last] of an inner stage.
func (p *partition) step(ctx context.Context, last topology.Epoch, ended bool) error {
	p.begun = time.Now()
	if err := p.skippedCheckpoint(last); err != nil {
		return err
	}
	rows := int64(0)
	watermark, idle := topology.WatermarkEnd, true
	for _, stream := range p.inlets {
		for _, in := range stream {
			if !in.ended && in.front.Last == last {
				in.noteSum(p.next-1, last, p.followed.Complete)
				in.Stand = dataplane.Stand{Watermark: in.front.Watermark, Idle: in.front.Idle, ChainSum: in.front.ChainSum, Range: in.front.Range}
				for _, r := range in.front.Rows {
					_, _, from, to := r.Span(p.rng)
					rows += int64(to - from)
				}
			}
			// What has ended holds nobody back and says nothing of those that are idle.
			if !in.Idle && !in.ended && !(in.front.Last == last && in.front.End) {
				idle, watermark = false, min(watermark, in.Watermark)
			}
		}
	}
	if ended {
		idle = false
	} else if idle {
		watermark = p.watermark
	}
	watermark = max(watermark, p.watermark)
	due := p.due(watermark)
	if rows > 0 || due {
		work := rows
		if due {
			work += p.stats.stateBytes.Load() / stateBytesPerRow
		}
		p.forkInner(last, watermark, work)
		if err := p.runTasks(ctx); err != nil {
			return err
		}
	} else {
		p.tasks = p.tasks[:0]
	}
	if err := p.finish(ctx, last, watermark, idle, ended); err != nil {
		return err
	}
	for _, stream := range p.inlets {
		for _, in := range stream {
			if in.ended {
				continue
			}
			if in.front.Last == last {
				in.ended, in.have = in.front.End, false
				in.front = dataplane.Entry{}
			}
			in.cursor.Ack(last)
		}
	}
	return nil
}

// stateBytesPerRow turns state into work: timers that fire may give a row for each entry there is.
const stateBytesPerRow = 64

// due says whether a timer of some key group fires at the watermark.
func (p *partition) due(watermark int64) bool {
	if watermark <= p.watermark {
		return false
	}
	for i, groups := range p.groups {
		for g := range groups {
			if groups[g].State != nil && groups[g].Due <= watermark {
				return true
			}
		}
		if len(groups) > 0 && p.spec.Groups == 1 && watermark == topology.WatermarkEnd && p.spec.Ops[i].Aggregate != nil {
			return true
		}
	}
	return false
}

// executor takes a free executor, or makes one.
func (p *partition) executor() (*executor, error) {
	if n := len(p.executors); n > 0 {
		x := p.executors[n-1]
		p.executors = p.executors[:n-1]
		return x, nil
	}
	return newExecutor(p)
}

// forkInner shares the epoch's rows out to one task, or to as many as there are workers when there are enough rows; each gets a contiguous
// range of key groups. How they are cut reaches no output.
func (p *partition) forkInner(last topology.Epoch, watermark, rows int64) {
	p.tasks = p.tasks[:0]
	for _, rng := range p.cut(rows) {
		x, err := p.executor()
		if err != nil {
			p.tasks = append(p.tasks, task{err: err})
			return
		}
		x.begin(rng, last, p.watermark, watermark)
		for s, stream := range p.inlets {
			for _, in := range stream {
				if in.ended || in.front.Last != last {
					continue
				}
				for _, r := range in.front.Rows {
					x.addStream(s, r)
				}
			}
		}
		p.tasks = append(p.tasks, task{x: x})
	}
}

// cut divides the partition's key groups evenly; key groups are hashed, so evenly is fair but for hot keys.
func (p *partition) cut(rows int64) []topology.Range {
	n := p.node.config.Workers
	if rows < p.query.limits.ForkRows || n == 1 || p.rng.Len() == 1 {
		return []topology.Range{p.rng}
	}
	parts := topology.Split(p.rng.Len(), n)
	for i := range parts {
		parts[i].From += p.rng.From
		parts[i].To += p.rng.From
	}
	return parts
}

// runTasks runs the tasks, in parallel when there are several, and gives the error of the lowest key groups.
func (p *partition) runTasks(ctx context.Context) error {
	if len(p.tasks) == 1 {
		p.runTask(ctx, &p.tasks[0])
		return p.tasks[0].err
	}
	var wg sync.WaitGroup
	for i := range p.tasks[1:] {
		wg.Go(func() { p.runTask(ctx, &p.tasks[i+1]) })
	}
	p.runTask(ctx, &p.tasks[0])
	wg.Wait()
	for i := range p.tasks {
		if err := p.tasks[i].err; err != nil {
			return err
		}
	}
	return nil
}

func (p *partition) runTask(ctx context.Context, t *task) {
	if t.err != nil {
		return
	}
	p.node.tokens <- struct{}{}
	defer func() { <-p.node.tokens }()
	defer func() {
		if r := recover(); r != nil {
			t.err = p.panicked(r)
		}
	}()
	if p.source != nil {
		if t.err = p.source.read(ctx, t.x, t.from, t.to); t.err != nil {
			return
		}
	}
	if t.err = t.x.runOps(); t.err != nil {
		return
	}
	t.err = t.x.emit()
}

// raise sets a to v if that is more.
func raise(a *atomic.Int64, v int64) {
	for old := a.Load(); v > old && !a.CompareAndSwap(old, v); old = a.Load() {
	}
}

// finish hands over what the tasks gave for the epochs [p.next, last]: to the sinks, then to the logs.
func (p *partition) finish(ctx context.Context, last topology.Epoch, watermark int64, idle, ended bool) error {
	if p.query.config.Paranoid {
		if err := p.checkState(last); err != nil {
			return err
		}
	}
	if err := p.writeSinks(ctx, last); err != nil {
		return err
	}
	for o, l := range p.logs {
		e := dataplane.Entry{First: p.next, Last: last, Watermark: watermark, Idle: idle, End: ended, Range: p.rng}
		p.narrowed.mark(o, &e)
		for i := range p.tasks {
			e.Rows = append(e.Rows, p.tasks[i].x.outputs[o]...)
		}
		e.ChainSum = topology.SumChains(p.rng.From, p.chains[o])
		l.Append(e)
	}
	p.narrowed = narrowing{}
	p.lastRows = 0
	for i := range p.tasks {
		x := p.tasks[i].x
		p.lastRows += x.rows
		p.stats.rows.Add(x.rows)
		p.stats.emitted.Add(x.emitted)
		p.stats.late.Add(x.late)
		p.stats.cutRows.Add(x.cutRows)
		p.measureState(x)
		p.executors = append(p.executors, x)
	}
	p.taking.taken(p, last)
	p.query.traceChains(p, last)
	p.watermark, p.idle, p.next = watermark, idle, last+1
	if p.query.config.Backup != nil {
		p.acknowledge(topology.Epoch(p.acked.Load()))
	}
	if c := p.checkpointEpochs(); last%c == 0 || ended {
		if p.query.config.Backup == nil {
			p.acknowledge(last)
		}
		line := (last + c - 1) / c * c
		p.noteChains(line)
		if ended {
			p.stats.final.Store(int64(line))
		}
		if err := p.checkpoint(line, ended); err != nil {
			return err
		}
	}
	p.forget(forgetExtra + 2*int(p.lastRows))
	p.stats.epoch.Store(int64(last))
	p.stats.watermark.Store(watermark)
	if until := p.query.config.Until; until > 0 && last >= until {
		p.query.wake()
	}
	took := int64(time.Since(p.begun))
	p.stats.busyNs.Add(took)
	p.showLoad()
	raise(&p.stats.longestStepNs, took)
	if len(p.logs) == 0 && p.query.clocked() {
		raise(&p.stats.longestEpochNs, -int64(p.query.untilEpoch(last)))
	}
	p.stats.steps.Add(1)
	return nil
}

// measureState keeps the partition's state size up to date with the key groups that an executor touched.
func (p *partition) measureState(x *executor) {
	change := int64(0)
	for _, t := range x.touch {
		p.changed[t.group.ID-p.rng.From] = x.ctx.Epoch
		change += p.grown(t.op, t.group)
	}
	if change != 0 {
		p.stats.stateBytes.Add(change)
	}
}

// grown is by how many bytes a key group's state for op has grown since it was last measured.
func (p *partition) grown(op int, g *relational.Group) int64 {
	m := &p.memory[op*p.rng.Len()+int(g.ID-p.rng.From)]
	now := int64(g.State.MemBytes())
	change := now - *m
	*m = now
	return change
}

func (p *partition) openGroup(k relational.Keyed, g *relational.Group, kg topology.KeyGroup) error {
	g.ID, g.State, g.Due = kg, state.NewGroup(), noTimer
	return k.Open(g)
}

// noTimer is a Due above every watermark but the end's; an operator that wants the end sets topology.WatermarkEnd itself, which is
// the same number: advancing an operator that has nothing due is allowed then.
const noTimer = topology.WatermarkEnd

// writeSinks gives every lane its rows of the epochs [p.next, last], in canonical order.
func (p *partition) writeSinks(ctx context.Context, last topology.Epoch) error {
	for n, op := range p.sinkOps {
		lanes := p.lanes[n]
		if p.spec.Ops[op].Sink.Fused {
			p.fusedRows(op, p.keeps[n])
			if err := p.write(ctx, n, lanes[0], last, p.rows); err != nil {
				return err
			}
			p.writeTail(n, op, last)
			continue
		}
		p.laneRows = resize(p.laneRows, p.rng.Len())
		for i := range p.laneRows {
			p.laneRows[i] = p.laneRows[i][:0]
		}
		for i := range p.tasks {
			for _, g := range p.tasks[i].x.values[op] {
				for j, kg := range g.Groups {
					if !p.rng.Contains(kg) {
						continue // given away within the epoch
					}
					k := kg - p.rng.From
					p.laneRows[k] = append(p.laneRows[k], connector.Rows{Batch: g.Batch, From: int(g.Offsets[j]), To: int(g.Offsets[j+1])})
				}
			}
		}
		for k, lane := range lanes {
			if err := p.write(ctx, n, lane, last, p.laneRows[k]); err != nil {
				return err
			}
		}
		p.writeTail(n, op, last)
	}
	return nil
}

// fusedRows puts the rows of a fused sink into p.rows, in canonical order; byGroup: those of each key group on their own.
func (p *partition) fusedRows(op int, byGroup bool) {
	p.rows = p.rows[:0]
	for i := range p.tasks {
		for _, g := range canonical(p.tasks[i].x, op) {
			if first, last := g.Groups[0], g.Groups[len(g.Groups)-1]; !byGroup && p.rng.Contains(first) && p.rng.Contains(last) {
				p.rows = append(p.rows, connector.Rows{Batch: g.Batch, From: int(g.Offsets[0]), To: int(g.Offsets[len(g.Offsets)-1])})
				continue
			}
			for j, kg := range g.Groups {
				if !p.rng.Contains(kg) {
					continue // given away within the epoch
				}
				p.rows = append(p.rows, connector.Rows{Batch: g.Batch, From: int(g.Offsets[j]), To: int(g.Offsets[j+1]), Group: kg})
			}
		}
	}
}

// canonical gives the pieces of op so that reading one after the other is canonical order.
func canonical(x *executor, op int) []*relational.Grouped {
	pieces := x.values[op]
	if len(pieces) < 2 || ascending(pieces) {
		return pieces
	}
	return x.merge(pieces)
}
