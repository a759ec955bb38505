package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// openLanes opens the lanes of a sink that the partition writes: one for a fused sink, else one per key group.
func (p *partition) openLanes(ctx context.Context, s *plan.Sink) error {
	sink, err := p.query.openSink(s)
	if err != nil {
		return err
	}
	k := len(p.lanes)
	p.lanes = append(p.lanes, nil)
	open := func(n topology.KeyGroup) (connector.Lane, error) { return sink.Open(ctx, int(n)) }
	last := p.rng.To - 1
	if s.Fused {
		last = p.rng.From
		if r, ok := sink.(connector.RangeSink); ok {
			open = func(topology.KeyGroup) (connector.Lane, error) { return r.OpenRange(ctx, p.rng) }
		}
	}
	for n := p.rng.From; n <= last; n++ {
		lane, err := open(n)
		if err != nil {
			return fmt.Errorf("table %q: %w", p.query.plan.Tables[s.Table].Name, err)
		}
		p.lanes[k] = append(p.lanes[k], lane)
		if keeper, ok := lane.(connector.Keeper); ok {
			p.keepers = append(p.keepers, keeper)
			p.keeps[k] = true
		}
	}
	p.openTail(k, s)
	return nil
}

func (p *partition) closeLanes() (err error) {
	for _, lanes := range p.lanes {
		for _, l := range lanes {
			err = errors.Join(err, l.Close())
		}
	}
	for _, t := range p.tails {
		t.Close()
	}
	return err
}

// finishLanes ends the lanes when all that they were given may be seen outside.
func (p *partition) finishLanes() error {
	if p.stats.ended.Load() || p.durable < p.next-1 && !p.over {
		return nil
	}
	for n, lanes := range p.lanes {
		for _, l := range lanes {
			if p.keeps[n] {
				if ok, err := p.blocked(n, l.Commit(p.next-1)); !ok {
					return err
				}
			}
			if ok, err := p.blocked(n, l.End()); !ok {
				return err
			}
		}
	}
	for _, t := range p.tails {
		t.End()
	}
	p.stats.committed.Store(int64(topology.EpochForever))
	p.stats.ended.Store(true)
	p.setDurable(topology.EpochForever)
	p.query.wake()
	p.query.statusChanged()
	return nil
}

// commit lets the lanes show the epochs that are durable and written: on a partition that was restored not before it has passed the first
// mark it knew, so that nobody who reads sees the past again.
func (p *partition) commit() error {
	through := min(p.durable, p.next-1)
	if p.role != Active || len(p.lanes) == 0 || through <= p.asked || p.next-1 < min(p.gate, p.gateMost()) || time.Now().Before(p.retryAt) {
		return nil
	}
	committed := topology.EpochForever
	for n, lanes := range p.lanes {
		for _, l := range lanes {
			if ok, err := p.blocked(n, l.Commit(through)); !ok {
				return err
			}
			committed = min(committed, l.Committed())
		}
	}
	for _, t := range p.tails {
		t.Publish(through)
	}
	if p.asked <= topology.Epoch(p.stats.restored.Load()) {
		p.trace("shows what is new")
	}
	p.asked = through
	if until := p.query.config.Until; until > 0 && committed >= until {
		defer p.query.wake() // when that is what committed says
	}
	p.taking.shown(p, through)
	line := p.checkpointEpochs()
	if topology.Epoch(p.stats.committed.Swap(int64(committed)))/line < committed/line {
		p.query.statusChanged()
	}
	return nil
}

// gateMost is the latest epoch that a gate can stand at: a mark may be beyond all epochs when a source has ended.
func (p *partition) gateMost() topology.Epoch {
	if p.query.config.Sealer == nil {
		return 0
	}
	return topology.EpochForever - 1
}

// blocked says whether a lane's call was done. One that waits for something outside is made again in a while; what it waits for is part of
// the query's status.
func (p *partition) blocked(lane int, err error) (done bool, failed error) {
	if err != nil {
		return false, p.block(lane, err)
	}
	if p.stats.blocked.Load() != nil {
		p.stats.blocked.Store(nil)
		p.query.statusChanged()
	}
	p.retryAt = time.Time{}
	return true, nil
}

func (p *partition) block(lane int, err error) error {
	if block := (*connector.BlockedError)(nil); errors.As(err, &block) {
		text := err.Error()
		if p.stats.blocked.Swap(&text) == nil {
			p.query.statusChanged()
		}
		p.retryAt = time.Now().Add(blockedRetry)
		time.AfterFunc(blockedRetry, p.notify)
		return nil
	}
	return p.sinkError(lane, err)
}

// write gives a lane its rows of the epochs [p.next, last], until it has taken them.
func (p *partition) write(ctx context.Context, n int, lane connector.Lane, last topology.Epoch, rows []connector.Rows) error {
	for {
		done, err := p.blocked(n, lane.Write(p.next, last, rows))
		if done || err != nil {
			return err
		}
		if err := sleep(ctx, blockedRetry); err != nil {
			return err
		}
	}
}
