package state

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"sync"
)

// ranked is a slot with the eight bytes of its key that follow what all keys of the sort have in common.
type ranked struct {
	rank uint64
	slot uint32
}

type sorter struct {
	a, b  []ranked
	x, y  []uint64
	slots []uint32
}

var sorters = sync.Pool{New: func() any { return new(sorter) }}

// radixMin is the number of keys from which counting digits beats comparing.
const radixMin = 96

// sorterKeep is the most elements of a sorter that is kept for the next sort.
const sorterKeep = 1 << 20

// Sorted appends the live slots whose key starts with prefix, in key order. It looks at every entry of the table.
func (t *Table) Sorted(dst []uint32, prefix []byte) []uint32 {
	n := len(dst)
	dst = t.appendLive(dst, prefix)
	t.sortSlots(dst[n:])
	return dst
}

// appendLive appends the live slots whose key starts with prefix, in no particular order.
func (t *Table) appendLive(dst []uint32, prefix []byte) []uint32 {
	dst = slices.Grow(dst, t.sizeHint(prefix))
	if len(prefix) == 0 && t.Len() == int(t.slots) { // no slot is free or dead: what is read next lies side by side
		for slot := range t.slots {
			dst = append(dst, slot)
		}
		return dst
	}
	for _, elem := range t.index {
		if elem == 0 || elem&deadBit != 0 {
			continue
		}
		slot := uint32(elem&slotMask - 1)
		if len(prefix) == 0 || bytes.HasPrefix(t.keys.get(slot), prefix) {
			dst = append(dst, slot)
		}
	}
	return dst
}

func (t *Table) sizeHint(prefix []byte) int {
	if len(prefix) == 0 {
		return t.Len()
	}
	return 0
}

// sortSlots sorts slots by key: by eight bytes after the common prefix first, which decides nearly always and needs no look
// at the keys, then by the rest among those that are equal there. The keys are distinct.
func (t *Table) sortSlots(slots []uint32) {
	if len(slots) < 2 {
		return
	}
	s := sorters.Get().(*sorter)
	defer s.release()
	if t.sortBigints(s, slots) {
		return
	}
	first := t.keys.get(slots[0])
	common := len(first)
	for _, slot := range slots[1:] {
		if common = commonPrefix(first[:common], t.keys.get(slot)); common == 0 {
			break
		}
	}
	s.a = s.a[:0]
	longest := 0
	for _, slot := range slots {
		rest := t.keys.get(slot)[common:]
		longest = max(longest, len(rest))
		s.a = append(s.a, ranked{rankOf(rest), slot})
	}
	sameLen := t.keys.width >= 0
	if len(s.a) >= radixMin {
		s.radix()
	} else {
		slices.SortFunc(s.a, byRank)
	}
	if longest > 8 || !sameLen {
		t.sortTies(s.a, common)
	}
	for i := range s.a {
		slots[i] = s.a[i].slot
	}
}

// sortBigints sorts many slots whose keys are all non-null BIGINTs that lie near enough to each other; ok is false when they are not.
func (t *Table) sortBigints(s *sorter, slots []uint32) (ok bool) {
	if t.keys.width != bigintKeyLen || len(slots) < radixMin {
		return false
	}
	s.x, s.y = slices.Grow(s.x[:0], len(slots))[:len(slots)], slices.Grow(s.y[:0], len(slots))[:len(slots)]
	least, most := uint64(math.MaxUint64), uint64(0)
	for i, slot := range slots {
		v, ok := bigintKey(t.keys.get(slot))
		if !ok {
			return false
		}
		s.x[i] = v
		least, most = min(least, v), max(most, v)
	}
	// A key's distance from the least, and behind it its place in slots.
	place, span := bits.Len(uint(len(slots)-1)), bits.Len64(most-least)
	if place+span > 64 {
		return false
	}
	for i, v := range s.x {
		s.x[i] = (v-least)<<place | uint64(i)
	}
	s.radixPacked(place, place+span)
	s.slots = append(s.slots[:0], slots...)
	for i, v := range s.x {
		slots[i] = s.slots[v&(1<<place-1)]
	}
	return true
}

const digitBits = 11

// radixPacked sorts s.x by the bits from low to high, which ends before it.
func (s *sorter) radixPacked(low, high int) {
	for ; low < high; low += digitBits {
		var at [1 << digitBits]uint32
		for _, v := range s.x {
			at[v>>low&(1<<digitBits-1)]++
		}
		sum := uint32(0)
		for d, n := range at {
			at[d] = sum
			sum += n
		}
		for _, v := range s.x {
			d := v >> low & (1<<digitBits - 1)
			s.y[at[d]] = v
			at[d]++
		}
		s.x, s.y = s.y, s.x
	}
}

func (s *sorter) release() {
	if max(cap(s.a), cap(s.x)) <= sorterKeep {
		sorters.Put(s)
	}
}

func byRank(x, y ranked) int {
	switch {
	case x.rank < y.rank:
		return -1
	case x.rank > y.rank:
		return 1
	}
	return 0
}

// sortTies puts runs of equal rank into key order.
func (t *Table) sortTies(a []ranked, common int) {
	for i := 0; i < len(a); {
		j := i + 1
		for j < len(a) && a[j].rank == a[i].rank {
			j++
		}
		if j-i > 1 {
			slices.SortFunc(a[i:j], func(x, y ranked) int {
				return bytes.Compare(t.keys.get(x.slot)[common:], t.keys.get(y.slot)[common:])
			})
		}
		i = j
	}
}

// rankOf is the first eight bytes as a big-endian number, padded with zeros.
func rankOf(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var v uint64
	for i, x := range b {
		v |= uint64(x) << (56 - 8*i)
	}
	return v
}

// radix sorts s.a by rank, least significant byte first, skipping bytes that are the same in all ranks. Stable.
func (s *sorter) radix() {
	var varying uint64
	for i := range s.a {
		varying |= s.a[i].rank ^ s.a[0].rank
	}
	if cap(s.b) < len(s.a) {
		s.b = make([]ranked, len(s.a))
	}
	s.b = s.b[:len(s.a)]
	for shift := 0; shift < 64; shift += 8 {
		if varying>>shift&255 == 0 {
			continue
		}
		var at [256]int
		for i := range s.a {
			at[uint8(s.a[i].rank>>shift)]++
		}
		sum := 0
		for d, n := range at {
			at[d] = sum
			sum += n
		}
		for _, r := range s.a {
			d := uint8(r.rank >> shift)
			s.b[at[d]] = r
			at[d]++
		}
		s.a, s.b = s.b, s.a
	}
}

func commonPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
