package transport

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
)

// Transport makes connections between nodes.
type Transport interface {
	// Listen accepts connections at addr; a TCP port 0, and an empty address in memory, is chosen by the transport.
	Listen(addr string) (Listener, error)
	// Dial connects to a listener. ctx bounds the connecting only.
	Dial(ctx context.Context, addr string) (Conn, error)
}

// Listener accepts connections.
type Listener interface {
	// Accept waits for the next connection; ErrClosed after Close.
	Accept() (Conn, error)
	// Addr is what a peer dials.
	Addr() string
	// Close stops accepting. Accepted connections stay open. Closing twice is fine.
	Close() error
}

// Conn is one connection. Send, Flush and Close may be called by any goroutine at any time, Receive by one at a time.
type Conn interface {
	// Send queues a copy of msg; it is written at the latest by the next Flush. It waits while the peer takes nothing and
	// the buffer is full.
	Send(msg []byte) error
	// Flush writes what is queued, as one write unless it is larger than the buffer.
	Flush() error
	// Receive waits for the next message, which is valid until the next Receive. io.EOF says that the peer closed between
	// two messages, ErrClosed that this end was closed; any other error that the connection was lost.
	Receive() ([]byte, error)
	// Close ends the connection and drops what was not flushed. Closing twice is fine.
	Close() error
	// RemoteAddr names the peer in messages for people.
	RemoteAddr() string
}

var (
	// ErrClosed is returned by calls on what this side has closed.
	ErrClosed = errors.New("transport: closed")
	// ErrTooLarge is wrapped when a message exceeds Options.MessageBytesMax.
	ErrTooLarge = errors.New("transport: message is too large")
	// ErrRefused is wrapped by Dial when nobody listens at the address (in memory). It is syscall.ECONNREFUSED, as with sockets.
	ErrRefused = fmt.Errorf("transport: %w", syscall.ECONNREFUSED)
	// ErrReset is wrapped when a connection was broken on its way (in memory). It is syscall.ECONNRESET, as with sockets.
	ErrReset = fmt.Errorf("transport: %w", syscall.ECONNRESET)
)

// Options bounds a transport's connections. Both ends of a connection should have the same.
type Options struct {
	MessageBytesMax int // largest message; 0 is 64 MiB
	BufferBytes     int // per connection and direction; 0 is 256 KiB
	Meter           *Meter
	// StalledMax is how long a peer may take for each 256 KiB that it is sent before the connection counts as lost; 0 is for ever. Only connections of
	// package net, and what has deadlines like them, can tell. It takes the place of any write deadline that the connection was given.
	StalledMax time.Duration
}

// Meter counts the bytes of all connections that are given it; nil counts nothing.
type Meter struct{ in, out atomic.Int64 }

// Bytes are those received and sent so far.
func (m *Meter) Bytes() (in, out int64) { return m.in.Load(), m.out.Load() }

func (m *Meter) received(n int) {
	if m != nil {
		m.in.Add(int64(n))
	}
}

func (m *Meter) sent(n int) {
	if m != nil {
		m.out.Add(int64(n))
	}
}

func (o Options) orDefaults() Options {
	if o.MessageBytesMax <= 0 {
		o.MessageBytesMax = 64 << 20
	}
	if o.BufferBytes <= 0 {
		o.BufferBytes = 256 << 10
	}
	return o
}
