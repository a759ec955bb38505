package relational

import (
	"bytes"
	"encoding/binary"
	"math/bits"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/zeebo/xxh3"
)

// keySlots numbers the keys of some rows from 0 in order of their first touch and keeps their columns. It is scratch memory:
// reset costs time in proportion to what was used, and nothing of it reaches an output but the order of first touch.
type keySlots struct {
	cols []int          // key columns of the input
	keys []batch.Column // the keys numbered so far, as columns
	n    int

	assign func(k *keySlots, slots []uint32, b *batch.Batch, from, to int)
	fresh  []uint32 // rows of the piece that hold new keys

	entries    []uint64 // the index: upper 32 bits of the hash, slot + 1; 0 when empty
	intKeys    []int64  // by slot: the key, of a single KindInt64 column
	hashes     []uint64 // byte keys: by slot
	data       []byte   // byte keys: back to back
	offsets    []uint32 // byte keys: of slot s, data[offsets[s]:offsets[s+1]]
	scratch    []byte   // keys of a piece, encoded
	ends       []uint32 // their offsets
	nullSlot   uint32   // slot + 1 of the null key; single column only
	used       int      // length of entries in use, a power of two
	last, hint int      // keys at the last reset; length that the index is to have at once

	blockHashes [blockRows]uint64 // of a block of rows
	blockFound  [blockRows]uint64 // what stands at the first place of each
}

const keySlotsMin = 64

func newKeySlots(schema []batch.Field, cols []int) *keySlots {
	k := &keySlots{cols: cols, keys: make([]batch.Column, len(cols)), offsets: make([]uint32, 1, 64)}
	fixed := true
	for i, c := range cols {
		k.keys[i].Init(schema[c].Type)
		fixed = fixed && k.keys[i].Kind() == batch.KindInt64
	}
	switch {
	case len(cols) == 0:
		k.assign = (*keySlots).assignNone
	case len(cols) == 1 && fixed:
		k.assign = (*keySlots).assignInts
	case len(cols) == 1 && k.keys[0].Kind() == batch.KindBytes:
		k.assign = (*keySlots).assignBytes
	case fixed && len(cols) <= 8:
		k.assign = (*keySlots).assignWords
	default:
		k.assign = (*keySlots).assignEncoded
	}
	return k
}

func (k *keySlots) reset() {
	for i := range k.keys {
		k.keys[i].Reset()
	}
	clear(k.entries[:min(k.used, len(k.entries))])
	k.hashes, k.data, k.offsets = k.hashes[:0], k.data[:0], k.offsets[:1]
	k.intKeys, k.last = k.intKeys[:0], k.n
	k.n, k.used, k.nullSlot, k.hint = 0, 0, 0, 0
}

// expect says that rows are coming, before the first of them: the index gets room for as many keys as the last time, or one
// a row, whichever is less.
func (k *keySlots) expect(rows int) {
	if k.n == 0 {
		k.hint = placesFor(min(rows, k.last))
	}
}

// keep adds the fresh rows of b to the key columns.
func (k *keySlots) keep(b *batch.Batch) {
	for i, c := range k.cols {
		k.keys[i].AppendGather(&b.Cols[c], k.fresh)
	}
	k.fresh = k.fresh[:0]
}

func (k *keySlots) assignNone(slots []uint32, _ *batch.Batch, _, _ int) {
	clear(slots)
	k.n = 1
}

// null is the slot of the null key of a single column, first met in row i.
func (k *keySlots) null(i int) uint32 {
	if k.nullSlot == 0 {
		k.nullSlot = uint32(k.n + 1)
		k.n++
		k.fresh = append(k.fresh, uint32(i))
		// What is by slot stays in step.
		k.intKeys = append(k.intKeys, 0)
		k.hashes, k.offsets = append(k.hashes, 0), append(k.offsets, uint32(len(k.data)))
	}
	return k.nullSlot - 1
}

// room says to how many places the index must grow for n more keys at half load; 0 when it has them.
func (k *keySlots) room(n int) int {
	need := 2 * (k.n + n)
	if need <= k.used {
		return 0
	}
	return placesFor(k.n + n)
}

// placesFor is the length of an index that n keys fill to a half at most.
func placesFor(n int) int { return max(keySlotsMin, 1<<bits.Len(uint(2*n))) }

func hashInt(v int64) uint64 {
	hi, lo := bits.Mul64(uint64(v)^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	return hi ^ lo
}

// blockRows is how many rows are looked up together. The first places that they look at are read beforehand, independent of
// each other: the cache misses of a block overlap instead of waiting for the branches in between.
const blockRows = 256

func (k *keySlots) assignInts(slots []uint32, b *batch.Batch, from, to int) {
	if size := k.room(to - from); size > 0 {
		k.growInts(max(size, k.hint))
		k.hint = 0
	}
	col := &b.Cols[k.cols[0]]
	nulls := col.HasNulls()
	for ; from < to; from += blockRows {
		last := min(to, from+blockRows)
		if n := last - from; nulls {
			k.assignIntsNullable(slots[:n], col, from, last)
			slots = slots[n:]
		} else {
			k.assignIntBlock(slots[:n], col.Int64s[from:last], from)
			slots = slots[n:]
		}
	}
	k.keep(b)
}

func (k *keySlots) assignIntsNullable(slots []uint32, col *batch.Column, from, to int) {
	for i := range slots {
		if col.IsNull(from + i) {
			slots[i] = k.null(from + i)
		} else {
			k.assignIntBlock(slots[i:i+1], col.Int64s[from+i:from+i+1], from+i)
		}
	}
}

func (k *keySlots) assignIntBlock(slots []uint32, keys []int64, from int) {
	entries := k.entries[:k.used]
	mask := uint64(len(entries) - 1)
	hashes, found := k.blockHashes[:len(keys)], k.blockFound[:len(keys)]
	for i, key := range keys {
		h := hashInt(key)
		hashes[i], found[i] = h, entries[h&mask]
	}
	known := k.intKeys
	slots = slots[:len(keys)]
	for i, key := range keys {
		e := found[i]
		s := uint32(e) - 1
		if e>>32 == hashes[i]>>32 && s < uint32(len(known)) && known[s] == key {
			slots[i] = s
			continue
		}
		h := hashes[i]
		for p := h & mask; ; p = (p + 1) & mask {
			e := entries[p]
			if e == 0 {
				entries[p] = h>>32<<32 | uint64(k.n+1)
				slots[i] = uint32(k.n)
				k.n++
				k.intKeys = append(k.intKeys, key)
				k.fresh = append(k.fresh, uint32(from+i))
				break
			}
			if s := uint32(e) - 1; e>>32 == h>>32 && k.intKeys[s] == key {
				slots[i] = s
				break
			}
		}
	}
}

func (k *keySlots) growInts(size int) {
	if size > len(k.entries) {
		k.entries = make([]uint64, size)
	} else {
		clear(k.entries[:k.used])
	}
	k.used = size
	mask := uint64(size - 1)
	for s, key := range k.intKeys {
		if uint32(s+1) == k.nullSlot {
			continue
		}
		h := hashInt(key)
		p := h & mask
		for k.entries[p] != 0 {
			p = (p + 1) & mask
		}
		k.entries[p] = h>>32<<32 | uint64(s+1)
	}
}

func (k *keySlots) assignBytes(slots []uint32, b *batch.Batch, from, to int) {
	col := &b.Cols[k.cols[0]]
	k.assignKeys(slots, col.Data, col.Offsets[from:to+1], col, from)
	k.keep(b)
}

// assignWords packs int64 columns side by side behind a byte that tells the nulls.
func (k *keySlots) assignWords(slots []uint32, b *batch.Batch, from, to int) {
	n, width := to-from, 1+8*len(k.cols)
	k.scratch = grown(k.scratch, n*width)
	k.ends = grown(k.ends, n+1)
	for i := range k.ends {
		k.ends[i] = uint32(i * width)
	}
	for i := 0; i < n; i++ {
		k.scratch[i*width] = 0
	}
	for c, number := range k.cols {
		col := &b.Cols[number]
		at := 1 + 8*c
		for _, v := range col.Int64s[from:to] {
			binary.LittleEndian.PutUint64(k.scratch[at:], uint64(v))
			at += width
		}
		if col.HasNulls() {
			for i := 0; i < n; i++ {
				if col.IsNull(from + i) {
					k.scratch[i*width] |= 1 << c
				}
			}
		}
	}
	k.assignKeys(slots, k.scratch, k.ends, nil, from)
	k.keep(b)
}

func (k *keySlots) assignEncoded(slots []uint32, b *batch.Batch, from, to int) {
	k.scratch, k.ends = k.scratch[:0], append(k.ends[:0], 0)
	for i := from; i < to; i++ {
		k.scratch = batch.AppendKey(k.scratch, b, k.cols, i)
		k.ends = append(k.ends, uint32(len(k.scratch)))
	}
	k.assignKeys(slots, k.scratch, k.ends, nil, from)
	k.keep(b)
}

// assignKeys numbers the keys data[offsets[i]:offsets[i+1]] of rows from+i. nulls is the column that tells null rows, if any.
func (k *keySlots) assignKeys(slots []uint32, data []byte, offsets []uint32, nulls *batch.Column, from int) {
	if size := k.room(len(slots)); size > 0 {
		k.growEntries(max(size, k.hint))
		k.hint = 0
	}
	if nulls != nil && !nulls.HasNulls() {
		nulls = nil
	}
	for at := 0; at < len(slots); at += blockRows {
		last := min(at+blockRows, len(slots))
		k.assignKeyBlock(slots[at:last], data, offsets[at:last+1], nulls, from+at)
	}
}

func (k *keySlots) assignKeyBlock(slots []uint32, data []byte, offsets []uint32, nulls *batch.Column, from int) {
	entries := k.entries[:k.used]
	mask := uint64(len(entries) - 1)
	hashes, found := k.blockHashes[:len(slots)], k.blockFound[:len(slots)]
	for i := range slots {
		h := xxh3.Hash(data[offsets[i]:offsets[i+1]])
		hashes[i], found[i] = h, entries[h&mask]
	}
	for i, hash := range hashes {
		if nulls != nil && nulls.IsNull(from+i) {
			slots[i] = k.null(from + i)
			continue
		}
		key := data[offsets[i]:offsets[i+1]]
		p, e := hash&mask, found[i]
		for {
			if e == 0 {
				if e = entries[p]; e == 0 { // still empty: a row of this block may have taken it
					entries[p] = hash>>32<<32 | uint64(k.n+1)
					slots[i] = uint32(k.n)
					k.n++
					k.hashes = append(k.hashes, hash)
					k.data = append(k.data, key...)
					k.offsets = append(k.offsets, uint32(len(k.data)))
					k.fresh = append(k.fresh, uint32(from+i))
					break
				}
			}
			if e>>32 == hash>>32 {
				s := uint32(e) - 1
				if bytes.Equal(k.data[k.offsets[s]:k.offsets[s+1]], key) {
					slots[i] = s
					break
				}
			}
			p = (p + 1) & mask
			e = entries[p]
		}
	}
}

func (k *keySlots) growEntries(size int) {
	if size > len(k.entries) {
		k.entries = make([]uint64, size)
	} else {
		clear(k.entries[:k.used])
	}
	k.used = size
	mask := uint64(size - 1)
	for s, hash := range k.hashes {
		if uint32(s+1) == k.nullSlot {
			continue
		}
		p := hash & mask
		for k.entries[p] != 0 {
			p = (p + 1) & mask
		}
		k.entries[p] = hash>>32<<32 | uint64(s+1)
	}
}

// grown gives s the length n, contents undefined.
func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
