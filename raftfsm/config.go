package raftfsm

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Config says how a node takes part in the Raft group.
type Config struct {
	// Node is the stable name by which the group knows this node.
	Node topology.NodeID
	// Dir keeps the log, the vote and snapshots; it belongs to the group alone. "" keeps them in Stores.
	Dir string
	// Stores replaces what Dir holds, in tests.
	Stores *Stores
	// Cluster is the id of the cluster that this node must belong to; 0 takes whatever the directory or the leader says.
	Cluster uint64

	// Heartbeat is how long a follower hears nothing before it stands for election.
	Heartbeat time.Duration
	// Election is how long a candidate waits before it tries again.
	Election time.Duration
	// Lease is how long a leader that does not reach a majority stays one; at most Heartbeat.
	Lease time.Duration
	// Commit is how long an idle leader waits before it tells followers what is committed.
	Commit time.Duration
	// SnapshotEvery is how often it is looked whether SnapshotEntries were written since the last snapshot.
	SnapshotEvery time.Duration
	// SnapshotEntries is how many log entries make a snapshot worth while.
	SnapshotEntries uint64
	// TrailingEntries stay in the log behind a snapshot, for followers that are a little behind.
	TrailingEntries uint64
	// CachedEntries are held in memory, so that replicating reads no disk.
	CachedEntries int
	// ProposeTimeout bounds the wait for a place in the leader's queue.
	ProposeTimeout time.Duration

	// Now is the cluster's time, at whose round instants a leader beats; nil: the host's.
	Now func() time.Time

	// Voters is the most nodes that vote; as many as an odd number allows do, the others hold the same state and do not count.
	Voters int
	// MembershipEvery is how often the leader compares members and voters with the nodes known, beside each change of these.
	MembershipEvery time.Duration
}

// DefaultConfig gives the settings that fail over in a third to two thirds of a second.
func DefaultConfig() Config {
	return Config{
		Heartbeat:       250 * time.Millisecond,
		Election:        250 * time.Millisecond,
		Lease:           125 * time.Millisecond,
		Commit:          500 * time.Millisecond, // commands that followers act on are followed by a Barrier, which tells at once
		SnapshotEvery:   10 * time.Second,
		SnapshotEntries: 1024,
		TrailingEntries: 1024,
		CachedEntries:   512,
		ProposeTimeout:  2 * time.Second,
		Voters:          5,
		MembershipEvery: time.Second,
	}
}

// Validate says which field is wrong.
func (c *Config) Validate() error {
	if out := validName("node", string(c.Node)); out.Code != 0 {
		return errors.New(out.Text)
	}
	if (c.Dir == "") == (c.Stores == nil) {
		return errors.New("raft: exactly one of Dir and Stores must be set")
	}
	for _, f := range []struct {
		name string
		d    time.Duration
	}{
		{"Heartbeat", c.Heartbeat}, {"Election", c.Election}, {"Lease", c.Lease}, {"Commit", c.Commit},
		{"SnapshotEvery", c.SnapshotEvery}, {"ProposeTimeout", c.ProposeTimeout}, {"MembershipEvery", c.MembershipEvery},
	} {
		if f.d < 5*time.Millisecond {
			return fmt.Errorf("raft: %s is %v; it must be at least 5ms", f.name, f.d)
		}
	}
	if c.Lease > c.Heartbeat || c.Election < c.Heartbeat {
		return fmt.Errorf("raft: Lease %v must be at most Heartbeat %v, and Election %v at least", c.Lease, c.Heartbeat, c.Election)
	}
	if c.SnapshotEntries == 0 || c.CachedEntries <= 0 {
		return fmt.Errorf("raft: SnapshotEntries %d and CachedEntries %d must be positive", c.SnapshotEntries, c.CachedEntries)
	}
	if c.Voters < 1 || c.Voters%2 == 0 {
		return fmt.Errorf("raft: Voters is %d; it must be odd", c.Voters)
	}
	return nil
}

// beatEvery is the most time that the library lets pass between two beats of a leader.
func (c *Config) beatEvery() time.Duration { return c.Heartbeat / 5 }

// raft gives the library's configuration.
func (c *Config) raft(log *slog.Logger) *raft.Config {
	r := raft.DefaultConfig()
	r.LocalID = raft.ServerID(c.Node)
	r.HeartbeatTimeout, r.ElectionTimeout = c.Heartbeat, c.Election
	r.LeaderLeaseTimeout, r.CommitTimeout = c.Lease, c.Commit
	r.SnapshotInterval, r.SnapshotThreshold, r.TrailingLogs = c.SnapshotEvery, c.SnapshotEntries, c.TrailingEntries
	r.PreVoteDisabled = false
	r.ShutdownOnRemove = false // a node that was removed by mistake can be added again
	r.NoLegacyTelemetry = true
	r.Logger = newRaftLogger(log)
	return r
}
