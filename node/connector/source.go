package connector

import (
	"context"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Split is a part of a source that is read in order by one reader at a time. ID is unique within the table, the same on
// every node and at every start; a split's key group is the hash of its ID.
type Split struct {
	ID string
}

// Source is a table being read. Its methods may be called concurrently; its Readers are used by one goroutine each.
type Source interface {
	// Discover lists the splits there are now, sorted by ID. A bounded source answers the same at every call.
	Discover(ctx context.Context) ([]Split, error)
	// Bounded says that every split ends and no further ones appear.
	Bounded() bool
	// MonitorInterval is how often Discover is asked again when not bounded; 0 never.
	MonitorInterval() time.Duration
	// Open reads split from offset on: 0, or what an earlier Reader of the split said its Offset was.
	Open(ctx context.Context, split Split, offset int64) (Reader, error)
}

// Status says why Read came back.
type Status uint8

const (
	More Status = 1 // a limit was reached; there may be more now
	Idle Status = 2 // nothing more for now, later perhaps
	End  Status = 3 // the split has ended: nothing will come after the rows just read
)

// Limit bounds one Read. Read stops after the row that reaches a limit; one row always fits.
type Limit struct {
	Rows  int // > 0
	Bytes int // > 0, of input or of memory, whichever the reader knows
	// ElapsedMs is time(e) - T0 of the epoch being read for, in milliseconds: how far a rate-limited reader may go.
	// Negative: no limit of rate applies.
	ElapsedMs int64
}

// Reader reads one split from an offset.
type Reader interface {
	// Read appends rows to out, whose schema is the table's physical columns, until a limit is reached, nothing is left for
	// now or the split ends. On an error out is to be thrown away.
	Read(out *batch.Batch, limit Limit) (Status, error)
	// Offset is where the next row starts.
	Offset() int64
	Close() error
}

// Backlog is what a Reader may implement that knows its rate: whether a query keeps up is seen from it, and how much it lacks.
type Backlog interface {
	// Backlog is how many rows are due at an instant, given as in Limit, and have not been read yet; known is false where no rate says so.
	Backlog(elapsedMs int64) (rows int64, known bool)
}

// SkippedRow is a row left out because it could not be decoded and 'on-error' is 'skip'.
type SkippedRow struct {
	Split  string
	Offset int64  // where the row starts
	Text   string // the row's beginning, at most 200 bytes
	Err    error
}
