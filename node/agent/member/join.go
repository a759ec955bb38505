package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// joinEvery is the least time between two attempts to join, a false verdict's included.
	joinEvery = time.Second
	// joinRetry is the pause behind an attempt that a change of the record has made stale, or that found nobody.
	joinRetry = 100 * time.Millisecond
	// identityWait bounds the question whether a process of the same name still lives.
	identityWait = 2 * time.Second
	// recordBytesMax bounds a node's record in an answer.
	recordBytesMax = 4 << 20
)

// errReplaced says that another process has taken this node's name.
var errReplaced = errors.New("another process has joined under this node's name")

// record is what a peer says of a node's record: what a process must know to join.
type record struct {
	Cluster uint64        `json:"cluster"` // 0: the peer is in none
	Node    *raftfsm.Node `json:"node,omitempty"`
}

// membership keeps this process in the cluster's metadata: it joins at its start, and again when it was taken for lost.
type membership struct {
	self    raftfsm.Node // Version, Status and Reason are not its own to say
	group   *raftfsm.Group
	propose *proposer
	control *Control
	log     *slog.Logger
	now     func() time.Time
}

// run returns when another process has taken the name (errReplaced), or when ctx ends.
func (m *membership) run(ctx context.Context) error {
	machine := m.group.Machine()
	joined := false
	for {
		changed := machine.Changed()
		have := machine.View().Node(m.self.ID)
		switch mine := have != nil && have.Boot == m.self.Boot; {
		case mine && have.Status == raftfsm.Left:
			return fmt.Errorf("node %s has left the cluster", m.self.ID)
		case mine && have.Status != raftfsm.Lost:
			joined = true
			select {
			case <-changed:
				continue
			case <-machine.Failed():
				return machine.Err()
			case <-ctx.Done():
				return ctx.Err()
			}
		case joined && !mine:
			return fmt.Errorf("%w: %s is boot %x now, this process is %x; give one of the two another --name and --data-dir",
				errReplaced, m.self.ID, uint64(have.Boot), uint64(m.self.Boot))
		case mine:
			m.log.Warn("this node was taken for lost, and joins again", "reason", have.Reason)
		}
		wait := joinEvery
		if err := m.join(ctx); err != nil {
			if errors.Is(err, errNameInUse) {
				return err
			}
			m.log.Debug("joining", "error", err)
			wait = joinRetry
		}
		if !sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// errNameInUse says that a living process has the name.
var errNameInUse = errors.New("the node's name is in use")

// join proposes the joining of this process on the record as it is now.
func (m *membership) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*joinEvery)
	defer cancel()
	rec, err := m.record(ctx)
	if err != nil {
		return err
	}
	if rec.Cluster == 0 {
		return errors.New("the cluster has no id yet")
	}
	k := &raftfsm.NodeJoin{Node: m.self}
	if rec.Node != nil {
		k.Version = rec.Node.Version
		if err := m.checkName(ctx, rec.Node); err != nil {
			return err
		}
	}
	out, err := m.propose.Propose(ctx, raftfsm.Envelope{AtMs: m.now().UnixMilli(), Command: k})
	if err != nil {
		return err
	}
	if err := out.Err(); err != nil {
		return err
	}
	// A leader that adds the node sends it the log, so there is nothing more to do but wait.
	_, err = m.group.CaughtUp(ctx, m.self.Process())
	return err
}

// record is the record of this node as the cluster has it: of this node's own copy, or of a peer's while it has none.
func (m *membership) record(ctx context.Context) (record, error) {
	if s := m.group.Machine().View(); s.Cluster.ID != 0 {
		if _, leads := m.group.Leads(); leads {
			return record{s.Cluster.ID, s.Node(m.self.ID)}, nil
		}
	}
	var last error
	addresses := m.propose.peers()
	if leader, ok := m.group.Leader(); ok && leader.Node != m.self.ID {
		addresses = append([]string{leader.Address}, addresses...)
	}
	for _, address := range addresses {
		rec, err := m.recordAt(ctx, address)
		if err == nil && rec.Cluster != 0 {
			return rec, nil
		}
		last = err
	}
	return record{}, errors.Join(errors.New("no node of a cluster answers"), last)
}

func (m *membership) recordAt(ctx context.Context, address string) (record, error) {
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	var rec record
	status, body, err := m.control.Get(ctx, address, pathRecord+"?node="+url.QueryEscape(string(m.self.ID)), recordBytesMax)
	switch {
	case err != nil:
		return rec, err
	case status != http.StatusOK:
		return rec, fmt.Errorf("%s answered with status %d", address, status)
	}
	return rec, json.Unmarshal(body, &rec)
}

// checkName refuses a name whose process still lives, somewhere else.
func (m *membership) checkName(ctx context.Context, have *raftfsm.Node) error {
	if have.Boot == m.self.Boot || have.Addresses.Data == m.self.Addresses.Data || have.Status != raftfsm.Alive && have.Status != raftfsm.Leaving {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, identityWait)
	defer cancel()
	status, body, err := m.control.Get(ctx, have.Addresses.Data, pathProcess, recordBytesMax)
	if err != nil || status != http.StatusOK {
		return nil
	}
	var p topology.Process
	if json.Unmarshal(body, &p) != nil || p != have.Process() {
		return nil
	}
	return fmt.Errorf("%w: %s runs at %s; give this node another --name and --data-dir", errNameInUse, m.self.ID, have.Addresses.Data)
}

// serveRecord answers a process that wants to join.
func (m *membership) serveRecord(w http.ResponseWriter, r *http.Request) {
	s := m.group.Machine().View()
	answer(w, http.StatusOK, record{s.Cluster.ID, s.Node(topology.NodeID(r.URL.Query().Get("node")))})
}

// serveProcess says who this is.
func (m *membership) serveProcess(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, m.self.Process())
}
