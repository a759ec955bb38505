package state

import (
	"bytes"
	"fmt"
	"iter"
	"reflect"
	"unsafe"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Map is a map from K to V per key. Its methods work on the group's current key and panic when there is none. K is made of
// the same types as V, []byte left out. Keys that are equal in Go are equal here, and NaN is equal to itself. The order of
// keys is that of their fields: numbers by size (NaN last), false before true, strings bytewise.
type Map[K comparable, V any] struct {
	group  *Group
	table  *Table
	keys   *layout
	values *layout
	name   string
	room   room[V]
}

// NewMap registers a Map. The name is 1 to 255 bytes, unique in the operator, without '#'.
func NewMap[K comparable, V any](r Registrar, name string) (*Map[K, V], error) {
	keys, err := keyLayoutOf(name, reflect.TypeFor[K]())
	if err != nil {
		return nil, err
	}
	values, err := layoutOf(name, reflect.TypeFor[V]())
	if err != nil {
		return nil, err
	}
	t, err := registerFor(r, name, values)
	if err != nil {
		return nil, err
	}
	t.trackScopes()
	t.keyText = "map " + keys.keyText()
	t.checkKey = func(key []byte) error {
		var k K
		_, own, ok := cutScope(key)
		if !ok {
			return errScope
		}
		if !keys.readKey(own, unsafe.Pointer(&k)) || !bytes.Equal(keys.appendKey(nil, unsafe.Pointer(&k)), own) {
			return fmt.Errorf("a key is not a %v", reflect.TypeFor[K]())
		}
		return nil
	}
	return &Map[K, V]{group: r.State(), table: t, keys: keys, values: values, name: name}, nil
}

// keyOf puts the table's key for k together; it is valid until the group's next use.
func (m *Map[K, V]) keyOf(k *K) (hash uint64, key []byte) {
	g := m.group
	g.scratch = append(g.scratch[:0], g.scopeOf(m.name)...)
	g.scratch = m.keys.appendKey(g.scratch, unsafe.Pointer(k))
	return batch.HashKey(g.scratch), g.scratch
}

// Get is the value of k; false when there is none.
func (m *Map[K, V]) Get(k K) (v V, ok bool) {
	slot, ok := m.table.Find(m.keyOf(&k))
	if ok {
		m.values.load(m.table, slot, unsafe.Pointer(&v))
	}
	return v, ok
}

// Put stores the value of k.
func (m *Map[K, V]) Put(k K, v V) {
	slot, _ := m.table.Upsert(m.keyOf(&k))
	m.values.store(m.table, slot, unsafe.Pointer(&v))
}

// Update calls f with the value of k, or the zero value when there is none, and stores what f leaves there. f must not keep
// the pointer.
func (m *Map[K, V]) Update(k K, f func(v *V)) {
	slot, created := m.table.Upsert(m.keyOf(&k))
	v, own := m.room.take()
	if !created {
		m.values.load(m.table, slot, unsafe.Pointer(v))
	}
	changes := m.table.changes
	f(v)
	if m.table.changes != changes { // f used this map as well
		slot, _ = m.table.Upsert(m.keyOf(&k))
	}
	m.values.store(m.table, slot, unsafe.Pointer(v))
	m.room.leave(own)
}

// Delete removes k, if it is there.
func (m *Map[K, V]) Delete(k K) {
	if slot, ok := m.table.Find(m.keyOf(&k)); ok {
		m.table.Delete(slot)
	}
}

// Len is the number of keys. It takes the same time for any number.
func (m *Map[K, V]) Len() int {
	hash, key := m.group.current(m.name)
	return m.table.scopes.len(hash, key)
}

// All goes through the keys that are there when the iteration starts, in key order, whatever happens in between: a key deleted
// before its turn is left out (unless it was put again by then), a changed one comes with its present value, a new one does
// not come. It costs the sorting of this map's keys.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		hash, key := m.group.current(m.name)
		snap := m.group.takeIteration()
		defer m.group.putIteration(snap)
		snap.fill(m.table, hash, key)
		from := 0
		for _, end := range snap.ends {
			key := snap.keys[from:end]
			from = end
			slot, ok := m.table.Find(batch.HashKey(key), key)
			if !ok {
				continue
			}
			_, own, _ := cutScope(key)
			var k K
			var v V
			m.keys.readKey(own, unsafe.Pointer(&k))
			m.values.load(m.table, slot, unsafe.Pointer(&v))
			if !yield(k, v) {
				return
			}
		}
	}
}

// Clear removes all keys.
func (m *Map[K, V]) Clear() {
	hash, key := m.group.current(m.name)
	snap := m.group.takeIteration()
	defer m.group.putIteration(snap)
	snap.slots = m.table.scopes.appendSlots(snap.slots[:0], hash, key)
	for _, slot := range snap.slots {
		m.table.Delete(slot)
	}
}

// iteration is the working memory of going through a scope.
type iteration struct {
	slots []uint32
	keys  []byte
	ends  []int // of each key in keys
}

// fill copies the keys of a scope, in key order.
func (s *iteration) fill(t *Table, hash uint64, current []byte) {
	s.slots = t.scopes.appendSlots(s.slots[:0], hash, current)
	t.sortSlots(s.slots)
	s.keys, s.ends = s.keys[:0], s.ends[:0]
	for _, slot := range s.slots {
		s.keys = append(s.keys, t.keys.get(slot)...)
		s.ends = append(s.ends, len(s.keys))
	}
}

// iterationKeep is the most bytes of keys of an iteration that is kept for the next one.
const iterationKeep = 1 << 16

func (g *Group) takeIteration() *iteration {
	if n := len(g.idle); n > 0 {
		s := g.idle[n-1]
		g.idle = g.idle[:n-1]
		return s
	}
	return new(iteration)
}

func (g *Group) putIteration(s *iteration) {
	if cap(s.keys) <= iterationKeep && cap(s.slots) <= iterationKeep {
		g.idle = append(g.idle, s)
	}
}
