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

// RowsFrom gives copies of pieces that hold only the rows from producing key groups in rg. The pieces tell their producers.
func RowsFrom(pieces []*Rows, rg topology.Range) (out []*Rows) {
	for _, r := range pieces {
		if cut := r.from(rg); len(cut.Groups) > 0 {
			out = append(out, cut)
		}
	}
	return out
}

// from copies the rows of r from producing key groups in rg.
func (r *Rows) from(rg topology.Range) *Rows {
	out := &Rows{Batch: batch.New(r.Batch.Schema), Offsets: []uint32{0}}
	run := 0
	for i, g := range r.Groups {
		for at, end := r.Offsets[i], r.Offsets[i+1]; at < end; {
			for r.Producers[run].End <= at {
				run++
			}
			to := min(end, r.Producers[run].End)
			if p := r.Producers[run].Group; rg.Contains(p) {
				out.Batch.AppendRange(r.Batch, int(at), int(to))
				out.run(p)
			}
			at = to
		}
		if n := uint32(out.Batch.Len()); n > out.Offsets[len(out.Offsets)-1] {
			out.Groups, out.Offsets = append(out.Groups, g), append(out.Offsets, n)
		}
	}
	return out
}

// run notes that the rows appended last are from producing key group p.
func (r *Rows) run(p topology.KeyGroup) {
	end := uint32(r.Batch.Len())
	if n := len(r.Producers); n > 0 && r.Producers[n-1].Group == p {
		r.Producers[n-1].End = end
		return
	}
	r.Producers = append(r.Producers, ProducerRun{Group: p, End: end})
}
