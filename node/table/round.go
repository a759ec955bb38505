package table

import (
	"context"
	"errors"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// reads is what a Reader knows of a table, and the rounds in which it asks all parts how far they are. Every read is based on a round that began
// after it: an earlier one may know less than what somebody else has read since. So reads that come during a round share the next; one that
// waits for an epoch that nobody was given yet has a round of its own.
type reads struct {
	given  topology.Epoch // the newest epoch that a read was given
	flight *round         // under way
	next   *round         // that has not begun
	pause  time.Duration  // before the next round, because the last one failed
}

// round is one asking of all parts. It is led by one of the reads that share it.
type round struct {
	done   chan struct{} // closed when the rest is there
	placed []Part        // who holds the table
	parts  []Part        // those of them that were asked
	bounds []Response    // of parts
	err    error
}

// given is the newest epoch of which one of the parts has given rows.
func (at *round) given() (e topology.Epoch) {
	for _, b := range at.bounds {
		e = max(e, b.Given)
	}
	return e
}

// roundError says that a round failed: the next one has waited already.
type roundError struct{ error }

func (e *roundError) Unwrap() error { return e.error }

// errAbandoned is of a round whose leader was not willing to wait any longer.
var errAbandoned = errors.New("nobody leads the round")

// peekWait is how long a part that does not show what is waited for yet may hold its answer back: it is asked less often, and answers at once
// when it does.
const peekWait = 100 * time.Millisecond

// of is what is known of a table; r.mu is held.
func (r *Reader) of(n name) *reads {
	if r.tables == nil {
		r.tables = map[name]*reads{}
	}
	if r.tables[n] == nil {
		r.tables[n] = &reads{}
	}
	return r.tables[n]
}

// bounds gives a round that began after the call and in which all parts answered.
func (r *Reader) bounds(ctx context.Context, n name) (*round, error) {
	for {
		r.mu.Lock()
		t := r.of(n)
		at, flight := t.next, t.flight
		leads := at == nil
		if leads {
			at = &round{done: make(chan struct{})}
			t.next = at
		}
		r.mu.Unlock()
		var err error
		if leads {
			err = r.lead(ctx, n, t, at, flight)
		} else {
			select {
			case <-at.done:
				err = at.err
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		switch {
		case errors.Is(err, errAbandoned) && ctx.Err() == nil:
			continue
		case err != nil && !errors.Is(err, errNoTable) && !lasting(err):
			return nil, &roundError{err}
		}
		return at, err
	}
}

// reach gives a round that began after the call. One that has to wait for an epoch asks for itself: the parts hold their answers back until they
// show it, and nobody who would take an older one has to wait with it. So does one whose keys are known to be in some parts only.
func (r *Reader) reach(ctx context.Context, request Request) (*round, error) {
	n, floor := name{request.Query, request.Table}, r.floor(request)
	at := &round{placed: r.Placement(n.query, n.table)}
	if len(at.placed) == 0 {
		return nil, errNoTable
	}
	at.parts = r.routed(at.placed, request)
	least := max(request.AtLeast, request.Epoch)
	if least <= floor && len(at.parts) == len(at.placed) {
		return r.bounds(ctx, n)
	}
	peek := n.peek(max(least, floor))
	if len(at.parts) == 1 && request.Epoch == 0 { // what the part shows is what is read: it is asked once
		request.Peek, request.AtLeast, request.WaitMs = true, peek.AtLeast, peek.WaitMs
		peek = request
	}
	var err error
	at.bounds, err = r.all(ctx, at.placed, at.parts, peek)
	return at, err
}

// peek asks a part how far it is, which it tells when it shows an epoch, or after peekWait.
func (n name) peek(least topology.Epoch) Request {
	return Request{Query: n.query, Table: n.table, Peek: true, AtLeast: least, WaitMs: peekWait.Milliseconds()}
}

// lead waits until it is the round's turn, asks, and gives the round's error.
func (r *Reader) lead(ctx context.Context, n name, t *reads, at, flight *round) (err error) {
	defer func() {
		if at.err = err; ctx.Err() != nil && err != nil {
			at.err = errAbandoned // others may be willing to wait longer
		}
		close(at.done)
	}()
	if flight != nil {
		select {
		case <-flight.done:
		case <-ctx.Done():
		}
	}
	r.mu.Lock()
	pause := t.pause
	r.mu.Unlock()
	if pause > 0 {
		r.rest(ctx, pause)
	}
	r.mu.Lock()
	t.next = nil
	if ctx.Err() == nil {
		t.flight = at
	}
	floor := t.given
	r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if at.placed = r.Placement(n.query, n.table); len(at.placed) == 0 {
		err = errNoTable
	} else {
		at.parts = at.placed
		at.bounds, err = r.all(ctx, at.placed, at.parts, n.peek(floor))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.flight, t.pause = nil, 0
	if err != nil && ctx.Err() == nil { // not because the one that leads was impatient
		t.pause = min(max(2*pause, retryFirst), retryLast)
	}
	return err
}

// rest waits until a failed round may be tried again: for a while, or until others hold the table.
func (r *Reader) rest(ctx context.Context, pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	var changed <-chan struct{}
	if r.Changed != nil {
		changed = r.Changed()
	}
	select {
	case <-changed:
	case <-ctx.Done():
	}
}
