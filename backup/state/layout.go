package state

import (
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// leavesMax is the most columns, or parts of a key, that one Go type may need.
const leavesMax = 256

// leaf is one basic value in a Go type: where it lies and which column holds it.
type leaf struct {
	offset uintptr
	kind   reflect.Kind // Bool to Float64, String; Slice is []byte, Array is [size]byte
	size   int
}

// layout is a Go type taken apart into its leaves, in the order of declaration; leaf i is column i. Blank fields are left out.
type layout struct {
	leaves []leaf
	types  []batch.Type
}

type layoutEntry struct {
	layout *layout
	what   string // what is wrong with the type; then layout is nil
}

var timeType = reflect.TypeFor[time.Time]()

// layouts caches by reflect.Type, for there is an operator object per key group.
var layouts sync.Map

// layoutOf compiles the layout of a type, or says what keeps it from being kept in state.
func layoutOf(name string, typ reflect.Type) (*layout, error) {
	cached, ok := layouts.Load(typ)
	if !ok {
		l := &layout{}
		root := "value"
		if typ.Name() != "" && typ.Kind() == reflect.Struct && typ != timeType {
			root, _, _ = strings.Cut(typ.Name(), "[")
		}
		what := l.add(typ, root, 0)
		if what != "" {
			l = nil
		}
		cached, _ = layouts.LoadOrStore(typ, layoutEntry{l, what})
	}
	if e := cached.(layoutEntry); e.what != "" {
		return nil, &TypeError{State: name, What: e.what}
	}
	return cached.(layoutEntry).layout, nil
}

var leafTypes = map[reflect.Kind]batch.Type{
	reflect.Bool: batch.TypeBoolean,
	reflect.Int8: batch.TypeTinyInt, reflect.Int16: batch.TypeSmallInt, reflect.Int32: batch.TypeInt,
	reflect.Int64: batch.TypeBigInt, reflect.Int: batch.TypeBigInt,
	reflect.Uint8: batch.TypeSmallInt, reflect.Uint16: batch.TypeInt, reflect.Uint32: batch.TypeBigInt,
	reflect.Uint64: batch.TypeBigInt, reflect.Uint: batch.TypeBigInt,
	reflect.Float32: batch.TypeFloat, reflect.Float64: batch.TypeDouble, reflect.String: batch.TypeString,
}

var refusals = map[reflect.Kind]string{
	reflect.Pointer:       "is a pointer: store the value itself, or the key of another state",
	reflect.UnsafePointer: "is a pointer: store the value itself, or the key of another state",
	reflect.Uintptr:       "is a uintptr, which means nothing in another process: store an integer",
	reflect.Map:           "is a map: use a state.Map",
	reflect.Slice:         "is a slice: use a state.List, a fixed array, or []byte",
	reflect.Interface:     "is an interface: store a concrete type",
	reflect.Chan:          "is a channel, which cannot be kept in state",
	reflect.Func:          "is a func, which cannot be kept in state",
	reflect.Complex64:     "is a complex number, which is not supported: store two floats",
	reflect.Complex128:    "is a complex number, which is not supported: store two floats",
}

// add appends the leaves of typ at offset; path names it in the refusal that it returns.
func (l *layout) add(typ reflect.Type, path string, offset uintptr) (refusal string) {
	if typ == timeType {
		return fmt.Sprintf("field %s is a time.Time, which holds a pointer: store UnixMilli() as an int64", path)
	}
	kind := typ.Kind()
	if t, ok := leafTypes[kind]; ok {
		return l.leaf(path, leaf{offset: offset, kind: kind}, t)
	}
	switch {
	case kind == reflect.Struct:
		for i := range typ.NumField() {
			f := typ.Field(i)
			if f.Name == "_" {
				continue
			}
			if what := l.add(f.Type, path+"."+f.Name, offset+f.Offset); what != "" {
				return what
			}
		}
		return ""
	case kind == reflect.Slice && typ.Elem().Kind() == reflect.Uint8:
		return l.leaf(path, leaf{offset: offset, kind: kind}, batch.TypeBytes)
	case kind == reflect.Array && typ.Elem().Kind() == reflect.Uint8:
		n := typ.Len()
		return l.leaf(path, leaf{offset: offset, kind: kind, size: n}, batch.Type{ID: batch.Bytes, Precision: n})
	case kind == reflect.Array:
		for i := range typ.Len() {
			if what := l.add(typ.Elem(), fmt.Sprintf("%s[%d]", path, i), offset+uintptr(i)*typ.Elem().Size()); what != "" {
				return what
			}
		}
		return ""
	}
	what, ok := refusals[kind]
	if !ok {
		what = "is of a kind that is not supported"
	}
	return fmt.Sprintf("field %s %s", path, what)
}

func (l *layout) leaf(path string, f leaf, t batch.Type) (refusal string) {
	if len(l.leaves) == leavesMax {
		return fmt.Sprintf("field %s is the %dth: a type may have %d basic fields, counting each element of an array; use a state.List or state.Map",
			path, leavesMax+1, leavesMax)
	}
	l.leaves, l.types = append(l.leaves, f), append(l.types, t)
	return ""
}

// load copies an entry out to p, which points to a value of the layout's type. Strings and byte slices are copies.
func (l *layout) load(t *Table, slot uint32, p unsafe.Pointer) {
	for i := range l.leaves {
		f, c := &l.leaves[i], &t.cols[i]
		at := unsafe.Add(p, f.offset)
		switch f.kind {
		case reflect.Int64, reflect.Int, reflect.Uint64, reflect.Uint:
			*(*int64)(at) = c.int64s[slot]
		case reflect.Int32, reflect.Uint32:
			*(*int32)(at) = int32(c.int64s[slot])
		case reflect.Int16, reflect.Uint16:
			*(*int16)(at) = int16(c.int64s[slot])
		case reflect.Int8, reflect.Uint8:
			*(*int8)(at) = int8(c.int64s[slot])
		case reflect.Bool:
			*(*bool)(at) = c.bools[slot]
		case reflect.Float64:
			*(*float64)(at) = c.float64s[slot]
		case reflect.Float32:
			*(*float32)(at) = float32(c.float64s[slot])
		case reflect.String:
			*(*string)(at) = string(c.bytes.get(slot))
		case reflect.Slice:
			if c.isNull(slot) {
				*(*[]byte)(at) = nil
			} else {
				*(*[]byte)(at) = append([]byte{}, c.bytes.get(slot)...)
			}
		case reflect.Array:
			copy(unsafe.Slice((*byte)(at), f.size), c.bytes.get(slot))
		}
	}
}

// store copies the value at p into an entry.
func (l *layout) store(t *Table, slot uint32, p unsafe.Pointer) {
	for i := range l.leaves {
		f, c := &l.leaves[i], &t.cols[i]
		at := unsafe.Add(p, f.offset)
		switch f.kind {
		case reflect.Int64, reflect.Int, reflect.Uint64, reflect.Uint:
			c.int64s[slot] = *(*int64)(at)
		case reflect.Int32:
			c.int64s[slot] = int64(*(*int32)(at))
		case reflect.Int16:
			c.int64s[slot] = int64(*(*int16)(at))
		case reflect.Int8:
			c.int64s[slot] = int64(*(*int8)(at))
		case reflect.Uint32:
			c.int64s[slot] = int64(*(*uint32)(at))
		case reflect.Uint16:
			c.int64s[slot] = int64(*(*uint16)(at))
		case reflect.Uint8:
			c.int64s[slot] = int64(*(*uint8)(at))
		case reflect.Bool:
			c.bools[slot] = *(*bool)(at)
		case reflect.Float64:
			c.float64s[slot] = *(*float64)(at)
		case reflect.Float32:
			c.float64s[slot] = float64(*(*float32)(at))
		case reflect.String:
			s := *(*string)(at)
			t.setBytes(c, slot, unsafe.Slice(unsafe.StringData(s), len(s)))
		case reflect.Slice:
			if b := *(*[]byte)(at); b != nil {
				t.setBytes(c, slot, b)
				c.clearNull(slot)
			} else {
				t.setNull(c, slot)
			}
		case reflect.Array:
			t.setBytes(c, slot, unsafe.Slice((*byte)(at), f.size))
		}
	}
}
