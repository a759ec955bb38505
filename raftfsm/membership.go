package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// MembershipAction is one step towards the membership that the nodes known ask for.
type MembershipAction uint8

const (
	// AddMember makes a node a member without a vote.
	AddMember MembershipAction = 1
	// Promote gives a member a vote.
	Promote MembershipAction = 2
	// Demote takes a member's vote.
	Demote MembershipAction = 3
	// RemoveMember ends a membership.
	RemoveMember MembershipAction = 4
	// HandOver gives the leadership away, because the leader itself is to lose its vote.
	HandOver MembershipAction = 5
)

// MembershipStep is a change of one member.
type MembershipStep struct {
	Action MembershipAction
	Node   topology.NodeID
}

// NextMembershipStep gives the one next step from the members to what the nodes' records ask for; ok is false when there is none.
// Every living node is a member. The greatest odd number of them that is at most most get votes, those on spot instances last; workers
// (RoleWorker) get none and are not counted, as long as another node lives. A
// voter that is lost, leaves or is drained keeps its vote until another has taken its place, and because of lost nodes there are never fewer
// than three; who left is no member. A server without a record, a founder before it joins, counts as living.
//
// A living voter keeps its vote even when their number becomes even: the library does not let a server stand for election that has
// the entry in which it loses its vote, so if the leader dies just when that server alone has it, three or four voters elect nobody
// until the leader is back.
func NextMembershipStep(s *State, members []Server, leader topology.NodeID, most int) (MembershipStep, bool) {
	electable := electorate(s, members)
	alive, lost := 0, 0
	var good, bad []topology.NodeID // voters
	for _, m := range members {
		n := s.Node(m.Node)
		switch {
		case n == nil:
			alive++
		case n.Status == Lost && electable(n):
			lost++
		}
		if m.Voter && (n == nil || n.Stays()) {
			good = append(good, m.Node)
		} else if m.Voter {
			bad = append(bad, m.Node)
		}
	}
	for _, n := range s.Nodes {
		if n.Status != Alive {
			continue
		}
		if electable(n) && n.Stays() {
			alive++
		}
		if !slices.ContainsFunc(members, func(m Server) bool { return m.Node == n.ID }) {
			return MembershipStep{AddMember, n.ID}, true
		}
	}
	want := max(oddUpTo(min(most, alive)), min(oddUpTo(min(most, alive+lost)), 3))
	if candidate := bestCandidate(s, members, electable); candidate != nil && len(good) <= most {
		asGood := 0 // voters that are as fit for it
		for _, id := range good {
			asGood += boolRank(voteRank(s.Node(id)) <= voteRank(candidate))
		}
		if asGood < want {
			return MembershipStep{Promote, candidate.ID}, true
		}
	}
	if step, ok := dropVoter(s, good, bad, leader, want, most); ok {
		return step, true
	}
	for _, m := range members {
		if n := s.Node(m.Node); n != nil && n.Status == Left && !m.Voter {
			return MembershipStep{RemoveMember, m.Node}, true
		}
	}
	return MembershipStep{}, false
}

// electorate says who may vote: all but workers, and workers, too, when nobody else lives.
func electorate(s *State, members []Server) func(*Node) bool {
	isWorker := func(n *Node) bool { return n.Role() == RoleWorker }
	others := slices.ContainsFunc(s.Nodes, func(n *Node) bool { return n.Stays() && !isWorker(n) }) ||
		slices.ContainsFunc(members, func(m Server) bool { return s.Node(m.Node) == nil })
	return func(n *Node) bool { return !others || !isWorker(n) }
}

// oddUpTo is the greatest odd number that is at most n, 1 at least.
func oddUpTo(n int) int { return max(1, n-1+n%2) }

// bestCandidate is the living member without a vote that should get one: not a spot instance if possible, then by name. Nil for
// none.
func bestCandidate(s *State, members []Server, electable func(*Node) bool) *Node {
	var best *Node
	for _, m := range members {
		n := s.Node(m.Node)
		if m.Voter || n == nil || !n.Stays() || !electable(n) {
			continue
		}
		if best == nil || voteRank(n) < voteRank(best) || voteRank(n) == voteRank(best) && n.ID < best.ID {
			best = n
		}
	}
	return best
}

// dropVoter takes the vote of one that should not have it, if those that remain are enough.
func dropVoter(s *State, good, bad []topology.NodeID, leader topology.NodeID, want, most int) (MembershipStep, bool) {
	drop := func(id topology.NodeID) (MembershipStep, bool) {
		if id == leader {
			return MembershipStep{HandOver, id}, true
		}
		return MembershipStep{Demote, id}, true
	}
	// A lost voter's place is kept while nobody can take it: the group would not survive more without it. Those that cannot vote go
	// before those that leave, whose votes may be needed until then: what is left must be able to decide.
	reachable := len(good)
	slices.SortStableFunc(bad, func(a, b topology.NodeID) int {
		return boolRank(s.Node(a).Goes()) - boolRank(s.Node(b).Goes())
	})
	for _, id := range bad {
		reachable += boolRank(s.Node(id).Goes())
	}
	for _, id := range bad {
		left := reachable - boolRank(s.Node(id).Goes())
		decides := 2*left > len(good)+len(bad)-1
		if len(good) > 0 && decides && (len(good) >= want || s.Node(id).Status == Left) {
			return drop(id)
		}
	}
	unfit := 0
	for _, id := range good {
		unfit += boolRank(voteRank(s.Node(id)) > 0)
	}
	if len(good) <= most && (unfit == 0 || len(good)-unfit < want) {
		return MembershipStep{}, false
	}
	slices.SortFunc(good, func(a, b topology.NodeID) int {
		x, y := s.Node(a), s.Node(b)
		if d := voteRank(y) - voteRank(x); d != 0 {
			return d
		}
		if d := boolRank(a == leader) - boolRank(b == leader); d != 0 {
			return d
		}
		return strings.Compare(string(b), string(a))
	})
	return drop(good[0])
}

// voteRank is how unfit a node is to vote.
func voteRank(n *Node) int {
	switch {
	case n == nil:
		return 0
	case n.Role() == RoleWorker:
		return 2
	}
	return boolRank(n.Spot)
}

func boolRank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// keepMembership takes steps until none is left, whenever the state changes and every MembershipEvery.
func (g *Group) keepMembership(ctx context.Context) {
	tick := time.NewTimer(g.config.until(g.config.MembershipEvery))
	defer tick.Stop()
	for {
		changed := g.machine.Changed()
		for {
			more, err := g.stepMembership(ctx)
			if err != nil && ctx.Err() == nil {
				g.log.Warn("membership", "error", err)
			}
			if err != nil || !more {
				break
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-tick.C:
			tick.Reset(g.config.until(g.config.MembershipEvery))
		}
	}
}

func (g *Group) stepMembership(ctx context.Context) (more bool, err error) {
	members, index, err := g.members()
	if err != nil {
		return false, err
	}
	s := g.machine.View()
	step, ok := NextMembershipStep(s, members, g.config.Node, g.config.Voters)
	if !ok {
		return false, nil
	}
	if step.Action == HandOver {
		return false, g.Transfer(ctx, "")
	}
	id, wait := raft.ServerID(step.Node), g.config.ProposeTimeout
	err = g.await(ctx, func() raft.Future {
		switch step.Action {
		case AddMember:
			return g.raft.AddNonvoter(id, raft.ServerAddress(s.Node(step.Node).Addresses.Data), index, wait)
		case Promote:
			return g.raft.AddVoter(id, raft.ServerAddress(s.Node(step.Node).Addresses.Data), index, wait)
		case Demote:
			return g.raft.DemoteVoter(id, index, wait)
		}
		return g.raft.RemoveServer(id, index, wait)
	})
	if err != nil {
		return false, fmt.Errorf("change member %s: %w", step.Node, err)
	}
	g.log.Info("membership changed", "node", step.Node, "action", step.Action.String())
	return true, nil
}

// String says what the action does.
func (a MembershipAction) String() string {
	switch a {
	case AddMember:
		return "added without a vote"
	case Promote:
		return "given a vote"
	case Demote:
		return "vote taken"
	case RemoveMember:
		return "removed"
	case HandOver:
		return "leadership handed over"
	}
	return fmt.Sprintf("action %d", uint8(a))
}

// Members are the members of the group as this node knows them, ascending by name.
func (g *Group) Members() ([]Server, error) {
	members, _, err := g.members()
	return members, err
}

func (g *Group) members() ([]Server, uint64, error) {
	f := g.raft.GetConfiguration() // answered at once
	if err := f.Error(); err != nil {
		return nil, 0, err
	}
	var out []Server
	for _, s := range f.Configuration().Servers {
		out = append(out, Server{topology.NodeID(s.ID), string(s.Address), s.Suffrage == raft.Voter})
	}
	slices.SortFunc(out, func(a, b Server) int { return strings.Compare(string(a.Node), string(b.Node)) })
	return out, f.Index(), nil
}

func (g *Group) votes(id topology.NodeID) (bool, error) {
	members, _, err := g.members()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(members, func(m Server) bool { return m.Node == id && m.Voter }), nil
}

// Transfer hands the leadership to a voter, "" to the one that is most up to date: only where this node leads.
func (g *Group) Transfer(ctx context.Context, to topology.NodeID) error {
	if g.raft.State() != raft.Leader {
		return g.notLeader()
	}
	if to == "" {
		return g.transferred(g.await(ctx, g.raft.LeadershipTransfer))
	}
	members, _, err := g.members()
	if err != nil {
		return err
	}
	i := slices.IndexFunc(members, func(m Server) bool { return m.Node == to && m.Voter })
	switch {
	case i < 0:
		return fmt.Errorf("node %s cannot lead: it is no voter", to)
	case to == g.config.Node:
		return nil
	}
	return g.transferred(g.await(ctx, func() raft.Future {
		return g.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(members[i].Address))
	}))
}

func (g *Group) transferred(err error) error {
	if err == nil || errors.Is(err, ErrNotLeader) {
		return err
	}
	return fmt.Errorf("transfer leadership: %w", err)
}
