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

// Switch ends pending shadows: one that has caught up and has the chains of what is active takes over; one with other chains fails
// the query; one whose process is lost, or that does not catch up in time, is dropped. It gives one command on the topology at most.
func Switch(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	m.seeShadows(v, q)
	if !placed(q.State) {
		return d
	}
	for s := range q.Stages {
		for i := range q.Stages[s].Shadows {
			if d = v.shadow(q, topology.StageID(s), &q.Stages[s].Shadows[i], m); len(d.Commands) > 0 {
				return d
			}
		}
	}
	return d
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
			return fail(q, fmt.Sprintf("chain mismatch: two runs of stage %d, key groups %v gave other rows up to epoch %d (chains %016x and %016x); "+
				"an operator of the stage is not deterministic", s, sh.Range, at, other, sum))
		}
		return drop(fmt.Sprintf("chain mismatch at epoch %d", at))
	}
	r := v.instance(q, sh.Process, s, sh.Range, sh.Instance)
	ready := r != nil && (r.Phase == PhaseRunning || r.Phase == PhaseEnded) && r.Behind <= caughtUpEpochs
	if ready && both && r.Restored >= sh.Restore && r.Restored <= q.Complete {
		k := &raftfsm.Switch{Query: q.ID, Version: q.Version, Stage: s, Range: sh.Range, AtEpoch: at,
			Parts: []raftfsm.SwitchPart{{Instance: sh.Instance, From: r.Restored}}}
		if q.Stages[s].Source && q.State != raftfsm.Finished {
			k.Seals = v.sealGrants(q.ID.Incarnation, q, []topology.Process{sh.Process})
		}
		d.command(k)
		return d
	}
	i := slices.IndexFunc(m.Shadows, func(x ShadowSeen) bool { return x.Instance == sh.Instance })
	if i >= 0 && v.NowMs-m.Shadows[i].SinceMs > v.Timing.Converge {
		behind := "nothing is known of it"
		if r != nil {
			behind = fmt.Sprintf("it is %s and %d epochs behind", r.Phase, r.Behind)
		}
		return drop(fmt.Sprintf("it has not caught up in %d s: %s", v.Timing.Converge/1000, behind))
	}
	return d
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

// Drain starts shadows of everything that leaving processes run of a query, a stage at a time.
func Drain(v *View, q *raftfsm.Query) Decision {
	var d Decision
	if !placed(q.State) || q.State == raftfsm.Waiting {
		return d
	}
	h := v.newHosts(q.Fingerprint, nil)
	if h.none() {
		return d
	}
	for s, st := range q.Stages {
		k := &raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: topology.StageID(s), Restore: q.Complete, Why: "its node is leaving"}
		for _, a := range st.Partitions {
			n := v.State.Node(a.Process.Node)
			pending := slices.ContainsFunc(st.Shadows, func(sh topology.Shadow) bool { return sh.Range.Overlaps(a.Range) })
			if n == nil || n.Process() != a.Process || n.Status != raftfsm.Leaving || pending {
				continue
			}
			p := h.choose(st.Source, blockMembers(st, a.Range), q.ID.Incarnation, uint64(s), uint64(a.Range.From))
			k.Parts = append(k.Parts, raftfsm.Part{Range: a.Range, Process: p})
		}
		if len(k.Parts) > 0 {
			d.command(k)
			return d
		}
	}
	return d
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
