package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// Machine holds this node's copy of the state. One goroutine applies; any number read.
type Machine struct {
	view atomic.Pointer[State]

	mu      sync.Mutex
	changed chan struct{} // closed and replaced with each new version
	failed  chan struct{} // closed when the machine stops
	err     error
}

// NewMachine makes a machine with the empty state.
func NewMachine() *Machine {
	m := &Machine{changed: make(chan struct{}), failed: make(chan struct{})}
	m.view.Store(&State{})
	return m
}

// View is the state now: a consistent view that never changes and may be kept.
func (m *Machine) View() *State { return m.view.Load() }

// Changed gives a channel that is closed with the next new version. Take it before View, so that no change falls between.
func (m *Machine) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changed
}

// Wait gives the first view seen that ok accepts.
func (m *Machine) Wait(ctx context.Context, ok func(*State) bool) (*State, error) {
	for {
		changed := m.Changed()
		if s := m.View(); ok(s) {
			return s, nil
		}
		select {
		case <-changed:
		case <-m.failed:
			return nil, m.Err()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// WaitVersion gives the first view seen of at least that version.
func (m *Machine) WaitVersion(ctx context.Context, version uint64) (*State, error) {
	return m.Wait(ctx, func(s *State) bool { return s.Version >= version })
}

// Failed is closed when the machine can apply no more; Err says why.
func (m *Machine) Failed() <-chan struct{} { return m.failed }

// Err says why the machine can apply no more; nil while it can.
func (m *Machine) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.err
}

func (m *Machine) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		m.err = err
		close(m.failed)
	}
}

func (m *Machine) publish(s *State) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.view.Store(s)
	close(m.changed)
	m.changed = make(chan struct{})
}

// Apply applies an encoded command. A command of a newer program must not be skipped, or this copy would differ from the others:
// the machine stops instead, and gives the error.
func (m *Machine) Apply(data []byte) (Outcome, error) {
	if err := m.Err(); err != nil {
		return Outcome{}, err
	}
	s := m.View()
	e, err := DecodeCommand(data)
	if errors.Is(err, ErrNewerVersion) {
		m.fail(fmt.Errorf("apply: %w", err))
		return Outcome{}, err
	}
	if err != nil {
		out := refused(Malformed, "%v", err)
		out.Version = s.Version
		return out, nil
	}
	next, out := s.Apply(e)
	if next != s {
		m.publish(next)
	}
	return out, nil
}

// Restore replaces the state by a snapshot's.
func (m *Machine) Restore(data []byte) error {
	s, err := DecodeSnapshot(data)
	if err != nil {
		m.fail(fmt.Errorf("restore: %w", err))
		return err
	}
	m.publish(s)
	return nil
}

// raftFSM hands Raft's calls to the machine.
type raftFSM struct{ m *Machine }

func (f raftFSM) Apply(l *raft.Log) any {
	out, err := f.m.Apply(l.Data)
	if err != nil {
		return err
	}
	return out
}

func (f raftFSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.m.Err(); err != nil {
		return nil, err
	}
	return raftSnapshot{f.m.View()}, nil
}

func (f raftFSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	data, err := io.ReadAll(io.LimitReader(r, MaxSnapshotBytes+1))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	return f.m.Restore(data)
}

// raftSnapshot is a view on its way to disk; views do not change, so applying goes on meanwhile.
type raftSnapshot struct{ s *State }

func (s raftSnapshot) Persist(sink raft.SnapshotSink) error {
	data, err := EncodeSnapshot(s.s)
	if err == nil {
		_, err = sink.Write(data)
	}
	if err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

func (raftSnapshot) Release() {}
