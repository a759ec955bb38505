package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// blockedRetry is how long a partition waits before it tries a blocked sink again.
const blockedRetry = 200 * time.Millisecond

// phase is what an instance is doing.
type phase int32

const (
	restoring  phase = 1 // fetching its state
	catchingUp phase = 2 // behind what its producers had when it subscribed
	running    phase = 3
	ended      phase = 4
)

func (p phase) String() string {
	return [...]string{restoring: "restoring", catchingUp: "catching up", running: "running", ended: "ended"}[p]
}

// start runs the instance on a goroutine of its own until it is told to leave, ctx is done or it fails.
func (p *partition) start(ctx context.Context, fail context.CancelCauseFunc, wg *sync.WaitGroup) {
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.done = make(chan struct{})
	wg.Go(func() {
		defer close(p.done)
		err := p.run(ctx)
		p.shut()
		var trimmed *dataplane.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			// A later checkpoint is complete by now: everything before it is gone, and nobody needs it.
			p.node.config.Logger.Info("restoring anew", "query", p.query.config.Name, "partition", p.place().String(), "why", err.Error())
			p.anew.Store(true)
			p.query.wake()
		case err != nil && context.Cause(ctx) == nil:
			p.query.fail(err)
			fail(err)
		}
		if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
			p.node.config.Logger.Debug("partition ended on leaving", "partition", p.place().String(), "error", err)
		}
	})
}

// errLeft is why an instance that the placement no longer has here ends.
var errLeft = errors.New("the partition is no longer placed here")

// leave ends the instance and waits for it.
func (p *partition) leave() {
	p.cancel(errLeft)
	p.notify()
	<-p.done
}

// shut gives back what the instance holds. Who reads its logs is told that it is gone.
func (p *partition) shut() {
	p.open.Store(false)
	p.saving.close()
	for _, l := range p.logs {
		l.Drop(dataplane.ErrNotYet)
	}
	for _, stream := range p.inlets {
		for _, in := range stream {
			in.close()
		}
	}
	p.suspected.close()
	if p.source != nil {
		p.source.close()
	}
	if err := p.closeLanes(); err != nil {
		p.node.config.Logger.Warn("closing a sink", "query", p.query.config.Name, "partition", p.place().String(), "error", err)
	}
}

func (p *partition) run(ctx context.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.panicked(r)
		}
	}()
	if err := p.begin(ctx); err != nil {
		return err
	}
	p.stats.restoreMs.Store(time.Since(p.made).Milliseconds())
	p.stateAt = time.Now()
	p.heardBefore = max(p.heardBefore, p.next-1)
	p.trace("restored")
	p.stats.phase.Store(int32(catchingUp))
	p.open.Store(true)
	p.query.opened()
	p.query.statusChanged()
	if p.over {
		p.appendEnd()
		return p.afterEnd(ctx)
	}
	if p.source != nil {
		return p.sourceLoop(ctx)
	}
	return p.innerLoop(ctx)
}

// begin makes the instance ready: its source, operators and lanes, and its state at the checkpoint that it starts from.
func (p *partition) begin(ctx context.Context) error {
	q, s := p.query, p.spec
	if s.Source >= 0 {
		src, err := q.openSource(s.Source)
		if err != nil {
			return err
		}
		p.source = newSource(q.plan.Tables[s.Source], src)
		if q.config.Backup != nil {
			p.source.kept = make([]keptSeals, p.rng.Len())
		}
		for _, op := range s.Ops {
			if op.Watermark != nil {
				p.source.idleMs = op.Watermark.IdleMs
			}
		}
	}
	x, err := newExecutor(p)
	if err != nil {
		return err
	}
	p.executors = append(p.executors, x)
	for _, i := range p.sinkOps {
		if err := p.openLanes(ctx, s.Ops[i].Sink); err != nil {
			return err
		}
	}
	from := max(p.placed.Restore, p.placement.Load().Complete)
	if from > 0 {
		if err := p.restore(ctx, from); err != nil {
			return err
		}
	} else {
		p.noteChains(0)
	}
	p.stats.restored.Store(int64(from))
	p.follow()
	if p.source == nil || p.over {
		return nil
	}
	if err := p.standBy(ctx, from); err != nil {
		return err
	}
	return p.beginSource(ctx)
}

// shadowLines is how many checkpoints a shadow of a source stays behind the complete one before it restores that: what is sealed behind the one
// that it stands at is read again when it takes over.
const shadowLines = 8

// standBy keeps a shadow of a source at the checkpoint that it was restored from until it takes over: it goes on from what the active one has
// sealed then. When that has got far away, or everything has ended and the seals are gone, it must restore the later checkpoint: a
// *dataplane.TrimmedError.
func (p *partition) standBy(ctx context.Context, from topology.Epoch) error {
	for {
		complete := p.followed.Complete
		if p.followed.Finished && complete > from || p.role == Shadow && complete-from >= shadowLines*p.checkpointEpochs() {
			return &dataplane.TrimmedError{From: from + 1, Floor: complete + 1}
		}
		if p.role != Shadow {
			return nil
		}
		if p.stats.phase.Swap(int32(running)) != int32(running) {
			p.query.statusChanged() // once: it is woken by each epoch that its node hears of
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
		p.follow()
	}
}

// trace logs how far an instance is on its way from being placed to being seen, since recoveries are judged by it.
func (p *partition) trace(what string) {
	p.node.config.Logger.Debug("instance "+what, "query", p.query.config.Name, "partition", p.place().String(), "instance", p.instance,
		"after", time.Since(p.made).Round(100*time.Microsecond).String(), "next", int64(p.next))
}

// follow takes over what the placement says: the instance's role, who is to consume it, what may go.
func (p *partition) follow() {
	placement := p.placement.Load()
	if placement == p.followed {
		return
	}
	p.followed = placement
	for i := range placement.Stages[p.spec.ID] {
		pl := &placement.Stages[p.spec.ID][i]
		if pl.Instance != p.instance {
			continue
		}
		if p.placed = pl; pl.Role != p.role {
			p.taking.tookOver(p, pl.Role)
			p.role = pl.Role
			p.stats.role.Store(int32(pl.Role))
			if pl.Role == Retired {
				p.saving.giveUp()
			}
			for _, stream := range p.inlets {
				for _, in := range stream {
					in.close() // it subscribes again in its new role
				}
			}
		}
		break // an instance that gave key groups away is retired as well, behind what it keeps
	}
	p.wired = false
	for o, l := range p.logs {
		var consumers []uint64
		if p.role == Active {
			for _, pl := range placement.Stages[p.spec.Outputs[o].Consumer] {
				if pl.Role == Active {
					consumers = append(consumers, pl.Instance)
				}
			}
		}
		l.Expect(consumers)
		if p.query.config.Retain {
			l.Trim(placement.Trim)
		}
	}
	for _, k := range p.keepers {
		k.Trim(placement.Trim)
	}
}

// innerLoop takes epoch after epoch from the partition's producers.
func (p *partition) innerLoop(ctx context.Context) error {
	for {
		p.follow()
		p.narrow()
		if p.role == Retired {
			if err := p.wait(ctx); err != nil {
				return err
			}
			continue
		}
		if err := p.rewire(); err != nil {
			return err
		}
		last, over, ok, err := p.ready()
		if err != nil {
			return err
		}
		if err := p.raiseDurable(p.inputsDurable()); err != nil {
			return err
		}
		if !ok || !p.mayAppend() {
			near := p.near()
			if !ok && p.wired && near {
				p.caughtUp()
			}
			if err := p.saveAgain(); err != nil {
				return err
			}
			if p.toForget > 0 {
				p.forget(forgetIdle)
				continue
			}
			if !near {
				err = p.waitFor(ctx, nearEvery)
			} else {
				err = p.waitCounted(ctx, ok)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := p.step(ctx, last, over); err != nil {
			return err
		}
		if over {
			return p.afterEnd(ctx)
		}
	}
}

const (
	// nearEpochs is how far behind the sources a shadow may be that has caught up: when it takes over, what it lacks is a pause.
	nearEpochs = 8
	// nearWithin is how long it may come no nearer: what is active, and what gives both their input, may be as far behind. After heardWithin
	// sources that follow the clock have told nothing because they have released nothing with rows, and there is nothing to wait for. Those
	// sealed by rows tell of checkpoint epochs only: the coordinator looks how far behind a shadow is.
	nearWithin  = time.Second
	heardWithin = 500 * time.Millisecond
	nearEvery   = 100 * time.Millisecond
)

// near says whether an instance that has nothing to take has taken all that there is. A shadow that was restored just now has asked for the
// epochs behind its checkpoint, and they are on their way. What its node heard of sources before may be of any time.
func (p *partition) near() bool {
	if p.role != Shadow || p.stats.phase.Load() != int32(catchingUp) {
		return true
	}
	heard := topology.Epoch(p.query.heard.Load())
	if heard <= p.heardBefore {
		return time.Since(p.stateAt) >= heardWithin
	}
	lacks := heard - p.next + 1
	if p.lackedAt.IsZero() || lacks < p.lacked {
		p.lacked, p.lackedAt = lacks, time.Now()
	}
	return lacks <= nearEpochs || time.Since(p.lackedAt) >= nearWithin
}

// caughtUp notes that the instance has taken all that there is.
func (p *partition) caughtUp() {
	if p.stats.phase.CompareAndSwap(int32(catchingUp), int32(running)) {
		p.stats.replayMs.Store(time.Since(p.made).Milliseconds() - p.stats.restoreMs.Load())
		p.trace("caught up")
		p.query.statusChanged()
	}
}

// afterEnd waits, after the partition's last epoch, until everything may be seen outside, and serves what the partition emitted until it
// is no longer placed here.
func (p *partition) afterEnd(ctx context.Context) error {
	p.stats.phase.Store(int32(ended))
	for {
		p.follow()
		p.narrow()
		durable := topology.Epoch(p.sealed.Load())
		if p.source == nil && !p.over {
			if err := p.rewire(); err != nil {
				return err
			}
			if err := p.compareEnd(); err != nil {
				return err
			}
			if p.suspected != nil {
				if err := p.wait(ctx); err != nil {
					return err
				}
				continue // it shows nothing any more
			}
			durable = p.inputsDurable()
		}
		if err := p.raiseDurable(durable); err != nil {
			return err
		}
		if p.role == Active {
			p.letGo()
			if err := p.finishLanes(); err != nil {
				return err
			}
			if err := p.saveEnd(); err != nil {
				return err
			}
		}
		if err := p.wait(ctx); err != nil {
			return err
		}
	}
}

// reached says that the instance has ended, or has shown all that there is to show up to where the query is to be run.
func (p *partition) reached() bool {
	if p.stats.ended.Load() {
		return true
	}
	until := int64(p.query.config.Until)
	return until > 0 && p.stats.epoch.Load() >= until && (len(p.sinkOps) == 0 || p.stats.committed.Load() >= until)
}

// inputsDurable is the minimum of the inputs' durable marks, DurableUnknown while one of them is not known.
func (p *partition) inputsDurable() topology.Epoch {
	low := topology.EpochForever
	for _, stream := range p.inlets {
		for _, in := range stream {
			if in.cursor == nil {
				return dataplane.DurableUnknown
			}
			d := in.cursor.Durable()
			if in.ended && d < topology.EpochForever && lost(in.cursor.Err()) {
				// It reads no more, so that only this shows that the producer must be asked again for its mark.
				in.close()
				p.wired = false
				p.notify()
				return dataplane.DurableUnknown
			}
			low = min(low, d)
		}
	}
	if !p.wired {
		return dataplane.DurableUnknown
	}
	return low
}

// lost says that a producer is to be looked for again.
func lost(err error) bool {
	return errors.Is(err, dataplane.ErrLost) || errors.Is(err, dataplane.ErrNotYet)
}

// raiseDurable takes over a durable mark and lets the lanes show what it allows.
func (p *partition) raiseDurable(d topology.Epoch) error {
	if d == dataplane.DurableUnknown {
		return nil
	}
	if !p.gated {
		// Whatever a predecessor showed is at or before the first mark known here.
		p.gated, p.gate = true, d
	}
	p.setDurable(d)
	return p.commit()
}

func (p *partition) setDurable(d topology.Epoch) {
	if d <= p.durable {
		return
	}
	p.durable = d
	for _, l := range p.logs {
		l.SetDurable(d)
	}
	p.saving.raise(d)
	p.stats.durable.Store(int64(d))
}

// notify wakes the partition's goroutine; it never blocks.
func (p *partition) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *partition) wait(ctx context.Context) error {
	select {
	case <-p.wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waitCounted is wait, and counts the time as waiting for room in the logs or for input.
func (p *partition) waitCounted(ctx context.Context, blocked bool) error {
	counter, begun := &p.stats.idleNs, time.Now()
	if blocked {
		counter = &p.stats.blockedNs
	}
	err := p.wait(ctx)
	counter.Add(int64(time.Since(begun)))
	return err
}

// waitFor waits until the partition is woken or d has passed.
func (p *partition) waitFor(ctx context.Context, d time.Duration) error {
	begun := time.Now()
	defer func() { p.stats.idleNs.Add(int64(time.Since(begun))) }()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-p.wake:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// acknowledged takes note of a checkpoint that all vaults have.
func (p *partition) acknowledged(c topology.Epoch, bytes int64, version uint64) {
	raise(&p.acked, int64(c))
	p.report.Lock()
	if i, found := slices.BinarySearchFunc(p.lines, c, compareLine); !found {
		p.lines = slices.Insert(p.lines, i, line{c, bytes, version}) // vaults may acknowledge a later one first
	}
	p.report.Unlock()
	p.query.statusChanged()
}

// needBase takes note of key groups whose whole state the next checkpoint is to bring. Of those that were given away since the one for which they
// are asked for, it has nothing to bring: but that one was not acknowledged.
func (p *partition) needBase(groups []topology.KeyGroup) {
	p.report.Lock()
	if p.bases == nil {
		p.bases = map[topology.KeyGroup]bool{}
	}
	for _, g := range groups {
		if p.rng.Contains(g) {
			p.bases[g] = true
		} else {
			p.saveMore = true
		}
	}
	p.report.Unlock()
	p.notify()
}

// appendEnd gives the logs of a partition that had ended before it was restored their end.
func (p *partition) appendEnd() {
	for o, l := range p.logs {
		e := dataplane.Entry{First: p.next, Last: p.next, Watermark: topology.WatermarkEnd, End: true, Range: p.rng}
		e.ChainSum = topology.SumChains(p.rng.From, p.chains[o])
		l.Append(e)
	}
}
