package relational

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// pieceRows is how many rows are worked on at a time, so that slots and weights stay in the first-level cache. It shapes no
// output.
const pieceRows = 2048

// partialKernel aggregates the rows of one (key group, epoch) before they are shuffled. It keeps nothing between epochs.
type partialKernel struct {
	calls  []*call
	slots  *keySlots
	stride int
	width  int // columns that the input must have

	// table holds the accumulators, stride words a key: a key's words share a cache line, which is what a pass over keys in
	// random order is made of.
	table  []int64
	stores []arenaStore
	acc    accumulators
	piece  []uint32
	raw    rawScratch
	name   string
}

func (*partialKernel) kernel() {}

func newPartial(name string, a *plan.Aggregate) (*partialKernel, error) {
	if a.FromPartial {
		return nil, fmt.Errorf("partial aggregates of partial aggregates are not supported")
	}
	calls, words, stores, err := newCalls(a)
	if err != nil {
		return nil, err
	}
	counted := !a.Updating
	for _, c := range calls {
		if _, ok := c.PartialFields("", a.Updating); !ok {
			return nil, fmt.Errorf("aggregate %d, %s: pre-aggregation is not supported", c.number+1, c.Func)
		}
		if err := c.inputs(a.InputSchema.Fields); err != nil {
			return nil, err
		}
		counted = counted || c.isRowCount()
	}
	if !counted {
		return nil, fmt.Errorf("pre-aggregation of an updating input needs a COUNT(*) without FILTER: it tells when a key ends")
	}
	k := &partialKernel{name: name, width: len(a.InputSchema.Fields), calls: calls, stride: words, stores: make([]arenaStore, stores)}
	k.slots = newKeySlots(a.InputSchema.Fields, a.Keys)
	k.acc.cols = make([][]int64, words)
	for i := range k.stores {
		k.stores[i].kernel = k
		k.acc.stores = append(k.acc.stores, &k.stores[i])
	}
	return k, nil
}

func (c *call) isRowCount() bool { return c.fn == count && c.kind == 0 && c.Filter < 0 && !c.distinct }

func (k *partialKernel) Open(g *Group) error     { g.Due = topology.WatermarkEnd; return nil }
func (k *partialKernel) Restored(g *Group) error { g.Due = topology.WatermarkEnd; return nil }

func (k *partialKernel) Rows(_ *Context, _ *Group, _ int, b *batch.Batch, from, to int, _ *batch.Batch) error {
	if err := checkWidth(b, k.width); err != nil {
		return err
	}
	k.slots.expect(to - from)
	for ; from < to; from += pieceRows {
		k.rows(b, from, min(to, from+pieceRows))
	}
	return nil
}

func (k *partialKernel) rows(b *batch.Batch, from, to int) {
	k.piece = grown(k.piece, to-from)
	slots := k.piece
	k.slots.assign(k.slots, slots, b, from, to)
	k.extend()
	if stride := uint32(k.stride); stride != 1 {
		for i := range slots {
			slots[i] *= stride
		}
	}
	for _, c := range k.calls {
		c.feed(&k.acc, slots, b, from, to, &k.raw)
	}
}

// extend gives every key its words, zero in new ones, and points the columns at them.
func (k *partialKernel) extend() {
	need := k.slots.n * k.stride
	if have := len(k.table); need > have {
		if need > cap(k.table) {
			more := make([]int64, need, max(2*cap(k.table), need+pieceRows*k.stride))
			copy(more, k.table)
			k.table = more
		} else {
			k.table = k.table[:need]
			clear(k.table[have:])
		}
	}
	for i := range k.acc.cols {
		k.acc.cols[i] = k.table[min(i, len(k.table)):]
	}
	for i := range k.stores {
		k.stores[i].refs = extended(k.stores[i].refs, k.slots.n)
	}
}

// extended gives s the length n >= len(s), new elements zero.
func extended[T any](s []T, n int) []T {
	have := len(s)
	if cap(s) < n {
		more := make([]T, n, 2*n)
		copy(more, s)
		return more
	}
	s = s[:n]
	clear(s[have:])
	return s
}

func (k *partialKernel) Advance(_ *Context, _ *Group, _ *batch.Batch) error { return nil }

func (k *partialKernel) End(_ *Context, _ *Group, out *batch.Batch) error {
	n := k.slots.n
	if n == 0 {
		return nil
	}
	for i := range k.slots.keys {
		out.Cols[i].AppendRange(&k.slots.keys[i], 0, n)
	}
	at := len(k.slots.keys)
	for _, c := range k.calls {
		at += c.appendPartial(out.Cols[at:], &k.acc, n, k.stride)
	}
	growRows(out, n)
	k.slots.reset()
	k.table = k.table[:0]
	for i := range k.stores {
		k.stores[i].reset()
	}
	return nil
}

// appendPartial appends the partial columns of n keys and says how many columns these are.
func (c *call) appendPartial(out []batch.Column, a *accumulators, n, stride int) int {
	cols := a.cols[c.at:]
	last := n * stride
	switch c.fn {
	case count:
		for s := 0; s < last; s += stride {
			out[0].Int64s = append(out[0].Int64s, cols[0][s])
		}
		return 1
	case sum, avg:
		for s := 0; s < last; s += stride {
			out[1].Int64s = append(out[1].Int64s, cols[0][s])
		}
		for s := 0; s < last; s += stride {
			switch c.kind {
			case batch.KindInt64:
				out[0].Int64s = append(out[0].Int64s, cols[1][s])
			case batch.KindFloat64:
				out[0].AppendFloat64(floatOfBits(cols[1][s]))
			default:
				if d, ok := fitsDecimal38(cols[1][s], cols[2][s], cols[3][s]); ok {
					out[0].AppendDec(d)
				} else {
					out[0].AppendNull()
				}
			}
		}
		return 2
	}
	for s := 0; s < last; s += stride {
		switch {
		case cols[0][s] == 0:
			out[0].AppendNull()
		case c.kind == batch.KindBytes:
			out[0].AppendBytes(a.stores[c.store].get(uint32(s)))
		case c.kind == batch.KindDecimal:
			out[0].AppendDec(batch.Dec{Hi: cols[1][s], Lo: uint64(cols[2][s])})
		default:
			appendWord(&out[0], cols[1][s])
		}
	}
	return 1
}

// arenaStore keeps a byte string per key of a partialKernel. A replaced string stays as garbage until the epoch ends.
type arenaStore struct {
	kernel *partialKernel
	refs   []struct{ from, to int }
	data   []byte
}

func (a *arenaStore) get(slot uint32) []byte {
	r := a.refs[int(slot)/a.kernel.stride]
	return a.data[r.from:r.to:r.to]
}

func (a *arenaStore) put(slot uint32, v []byte) {
	r := &a.refs[int(slot)/a.kernel.stride]
	if len(v) <= r.to-r.from {
		r.to = r.from + copy(a.data[r.from:], v)
		return
	}
	r.from = len(a.data)
	a.data = append(a.data, v...)
	r.to = len(a.data)
}

func (a *arenaStore) reset() { a.refs, a.data = a.refs[:0], a.data[:0] }
