package coordinator

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Replicate keeps k full copies of every block on living nodes other than its active one. A member whose node came back has its
// chains on that node's disk, and is replaced by the node's present process first of all. Who is replaced by another node gets no new
// checkpoints, which it would hold up, and stays a former member, with what it has, until the active partitions say that the present
// ones hold everything. At most vaultBatch blocks are changed by one command. What a node's loss leaves to be copied waits for what it leaves to be
// recovered, for Timing.Copies at most, however many recoveries follow each other: results come back first. And it waits Timing.Returns for a process
// that has ended: where that is only restarted nothing is copied, since its node's disk has it all.
func Replicate(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	if !placed(q.State) || v.copiesWait(q, m) {
		return d
	}
	k := &raftfsm.VaultsChange{Query: q.ID}
	returned := false
	for s := range q.Stages {
		stage := topology.StageID(s)
		upstream := upstreamOf(q, stage)
		for b := range q.Stages[s].Vaults {
			set := &q.Stages[s].Vaults[b]
			block := topology.BlockID(b)
			ch := raftfsm.VaultChange{Stage: stage, Block: block, Version: set.Version}
			var back bool
			if ch.Members, back = v.sameDisks(set.Members); !back {
				active, settled := v.activeOf(q, stage, block)
				ch.Members = v.vaults(vaultNeed{active: active, upstream: upstream, keep: set.Members, hash: blockHash(q.ID.Incarnation, stage, block)})
				ch.Forget = settled && covers(set.Members, ch.Members)
			}
			same := slices.Equal(ch.Members, set.Members) && !(ch.Forget && len(set.Former) > 0)
			if !same && len(ch.Members) > 0 && len(k.Changes) < vaultBatch {
				returned = returned || back
				k.Changes = append(k.Changes, ch)
			}
		}
	}
	if len(k.Changes) == 0 {
		return d
	}
	k.Why = fmt.Sprintf("every block is to have %d copies beside its active partition", Replicas(v.State))
	if returned {
		k.Why = "nodes are back with their disks"
	}
	d.command(k)
	return d
}

// copiesWait says whether what is to be copied waits for what is to be recovered. It remembers since when: a node that is lost again and again
// has something recovered all the time.
func (v *View) copiesWait(q *raftfsm.Query, m *QueryMemory) bool {
	if !v.recovering(q) && !v.mayReturn(q) {
		m.RecoversMs = 0
		return false
	}
	if m.RecoversMs == 0 {
		m.RecoversMs = v.NowMs
	}
	return v.NowMs-m.RecoversMs < v.Timing.Copies
}

// mayReturn says whether a process has ended so lately that its node may be back with its disk before long.
func (v *View) mayReturn(q *raftfsm.Query) bool {
	return q.State != raftfsm.Waiting && slices.ContainsFunc(v.Losses, func(l Loss) bool {
		n := v.State.Node(l.Process.Node)
		return l.Died && v.NowMs-l.AtMs < v.Timing.Returns && n != nil && n.Process() == l.Process && n.Status == raftfsm.Lost
	})
}

// recovering says whether ranges of q were lost lately and do not run again yet.
func (v *View) recovering(q *raftfsm.Query) bool {
	lately := func(atMs int64) bool { return v.NowMs-atMs < v.Timing.Copies }
	lost, _ := v.lostOf(q)
	if q.State != raftfsm.Waiting && slices.ContainsFunc(v.Losses, func(l Loss) bool { return lately(l.AtMs) && slices.Contains(lost, l.Process) }) {
		return true
	}
	return slices.ContainsFunc(recoveries(q), func(r Recovery) bool {
		x := v.progress(q, &r)
		return lately(r.DecidedMs) && x.running < x.there
	})
}

// upstreamOf are the processes of earlier stages: the plan, which would say which of these it reads, is bytes to the metadata.
func upstreamOf(q *raftfsm.Query, s topology.StageID) []topology.Process {
	var out []topology.Process
	for _, st := range q.Stages[:s] {
		for _, a := range st.Partitions {
			if !slices.Contains(out, a.Process) {
				out = append(out, a.Process)
			}
		}
	}
	return out
}

// activeOf are the processes that run key groups of a block, and whether all of these have said that every member of the block's set
// holds the complete checkpoint, and that none may become complete that only former members have.
func (v *View) activeOf(q *raftfsm.Query, s topology.StageID, b topology.BlockID) (active []topology.Process, settled bool) {
	st := q.Stages[s]
	settled = true
	for i := range st.Partitions {
		a := &st.Partitions[i]
		if !a.Range.Overlaps(b.Range(st.Groups)) {
			continue
		}
		active = append(active, a.Process)
		r := v.active(q, s, a)
		set := &st.Vaults[b]
		settled = settled && r != nil && r.Copied >= max(set.Changed, set.Completed) && (len(set.Former) == 0 || !r.pending(q.Complete, set.Changed))
	}
	return active, settled || st.Vaults[b].Changed == 0
}

// pending says whether a checkpoint behind the complete one was acknowledged by the vaults of a version before changed.
func (p *PartitionReport) pending(complete topology.Epoch, changed uint64) bool {
	for i, l := range p.Lines {
		if l > complete && (i >= len(p.LineVersions) || p.LineVersions[i] < changed) {
			return true
		}
	}
	return p.Ended > complete && p.EndedVersion < changed
}

// covers says whether all of want are members.
func covers(members, want []topology.Process) bool {
	return !slices.ContainsFunc(want, func(p topology.Process) bool { return !slices.Contains(members, p) })
}

// BlocksBelow counts the blocks of all queries with fewer full copies beside their active partition than the cluster is set to have,
// or can have with its number of nodes.
func BlocksBelow(v *View) int {
	below := 0
	for _, q := range v.State.Queries {
		below += v.blocksBelow(q)
	}
	return below
}

func (v *View) blocksBelow(q *raftfsm.Query) (below int) {
	if !placed(q.State) {
		return 0
	}
	nodes := 0
	for _, n := range v.State.Nodes {
		if n.Stays() {
			nodes++
		}
	}
	k := max(1, min(Replicas(v.State), nodes-1))
	for s, st := range q.Stages {
		for b := range st.Vaults {
			active, settled := v.activeOf(q, topology.StageID(s), topology.BlockID(b))
			copies := 0
			for _, p := range st.Vaults[b].Members {
				if v.State.Lives(p) && !v.fullDisk(p) && (!slices.Contains(active, p) || len(active) > 1 || nodes == 1) {
					copies++
				}
			}
			if copies < k || !settled {
				below++
			}
		}
	}
	return below
}

// sameDisks replaces members by the present processes of their nodes.
func (v *View) sameDisks(members []topology.Process) (out []topology.Process, changed bool) {
	out = slices.Clone(members)
	for i, p := range out {
		if now, ok := v.current(p.Node); ok && now != p && v.State.Node(p.Node).Stays() {
			out[i], changed = now, true
		}
	}
	return out, changed
}
