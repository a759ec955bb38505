package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/api"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func (b backend) Nodes(context.Context) ([]client.Node, error) {
	s, err := b.state()
	if err != nil {
		return nil, err
	}
	voters := b.voters()
	var list []client.Node
	for _, n := range s.Nodes {
		list = append(list, b.node(s, n, voters))
	}
	return list, nil
}

func (b backend) Node(_ context.Context, name string) (*client.Node, error) {
	s, err := b.state()
	if err != nil {
		return nil, err
	}
	n := s.Node(topology.NodeID(name))
	if n == nil {
		return nil, api.NotFound("there is no node %s", name)
	}
	out := b.node(s, n, b.voters())
	return &out, nil
}

// voters are the nodes that vote, as this node knows them.
func (b backend) voters() map[topology.NodeID]bool {
	members, err := b.a.member.Group().Members()
	if err != nil {
		return nil // the group is being closed
	}
	votes := map[topology.NodeID]bool{}
	for _, m := range members {
		votes[m.Node] = m.Voter
	}
	return votes
}

// node tells of a node what its record and, here at the leader, its report say.
func (b backend) node(s *raftfsm.State, n *raftfsm.Node, voters map[topology.NodeID]bool) client.Node {
	out := client.Node{
		Name: string(n.ID), Boot: fmt.Sprintf("%x", uint64(n.Boot)), Status: n.Status.String(), Reason: n.Reason,
		Addresses: client.Addresses{Data: n.Addresses.Data, Gossip: n.Addresses.Gossip, HTTP: n.Addresses.HTTP},
		Zone:      n.Zone, Spot: n.Spot, Operators: n.Operators, Cores: n.Cores, MemoryBytes: n.MemoryBytes, Fingerprint: string(n.Fingerprint),
		Voter: voters[n.ID], Leader: b.leader(s) == n.Process(), LastReportMs: -1, BlamedUntil: client.UnixMs(n.BlamedUntilMs),
	}
	if n.BlamedUntilMs == 0 {
		out.BlamedUntil = time.Time{}
	}
	for _, kv := range n.Tags {
		if out.Tags == nil {
			out.Tags = map[string]string{}
		}
		out.Tags[kv.Key] = kv.Value
	}
	out.Drain, out.Holds = b.drained(s, n, voters[n.ID])
	p := n.Process()
	out.Partitions, out.Shadows, out.VaultBlocks = holdings(s, p)
	if r := b.a.reports.Latest(p); r != nil {
		out.ClockOffsetMs, out.VaultFull = -float64(r.ClockOffsetMs), r.DiskFull
		out.LogBytes, out.SpilledBytes, out.SpillFull = r.LogBytes, r.SpilledBytes, r.SpillFull
		out.LastReportMs = b.a.rates.age(p, b.a.clock.now())
		out.Rates, out.Busy = b.a.rates.node(r, n.Cores)
	}
	if p == b.a.self {
		out.Version, out.Started = b.a.config.Version, b.a.started.UTC()
		out.UptimeMs = b.a.clock.own().Sub(b.a.started).Milliseconds()
		if w := b.a.working(); w != nil {
			out.VaultBytes = w.vault.Stats().LiveBytes
		}
	}
	return out
}

// heldMost is how much is told of what a node still holds.
const heldMost = 8

// drained says how far the draining of a node is, and what it still holds when it is drained or leaves.
func (b backend) drained(s *raftfsm.State, n *raftfsm.Node, votes bool) (state string, holds []string) {
	if !n.Goes() && !n.Drain {
		return "", nil
	}
	holds = s.NamedBy(n.ID, heldMost)
	switch {
	case b.leader(s) == n.Process():
		holds = append(holds, "the leadership")
	case votes:
		holds = append(holds, "a vote")
	}
	switch {
	case !n.Drain:
		return "", holds
	case len(holds) > 0:
		return client.DrainRunning, holds
	}
	return client.DrainDone, nil
}

// holdings counts what the metadata puts on a process.
func holdings(s *raftfsm.State, p topology.Process) (partitions, shadows, blocks int) {
	for _, q := range s.Queries {
		for _, st := range q.Stages {
			for _, a := range st.Partitions {
				partitions += count(a.Process == p && runs(q.State))
			}
			for _, a := range st.Shadows {
				shadows += count(a.Process == p)
			}
			for _, v := range st.Vaults {
				for _, m := range v.Members {
					blocks += count(m == p)
				}
			}
		}
	}
	return partitions, shadows, blocks
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (b backend) Status(context.Context) (*client.Status, error) {
	a := b.a
	s := a.member.Machine().View()
	raft := a.member.Group().Status()
	out := &client.Status{Node: string(a.self.Node), Term: raft.Term, Version: a.config.Version, MetadataVersion: s.Version, Time: a.clock.now().UTC(),
		Queries: map[string]int{}}
	if s.Cluster.ID != 0 {
		out.Cluster = port.ClusterName(s.Cluster.ID)
	}
	if leader, ok := a.member.Group().Leader(); ok {
		out.Leader = string(leader.Node)
	}
	for _, votes := range b.voters() {
		out.Voters += count(votes)
	}
	for _, n := range s.Nodes {
		out.NodesAlive += count(n.Status == raftfsm.Alive)
		out.NodesLost += count(n.Status == raftfsm.Lost)
		out.NodesLeaving += count(n.Status == raftfsm.Leaving)
	}
	for _, q := range s.Queries {
		out.Queries[q.State.String()]++
		out.BlocksBelowK += blocksBelowK(s, q)
	}
	for _, q := range s.Queries {
		f := b.figures(s, q)
		rates := a.rates.query(q.ID, f.isSource, f.isSink)
		out.Rates.RowsInPerS += rates.RowsInPerS
		out.Rates.RowsOutPerS += rates.RowsOutPerS
		out.Rates.BytesPerS += rates.BytesPerS
	}
	out.Alerts = b.alerts(s)
	return out, nil
}

// alerts are what a person should look at, in the order of causes.
func (b backend) alerts(s *raftfsm.State) []client.Alert {
	var list []client.Alert
	if _, ok := b.a.member.Group().Leader(); !ok {
		list = append(list, client.Alert{Kind: "no_leader", Text: "the cluster has no leader", Hint: "it elects one as soon as a majority of the voters reach each other"})
	}
	for _, n := range s.Nodes {
		if n.Status == raftfsm.Lost {
			list = append(list, client.Alert{Kind: "node_lost", Node: string(n.ID), Text: fmt.Sprintf("node %s is lost: %s", n.ID, n.Reason), Hint: "start it again, or start another one in its place"})
		}
		r := b.a.reports.Latest(n.Process())
		if r == nil || n.Status == raftfsm.Lost {
			continue
		}
		if r.DiskFull != "" {
			list = append(list, client.Alert{Kind: "vault_full", Node: string(n.ID), Text: fmt.Sprintf("the vault of node %s takes nothing: %s", n.ID, r.DiskFull), Hint: "make room on its disk"})
		}
		if r.SpillFull != "" {
			list = append(list, client.Alert{Kind: "spill_full", Node: string(n.ID), Text: fmt.Sprintf("output logs of node %s do not go to disk though memory is short; while it is, sources on this node, if it has any, may stand still at a checkpoint: %s", n.ID, r.SpillFull),
				Hint: "make room on its disk, or give it more with --spill-limit"})
		}
		if text := r.ClockWrong(); text != "" {
			list = append(list, client.Alert{Kind: "clock_off", Node: string(n.ID), Text: fmt.Sprintf("node %s gets no partitions of sources: %s", n.ID, text), Hint: "set its clock, by NTP for one, and start it again"})
		}
	}
	for _, q := range s.Queries {
		f := b.figures(s, q)
		switch q.State {
		case raftfsm.Waiting, raftfsm.Blocked, raftfsm.Failed:
			list = append(list, client.Alert{Kind: "query_" + lower(q.State.String()), Query: q.Name, Text: fmt.Sprintf("query %s is %v: %s", q.Name, q.State, f.named(q.Reason)), Hint: f.named(q.Resolves)})
		}
		if below := blocksBelowK(s, q); below > 0 {
			list = append(list, client.Alert{Kind: "blocks_below_k", Query: q.Name, Text: fmt.Sprintf("%d blocks of query %s have fewer copies than they should", below, q.Name)})
		}
		if open, missing := f.overdue(); open > 0 {
			list = append(list, client.Alert{Kind: "checkpoints_overdue", Query: q.Name, Text: fmt.Sprintf("none of the last %d checkpoints of query %s is complete; the first waits for %s", open, q.Name, several(missing, 3)),
				Hint: "a vault that takes little, or nothing, has the cause in the log of those nodes; sources stop before there are many more"})
		}
	}
	return list
}

// several names so many of a list at most.
func several(list []string, most int) string {
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}

func (b backend) RaftPeers(context.Context) (*client.RaftPeers, error) {
	group := b.a.member.Group()
	members, err := group.Members()
	if err != nil {
		return nil, err
	}
	leader, _ := group.Leader()
	s := b.a.member.Machine().View()
	raft := group.Status()
	out := &client.RaftPeers{Node: string(b.a.self.Node), State: raft.State, Term: raft.Term, LastIndex: raft.LastIndex, CommitIndex: raft.CommitIndex,
		AppliedIndex: raft.AppliedIndex, LeaderSilenceMs: raft.LeaderSilence.Milliseconds()}
	for _, m := range members {
		p := client.RaftPeer{Node: string(m.Node), Address: m.Address, Voter: m.Voter, Leader: m.Node == leader.Node}
		if n := s.Node(m.Node); n != nil {
			p.Status, p.Address = n.Status.String(), n.Addresses.Data
		}
		out.Peers = append(out.Peers, p)
	}
	return out, nil
}

// transferLook is how often it is looked whether another leads.
const transferLook = 20 * time.Millisecond

func (b backend) TransferRaft(ctx context.Context, _ client.RequestID, to string) (string, error) {
	group := b.a.member.Group()
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	switch err := group.Transfer(ctx, topology.NodeID(to)); {
	case errors.Is(err, raftfsm.ErrNotLeader):
		return "", api.NoLeader("%v", err)
	case err != nil:
		return "", api.Conflict("%v", err)
	}
	for {
		leader, ok := group.Leader()
		if ok && (leader.Node != b.a.self.Node || to == string(b.a.self.Node)) {
			return string(leader.Node), nil
		}
		if !sleep(ctx, transferLook) {
			return "", api.NoLeader("the leadership was given away, and nobody is known to have it yet")
		}
	}
}
