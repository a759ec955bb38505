package state

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Table maps canonical key bytes to a row of typed values, for one key group. It is not safe for concurrent use.
//
// An entry lives in a slot; columns are slices indexed by slot. A slot stays with its key until the entry is deleted and the
// deletion acknowledged. Slot numbers depend on history and must never reach an output: iterate with Sorted.
//
// Hashes given to a Table are batch.HashKey of the key: the routing hash, reused.
type Table struct {
	types []batch.Type

	// index is open addressing with linear probing. An element is 0 when empty, else the upper 32 bits of the hash, the
	// dead bit and slot + 1. All keys of a key group share hash mod G, so positions come from the upper bits; having 32 of
	// them in the element saves a look at the slot on the way and makes growing one sequential pass.
	index []uint64
	shift uint8 // 64 - log2(len(index))
	salt  uint8 // spreads growth: tables of one stage fill at the same pace and must not all grow in one epoch
	limit int   // occupied elements at which the index grows
	used  int   // occupied elements: live and dead entries
	dead  int   // tombstones that wait for acknowledgement

	slots    uint32 // slots ever handed out
	capacity uint32 // length of everything indexed by slot
	free     []uint32
	keys     keys
	cols     []column
	starts   []int // columns that are null in a new entry

	// stamps holds per slot the epoch of its last touch, relative to base, 0 when that is acknowledged; and the dead bit.
	stamps []uint32
	dirty  []uint32 // slots whose stamp is not 0
	now    uint32   // the current epoch's stamp; 0 before the first Begin: nothing is tracked
	epoch  topology.Epoch
	base   topology.Epoch
	floor  topology.Epoch // no delta can start before it

	applied bool   // Apply was called before the first Begin
	changes uint64 // grows with every entry created or removed
	warmed  uint64 // keeps the compiler from leaving out Warm's reads

	scopes   *scopes
	keyText  string                 // what keys are made of, for the encoding; empty for SQL columns
	checkKey func(key []byte) error // of what Apply reads; nil accepts all
}

const (
	slotMask     = 1<<31 - 1
	deadBit      = 1 << 31
	slotsMax     = slotMask - 1
	indexMin     = 16
	capacityMin  = 8
	floorNone    = topology.Epoch(math.MinInt64)
	stampMax     = 1<<31 - 1
	growDoubling = 1024 // slots below which capacity doubles
)

// NewTable makes an empty table with value columns of the given types. Nested types (ARRAY, MAP, ROW) are byte columns whose
// contents the caller encodes. cols is kept, not copied, and must not change; it panics on a type without a physical kind.
// An empty table takes no memory beyond the struct.
func NewTable(cols []batch.Type) *Table {
	for _, t := range cols {
		t.Kind()
	}
	t := &Table{types: cols, floor: floorNone}
	t.keys.width = keysUnset
	return t
}

// StartNull makes the columns null, instead of zero, in entries created from now on.
func (t *Table) StartNull(cols ...int) {
	t.starts = append(t.starts, cols...)
	for _, c := range cols {
		if t.cols != nil {
			t.cols[c].startNull = true
		}
	}
}

// Types are the types of the value columns.
func (t *Table) Types() []batch.Type { return t.types }

// Len is the number of entries.
func (t *Table) Len() int { return t.used - t.dead }

// Key is the key of an entry, valid until the table changes.
func (t *Table) Key(slot uint32) []byte { return t.keys.get(slot) }

// lookup finds key's position and element in the index; the element is 0 when the key is not there.
func (t *Table) lookup(hash uint64, key []byte) (pos, elem uint64) {
	index := t.index
	if len(index) == 0 {
		return 0, 0
	}
	mask := uint64(len(index) - 1)
	pos = hash >> (t.shift & 63)
	if t.keys.width == bigintKeyLen && len(key) == bigintKeyLen {
		data, word, last := t.keys.data, binary.LittleEndian.Uint64(key), key[8]
		for ; ; pos++ {
			elem = index[pos&mask]
			if elem>>32 == hash>>32 && elem != 0 {
				at := int(elem&slotMask-1) * bigintKeyLen
				if own := data[at : at+bigintKeyLen]; binary.LittleEndian.Uint64(own) == word && own[8] == last {
					return pos & mask, elem
				}
			}
			if elem == 0 {
				return pos & mask, 0
			}
		}
	}
	for ; ; pos++ {
		elem = index[pos&mask]
		if elem == 0 || elem>>32 == hash>>32 && t.keys.equal(uint32(elem&slotMask-1), key) {
			return pos & mask, elem
		}
	}
}

// Find looks up an entry.
func (t *Table) Find(hash uint64, key []byte) (slot uint32, ok bool) {
	_, elem := t.lookup(hash, key)
	if elem&slotMask == 0 || elem&deadBit != 0 {
		return 0, false
	}
	return uint32(elem&slotMask - 1), true
}

// Upsert finds or creates the entry of key and marks it touched. A created one has zero values (or nulls, see StartNull).
// It may move what Int64s and its like returned before. key is copied. It panics with a *LimitError when the table is full.
func (t *Table) Upsert(hash uint64, key []byte) (slot uint32, created bool) {
	pos, elem := t.lookup(hash, key)
	if elem&slotMask == 0 || elem&deadBit != 0 {
		slot, created = t.create(hash, key, pos, elem), true
	} else {
		slot = uint32(elem&slotMask - 1)
	}
	t.Touch(slot)
	return slot, created
}

// UpsertFirst is Upsert that also says whether this is the first touch of the key in the current epoch, deletions counted.
// Before the first Begin it is always false.
func (t *Table) UpsertFirst(hash uint64, key []byte) (slot uint32, created, first bool) {
	slot, created = t.put(hash, key)
	first = t.stamps[slot] != t.now
	t.Touch(slot)
	return slot, created, first
}

// warmRows is how many rows ahead Warm is worth calling for.
const warmRows = 64

// Warm reads what looking up and updating the entries of the given hashes will read, without any effect but on the
// processor's caches: independent reads overlap, while lookups wait for one another. For tables that exceed the caches;
// call it for the next 16 to 64 rows before looking them up.
func (t *Table) Warm(hashes []uint64) {
	index := t.index
	if len(index) == 0 {
		return
	}
	var elems [warmRows]uint64
	hashes = hashes[:min(len(hashes), warmRows)]
	mask := uint64(len(index) - 1)
	for i, h := range hashes {
		elems[i] = index[h>>(t.shift&63)&mask]
	}
	var sum uint64
	for i := range hashes {
		slot := uint32(elems[i]&slotMask - 1)
		if elems[i] == 0 {
			continue
		}
		sum += uint64(t.stamps[slot])
		if w := t.keys.width; w > 0 {
			sum += uint64(t.keys.data[int(slot)*w])
		}
		if len(t.cols) > 0 && t.cols[0].int64s != nil {
			sum += uint64(t.cols[0].int64s[slot])
		}
	}
	t.warmed = sum
}

// put is Upsert without touching.
func (t *Table) put(hash uint64, key []byte) (slot uint32, created bool) {
	pos, elem := t.lookup(hash, key)
	if elem&slotMask == 0 || elem&deadBit != 0 {
		return t.create(hash, key, pos, elem), true
	}
	return uint32(elem&slotMask - 1), false
}

// create makes an entry of what lookup found to be no live one.
func (t *Table) create(hash uint64, key []byte, pos, elem uint64) uint32 {
	if elem == 0 {
		return t.insert(hash, key, pos)
	}
	slot := uint32(elem&slotMask - 1)
	t.index[pos] = elem &^ deadBit
	t.stamps[slot] &^= deadBit
	t.dead--
	t.start(slot)
	return slot
}

// insert creates an entry whose key is not in the index; pos is the empty position where its probing ended.
func (t *Table) insert(hash uint64, key []byte, pos uint64) uint32 {
	if t.used >= t.limit {
		if len(t.index) == 0 {
			t.salt = uint8(hash)
		}
		t.growIndex(max(indexMin, 2*len(t.index)))
		pos = t.emptyFor(hash)
	}
	var slot uint32
	if n := len(t.free); n > 0 {
		slot = t.free[n-1]
		t.keys.set(slot, key, t.slots, t.capacity)
		t.free = t.free[:n-1]
	} else {
		if t.slots == t.capacity {
			t.grow(t.nextCapacity())
		}
		slot = t.slots
		t.keys.set(slot, key, t.slots, t.capacity)
		t.slots++
	}
	t.index[pos] = hash>>32<<32 | uint64(slot+1)
	t.used++
	t.start(slot)
	return slot
}

// start makes a slot with zero values a live entry.
func (t *Table) start(slot uint32) {
	t.changes++
	for i := range t.cols {
		t.changeBytes(&t.cols[i], slot)
	}
	for _, c := range t.starts {
		t.cols[c].setNull(slot, t.capacity)
	}
	if t.scopes != nil {
		t.scopes.link(t.keys.get(slot), slot)
	}
}

// emptyFor is the first empty position for a hash.
func (t *Table) emptyFor(hash uint64) uint64 {
	mask := uint64(len(t.index) - 1)
	pos := hash >> (t.shift & 63)
	for t.index[pos&mask] != 0 {
		pos++
	}
	return pos & mask
}

// growIndex rebuilds the index with n elements, a power of two.
func (t *Table) growIndex(n int) {
	old := t.index
	t.index = make([]uint64, n)
	t.shift = 64 - uint8(log2(n))
	// Full at 5/8 to 3/4, by the salt.
	t.limit = n*5/8 + n/8*int(t.salt)/256
	for _, elem := range old {
		if elem != 0 {
			t.index[t.emptyFor(elem)] = elem
		}
	}
}

func log2(n int) int {
	k := 0
	for 1<<k < n {
		k++
	}
	return k
}

func (t *Table) nextCapacity() uint32 {
	c := uint64(t.capacity)
	if c < growDoubling {
		c = max(capacityMin, 2*c)
	} else {
		c += c/4 + c/4*uint64(t.salt)/256
	}
	if t.slots >= slotsMax {
		panic(&LimitError{What: "entries", Limit: slotsMax})
	}
	return uint32(min(c, slotsMax))
}

// grow gives everything indexed by slot the length capacity.
func (t *Table) grow(capacity uint32) {
	if t.cols == nil {
		t.cols = make([]column, len(t.types))
		for i := range t.cols {
			t.cols[i].kind = physicalKind(t.types[i])
		}
		for _, c := range t.starts {
			t.cols[c].startNull = true
		}
	}
	t.keys.grow(capacity)
	for i := range t.cols {
		t.cols[i].grow(capacity)
	}
	t.stamps = resized(t.stamps, int(capacity))
	if t.scopes != nil {
		t.scopes.grow(capacity)
	}
	t.capacity = capacity
}

// reserve makes room for n entries in all, at once.
func (t *Table) reserve(n int) {
	size := indexMin
	for size*5/8 < n {
		size *= 2
	}
	if size > len(t.index) {
		t.growIndex(size)
	}
	if n > int(t.capacity) && n <= slotsMax {
		t.grow(uint32(n))
	}
}

// Delete removes a live entry. Its key stays as a tombstone, for deltas, until the deletion is acknowledged; then the slot
// is used again. Deleting a slot that is not live does nothing.
func (t *Table) Delete(slot uint32) {
	if slot >= t.slots || t.stamps[slot]&deadBit != 0 {
		return
	}
	pos, ok := t.position(slot)
	if !ok {
		return
	}
	if t.scopes != nil {
		t.scopes.unlink(t.keys.get(slot), slot)
	}
	for i := range t.cols {
		t.cols[i].clear(slot)
	}
	t.changes++
	t.Touch(slot)
	t.dead++
	t.stamps[slot] |= deadBit
	t.index[pos] |= deadBit
	if t.stamps[slot] == deadBit {
		t.release(pos, slot)
	}
}

// position finds a slot in the index; false when the slot is free.
func (t *Table) position(slot uint32) (uint64, bool) {
	mask := uint64(len(t.index) - 1)
	pos := batch.HashKey(t.keys.get(slot)) >> (t.shift & 63)
	for ; ; pos++ {
		switch elem := t.index[pos&mask]; {
		case elem == 0:
			return 0, false
		case uint32(elem&slotMask-1) == slot:
			return pos & mask, true
		}
	}
}

// release frees a dead slot that no delta needs and closes the gap in the index.
func (t *Table) release(pos uint64, slot uint32) {
	t.stamps[slot] = 0
	t.keys.clear(slot)
	t.free = append(t.free, slot)
	t.used--
	t.dead--
	mask := uint64(len(t.index) - 1)
	for next := (pos + 1) & mask; ; next = (next + 1) & mask {
		elem := t.index[next]
		if elem == 0 {
			break
		}
		home := elem >> (t.shift & 63)
		if (next-home)&mask >= (next-pos)&mask {
			t.index[pos] = elem
			pos = next
		}
	}
	t.index[pos] = 0
}

// Reset forgets all entries, all touched keys and the epoch, and frees the memory. Schema and settings stay.
func (t *Table) Reset() {
	fresh := Table{types: t.types, starts: t.starts, floor: floorNone, changes: t.changes + 1,
		keyText: t.keyText, checkKey: t.checkKey}
	fresh.keys.width = keysUnset
	if t.scopes != nil {
		fresh.scopes = newScopes()
	}
	*t = fresh
}

// MemBytes is the memory that the table takes, in bytes, capacity counted.
func (t *Table) MemBytes() int {
	n := tableBytes + 8*cap(t.index) + 4*(cap(t.free)+cap(t.stamps)+cap(t.dirty)) + t.keys.memBytes()
	for i := range t.cols {
		n += columnBytes + t.cols[i].memBytes()
	}
	if t.scopes != nil {
		n += t.scopes.memBytes()
	}
	return n
}

func (t *Table) String() string {
	return fmt.Sprintf("state.Table(%d entries, %d bytes)", t.Len(), t.MemBytes())
}
