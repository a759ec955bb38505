package raftfsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// raftPeerTimeout bounds one exchange between two members.
const raftPeerTimeout = 2 * time.Second

// Dialer opens a connection for Raft to a node's data address.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// NewTransport gives Raft's transport over the connections that incoming accepts and dial opens: a port of its own, or those of a
// shared port whose first byte says Raft. Addresses of nodes are looked up in the machine, so that a node may come back under
// another one. Closing the group closes the transport, incoming and all its connections.
func NewTransport(incoming net.Listener, dial Dialer, m *Machine, log *slog.Logger) raft.Transport {
	return transport{terms: &terms{}, beats: new(gate), NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:                  &stream{Listener: incoming, dial: dial, open: map[net.Conn]bool{}},
		ServerAddressProvider:   addressBook{m},
		MaxPool:                 3,
		Timeout:                 raftPeerTimeout,
		Logger:                  newRaftLogger(log),
		MsgpackUseNewTimeFormat: true,
	})}
}

// addressBook knows where nodes are from their records.
type addressBook struct{ m *Machine }

func (b addressBook) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if n := b.m.View().Node(topology.NodeID(id)); n != nil && n.Addresses.Data != "" {
		return raft.ServerAddress(n.Addresses.Data), nil
	}
	return "", fmt.Errorf("node %s is not known", id)
}

// stream remembers the connections it accepted, because the library leaves these to its peers to close.
type stream struct {
	net.Listener
	dial Dialer

	mu     sync.Mutex
	open   map[net.Conn]bool
	closed bool
}

func (s *stream) Accept() (net.Conn, error) {
	c, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	a := &accepted{c, s}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	s.open[a] = true
	return a, nil
}

func (s *stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.dial(ctx, string(address))
}

func (s *stream) Close() error {
	s.mu.Lock()
	s.closed = true
	open := s.open
	s.open = map[net.Conn]bool{}
	s.mu.Unlock()
	err := s.Listener.Close()
	for c := range open {
		err = errors.Join(err, c.(*accepted).Conn.Close())
	}
	return err
}

type accepted struct {
	net.Conn
	of *stream
}

func (a *accepted) Close() error {
	a.of.mu.Lock()
	delete(a.of.open, a)
	a.of.mu.Unlock()
	return a.Conn.Close()
}
