package connectortest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// retriesMax bounds how often a blocked call is made again.
const retriesMax = 100

// Schedule is how a lane is driven.
type Schedule struct {
	// Cut is how many empty epochs are at most put into one range with what follows.
	Cut int
	// Lag is how many Writes Commit is behind.
	Lag int
}

// Range is the rows of the epochs [First, Last], which belong to Last.
type Range struct {
	First, Last topology.Epoch
	Rows        []connector.Rows
}

// Ranges cuts epochs, of which the first one's number is first, with at most cut empty epochs in a range with what follows. Ranges end
// at multiples of checkpoint, if that is not 0.
func Ranges(epochs []*batch.Batch, first topology.Epoch, cut, checkpoint int) []Range {
	var ranges []Range
	begin := first
	for i, b := range epochs {
		last := first + topology.Epoch(i)
		boundary := checkpoint > 0 && int(last)%checkpoint == 0
		if b.Len() == 0 && int(last-begin) < cut && i+1 < len(epochs) && !boundary {
			continue
		}
		ranges = append(ranges, Range{begin, last, Halves(b)})
		begin = last + 1
	}
	return ranges
}

// Write gives rows, an epoch each in order from epoch 1 on and empty batches for empty epochs, to one lane, ends it and closes it. Commit
// follows each Write.
func Write(t *testing.T, s connector.Sink, number int, epochs []*batch.Batch, cut int) {
	t.Helper()
	Drive(t, s, number, epochs, Schedule{Cut: cut})
}

// Drive is Write by a schedule.
func Drive(t *testing.T, s connector.Sink, number int, epochs []*batch.Batch, schedule Schedule) {
	t.Helper()
	lane := open(t, s, number)
	ranges := Ranges(epochs, 1, schedule.Cut, 0)
	for i, r := range ranges {
		write(t, lane, r)
		if i >= schedule.Lag {
			commit(t, lane, ranges[i-schedule.Lag].Last)
		}
	}
	end(t, lane, topology.Epoch(len(epochs)))
}

// Halves are the rows of b as two views, or none when there are none.
func Halves(b *batch.Batch) []connector.Rows {
	if b.Len() == 0 {
		return nil
	}
	middle := b.Len() / 2
	return []connector.Rows{{Batch: b, From: 0, To: middle}, {Batch: b, From: middle, To: b.Len()}}
}

// Sink holds a sink against the contract: effects is called with each of several schedules, writes to a new place with Drive, and returns
// all that became visible outside; it must be the same each time.
func Sink(t *testing.T, effects func(t *testing.T, schedule Schedule) string) {
	t.Helper()
	want := effects(t, Schedule{})
	for _, cut := range []int{0, 1, 3, 1000} {
		for _, lag := range []int{0, 1, 4, 1000} {
			if got := effects(t, Schedule{cut, lag}); got != want {
				t.Fatalf("with up to %d empty epochs in a range and Commit %d Writes behind:\n%s\nwant:\n%s", cut, lag, got, want)
			}
		}
	}
}

func open(t *testing.T, s connector.Sink, number int) connector.Lane {
	t.Helper()
	lane, err := s.Open(context.Background(), number)
	if err != nil {
		t.Fatalf("open lane %d: %v", number, err)
	}
	return lane
}

// unblocked makes a call until it is not blocked.
func unblocked(call func() error) error {
	for range retriesMax {
		err := call()
		var blocked *connector.BlockedError
		if !errors.As(err, &blocked) {
			return err
		}
		if blocked.What == "" || blocked.Err == nil {
			return fmt.Errorf("a BlockedError does not say what it is blocked by: %#v", blocked)
		}
	}
	return fmt.Errorf("blocked %d times", retriesMax)
}

func write(t *testing.T, lane connector.Lane, r Range) {
	t.Helper()
	before := lane.Committed()
	if err := unblocked(func() error { return lane.Write(r.First, r.Last, r.Rows) }); err != nil {
		t.Fatalf("write [%d,%d]: %v", r.First, r.Last, err)
	}
	if now := lane.Committed(); now < before || now > before && now >= r.First {
		t.Fatalf("after write [%d,%d] epoch %d is committed, before it %d", r.First, r.Last, now, before)
	}
}

func commit(t *testing.T, lane connector.Lane, through topology.Epoch) {
	t.Helper()
	before := lane.Committed()
	if err := unblocked(func() error { return lane.Commit(through) }); err != nil {
		t.Fatalf("commit %d: %v", through, err)
	}
	if now := lane.Committed(); now < before || now > max(through, before) {
		t.Fatalf("after commit %d epoch %d is committed, before it %d", through, now, before)
	}
}

func end(t *testing.T, lane connector.Lane, last topology.Epoch) {
	t.Helper()
	if err := unblocked(lane.End); err != nil {
		t.Fatalf("end: %v", err)
	}
	if now := lane.Committed(); now != last {
		t.Fatalf("ended after epoch %d, epoch %d is committed", last, now)
	}
	shut(t, lane)
}

func shut(t *testing.T, lane connector.Lane) {
	t.Helper()
	for range 2 {
		if err := lane.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}
