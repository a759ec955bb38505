package state

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unsafe"
)

// V of Value, Map and List may be integers, floats, bools, strings, []byte, [n]byte, and structs and fixed arrays of those,
// nested as one likes, up to 256 basic fields; unexported fields count. Whatever holds a pointer is refused at registration
// with a *TypeError that names the field. Getting copies out and putting copies in: nothing that a method returns changes
// later, and nothing given to one is kept.

// Value is one V per key. Its methods work on the group's current key and panic when there is none.
type Value[V any] struct {
	group  *Group
	table  *Table
	layout *layout
	name   string
	room   room[V]
}

// NewValue registers a Value. The name is 1 to 255 bytes, unique in the operator, without '#'.
func NewValue[V any](r Registrar, name string) (*Value[V], error) {
	l, err := layoutOf(name, reflect.TypeFor[V]())
	if err != nil {
		return nil, err
	}
	t, err := registerFor(r, name, l)
	if err != nil {
		return nil, err
	}
	return &Value[V]{group: r.State(), table: t, layout: l, name: name}, nil
}

func registerFor(r Registrar, name string, l *layout) (*Table, error) {
	if strings.Contains(name, "#") {
		return nil, fmt.Errorf("state %q: a name must not contain '#', which marks what List keeps beside its elements", name)
	}
	return r.State().Register(name, l.types)
}

// Get is the current key's value; false when there is none.
func (s *Value[V]) Get() (v V, ok bool) {
	hash, key := s.group.current(s.name)
	slot, ok := s.table.Find(hash, key)
	if ok {
		s.layout.load(s.table, slot, unsafe.Pointer(&v))
	}
	return v, ok
}

// Set stores the current key's value.
func (s *Value[V]) Set(v V) {
	hash, key := s.group.current(s.name)
	slot, _ := s.table.Upsert(hash, key)
	s.layout.store(s.table, slot, unsafe.Pointer(&v))
}

// Update calls f with the current key's value, or the zero value when there is none, and stores what f leaves there. f must
// not keep the pointer.
func (s *Value[V]) Update(f func(v *V)) {
	hash, key := s.group.current(s.name)
	slot, created := s.table.Upsert(hash, key)
	v, own := s.room.take()
	if !created {
		s.layout.load(s.table, slot, unsafe.Pointer(v))
	}
	changes := s.table.changes
	f(v)
	if s.table.changes != changes { // f used this state as well
		slot, _ = s.table.Upsert(hash, key)
	}
	s.layout.store(s.table, slot, unsafe.Pointer(v))
	s.room.leave(own)
}

// Delete removes the current key's value, if there is one.
func (s *Value[V]) Delete() {
	hash, key := s.group.current(s.name)
	if slot, ok := s.table.Find(hash, key); ok {
		s.table.Delete(slot)
	}
}

// room is where Update's function finds its value: one per structure, since a variable would be allocated at each call.
type room[V any] struct {
	value *V
	taken bool
}

// take gives a zero V; own says that it is the room's and goes back with leave.
func (r *room[V]) take() (v *V, own bool) {
	if r.taken {
		return new(V), false // an Update within an Update
	}
	if r.value == nil {
		r.value = new(V)
	}
	r.taken = true
	return r.value, true
}

func (r *room[V]) leave(own bool) {
	if own {
		var zero V
		*r.value, r.taken = zero, false
	}
}

var errElementKey = errors.New("a key is not an element's number")
