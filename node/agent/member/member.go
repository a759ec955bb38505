package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Candidate is what gossip says of a node, as far as founding and joining go.
type Candidate struct {
	Node    topology.NodeID
	Address string // data address
	Cluster uint64 // 0: it is in none
	Expect  int    // founders it waits for; 0: it founds none
}

// Config says who the process is and how it reaches others.
type Config struct {
	// Node is the record that the process joins with: name, boot id, addresses and what it has to offer.
	Node raftfsm.Node
	// Raft is complete but for Node.
	Raft raftfsm.Config
	// Joins is what it was told to join, for people; Expect how many nodes found a cluster together.
	Joins  []string
	Expect int
	// Others are the living nodes that gossip knows, without this one.
	Others func() []Candidate

	// Incoming are Raft's connections; the member's from then on. DialRaft and DialControl reach others.
	Incoming    net.Listener
	DialRaft    raftfsm.Dialer
	DialControl Dialer
	// Loop runs while this node leads, when the cluster has its id.
	Loop raftfsm.LeaderLoop

	Logger *slog.Logger
	// Now is the cluster's time.
	Now func() time.Time
	// Chance draws the cluster's id when this node leads first.
	Chance func() (uint64, error)
}

// Member is this process's part in the cluster.
type Member struct {
	config  Config
	machine *raftfsm.Machine
	group   *raftfsm.Group
	control *Control
	*proposer
	membership membership

	close sync.Once
	err   error
}

// Open starts the part in the Raft group, from what its directory holds. Run follows.
func Open(c Config) (*Member, error) {
	m := &Member{config: c, machine: raftfsm.NewMachine(), control: NewControl(c.DialControl)}
	// The group may lead before its variable is set.
	opened := make(chan struct{})
	defer close(opened)
	loop := func(ctx context.Context, term uint64) {
		<-opened
		m.lead(ctx, term)
	}
	var transport raft.Transport = raftfsm.NewTransport(c.Incoming, c.DialRaft, m.machine, c.Logger)
	c.Raft.Node, c.Raft.Now = c.Node.ID, c.Now
	group, err := raftfsm.Open(c.Raft, m.machine, transport, loop, c.Logger)
	if err != nil {
		m.control.Close()
		return nil, err
	}
	m.group = group
	m.proposer = &proposer{self: c.Node.ID, group: group, control: m.control, peers: m.addresses, now: c.Now}
	m.membership = membership{self: c.Node, group: group, propose: m.proposer, control: m.control, log: c.Logger, now: c.Now}
	return m, nil
}

// Group is the part in the Raft group.
func (m *Member) Group() *raftfsm.Group { return m.group }

// Machine is this node's copy of the metadata.
func (m *Member) Machine() *raftfsm.Machine { return m.machine }

// Control reaches other nodes' control channels.
func (m *Member) Control() *Control { return m.control }

// Handle serves what other members ask.
func (m *Member) Handle(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathPropose, m.serve)
	mux.HandleFunc("GET "+pathRecord, m.membership.serveRecord)
	mux.HandleFunc("GET "+pathProcess, m.membership.serveProcess)
}

// Run founds or joins, and keeps the process a member until ctx ends or it cannot be one: its name is another's, or its metadata
// stands still for good.
func (m *Member) Run(ctx context.Context) error {
	f := founding{
		self:  Candidate{Node: m.config.Node.ID, Address: m.config.Node.Addresses.Data, Expect: m.config.Expect},
		joins: m.config.Joins, group: m.group, others: m.config.Others, tell: m.config.Logger.Info,
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var founded sync.WaitGroup
	// Beside each other: a node is taken into a group because it has joined.
	founded.Go(func() {
		if err := f.run(ctx); err != nil {
			cancel(err)
		}
	})
	err := m.membership.run(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	cancel(nil)
	founded.Wait()
	return err
}

// Joined waits until this process has applied the log up to its own joining: it may act on the metadata from then on.
func (m *Member) Joined(ctx context.Context) (*raftfsm.State, error) {
	return m.group.CaughtUp(ctx, m.config.Node.Process())
}

// lead gives the cluster its id if it has none yet, then runs the loop.
func (m *Member) lead(ctx context.Context, term uint64) {
	for m.machine.View().Cluster.ID == 0 {
		if err := m.initialize(ctx); err != nil {
			m.config.Logger.Warn("giving the cluster its id", "error", err)
			if !sleep(ctx, joinRetry) {
				return
			}
		}
	}
	if m.config.Loop != nil {
		m.config.Loop(ctx, term)
	}
}

func (m *Member) initialize(ctx context.Context) error {
	id, err := m.config.Chance()
	if err != nil {
		return err
	}
	out, err := m.group.Propose(ctx, raftfsm.Envelope{AtMs: m.config.Now().UnixMilli(), Command: &raftfsm.ClusterInit{ID: id}})
	if err != nil {
		return err
	}
	if out.Reason == raftfsm.OtherCluster {
		return nil // an earlier leader's, which is applied by now
	}
	return out.Err()
}

// addresses are those of nodes that may know the leader.
func (m *Member) addresses() []string {
	var list []string
	for _, c := range m.config.Others() {
		if c.Address != "" && (c.Cluster != 0 || c.Expect != 0) {
			list = append(list, c.Address)
		}
	}
	return list
}

// HandOver gives the leadership away when this node has it and somebody can take it.
func (m *Member) HandOver(ctx context.Context) error {
	if _, leads := m.group.Leads(); !leads {
		return nil
	}
	members, err := m.group.Members()
	if err != nil {
		return err
	}
	voters := 0
	for _, s := range members {
		if s.Voter {
			voters++
		}
	}
	if voters < 2 {
		return nil
	}
	if err := m.group.Transfer(ctx, ""); err != nil && !errors.Is(err, raftfsm.ErrNotLeader) {
		return fmt.Errorf("handing the leadership over: %w", err)
	}
	return nil
}

// Close ends this process's part at once. Twice is fine.
func (m *Member) Close() error {
	m.close.Do(func() {
		m.err = m.group.Close()
		m.control.Close()
	})
	return m.err
}
