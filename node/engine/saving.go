package engine

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// encodeBytes is about how much is encoded before others get their turn: an epoch that has come in waits no longer than that.
	encodeBytes = 8 << 10
	// captureKeepBytes is the most memory that a capture keeps for the next checkpoint.
	captureKeepBytes = 32 << 20
)

// capture is what a checkpoint saves, detached from what the partition goes on with. It is filled on the partition's goroutine, in a small
// part of the time that encoding takes, and encoded by saving's.
type capture struct {
	checkpoint backup.Checkpoint // without Groups
	groups     []capturedGroup
	states     []capturedState // by operator with state, then key group
	bytes      []byte          // of all key groups: what comes before states and what comes behind keepers
	keepers    []connector.Keeper
}

type capturedGroup struct {
	base, unchanged, ended bool
	head, tail             int // ends in bytes
}

type capturedState struct {
	state.Snapshot
	have bool
}

// memBytes is the memory that the capture takes.
func (c *capture) memBytes() int {
	n := cap(c.bytes)
	for i := range c.states {
		n += c.states[i].MemBytes()
	}
	return n
}

// appendGroup appends the delta of the i-th key group; see groupVersion.
func (c *capture) appendGroup(dst []byte, scratch *[]byte, i int) []byte {
	g := &c.groups[i]
	start := 0
	if i > 0 {
		start = c.groups[i-1].tail
	}
	dst = append(dst, c.bytes[start:g.head]...)
	if g.unchanged {
		return dst
	}
	for k := i; k < len(c.states); k += len(c.groups) {
		if !c.states[k].have {
			dst = binary.AppendUvarint(dst, 0)
			continue
		}
		*scratch = c.states[k].Append((*scratch)[:0])
		dst = append(binary.AppendUvarint(dst, uint64(len(*scratch))), *scratch...)
	}
	from := c.checkpoint.From
	if g.base {
		from = 0
	}
	for _, k := range c.keepers {
		*scratch = k.AppendDelta((*scratch)[:0], c.checkpoint.Range.From+topology.KeyGroup(i), from, c.checkpoint.Epoch)
		dst = append(binary.AppendUvarint(dst, uint64(len(*scratch))), *scratch...)
	}
	return append(dst, c.bytes[g.head:g.tail]...)
}

// saving encodes a partition's captures on a goroutine that lives while there are any, and gives them to the Backup, in the order of
// their epochs, each once the seals that it is made of are durable. Vaults keep the first that they get of an epoch: when all computers lose their
// power, seals that were only released may be gone and their epochs sealed anew, and what was saved of the former ones would count for these.
// Besides the one that is being encoded only the latest waits: a checkpoint that is overtaken is not saved, since the deltas of the later one
// go back as far. While seals become durable late two wait, the earliest and, of those behind it, the one whose epoch is a multiple of the
// largest power of two: otherwise each would be overtaken before its time, or other ones on each partition, and none be complete.
type saving struct {
	part *partition

	mu      sync.Mutex
	durable topology.Epoch // every seal up to it is fsynced
	busy    bool
	closed  bool
	encoded *capture // the one under way; nil: none
	held    *capture // there only beside waiting
	waiting *capture
	refused bool     // a checkpoint has found no place since the last one was saved
	idle    *capture // to be used again
	err     error
	done    sync.WaitGroup
}

// take gives a capture to fill for epoch e, and what was waiting if that is overtaken by it, which is the same then. Nil when what waits is to be
// saved first, which is for who may ask again: the partition is woken then.
func (s *saving) take(e topology.Epoch, mayAskAgain bool) (c, overtaken *capture) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.waiting; w != nil && e > s.durable {
		switch {
		case s.held == nil:
			s.held, s.waiting = w, nil
		case mayAskAgain && bits.TrailingZeros64(uint64(w.checkpoint.Epoch)) > bits.TrailingZeros64(uint64(e)):
			s.refused = true
			return nil, nil
		}
	}
	overtaken, s.waiting = s.waiting, nil
	if c = overtaken; c == nil {
		c, s.idle = s.idle, nil
	}
	if c == nil {
		c = &capture{}
	}
	return c, overtaken
}

// put hands a filled capture over.
func (s *saving) put(c *capture) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = c
	s.start()
}

// raise says that all seals up to an epoch are durable.
func (s *saving) raise(durable topology.Epoch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = max(s.durable, durable)
	s.start()
}

// start has what waits encoded, if it may be. The caller holds the lock.
func (s *saving) start() {
	if !s.busy && s.next() != nil {
		s.busy = true
		s.done.Go(s.run)
	}
}

// next is what waits longest, if its seals are durable. The caller holds the lock.
func (s *saving) next() *capture {
	c := s.held
	if c == nil {
		c = s.waiting
	}
	if c == nil || c.checkpoint.Epoch > s.durable {
		return nil
	}
	return c
}

// giveUp drops what waits: the instance has been replaced.
func (s *saving) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held, s.waiting = nil, nil
}

// full says that a capture waits.
func (s *saving) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting != nil
}

// from is the epoch where the earliest delta starts that is still to be encoded, or from if that is earlier.
func (s *saving) from(from topology.Epoch) topology.Epoch {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range []*capture{s.encoded, s.held, s.waiting} {
		if c != nil {
			from = min(from, c.checkpoint.From)
		}
	}
	return from
}

// failed is why encoding failed, if it did.
func (s *saving) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// close gives up what waits, unless it is the partition's final state and may be saved, and waits for the goroutine's end.
func (s *saving) close() {
	s.mu.Lock()
	s.closed = true
	s.held = nil
	if c := s.next(); c == nil || !c.checkpoint.Ended {
		s.waiting = nil
	}
	s.mu.Unlock()
	s.done.Wait()
}

func (s *saving) run() {
	defer func() {
		if r := recover(); r != nil {
			s.mu.Lock()
			s.err = s.part.failure(nil, s.encoded.checkpoint.Epoch, fmt.Errorf("panic while state was saved: %v (this is a bug in seepnode)\n%s", r, debug.Stack()))
			s.mu.Unlock()
			s.part.notify()
		}
	}()
	for {
		s.mu.Lock()
		c := s.next()
		if s.busy = c != nil; !s.busy {
			s.mu.Unlock()
			return
		}
		if s.encoded = c; c == s.held {
			s.held = nil
		} else {
			s.waiting = nil
		}
		s.mu.Unlock()
		s.part.query.config.Backup.Save(s.encode(c))
		keep := c.memBytes() <= captureKeepBytes
		s.mu.Lock()
		refused := s.refused
		s.encoded, s.refused = nil, false
		if keep && !s.closed {
			s.idle = c
		}
		s.mu.Unlock()
		if refused || s.part.saveWaits() {
			s.part.notify()
		}
	}
}

// slabBytes is the size of what deltas are put into: they outlive their checkpoint in a Saver, and a slab lives as long as one of them.
const slabBytes = 64 << 10

// encode makes a capture's deltas. It holds one of the node's workers, and lets go of it again and again.
func (s *saving) encode(c *capture) backup.Checkpoint {
	cp := c.checkpoint
	cp.Groups = make([]backup.GroupDelta, len(c.groups))
	var slab, delta, scratch []byte
	tokens, held := s.part.node.tokens, 0
	tokens <- struct{}{}
	defer func() { <-tokens }()
	for i := range c.groups {
		delta = c.appendGroup(delta[:0], &scratch, i)
		if len(slab)+len(delta) > cap(slab) {
			slab = make([]byte, 0, max(slabBytes, len(delta)))
		}
		at := len(slab)
		slab = append(slab, delta...)
		cp.Groups[i] = backup.GroupDelta{Group: cp.Range.From + topology.KeyGroup(i), Base: c.groups[i].base, Ended: c.groups[i].ended, Data: slab[at:len(slab):len(slab)]}
		if held += len(delta); held >= encodeBytes {
			held = 0
			<-tokens
			runtime.Gosched()
			tokens <- struct{}{}
		}
	}
	return cp
}
