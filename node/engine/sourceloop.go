package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// quietEpochs is after how many epochs without a row a source stops sealing empty ones, until there is a row, or it hears of a source that has
// had one.
const quietEpochs = 20

// openCheckpointsMax is how many checkpoints may be under way before sources stop at the next one.
const openCheckpointsMax = 12

// sourceLoop seals epoch after epoch: by the clock, by 'seal' = 'rows:N', or again from a seal log.
func (p *partition) sourceLoop(ctx context.Context) error {
	s := p.source
	if s.replay == nil || s.through != nil {
		if err := s.discover(ctx, p, p.query.timeMs(0)); err != nil {
			return err
		}
		s.nextAsk = time.Now().Add(s.src.MonitorInterval())
	}
	for {
		p.follow()
		p.narrow()
		if err := p.raiseDurable(topology.Epoch(p.sealed.Load())); err != nil {
			return err
		}
		if p.role == Retired || !p.mayAppend() || p.pressed() {
			if err := p.saveAgain(); err != nil {
				return err
			}
			if err := p.waitCounted(ctx, true); err != nil {
				return err
			}
			continue
		}
		last, again, pause, err := p.nextSeal(ctx)
		if err != nil {
			return err
		}
		if pause > 0 {
			if err := p.saveAgain(); err != nil {
				return err
			}
			if err := p.waitFor(ctx, pause); err != nil {
				return err
			}
			continue
		}
		over, err := p.sealEpoch(ctx, last, again)
		if err != nil {
			return err
		}
		if over {
			return p.afterEnd(ctx)
		}
	}
}

// pressed says that the source must stand still where it is: the query is paused, or too much is kept because checkpoints do not complete.
// It does so only at a checkpoint epoch, so that everything behind it drains, the checkpoint completes and what is kept goes; a paused
// source at the one that the furthest source stands at.
func (p *partition) pressed() bool {
	q, line := p.query, p.checkpointEpochs()
	if (p.next-1)%line != 0 && !(p.followed.Paused && p.resting()) || !q.config.Retain {
		return false
	}
	if p.followed.Paused && !p.source.replaying() {
		if at := p.next - 1; p.source.told < at {
			p.source.told = at
			p.tell(at)
		}
		return topology.Epoch(q.heard.Load()) < p.next
	}
	if q.config.Backup == nil || p.source.replaying() || topology.Epoch(q.heard.Load()) >= p.next {
		return false // a source that has gone on needs this one to
	}
	open := (p.next - 1 - p.followed.Complete) / line
	return open > openCheckpointsMax || open > 0 && q.node.config.Spill.Pressed()
}

// nextSeal gives the end of the range of epochs to be sealed next, or how long there is none.
func (p *partition) nextSeal(ctx context.Context) (last topology.Epoch, again []SplitSeal, pause time.Duration, err error) {
	s, q := p.source, p.query
	if s.replay != nil {
		return p.nextReplay(ctx)
	}
	p.caughtUp()
	if d := s.src.MonitorInterval(); !s.bounded && d > 0 && !time.Now().Before(s.nextAsk) {
		if err := s.discover(ctx, p, q.timeMs(p.next)); err != nil {
			return 0, nil, 0, err
		}
		s.nextAsk = time.Now().Add(d)
	}
	if q.plan.Settings.SealRows > 0 {
		return p.next, nil, 0, nil
	}
	now := q.clockEpoch()
	heard := topology.Epoch(q.heard.Load())
	if s.tried == now && heard < p.next {
		// There was no row in the epochs up to now.
		pause = q.untilEpoch(now + 1)
		if d := s.src.MonitorInterval(); p.resting() && d > 0 && !s.live() {
			pause = time.Until(s.nextAsk) // nothing can come before there is a new split
		}
		return 0, nil, max(pause, time.Microsecond), nil
	}
	switch end := max(now, heard); {
	case end < p.next:
		return 0, nil, q.awaits(p.next), nil
	case p.next == 1:
		return 1, nil, 0, nil // all partitions find their first splits in the same epoch
	default:
		from, line := p.next, p.checkpointEpochs()
		if p.resting() {
			// The checkpoints between are of nothing new, but for the last one that others have sealed through: it is complete when this source
			// saves it, too, however far the clock is by the time that it hears of it. Who stands still until it is has told of no later epoch.
			// Behind a longer rest only those matter: none that had a row saved what this one rested through.
			skip := (end - 1) / line * line
			if heard >= from && (heard%line == 0 || heard-from < 2*line) {
				skip = (heard/line - 1) * line
			}
			from = max(from, skip+1)
		}
		last = rangeEnd(from, end, int(line))
		return max(last, min(heard, (from+line-1)/line*line)), nil, 0, nil
	}
}

// nextReplay is the next recorded epoch of the stage, with the seals of this partition's splits. After the last one, which
// ends a bounded source, comes nothing.
func (p *partition) nextReplay(ctx context.Context) (topology.Epoch, []SplitSeal, time.Duration, error) {
	s := p.source
	if len(s.replay) == 0 {
		if s.ended() && s.through == nil {
			return p.next, nil, 0, nil
		}
		if s.through != nil {
			s.replay = nil
			if end := p.adoptedEnd(); end != topology.EpochForever {
				for _, l := range p.logs {
					l.SetAdopted(min(p.next-1, end))
				}
			}
			if err := s.discover(ctx, p, p.query.timeMs(p.next)); err != nil {
				return 0, nil, 0, err
			}
			return p.nextSeal(ctx)
		}
		if until := p.query.config.Until; until > 0 {
			if p.next <= until {
				return until, nil, 0, nil // the rest of them are empty
			}
			return 0, nil, time.Hour, nil // it is over when all partitions are there
		}
		return 0, nil, 0, fmt.Errorf("table %q: the seal log ends at epoch %d before the source does; a query that was stopped cannot be replayed", s.table.Name, p.next-1)
	}
	seal := s.replay[0]
	if seal.Last > p.next && (p.next == 1 || p.query.plan.Settings.SealRows > 0 && s.anew(seal.Last)) {
		// All partitions find their first splits in epoch 1, and key groups that are sealed anew take their rows epoch by epoch.
		return p.next, nil, 0, nil
	}
	s.replay = s.replay[1:]
	if s.replay == nil {
		s.replay = []Seal{}
	}
	for _, id := range seal.Found {
		s.add(p, id, 0)
	}
	return seal.Last, seal.Splits, 0, nil
}

// sealEpoch seals and takes the epochs [p.next, last]. What is sealed anew goes no further before it is released. A source that has been quiet
// for some time seals nothing while it has nothing to say.
func (p *partition) sealEpoch(ctx context.Context, last topology.Epoch, again []SplitSeal) (over bool, err error) {
	s, q := p.source, p.query
	p.begun = time.Now()
	for i := range again {
		if k := s.known[again[i].ID]; k != nil {
			k.want = &again[i]
		}
	}
	if err := p.forkSource(last); err != nil {
		return false, err
	}
	p.keepChains()
	if err := p.runTasks(ctx); err != nil {
		return false, err
	}
	splits := s.finishEpoch()
	p.weighBacklog()
	watermark, idle := s.stand()
	if over = s.ended(); over {
		p.stats.backlog.Store(new(backlog)) // nothing becomes due any more
	}
	news := len(splits) > 0 || len(s.found) > 0 || over
	if s.quiet++; news {
		s.quiet, s.news = 0, last
	}
	p.stats.quiet.Store(s.quiet > quietEpochs)
	line := last%p.checkpointEpochs() == 0
	if s.quiet > quietEpochs && q.quietens() && topology.Epoch(q.heard.Load()) < p.next && (p.resting() || !line) {
		for i := range p.tasks {
			p.executors = append(p.executors, p.tasks[i].x)
		}
		p.tasks = p.tasks[:0]
		s.tried = q.clockEpoch()
		return false, nil
	}
	seal := Seal{Stage: p.spec.ID, Range: p.rng, First: p.next, Last: last, Found: s.found, Splits: splits, End: over}
	q.seals.Add(seal)
	s.found = nil
	fresh := q.sealing != nil && last > s.put && (!s.replaying() || s.through != nil)
	if q.sealing == nil {
		raise(&p.sealed, int64(topology.EpochForever))
	} else if fresh {
		if ok, err := p.seal(ctx, s.fresh(p, seal), last); !ok {
			return false, p.park(ctx, err)
		}
		s.put = last
		if p.narrowWithin() {
			watermark, idle = s.stand()
			seal = seal.within(p.rng, p.spec.Groups)
		}
	}
	if q.sealing != nil && (line || over || fresh && news && q.quietens()) {
		// Also what is replayed: a source that stands still at a checkpoint which this one has left behind would wait in vain for it, since a
		// later one may have overtaken it here.
		p.tell(last)
	}
	p.keepSeal(&seal)
	return over, p.finish(ctx, last, watermark, idle, over)
}

// resting says that the source has had no row for some time and has sealed through the checkpoint epoch behind the last one, so that what it
// gave is all in a checkpoint and may be seen outside: until there is a row again it has nothing to say.
func (p *partition) resting() bool {
	line := p.checkpointEpochs()
	return p.source.quiet > quietEpochs && p.query.quietens() && p.next-1 >= (p.source.news+line-1)/line*line
}

// quietens says that sources leave empty epochs out: a clock says when they would have been, and peers hear of those that are not.
func (q *Query) quietens() bool { return q.sealing != nil && q.plan.Settings.SealRows == 0 }

// park keeps a source that has been retired in the middle of an epoch until it is no longer placed here: its term is over.
func (p *partition) park(ctx context.Context, err error) error {
	for err == nil {
		err = p.wait(ctx)
	}
	return err
}

// adoptedEnd is where the first key group's seals end that were adopted of former owners, EpochForever when all had ended at the checkpoint that
// was restored: of these nothing was sealed behind it, and yet whoever takes them may have gone on.
func (p *partition) adoptedEnd() topology.Epoch {
	restored, end := topology.Epoch(p.stats.restored.Load()), topology.EpochForever
	for i, e := range p.source.through {
		if e > restored || restored == 0 || !p.source.endedOf(p, p.rng.From+topology.KeyGroup(i), restored) {
			end = min(end, max(e, restored))
		}
	}
	return end
}

// replaying says that some seal of former owners is still to be taken.
func (s *source) replaying() bool { return s.replay != nil }

// fresh is what a seal says of key groups that are not replayed: the rest has been adopted already.
func (s *source) fresh(p *partition, seal Seal) (out []Seal) {
	if !s.replaying() {
		return []Seal{seal}
	}
	for from := p.rng.From; from < p.rng.To; from++ {
		if s.replayed(p, from, seal.Last) {
			continue
		}
		to := from + 1
		for to < p.rng.To && !s.replayed(p, to, seal.Last) {
			to++
		}
		out = append(out, seal.within(topology.Range{From: from, To: to}, p.spec.Groups))
		from = to - 1
	}
	return out
}

// forkSource shares the key groups that have splits out to tasks.
func (p *partition) forkSource(last topology.Epoch) error {
	s := p.source
	n := min(p.node.config.Workers, len(s.groups))
	if n > 1 && p.lastRows < p.query.limits.ForkRows && p.next > 1 {
		n = 1
	}
	n = max(n, 1)
	p.tasks = p.tasks[:0]
	for i := range n {
		x, err := p.executor()
		if err != nil {
			return err
		}
		t := task{x: x, from: i * len(s.groups) / n, to: (i + 1) * len(s.groups) / n}
		rng := p.rng
		if i > 0 {
			rng.From = s.groups[t.from].group
		}
		if i < n-1 {
			rng.To = s.groups[t.to].group
		}
		x.begin(rng, last, p.watermark, p.watermark)
		p.tasks = append(p.tasks, t)
	}
	return nil
}

// clocked says that epochs follow the clock.
func (q *Query) clocked() bool { return q.plan.Settings.SealRows == 0 && q.config.Replay == nil }

// elapsed is the time since T0.
func (q *Query) elapsed() time.Duration {
	return q.node.config.Clock().Sub(q.started) + time.Duration(q.ahead.Load())
}

// waitMax is how long a source waits at most for an epoch to begin.
const waitMax = time.Second

// awaits gives how long it is until the next epoch e of a source is to be sealed. What is so far ahead that it would wait for more than waitMax
// was sealed by another clock, which the cluster does not go by any more: then the query's time here goes on from e.
func (q *Query) awaits(e topology.Epoch) time.Duration {
	before := q.ahead.Load()
	d := q.untilEpoch(e)
	if most := time.Duration(q.plan.Settings.EpochMs)*time.Millisecond + waitMax; d > most {
		q.ahead.CompareAndSwap(before, before+int64(d)) // or another source has just done so
		d = 0
	}
	return max(d, time.Microsecond)
}

// clockEpoch is the last epoch that has begun: epoch e takes the rows of (time(e-1), time(e)] and is sealed at time(e).
func (q *Query) clockEpoch() topology.Epoch {
	return topology.Epoch(q.elapsed() / (time.Duration(q.plan.Settings.EpochMs) * time.Millisecond))
}

// untilEpoch is how long it is until epoch e is to be sealed.
func (q *Query) untilEpoch(e topology.Epoch) time.Duration {
	return time.Duration(e)*time.Duration(q.plan.Settings.EpochMs)*time.Millisecond - q.elapsed()
}

// timeMs is time(e) in milliseconds since the Unix epoch.
func (q *Query) timeMs(e topology.Epoch) int64 {
	return q.config.T0Ms + int64(e)*q.plan.Settings.EpochMs
}

// elapsedMs is time(e) - T0.
func (q *Query) elapsedMs(e topology.Epoch) int64 { return int64(e) * q.plan.Settings.EpochMs }
