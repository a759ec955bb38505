package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
)

// eraseEvery is how often the leader looks whether removed queries are gone everywhere.
const eraseEvery = 100 * time.Millisecond

// lead is what this node does beside its work while it leads.
func (a *Agent) lead(ctx context.Context, _ uint64) {
	a.clock.lead()
	var parts sync.WaitGroup
	parts.Go(func() { a.eraseRemoved(ctx) })
	if a.config.Autoscale != AutoscaleOff {
		parts.Go(func() { a.scaler.run(ctx) })
	}
	parts.Go(func() { a.runPool(ctx) })
	coordinator.Loop(ctx, coordinator.Deps{Machine: a.member.Machine(), Propose: a.member.Group().Propose, Reports: a.reports, Leader: a.self,
		Clock: a.clock.now, Logger: a.log, Observe: a.observe})
	parts.Wait()
}

// eraseRemoved forgets queries that are being removed once no living node has anything of them any more, until ctx ends.
func (a *Agent) eraseRemoved(ctx context.Context) {
	since := map[uint64]uint64{} // incarnation -> the version of the metadata at which it was first seen here
	for a.awaitRemoval(ctx) {
		s := a.Machine().View()
		for _, q := range s.Queries {
			if q.State != raftfsm.Removing {
				continue
			}
			if _, ok := since[q.ID.Incarnation]; !ok {
				since[q.ID.Incarnation] = s.Version
			}
			if !gone(s, q, a.reports, since[q.ID.Incarnation]) {
				continue
			}
			out, err := a.member.Group().Propose(ctx, raftfsm.Envelope{AtMs: a.clock.now().UnixMilli(), Command: &raftfsm.QueryErase{Query: q.ID}})
			if err != nil || !out.Done() {
				a.log.Debug("erasing a query", "query", q.Name, "outcome", out.Text, "error", err)
				continue
			}
			delete(since, q.ID.Incarnation)
		}
	}
}

// awaitRemoval waits a little, and while no query is being removed until one is. It says whether ctx goes on.
func (a *Agent) awaitRemoval(ctx context.Context) bool {
	removing := func(s *raftfsm.State) bool {
		return slices.ContainsFunc(s.Queries, func(q *raftfsm.Query) bool { return q.State == raftfsm.Removing })
	}
	if _, err := a.Machine().Wait(ctx, removing); err != nil {
		return false
	}
	return sleep(ctx, eraseEvery)
}

// gone says whether every living process has seen the removal and runs nothing of the query any more.
func gone(s *raftfsm.State, q *raftfsm.Query, reports *coordinator.ReportTable, version uint64) bool {
	for _, n := range s.Nodes {
		if n.Status != raftfsm.Alive && n.Status != raftfsm.Leaving {
			continue
		}
		r := reports.Latest(n.Process())
		if r == nil || r.Applied < version {
			return false
		}
		if slices.ContainsFunc(r.Queries, func(x coordinator.QueryReport) bool { return x.ID.Incarnation == q.ID.Incarnation }) {
			return false
		}
	}
	return true
}
