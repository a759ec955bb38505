package agent

import (
	"context"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
)

const (
	// leaveWait is how long a node that is asked to stop waits until others have taken over what it holds.
	leaveWait = 30 * time.Second
	// leaveCommand bounds each of the commands that leaving needs: without a leader there is nobody to hand over to.
	leaveCommand = 5 * time.Second
	goodbyeWait  = 200 * time.Millisecond
)

// Leave hands over what this node holds, as far as others can take it, at most 30 s long or until ctx ends: partitions, copies and the
// leadership. A node alone in its cluster has nobody to hand over to and leaves everything on its disk. Close follows.
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
	if a.others() > 0 && a.working() != nil {
		a.handOver(ctx)
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
	n := 0
	for _, node := range a.Machine().View().Nodes {
		n += count(node.ID != a.self.Node && node.Stays())
	}
	return n
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
	ctx, cancel := context.WithTimeout(ctx, leaveCommand)
	defer cancel()
	for {
		n := a.Machine().View().Node(a.self.Node)
		if n == nil || n.Boot != a.self.Boot || n.Status == raftfsm.Leaving || n.Status == raftfsm.Lost {
			return nil
		}
		out, err := a.member.Propose(ctx, raftfsm.Envelope{AtMs: a.clock.now().UnixMilli(), Command: &raftfsm.NodeStatus{Process: a.self, Version: n.Version,
			Status: raftfsm.Leaving, Reason: "asked to stop"}})
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
