package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/seepnode/seepnode/node/agent/peering"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Raft misses a leader only after its heartbeat timeout, and whoever misses it first is then denied by those who have not yet. The end of the
// leader's connections is certain at once, so that one voter need not wait.
const (
	// standAfter is how long the leader's connections must have been gone: a mere reset is mended within it.
	standAfter = 30 * time.Millisecond
	// standApart is how much longer each further voter waits, since two that stand together may both lose.
	standApart = 40 * time.Millisecond
)

// succeed has this node stand for election, when it is its turn, after the leader's process has ended; until ctx ends.
func (p *peers) succeed(ctx context.Context) {
	group := p.a.member.Group()
	var stood topology.Process
	for {
		select {
		case <-p.complained:
		case <-ctx.Done():
			return
		}
		dead, ok := p.deadLeader()
		if !ok || dead == stood {
			continue
		}
		members, err := group.Members()
		if err != nil {
			p.a.log.Debug("looking who votes", "error", err)
			continue
		}
		turn := slices.Index(successors(p.a.Machine().View(), members, dead), p.a.self.Node)
		if turn < 0 || !sleep(ctx, standAfter+time.Duration(turn)*standApart) {
			continue
		}
		if still, ok := p.deadLeader(); !ok || still != dead {
			continue
		}
		stood = dead
		p.a.log.Info("standing for election: the leader's process has ended", "leader", dead.Node)
		if err := group.Stand(ctx); err != nil {
			p.a.log.Debug("standing for election", "error", err)
		}
	}
}

// deadLeader is the leader's process when this node has seen it end and nobody else leads yet.
func (p *peers) deadLeader() (topology.Process, bool) {
	leader, ok := p.a.member.Group().Leader()
	if !ok {
		return topology.Process{}, false
	}
	for _, c := range p.peering.Complaints() {
		if c.Process.Node == leader.Node && c.Kind == peering.Ended {
			return c.Process, true
		}
	}
	return topology.Process{}, false
}

// successors are the voters that may lead instead of a dead one, those with the fewest partitions first: they have the most time.
func successors(s *raftfsm.State, members []raftfsm.Server, dead topology.Process) (list []topology.NodeID) {
	load := map[topology.NodeID]int{}
	for _, q := range s.Queries {
		for _, st := range q.Stages {
			for _, a := range st.Partitions {
				load[a.Process.Node]++
			}
		}
	}
	for _, m := range members {
		if n := s.Node(m.Node); m.Voter && m.Node != dead.Node && n != nil && n.Status == raftfsm.Alive {
			list = append(list, m.Node)
		}
	}
	slices.SortFunc(list, func(a, b topology.NodeID) int { return cmp.Or(cmp.Compare(load[a], load[b]), cmp.Compare(a, b)) })
	return list
}
