package json

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector/format/cell"
)

// dropRepeated leaves of the map entries from row from on, with equal keys, the last. Sorting keeps a hostile map from costing the square of
// its entries.
func (d *Decoder) dropRepeated(keys, values *batch.Column, from int) {
	d.order = d.order[:0]
	for i := from; i < keys.Len(); i++ {
		d.order = append(d.order, uint32(i))
	}
	slices.SortFunc(d.order, func(a, b uint32) int {
		if c := bytes.Compare(keys.Bytes(int(a)), keys.Bytes(int(b))); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	kept := d.order[:0]
	for k, i := range d.order {
		if k+1 == len(d.order) || !bytes.Equal(keys.Bytes(int(i)), keys.Bytes(int(d.order[k+1]))) {
			kept = append(kept, i)
		}
	}
	if len(kept) == keys.Len()-from {
		return
	}
	slices.Sort(kept)
	for _, c := range []*batch.Column{keys, values} {
		rest := batch.NewColumn(c.Type)
		rest.AppendGather(c, kept)
		cell.Truncate(c, from)
		c.AppendRange(rest, 0, rest.Len())
	}
}
