package state

import (
	"bytes"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// column holds the values of one column by slot: one of the slices, all of them as long as the table's capacity. A free or
// deleted slot holds zero values, so that a new entry needs no clearing.
type column struct {
	kind      batch.Kind
	startNull bool
	int64s    []int64
	float64s  []float64
	bools     []bool
	decs      []batch.Dec
	bytes     arena
	nulls     []uint64 // bit per slot; nil while nothing was ever null
	// changed is of byte columns, a bit per slot: whether the bytes may be others than all vaults have. Deltas leave out what is not. nil:
	// none is.
	changed []uint64
}

// physicalKind is the kind of column that holds values of t: nested values lie in byte columns, encoded by the caller.
func physicalKind(t batch.Type) batch.Kind {
	k := t.Kind()
	if k == batch.KindList || k == batch.KindRow {
		return batch.KindBytes
	}
	return k
}

func (c *column) grow(capacity uint32) {
	n := int(capacity)
	switch c.kind {
	case batch.KindInt64:
		c.int64s = resized(c.int64s, n)
	case batch.KindFloat64:
		c.float64s = resized(c.float64s, n)
	case batch.KindBool:
		c.bools = resized(c.bools, n)
	case batch.KindDecimal:
		c.decs = resized(c.decs, n)
	default:
		c.bytes.refs = resized(c.bytes.refs, n)
	}
	if c.nulls != nil {
		c.nulls = resized(c.nulls, (n+63)/64)
	}
	if c.changed != nil {
		c.changed = resized(c.changed, (n+63)/64)
	}
}

// clear gives the slot the zero value, not null.
func (c *column) clear(slot uint32) {
	switch c.kind {
	case batch.KindInt64:
		c.int64s[slot] = 0
	case batch.KindFloat64:
		c.float64s[slot] = 0
	case batch.KindBool:
		c.bools[slot] = false
	case batch.KindDecimal:
		c.decs[slot] = batch.Dec{}
	default:
		c.bytes.clear(slot)
	}
	c.clearNull(slot)
}

func (c *column) isNull(slot uint32) bool {
	return c.nulls != nil && c.nulls[slot>>6]>>(slot&63)&1 != 0
}

func (c *column) setNull(slot, capacity uint32) {
	if c.nulls == nil {
		c.nulls = make([]uint64, (capacity+63)/64)
	}
	c.nulls[slot>>6] |= 1 << (slot & 63)
}

func (c *column) clearNull(slot uint32) {
	if c.nulls != nil {
		c.nulls[slot>>6] &^= 1 << (slot & 63)
	}
}

func (c *column) hasChanged(slot uint32) bool {
	return c.changed != nil && c.changed[slot>>6]>>(slot&63)&1 != 0
}

func (c *column) setChanged(slot, capacity uint32) {
	if c.changed == nil {
		c.changed = make([]uint64, (capacity+63)/64)
	}
	c.changed[slot>>6] |= 1 << (slot & 63)
}

func (c *column) clearChanged(slot uint32) {
	if c.changed != nil {
		c.changed[slot>>6] &^= 1 << (slot & 63)
	}
}

func (c *column) memBytes() int {
	return 8*cap(c.int64s) + 8*cap(c.float64s) + cap(c.bools) + 16*cap(c.decs) + c.bytes.memBytes() + 8*cap(c.nulls) + 8*cap(c.changed)
}

// Int64s is the column's values by slot, for reading and, after Upsert or Touch of the slot, writing. The column's physical
// kind must be int64. Valid until the next Upsert or Apply; nil while the table never held anything.
func (t *Table) Int64s(col int) []int64 {
	if t.cols == nil {
		return nil
	}
	return t.cols[col].int64s
}

// Float64s is Int64s for a column of floats.
func (t *Table) Float64s(col int) []float64 {
	if t.cols == nil {
		return nil
	}
	return t.cols[col].float64s
}

// Bools is Int64s for a column of booleans.
func (t *Table) Bools(col int) []bool {
	if t.cols == nil {
		return nil
	}
	return t.cols[col].bools
}

// Decs is Int64s for a column of unscaled decimals.
func (t *Table) Decs(col int) []batch.Dec {
	if t.cols == nil {
		return nil
	}
	return t.cols[col].decs
}

// Bytes is the value of a byte column (strings, and nested values as the caller encoded them), valid until the table
// changes.
func (t *Table) Bytes(col int, slot uint32) []byte { return t.cols[col].bytes.get(slot) }

// SetBytes stores a copy of v and marks the slot touched. It leaves the null flag alone. Setting what is there already costs deltas nothing.
func (t *Table) SetBytes(col int, slot uint32, v []byte) {
	t.Touch(slot)
	t.setBytes(&t.cols[col], slot, v)
}

func (t *Table) setBytes(c *column, slot uint32, v []byte) {
	if bytes.Equal(c.bytes.get(slot), v) {
		return
	}
	c.bytes.set(slot, v)
	t.changeBytes(c, slot)
}

// changeBytes notes that a slot has other bytes than before. Nothing is noted while nothing is tracked.
func (t *Table) changeBytes(c *column, slot uint32) {
	if t.now != 0 && c.kind == batch.KindBytes {
		c.setChanged(slot, t.capacity)
	}
}

// IsNull says whether the value is null.
func (t *Table) IsNull(col int, slot uint32) bool { return t.cols[col].isNull(slot) }

// SetNull makes the value null (and zero) and marks the slot touched.
func (t *Table) SetNull(col int, slot uint32) {
	t.Touch(slot)
	t.setNull(&t.cols[col], slot)
}

func (t *Table) setNull(c *column, slot uint32) {
	c.clear(slot)
	c.setNull(slot, t.capacity)
	t.changeBytes(c, slot)
}

// ClearNull makes the value not null and marks the slot touched.
func (t *Table) ClearNull(col int, slot uint32) {
	t.Touch(slot)
	t.cols[col].clearNull(slot)
}
