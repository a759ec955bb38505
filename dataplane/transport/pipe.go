package transport

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipe is one direction of a connection in memory: a bounded queue of bytes that may be late or held.
type pipe struct {
	mu   sync.Mutex
	cond sync.Cond // on every change of what follows

	chunks   []chunk
	free     [][]byte // memory of chunks that were read
	bytes    int
	bytesMax int

	delay   time.Duration
	held    bool
	unaware bool        // the other direction is held: the writer cannot learn that the reader is gone
	timer   *time.Timer // wakes the reader when the first chunk is due

	writerClosed, readerClosed bool
	writerErr, readerErr       error // the connection is broken at that end
	reset                      bool  // the writer was killed; the reader learns it when the network lets it

	writeBy, readBy deadline
}

// deadline ends calls that wait; zero never does.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

type chunk struct {
	memory []byte
	data   []byte    // the part of memory not read yet
	due    time.Time // zero is now
}

func newPipe(bytesMax int) *pipe {
	p := &pipe{bytesMax: bytesMax}
	p.cond.L = &p.mu
	return p
}

// change makes a change under the lock and wakes both ends.
func (p *pipe) change(f func()) {
	p.mu.Lock()
	f()
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *pipe) Write(src []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for {
		switch {
		case p.writerClosed:
			return n, net.ErrClosed
		case p.writerErr != nil:
			return n, p.writerErr
		case p.writeBy.passed():
			return n, os.ErrDeadlineExceeded
		case p.readerClosed && !p.unaware:
			return n, ErrReset
		case p.readerClosed:
			return len(src), nil
		case n == len(src):
			return n, nil
		case p.bytes == p.bytesMax:
			p.cond.Wait()
			continue
		}
		n += p.push(src[n:])
		p.cond.Broadcast()
	}
}

func (p *pipe) push(src []byte) int {
	src = src[:min(len(src), p.bytesMax-p.bytes)]
	var c chunk
	if k := len(p.free); k > 0 {
		c.memory, p.free = p.free[k-1], p.free[:k-1]
	}
	c.memory = append(c.memory[:0], src...)
	c.data = c.memory
	if p.delay > 0 {
		c.due = time.Now().Add(p.delay)
	}
	// Bytes do not overtake each other when the delay falls.
	if k := len(p.chunks); k > 0 && p.chunks[k-1].due.After(c.due) {
		c.due = p.chunks[k-1].due
	}
	p.chunks = append(p.chunks, c)
	p.bytes += len(src)
	return len(src)
}

func (p *pipe) Read(dst []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.readerErr != nil:
			return 0, p.readerErr
		case p.readerClosed:
			return 0, net.ErrClosed
		case p.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case p.held:
		case p.reset:
			return 0, ErrReset
		case len(dst) == 0:
			return 0, nil
		case len(p.chunks) > 0 && p.due():
			return p.pop(dst), nil
		case len(p.chunks) == 0 && p.writerClosed:
			return 0, io.EOF
		}
		p.cond.Wait()
	}
}

// due says whether the first chunk may be read, and sees to it that the reader is woken when it may.
func (p *pipe) due() bool {
	at := p.chunks[0].due
	if at.IsZero() {
		return true
	}
	wait := time.Until(at)
	if wait <= 0 {
		return true
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.timer = time.AfterFunc(wait, func() { p.change(func() {}) })
	return false
}

func (p *pipe) pop(dst []byte) int {
	c := &p.chunks[0]
	n := copy(dst, c.data)
	c.data = c.data[n:]
	p.bytes -= n
	if len(c.data) == 0 {
		p.free = append(p.free, c.memory)
		k := copy(p.chunks, p.chunks[1:])
		p.chunks[k] = chunk{}
		p.chunks = p.chunks[:k]
	}
	p.cond.Broadcast()
	return n
}

// kill breaks the writer's end at once and lets the reader know after the pipe's delay, when it is not held.
func (p *pipe) kill() {
	p.change(func() {
		p.writerErr = ErrReset
		p.reset = p.delay == 0
		if p.delay > 0 {
			time.AfterFunc(p.delay, func() { p.change(func() { p.reset = true }) })
		}
	})
}

func (p *pipe) setDeadline(d *deadline, at time.Time) {
	p.change(func() {
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
		d.at = at
		if wait := time.Until(at); !at.IsZero() && wait > 0 {
			d.timer = time.AfterFunc(wait, func() { p.change(func() {}) })
		}
	})
}

func (p *pipe) closeWriter() {
	p.change(func() {
		p.writerClosed = true
		if p.writeBy.timer != nil {
			p.writeBy.timer.Stop()
		}
	})
}

func (p *pipe) closeReader() {
	p.change(func() {
		p.readerClosed = true
		if p.timer != nil {
			p.timer.Stop()
		}
		if p.readBy.timer != nil {
			p.readBy.timer.Stop()
		}
	})
}
