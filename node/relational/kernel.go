package relational

import (
	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Grouped are rows sorted by key group: rows Offsets[i]..Offsets[i+1] of Batch belong to Groups[i]. Groups ascend and hold no
// group without rows; len(Offsets) == len(Groups)+1, or both are empty.
type Grouped struct {
	Batch   *batch.Batch
	Groups  []topology.KeyGroup
	Offsets []uint32
	// Base[i] is the number of rows of Groups[i] in the same stream and epoch that stand in earlier pieces: with it a row's
	// index in its (key group, epoch, stream) does not depend on how the stream was cut. Nil means all zero.
	Base []uint32
}

// Reset empties the rows and keeps the memory.
func (g *Grouped) Reset() {
	g.Batch.Reset()
	g.Groups, g.Offsets, g.Base = g.Groups[:0], g.Offsets[:0], g.Base[:0]
}

// Context is the instant at which operators run: one epoch of one stage.
type Context struct {
	Epoch  topology.Epoch
	TimeMs int64 // time(e)
	// WatermarkBefore is the stage's watermark before the epoch (rows are late by it), Watermark after the epoch's data.
	WatermarkBefore, Watermark int64
	Env                        expr.Env
	// Late counts the rows dropped because they were late.
	Late int64
}

// Kernel is a compiled operator with its scratch memory: one per worker, never used by two goroutines at once. It is either a
// Stateless or a Keyed.
type Kernel interface{ kernel() }

// Stateless works on all rows of a piece at once.
type Stateless interface {
	Kernel
	// Apply appends to out, which is empty, what the rows of in give, keeping their key groups and order. in is not changed and
	// nothing of it is kept. A value that fails gives an *expr.RowError that names the row of in.
	Apply(ctx *Context, in, out *Grouped) error
}

// Group is what an operator has of one key group.
type Group struct {
	ID topology.KeyGroup
	// State holds the key group's tables; it is all that survives.
	State *state.Group
	// Data is the operator's own object, derived from State.
	Data any
	// Due is the watermark at which Advance must be called; topology.WatermarkEnd: at the end of input only.
	Due int64
}

// Keyed works on the rows of one key group at a time. For each epoch in which a key group has rows, or its Due is reached, the
// engine calls, in this order and without another key group in between: Rows for every piece of every input in canonical
// order, Advance if ctx.Watermark >= Due, End. out is where all of them append.
type Keyed interface {
	Kernel
	// Open registers the operator's tables in g.State and makes g.Data, with empty state.
	Open(g *Group) error
	// Restored rebuilds g.Data and g.Due after g.State was replaced by a decoded one.
	Restored(g *Group) error
	// Rows takes rows [from, to) of b from input number input.
	Rows(ctx *Context, g *Group, input int, b *batch.Batch, from, to int, out *batch.Batch) error
	// Advance is called when ctx.Watermark has reached g.Due; it sets the next Due.
	Advance(ctx *Context, g *Group, out *batch.Batch) error
	// End is the end of the epoch for the key group.
	End(ctx *Context, g *Group, out *batch.Batch) error
}
