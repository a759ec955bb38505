package engine

import (
	"cmp"
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Status is what a node says of its part of a query.
type Status struct {
	Partitions []PartitionStatus
	// Err is why the query failed here, nil while it did not.
	Err error
	// Blocked says what a sink or source waits for, "" when for nothing.
	Blocked string
	Skipped int64 // rows left out by 'on-error' = 'skip'
}

// ChainSum is the sum of the chains of a range's key groups after an epoch: see topology.SumChains.
type ChainSum struct {
	Range topology.Range
	Epoch topology.Epoch
	Sum   uint64
}

// lineChains are the sums of each key group's chains at a checkpoint epoch.
type lineChains struct {
	epoch  topology.Epoch
	groups []uint64
}

// PartitionStatus is what a node says of one instance of a partition.
type PartitionStatus struct {
	Stage    topology.StageID
	Range    topology.Range
	Instance uint64
	Role     Role
	Phase    string         // "restoring", "catching up", "running", "ended"
	Epoch    topology.Epoch // the last that was taken
	Durable  topology.Epoch // 0 while it is not known
	// Lines are the checkpoints behind the latest complete one that all vaults have and whose epochs are all committed outside, ascending.
	Lines     []topology.Epoch
	LineBytes []int64 // what each of them takes at one vault
	// LineVersions are those of the metadata whose vaults have each of them, EndedVersion that of Ended.
	LineVersions []uint64
	EndedVersion uint64
	// Ended, when not 0, is the checkpoint with the final state: everything is committed, and it counts as every later one too.
	Ended    topology.Epoch
	Restored topology.Epoch // the checkpoint that it started from
	// Beyond, when not 0, says that it has consumed epochs of a source behind this one, whose seals no vault has any more: it stands still.
	Beyond topology.Epoch
	// Chains are for holding shadows against what is active, at the last few checkpoint epochs: a shadow gives its range's, an active
	// partition those of the part of each shadow's range that is its own.
	Chains []ChainSum

	RestoreMs, ReplayMs, RestoredBytes        int64
	StateBytes, LogBytes, Rows, RowsOut, Late int64
	SentBytes                                 int64 // of rows, as encoded for other nodes
	SpilledBytes                              int64 // of the output logs, on disk; LogBytes are in memory
	SealBytes                                 int64 // of a source: seals that are kept for its checkpoints
	TableBytes                                int64 // of what sinks keep, as of the last checkpoint
	BusyNs, IdleNs, BlockedNs                 int64
	WatermarkMs                               int64
	Blocked                                   string
	// Groups are the rows taken by each key group of Range, as of a second ago at most while rows come; nil before.
	Groups []int64
	// HotKey is the most frequent key of the busiest key group and HotShare its part of that group's rows; "" when none stands out.
	HotKey   string
	HotShare float64
	// Taken are the last changes of producers, or of the instance itself.
	Taken []Taken
	// Backlog are rows that are due and that a source has not read, -1 where that is not known; CutRows those of reads that a limit of
	// bytes ended: there were more.
	Backlog, CutRows int64
}

// Status is what the node says of its part of the query. It may be called at any time.
func (q *Query) Status() Status {
	q.mu.Lock()
	parts := append([]*partition(nil), q.parts...)
	st := Status{Err: q.err, Skipped: q.skipped.total.Load()}
	placement := q.placement
	q.mu.Unlock()
	for _, p := range parts {
		s := p.status(placement)
		if st.Blocked == "" {
			st.Blocked = s.Blocked
		}
		st.Partitions = append(st.Partitions, s)
	}
	return st
}

func (p *partition) status(placement *Placement) PartitionStatus {
	complete := placement.Complete
	p.report.Lock()
	defer p.report.Unlock()
	s := PartitionStatus{Stage: p.spec.ID, Range: p.rng, Instance: p.instance, Role: Role(p.stats.role.Load()), Phase: phase(p.stats.phase.Load()).String(),
		Epoch: topology.Epoch(p.stats.epoch.Load()), Durable: max(0, topology.Epoch(p.stats.durable.Load())), Restored: topology.Epoch(p.stats.restored.Load()),
		Beyond:    topology.Epoch(p.stats.beyond.Load()),
		RestoreMs: p.stats.restoreMs.Load(), ReplayMs: p.stats.replayMs.Load(), StateBytes: p.stats.stateBytes.Load(), SealBytes: p.stats.sealBytes.Load(), TableBytes: p.stats.tableBytes.Load(), Rows: p.stats.rows.Load(),
		Late: p.stats.late.Load(), BusyNs: p.stats.busyNs.Load(), IdleNs: p.stats.idleNs.Load(),
		Backlog: p.backlogNow(), CutRows: p.stats.cutRows.Load(), BlockedNs: p.stats.blockedNs.Load(), RowsOut: p.stats.emitted.Load(), WatermarkMs: p.stats.watermark.Load()}
	s.RestoredBytes = p.stats.restoredBytes.Load()
	s.HotKey, s.HotShare = p.hotShown, p.hotShare
	s.Groups, s.Taken = slices.Clone(p.loadShown), slices.Clone(p.taken)
	for _, l := range p.logs {
		s.LogBytes += l.HeldBytes()
		s.SentBytes += l.SentBytes()
		s.SpilledBytes += l.SpilledBytes()
	}
	if b := p.stats.blocked.Load(); b != nil {
		s.Blocked = *b
	}
	committed := topology.EpochForever
	if len(p.sinkOps) > 0 {
		committed = topology.Epoch(p.stats.committed.Load())
	}
	for i := range placement.Stages[p.spec.ID] {
		if pl := &placement.Stages[p.spec.ID][i]; pl.Role == Shadow && pl.Range.Overlaps(p.rng) && (s.Role == Active || pl.Instance == p.instance) {
			r := topology.Range{From: max(pl.Range.From, p.rng.From), To: min(pl.Range.To, p.rng.To)}
			if !slices.ContainsFunc(s.Chains, func(c ChainSum) bool { return c.Range == r }) { // standbys of one range
				s.Chains = p.appendChains(s.Chains, r, complete)
			}
		}
	}
	p.lines = slices.DeleteFunc(p.lines, func(l line) bool { return l.epoch < complete })
	for _, l := range p.lines {
		if l.epoch > complete && l.epoch <= committed {
			s.Lines, s.LineBytes, s.LineVersions = append(s.Lines, l.epoch), append(s.LineBytes, l.bytes), append(s.LineVersions, l.version)
		}
	}
	if final := topology.Epoch(p.stats.final.Load()); p.stats.ended.Load() && final > 0 {
		if i, has := slices.BinarySearchFunc(p.lines, final, compareLine); has || final <= complete {
			s.Ended = final
			if has {
				s.EndedVersion = p.lines[i].version
			}
		}
	}
	return s
}

// line is a checkpoint that all vaults have, and what it takes at one of them.
type line struct {
	epoch   topology.Epoch
	bytes   int64
	version uint64 // of the metadata: the vaults that have it are those of this version
}

func compareLine(l line, c topology.Epoch) int { return cmp.Compare(l.epoch, c) }

// lineChainsMax is how many checkpoint epochs' chains a partition remembers: a shadow starts from a complete one, and sources may be far ahead
// of that.
const lineChainsMax = 64

// noteChains remembers the key groups' chains at a checkpoint epoch.
func (p *partition) noteChains(c topology.Epoch) {
	p.report.Lock()
	defer p.report.Unlock()
	l := lineChains{epoch: c}
	if len(p.lineChains) == lineChainsMax {
		l.groups = p.lineChains[0].groups
		p.lineChains = append(p.lineChains[:0], p.lineChains[1:]...)
	}
	l.groups = resize(l.groups, p.rng.Len())
	clear(l.groups)
	for _, chains := range p.chains {
		for i, x := range chains {
			l.groups[i] += x
		}
	}
	p.lineChains = append(p.lineChains, l)
}

// appendChains appends the sums of a range's chains. Those of an instance that has ended stay as they are, also at a checkpoint that is complete
// later, from which the other one may have started. The caller holds report.
func (p *partition) appendChains(out []ChainSum, r topology.Range, complete topology.Epoch) []ChainSum {
	for _, l := range p.lineChains {
		out = append(out, ChainSum{Range: r, Epoch: l.epoch, Sum: topology.SumChains(r.From, l.groups[r.From-p.rng.From:r.To-p.rng.From])})
	}
	if n := len(out); phase(p.stats.phase.Load()) == ended && n > 0 && out[n-1].Range == r && out[n-1].Epoch < complete {
		out = append(out, ChainSum{Range: r, Epoch: complete, Sum: out[n-1].Sum})
	}
	return out
}
