package port

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"

	"github.com/seepnode/seepnode/dataplane/transport"
)

// Network makes connections between processes. An error of Dial that says nobody listens there wraps syscall.ECONNREFUSED.
type Network interface {
	// Listen accepts connections at addr, "host:port"; port 0 is chosen.
	Listen(addr string) (net.Listener, error)
	// Dial connects to a listener. ctx bounds the connecting only.
	Dial(ctx context.Context, addr string) (net.Conn, error)
}

// Memory is a network in memory for tests in virtual time: its Host(name) is the Network of one process.
type Memory = transport.Streams

// NewMemory makes a network in memory without faults.
func NewMemory() *Memory { return transport.NewStreams(0) }

// Kernel buffers of few segments (64 KiB each on loopback) stop and start by timers: 100 times slower, measured at 8 KiB.
const kernelBufferBytes = 256 << 10

// TCP is the network of sockets: no delay for small writes, kernel buffers of 256 KiB. The kernel probes connections that are
// silent for 15 s, so that one to a host that is gone fails within a minute even when nobody sends.
type TCP struct{}

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 6}

// Listen implements Network.
func (TCP) Listen(addr string) (net.Listener, error) {
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	l, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("port: listening: %w", err)
	}
	return tcpListener{l}, nil
}

// Dial implements Network.
func (TCP) Dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: keepAlive}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("port: %w", err)
	}
	if err := tune(c); err != nil {
		return nil, errors.Join(fmt.Errorf("port: setting up the connection to %s: %w", addr, err), c.Close())
	}
	return c, nil
}

type tcpListener struct{ net.Listener }

func (l tcpListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	// A connection that ended while it waited cannot be set up: whoever reads it finds out.
	_ = tune(c)
	return c, nil
}

func tune(c net.Conn) error {
	tc, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	return errors.Join(tc.SetNoDelay(true), tc.SetReadBuffer(kernelBufferBytes), tc.SetWriteBuffer(kernelBufferBytes))
}

// Refused says whether an error of Dial means that the host answers and no process listens there: unlike a time-out it is certain.
func Refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }
