package state

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"strings"
	"unsafe"
)

// Map keys are written in batch's canonical form, so that comparing bytes orders them: per leaf the tag 1, then integers
// big-endian with the sign flipped (uint64 and uint as they are), floats by their ordered bits (-0 is +0, one NaN, last),
// strings escaped unless they are the last leaf.

// appendKey appends the canonical key of the value at p.
func (l *layout) appendKey(dst []byte, p unsafe.Pointer) []byte {
	for i := range l.leaves {
		f := &l.leaves[i]
		at := unsafe.Add(p, f.offset)
		dst = append(dst, 1)
		switch f.kind {
		case reflect.Int64, reflect.Int:
			dst = appendInt(dst, *(*int64)(at))
		case reflect.Int32:
			dst = appendInt(dst, int64(*(*int32)(at)))
		case reflect.Int16:
			dst = appendInt(dst, int64(*(*int16)(at)))
		case reflect.Int8:
			dst = appendInt(dst, int64(*(*int8)(at)))
		case reflect.Uint32:
			dst = appendInt(dst, int64(*(*uint32)(at)))
		case reflect.Uint16:
			dst = appendInt(dst, int64(*(*uint16)(at)))
		case reflect.Uint8:
			dst = appendInt(dst, int64(*(*uint8)(at)))
		case reflect.Uint64, reflect.Uint:
			dst = binary.BigEndian.AppendUint64(dst, *(*uint64)(at))
		case reflect.Bool:
			dst = append(dst, *(*byte)(at))
		case reflect.Float64:
			dst = binary.BigEndian.AppendUint64(dst, orderedFloat(*(*float64)(at)))
		case reflect.Float32:
			dst = binary.BigEndian.AppendUint64(dst, orderedFloat(float64(*(*float32)(at))))
		case reflect.Array:
			dst = append(dst, unsafe.Slice((*byte)(at), f.size)...)
		case reflect.String:
			s := *(*string)(at)
			if i == len(l.leaves)-1 {
				dst = append(dst, s...)
			} else {
				dst = appendEscaped(dst, s)
			}
		}
	}
	return dst
}

// readKey is the inverse of appendKey; false when src is no key of this layout. It may accept what appendKey never writes.
func (l *layout) readKey(src []byte, p unsafe.Pointer) bool {
	for i := range l.leaves {
		f := &l.leaves[i]
		at := unsafe.Add(p, f.offset)
		if len(src) == 0 || src[0] != 1 {
			return false
		}
		src = src[1:]
		width := 8
		switch f.kind {
		case reflect.Bool:
			width = 1
		case reflect.Array:
			width = f.size
		case reflect.String:
			width = 0
		}
		if len(src) < width {
			return false
		}
		switch f.kind {
		case reflect.Int64, reflect.Int:
			*(*int64)(at) = readInt(src)
		case reflect.Int32, reflect.Uint32:
			*(*int32)(at) = int32(readInt(src))
		case reflect.Int16, reflect.Uint16:
			*(*int16)(at) = int16(readInt(src))
		case reflect.Int8, reflect.Uint8:
			*(*int8)(at) = int8(readInt(src))
		case reflect.Uint64, reflect.Uint:
			*(*uint64)(at) = binary.BigEndian.Uint64(src)
		case reflect.Bool:
			*(*bool)(at) = src[0] != 0
		case reflect.Float64:
			*(*float64)(at) = unorderedFloat(binary.BigEndian.Uint64(src))
		case reflect.Float32:
			*(*float32)(at) = float32(unorderedFloat(binary.BigEndian.Uint64(src)))
		case reflect.Array:
			copy(unsafe.Slice((*byte)(at), f.size), src)
		case reflect.String:
			if i == len(l.leaves)-1 {
				*(*string)(at) = string(src)
				width = len(src)
				break
			}
			s, n, ok := cutEscaped(src)
			if !ok {
				return false
			}
			*(*string)(at), width = s, n
		}
		src = src[width:]
	}
	return len(src) == 0
}

func appendInt(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^1<<63)
}

func readInt(src []byte) int64 { return int64(binary.BigEndian.Uint64(src) ^ 1<<63) }

// orderedFloat, as in batch's canonical keys.
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

func unorderedFloat(u uint64) float64 {
	switch {
	case u == math.MaxUint64:
		return math.NaN()
	case u>>63 != 0:
		return math.Float64frombits(u &^ (1 << 63))
	}
	return math.Float64frombits(^u)
}

// appendEscaped appends s with 0 as 0 255, and the end 0 1.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == 0 {
			dst = append(dst, 0, 255)
		} else {
			dst = append(dst, s[i])
		}
	}
	return append(dst, 0, 1)
}

// cutEscaped reads an escaped string and says how many bytes it took.
func cutEscaped(src []byte) (s string, n int, ok bool) {
	var plain []byte
	for i := 0; i+1 < len(src); i++ {
		if src[i] != 0 {
			continue
		}
		switch src[i+1] {
		case 255:
			plain = append(append(plain, src[n:i]...), 0)
			i++
			n = i + 1
		case 1:
			return string(append(plain, src[n:i]...)), i + 2, true
		default:
			return "", 0, false
		}
	}
	return "", 0, false
}

// keyLayoutOf is layoutOf for a map's key type.
func keyLayoutOf(name string, typ reflect.Type) (*layout, error) {
	l, err := layoutOf(name, typ)
	if err != nil {
		err.(*TypeError).What = "key type " + typ.String() + ": " + err.(*TypeError).What
		return nil, err
	}
	return l, nil
}

// keyText names the leaves' kinds, for the schema in a table's encoding.
func (l *layout) keyText() string {
	kinds := make([]string, len(l.leaves))
	for i, f := range l.leaves {
		kinds[i] = f.kind.String()
		if f.kind == reflect.Array {
			kinds[i] = fmt.Sprintf("[%d]byte", f.size)
		}
	}
	return strings.Join(kinds, ",")
}
