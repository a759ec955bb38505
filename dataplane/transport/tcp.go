package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// Kernel buffers of few segments (64 KiB each on loopback) stop and start by timers: 100 times slower, measured at 8 KiB.
const kernelBufferBytesMin = 256 << 10

// TCP is the transport over TCP: no delay for small writes, buffers of at least 256 KiB in the kernel.
type TCP struct{ options Options }

// NewTCP makes a TCP transport.
func NewTCP(o Options) *TCP { return &TCP{options: o.orDefaults()} }

// Dial implements Transport.
func (t *TCP) Dial(ctx context.Context, addr string) (Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	return t.conn(nc)
}

// Listen implements Transport.
func (t *TCP) Listen(addr string) (Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	return &tcpListener{transport: t, listener: l}, nil
}

func (t *TCP) conn(nc net.Conn) (Conn, error) {
	tc, ok := nc.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("transport: connection to %v is not TCP", nc.RemoteAddr()), nc.Close())
	}
	kernel := max(t.options.BufferBytes, kernelBufferBytesMin)
	err := errors.Join(tc.SetNoDelay(true), tc.SetReadBuffer(kernel), tc.SetWriteBuffer(kernel))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("transport: setting up the connection to %v: %w", tc.RemoteAddr(), err), tc.Close())
	}
	return newConn(tc, tc.RemoteAddr().String(), t.options), nil
}

type tcpListener struct {
	transport *TCP
	listener  net.Listener
	once      sync.Once
	closeErr  error
}

func (l *tcpListener) Accept() (Conn, error) {
	nc, err := l.listener.Accept()
	if errors.Is(err, net.ErrClosed) {
		return nil, ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("transport: accepting at %s: %w", l.Addr(), err)
	}
	return l.transport.conn(nc)
}

func (l *tcpListener) Addr() string { return l.listener.Addr().String() }

func (l *tcpListener) Close() error {
	l.once.Do(func() { l.closeErr = l.listener.Close() })
	return l.closeErr
}
