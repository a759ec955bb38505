package transport

import (
	"io"
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
	broken                     error
}

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
		case p.broken != nil:
			return n, p.broken
		case p.writerClosed:
			return n, ErrClosed
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
		case p.broken != nil:
			return 0, p.broken
		case p.readerClosed:
			return 0, ErrClosed
		case p.held:
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

func (p *pipe) closeWriter() { p.change(func() { p.writerClosed = true }) }

func (p *pipe) closeReader() {
	p.change(func() {
		p.readerClosed = true
		if p.timer != nil {
			p.timer.Stop()
		}
	})
}
