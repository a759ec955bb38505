package tail

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// ErrClosed is of a Follower that was closed.
var ErrClosed = errors.New("closed")

// Follower gets what the parts of a sink on this node get, from when it was made. Key groups that come to this node meanwhile are
// followed too, from the checkpoint on that they were restored from: (key group, epoch) tells what was seen.
type Follower struct {
	hub  *Hub
	name name
	sink *followed

	mu     sync.Mutex
	events []Event
	bytes  int
	missed []Event // Dropped, one a range: they come before the next event
	closed bool
	wake   chan struct{}
}

// Next waits for the next event. The error is ErrClosed after Close, ctx's, or that a row cannot be shown. One goroutine calls it.
func (f *Follower) Next(ctx context.Context) (Event, error) {
	for {
		f.mu.Lock()
		if f.closed {
			f.mu.Unlock()
			return Event{}, ErrClosed
		}
		if len(f.events) == 0 {
			f.tell()
		}
		if len(f.events) > 0 {
			e := f.events[0]
			f.events[0] = Event{}
			f.events = f.events[1:]
			f.bytes -= e.size()
			f.mu.Unlock()
			return e, e.show()
		}
		f.mu.Unlock()
		select {
		case <-f.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// put never blocks: what is too much is left out and counted.
func (f *Follower) put(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return
	case e.Dropped > 0 || e.rows != nil && len(f.events) > 0 && f.bytes+e.size() > f.hub.bytesMax():
		f.miss(&e)
	default:
		f.tell()
		f.add(e)
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *Follower) add(e Event) {
	f.events = append(f.events, e)
	f.bytes += e.size()
}

// miss counts the rows of an event.
func (f *Follower) miss(e *Event) {
	if i := slices.IndexFunc(f.missed, func(m Event) bool { return m.Range == e.Range }); i >= 0 {
		f.missed[i].Epoch, f.missed[i].Dropped = e.Epoch, f.missed[i].Dropped+e.count()
		return
	}
	f.missed = append(f.missed, Event{Epoch: e.Epoch, Range: e.Range, Dropped: e.count()})
}

// tell lets the reader know what it missed.
func (f *Follower) tell() {
	for _, m := range f.missed {
		f.add(m)
	}
	f.missed = f.missed[:0]
}

// Close ends following. Closing twice is fine.
func (f *Follower) Close() {
	f.mu.Lock()
	closed := f.closed
	f.closed, f.events, f.missed, f.bytes = true, nil, nil, 0
	f.mu.Unlock()
	if !closed {
		f.hub.leave(f)
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// name is a sink of a query.
type name struct {
	query topology.QueryID
	table string
}
