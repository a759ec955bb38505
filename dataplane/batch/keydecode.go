package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrBadKey tells of bytes that AppendKey cannot have written for columns of these types.
var ErrBadKey = errors.New("bytes are not a canonical key of these types")

// AppendKeyValue appends to c the value at the head of key, the canonical key bytes of one column or more, and returns the
// bytes after it. last says that the column is the last of its key. Values come back as the key holds them: -0 as +0, every
// NaN as one NaN. After an error c may hold part of the value.
func AppendKeyValue(c *Column, key []byte, last bool) (rest []byte, err error) {
	if len(key) == 0 {
		return nil, badKey(c, "no byte left")
	}
	tag, key := key[0], key[1:]
	if tag == 0 {
		c.AppendNull()
		return key, nil
	}
	if tag != 1 {
		return nil, badKey(c, "unknown tag")
	}
	switch c.kind {
	case KindInt64:
		if len(key) < 8 {
			return nil, badKey(c, "too short")
		}
		c.Int64s = append(c.Int64s, int64(binary.BigEndian.Uint64(key)^1<<63))
		return key[8:], nil
	case KindFloat64:
		if len(key) < 8 {
			return nil, badKey(c, "too short")
		}
		c.Float64s = append(c.Float64s, floatOfOrdered(binary.BigEndian.Uint64(key)))
		return key[8:], nil
	case KindBool:
		if len(key) < 1 || key[0] > 1 {
			return nil, badKey(c, "not a BOOLEAN")
		}
		c.Bools = append(c.Bools, key[0] == 1)
		return key[1:], nil
	case KindDecimal:
		if len(key) < 16 {
			return nil, badKey(c, "too short")
		}
		hi, lo := binary.BigEndian.Uint64(key), binary.BigEndian.Uint64(key[8:])
		c.Decs = append(c.Decs, Dec{Hi: int64(hi ^ 1<<63), Lo: lo})
		return key[16:], nil
	case KindBytes:
		if last {
			c.AppendBytes(key)
			return key[len(key):], nil
		}
		return appendUnescaped(c, key)
	case KindList:
		return appendKeyList(c, key)
	}
	for _, ch := range c.Children {
		if key, err = AppendKeyValue(ch, key, false); err != nil {
			return nil, err
		}
	}
	c.CloseRow()
	return key, nil
}

func appendKeyList(c *Column, key []byte) ([]byte, error) {
	for {
		if len(key) == 0 {
			return nil, badKey(c, "list without end")
		}
		more := key[0]
		key = key[1:]
		if more == 0 {
			c.CloseList()
			return key, nil
		}
		if more != 1 {
			return nil, badKey(c, "unknown list tag")
		}
		for _, ch := range c.Children {
			var err error
			if key, err = AppendKeyValue(ch, key, false); err != nil {
				return nil, err
			}
		}
	}
}

func appendUnescaped(c *Column, key []byte) ([]byte, error) {
	from := 0
	for i := 0; i < len(key); i++ {
		if key[i] != 0 {
			continue
		}
		if i+1 == len(key) {
			break
		}
		c.Data = append(c.Data, key[from:i]...)
		switch key[i+1] {
		case 1:
			c.closeBytes()
			return key[i+2:], nil
		case 255:
			c.Data = append(c.Data, 0)
			i++
			from = i + 1
		default:
			return nil, badKey(c, "unknown escape")
		}
	}
	return nil, badKey(c, "string without end")
}

// floatOfOrdered undoes orderedFloat.
func floatOfOrdered(u uint64) float64 {
	switch {
	case u == math.MaxUint64:
		return math.NaN()
	case u>>63 != 0:
		return math.Float64frombits(u &^ (1 << 63))
	}
	return math.Float64frombits(^u)
}

func badKey(c *Column, what string) error {
	return fmt.Errorf("%w: %v: %s", ErrBadKey, c.Type, what)
}
