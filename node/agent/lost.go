package agent

import (
	"context"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// lostEvery is how often it is looked what of a waiting query's state is lost, lostWait how long vaults have to answer.
	lostEvery = time.Second
	lostWait  = 2 * time.Second
)

// findLost finds out, while the query waits, what of the state that its partitions here need no vault has, until ctx ends.
func (r *running) findLost(ctx context.Context) {
	for ctx.Err() == nil {
		changed := r.of.machine.Changed()
		s := r.of.machine.View()
		w := s.Incarnation(r.id.Incarnation)
		if w == nil || w.ID != r.id || w.State != raftfsm.Waiting {
			r.setLost(nil)
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		if found := r.lookForLost(ctx, s, w); found != nil {
			r.setLost(found)
		}
		limited, cancel := context.WithTimeout(ctx, lostEvery)
		select {
		case <-changed:
		case <-limited.Done():
		}
		cancel()
	}
}

// lookForLost asks the vaults once; nil when they do not answer in time.
func (r *running) lookForLost(ctx context.Context, s *raftfsm.State, w *raftfsm.Query) *coordinator.LostReport {
	ctx, cancel := context.WithTimeout(ctx, lostWait)
	defer cancel()
	out := &coordinator.LostReport{Version: w.Version, Complete: w.Complete}
	alive := func(n topology.NodeID) bool {
		node := s.Node(n)
		return node != nil && s.Lives(node.Process())
	}
	for i, st := range w.Stages {
		stage := topology.StageID(i)
		for _, a := range st.Partitions {
			if a.Process != r.of.self {
				continue
			}
			blocks, err := backup.Lost(ctx, r.of.vaults, stateRequest(r.of.machine, w, stage, a.Range, w.Complete), alive)
			if err != nil {
				return nil
			}
			for _, b := range blocks {
				out.Blocks = append(out.Blocks, topology.BlockRef{Stage: stage, Block: b})
			}
		}
	}
	return out
}

func (r *running) setLost(found *coordinator.LostReport) {
	r.mu.Lock()
	same := found == nil && r.lost == nil
	r.lost = found
	r.mu.Unlock()
	if !same {
		r.of.changed()
	}
}
