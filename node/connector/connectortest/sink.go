package connectortest

import (
	"context"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Write gives rows, an epoch each in order from epoch 1 on and empty batches for empty epochs, to one lane, ends it and closes it.
// cut says how many empty epochs are at most put into one range with what follows.
func Write(t *testing.T, s connector.Sink, number int, epochs []*batch.Batch, cut int) {
	t.Helper()
	lane, err := s.Open(context.Background(), number)
	if err != nil {
		t.Fatalf("open lane %d: %v", number, err)
	}
	first := topology.Epoch(1)
	for i, b := range epochs {
		last := topology.Epoch(i + 1)
		if b.Len() == 0 && int(last-first) < cut && i+1 < len(epochs) {
			continue
		}
		rows := Halves(b)
		if err := lane.Write(first, last, rows); err != nil {
			t.Fatalf("write [%d,%d]: %v", first, last, err)
		}
		first = last + 1
	}
	if err := lane.End(); err != nil {
		t.Fatalf("end: %v", err)
	}
	for range 2 {
		if err := lane.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
}

// Halves are the rows of b as two views, or none when there are none.
func Halves(b *batch.Batch) []connector.Rows {
	if b.Len() == 0 {
		return nil
	}
	middle := b.Len() / 2
	return []connector.Rows{{Batch: b, From: 0, To: middle}, {Batch: b, From: middle, To: b.Len()}}
}

// Sink holds a sink against the contract: effects is called with a new sink's place for each way of cutting empty epochs into
// ranges, writes with Write, and returns all that became visible outside; it must be the same each time.
func Sink(t *testing.T, effects func(t *testing.T, cut int) string) {
	t.Helper()
	want := effects(t, 0)
	for _, cut := range []int{1, 3, 1000} {
		if got := effects(t, cut); got != want {
			t.Fatalf("with up to %d empty epochs in a range:\n%s\nwant:\n%s", cut, got, want)
		}
	}
}
