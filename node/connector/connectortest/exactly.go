package connectortest

import (
	"errors"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Place is one place outside that a query's sink writes to.
type Place struct {
	// New makes the sink as one more process would.
	New func() connector.Sink
	// Visible is all that others see there.
	Visible func() string
	// Left is what is there and not to be seen, such as temporary files; "" nothing. nil: there is no such thing.
	Left func() string
	// Full has the place ask, each time that it takes something in, whether to refuse it for want of room; nil: it cannot be full.
	Full func(refuse func() bool)
}

// ExactlyOnce holds a sink that promises exactly once against the contract: nothing is visible before it is committed; whatever
// happens to its writer, the same is visible in the end; what others put there is a conflict. newPlace makes a new empty place. epochs
// begin with epoch 1; every checkpoint-th of them is a checkpoint.
func ExactlyOnce(t *testing.T, newPlace func(t *testing.T) Place, epochs []*batch.Batch, checkpoint int) {
	x := exactly{newPlace, epochs, checkpoint, ""}
	place := newPlace(t)
	Drive(t, place.New(), 0, epochs, Schedule{})
	x.want = place.Visible()
	t.Run("NothingIsVisibleBeforeItIsCommitted", x.gating)
	t.Run("CloseWithoutEndShowsNothingMore", x.thrownAway)
	t.Run("SuccessorOfADeadWriterGivesTheSame", func(t *testing.T) { x.restarts(t, false) })
	t.Run("SuccessorBesideAZombieGivesTheSame", func(t *testing.T) { x.restarts(t, true) })
	t.Run("OtherContentsAreAConflict", x.conflict)
	if place.Full != nil {
		t.Run("AFullPlaceBlocksAndLosesNothing", x.full)
	}
}

type exactly struct {
	newPlace   func(t *testing.T) Place
	epochs     []*batch.Batch
	checkpoint int
	want       string
}

func (x exactly) last() topology.Epoch { return topology.Epoch(len(x.epochs)) }

func (x exactly) same(t *testing.T, p Place, how string) {
	t.Helper()
	if got := p.Visible(); got != x.want {
		t.Fatalf("%s:\n%s\nwant:\n%s", how, got, x.want)
	}
	if p.Left != nil && p.Left() != "" {
		t.Fatalf("%s: left behind: %s", how, p.Left())
	}
}

// gating writes everything first and commits epoch by epoch then.
func (x exactly) gating(t *testing.T) {
	place := x.newPlace(t)
	before := place.Visible()
	lane := open(t, place.New(), 0)
	for _, r := range Ranges(x.epochs, 1, 0, 0) {
		write(t, lane, r)
		if got := place.Visible(); got != before {
			t.Fatalf("visible after epoch %d without Commit:\n%s", r.Last, got)
		}
	}
	for e := topology.Epoch(1); e <= x.last(); e++ {
		was, committed := place.Visible(), lane.Committed()
		commit(t, lane, e)
		now := lane.Committed()
		if int(e)%x.checkpoint == 0 && now != e {
			t.Fatalf("after Commit of the checkpoint epoch %d epoch %d is committed", e, now)
		}
		if now == committed && place.Visible() != was {
			t.Fatalf("Commit %d made something visible and left Committed at %d", e, now)
		}
	}
	end(t, lane, x.last())
	x.same(t, place, "with Commit behind all Writes")
}

func (x exactly) thrownAway(t *testing.T) {
	place := x.newPlace(t)
	lane := open(t, place.New(), 0)
	for _, r := range Ranges(x.epochs, 1, 0, 0) {
		write(t, lane, r)
	}
	commit(t, lane, x.last()/2)
	want := place.Visible()
	shut(t, lane)
	if got := place.Visible(); got != want {
		t.Fatalf("closed without End:\n%s\nwant:\n%s", got, want)
	}
	if place.Left != nil && place.Left() != "" {
		t.Fatalf("left behind: %s", place.Left())
	}
}

// restarts stops a writer after every other epoch, and has a successor start at every checkpoint that can be complete by then. A zombie is a
// writer that does not stop.
func (x exactly) restarts(t *testing.T, zombie bool) {
	for stop := 1; stop <= len(x.epochs); stop += 2 {
		for c := 0; c <= stop; c += x.checkpoint {
			place := x.newPlace(t)
			first := open(t, place.New(), 0)
			ranges := Ranges(x.epochs, 1, 0, 0)
			for _, r := range ranges[:stop] {
				write(t, first, r)
				commit(t, first, r.Last)
			}
			if int(first.Committed()) < c {
				t.Fatalf("epoch %d was committed and %d is", c, first.Committed())
			}
			if !zombie {
				shut(t, first)
			}
			second, next := open(t, place.New(), 0), stop
			for _, r := range Ranges(x.epochs[c:], topology.Epoch(c+1), 3, x.checkpoint) {
				write(t, second, r)
				commit(t, second, r.Last)
				if zombie && next < len(ranges) {
					write(t, first, ranges[next])
					commit(t, first, ranges[next].Last)
					next++
				}
			}
			end(t, second, x.last())
			if zombie {
				shut(t, first)
			}
			x.same(t, place, "after a restart")
		}
	}
}

func (x exactly) conflict(t *testing.T) {
	place := x.newPlace(t)
	Drive(t, place.New(), 0, x.epochs, Schedule{})
	others := make([]*batch.Batch, len(x.epochs))
	for i, b := range x.epochs {
		others[i] = batch.New(b.Schema)
		others[i].AppendRange(b, 0, b.Len())
		others[i].AppendRange(b, 0, b.Len())
	}
	lane := open(t, place.New(), 0)
	var err error
	for _, r := range Ranges(others, 1, 0, 0) {
		if err = errors.Join(lane.Write(r.First, r.Last, r.Rows), lane.Commit(r.Last)); err != nil {
			break
		}
	}
	if err == nil {
		err = lane.End()
	}
	var conflict *connector.ConflictError
	if !errors.As(err, &conflict) || conflict.What == "" {
		t.Fatalf("other rows at the same place: %v", err)
	}
	if again := lane.End(); again == nil {
		t.Fatal("End after a conflict succeeded")
	}
	shut(t, lane)
	x.same(t, place, "after a conflict")
}

// full refuses each thing in turn that the place takes in, once and then five times in a row.
func (x exactly) full(t *testing.T) {
	for _, times := range []int{1, 5} {
		for nth := 0; ; nth++ {
			asked, refused := 0, 0
			place := x.newPlace(t)
			place.Full(func() bool {
				asked++
				if asked <= nth || refused == times {
					return false
				}
				refused++
				return true
			})
			lane := open(t, place.New(), 0)
			for _, r := range Ranges(x.epochs, 1, 1, 0) {
				write(t, lane, r)
				commit(t, lane, r.Last)
			}
			end(t, lane, x.last())
			x.same(t, place, "after it was full")
			if asked <= nth {
				break
			}
		}
	}
}
