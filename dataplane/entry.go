package dataplane

import (
	"fmt"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Entry is what a producer partition gives one stream for the epoch range [First, Last]: First..Last-1 are empty and leave the
// watermark as it was; rows, watermark, idleness and end belong to Last.
type Entry struct {
	First, Last topology.Epoch
	// Rows are pieces in canonical order: for each consumer key group its rows are those of the pieces one after the other.
	// They belong to the log; nobody changes them.
	Rows []*Rows
	// Watermark is the minimum over the producer's key groups that are not idle, in milliseconds.
	Watermark int64
	// Idle: all of the producer's key groups are idle.
	Idle bool
	// End: nothing follows; every later epoch is empty and the watermark is topology.WatermarkEnd.
	End bool
	// ChainSum is the sum of the chains of the producer's key groups in Range after Last: see topology.SumChains.
	ChainSum uint64
	// Range is what the producer's key groups were; the zero range when that never changes.
	Range topology.Range
	// Narrowed: the producer gave key groups away before First. ChainBefore is the sum of the chains of those it kept, before First.
	Narrowed    bool
	ChainBefore uint64
}

// stand is how the stream stands after e, and before it when it is the first of a narrower range.
func (e *Entry) stand() Stand { return Stand{e.Watermark, e.Idle, e.ChainSum, e.Range} }

// StandBefore corrects how the stream stood before e, as what came before e says it, when the producer gave key groups away since.
func (e *Entry) StandBefore(before Stand) Stand {
	if e.Narrowed {
		before.ChainSum, before.Range = e.ChainBefore, e.Range
	}
	return before
}

func (e *Entry) empty() bool { return len(e.Rows) == 0 }

// entryBytes is what an entry takes in memory beside its rows.
const entryBytes = 64

func (e *Entry) memBytes() int64 {
	n := entryBytes
	for _, r := range e.Rows {
		n += r.MemBytes()
	}
	return int64(n)
}

// TrimmedError is the answer to a subscription from below the log's floor: the asker restores anew from a later checkpoint.
type TrimmedError struct{ From, Floor topology.Epoch }

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("TRIMMED: epoch %d was asked for, the log starts at %d; restore from a checkpoint at or after %d", e.From, e.Floor, e.Floor-1)
}

// BeyondError is the answer to a consumer that has consumed epochs of a source that are not in the seal log which the source's present owner
// adopted: no vault has them any more, and the owner seals these epochs anew. What was made of them must go.
type BeyondError struct{ Consumed, End topology.Epoch }

func (e *BeyondError) Error() string {
	return fmt.Sprintf("epochs up to %d were consumed, the seals that were adopted end with epoch %d", e.Consumed, e.End)
}
