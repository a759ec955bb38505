package state

import (
	"bytes"
	"encoding/binary"
	"math"
)

// arenaMax is the most bytes an arena may hold: references are 32 bits wide. A variable for tests only.
var arenaMax uint64 = math.MaxUint32

// arenaCompactMin is the size in bytes below which garbage is left alone.
const arenaCompactMin = 4096

type ref struct{ off, len uint32 }

// arena holds one byte string per slot, back to back in one slice. Slices it returns are valid until the next set or grow.
type arena struct {
	refs    []ref
	data    []byte
	garbage int // bytes of data that no ref names
}

func (a *arena) get(slot uint32) []byte {
	r := a.refs[slot]
	end := r.off + r.len
	return a.data[r.off:end:end]
}

// set replaces slot's bytes by a copy of v, which may point into the arena.
func (a *arena) set(slot uint32, v []byte) {
	r := &a.refs[slot]
	if len(v) <= int(r.len) {
		copy(a.data[r.off:], v)
		a.garbage += int(r.len) - len(v)
		r.len = uint32(len(v))
		a.tidy()
		return
	}
	a.garbage += int(r.len)
	*r = ref{}
	if len(a.data)+len(v) > cap(a.data) || uint64(len(a.data)+len(v)) > arenaMax {
		a.makeRoom(len(v))
		r = &a.refs[slot]
	}
	*r = ref{uint32(len(a.data)), uint32(len(v))}
	a.data = append(a.data, v...)
}

// clear gives slot the empty string.
func (a *arena) clear(slot uint32) {
	if r := &a.refs[slot]; r.len != 0 {
		a.garbage += int(r.len)
		*r = ref{}
		a.tidy()
	}
}

// makeRoom makes data's capacity sufficient for n more bytes, dropping garbage on the way if more than half is.
func (a *arena) makeRoom(n int) {
	live := len(a.data) - a.garbage
	if uint64(live+n) > arenaMax {
		panic(&LimitError{What: "bytes of keys or of one column", Limit: arenaMax})
	}
	if a.garbage*2 > len(a.data) || uint64(len(a.data)+n) > arenaMax {
		a.compact(n)
		return
	}
	grown := make([]byte, len(a.data), grownCap(len(a.data), len(a.data)+n))
	copy(grown, a.data)
	a.data = grown
}

func (a *arena) tidy() {
	if len(a.data) >= arenaCompactMin && a.garbage*2 > len(a.data) {
		a.compact(0)
	}
}

// compact copies what is referenced into a new slice with room for n more bytes: never in place, so that a slice
// that points into the old data stays good for the caller that is just storing it.
func (a *arena) compact(n int) {
	live := len(a.data) - a.garbage
	data := make([]byte, 0, live+live/4+n)
	for i := range a.refs {
		r := &a.refs[i]
		at := len(data)
		data = append(data, a.data[r.off:r.off+r.len]...)
		r.off = uint32(at)
	}
	a.data, a.garbage = data, 0
}

func grownCap(have, need int) int {
	if c := have + have/4; c > need {
		return c
	}
	return need + need/8 + 16
}

func (a *arena) memBytes() int { return 8*cap(a.refs) + cap(a.data) }

// keys holds the key of every slot. As long as all keys have the same length they lie at slot * width without references,
// which saves a memory access per comparison and eight bytes per key; the first key of another length ends that.
type keys struct {
	width int // length of all keys, or keysVary, or keysUnset
	data  []byte
	vary  arena
}

const (
	keysVary  = -1
	keysUnset = -2
	// keysFixedMax is the longest key that is worth a fixed width.
	keysFixedMax = 64
)

func (k *keys) get(slot uint32) []byte {
	if k.width >= 0 {
		at := int(slot) * k.width
		return k.data[at : at+k.width : at+k.width]
	}
	return k.vary.get(slot)
}

func (k *keys) equal(slot uint32, key []byte) bool {
	if k.width >= 0 {
		if len(key) != k.width {
			return false
		}
		at := int(slot) * k.width
		return bytes.Equal(k.data[at:at+k.width], key)
	}
	return bytes.Equal(k.vary.get(slot), key)
}

// set stores a copy of key for slot, which is below capacity; slots below used hold keys.
func (k *keys) set(slot uint32, key []byte, used, capacity uint32) {
	if k.width == keysUnset {
		if len(key) <= keysFixedMax {
			k.width = len(key)
		} else {
			k.width = keysVary
		}
		k.grow(capacity)
	}
	if k.width >= 0 {
		if len(key) == k.width {
			copy(k.data[int(slot)*k.width:], key)
			return
		}
		k.endFixed(used, capacity)
	}
	k.vary.set(slot, key)
}

func (k *keys) endFixed(used, capacity uint32) {
	w := k.width
	k.vary.refs = make([]ref, capacity)
	if w > 0 {
		k.vary.data = append(make([]byte, 0, int(used)*w+int(used)*w/4), k.data[:int(used)*w]...)
		for i := range used {
			k.vary.refs[i] = ref{i * uint32(w), uint32(w)}
		}
	}
	k.data, k.width = nil, keysVary
}

// clear forgets the key of a slot that is free from now on.
func (k *keys) clear(slot uint32) {
	if k.width == keysVary {
		k.vary.clear(slot)
	}
}

func (k *keys) grow(capacity uint32) {
	switch {
	case k.width >= 0:
		if uint64(capacity)*uint64(k.width) > arenaMax {
			panic(&LimitError{What: "bytes of keys", Limit: arenaMax})
		}
		k.data = resized(k.data, int(capacity)*k.width)
	case k.width == keysVary:
		k.vary.refs = resized(k.vary.refs, int(capacity))
	}
}

func (k *keys) memBytes() int { return cap(k.data) + k.vary.memBytes() }

// resized returns s with length and capacity n >= len(s), the new elements zero.
func resized[T any](s []T, n int) []T {
	grown := make([]T, n)
	copy(grown, s)
	return grown
}

// bigintKey takes apart the canonical key of one non-null BIGINT: tag 1, then 8 bytes big-endian with the sign flipped.
func bigintKey(key []byte) (ordered uint64, ok bool) {
	if len(key) != bigintKeyLen || key[0] != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

const bigintKeyLen = 9
