package relational

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// windowSlots knows which slots of a table belong to which window, so that a window fires at a cost in proportion to its own
// keys. Keys of the table begin with the window's end. It is derived from the table.
type windowSlots struct {
	live []windowKeys // ascending by end
	idle [][]uint32
}

type windowKeys struct {
	endMs int64
	slots []uint32
}

var errWindowKey = errors.New("a key in state does not begin with the end of a window")

// windowEndOfKey is the window's end at the head of canonical key bytes, which are not null.
func windowEndOfKey(key []byte) int64 { return int64(binary.BigEndian.Uint64(key[1:9]) ^ 1<<63) }

func (w *windowSlots) restore(t *state.Table) error {
	w.live = w.live[:0]
	for _, slot := range t.Sorted(nil, nil) {
		key := t.Key(slot)
		if len(key) < 9 || key[0] != 1 {
			return errWindowKey
		}
		w.add(windowEndOfKey(key), slot)
	}
	return nil
}

func (w *windowSlots) add(endMs int64, slot uint32) {
	i := len(w.live) - 1
	if i < 0 || w.live[i].endMs != endMs {
		i = sort.Search(len(w.live), func(i int) bool { return w.live[i].endMs >= endMs })
		if i == len(w.live) || w.live[i].endMs != endMs {
			keys := windowKeys{endMs: endMs}
			if n := len(w.idle); n > 0 {
				keys.slots, w.idle = w.idle[n-1][:0], w.idle[:n-1]
			}
			w.live = slices.Insert(w.live, i, keys)
		}
	}
	w.live[i].slots = append(w.live[i].slots, slot)
}

func (w *windowSlots) empty() bool { return len(w.live) == 0 }

// due is the watermark at which the first window fires.
func (w *windowSlots) due() int64 {
	if len(w.live) == 0 {
		return topology.WatermarkEnd
	}
	return lastMs(w.live[0].endMs)
}

// lastMs is the last millisecond of the window that ends at endMs.
func lastMs(endMs int64) int64 {
	if endMs == math.MinInt64 {
		return math.MinInt64
	}
	return endMs - 1
}

// take removes the first window and gives its slots in key order, valid until the next add.
func (w *windowSlots) take(t *state.Table) []uint32 {
	taken := w.live[0].slots
	w.live = slices.Delete(w.live, 0, 1)
	w.idle = append(w.idle, taken)
	slices.SortFunc(taken, func(a, b uint32) int { return bytes.Compare(t.Key(a), t.Key(b)) })
	return taken
}

// rowCounts gives how many rows each partial aggregate of b stands for, when a COUNT(*) among the calls says it; else nil.
func (k *aggregateKernel) rowCounts(b *batch.Batch) []int64 {
	if !k.spec.FromPartial {
		return nil
	}
	for _, c := range k.calls {
		if c.Func == "COUNT" && c.Arg < 0 && c.Filter < 0 && !c.Distinct {
			return b.Cols[c.partial].Int64s
		}
	}
	return nil
}

// windowPiece accumulates the rows of [from, to) whose window has not passed before this epoch, and counts the others.
func (k *aggregateKernel) windowPiece(ctx *Context, g *Group, d *aggregateGroup, b *batch.Batch, from, to int) error {
	c := &b.Cols[k.keyCols[0]]
	if c.HasNulls() {
		for i := from; i < to; i++ {
			if c.IsNull(i) {
				return fmt.Errorf("the time of a window is NULL; filter rows without a time before the window")
			}
		}
	}
	late := 0
	if ctx.WatermarkBefore != topology.WatermarkNone {
		rows := k.rowCounts(b)
		for i, endMs := range c.Int64s[from:to] {
			if lastMs(endMs) <= ctx.WatermarkBefore {
				late++
				ctx.Late++
				if rows != nil {
					ctx.Late += rows[from+i] - 1
				}
			}
		}
	}
	if late == 0 {
		return k.piece(d, b, from, to)
	}
	if late == to-from {
		return nil
	}
	k.rows = k.rows[:0]
	for i := from; i < to; i++ {
		if lastMs(c.Int64s[i]) > ctx.WatermarkBefore {
			k.rows = append(k.rows, uint32(i))
		}
	}
	if k.onTime == nil {
		k.onTime = batch.New(b.Schema)
	}
	k.onTime.Reset()
	k.onTime.AppendGather(b, k.rows)
	return k.piece(d, k.onTime, 0, k.onTime.Len())
}
