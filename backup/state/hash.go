package state

import (
	"math"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Hash is a hash of the entries, their keys and values: equal contents have equal hashes whatever their history. It looks at
// every entry and allocates nothing.
func (t *Table) Hash() uint64 {
	var sum uint64
	for _, elem := range t.index {
		if elem != 0 && elem&deadBit == 0 {
			sum += t.hashEntry(uint32(elem&slotMask - 1))
		}
	}
	return batch.Mix(sum, uint64(t.Len()))
}

func (t *Table) hashEntry(slot uint32) uint64 {
	h := batch.HashKey(t.keys.get(slot))
	for i := range t.cols {
		c := &t.cols[i]
		if c.isNull(slot) {
			h = batch.Mix(h, 1<<63|uint64(i))
			continue
		}
		switch c.kind {
		case batch.KindInt64:
			h = batch.Mix(h, uint64(c.int64s[slot]))
		case batch.KindFloat64:
			h = batch.Mix(h, math.Float64bits(c.float64s[slot]))
		case batch.KindBool:
			v := uint64(0)
			if c.bools[slot] {
				v = 1
			}
			h = batch.Mix(h, v)
		case batch.KindDecimal:
			h = batch.Mix(batch.Mix(h, uint64(c.decs[slot].Hi)), c.decs[slot].Lo)
		default:
			v := c.bytes.get(slot)
			h = batch.Mix(batch.Mix(h, batch.HashKey(v)), uint64(len(v)))
		}
	}
	// One more round, because the hashes of entries are added up.
	return batch.Mix(h, 0)
}
