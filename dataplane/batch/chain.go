package batch

import (
	"math"
	"math/bits"

	"github.com/zeebo/xxh3"
)

const (
	mixA = 0x9E3779B97F4A7C15
	mixB = 0xD6E8FEB86659FD93
	mixC = 0xA0761D6478BD642F
)

// Mix folds v into h: a 128-bit product of both, folded. h stays in, so that no v, not even mixB, wipes out what was folded
// before it.
func Mix(h, v uint64) uint64 {
	hi, lo := bits.Mul64(h^mixA, v^mixB)
	return h ^ hi ^ lo
}

// Chain folds rows [from, to) in order into the chain value h: values, nulls and weights, nothing of how they are stored or
// cut into batches. Chain(Chain(h, rows 0..k), rows k..n) = Chain(h, rows 0..n). scratch is working memory, returned grown.
func (b *Batch) Chain(h uint64, from, to int, scratch []uint64) (uint64, []uint64) {
	n := to - from
	if n <= 0 {
		return h, scratch
	}
	scratch = resize(scratch, n)
	for i := range scratch {
		scratch[i] = mixC ^ uint64(b.Weight(from+i))
	}
	for k := range b.Cols {
		b.Cols[k].mixInto(scratch, from)
	}
	for _, r := range scratch {
		h = Mix(bits.RotateLeft64(h, 23), r)
	}
	return h, scratch
}

func (c *Column) mixInto(rows []uint64, from int) {
	switch c.kind {
	case KindInt64:
		for i, v := range c.Int64s[from : from+len(rows)] {
			rows[i] = Mix(rows[i], uint64(v))
		}
	case KindFloat64:
		for i, v := range c.Float64s[from : from+len(rows)] {
			if v != v {
				v = math.NaN() // which NaN it is shows in no output
			}
			rows[i] = Mix(rows[i], math.Float64bits(v))
		}
	case KindBool:
		for i, v := range c.Bools[from : from+len(rows)] {
			x := uint64(0)
			if v {
				x = 1
			}
			rows[i] = Mix(rows[i], x)
		}
	case KindDecimal:
		for i, v := range c.Decs[from : from+len(rows)] {
			rows[i] = Mix(Mix(rows[i], uint64(v.Hi)), v.Lo)
		}
	case KindBytes:
		for i := range rows {
			v := c.Bytes(from + i)
			rows[i] = Mix(Mix(rows[i], xxh3.Hash(v)), uint64(len(v)))
		}
	case KindList:
		for i := range rows {
			a, z := c.Range(from + i)
			rows[i] = Mix(rows[i], uint64(z-a))
			for j := a; j < z; j++ {
				for _, ch := range c.Children {
					ch.mixInto(rows[i:i+1], j)
				}
			}
		}
	case KindRow:
		for _, ch := range c.Children {
			ch.mixInto(rows, from)
		}
	}
	if len(c.Nulls) > 0 {
		for i := range rows {
			if c.IsNull(from + i) {
				rows[i] = Mix(rows[i], mixC)
			}
		}
	}
}
