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

// RangeSink is a fused sink whose lanes want to know all of a partition's key groups: OpenRange is called instead of Open.
type RangeSink interface {
	Sink
	OpenRange(ctx context.Context, r topology.Range) (Lane, error)
}

// Rows is a view of rows [From, To) of a batch, valid during the call it is passed to. Epoch order index: see Lane.Write.
type Rows struct {
	Batch    *batch.Batch
	From, To int
	// Group is the producing key group, for a Keeper; other lanes get 0.
	Group topology.KeyGroup
}

// Lane is written by one goroutine.
type Lane interface {
	// Write takes all rows of the epoch range [first, last] (they belong to last) in canonical order; rows may be empty. It is
	// called for ascending, adjoining ranges, the first of which begins with epoch 1 or behind a checkpoint, so that a lane sees
	// every boundary of a roll. It makes nothing visible outside. What Commit makes visible must not depend on how empty epochs
	// were cut into ranges.
	//
	// A *BlockedError says that it has to wait for something outside: the same call is made again, until it succeeds.
	Write(first, last topology.Epoch, rows []Rows) error
	// Commit says that the epochs up to through, all of which were written, may be seen outside: their seals are durable. It is called
	// with ascending epochs. *BlockedError: as for Write. What is outside already, because a predecessor put it there, must be what
	// this lane would put there; a *ConflictError says that it is not.
	Commit(through topology.Epoch) error
	// Committed is the last epoch up to which everything is visible outside for good: at most what was given to Commit, less
	// where a roll is not full. Every checkpoint epoch is the end of a roll.
	Committed() topology.Epoch
	// End comes after the last epoch of a bounded query, when it may be committed: everything is made visible. *BlockedError: as for Write.
	End() error
	// Close releases what the lane holds, after End or instead of it; without End unfinished rolls are thrown away.
	Close() error
}

// Keeper is a lane of a RangeSink that keeps rows itself: what it keeps is part of its partition's checkpoints. Its methods are called by
// the goroutine that writes, except where it says otherwise.
type Keeper interface {
	Lane
	// AppendDelta appends what changed of key group g in the epochs (from, through]: every key touched, with its final row or a
	// tombstone. From 0 it is all there was at through. through has been written, and from is not before the epoch last acknowledged.
	// One other goroutine may call it while the lane is written.
	AppendDelta(dst []byte, g topology.KeyGroup, from, through topology.Epoch) []byte
	// Changed says whether anything was written to key group g behind epoch from.
	Changed(g topology.KeyGroup, from topology.Epoch) bool
	// Size is about how many bytes AppendDelta from 0 would give now.
	Size(g topology.KeyGroup) int
	// Apply adds a delta that AppendDelta wrote to what is kept of g, which becomes the state of epoch at. Only before the first Write. The bytes are
	// used again when it has returned.
	Apply(g topology.KeyGroup, delta []byte, at topology.Epoch) error
	// Acknowledge says that deltas will start from epoch c or later, those under way too. What is done about it may be done bit by bit
	// in the Writes that follow.
	Acknowledge(c topology.Epoch)
	// Trim says that no read will ask for an epoch before through. Any goroutine may call it.
	Trim(through topology.Epoch)
}

// Narrower is a lane of a RangeSink that wants to know when its partition gives key groups away. Narrow is called between two Writes: only key
// groups in r are written from then on, and reads of the others are another's to answer. Deltas under way may still ask for those.
type Narrower interface {
	Narrow(r topology.Range)
}

// BlockedError says that a lane waits for something outside, such as room on a disk. It is no failure of the query.
type BlockedError struct {
	// What is blocked and what resolves it, for people.
	What string
	Err  error
}

func (e *BlockedError) Error() string { return e.What + ": " + e.Err.Error() }

func (e *BlockedError) Unwrap() error { return e.Err }

// ConflictError says that what is outside already differs from what is to be put there: another query writes to the same place, or an
// operator is not deterministic.
type ConflictError struct {
	What string
}

func (e *ConflictError) Error() string { return e.What }
