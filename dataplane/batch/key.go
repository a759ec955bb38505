package batch

import (
	"encoding/binary"
	"math"

	"github.com/zeebo/xxh3"
)

// Canonical key bytes: per column a tag (0 null, 1 value) and the value so that comparing bytes orders keys by column values,
// ascending, nulls first: integers big-endian with the sign flipped, floats by their ordered bits (-0 is +0, one NaN, last),
// decimals as 16 bytes, bytes escaped (0 -> 0 255, end 0 1) except in the last column, where they stand as they are.

// AppendKey appends the canonical key bytes of columns cols of row i.
func AppendKey(dst []byte, b *Batch, cols []int, i int) []byte {
	for n, k := range cols {
		dst = appendKeyValue(dst, &b.Cols[k], i, n == len(cols)-1)
	}
	return dst
}

// AppendKeyColumn appends the canonical key bytes of row i of one column, which is the last of its key when last is true.
func AppendKeyColumn(dst []byte, c *Column, i int, last bool) []byte {
	return appendKeyValue(dst, c, i, last)
}

func appendKeyValue(dst []byte, c *Column, i int, last bool) []byte {
	if c.IsNull(i) {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	switch c.kind {
	case KindInt64:
		return binary.BigEndian.AppendUint64(dst, uint64(c.Int64s[i])^1<<63)
	case KindFloat64:
		return binary.BigEndian.AppendUint64(dst, orderedFloat(c.Float64s[i]))
	case KindBool:
		if c.Bools[i] {
			return append(dst, 1)
		}
		return append(dst, 0)
	case KindDecimal:
		dst = binary.BigEndian.AppendUint64(dst, uint64(c.Decs[i].Hi)^1<<63)
		return binary.BigEndian.AppendUint64(dst, c.Decs[i].Lo)
	case KindBytes:
		if last {
			return append(dst, c.Bytes(i)...)
		}
		return appendEscaped(dst, c.Bytes(i))
	case KindList:
		from, to := c.Range(i)
		for k := from; k < to; k++ {
			dst = append(dst, 1)
			for _, ch := range c.Children {
				dst = appendKeyValue(dst, ch, k, false)
			}
		}
		return append(dst, 0)
	default:
		for _, ch := range c.Children {
			dst = appendKeyValue(dst, ch, i, false)
		}
		return dst
	}
}

func appendEscaped(dst, v []byte) []byte {
	for _, x := range v {
		if x == 0 {
			dst = append(dst, 0, 255)
		} else {
			dst = append(dst, x)
		}
	}
	return append(dst, 0, 1)
}

func orderedFloat(f float64) uint64 {
	if f == 0 {
		f = 0 // -0 and +0 are one key
	}
	if f != f {
		return math.MaxUint64
	}
	u := math.Float64bits(f)
	if u>>63 != 0 {
		return ^u
	}
	return u | 1<<63
}

// HashKey is the routing hash of canonical key bytes.
func HashKey(key []byte) uint64 { return xxh3.Hash(key) }

// AppendKeyHashes appends the routing hash of columns cols of every row in [from, to): HashKey of its canonical key bytes.
// scratch is used as working memory; the grown slice is returned for the next call.
func AppendKeyHashes(dst []uint64, b *Batch, cols []int, from, to int, scratch []byte) ([]uint64, []byte) {
	if len(cols) == 1 && b.Cols[cols[0]].kind == KindInt64 && len(b.Cols[cols[0]].Nulls) == 0 {
		var key [9]byte
		key[0] = 1
		for _, v := range b.Cols[cols[0]].Int64s[from:to] {
			binary.BigEndian.PutUint64(key[1:], uint64(v)^1<<63)
			dst = append(dst, xxh3.Hash(key[:]))
		}
		return dst, scratch
	}
	for i := from; i < to; i++ {
		scratch = AppendKey(scratch[:0], b, cols, i)
		dst = append(dst, xxh3.Hash(scratch))
	}
	return dst, scratch
}
