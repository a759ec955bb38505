package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// Memory is the transport over Streams: a network in memory between named nodes, which are its hosts.
type Memory struct {
	*Streams
	options Options
}

// NewMemory makes a network without faults.
func NewMemory(o Options) *Memory {
	o = o.orDefaults()
	return &Memory{NewStreams(o.BufferBytes), o}
}

// Node is the network as the node of that name uses it, until it is killed.
func (m *Memory) Node(name string) Transport { return memoryNode{m.Host(name), m.options} }

type memoryNode struct {
	host    *Host
	options Options
}

func (n memoryNode) Listen(addr string) (Listener, error) {
	l, err := n.host.Listen(addr)
	if err != nil {
		return nil, err
	}
	return messageListener{l, n.options}, nil
}

func (n memoryNode) Dial(ctx context.Context, addr string) (Conn, error) {
	c, err := n.host.Dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	return Wrap(c, n.options), nil
}

// messageListener accepts connections of messages where streams come in.
type messageListener struct {
	net.Listener
	options Options
}

func (l messageListener) Accept() (Conn, error) {
	c, err := l.Listener.Accept()
	if errors.Is(err, net.ErrClosed) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("transport: accepting at %s: %w", l.Addr(), err)
	}
	return Wrap(c, l.options), nil
}

func (l messageListener) Addr() string { return l.Listener.Addr().String() }
