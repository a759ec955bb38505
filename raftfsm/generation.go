package raftfsm

import (
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// GenerationChange goes on from the latest complete epoch as the next generation: every partition starts anew from there, and
// nothing that the earlier one wrote to vaults behind it counts. Seals beyond it are given up, or kept with Keep: then every source
// process adopts what it had, as if it were its own successor. Based on the generation and on Complete.
type GenerationChange struct {
	Query    topology.QueryID `json:"query"`
	Complete topology.Epoch   `json:"complete"`
	// Fingerprint of the new generation; empty keeps it. Partitions on processes without it must be reassigned.
	Fingerprint topology.Fingerprint `json:"fingerprint,omitempty"`
	// Empty are blocks that no vault has: they start without state.
	Empty []topology.BlockRef `json:"empty,omitempty"`
	Seals []SealGrant         `json:"seals,omitempty"` // for every source process
	// Keep is for when nothing is missing, but a surviving process has acted on more than the vaults have: seals stay.
	Keep bool   `json:"keep,omitempty"`
	Why  string `json:"why"` // what may be missing
	// StateVersion, when not 0, is the query's state that it is also based on: accepting a loss must not hit a query that goes on.
	StateVersion uint64 `json:"state_version,omitempty"`
}

func (*GenerationChange) Kind() Kind { return KindGenerationChange }

func (k *GenerationChange) apply(c *change) Outcome {
	if q := c.state.Incarnation(k.Query.Incarnation); q != nil && q.ID.Generation == k.Query.Generation+1 && q.Since == k.Complete {
		return already(uint64(q.ID.Generation))
	}
	q, out := c.open(k.Query, k.Why)
	if q == nil {
		return out
	}
	if q.Complete != k.Complete {
		return stale(BadEpoch, "query %s is complete up to epoch %d, not %d", q.Name, q.Complete, k.Complete)
	}
	if k.StateVersion != 0 && q.StateVersion != k.StateVersion {
		return stale(OldVersion, "query %s is %v (version %d) by now", q.Name, q.State, q.StateVersion)
	}
	for _, b := range k.Empty {
		if int(b.Stage) >= len(q.Stages) || int(b.Block) >= topology.Blocks(q.Stages[b.Stage].Groups) {
			return refused(Malformed, "query %s has no block %d of stage %d", q.Name, b.Block, b.Stage)
		}
	}
	n := c.edit(q)
	if n.Complete > n.Since || n.SinceGeneration == 0 {
		n.Since, n.SinceGeneration, n.Empty = k.Complete, n.ID.Generation, nil
	}
	n.ID.Generation++
	n.Empty = mergedBlocks(n.Empty, k.Empty)
	if k.Fingerprint != "" {
		n.Fingerprint = k.Fingerprint
	}
	if !k.Keep {
		n.Resealed = n.ID.Generation
	}
	n.restart(k.Keep)
	if out := c.grant(n, k.Seals); out.Code != 0 {
		return out
	}
	n.Version++
	if n.State == Waiting {
		n.State, n.Reason, n.Resolves = Running, "", ""
		if n.WasPaused {
			n.State = Paused
		}
		n.WasPaused = false
		n.StateVersion++
	}
	n.note(c, "generation", k.Why, "generation %d from epoch %d", n.ID.Generation, k.Complete)
	return applied(uint64(n.ID.Generation))
}

// restart gives every partition a new instance from the complete epoch.
func (q *Query) restart(keepSeals bool) {
	for s := range q.Stages {
		st := q.editStage(topology.StageID(s))
		st.Shadows, st.Retired = nil, nil
		st.Partitions = slices.Clone(st.Partitions)
		for i := range st.Partitions {
			a := &st.Partitions[i]
			if st.Source && keepSeals && q.seals() {
				a.Adopt = q.fence(*a, true)
			} else {
				a.Adopt = nil
			}
			q.Instances++
			a.Instance, a.Restore, a.Deaths, a.DiedAt, a.Died = q.Instances, q.Complete, 0, 0, topology.Process{}
		}
	}
	if !keepSeals {
		q.Seals = nil
	}
}

// seals says whether the sources of q may still seal something: a finished query has no seal logs any more, and one that is being
// removed needs none.
func (q *Query) seals() bool { return q.State != Finished && q.State != Removing }

// mergedBlocks gives the blocks of both, ascending, each once.
func mergedBlocks(a, b []topology.BlockRef) []topology.BlockRef {
	out := append(slices.Clone(a), b...)
	slices.SortFunc(out, func(x, y topology.BlockRef) int {
		if x.Stage != y.Stage {
			return int(x.Stage) - int(y.Stage)
		}
		return int(x.Block) - int(y.Block)
	})
	return slices.Compact(out)
}
