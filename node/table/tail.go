package table

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seepnode/seepnode/dataplane/batch"
	formatjson "github.com/seepnode/seepnode/node/connector/format/json"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// tailBytesMax is what a Tail holds for its reader, in bytes, before it is cut off.
const tailBytesMax = 16 << 20

// Event is what changed of a lane's rows in one epoch, once it is visible.
type Event struct {
	Epoch topology.Epoch `json:"epoch"`
	// Range are the lane's key groups.
	Range   topology.Range `json:"range"`
	Changes []Change       `json:"changes,omitempty"`
	// Ended: these key groups do not change any more.
	Ended bool `json:"ended,omitempty"`
	// Gone: these key groups have left this node; where they are now they can be followed on.
	Gone bool `json:"gone,omitempty"`
}

// Change is a row with +I, -U, +U or -D; -U is directly followed by its +U.
type Change struct {
	Op    string            `json:"op"`
	Group topology.KeyGroup `json:"group"`
	Row   json.RawMessage   `json:"row"`
}

// Tail follows the changes of a table on this node from when it was made: per lane all epochs from one on, ascending. Key groups
// that come to this node meanwhile are followed too, from the checkpoint on that they were restored from: (key group, epoch) tells which were seen.
type Tail struct {
	store *Store
	name  name

	mu     sync.Mutex
	events []Event
	bytes  int
	err    error
	wake   chan struct{}
}

// Subscribe follows a table. ErrNotHere when this node holds nothing of it. The caller closes the Tail.
func (s *Store) Subscribe(query topology.QueryID, table string) (*Tail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := name{query, table}
	h := s.tables[n]
	if h == nil || len(h.lanes) == 0 {
		return nil, fmt.Errorf("table %s: %w", table, ErrNotHere)
	}
	t := &Tail{store: s, name: n, wake: make(chan struct{}, 1)}
	h.tails = append(slices.Clone(h.tails), t)
	for _, l := range h.lanes {
		l.follow(h.tails)
	}
	return t, nil
}

// Next waits for the next event. The error is ErrSlow when the reader fell behind, ErrClosed after Close, or ctx's.
func (t *Tail) Next(ctx context.Context) (Event, error) {
	for {
		t.mu.Lock()
		if t.err != nil {
			defer t.mu.Unlock()
			return Event{}, t.err
		}
		if len(t.events) > 0 {
			e := t.events[0]
			t.events[0] = Event{}
			t.events = t.events[1:]
			t.bytes -= e.size()
			t.mu.Unlock()
			return e, nil
		}
		t.mu.Unlock()
		select {
		case <-t.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// Close ends the Tail. Closing twice is fine.
func (t *Tail) Close() {
	t.fail(ErrClosed)
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.tables[t.name]
	if h == nil || !slices.Contains(h.tails, t) {
		return
	}
	h.tails = slices.DeleteFunc(slices.Clone(h.tails), func(o *Tail) bool { return o == t })
	for _, l := range h.lanes {
		l.follow(h.tails)
	}
	s.tidy(t.name, h)
}

func (t *Tail) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err, t.events, t.bytes = err, nil, 0
	}
	t.notify()
}

func (t *Tail) notify() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// take never blocks: a reader that is too far behind is cut off.
func (t *Tail) take(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return
	}
	t.events = append(t.events, e)
	if t.bytes += e.size(); t.bytes > tailBytesMax {
		t.err, t.events, t.bytes = ErrSlow, nil, 0
	}
	t.notify()
}

func (e *Event) size() int {
	n := 64
	for i := range e.Changes {
		n += 64 + len(e.Changes[i].Row)
	}
	return n
}

// tailing is what a lane does for those that follow it. All but follow is of the goroutine that writes.
type tailing struct {
	tails   atomic.Pointer[[]*Tail] // not changed once there; nil or empty: none
	pending []pendingChange
	encoder *formatjson.Encoder
	batch   *batch.Batch
}

// pendingChange is an entry that was written in an epoch and not shown yet.
type pendingChange struct {
	epoch topology.Epoch
	entry uint32
	group topology.KeyGroup
}

// follow says who follows from the next write on. Any goroutine, with the store's lock.
func (l *lane) follow(tails []*Tail) { l.tailing.tails.Store(&tails) }

func (t *tailing) following() bool {
	tails := t.tails.Load()
	return tails != nil && len(*tails) > 0
}

func (t *tailing) add(epoch topology.Epoch, group topology.KeyGroup, entry uint32) {
	t.pending = append(t.pending, pendingChange{epoch, entry, group})
}

func (t *tailing) send(e Event) {
	for _, tail := range *t.tails.Load() {
		tail.take(e)
	}
}

// close says that the lane is gone.
func (t *tailing) close(r topology.Range, ended bool) {
	if t.following() {
		t.send(Event{Range: r, Gone: true, Ended: ended})
	}
}

// giveAway says that all of before but keep has left: what was not shown of it yet is another's to show.
func (t *tailing) giveAway(before, keep topology.Range) {
	t.pending = slices.DeleteFunc(t.pending, func(p pendingChange) bool { return !keep.Contains(p.group) })
	if !t.following() {
		return
	}
	for _, gone := range []topology.Range{{From: before.From, To: keep.From}, {From: keep.To, To: before.To}} {
		if gone.Len() > 0 {
			t.send(Event{Range: gone, Gone: true})
		}
	}
}

// publish tells followers of the changes up to epoch through, and that they were the last when ended.
func (l *lane) publish(through topology.Epoch, ended bool) error {
	t := &l.tailing
	if !t.following() {
		t.pending = nil
		return nil
	}
	done := 0
	for done < len(t.pending) && t.pending[done].epoch <= through {
		event := Event{Epoch: t.pending[done].epoch, Range: l.kept}
		for ; done < len(t.pending) && t.pending[done].epoch == event.Epoch; done++ {
			p := t.pending[done]
			var err error
			if event.Changes, err = l.appendChange(event.Changes, p); err != nil {
				return fmt.Errorf("table %s: showing a change: %w", l.sink.config.Table, err)
			}
		}
		t.send(event)
	}
	t.pending = append(t.pending[:0], t.pending[done:]...)
	if ended {
		t.send(Event{Epoch: through, Range: l.kept, Ended: true})
	}
	return nil
}

// appendChange compares the version of an epoch with the one before it.
func (l *lane) appendChange(dst []Change, p pendingChange) ([]Change, error) {
	g := l.group(p.group)
	for at := g.head[p.entry]; at != none; {
		epoch, older, row, dead := versionIn(g.data, at)
		if epoch != p.epoch {
			at = older
			continue
		}
		var before []byte
		had := false
		if older != none {
			var gone bool
			_, _, before, gone = versionIn(g.data, older)
			had = !gone
		}
		var err error
		if had {
			op := "-U"
			if dead {
				op = "-D"
			}
			if dst, err = l.appendShown(dst, op, p, before); err != nil {
				return dst, err
			}
		}
		if !dead {
			op := "+I"
			if had {
				op = "+U"
			}
			dst, err = l.appendShown(dst, op, p, row)
		}
		return dst, err
	}
	return dst, nil
}

func (l *lane) appendShown(dst []Change, op string, p pendingChange, row []byte) (_ []Change, err error) {
	t := &l.tailing
	if t.encoder == nil {
		if t.encoder, err = newEncoder(l.sink.config.Table, l.sink.config.Schema); err != nil {
			return dst, err
		}
		t.batch = batch.New(l.sink.config.Schema)
	}
	t.batch.Reset()
	if err := l.layout.decode(t.batch, l.group(p.group).key(p.entry), row); err != nil {
		return dst, err
	}
	shown, err := t.encoder.Append(nil, t.batch, 0)
	if err != nil {
		return dst, err
	}
	return append(dst, Change{Op: op, Group: p.group, Row: shown}), nil
}
