package state

import (
	"encoding/binary"
	"iter"
	"reflect"
	"unsafe"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// List is a sequence of V per key, appended to at the end and removed from at the front. Its methods work on the group's
// current key and panic when there is none. Elements are numbered from 0, the front.
//
// It is two tables: the elements, by current key and a number that is part of the state, and "<name>#bounds", the numbers of
// the first element and of the next to come.
type List[V any] struct {
	group  *Group
	table  *Table
	bounds *Table
	layout *layout
	name   string
}

const (
	boundFirst = 0
	boundNext  = 1
)

var boundColumns = []batch.Type{batch.TypeBigInt, batch.TypeBigInt}

// NewList registers a List. The name is 1 to 255 bytes, unique in the operator, without '#'.
func NewList[V any](r Registrar, name string) (*List[V], error) {
	l, err := layoutOf(name, reflect.TypeFor[V]())
	if err != nil {
		return nil, err
	}
	t, err := registerFor(r, name, l)
	if err != nil {
		return nil, err
	}
	t.keyText = "list"
	t.checkKey = func(key []byte) error {
		if _, number, ok := cutScope(key); !ok || len(number) != 8 {
			return errElementKey
		}
		return nil
	}
	bounds, err := r.State().Register(name+"#bounds", boundColumns)
	if err != nil {
		return nil, err
	}
	return &List[V]{group: r.State(), table: t, bounds: bounds, layout: l, name: name}, nil
}

// span is the numbers of the first element and of the next to come.
func (s *List[V]) span() (first, next int64) {
	if slot, ok := s.bounds.Find(s.group.current(s.name)); ok {
		return s.bounds.Int64s(boundFirst)[slot], s.bounds.Int64s(boundNext)[slot]
	}
	return 0, 0
}

// keyOf puts the table's key of an element together; it is valid until the group's next use.
func (s *List[V]) keyOf(number int64) (hash uint64, key []byte) {
	g := s.group
	g.scratch = append(g.scratch[:0], g.scopeOf(s.name)...)
	g.scratch = binary.BigEndian.AppendUint64(g.scratch, uint64(number))
	return batch.HashKey(g.scratch), g.scratch
}

// Len is the number of elements.
func (s *List[V]) Len() int {
	first, next := s.span()
	return int(max(0, next-first))
}

// Append adds v at the end.
func (s *List[V]) Append(v V) {
	at, _ := s.bounds.Upsert(s.group.current(s.name))
	next := &s.bounds.Int64s(boundNext)[at]
	slot, _ := s.table.Upsert(s.keyOf(*next))
	s.layout.store(s.table, slot, unsafe.Pointer(&v))
	*next++
}

// At is element i; false when there is none.
func (s *List[V]) At(i int) (v V, ok bool) {
	first, next := s.span()
	if i < 0 || int64(i) >= next-first {
		return v, false
	}
	slot, ok := s.table.Find(s.keyOf(first + int64(i)))
	if ok {
		s.layout.load(s.table, slot, unsafe.Pointer(&v))
	}
	return v, ok
}

// Set replaces element i; false when there is none.
func (s *List[V]) Set(i int, v V) bool {
	first, next := s.span()
	if i < 0 || int64(i) >= next-first {
		return false
	}
	slot, ok := s.table.Find(s.keyOf(first + int64(i)))
	if ok {
		s.table.Touch(slot)
		s.layout.store(s.table, slot, unsafe.Pointer(&v))
	}
	return ok
}

// All goes through the elements that are there when the iteration starts, from the front, with their numbers at that time.
// It ends early at an element that was removed before its turn. What is appended meanwhile does not come, unless the list was
// emptied before: then numbers start anew.
func (s *List[V]) All() iter.Seq2[int, V] {
	return func(yield func(int, V) bool) {
		first, next := s.span()
		snap := s.group.takeIteration()
		defer s.group.putIteration(snap)
		// The key is kept here, since the loop's body may put another key together.
		_, key := s.keyOf(0)
		snap.keys = append(snap.keys[:0], key...)
		number := len(snap.keys) - 8
		for i := first; i < next; i++ {
			binary.BigEndian.PutUint64(snap.keys[number:], uint64(i))
			slot, ok := s.table.Find(batch.HashKey(snap.keys), snap.keys)
			if !ok {
				return
			}
			var v V
			s.layout.load(s.table, slot, unsafe.Pointer(&v))
			if !yield(int(i-first), v) {
				return
			}
		}
	}
}

// PopFront removes the first n elements, or all when there are fewer, and says how many that were.
func (s *List[V]) PopFront(n int) int {
	at, ok := s.bounds.Find(s.group.current(s.name))
	if !ok || n <= 0 {
		return 0
	}
	first, next := s.bounds.Int64s(boundFirst)[at], s.bounds.Int64s(boundNext)[at]
	n = int(max(0, min(int64(n), next-first)))
	for i := range n {
		if slot, ok := s.table.Find(s.keyOf(first + int64(i))); ok {
			s.table.Delete(slot)
		} else {
			break
		}
	}
	if first += int64(n); first >= next {
		s.bounds.Delete(at) // an empty list is as if it had never been; numbers start at 0 again
		return n
	}
	s.bounds.Touch(at)
	s.bounds.Int64s(boundFirst)[at] = first
	return n
}

// Clear removes all elements.
func (s *List[V]) Clear() { s.PopFront(s.Len()) }
