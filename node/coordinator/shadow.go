package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// ShadowSeen is how far a shadow has come, and when it last came further.
type ShadowSeen struct {
	Instance uint64
	Purpose  topology.Purpose
	SinceMs  int64
	Best     Progress
}

// Progress is how far a shadow is on its way. It can rise so often only: what restores and catches up for ever is not on its way.
type Progress struct {
	Phase  int   // of waysOfShadows, -1: nothing is known
	Bytes  int64 // while it restores
	Behind int64 // epochs, when it is restored; -1: not known
}

// waysOfShadows are the phases of a shadow in their order.
var waysOfShadows = []string{PhaseRestoring, PhaseCatchingUp, PhaseRunning, PhaseEnded}

// beyond says whether p is further than q. To be a few epochs nearer than before is none: what is reported of two processes is not of one instant.
func (p Progress) beyond(q Progress) bool {
	if p.Phase != q.Phase {
		return p.Phase > q.Phase
	}
	return p.Bytes > q.Bytes || p.Behind >= 0 && (q.Behind < 0 || p.Behind < q.Behind-max(nearerEpochs, q.Behind/16))
}

// progressOf is how far a shadow is by the latest reports.
func (v *View) progressOf(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow) Progress {
	p := Progress{Phase: -1, Behind: -1}
	r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
	if r == nil {
		return p
	}
	switch p.Phase = slices.Index(waysOfShadows, r.Phase); r.Phase {
	case PhaseRestoring:
		p.Bytes = r.RestoredBytes
	case PhaseCatchingUp, PhaseRunning:
		p.Behind = v.behind(q, s, sh, r)
	}
	return p
}

// standsBy says whether a shadow is a standby that is as far as it must be: one that falls behind the complete checkpoint keeps everybody from trimming.
func (v *View) standsBy(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow) bool {
	r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
	return sh.Purpose == topology.ForStandby && caughtUp(r) && (r.Phase == PhaseEnded || r.Epoch >= q.Complete)
}

// changeOf is the kind of change that a shadow is for.
func changeOf(sh *topology.Shadow, merge bool) Change {
	switch {
	case merge:
		return changeMerge
	case sh.Purpose == topology.ForStandby:
		return changeStandby
	}
	return changeLayout
}

// behind is how many epochs a shadow is behind what is active in its range, -1 when that is not known.
func (v *View) behind(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow, r *PartitionReport) int64 {
	first := topology.Epoch(-1)
	for i := range q.Stages[s].Partitions {
		if a := &q.Stages[s].Partitions[i]; a.Range.Overlaps(sh.Range) {
			if x := v.active(q, s, a); x != nil {
				first = max(first, x.Epoch)
			}
		}
	}
	if first < 0 {
		return -1
	}
	return int64(max(0, first-r.Epoch))
}

// Switch ends pending shadows: those that have caught up and have the chains of what is active take over, neighbours all at once; one with
// other chains fails the query; one whose process is lost, that does not catch up in time, or that cannot take over any more is dropped.
// It gives one command on the topology at most.
func Switch(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	m.seeShadows(v, q)
	if !placed(q.State) {
		return d
	}
	for s, st := range q.Stages {
		stage := topology.StageID(s)
		runs := atOnce(st.Shadows)
		for _, run := range runs {
			for i := range run {
				if d = v.shadow(q, stage, &run[i], m.stoodMs(run, v.NowMs), m); len(d.Commands) > 0 {
					return d
				}
			}
		}
		for _, run := range runs {
			if d = v.takeOver(q, stage, run, m); len(d.Commands) > 0 {
				return d
			}
		}
	}
	return d
}

// atOnce cuts the shadows of a stage into those that take over at once: neighbours that are parts of a change, between which standbys may stand.
func atOnce(list []topology.Shadow) (runs [][]topology.Shadow) {
	change := -1 // the run that the last part of a change is in
	for _, sh := range list {
		if sh.Purpose == topology.ForChange && change >= 0 {
			if run := runs[change]; run[len(run)-1].Range.To == sh.Range.From {
				runs[change] = append(run, sh)
				continue
			}
		}
		if sh.Purpose == topology.ForChange {
			change = len(runs)
		}
		runs = append(runs, []topology.Shadow{sh})
	}
	return runs
}

// stoodMs is for how long none of some shadows has come further: those that are ready wait for the others.
func (m *QueryMemory) stoodMs(run []topology.Shadow, nowMs int64) int64 {
	last := int64(0)
	for _, x := range m.Shadows {
		if slices.ContainsFunc(run, func(sh topology.Shadow) bool { return sh.Instance == x.Instance }) {
			last = max(last, x.SinceMs)
		}
	}
	return nowMs - last
}

func (m *QueryMemory) seeShadows(v *View, q *raftfsm.Query) {
	var seen []ShadowSeen
	for s, st := range q.Stages {
		for i := range st.Shadows {
			sh := &st.Shadows[i]
			x := ShadowSeen{sh.Instance, sh.Purpose, v.NowMs, v.progressOf(q, topology.StageID(s), sh)}
			// A standby that has become something else has its time before it, as has one that stands by, or cannot come further.
			same := func(y ShadowSeen) bool { return y.Instance == x.Instance && y.Purpose == x.Purpose }
			anew := v.standsBy(q, topology.StageID(s), sh) || sh.Purpose == topology.ForStandby && q.State == raftfsm.Waiting
			if k := slices.IndexFunc(m.Shadows, same); k >= 0 && !anew && !x.Best.beyond(m.Shadows[k].Best) {
				x = m.Shadows[k]
			}
			seen = append(seen, x)
		}
	}
	m.Shadows = seen
}

// shadow drops a shadow that will not take over, one that has stood for too long for one, or fails the query for its chains.
func (v *View) shadow(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow, stoodMs int64, m *QueryMemory) Decision {
	var d Decision
	drop := func(why string) Decision {
		d.command(&raftfsm.ShadowDrop{Query: q.ID, Version: q.Version, Stage: s, Range: sh.Range, Instance: sh.Instance, Why: fmt.Sprintf("on %s: %s", sh.Process.Node, why)})
		return d
	}
	if !v.State.Lives(sh.Process) || !v.takes(v.State.Node(sh.Process.Node)) {
		return drop("it is lost or takes no partitions")
	}
	merge := merges(q.Stages[s], sh)
	at, sum, other, both := v.commonChain(q, s, sh)
	if both && sum != other {
		if canFail(q.State) {
			at, groups := v.differing(q, s, sh, at)
			return fail(q, fmt.Sprintf("chain mismatch: two runs of %s gave other rows for %s up to epoch %d; an operator of the stage is not deterministic",
				q.StageName(s), groups, at))
		}
		m.failed(s, changeOf(sh, merge), sh.Process, v.NowMs)
		return drop(fmt.Sprintf("chain mismatch at epoch %d", at))
	}
	if why := v.misfit(q, s, sh); why != "" {
		return drop(why)
	}
	if merge && len(m.Lagging) > 0 {
		m.failed(s, changeMerge, sh.Process, v.NowMs)
		return drop("partitions of the query are behind, and bringing it up takes from what they need")
	}
	r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
	patience := v.Timing.Converge
	if merge && r != nil && r.Phase != PhaseRestoring {
		patience = mergeStandsMs
	}
	if stoodMs <= patience {
		return d
	}
	m.failed(s, changeOf(sh, merge), sh.Process, v.NowMs)
	stands := "nothing is known of it"
	switch {
	case r != nil && r.Phase == PhaseRestoring:
		stands = fmt.Sprintf("it is restoring and has %d bytes", r.RestoredBytes)
	case r != nil:
		stands = fmt.Sprintf("it is %s, at epoch %d and %d behind; the complete checkpoint is that of epoch %d", r.Phase, r.Epoch, v.behind(q, s, sh, r), q.Complete)
	}
	return drop(fmt.Sprintf("it has not come further in %d s: %s", patience/1000, stands))
}

// misfit says why a shadow can never take over as things are, "" when it may.
func (v *View) misfit(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow) string {
	for i := range q.Stages[s].Partitions {
		a := &q.Stages[s].Partitions[i]
		switch {
		case !a.Range.Overlaps(sh.Range):
		case sh.Purpose != topology.ForChange && a.Range != sh.Range:
			return fmt.Sprintf("it is for %v, and what is active there has %v by now", sh.Range, a.Range)
		case a.Process == sh.Process && !merges(q.Stages[s], sh):
			return fmt.Sprintf("%s runs key groups of %v by now", a.Process.Node, sh.Range)
		case sh.Purpose == topology.ForSpeed:
			if lag, ok := v.lagMs(q, s, a); ok && lag < recoveredMs {
				return fmt.Sprintf("what is active on %s has caught up with its peers", a.Process.Node)
			}
		}
	}
	return ""
}

// caughtUp says whether an instance runs, with nothing to make up for, or has ended.
func caughtUp(r *PartitionReport) bool {
	return r != nil && (r.Phase == PhaseRunning || r.Phase == PhaseEnded)
}

// takeOver switches to neighbouring shadows when all of them may take over.
func (v *View) takeOver(q *raftfsm.Query, s topology.StageID, run []topology.Shadow, m *QueryMemory) Decision {
	var d Decision
	k := &raftfsm.Switch{Query: q.ID, Version: q.Version, Stage: s, Range: topology.Range{From: run[0].Range.From, To: run[len(run)-1].Range.To}}
	var owners []topology.Process
	for i := range run {
		sh := &run[i]
		at, _, _, both := v.commonChain(q, s, sh)
		r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
		if !caughtUp(r) || !both || r.Restored > q.Complete || !v.due(q, s, sh, r) {
			return d
		}
		if r.Phase == PhaseRunning && !q.Stages[s].Source && r.Epoch < q.Complete {
			// What is kept for a shadow goes when it is none any more. It would have to restore that checkpoint, and results would wait for it.
			return d
		}
		if r.Phase == PhaseRunning && sh.Purpose == topology.ForChange && !q.Stages[s].Source && v.behind(q, s, sh, r)*q.EpochMs > takeOverMs {
			return d // it had caught up, and has fallen behind since
		}
		if q.Stages[s].Source && q.State == raftfsm.Finished && r.Phase != PhaseEnded {
			return d // it restores the end: nobody has the seals up to it any more
		}
		k.AtEpoch = max(k.AtEpoch, at)
		k.Parts = append(k.Parts, raftfsm.SwitchPart{Instance: sh.Instance, From: max(r.Restored, sh.Restore)})
		owners = append(owners, sh.Process)
	}
	if a := inTwoPieces(q.Stages[s], k.Range); a != nil {
		m.failed(s, changeLayout, run[0].Process, v.NowMs)
		d.command(&raftfsm.ShadowDrop{Query: q.ID, Version: q.Version, Stage: s, Range: k.Range,
			Why: fmt.Sprintf("the rest of its change was dropped, and %v on %s would be left in two pieces", a.Range, a.Process.Node)})
		return d
	}
	if q.Stages[s].Source && q.State != raftfsm.Finished {
		k.Seals = v.sealGrants(q.ID.Incarnation, nil, owners) // who has a log may lose it by this very switch, for what goes to another
	}
	m.succeeded(s)
	d.command(k)
	return d
}

// due says whether a shadow that has caught up takes over: one for speed when it is ahead of what is active.
func (v *View) due(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow, r *PartitionReport) bool {
	switch sh.Purpose {
	case topology.ForStandby:
		return false
	case topology.ForSpeed:
		mine, ok := v.reached(q, sh.Process, r)
		for i := range q.Stages[s].Partitions {
			if a := &q.Stages[s].Partitions[i]; a.Range == sh.Range {
				its, known := v.reached(q, a.Process, v.active(q, s, a))
				return ok && known && int64(mine-its)*q.EpochMs > recoveredMs
			}
		}
		return false
	}
	return true
}

// inTwoPieces is the active partition that would keep key groups on both sides of r, nil for none.
func inTwoPieces(st *raftfsm.Stage, r topology.Range) *topology.Assignment {
	for i := range st.Partitions {
		if a := &st.Partitions[i]; a.Range.From < r.From && a.Range.To > r.To {
			return a
		}
	}
	return nil
}

// commonChain gives the chains of a shadow and of what is active in its range at the latest epoch for which both are known; a
// mismatch at any epoch that both have is given first.
func (v *View) commonChain(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow) (at topology.Epoch, shadow, active uint64, both bool) {
	r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
	if r == nil {
		return 0, 0, 0, false
	}
	for _, c := range slices.Backward(r.Chains) {
		if c.Range != sh.Range {
			continue
		}
		sum, ok := v.activeChain(q, s, sh.Range, c.Epoch)
		if !ok {
			continue
		}
		if sum != c.Sum {
			return c.Epoch, c.Sum, sum, true
		}
		if !both {
			at, shadow, active, both = c.Epoch, c.Sum, sum, true
		}
	}
	return at, shadow, active, both
}

// differing says of which key groups a shadow's chains differ from those of what is active, and from which epoch on. An epoch in which only one of them
// made a further difference tells which that is; otherwise the first epoch at which there was one is given, at the latest last.
func (v *View) differing(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow, last topology.Epoch) (at topology.Epoch, groups string) {
	at = last
	before := uint64(0)
	for _, c := range v.instance(q, sh.Process, s, sh.Range, sh.Instance).Chains {
		sum, ok := v.activeChain(q, s, sh.Range, c.Epoch)
		if c.Range != sh.Range || !ok || sum-c.Sum == before {
			continue
		}
		if g, ok := topology.DifferingGroup(sh.Range, sum-c.Sum-before); ok {
			return c.Epoch, fmt.Sprintf("key group %d", g)
		}
		before, at = sum-c.Sum, min(at, c.Epoch)
	}
	return at, fmt.Sprintf("several of the key groups %d to %d", sh.Range.From, sh.Range.To-1)
}

// activeChain adds up what the active partitions report for parts that tile r.
func (v *View) activeChain(q *raftfsm.Query, s topology.StageID, r topology.Range, e topology.Epoch) (sum uint64, ok bool) {
	next := r.From
	st := q.Stages[s]
	for i := range st.Partitions {
		a := &st.Partitions[i]
		if !a.Range.Overlaps(r) {
			continue
		}
		part := topology.Range{From: max(a.Range.From, r.From), To: min(a.Range.To, r.To)}
		x := v.active(q, s, a)
		if x == nil || part.From != next {
			return 0, false
		}
		i := slices.IndexFunc(x.Chains, func(c ChainSum) bool { return c.Range == part && c.Epoch == e })
		if i < 0 {
			return 0, false
		}
		sum += x.Chains[i].Sum
		next = part.To
	}
	return sum, next == r.To
}

// Drain starts shadows of everything that processes which give all away run of a query, a stage at a time.
func Drain(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	if !placed(q.State) || q.State == raftfsm.Waiting {
		return d
	}
	h := v.newHosts(q.Fingerprint, nil)
	if h.none() {
		return d
	}
	for s, st := range q.Stages {
		stage := topology.StageID(s)
		if !m.mayTry(stage, changeLayout, v.NowMs) {
			continue
		}
		k := &raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: stage, Restore: q.Complete, What: "drain"}
		for _, a := range st.Partitions {
			pending := slices.ContainsFunc(st.Shadows, func(sh topology.Shadow) bool {
				return sh.Range.Overlaps(a.Range) && sh.Purpose != topology.ForStandby
			})
			if !v.goes(a.Process) || pending {
				continue
			}
			p, ok := v.standbyOf(q, stage, a.Range)
			if !ok {
				able := h.only(func(x *host) bool { return !runsAny(st, x.process, a.Range) })
				p = able.choose(st.Source, 0, blockMembers(st, a.Range), q.ID.Incarnation, uint64(s), uint64(a.Range.From))
			}
			k.Parts = append(k.Parts, raftfsm.Part{Range: a.Range, Process: p})
			k.Why = v.whyGoes(a.Process)
		}
		if len(k.Parts) > 0 {
			d.command(k)
			return d
		}
	}
	return d
}

func (v *View) whyGoes(p topology.Process) string {
	n := v.State.Node(p.Node)
	if n.Drain {
		return fmt.Sprintf("%s is being drained", p.Node)
	}
	return fmt.Sprintf("%s is leaving", p.Node)
}

// Leave ends the membership of leaving nodes that nothing names any more. One that still votes is refused, and asked for again when
// its vote is gone.
func Leave(v *View) Decision {
	var d Decision
	for _, n := range v.State.Nodes {
		if n.Status == raftfsm.Leaving && len(v.State.NamedBy(n.ID, 1)) == 0 {
			d.command(&raftfsm.NodeLeave{Process: n.Process(), Version: n.Version})
		}
	}
	return d
}
