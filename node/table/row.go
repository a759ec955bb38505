package table

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var errBadRow = errors.New("bytes are not a row of this table")

// layout says which columns are the key and which are values, and codes rows: the key as canonical key bytes, the values as
//
//	row      bitmap of nulls, bit i of byte i>>3 for value column i; then each value that is not null
//	int64    zigzag varint        float64  8 bytes, IEEE bits, little-endian        bool  1 byte
//	decimal  byte 0, zigzag varint of what fits in 64 bits; or byte 1, Hi and Lo, 8 bytes each, little-endian
//	bytes    uvarint length, bytes
//	list     uvarint number of elements, then per element each child as part
//	ROW      each field as part
//	part     byte 0 null, or byte 1 and the value
//
// Equal values give equal bytes.
type layout struct {
	schema *batch.Schema
	key    []int  // in the order of PRIMARY KEY
	values []int  // in the order of the schema
	mark   uint64 // its fingerprint, which tells tables of other columns or keys
}

func newLayout(schema *batch.Schema, key []int) *layout {
	l := &layout{schema: schema, key: key}
	for i := range schema.Fields {
		if !slices.Contains(key, i) {
			l.values = append(l.values, i)
		}
	}
	l.mark = l.fingerprint()
	return l
}

func (l *layout) appendKey(dst []byte, b *batch.Batch, i int) []byte {
	return batch.AppendKey(dst, b, l.key, i)
}

func (l *layout) appendRow(dst []byte, b *batch.Batch, i int) []byte {
	at := len(dst)
	for range (len(l.values) + 7) / 8 {
		dst = append(dst, 0)
	}
	for n, k := range l.values {
		c := &b.Cols[k]
		if c.IsNull(i) {
			dst[at+n>>3] |= 1 << (n & 7)
			continue
		}
		dst = appendValue(dst, c, i)
	}
	return dst
}

func appendValue(dst []byte, c *batch.Column, i int) []byte {
	switch c.Kind() {
	case batch.KindInt64:
		return binary.AppendVarint(dst, c.Int64s[i])
	case batch.KindFloat64:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Float64s[i]))
	case batch.KindBool:
		if c.Bools[i] {
			return append(dst, 1)
		}
		return append(dst, 0)
	case batch.KindDecimal:
		d := c.Decs[i]
		if d.Hi == int64(d.Lo)>>63 {
			return binary.AppendVarint(append(dst, 0), int64(d.Lo))
		}
		dst = binary.LittleEndian.AppendUint64(append(dst, 1), uint64(d.Hi))
		return binary.LittleEndian.AppendUint64(dst, d.Lo)
	case batch.KindBytes:
		v := c.Bytes(i)
		return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
	case batch.KindList:
		from, to := c.Range(i)
		dst = binary.AppendUvarint(dst, uint64(to-from))
		for k := from; k < to; k++ {
			for _, child := range c.Children {
				dst = appendPart(dst, child, k)
			}
		}
		return dst
	}
	for _, child := range c.Children {
		dst = appendPart(dst, child, i)
	}
	return dst
}

func appendPart(dst []byte, c *batch.Column, i int) []byte {
	if c.IsNull(i) {
		return append(dst, 0)
	}
	return appendValue(append(dst, 1), c, i)
}

// decode appends the row of key and row to b. After an error b is not to be used.
func (l *layout) decode(b *batch.Batch, key, row []byte) (err error) {
	for n, k := range l.key {
		if key, err = batch.AppendKeyValue(&b.Cols[k], key, n == len(l.key)-1); err != nil {
			return err
		}
	}
	nulls := (len(l.values) + 7) / 8
	if len(key) != 0 || len(row) < nulls {
		return errBadRow
	}
	rest := row[nulls:]
	for n, k := range l.values {
		if row[n>>3]>>(n&7)&1 != 0 {
			b.Cols[k].AppendNull()
			continue
		}
		if rest, err = decodeValue(&b.Cols[k], rest); err != nil {
			return err
		}
	}
	if len(rest) != 0 {
		return errBadRow
	}
	b.EndRow(batch.Insert)
	return nil
}

func decodeValue(c *batch.Column, src []byte) ([]byte, error) {
	switch c.Kind() {
	case batch.KindInt64:
		v, n := binary.Varint(src)
		if n <= 0 {
			return nil, errBadRow
		}
		c.AppendInt64(v)
		return src[n:], nil
	case batch.KindFloat64:
		if len(src) < 8 {
			return nil, errBadRow
		}
		c.AppendFloat64(math.Float64frombits(binary.LittleEndian.Uint64(src)))
		return src[8:], nil
	case batch.KindBool:
		if len(src) < 1 || src[0] > 1 {
			return nil, errBadRow
		}
		c.AppendBool(src[0] == 1)
		return src[1:], nil
	case batch.KindDecimal:
		return decodeDecimal(c, src)
	case batch.KindBytes:
		size, n := binary.Uvarint(src)
		if n <= 0 || size > uint64(len(src)-n) {
			return nil, errBadRow
		}
		c.AppendBytes(src[n : n+int(size)])
		return src[n+int(size):], nil
	case batch.KindList:
		return decodeList(c, src)
	}
	for _, child := range c.Children {
		var err error
		if src, err = decodePart(child, src); err != nil {
			return nil, err
		}
	}
	c.CloseRow()
	return src, nil
}

func decodeDecimal(c *batch.Column, src []byte) ([]byte, error) {
	if len(src) < 2 || src[0] > 1 {
		return nil, errBadRow
	}
	if src[0] == 0 {
		v, n := binary.Varint(src[1:])
		if n <= 0 {
			return nil, errBadRow
		}
		c.AppendDec(batch.Dec{Hi: v >> 63, Lo: uint64(v)})
		return src[1+n:], nil
	}
	if len(src) < 17 {
		return nil, errBadRow
	}
	c.AppendDec(batch.Dec{Hi: int64(binary.LittleEndian.Uint64(src[1:])), Lo: binary.LittleEndian.Uint64(src[9:])})
	return src[17:], nil
}

func decodeList(c *batch.Column, src []byte) (_ []byte, err error) {
	size, n := binary.Uvarint(src)
	if n <= 0 || size > uint64(len(src)-n) { // every element takes a byte at least
		return nil, errBadRow
	}
	src = src[n:]
	for range size {
		for _, child := range c.Children {
			if src, err = decodePart(child, src); err != nil {
				return nil, err
			}
		}
	}
	c.CloseList()
	return src, nil
}

func decodePart(c *batch.Column, src []byte) ([]byte, error) {
	if len(src) == 0 || src[0] > 1 {
		return nil, errBadRow
	}
	if src[0] == 0 {
		c.AppendNull()
		return src[1:], nil
	}
	return decodeValue(c, src[1:])
}
