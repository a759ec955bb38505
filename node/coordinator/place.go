package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// PlaceStage is what placing has to know of a stage of a plan.
type PlaceStage struct {
	Name        string // for errors
	Groups      int
	Source      bool
	Parallelism int      // partitions to begin with; 1 when 0
	Operators   []string // registered ones that it calls, beyond the built-in ones
	Inputs      []topology.StageID
}

// PlaceError says why no node can run a stage.
type PlaceError struct{ Text string }

func (e *PlaceError) Error() string { return e.Text }

// Place gives the stages of a query their first partitions, vaults and seal logs, for a QueryAdd with the next incarnation. The
// query's fingerprint is that of the leader's node, if that has all operators, or the one that most nodes with all operators share.
// Reports and the time may be missing in v. The error is a *PlaceError: it names the operators that are missing and where.
func Place(v *View, stages []PlaceStage) (topology.Fingerprint, []raftfsm.StageAdd, []raftfsm.SealGrant, error) {
	f, err := v.fingerprintFor(stages)
	if err != nil {
		return "", nil, nil, err
	}
	incarnation := v.State.Incarnations + 1
	h := v.newHosts(f, nil)
	var adds []raftfsm.StageAdd
	var owners []topology.Process
	for s, st := range stages {
		if st.Groups < 1 || st.Groups > topology.MaxKeyGroups {
			return "", nil, nil, &PlaceError{fmt.Sprintf("stage %q has %d key groups; it must have 1 to %d", st.Name, st.Groups, topology.MaxKeyGroups)}
		}
		add := raftfsm.StageAdd{Name: st.Name, Groups: st.Groups, Source: st.Source}
		for _, r := range topology.Split(st.Groups, max(1, st.Parallelism)) {
			p := h.choose(st.Source, 0, nil, incarnation, uint64(s), uint64(r.From))
			add.Parts = append(add.Parts, raftfsm.Part{Range: r, Process: p})
			if st.Source {
				owners = append(owners, p)
			}
		}
		var upstream []topology.Process
		for _, in := range st.Inputs {
			if int(in) < len(adds) {
				for _, part := range adds[in].Parts {
					upstream = append(upstream, part.Process)
				}
			}
		}
		for b := range topology.Blocks(st.Groups) {
			need := vaultNeed{upstream: upstream, hash: blockHash(incarnation, topology.StageID(s), topology.BlockID(b))}
			for _, part := range add.Parts {
				if part.Range.Overlaps(topology.BlockID(b).Range(st.Groups)) {
					need.active = append(need.active, part.Process)
				}
			}
			add.Vaults = append(add.Vaults, v.vaults(need))
		}
		adds = append(adds, add)
	}
	for _, add := range adds {
		for _, members := range add.Vaults {
			if len(members) == 0 {
				return "", nil, nil, &PlaceError{"no node has room for checkpoints: the disks of all are full"}
			}
		}
	}
	grants := v.sealGrants(incarnation, nil, owners)
	for _, g := range grants {
		if len(g.Members) == 0 {
			return "", nil, nil, &PlaceError{"no node has room for seals: the disks of all are full"}
		}
	}
	return f, adds, grants, nil
}

func blockHash(incarnation uint64, s topology.StageID, b topology.BlockID) []uint64 {
	return []uint64{incarnation, uint64(s), uint64(b)}
}

// fingerprintFor chooses among the fingerprints of nodes that have all operators.
func (v *View) fingerprintFor(stages []PlaceStage) (topology.Fingerprint, error) {
	var need []string
	for _, st := range stages {
		need = append(need, st.Operators...)
	}
	slices.Sort(need)
	need = slices.Compact(need)
	type choice struct {
		f     topology.Fingerprint
		count int
	}
	var choices []choice
	var lacking []string
	for _, n := range v.State.Nodes {
		if !v.takes(n) {
			continue
		}
		var missing []string
		for _, op := range need {
			if _, ok := slices.BinarySearch(n.Operators, op); !ok {
				missing = append(missing, op)
			}
		}
		if len(missing) > 0 {
			lacking = append(lacking, fmt.Sprintf("%s on %s", strings.Join(missing, ", "), n.ID))
			continue
		}
		if n.Process() == v.Leader {
			return n.Fingerprint, nil
		}
		i := slices.IndexFunc(choices, func(c choice) bool { return c.f == n.Fingerprint })
		if i < 0 {
			i, choices = len(choices), append(choices, choice{f: n.Fingerprint})
		}
		choices[i].count++
	}
	best := choice{}
	for _, c := range choices {
		if c.count > best.count || c.count == best.count && c.f < best.f {
			best = c
		}
	}
	switch {
	case best.count > 0:
		return best.f, nil
	case len(lacking) > 0:
		return "", &PlaceError{fmt.Sprintf("no node can run the query; missing: %s", strings.Join(lacking[:min(8, len(lacking))], "; "))}
	}
	return "", &PlaceError{"no node takes partitions now: all are leaving, lost, blamed or of role " + raftfsm.RoleControl}
}
