package batch

import (
	"fmt"
	"math/bits"
)

// Dec is an unscaled 128-bit two's complement integer: the value of a DECIMAL(p, s) times 10^s.
type Dec struct {
	Hi int64
	Lo uint64
}

// Column holds the values of one column. Exactly one group of slices is in use, by the type's Kind:
//
//	KindInt64    Int64s[i]
//	KindFloat64  Float64s[i]
//	KindBool     Bools[i]
//	KindDecimal  Decs[i]
//	KindBytes    Data[Offsets[i]:Offsets[i+1]]
//	KindList     children's rows Offsets[i]..Offsets[i+1]
//	KindRow      row i of every child
//
// Vectorized code may read and write the slices directly. A null row holds a zero value in its slice. Offsets has one
// element more than rows, or none when there are no rows.
type Column struct {
	Type     Type
	Int64s   []int64
	Float64s []float64
	Bools    []bool
	Decs     []Dec
	Offsets  []uint32
	Data     []byte
	Children []*Column
	// Nulls has bit i set when row i is null. It may be shorter than the column: missing bits are zero.
	Nulls []uint64

	kind Kind
	rows int // KindRow only
}

// NewColumn makes an empty column of type t.
func NewColumn(t Type) *Column {
	c := &Column{}
	c.Init(t)
	return c
}

// Init makes c an empty column of type t, keeping no memory.
func (c *Column) Init(t Type) {
	*c = Column{Type: t, kind: t.Kind()}
	if c.kind == KindList || c.kind == KindRow {
		c.Children = make([]*Column, len(t.Fields))
		for i, f := range t.Fields {
			c.Children[i] = NewColumn(f.Type)
		}
	}
}

// Kind is the physical kind, cached from the type.
func (c *Column) Kind() Kind { return c.kind }

// Len is the number of rows.
func (c *Column) Len() int {
	switch c.kind {
	case KindInt64:
		return len(c.Int64s)
	case KindFloat64:
		return len(c.Float64s)
	case KindBool:
		return len(c.Bools)
	case KindDecimal:
		return len(c.Decs)
	case KindBytes, KindList:
		if len(c.Offsets) == 0 {
			return 0
		}
		return len(c.Offsets) - 1
	}
	return c.rows
}

// Reset empties the column and keeps its memory.
func (c *Column) Reset() {
	c.Int64s, c.Float64s, c.Bools, c.Decs = c.Int64s[:0], c.Float64s[:0], c.Bools[:0], c.Decs[:0]
	c.Offsets, c.Data, c.Nulls, c.rows = c.Offsets[:0], c.Data[:0], c.Nulls[:0], 0
	for _, ch := range c.Children {
		ch.Reset()
	}
}

// Resize sets the number of rows of a column of fixed-width kind (int64, float64, bool, decimal) to n, for code that then
// writes the slice directly: contents are undefined and no row is null.
func (c *Column) Resize(n int) {
	c.Nulls = c.Nulls[:0]
	switch c.kind {
	case KindInt64:
		c.Int64s = resize(c.Int64s, n)
	case KindFloat64:
		c.Float64s = resize(c.Float64s, n)
	case KindBool:
		c.Bools = resize(c.Bools, n)
	case KindDecimal:
		c.Decs = resize(c.Decs, n)
	default:
		panic(fmt.Sprintf("batch: Resize of a column of kind %d", c.kind))
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// HasNulls says whether any row may be null: false is certain, true is not.
func (c *Column) HasNulls() bool {
	for _, w := range c.Nulls {
		if w != 0 {
			return true
		}
	}
	return false
}

// IsNull says whether row i is null.
func (c *Column) IsNull(i int) bool {
	w := uint(i) >> 6
	return w < uint(len(c.Nulls)) && c.Nulls[w]>>(uint(i)&63)&1 != 0
}

// SetNull marks row i, which must hold a zero value, as null.
func (c *Column) SetNull(i int) {
	w := i >> 6
	for len(c.Nulls) <= w {
		c.Nulls = append(c.Nulls, 0)
	}
	c.Nulls[w] |= 1 << (uint(i) & 63)
}

// ClearNull marks row i as not null.
func (c *Column) ClearNull(i int) {
	if w := i >> 6; w < len(c.Nulls) {
		c.Nulls[w] &^= 1 << (uint(i) & 63)
	}
}

// ZeroNulls gives every null row the zero value that it must hold, for vectorized code of fixed-width kinds (int64, float64,
// bool, decimal) that computed something there.
func (c *Column) ZeroNulls() {
	n := c.Len()
	for i := 0; i < n && i>>6 < len(c.Nulls); i += 64 {
		for w := maskLow(c.Nulls[i>>6], n-i); w != 0; w &= w - 1 {
			k := i + bits.TrailingZeros64(w)
			switch c.kind {
			case KindInt64:
				c.Int64s[k] = 0
			case KindFloat64:
				c.Float64s[k] = 0
			case KindBool:
				c.Bools[k] = false
			case KindDecimal:
				c.Decs[k] = Dec{}
			}
		}
	}
}

// AppendNull appends a null row.
func (c *Column) AppendNull() {
	n := c.Len()
	c.appendZero()
	c.SetNull(n)
}

func (c *Column) appendZero() {
	switch c.kind {
	case KindInt64:
		c.Int64s = append(c.Int64s, 0)
	case KindFloat64:
		c.Float64s = append(c.Float64s, 0)
	case KindBool:
		c.Bools = append(c.Bools, false)
	case KindDecimal:
		c.Decs = append(c.Decs, Dec{})
	case KindBytes:
		c.closeBytes()
	case KindList:
		c.CloseList()
	case KindRow:
		for _, ch := range c.Children {
			ch.AppendNull()
		}
		c.rows++
	}
}

// AppendInt64 appends to a column of KindInt64.
func (c *Column) AppendInt64(v int64) { c.Int64s = append(c.Int64s, v) }

// AppendFloat64 appends to a column of KindFloat64.
func (c *Column) AppendFloat64(v float64) { c.Float64s = append(c.Float64s, v) }

// AppendBool appends to a column of KindBool.
func (c *Column) AppendBool(v bool) { c.Bools = append(c.Bools, v) }

// AppendDec appends to a column of KindDecimal.
func (c *Column) AppendDec(v Dec) { c.Decs = append(c.Decs, v) }

// AppendBytes appends a copy of v to a column of KindBytes.
func (c *Column) AppendBytes(v []byte) {
	c.openBytes()
	c.Data = append(c.Data, v...)
	c.Offsets = append(c.Offsets, uint32(len(c.Data)))
}

// AppendString appends a copy of v to a column of KindBytes.
func (c *Column) AppendString(v string) {
	c.openBytes()
	c.Data = append(c.Data, v...)
	c.Offsets = append(c.Offsets, uint32(len(c.Data)))
}

// CloseBytes ends the value whose bytes were appended to Data directly, as the next row of a column of KindBytes.
func (c *Column) CloseBytes() { c.closeBytes() }

func (c *Column) openBytes() {
	if len(c.Offsets) == 0 {
		c.Offsets = append(c.Offsets, 0)
	}
}

func (c *Column) closeBytes() {
	c.openBytes()
	c.Offsets = append(c.Offsets, uint32(len(c.Data)))
}

// CloseList ends the list whose elements were appended to the children, as the next row of a column of KindList.
func (c *Column) CloseList() {
	c.openBytes()
	c.Offsets = append(c.Offsets, uint32(c.Children[0].Len()))
}

// CloseRow ends the row whose fields were appended one to each child, as the next row of a column of KindRow.
func (c *Column) CloseRow() { c.rows++ }

// Bytes is the value of row i of a column of KindBytes, valid until the column changes.
func (c *Column) Bytes(i int) []byte { return c.Data[c.Offsets[i]:c.Offsets[i+1]:c.Offsets[i+1]] }

// Range is the half-open range of child rows of list i.
func (c *Column) Range(i int) (from, to int) { return int(c.Offsets[i]), int(c.Offsets[i+1]) }

// AppendFrom appends row i of src, which must be of the same kinds throughout.
func (c *Column) AppendFrom(src *Column, i int) {
	if src.IsNull(i) {
		c.AppendNull()
		return
	}
	switch c.kind {
	case KindInt64:
		c.Int64s = append(c.Int64s, src.Int64s[i])
	case KindFloat64:
		c.Float64s = append(c.Float64s, src.Float64s[i])
	case KindBool:
		c.Bools = append(c.Bools, src.Bools[i])
	case KindDecimal:
		c.Decs = append(c.Decs, src.Decs[i])
	case KindBytes:
		c.AppendBytes(src.Bytes(i))
	case KindList:
		from, to := src.Range(i)
		for k, ch := range c.Children {
			ch.AppendRange(src.Children[k], from, to)
		}
		c.CloseList()
	case KindRow:
		for k, ch := range c.Children {
			ch.AppendFrom(src.Children[k], i)
		}
		c.rows++
	}
}

// AppendRange appends rows [from, to) of src, which must be of the same kinds throughout and not c itself.
func (c *Column) AppendRange(src *Column, from, to int) {
	if from >= to {
		return
	}
	base := c.Len()
	switch c.kind {
	case KindInt64:
		c.Int64s = append(c.Int64s, src.Int64s[from:to]...)
	case KindFloat64:
		c.Float64s = append(c.Float64s, src.Float64s[from:to]...)
	case KindBool:
		c.Bools = append(c.Bools, src.Bools[from:to]...)
	case KindDecimal:
		c.Decs = append(c.Decs, src.Decs[from:to]...)
	case KindBytes:
		c.openBytes()
		c.appendOffsets(src, from, to, len(c.Data))
		c.Data = append(c.Data, src.Data[src.Offsets[from]:src.Offsets[to]]...)
	case KindList:
		c.openBytes()
		c.appendOffsets(src, from, to, c.Children[0].Len())
		for k, ch := range c.Children {
			ch.AppendRange(src.Children[k], int(src.Offsets[from]), int(src.Offsets[to]))
		}
	case KindRow:
		for k, ch := range c.Children {
			ch.AppendRange(src.Children[k], from, to)
		}
		c.rows += to - from
	}
	for i := from; i < to && i>>6 < len(src.Nulls); i += 64 {
		for w := maskLow(nullWord(src.Nulls, i), to-i); w != 0; w &= w - 1 {
			c.SetNull(base + i - from + bits.TrailingZeros64(w))
		}
	}
}

func (c *Column) appendOffsets(src *Column, from, to, base int) {
	first := src.Offsets[from]
	for _, o := range src.Offsets[from+1 : to+1] {
		c.Offsets = append(c.Offsets, uint32(base)+(o-first))
	}
}

// AppendGather appends the rows of src that idx names, in idx's order. src must be of the same kinds and not c itself.
func (c *Column) AppendGather(src *Column, idx []uint32) {
	base := c.Len()
	switch c.kind {
	case KindInt64:
		c.Int64s = gather(c.Int64s, src.Int64s, idx)
	case KindFloat64:
		c.Float64s = gather(c.Float64s, src.Float64s, idx)
	case KindBool:
		c.Bools = gather(c.Bools, src.Bools, idx)
	case KindDecimal:
		c.Decs = gather(c.Decs, src.Decs, idx)
	case KindBytes:
		if len(idx) == 0 {
			return
		}
		c.openBytes()
		for _, i := range idx {
			c.Data = append(c.Data, src.Data[src.Offsets[i]:src.Offsets[i+1]]...)
			c.Offsets = append(c.Offsets, uint32(len(c.Data)))
		}
	case KindRow:
		for k, ch := range c.Children {
			ch.AppendGather(src.Children[k], idx)
		}
		c.rows += len(idx)
	default:
		for _, i := range idx {
			c.AppendFrom(src, int(i))
		}
		return
	}
	if len(src.Nulls) > 0 {
		for k, i := range idx {
			if src.IsNull(int(i)) {
				c.SetNull(base + k)
			}
		}
	}
}

func gather[T any](dst, src []T, idx []uint32) []T {
	n := len(dst)
	if need := n + len(idx); cap(dst) < need {
		grown := make([]T, n, need+need/4)
		copy(grown, dst)
		dst = grown
	}
	dst = dst[:n+len(idx)]
	out := dst[n:]
	for k, i := range idx {
		out[k] = src[i]
	}
	return dst
}

// MemBytes is the memory that the column's values take, in bytes, capacity not counted.
func (c *Column) MemBytes() int {
	n := 8*len(c.Int64s) + 8*len(c.Float64s) + len(c.Bools) + 16*len(c.Decs) + 4*len(c.Offsets) + len(c.Data) + 8*len(c.Nulls)
	for _, ch := range c.Children {
		n += ch.MemBytes()
	}
	return n
}
