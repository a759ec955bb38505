package raftfsm

import (
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// VaultsChange replaces the vaults of blocks, all of those named or none. Based on each set's version. Who is no member any more
// becomes a former one, from which can still be restored.
type VaultsChange struct {
	Query   topology.QueryID `json:"query"`
	Changes []VaultChange    `json:"changes"`
	Why     string           `json:"why,omitempty"`
}

// VaultChange gives a block new vaults.
type VaultChange struct {
	Stage   topology.StageID   `json:"stage"`
	Block   topology.BlockID   `json:"block"`
	Version uint64             `json:"version"` // of the set it replaces
	Members []topology.Process `json:"members"`
	// Forget drops the former members: all present ones hold the complete checkpoint, which is for the proposer to have seen.
	Forget bool `json:"forget,omitempty"`
}

func (*VaultsChange) Kind() Kind { return KindVaultsChange }

func (k *VaultsChange) apply(c *change) Outcome {
	q, out := c.find(k.Query)
	if q == nil {
		return out
	}
	if len(k.Changes) == 0 || len(k.Why) > MaxTextBytes {
		return refused(Malformed, "query %s: no vaults to change, or too long a reason", q.Name)
	}
	n := c.edit(q)
	changed := 0
	for _, ch := range k.Changes {
		if int(ch.Stage) >= len(n.Stages) || int(ch.Block) >= len(n.Stages[ch.Stage].Vaults) {
			return refused(Malformed, "query %s has no block %d of stage %d", q.Name, ch.Block, ch.Stage)
		}
		have := n.Stages[ch.Stage].Vaults[ch.Block]
		if slices.Equal(have.Members, ch.Members) && (!ch.Forget || len(have.Former) == 0) {
			continue
		}
		if have.Version != ch.Version {
			return stale(OldVersion, "query %s: vaults of block %d of stage %d have version %d, not %d", q.Name, ch.Block, ch.Stage, have.Version, ch.Version)
		}
		if out := c.validMembers(have.Members, ch.Members); out.Code != 0 {
			return out
		}
		st := n.editStage(ch.Stage)
		st.Vaults = slices.Clone(st.Vaults)
		set := topology.VaultSet{Version: have.Version + 1, Members: ch.Members, Changed: have.Changed, Completed: have.Completed}
		if !ch.Forget {
			set.Former = former(&have, ch.Members)
		}
		if addsNode(have.Members, ch.Members) {
			set.Changed = c.state.Version + 1
		}
		st.Vaults[ch.Block] = set
		changed++
	}
	if changed == 0 {
		return already(0)
	}
	n.note(c, "vaults", k.Why, "vaults of %d blocks changed", changed)
	return applied(0)
}

// former gives the nodes that a set has or had and that are not in members, the last to go last, each once.
func former(have *topology.VaultSet, members []topology.Process) []topology.Process {
	var out []topology.Process
	in := func(list []topology.Process, p topology.Process) bool {
		return slices.ContainsFunc(list, func(m topology.Process) bool { return m.Node == p.Node })
	}
	for _, p := range slices.Concat(have.Former, have.Members) {
		if !in(members, p) && !in(out, p) {
			out = append(out, p)
		}
	}
	return out[max(0, len(out)-MaxFormerVaults):]
}

// addsNode says whether a node is in after that is not in before: one that came back as another process has its disk.
func addsNode(before, after []topology.Process) bool {
	return slices.ContainsFunc(after, func(p topology.Process) bool {
		return !slices.ContainsFunc(before, func(m topology.Process) bool { return m.Node == p.Node })
	})
}

// SealSetChange replaces vaults of a seal log; its owner proposes it when it has copied the log. Based on term and version.
type SealSetChange struct {
	Query   topology.QueryID   `json:"query"`
	Log     topology.SealLog   `json:"log"`
	Term    topology.Term      `json:"term"`
	Version uint64             `json:"version"`
	Members []topology.Process `json:"members"`
	Why     string             `json:"why,omitempty"`
}

func (*SealSetChange) Kind() Kind { return KindSealSetChange }

func (k *SealSetChange) apply(c *change) Outcome {
	q, out := c.find(k.Query)
	if q == nil {
		return out
	}
	i := slices.IndexFunc(q.Seals, func(s topology.SealSet) bool { return s.Log == k.Log })
	if i < 0 {
		return stale(NoSeals, "query %s has no seal log %d (any more)", q.Name, k.Log)
	}
	have := q.Seals[i]
	if have.Term != k.Term || have.Fenced {
		return stale(OldVersion, "query %s: seal log %d has term %d by now, not %d", q.Name, k.Log, have.Term, k.Term)
	}
	same := slices.Equal(have.Members, k.Members)
	if same && have.Version != k.Version {
		return already(have.Version)
	}
	if have.Version != k.Version {
		return stale(OldVersion, "query %s: vaults of seal log %d have version %d, not %d", q.Name, k.Log, have.Version, k.Version)
	}
	if out := c.validMembers(have.Members, k.Members); out.Code != 0 && !same {
		return out
	}
	n := c.edit(q)
	n.Seals = slices.Clone(n.Seals)
	n.Seals[i].Members = k.Members
	n.Seals[i].Version++
	if same { // so that no other proposal for the version before counts any more
		return applied(n.Seals[i].Version)
	}
	n.note(c, "seals", k.Why, "vaults of the seals of %s changed to %s", have.Owner.Node, processNames(k.Members))
	return applied(n.Seals[i].Version)
}

// SealsAdopted says that a source process has written the logs of former owners to all vaults of its own. Based on the instance
// still being there; logs that it no longer names are so Already.
type SealsAdopted struct {
	Query    topology.QueryID   `json:"query"`
	Stage    topology.StageID   `json:"stage"`
	Instance uint64             `json:"instance"`
	Logs     []topology.SealLog `json:"logs"`
}

func (*SealsAdopted) Kind() Kind { return KindSealsAdopted }

func (k *SealsAdopted) apply(c *change) Outcome {
	q, out := c.find(k.Query)
	if q == nil {
		return out
	}
	if int(k.Stage) >= len(q.Stages) {
		return refused(Malformed, "query %s has %d stages, none %d", q.Name, len(q.Stages), k.Stage)
	}
	named := func(log topology.SealLog) bool { return slices.Contains(k.Logs, log) }
	found, changed := false, false
	n := c.edit(q)
	st := n.editStage(k.Stage)
	st.Partitions = slices.Clone(st.Partitions)
	for i := range st.Partitions {
		a := &st.Partitions[i]
		if a.Instance != k.Instance {
			continue
		}
		found = true
		if slices.ContainsFunc(a.Adopt, named) {
			a.Adopt, changed = without(a.Adopt, named), true
		}
	}
	switch {
	case !found:
		return stale(OldVersion, "query %s: stage %d has no instance %d (any more)", q.Name, k.Stage, k.Instance)
	case !changed:
		return already(0)
	}
	return applied(0)
}

// grant gives source processes their seal logs; who has one keeps it.
func (c *change) grant(q *Query, grants []SealGrant) Outcome {
	for _, g := range grants {
		if q.SealSet(g.Owner) != nil || !q.seals() {
			continue
		}
		if out := c.validMembers(nil, g.Members); out.Code != 0 {
			return out
		}
		q.Logs++
		q.Terms++
		q.Seals = append(slices.Clone(q.Seals), topology.SealSet{
			Log: q.Logs, Generation: q.ID.Generation, Owner: g.Owner, Term: q.Terms, Version: 1, Members: g.Members,
		})
	}
	return Outcome{}
}

// validMembers takes 1 to MaxVaults processes of different nodes; those that were not members before must live.
func (c *change) validMembers(before, members []topology.Process) Outcome {
	if len(members) == 0 || len(members) > MaxVaults {
		return refused(BadVaults, "a vault set has %d members; it must have 1 to %d", len(members), MaxVaults)
	}
	for i, p := range members {
		if slices.ContainsFunc(members[:i], func(m topology.Process) bool { return m.Node == p.Node }) {
			return refused(BadVaults, "a vault set names node %s twice", p.Node)
		}
		if slices.Contains(before, p) {
			continue
		}
		if r, text := c.takes(p); r != NoReason {
			return refused(BadVaults, "vault: %s", text)
		}
	}
	return Outcome{}
}
