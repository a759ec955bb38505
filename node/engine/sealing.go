package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/zeebo/xxh3"
)

// sealing puts what the node's source partitions of a query seal into the node's log, all that is there in one record: while a record is
// on its way, what comes up waits for the next. Records are numbered so that none ends before an epoch that is sealed in it.
type sealing struct {
	query  *Query
	sealer Sealer

	mu     sync.Mutex
	queue  []*submission
	flight []*submission // put, not yet durable, in order
	last   topology.Epoch
	timer  *time.Timer // flushes what waits for more; nil when nothing does
	waited bool        // what is queued has waited enough
}

// submission is what one partition has sealed.
type submission struct {
	part     *partition
	seals    []Seal
	through  topology.Epoch // the last epoch that is sealed of all key groups of the partition
	at       topology.Epoch // the end of the record that holds it; 0 while it waits
	released bool
	durable  bool
}

// submit gives a partition's seals to the log. The partition is woken when they are released, and when they are durable.
func (s *sealing) submit(p *partition, seals []Seal, through topology.Epoch) *submission {
	sub := &submission{part: p, seals: seals, through: through}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, sub)
	s.flush()
	return sub
}

// flush puts a record when none is on its way. The caller holds the lock.
func (s *sealing) flush() {
	if len(s.queue) == 0 || len(s.flight) > 0 && !s.flight[len(s.flight)-1].released {
		return
	}
	if s.hold() {
		return
	}
	if s.last == 0 {
		// Trimming goes by the ends of records: the first begins where nothing can have been trimmed yet.
		s.last = s.query.complete()
	}
	first := s.last + 1
	s.last = first
	var data []byte
	for _, sub := range s.queue {
		s.last = max(s.last, sub.through)
		for i := range sub.seals {
			s.last = max(s.last, sub.seals[i].Last)
			data = appendSeal(data, &sub.seals[i])
		}
	}
	for _, sub := range s.queue {
		sub.at, sub.seals = s.last, nil
	}
	s.flight = append(s.flight, s.queue...)
	s.queue, s.waited = nil, false
	if s.timer != nil {
		s.timer.Stop()
		s.timer = nil
	}
	s.sealer.Put(backup.SealRecord{First: first, Last: s.last, Data: data})
}

const (
	// gatherFor is how long a record waits at most for the other sources of the same tick. A source that misses it costs a record of its own.
	gatherFor = 3 * time.Millisecond
	// aheadMax is how many epochs the numbers of records may be ahead of the epochs in them.
	aheadMax = 32
)

// hold says that a record is not to be put yet, because more will come: all that is sealed in a tick goes into one. Every further record of a
// tick is numbered beyond what it holds; when numbers are too far ahead it waits for the next tick, or they would run away from the epochs by
// which records are trimmed. The caller holds the lock.
func (s *sealing) hold() bool {
	if s.waited {
		return false
	}
	most := topology.Epoch(0)
	for _, sub := range s.queue {
		most = max(most, sub.through)
	}
	wait := time.Duration(0)
	switch {
	case s.last > 0 && s.last-most >= aheadMax:
		wait = time.Duration(s.query.plan.Settings.EpochMs) * time.Millisecond
	case s.query.sealers() > len(s.queue):
		wait = gatherFor
	default:
		return false
	}
	if s.timer == nil {
		var timer *time.Timer
		timer = time.AfterFunc(wait, func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.timer != timer {
				return // what it was for has been put
			}
			s.timer, s.waited = nil, true
			s.flush()
		})
		s.timer = timer
	}
	return true
}

// sealers is how many partitions here are sealing, those left out that have had no row for some time.
func (q *Query) sealers() (n int) {
	for _, p := range q.partitions() {
		if p.spec.Source >= 0 && Role(p.stats.role.Load()) == Active && phase(p.stats.phase.Load()) == running && !p.stats.quiet.Load() {
			n++
		}
	}
	return n
}

// marks takes over how far the log is released and durable.
func (s *sealing) marks() {
	s.mu.Lock()
	released, durable := s.sealer.Marks()
	var wake []*partition
	for _, sub := range s.flight {
		if !sub.released && sub.at <= released {
			sub.released = true
			wake = append(wake, sub.part)
		}
	}
	n := 0
	for n < len(s.flight) && s.flight[n].released && s.flight[n].at <= durable {
		sub := s.flight[n]
		sub.durable = true
		raise(&sub.part.sealed, int64(sub.through))
		wake = append(wake, sub.part)
		n++
	}
	s.flight = append(s.flight[:0], s.flight[n:]...)
	s.flush()
	s.mu.Unlock()
	for _, p := range wake {
		p.notify()
	}
}

func (s *sealing) isReleased(sub *submission) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sub.released
}

func (s *sealing) wakeAll() {
	for _, p := range s.query.partitions() {
		p.notify()
	}
}

// complete is the latest complete checkpoint that the node knows of.
func (q *Query) complete() topology.Epoch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.placement == nil {
		return 0
	}
	return q.placement.Complete
}

// seal puts the partition's seals into the node's log and waits until they are released. ok is false when the partition has been
// retired meanwhile: its term is over, and they may never be.
func (p *partition) seal(ctx context.Context, seals []Seal, through topology.Epoch) (ok bool, err error) {
	s, submitted := p.query.sealing, time.Now()
	sub := s.submit(p, seals, through)
	defer func() {
		// It waited: that is no work.
		waited := time.Since(submitted)
		p.stats.idleNs.Add(int64(waited))
		p.begun = p.begun.Add(waited)
	}()
	for !s.isReleased(sub) {
		if err := p.wait(ctx); err != nil {
			return false, err
		}
		if p.follow(); p.role == Retired {
			return false, nil
		}
		if p.gated { // the first mark that others hear is no lower than what was shown before
			p.setDurable(min(topology.Epoch(p.sealed.Load()), p.next-1)) // however long this epoch's release takes
		}
	}
	// What was released after the partition was taken over is its successor's to act on: the placement is asked, not what has been
	// followed of it, because it is told before the sealer's new term.
	return p.query.active(p.spec.ID, p.instance), nil
}

// active says whether an instance is active in the placement as it was told last.
func (q *Query) active(stage topology.StageID, instance uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.ContainsFunc(q.placement.Stages[stage], func(pl Placed) bool { return pl.Instance == instance && pl.Role == Active })
}

// beginSource readies a source for where its partition stands: it goes on from what former owners have sealed behind it.
func (p *partition) beginSource(ctx context.Context) error {
	s, q := p.source, p.query
	if replay := q.config.Replay; replay != nil {
		s.replay = append([]Seal{}, replay.forStage(p.spec.ID)...)
		if q.config.Resume {
			s.take(p, replay)
		}
		s.skipSeals(p.next - 1)
		return nil
	}
	if q.sealing == nil || len(p.placed.Adopt) == 0 {
		return nil
	}
	logs, err := q.config.Sealer.Adopt(ctx, p.placed.Adopt)
	if errors.Is(err, backup.ErrFenced) {
		return p.park(ctx, nil) // this process was taken for lost, and its own log for another's: so were its partitions
	}
	if err != nil {
		return fmt.Errorf("stage %q %v: cannot go on from the seals of its former owner: %w", p.spec.Name, p.rng, err)
	}
	p.trace("has its former owners' seals")
	found := make([][]Seal, len(logs))
	for i, log := range logs {
		if log.Trim >= p.next {
			// A later checkpoint is complete, and some of what was sealed before it is gone: it must be read from there, as soon as this node
			// has heard of it, too.
			for p.follow(); p.role != Retired && p.followed.Complete < log.Trim; p.follow() {
				if err := p.wait(ctx); err != nil {
					return err
				}
			}
			return &dataplane.TrimmedError{From: p.next, Floor: log.Trim + 1}
		}
		for _, r := range log.Records {
			seals, err := decodeSeals(r.Data)
			if err != nil {
				return fmt.Errorf("seal log %d, epochs %d to %d: %w", log.Log, r.First, r.Last, err)
			}
			found[i] = append(found[i], seals...)
		}
	}
	own := adopt(found, p.spec.ID, p.rng, p.spec.Groups, p.next-1)
	log := NewSealLog(q.config.T0Ms)
	for _, seal := range own {
		log.Add(seal)
	}
	s.replay = append([]Seal{}, log.forStage(p.spec.ID)...)
	s.take(p, log)
	if ok, err := p.seal(ctx, own, s.put); !ok {
		return p.park(ctx, err)
	}
	q.sealing.adopted(p)
	return nil
}

// take goes on from the seals of a log.
func (s *source) take(p *partition, log *SealLog) {
	s.through = log.through(p.spec.ID, p.rng)
	s.put = max(p.next-1, slices.Min(s.through))
}

// adopted tells the sealer that the partition has taken over what former owners sealed.
func (s *sealing) adopted(p *partition) {
	s.mu.Lock()
	through := s.last
	s.mu.Unlock()
	s.sealer.Adopted(p.spec.ID, p.instance, p.placed.Adopt, through)
}

// letGo tells the sealer, of a source that was restored after its end, that it needs nothing of what former owners sealed: behind the end there
// is nothing, and nobody waits for a record of this one.
func (p *partition) letGo() {
	logs := p.placed.Adopt
	if p.source == nil || !p.over || p.query.sealing == nil || slices.Equal(logs, p.gone) {
		return
	}
	p.gone = logs
	p.query.config.Sealer.Adopted(p.spec.ID, p.instance, logs, 0)
}

// adopt chooses from the logs of former owners, in their order, what they sealed behind epoch after for the key groups in rng of a stage:
// for each key group the last log that has anything of it counts, because its owner had adopted those before.
func adopt(logs [][]Seal, stage topology.StageID, rng topology.Range, groups int, after topology.Epoch) (own []Seal) {
	chosen := make([]int, rng.Len())
	for i := range chosen {
		chosen[i] = -1
	}
	for i, log := range logs {
		for _, seal := range log {
			if seal.Stage != stage || !seal.Range.Overlaps(rng) {
				continue
			}
			for g := max(seal.Range.From, rng.From); g < min(seal.Range.To, rng.To); g++ {
				chosen[g-rng.From] = i
			}
		}
	}
	for i, log := range logs {
		for _, seal := range log {
			if seal.Stage != stage || seal.Last <= after {
				continue
			}
			for from := max(seal.Range.From, rng.From); from < min(seal.Range.To, rng.To); from++ {
				if chosen[from-rng.From] != i {
					continue
				}
				to := from + 1
				for to < min(seal.Range.To, rng.To) && chosen[to-rng.From] == i {
					to++
				}
				own = append(own, seal.within(topology.Range{From: from, To: to}, groups))
				from = to - 1
			}
		}
	}
	sort.SliceStable(own, func(i, j int) bool { return own[i].Last < own[j].Last })
	return slices.CompactFunc(own, func(a, b Seal) bool { return a.Last == b.Last && a.Range == b.Range })
}

// within is what a seal says of some of its key groups.
func (s *Seal) within(rng topology.Range, groups int) Seal {
	out := *s
	out.Range, out.Found, out.Splits = rng, nil, nil
	in := func(id string) bool { return rng.Contains(topology.GroupOf(xxh3.HashString(id), groups)) }
	for _, id := range s.Found {
		if in(id) {
			out.Found = append(out.Found, id)
		}
	}
	for _, sp := range s.Splits {
		if in(sp.ID) {
			out.Splits = append(out.Splits, sp)
		}
	}
	return out
}

// hear takes note of an epoch that some source of the query has released: sources without rows seal through it.
func (q *Query) hear(released topology.Epoch) {
	if topology.Epoch(q.heard.Load()) >= released {
		return
	}
	raise(&q.heard, int64(released))
	q.wakeSources()
}

func (q *Query) wakeSources() {
	for _, p := range q.partitions() {
		if p.spec.Source >= 0 {
			p.notify()
		}
	}
}

// tell lets all who need it know of a released epoch.
func (p *partition) tell(released topology.Epoch) {
	p.query.hear(released)
	p.query.tell(p.followed, released)
}

// tell lets the sources that a placement puts on other nodes know of a released epoch, and shadows, which have caught up when they have taken it;
// but not those that stay shadows, which would never be let alone.
func (q *Query) tell(placement *Placement, released topology.Epoch) {
	told := map[Peer]bool{}
	for s, stage := range placement.Stages {
		for i := range stage {
			peer := Peer{stage[i].Node, stage[i].Boot}
			concerned := stage[i].Role == Shadow && !stage[i].Standby || stage[i].Role == Active && q.plan.Stages[s].Source >= 0
			if !concerned || q.here(stage[i].Partition) || told[peer] {
				continue
			}
			told[peer] = true
			if l := q.node.linkWith(peer); l != nil {
				l.Tell(q.config.ID, released)
			}
		}
	}
}

// tellEvery is how long a node that a source has come to may know less of what others have released than the rest.
const tellEvery = time.Second

// stirSources, until ctx is done, wakes the node's sources when logs have room again, and tells other nodes again and again what sources have
// released. A node where the query is not open yet, or where neither source nor shadow is placed yet, hears nothing of it, and a source there that stands still at a
// checkpoint which others have left behind would do so for ever: it may never be complete, and the others say no more while they stand still, too.
func (q *Query) stirSources(ctx context.Context) {
	relief, stop := q.node.config.Spill.Relief()
	defer stop()
	again := time.NewTicker(tellEvery)
	defer again.Stop()
	for {
		select {
		case <-relief:
			q.wakeSources()
		case <-again.C:
			q.tellAgain()
		case <-ctx.Done():
			return
		}
	}
}

func (q *Query) tellAgain() {
	q.mu.Lock()
	placement := q.placement
	q.mu.Unlock()
	if heard := topology.Epoch(q.heard.Load()); heard > 0 && placement != nil {
		q.tell(placement, heard)
	}
}
