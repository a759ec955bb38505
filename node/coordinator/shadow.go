package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// ShadowSeen is since when a shadow was there.
type ShadowSeen struct {
	Instance uint64
	SinceMs  int64
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
		for i := range st.Shadows {
			if d = v.shadow(q, stage, &st.Shadows[i], m); len(d.Commands) > 0 {
				return d
			}
		}
		for from := 0; from < len(st.Shadows); {
			to := from + 1
			for to < len(st.Shadows) && v.together(q, stage, &st.Shadows[to-1], &st.Shadows[to]) {
				to++
			}
			if d = v.takeOver(q, stage, st.Shadows[from:to], m); len(d.Commands) > 0 {
				return d
			}
			from = to
		}
	}
	return d
}

// together says whether two neighbouring shadows of a stage take over at once: both are parts of a change.
func (v *View) together(q *raftfsm.Query, s topology.StageID, a, b *topology.Shadow) bool {
	return a.Range.To == b.Range.From && v.purpose(q, s, a) == topology.ForChange && v.purpose(q, s, b) == topology.ForChange
}

// purpose is what a shadow is for now: a standby one is as good as any other for what is active on a node that gives everything away.
func (v *View) purpose(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow) topology.Purpose {
	if sh.Purpose == topology.ForStandby {
		for _, a := range q.Stages[s].Partitions {
			if a.Range == sh.Range && v.goes(a.Process) {
				return topology.ForChange
			}
		}
	}
	return sh.Purpose
}

func (m *QueryMemory) seeShadows(v *View, q *raftfsm.Query) {
	var seen []ShadowSeen
	for _, st := range q.Stages {
		for _, sh := range st.Shadows {
			x := ShadowSeen{sh.Instance, v.NowMs}
			if i := slices.IndexFunc(m.Shadows, func(y ShadowSeen) bool { return y.Instance == sh.Instance }); i >= 0 {
				x.SinceMs = m.Shadows[i].SinceMs
			}
			seen = append(seen, x)
		}
	}
	m.Shadows = seen
}

// shadow drops a shadow that will not take over, or fails the query for its chains.
func (v *View) shadow(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow, m *QueryMemory) Decision {
	var d Decision
	drop := func(why string) Decision {
		d.command(&raftfsm.ShadowDrop{Query: q.ID, Version: q.Version, Stage: s, Range: sh.Range, Why: why})
		return d
	}
	if !v.State.Lives(sh.Process) || !v.takes(v.State.Node(sh.Process.Node)) {
		return drop(fmt.Sprintf("%s is lost or takes no partitions", sh.Process.Node))
	}
	at, sum, other, both := v.commonChain(q, s, sh)
	if both && sum != other {
		if canFail(q.State) {
			return fail(q, fmt.Sprintf("chain mismatch: two runs of %s, key groups %v gave other rows up to epoch %d (chains %016x and %016x); "+
				"an operator of the stage is not deterministic", q.StageName(s), sh.Range, at, other, sum))
		}
		m.failed(s, v.NowMs)
		return drop(fmt.Sprintf("chain mismatch at epoch %d", at))
	}
	if why := v.misfit(q, s, sh); why != "" {
		return drop(why)
	}
	r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
	i := slices.IndexFunc(m.Shadows, func(x ShadowSeen) bool { return x.Instance == sh.Instance })
	if i < 0 || v.NowMs-m.Shadows[i].SinceMs <= v.Timing.Converge || sh.Purpose == topology.ForStandby && caughtUp(r) {
		return d
	}
	m.failed(s, v.NowMs)
	behind := "nothing is known of it"
	if r != nil {
		behind = fmt.Sprintf("it is %s and %d epochs behind", r.Phase, r.Behind)
	}
	return drop(fmt.Sprintf("it has not caught up in %d s: %s", v.Timing.Converge/1000, behind))
}

// misfit says why a shadow can never take over as things are, "" when it may.
func (v *View) misfit(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow) string {
	for i := range q.Stages[s].Partitions {
		a := &q.Stages[s].Partitions[i]
		switch {
		case !a.Range.Overlaps(sh.Range):
		case sh.Purpose != topology.ForChange && a.Range != sh.Range:
			return fmt.Sprintf("it is for %v, and what is active there has %v by now", sh.Range, a.Range)
		case a.Process == sh.Process:
			return fmt.Sprintf("%s runs key groups of %v by now", a.Process.Node, sh.Range)
		case sh.Purpose == topology.ForSpeed:
			if lag, ok := v.lagMs(q, s, a); ok && lag < recoveredMs {
				return fmt.Sprintf("what is active on %s has caught up with its peers", a.Process.Node)
			}
		}
	}
	return ""
}

// caughtUp says whether an instance runs and has nothing to make up for.
func caughtUp(r *PartitionReport) bool {
	return r != nil && (r.Phase == PhaseRunning || r.Phase == PhaseEnded) && r.Behind <= caughtUpEpochs
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
		if !caughtUp(r) || !both || r.Restored < sh.Restore || r.Restored > q.Complete || !v.due(q, s, sh, r) {
			return d
		}
		k.AtEpoch = max(k.AtEpoch, at)
		k.Parts = append(k.Parts, raftfsm.SwitchPart{Instance: sh.Instance, From: r.Restored})
		owners = append(owners, sh.Process)
	}
	if a := inTwoPieces(q.Stages[s], k.Range); a != nil {
		m.failed(s, v.NowMs)
		d.command(&raftfsm.ShadowDrop{Query: q.ID, Version: q.Version, Stage: s, Range: k.Range,
			Why: fmt.Sprintf("the rest of its change was dropped, and %v on %s would be left in two pieces", a.Range, a.Process.Node)})
		return d
	}
	if q.Stages[s].Source && q.State != raftfsm.Finished {
		k.Seals = v.sealGrants(q.ID.Incarnation, q, owners)
	}
	m.succeeded(s)
	d.command(k)
	return d
}

// due says whether a shadow that has caught up takes over: one for speed when it is ahead of what is active.
func (v *View) due(q *raftfsm.Query, s topology.StageID, sh *topology.Shadow, r *PartitionReport) bool {
	switch v.purpose(q, s, sh) {
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
		if !m.mayTry(stage, v.NowMs) {
			continue
		}
		k := &raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: stage, Restore: q.Complete, What: "drain"}
		for _, a := range st.Partitions {
			pending := slices.ContainsFunc(st.Shadows, func(sh topology.Shadow) bool { return sh.Range.Overlaps(a.Range) })
			if !v.goes(a.Process) || pending {
				continue
			}
			able := h.only(func(x *host) bool { return !runsAny(st, x.process, a.Range) })
			p := able.choose(st.Source, 0, blockMembers(st, a.Range), q.ID.Incarnation, uint64(s), uint64(a.Range.From))
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
