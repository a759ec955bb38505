package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

var (
	// ErrNotLeader says that only the leader can do this; a *NotLeaderError says who is.
	ErrNotLeader = errors.New("this node is not the leader")
	// ErrBusy says that the leader did not get to a command in time; it is not applied.
	ErrBusy = errors.New("the leader is too busy")
	// ErrUncertain says that leadership was lost while a command was on its way: it may or may not be applied, now or later. Propose
	// the same command again, at the leader: if it was applied, it is not applied twice.
	ErrUncertain = errors.New("leadership was lost while the command was on its way; it may have been applied")
	// ErrClosed says that the group was closed.
	ErrClosed = errors.New("raft group is closed")
)

// NotLeaderError says who is the leader, as far as this node knows.
type NotLeaderError struct {
	Node    topology.NodeID // "" when nobody is
	Address string          // its data address
}

func (e *NotLeaderError) Error() string {
	if e.Node == "" {
		return "this node is not the leader, and knows of none"
	}
	return fmt.Sprintf("this node is not the leader: %s is, at %s", e.Node, e.Address)
}

// Is makes every NotLeaderError an ErrNotLeader.
func (e *NotLeaderError) Is(target error) bool { return target == ErrNotLeader }

// Server is a member of the group.
type Server struct {
	Node    topology.NodeID `json:"node"`
	Address string          `json:"address"` // data address
	Voter   bool            `json:"voter"`
}

// LeaderLoop runs while this node leads: it starts when the machine has applied all that earlier leaders committed, and must
// return soon after ctx ends.
type LeaderLoop func(ctx context.Context, term uint64)

// Group is this node's part in the Raft group.
type Group struct {
	config  Config
	machine *Machine
	log     *slog.Logger
	raft    *raft.Raft
	ways    raft.Transport
	stores  *Stores
	loop    LeaderLoop
	leads   atomic.Uint64 // the term in which this node leads and has applied what came before; 0: it does not

	stop  context.CancelFunc
	close sync.Once
	err   error

	mu      sync.Mutex
	closed  bool
	leading chan struct{}  // closed and replaced when another leads
	done    sync.WaitGroup // goroutines of the group
}

// Open starts this node's part in the group, from what its directory holds. A new node takes part in nothing until Bootstrap, or
// until a leader adds it. The group owns transport from now on, also when Open fails. loop may be nil.
func Open(c Config, m *Machine, transport raft.Transport, loop LeaderLoop, log *slog.Logger) (*Group, error) {
	g := &Group{config: c, machine: m, log: log, loop: loop, ways: transport, leading: make(chan struct{})}
	if err := g.open(transport); err != nil {
		if t, ok := transport.(raft.WithClose); ok {
			err = errors.Join(err, t.Close())
		}
		if g.stores != nil {
			err = errors.Join(err, g.stores.Close())
		}
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.stop = cancel
	g.start(func() { g.lead(ctx) })
	g.start(func() { g.watch(ctx) })
	g.start(func() { g.followLeader(ctx) })
	return g, nil
}

func (g *Group) open(transport raft.Transport) error {
	c := &g.config
	if err := c.Validate(); err != nil {
		return err
	}
	g.stores = c.Stores
	if c.Dir != "" {
		id, err := ClaimDir(c.Dir, c.Node, c.Cluster)
		if err != nil {
			return err
		}
		if c.Cluster == 0 {
			c.Cluster = id.Cluster
		}
		if g.stores, err = openStores(c.Dir, c.CachedEntries, g.log); err != nil {
			return err
		}
	}
	r, err := raft.NewRaft(c.raft(g.log), raftFSM{g.machine}, g.stores.Log, g.stores.Stable, g.stores.Snapshots, transport)
	if err != nil {
		if cause := g.machine.Err(); cause != nil {
			return fmt.Errorf("start raft: %w", cause)
		}
		return fmt.Errorf("start raft: %w", err)
	}
	g.raft = r
	return nil
}

// Close ends this node's part: what is under way is answered first, which takes no longer than a leader that reaches nobody stays
// one; then the leader loop has returned, and transport and stores are closed. Twice is fine.
func (g *Group) Close() error {
	g.close.Do(func() {
		g.mu.Lock()
		g.closed = true
		g.mu.Unlock()
		g.stop()
		// The library may forget whom to answer when it is shut down first.
		g.done.Wait()
		g.err = errors.Join(g.raft.Shutdown().Error(), g.stores.Close()) // closes the transport too
	})
	return g.err
}

// start runs f, unless the group is closed.
func (g *Group) start(f func()) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.done.Go(f)
	}
	return !g.closed
}

// watch keeps the cluster's id in the directory, and gives the leadership away when the machine can apply no more or is of another
// cluster. The node goes on voting and keeping the log, which needs no machine.
func (g *Group) watch(ctx context.Context) {
	_, err := g.machine.Wait(ctx, func(s *State) bool { return s.Cluster.ID != 0 })
	if err == nil {
		err = g.settle(g.machine.View().Cluster.ID)
	}
	if err == nil {
		select {
		case <-ctx.Done():
			return
		case <-g.machine.Failed():
			err = g.machine.Err()
		}
	}
	if ctx.Err() != nil {
		return
	}
	g.machine.fail(err)
	g.log.Error("metadata stands still on this node", "error", err)
	for ctx.Err() == nil && g.raft.State() == raft.Leader && g.Transfer(ctx, "") != nil {
		pause(ctx, g.config.MembershipEvery)
	}
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// settle notes which cluster this node is in.
func (g *Group) settle(cluster uint64) error {
	c := &g.config
	if c.Cluster != 0 && c.Cluster != cluster {
		return otherCluster(c.Dir, cluster, c.Cluster)
	}
	if c.Dir == "" {
		return nil
	}
	id, err := ReadIdentity(c.Dir)
	if err != nil || id.Cluster == cluster {
		return err
	}
	id.Cluster = cluster
	return writeIdentity(c.Dir, id)
}

// Failed is closed when this node's metadata stands still for good; Err says why.
func (g *Group) Failed() <-chan struct{} { return g.machine.Failed() }

// Err says why this node's metadata stands still for good, nil while it does not.
func (g *Group) Err() error { return g.machine.Err() }

// Machine holds this node's copy of the state.
func (g *Group) Machine() *Machine { return g.machine }

// Bootstrap founds the group with these voters. Several nodes may do so with the same list. It does nothing when this node has
// been in a group before, and says so.
func (g *Group) Bootstrap(servers []Server) (founded bool, err error) {
	var c raft.Configuration
	for _, s := range servers {
		c.Servers = append(c.Servers, raft.Server{ID: raft.ServerID(s.Node), Address: raft.ServerAddress(s.Address), Suffrage: raft.Voter})
	}
	err = g.raft.BootstrapCluster(c).Error()
	if errors.Is(err, raft.ErrCantBootstrap) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("found the raft group: %w", err)
	}
	return true, nil
}

// InGroup says whether this node has ever been made a member of a group.
func (g *Group) InGroup() bool { return g.raft.LastIndex() > 0 }

// Propose has the leader apply a command and gives its outcome: only where this node leads. An error says that the command was
// not applied, but for ErrUncertain and the end of ctx. NodeLeave is refused for a node that votes.
func (g *Group) Propose(ctx context.Context, e Envelope) (Outcome, error) {
	data, err := EncodeCommand(e)
	if err != nil {
		return Outcome{}, err
	}
	if err := g.Err(); err != nil {
		return Outcome{}, err
	}
	if leave, ok := e.Command.(*NodeLeave); ok {
		if g.raft.State() != raft.Leader {
			return Outcome{}, g.notLeader()
		}
		if voter, err := g.votes(leave.Process.Node); err != nil || voter {
			out := refused(StillNamed, "node %s cannot leave: it votes", leave.Process.Node)
			out.Version = g.machine.View().Version
			return out, err
		}
	}
	var future raft.ApplyFuture
	if err := g.await(ctx, func() raft.Future { future = g.raft.Apply(data, g.config.ProposeTimeout); return future }); err != nil {
		return Outcome{}, err
	}
	switch r := future.Response().(type) {
	case Outcome:
		if r.Code == Applied && urgent(e.Command) {
			g.raft.Barrier(g.config.ProposeTimeout) // followers learn of a commit with the next entry
		}
		return r, nil
	case error:
		return Outcome{}, r
	}
	return Outcome{}, fmt.Errorf("command was answered with %T", future.Response())
}

// urgent says that followers act on the command.
func urgent(c Command) bool { return c.Kind() != KindHistoryAdd }

// await asks the library and waits for its answer, which comes at the latest when leadership ends, and gives its error as one of
// ours.
func (g *Group) await(ctx context.Context, ask func() raft.Future) error {
	done := make(chan error, 1)
	if !g.start(func() { done <- ask().Error() }) {
		return ErrClosed
	}
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		return ctx.Err()
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return g.notLeader()
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return ErrUncertain
	case errors.Is(err, raft.ErrRaftShutdown):
		return errors.Join(ErrClosed, ErrUncertain)
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return fmt.Errorf("%w: the command found no place in its queue for %v", ErrBusy, g.config.ProposeTimeout)
	}
	return err
}

func (g *Group) notLeader() error {
	s, ok := g.Leader()
	if !ok || s.Node == g.config.Node {
		return &NotLeaderError{}
	}
	return &NotLeaderError{s.Node, s.Address}
}

// Leader is the leader as this node knows it.
func (g *Group) Leader() (Server, bool) {
	address, id := g.raft.LeaderWithID()
	if id == "" {
		return Server{}, false
	}
	s := Server{topology.NodeID(id), string(address), true}
	if n := g.machine.View().Node(s.Node); n != nil {
		s.Address = n.Addresses.Data
	}
	return s, true
}

// Leads gives the term in which this node leads and knows all that earlier leaders committed; ok is false when it does not.
func (g *Group) Leads() (term uint64, ok bool) {
	term = g.leads.Load()
	return term, term != 0
}

// Current gives a view that holds everything answered before it was asked for: only where this node leads.
func (g *Group) Current(ctx context.Context) (*State, error) {
	term, ok := g.Leads()
	if !ok {
		return nil, g.notLeader()
	}
	if t, ok := g.ways.(transport); ok {
		defer t.beats.hurry()()
	}
	// What was answered in this term was applied here first, and what came before it was applied before the term's loops began: the
	// view is current if nobody else leads.
	if err := g.await(ctx, g.raft.VerifyLeader); err != nil {
		if errors.Is(err, ErrUncertain) {
			err = g.notLeader()
		}
		return nil, err
	}
	if now, _ := g.Leads(); now != term {
		return nil, g.notLeader()
	}
	return g.machine.View(), nil
}

// CaughtUp waits until this node has applied the log up to its own process's joining: everything that was committed before this
// process was known to the cluster. An agent acts on nothing it sees earlier.
func (g *Group) CaughtUp(ctx context.Context, p topology.Process) (*State, error) {
	return g.machine.Wait(ctx, func(s *State) bool {
		n := s.Node(p.Node)
		return n != nil && n.Boot == p.Boot
	})
}

// RaftStatus is what the library says of this node's part, for people.
type RaftStatus struct {
	State         string        `json:"state"` // Leader, Follower, Candidate, Shutdown
	Term          uint64        `json:"term"`
	LastIndex     uint64        `json:"last_index"`
	CommitIndex   uint64        `json:"commit_index"`
	AppliedIndex  uint64        `json:"applied_index"`
	LeaderSilence time.Duration `json:"leader_silence_ns"` // since a leader was last heard
}

// Status tells how this node's part is doing.
func (g *Group) Status() RaftStatus {
	s := RaftStatus{
		State: g.raft.State().String(), Term: g.raft.CurrentTerm(),
		LastIndex: g.raft.LastIndex(), CommitIndex: g.raft.CommitIndex(), AppliedIndex: g.raft.AppliedIndex(),
	}
	if last := g.raft.LastContact(); !last.IsZero() && s.State != raft.Leader.String() {
		s.LeaderSilence = time.Since(last)
	}
	return s
}

// Snapshot writes one now.
func (g *Group) Snapshot() error {
	err := g.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	return err
}
