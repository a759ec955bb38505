package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// On the stream a message is its length, 4 bytes little-endian, and its bytes.
const lengthBytes = 4

// A receive buffer that a large message made larger than this is given up after it.
const keepBytesMax = 4 << 20

// conn keeps messages apart on any stream of bytes.
type conn struct {
	stream  io.ReadWriteCloser
	remote  string
	options Options

	done      chan struct{} // closed by Close
	closeOnce sync.Once
	closeErr  error

	// A channel instead of a mutex: under testing/synctest a goroutine that waits for a mutex would stop the clock.
	sending chan struct{} // holds one element while out or sendErr is in use
	out     []byte
	sendErr error

	in         []byte // in[start:end] has arrived and was not received
	start, end int
	receiveErr error
}

// Wrap keeps messages apart on a connection that was made elsewhere, and owns it from then on. Both ends are wrapped, with the same
// options; nothing may have been read ahead of it.
func Wrap(c net.Conn, o Options) Conn { return newConn(c, c.RemoteAddr().String(), o.orDefaults()) }

func newConn(stream io.ReadWriteCloser, remote string, o Options) *conn {
	return &conn{stream: stream, remote: remote, options: o, done: make(chan struct{}), sending: make(chan struct{}, 1),
		out: make([]byte, 0, o.BufferBytes), in: make([]byte, o.BufferBytes)}
}

func (c *conn) RemoteAddr() string { return c.remote }

func (c *conn) Close() error {
	c.closeOnce.Do(func() {
		close(c.done)
		c.closeErr = c.stream.Close()
	})
	return c.closeErr
}

func (c *conn) closed() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *conn) lock() error {
	select {
	case c.sending <- struct{}{}:
	case <-c.done:
		return ErrClosed
	}
	if c.closed() {
		c.unlock()
		return ErrClosed
	}
	return nil
}

func (c *conn) unlock() { <-c.sending }

func (c *conn) Send(msg []byte) error {
	if len(msg) > c.options.MessageBytesMax {
		return fmt.Errorf("%w: %d bytes to %s, at most %d may be sent", ErrTooLarge, len(msg), c.remote, c.options.MessageBytesMax)
	}
	if err := c.lock(); err != nil {
		return err
	}
	defer c.unlock()
	if len(c.out)+lengthBytes+len(msg) > cap(c.out) {
		if err := c.flush(); err != nil {
			return err
		}
	}
	c.out = binary.LittleEndian.AppendUint32(c.out, uint32(len(msg)))
	if len(c.out)+len(msg) <= cap(c.out) {
		c.out = append(c.out, msg...)
		return c.sendErr
	}
	if err := c.flush(); err != nil {
		return err
	}
	return c.write(msg)
}

func (c *conn) Flush() error {
	if err := c.lock(); err != nil {
		return err
	}
	defer c.unlock()
	return c.flush()
}

func (c *conn) flush() error {
	if len(c.out) == 0 {
		return c.sendErr
	}
	err := c.write(c.out)
	c.out = c.out[:0]
	return err
}

// write keeps the first error: after it the stream may hold half a message and nothing more can be sent.
func (c *conn) write(p []byte) error {
	if c.sendErr != nil {
		return c.sendErr
	}
	if err := c.writeAll(p); err != nil {
		if c.closed() {
			err = ErrClosed
		} else {
			err = fmt.Errorf("transport: sending to %s: %w", c.remote, err)
		}
		c.sendErr = err
	}
	return c.sendErr
}

// stepBytes is what a peer has to take within Options.StalledMax.
const stepBytes = 256 << 10

func (c *conn) writeAll(p []byte) error {
	limited, ok := c.stream.(interface{ SetWriteDeadline(time.Time) error })
	if c.options.StalledMax <= 0 || !ok {
		n, err := c.stream.Write(p)
		c.options.Meter.sent(n)
		return err
	}
	for len(p) > 0 {
		if err := limited.SetWriteDeadline(time.Now().Add(c.options.StalledMax)); err != nil {
			return err
		}
		n, err := c.stream.Write(p[:min(len(p), stepBytes)])
		c.options.Meter.sent(n)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("less than %d bytes were taken in %v: %w", stepBytes, c.options.StalledMax, err)
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (c *conn) Receive() ([]byte, error) {
	if c.closed() {
		return nil, ErrClosed
	}
	if c.receiveErr != nil {
		return nil, c.receiveErr
	}
	msg, err := c.receive()
	switch {
	case err == nil:
		return msg, nil
	case c.closed():
		err = ErrClosed
	case err != io.EOF:
		err = fmt.Errorf("transport: receiving from %s: %w", c.remote, err)
	}
	c.receiveErr = err
	return nil, err
}

func (c *conn) receive() ([]byte, error) {
	if c.start == c.end {
		c.start, c.end = 0, 0
		if len(c.in) > keepBytesMax && len(c.in) > c.options.BufferBytes {
			c.in = make([]byte, c.options.BufferBytes)
		}
	}
	if err := c.fill(lengthBytes); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(c.in[c.start:]))
	if n > c.options.MessageBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are accepted", ErrTooLarge, n, c.options.MessageBytesMax)
	}
	if err := c.fill(lengthBytes + n); err != nil {
		return nil, err
	}
	msg := c.in[c.start+lengthBytes : c.start+lengthBytes+n : c.start+lengthBytes+n]
	c.start += lengthBytes + n
	return msg, nil
}

// fill reads until n bytes have arrived. The buffer doubles only when it is full of them.
func (c *conn) fill(n int) error {
	for c.end-c.start < n {
		if c.start+n > len(c.in) && c.start > 0 {
			c.end = copy(c.in, c.in[c.start:c.end])
			c.start = 0
		}
		if c.end == len(c.in) {
			larger := make([]byte, min(2*len(c.in), max(n, c.options.BufferBytes)))
			c.end = copy(larger, c.in[:c.end])
			c.in = larger
		}
		k, err := c.stream.Read(c.in[c.end:])
		c.options.Meter.received(k)
		c.end += k
		if err != nil && c.end-c.start < n {
			if errors.Is(err, io.EOF) && c.end > c.start {
				return fmt.Errorf("%d bytes into a message: %w", c.end-c.start, io.ErrUnexpectedEOF)
			}
			return err
		}
	}
	return nil
}
