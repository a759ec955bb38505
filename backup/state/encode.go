package state

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// The encoding of a table, all counts uvarints:
//
//	version       1 byte, 1
//	flags         1 byte: bit 0 base (it replaces the table's contents; else it is a delta)
//	key           text that says what the keys are made of (length, bytes); empty for canonical key bytes of SQL columns
//	columns       count, then the SQL text of each type (length, bytes), nullability aside
//	entries       count
//	tombstones    count
//	keys          of the entries, ascending
//	keys          of the tombstones, ascending
//	values        per column
//
//	keys          1 byte form; form 1 when every key is a non-null BIGINT: the first as 8 bytes big-endian, then the differences;
//	              form 0: per key the number of leading bytes shared with the one before (at most 127), the length
//	              of the rest, the rest. Nothing when there are none.
//	values        1 byte: bit 0 whether any is null, bit 1 whether any is left out, since it is the same as before the delta (bytes only);
//	              for each of the bits that is set a bitmap; then what is not null and not left out, in the order of the keys:
//	  int64       least value (zigzag), 1 byte width w in bytes, then per value its distance from the least in w bytes
//	  float64     8 bytes each, IEEE bits
//	  bool        bitmap
//	  decimal     1 byte, whether each fits in 64 bits; then as int64, or 16 bytes each
//	  bytes       lengths, then the bytes
//
// Fixed-width numbers are little-endian unless said otherwise. Equal contents and equal touched sets give equal bytes.
const (
	formatVersion = 1
	flagBase      = 1
	sharedMax     = 127 // bounds what a few bytes can decode to
	valuesNull    = 1
	valuesLeftOut = 2
	keysFront     = 0
	keysBigint    = 1
)

// AppendDelta appends the encoding of every key touched after epoch from: its present value or a tombstone. Bytes that are the same as at the
// last acknowledged epoch are left out. When that is no
// longer known, because from is before the last acknowledged epoch, before the epoch the table was restored to, or nothing is
// tracked, it appends a base instead, which stands for the same state.
func (t *Table) AppendDelta(dst []byte, from topology.Epoch) []byte {
	if !t.CanDelta(from) {
		return t.AppendBase(dst)
	}
	live, gone := t.touchedSince(from, nil, nil)
	return t.appendEncoding(dst, live, gone, 0)
}

// CanDelta says whether AppendDelta from that epoch gives a delta rather than a base.
func (t *Table) CanDelta(from topology.Epoch) bool { return t.now != 0 && from >= t.floor }

// AppendBase appends the encoding of all entries.
func (t *Table) AppendBase(dst []byte) []byte {
	return t.appendEncoding(dst, t.appendLive(nil, nil), nil, flagBase)
}

func (t *Table) appendEncoding(dst []byte, live, gone []uint32, flags byte) []byte {
	t.sortSlots(live)
	t.sortSlots(gone)
	dst = append(dst, formatVersion, flags)
	dst = appendString(dst, t.keyText)
	dst = binary.AppendUvarint(dst, uint64(len(t.types)))
	for _, typ := range t.types {
		dst = appendString(dst, typ.Nullable().String())
	}
	dst = binary.AppendUvarint(dst, uint64(len(live)))
	dst = binary.AppendUvarint(dst, uint64(len(gone)))
	dst = t.appendKeys(dst, live)
	dst = t.appendKeys(dst, gone)
	if len(live) == 0 {
		return dst
	}
	for i := range t.cols {
		dst = t.cols[i].appendValues(dst, live, flags&flagBase != 0)
	}
	return dst
}

func (t *Table) appendKeys(dst []byte, slots []uint32) []byte {
	if len(slots) == 0 {
		return dst
	}
	if bigints, ok := t.appendBigints(dst, slots); ok {
		return bigints
	}
	dst = append(dst, keysFront)
	var last []byte
	for _, slot := range slots {
		key := t.keys.get(slot)
		shared := min(commonPrefix(last, key), sharedMax)
		dst = binary.AppendUvarint(dst, uint64(shared))
		dst = binary.AppendUvarint(dst, uint64(len(key)-shared))
		dst = append(dst, key[shared:]...)
		last = key
	}
	return dst
}

// appendBigints appends keys that are all non-null BIGINTs; ok is false when one is none.
func (t *Table) appendBigints(dst []byte, slots []uint32) (_ []byte, ok bool) {
	if _, ok = bigintKey(t.keys.get(slots[0])); !ok {
		return dst, false
	}
	dst = append(dst, keysBigint)
	var last uint64
	for i, slot := range slots {
		v, ok := bigintKey(t.keys.get(slot))
		switch d := v - last; {
		case !ok:
			return dst, false
		case i == 0:
			dst = binary.BigEndian.AppendUint64(dst, v)
		case d < 1<<7:
			dst = append(dst, byte(d))
		case d < 1<<14:
			dst = append(dst, byte(d)|1<<7, byte(d>>7))
		default:
			dst = binary.AppendUvarint(dst, d)
		}
		last = v
	}
	return dst, true
}

func (c *column) appendValues(dst []byte, slots []uint32, all bool) []byte {
	all = all || c.kind != batch.KindBytes
	leftOut := func(slot uint32) bool { return !all && !c.hasChanged(slot) && !c.isNull(slot) }
	form := byte(0)
	for _, slot := range slots {
		if c.isNull(slot) {
			form |= valuesNull
		} else if leftOut(slot) {
			form |= valuesLeftOut
		}
	}
	dst = append(dst, form)
	if form == 0 {
		return c.appendNotNull(dst, slots)
	}
	if form&valuesNull != 0 {
		dst = appendBits(dst, len(slots), func(i int) bool { return c.isNull(slots[i]) })
	}
	if form&valuesLeftOut != 0 {
		dst = appendBits(dst, len(slots), func(i int) bool { return leftOut(slots[i]) })
	}
	given := make([]uint32, 0, len(slots))
	for _, slot := range slots {
		if !c.isNull(slot) && !leftOut(slot) {
			given = append(given, slot)
		}
	}
	return c.appendNotNull(dst, given)
}

func appendBits(dst []byte, n int, bit func(i int) bool) []byte {
	for i := 0; i < n; i += 8 {
		var b byte
		for k := i; k < min(i+8, n); k++ {
			if bit(k) {
				b |= 1 << (k - i)
			}
		}
		dst = append(dst, b)
	}
	return dst
}

func (c *column) appendNotNull(dst []byte, slots []uint32) []byte {
	switch c.kind {
	case batch.KindInt64:
		return appendInts(dst, slots, c.int64s)
	case batch.KindFloat64:
		return c.appendFloats(dst, slots)
	case batch.KindBool:
		return appendBits(dst, len(slots), func(i int) bool { return c.bools[slots[i]] })
	case batch.KindDecimal:
		return c.appendDecs(dst, slots)
	}
	for _, slot := range slots {
		dst = binary.AppendUvarint(dst, uint64(c.bytes.refs[slot].len))
	}
	for _, slot := range slots {
		dst = append(dst, c.bytes.get(slot)...)
	}
	return dst
}

func appendInts(dst []byte, slots []uint32, values []int64) []byte {
	if len(slots) == 0 {
		return dst
	}
	least, most := values[slots[0]], values[slots[0]]
	for _, slot := range slots {
		least, most = min(least, values[slot]), max(most, values[slot])
	}
	width := (bits.Len64(uint64(most)-uint64(least)) + 7) / 8
	dst = append(binary.AppendVarint(dst, least), byte(width))
	// Each is written in eight bytes, of which the next one takes back what is too much.
	n := len(dst)
	dst = slices.Grow(dst, len(slots)*width+8)
	to := dst[:n+len(slots)*width+8]
	for _, slot := range slots {
		binary.LittleEndian.PutUint64(to[n:], uint64(values[slot])-uint64(least))
		n += width
	}
	return to[:n]
}

func (c *column) appendFloats(dst []byte, slots []uint32) []byte {
	for _, slot := range slots {
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.float64s[slot]))
	}
	return dst
}

func (c *column) appendDecs(dst []byte, slots []uint32) []byte {
	if len(slots) == 0 {
		return dst
	}
	narrow := true
	for _, slot := range slots {
		if d := c.decs[slot]; d.Hi != int64(d.Lo)>>63 {
			narrow = false
			break
		}
	}
	if narrow {
		order := make([]uint32, len(slots))
		values := make([]int64, len(slots))
		for i, slot := range slots {
			order[i], values[i] = uint32(i), int64(c.decs[slot].Lo)
		}
		return appendInts(append(dst, 1), order, values)
	}
	dst = append(dst, 0)
	for _, slot := range slots {
		d := c.decs[slot]
		dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Hi))
		dst = binary.LittleEndian.AppendUint64(dst, d.Lo)
	}
	return dst
}
