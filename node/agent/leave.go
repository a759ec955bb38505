package agent

import (
	"context"
	"slices"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// leaveWait is how long a node that is asked to stop waits until others have taken over what it holds.
	leaveWait = 30 * time.Second
	// leaveCommand bounds each of the commands that leaving needs: without a leader there is nobody to hand over to.
	leaveCommand = 5 * time.Second
	goodbyeWait  = 200 * time.Millisecond
)

// Leave hands over what this node holds, as far as others can take it, at most 30 s long or until ctx ends: partitions, copies and the
// leadership. What processes hold that this one started is brought home first: they end with it, and are nobody to hand over to. A node
// alone in its cluster leaves everything on its disk. Close follows.
func (a *Agent) Leave(ctx context.Context) {
	a.mu.Lock()
	again := a.leaving
	a.leaving = true
	a.mu.Unlock()
	if again {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, leaveWait)
	defer cancel()
	if a.working() != nil {
		a.bringHome(ctx)
		if a.others() > 0 {
			a.handOver(ctx)
		}
	}
	a.gossip.leaves()
	if w := a.working(); w != nil {
		w.node.Leave("the node was asked to stop")
		w.peers.peering.Goodbye()
		sleep(ctx, goodbyeWait) // the words are on their way
	}
}

// others counts the other nodes that could take something over.
func (a *Agent) others() int {
	n, own := 0, a.ownNodes(a.Machine().View())
	for _, node := range a.Machine().View().Nodes {
		n += count(node.ID != a.self.Node && node.Stays() && !slices.Contains(own, node.ID))
	}
	return n
}

// ownNodes are the nodes of processes that this one started and that end with it.
func (a *Agent) ownNodes(s *raftfsm.State) (own []topology.NodeID) {
	a.mu.Lock()
	children := a.children
	a.mu.Unlock()
	if children == nil {
		return nil
	}
	tokens := children.Tokens()
	for _, n := range s.Nodes {
		if n.Status != raftfsm.Left && slices.Contains(tokens, n.Tag(tagInstance)) {
			own = append(own, n.ID)
		}
	}
	return own
}

// bringHome has the nodes of this process's own children give away all that they hold, waits for it, and ends their
// membership.
func (a *Agent) bringHome(ctx context.Context) {
	own := a.ownNodes(a.Machine().View())
	if len(own) == 0 {
		return
	}
	a.log.Info("what the processes hold that this one started is brought home", "nodes", own, "at_most", leaveWait.String())
	for _, id := range own {
		if err := a.drainOwn(ctx, id); err != nil {
			a.log.Warn("a node of this process's own cannot be drained", "node", id, "error", err)
		}
	}
	_, err := a.Machine().Wait(ctx, func(s *raftfsm.State) bool {
		return !slices.ContainsFunc(own, func(id topology.NodeID) bool { return len(s.NamedBy(id, 1)) > 0 })
	})
	if err != nil {
		a.log.Warn("not everything was brought home in time: the directories of processes that still hold something are kept", "nodes", own)
		return
	}
	a.endOwn(ctx, own)
}

// endOwn ends the membership of own processes that hold nothing, so that nobody takes them for lost when they end with this one.
func (a *Agent) endOwn(ctx context.Context, own []topology.NodeID) {
	for _, id := range own {
		err := a.command(ctx, func(s *raftfsm.State) raftfsm.Command {
			n := s.Node(id)
			if n == nil || n.Status == raftfsm.Left {
				return nil
			}
			return &raftfsm.NodeLeave{Process: n.Process(), Version: n.Version}
		})
		if err != nil {
			a.log.Warn("a node of this process's own cannot leave the cluster: it ends with this one", "node", id, "error", err)
		}
	}
}

func (a *Agent) drainOwn(ctx context.Context, id topology.NodeID) error {
	return a.command(ctx, func(s *raftfsm.State) raftfsm.Command {
		n := s.Node(id)
		if n == nil || n.Drain || n.Status != raftfsm.Alive {
			return nil
		}
		return &raftfsm.NodeDrain{Node: id, Version: n.Version, Drain: true, By: raftfsm.ByPool}
	})
}

// command proposes what next makes of the newest metadata that is known here, until it is done, refused, or nil since there is nothing to do.
func (a *Agent) command(ctx context.Context, next func(s *raftfsm.State) raftfsm.Command) error {
	ctx, cancel := context.WithTimeout(ctx, leaveCommand)
	defer cancel()
	for {
		k := next(a.Machine().View())
		if k == nil {
			return nil
		}
		out, err := a.member.Propose(ctx, raftfsm.Envelope{AtMs: a.clock.now().UnixMilli(), Command: k})
		switch {
		case err != nil:
			return err
		case out.Done():
			return nil
		case out.Code == raftfsm.Refused:
			return out.Err()
		}
		if _, err := a.Machine().WaitVersion(ctx, out.Version); err != nil {
			return err
		}
	}
}

// needed says whether a node of an instance is named by anything: its disk may be the only one with some state.
func (a *Agent) needed(token string) bool {
	s := a.Machine().View()
	return slices.ContainsFunc(s.Nodes, func(n *raftfsm.Node) bool {
		return n.Status != raftfsm.Left && n.Tag(tagInstance) == token && len(s.NamedBy(n.ID, 1)) > 0
	})
}

// handOver tells the cluster that this node leaves, and waits until nothing names it.
func (a *Agent) handOver(ctx context.Context) {
	if err := a.sayLeaving(ctx); err != nil {
		a.log.Warn("the cluster could not be told that this node leaves; it will find out", "error", err)
		return
	}
	a.log.Info("handing over", "at_most", leaveWait.String())
	// What a finished query's tables and what logs hold is named until others have it.
	_, err := a.Machine().Wait(ctx, func(s *raftfsm.State) bool { return len(s.NamedBy(a.self.Node, 1)) == 0 })
	if err != nil {
		a.log.Warn("not everything was handed over in time", "left", a.Machine().View().NamedBy(a.self.Node, 10))
	}
	transfer, cancel := context.WithTimeout(ctx, leaveCommand)
	defer cancel()
	if err := a.member.HandOver(transfer); err != nil {
		a.log.Warn("leaving as the leader", "error", err)
	}
}

// sayLeaving makes this node's record say that it leaves.
func (a *Agent) sayLeaving(ctx context.Context) error {
	return a.command(ctx, func(s *raftfsm.State) raftfsm.Command {
		n := s.Node(a.self.Node)
		if n == nil || n.Boot != a.self.Boot || n.Status == raftfsm.Leaving || n.Status == raftfsm.Lost {
			return nil
		}
		return &raftfsm.NodeStatus{Process: a.self, Version: n.Version, Status: raftfsm.Leaving, Reason: "asked to stop"}
	})
}
