package dataplane

import (
	"sort"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Rows is a piece of a stream: rows sorted by consumer key group, within one key group in canonical order (producing key
// group, then emission). Rows Offsets[i]..Offsets[i+1] of Batch are for Groups[i]; Groups ascend and hold no group without
// rows; len(Offsets) == len(Groups)+1, or both are empty.
type Rows struct {
	Batch   *batch.Batch
	Groups  []topology.KeyGroup
	Offsets []uint32
	// Producers tells the producing key groups in runs that cover all rows. Only rows that go to another node need it.
	Producers []ProducerRun
}

// Reset empties the rows and keeps the memory.
func (r *Rows) Reset() {
	r.Batch.Reset()
	r.Groups, r.Offsets, r.Producers = r.Groups[:0], r.Offsets[:0], r.Producers[:0]
}

// Span is the part of r for the consumer range rg: Groups[lo:hi] and the rows [from, to).
func (r *Rows) Span(rg topology.Range) (lo, hi int, from, to uint32) {
	lo = sort.Search(len(r.Groups), func(i int) bool { return r.Groups[i] >= rg.From })
	hi = lo + sort.Search(len(r.Groups)-lo, func(i int) bool { return r.Groups[lo+i] >= rg.To })
	if lo == hi {
		return lo, hi, 0, 0
	}
	return lo, hi, r.Offsets[lo], r.Offsets[hi]
}

// MemBytes is the memory that the rows take, in bytes.
func (r *Rows) MemBytes() int { return r.Batch.MemBytes() + 6*len(r.Groups) + 8*len(r.Producers) }
