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
	connected := connectedVaults{}
	for ctx.Err() == nil {
		changed := machine.Changed()
		s := machine.View()
		w.forget(ctx, &k, s)
		for _, p := range connected.ended(s) {
			w.pool.Forget(p)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// connectedVaults are the processes that may have a connection to their vault from here, by node.
type connectedVaults map[topology.NodeID]topology.Process

// ended are the processes that have been replaced or were found lost since the last time. What waits for their answers is to ask
// others: on a connection to a host that vanished it would wait for as long as the system sends again, a quarter of an hour. One that is
// not lost after all is connected to again.
func (c connectedVaults) ended(s *raftfsm.State) (ended []topology.Process) {
	for _, n := range s.Nodes {
		before, ok := c[n.ID]
		lives := n.Status == raftfsm.Alive || n.Status == raftfsm.Leaving
		if ok && (before != n.Process() || !lives) {
			ended = append(ended, before)
			delete(c, n.ID)
		}
		if lives {
			c[n.ID] = n.Process()
		}
	}
	return ended
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
