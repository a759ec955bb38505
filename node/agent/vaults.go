package agent

import (
	"context"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// keepVault makes this node's vault forget what nobody needs any more, as the metadata says, until ctx ends.
func (w *work) keepVault(ctx context.Context) {
	machine := w.agent.member.Machine()
	k := vaultKeeper{trimmed: map[topology.QueryID]topology.Epoch{}}
	known := map[topology.NodeID]topology.Process{}
	for ctx.Err() == nil {
		changed := machine.Changed()
		s := machine.View()
		w.forget(ctx, &k, s)
		for _, n := range s.Nodes {
			if before, ok := known[n.ID]; ok && before != n.Process() {
				w.pool.Forget(before)
			}
			known[n.ID] = n.Process()
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// forget trims and drops. A drop that fails is made again at the next change: it is needed only for room.
func (w *work) forget(ctx context.Context, k *vaultKeeper, s *raftfsm.State) {
	held := w.vault.Queries()
	drop, trim := k.next(s, held)
	for _, id := range drop {
		if err := w.vault.Drop(ctx, id).Wait(ctx); err != nil && ctx.Err() == nil {
			w.agent.log.Warn("dropping a query's state", "query", id, "error", err)
		}
	}
	for _, t := range trim {
		w.vault.Trim(ctx, t.id, t.through) // it waits for no one: the next one says more
	}
}

// vaultKeeper remembers what was trimmed.
type vaultKeeper struct {
	trimmed map[topology.QueryID]topology.Epoch
}

type trimming struct {
	id      topology.QueryID
	through topology.Epoch
}

// next is what a vault that holds these queries may drop and trim.
func (k *vaultKeeper) next(s *raftfsm.State, held []topology.QueryID) (drop []topology.QueryID, trim []trimming) {
	for _, id := range held {
		switch q := s.Incarnation(id.Incarnation); {
		case id.Incarnation > s.Incarnations:
			// The metadata here is behind whoever put it.
		case q == nil || q.State == raftfsm.Removing:
			drop = append(drop, id)
			delete(k.trimmed, id)
		case id.Generation < q.ID.Generation:
			// An earlier generation's state is what this one began with, until it has a checkpoint of its own.
			if q.Complete > q.Since {
				drop = append(drop, id)
				delete(k.trimmed, id)
			}
		case id == q.ID:
			if through := q.TrimPoint(); through > k.trimmed[id] {
				k.trimmed[id] = through
				trim = append(trim, trimming{id, through})
			}
		}
	}
	return drop, trim
}
