package relational

import (
	"bytes"
	"math"
	"math/bits"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// The loops below are where rows meet accumulators. slots[i] is where row i's accumulator stands in dst: a state slot when
// dst is a column of a table, slot * stride when accumulators of one key lie side by side. w[i] is the weight of row i, 0 for
// a row that does not count; nil means that every row counts once.

func addOnes(dst []int64, slots []uint32, w []int8) {
	if w == nil {
		for _, s := range slots {
			dst[s]++
		}
		return
	}
	w = w[:len(slots)]
	for i, s := range slots {
		dst[s] += int64(w[i])
	}
}

func addInts(dst []int64, slots []uint32, v []int64, w []int8) {
	v = v[:len(slots)]
	if w == nil {
		for i, s := range slots {
			dst[s] += v[i]
		}
		return
	}
	w = w[:len(slots)]
	for i, s := range slots {
		dst[s] += int64(w[i]) * v[i]
	}
}

// addIntsCounting is addInts and addOnes in one pass over the slots.
func addIntsCounting(sum, n []int64, slots []uint32, v []int64) {
	v = v[:len(slots)]
	for i, s := range slots {
		sum[s] += v[i]
		n[s]++
	}
}

// addFloats adds to sums that are kept as the bits of float64s. Rows come in canonical order, so plain addition gives the
// same bits on any number of nodes.
func addFloats(dst []int64, slots []uint32, v []float64, w []int8) {
	v = v[:len(slots)]
	if w == nil {
		for i, s := range slots {
			dst[s] = int64(math.Float64bits(math.Float64frombits(uint64(dst[s])) + v[i]))
		}
		return
	}
	for i, s := range slots {
		switch sum := math.Float64frombits(uint64(dst[s])); w[i] {
		case 1:
			dst[s] = int64(math.Float64bits(sum + v[i]))
		case -1:
			dst[s] = int64(math.Float64bits(sum - v[i]))
		}
	}
}

// addDecs adds to 192-bit sums: ext, hi and lo from the top. That holds any number of DECIMAL(38) exactly.
func addDecs(ext, hi, lo []int64, slots []uint32, v []batch.Dec, w []int8) {
	for i, s := range slots {
		d := v[i]
		if w != nil {
			switch w[i] {
			case 0:
				continue
			case -1:
				l, borrow := bits.Sub64(uint64(lo[s]), d.Lo, 0)
				h, borrow := bits.Sub64(uint64(hi[s]), uint64(d.Hi), borrow)
				e, _ := bits.Sub64(uint64(ext[s]), uint64(d.Hi>>63), borrow)
				lo[s], hi[s], ext[s] = int64(l), int64(h), int64(e)
				continue
			}
		}
		l, carry := bits.Add64(uint64(lo[s]), d.Lo, 0)
		h, carry := bits.Add64(uint64(hi[s]), uint64(d.Hi), carry)
		e, _ := bits.Add64(uint64(ext[s]), uint64(d.Hi>>63), carry)
		lo[s], hi[s], ext[s] = int64(l), int64(h), int64(e)
	}
}

// keepInts keeps the least value per slot, or the greatest when most is true. has[s] is 0 before the first.
func keepInts(has, dst []int64, slots []uint32, v []int64, w []int8, most bool) {
	for i, s := range slots {
		if w != nil && w[i] == 0 {
			continue
		}
		if x := v[i]; has[s] == 0 || !most && x < dst[s] || most && x > dst[s] {
			has[s], dst[s] = 1, x
		}
	}
}

// keepDecs is keepInts of decimals.
func keepDecs(has, hi, lo []int64, slots []uint32, v []batch.Dec, w []int8, most bool) {
	for i, s := range slots {
		if w != nil && w[i] == 0 {
			continue
		}
		d := v[i]
		less := d.Hi < hi[s] || d.Hi == hi[s] && d.Lo < uint64(lo[s])
		if has[s] == 0 || !most && less || most && !less {
			has[s], hi[s], lo[s] = 1, d.Hi, int64(d.Lo)
		}
	}
}

// byteStore keeps one byte string per slot.
type byteStore interface {
	get(slot uint32) []byte
	// put stores a copy of v.
	put(slot uint32, v []byte)
}

// keepBytes is keepInts of byte strings.
func keepBytes(has []int64, store byteStore, slots []uint32, c *batch.Column, from int, w []int8, most bool) {
	for i, s := range slots {
		if w != nil && w[i] == 0 {
			continue
		}
		v := c.Bytes(from + i)
		if has[s] != 0 {
			order := bytes.Compare(v, store.get(s))
			if order == 0 || most != (order > 0) {
				continue
			}
		}
		has[s] = 1
		store.put(s, v)
	}
}

// orderedInt maps float64s to int64s of the same order: -0 is +0 and there is one NaN, greater than all else.
func orderedInt(f float64) int64 {
	switch {
	case f != f:
		return math.MaxInt64
	case f == 0:
		return 0
	}
	u := math.Float64bits(f)
	if u>>63 != 0 {
		return int64(^u ^ 1<<63)
	}
	return int64(u)
}

// floatOfOrderedInt undoes orderedInt.
func floatOfOrderedInt(v int64) float64 {
	switch {
	case v == math.MaxInt64:
		return math.NaN()
	case v < 0:
		return math.Float64frombits(^(uint64(v) ^ 1<<63))
	}
	return math.Float64frombits(uint64(v))
}

// words gives rows [from, to) of a column of booleans, floats or int64s as int64s of the same order, in scratch when they
// are not so already.
func words(c *batch.Column, from, to int, scratch []int64) (v, grown []int64) {
	switch c.Kind() {
	case batch.KindInt64:
		return c.Int64s[from:to], scratch
	case batch.KindFloat64:
		scratch = scratch[:0]
		for _, f := range c.Float64s[from:to] {
			scratch = append(scratch, orderedInt(f))
		}
	case batch.KindBool:
		scratch = scratch[:0]
		for _, b := range c.Bools[from:to] {
			x := int64(0)
			if b {
				x = 1
			}
			scratch = append(scratch, x)
		}
	}
	return scratch, scratch
}

// appendWord appends to c the value that words made v of.
func appendWord(c *batch.Column, v int64) {
	switch c.Kind() {
	case batch.KindInt64:
		c.AppendInt64(v)
	case batch.KindFloat64:
		c.AppendFloat64(floatOfOrderedInt(v))
	case batch.KindBool:
		c.AppendBool(v != 0)
	}
}
