package connector

import (
	"context"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Sink is a table being written. Open may be called concurrently.
type Sink interface {
	// Open starts writing a lane. For a sink whose lanes are the producing stage's key groups (Definition.Fused) it is called
	// once for each partition with the first of its key groups, and the partition's rows come in canonical order.
	Open(ctx context.Context, lane int) (Lane, error)
	// Close ends the table after all its lanes; done says that the query finished rather than stopped or failed.
	Close(done bool) error
}

// Rows is a view of rows [From, To) of a batch, valid during the call it is passed to. Epoch order index: see Lane.Write.
type Rows struct {
	Batch    *batch.Batch
	From, To int
}

// Lane is written by one goroutine.
type Lane interface {
	// Write takes all rows of the epoch range [first, last] (they belong to last) in canonical order; rows may be empty. It is
	// called for ascending, adjoining ranges, so that a lane sees every boundary of a roll. What it made visible outside must
	// not depend on how empty epochs were cut into ranges.
	Write(first, last topology.Epoch, rows []Rows) error
	// End comes after the last epoch of a bounded query: everything is made visible.
	End() error
	// Close releases what the lane holds, after End or instead of it; without End unfinished rolls are thrown away.
	Close() error
}
