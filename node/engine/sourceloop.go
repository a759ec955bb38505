package engine

import (
	"context"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

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
		last, found, err := p.nextSeal(ctx)
		if err != nil {
			return err
		}
		for !p.mayAppend() {
			if err := p.wait(ctx); err != nil {
				return err
			}
		}
		ended, err := p.sealEpoch(ctx, last, found)
		if err != nil {
			return err
		}
		if ended {
			return p.end()
		}
	}
}

// nextSeal waits until there is an epoch to seal and gives the end of its range.
func (p *partition) nextSeal(ctx context.Context) (topology.Epoch, []SplitSeal, error) {
	s, q := p.source, p.query
	if s.replay != nil {
		return p.nextReplay(ctx)
	}
	if d := s.src.MonitorInterval(); !s.bounded && d > 0 && !time.Now().Before(s.nextAsk) {
		if err := s.discover(ctx, p, q.timeMs(p.next)); err != nil {
			return 0, nil, err
		}
		s.nextAsk = time.Now().Add(d)
	}
	if q.plan.Settings.SealRows > 0 {
		return p.next, nil, nil
	}
	for {
		now := q.clockEpoch()
		if now >= p.next && p.next == 1 {
			return 1, nil, nil // all partitions find their first splits in the same epoch
		}
		if now >= p.next {
			return rangeEnd(p.next, now, q.plan.Settings.CheckpointEpochs), nil, nil
		}
		if err := sleep(ctx, q.untilEpoch(p.next)); err != nil {
			return 0, nil, err
		}
	}
}

// nextReplay is the next recorded epoch of the stage, with the seals of this partition's splits. After the last one, which
// ends a bounded source, comes nothing.
func (p *partition) nextReplay(ctx context.Context) (topology.Epoch, []SplitSeal, error) {
	s := p.source
	if len(s.replay) == 0 {
		if s.ended() && s.through == nil {
			return p.next, nil, nil
		}
		if s.through != nil {
			s.replay = nil
			if err := s.discover(ctx, p, p.query.timeMs(p.next)); err != nil {
				return 0, nil, err
			}
			return p.nextSeal(ctx)
		}
		return 0, nil, fmt.Errorf("table %q: the seal log ends at epoch %d before the source does; a query that was stopped cannot be replayed", s.table.Name, p.next-1)
	}
	seal := s.replay[0]
	if seal.Last > p.next && (p.next == 1 || p.query.plan.Settings.SealRows > 0 && s.anew(seal.Last)) {
		// All partitions find their first splits in epoch 1, and key groups that are sealed anew take their rows epoch by epoch.
		return p.next, nil, nil
	}
	s.replay = s.replay[1:]
	if s.replay == nil {
		s.replay = []Seal{}
	}
	for _, id := range seal.Found {
		s.add(p, id, 0)
	}
	return seal.Last, seal.Splits, nil
}

// sealEpoch seals and takes the epochs [p.next, last].
func (p *partition) sealEpoch(ctx context.Context, last topology.Epoch, again []SplitSeal) (ended bool, err error) {
	s := p.source
	p.begun = time.Now()
	for i := range again {
		if k := s.known[again[i].ID]; k != nil {
			k.want = &again[i]
		}
	}
	if err := p.forkSource(last); err != nil {
		return false, err
	}
	if err := p.runTasks(ctx); err != nil {
		return false, err
	}
	splits := s.finishEpoch()
	watermark, idle := s.stand()
	ended = s.ended()
	p.query.seals.Add(Seal{Stage: p.spec.ID, Range: p.rng, First: p.next, Last: last, Found: s.found, Splits: splits, End: ended})
	s.found = nil
	return ended, p.finish(last, watermark, idle, ended)
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

// clockEpoch is the last epoch that has begun: epoch e takes the rows of (time(e-1), time(e)] and is sealed at time(e).
func (q *Query) clockEpoch() topology.Epoch {
	return topology.Epoch(time.Since(q.started) / (time.Duration(q.plan.Settings.EpochMs) * time.Millisecond))
}

// untilEpoch is how long it is until epoch e is to be sealed.
func (q *Query) untilEpoch(e topology.Epoch) time.Duration {
	return time.Duration(e)*time.Duration(q.plan.Settings.EpochMs)*time.Millisecond - time.Since(q.started)
}

// timeMs is time(e) in milliseconds since the Unix epoch.
func (q *Query) timeMs(e topology.Epoch) int64 {
	return q.config.T0Ms + int64(e)*q.plan.Settings.EpochMs
}

// elapsedMs is time(e) - T0.
func (q *Query) elapsedMs(e topology.Epoch) int64 { return int64(e) * q.plan.Settings.EpochMs }
