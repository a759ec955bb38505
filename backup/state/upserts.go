package state

import "encoding/binary"

// Upserts is what upserting a run of rows gives, for operators that work on columns. It belongs to the caller and is reused:
// each call overwrites it.
type Upserts struct {
	Slots   []uint32 // by row
	First   []uint32 // rows, ascending, that are the first touch of their key in the current epoch; needs Begin
	Created []uint32 // rows, ascending, that created their entry
}

// warmMin is the number of slots from which a table is likely to be larger than the caches.
const warmMin = 2048

func (u *Upserts) reset(rows int) {
	if cap(u.Slots) < rows {
		u.Slots = make([]uint32, rows, rows+rows/4)
	}
	u.Slots, u.First, u.Created = u.Slots[:rows], u.First[:0], u.Created[:0]
}

// UpsertInt64s is Upsert of many rows, in order, whose keys are one non-null BIGINT (or another type of physical kind int64)
// each: keys[i] with its routing hash hashes[i]. Nothing has to be encoded, and large tables are read ahead.
func (t *Table) UpsertInt64s(u *Upserts, hashes []uint64, keys []int64) {
	u.reset(len(hashes))
	for from := 0; from < len(hashes); from += warmRows {
		to := min(from+warmRows, len(hashes))
		if t.slots >= warmMin {
			t.Warm(hashes[from:to])
		}
		t.upsertInt64s(u, from, hashes[from:to], keys[from:to], u.Slots[from:to])
	}
}

func (t *Table) upsertInt64s(u *Upserts, from int, hashes []uint64, keys []int64, slots []uint32) {
	keys, slots = keys[:len(hashes)], slots[:len(hashes)]
	for i, hash := range hashes {
		ordered := uint64(keys[i]) ^ 1<<63
		if len(t.index) != 0 && t.keys.width == bigintKeyLen {
			index, data := t.index, t.keys.data
			mask := uint64(len(index) - 1)
			for pos := hash >> (t.shift & 63); ; pos++ {
				elem := index[pos&mask]
				if (elem^hash)>>32 == 0 && elem&(slotMask|deadBit) != 0 {
					at := int(elem&slotMask-1) * bigintKeyLen
					own := data[at : at+bigintKeyLen]
					if binary.BigEndian.Uint64(own[1:]) == ordered && own[0] == 1 && elem&deadBit == 0 {
						slot := uint32(elem&slotMask - 1)
						slots[i] = slot
						if t.stamps[slot] != t.now {
							t.touch(slot)
							u.First = append(u.First, uint32(from+i))
						}
						goto next
					}
				}
				if elem == 0 {
					break
				}
			}
		}
		slots[i] = t.upsertSlow(u, from+i, hash, ordered)
	next:
	}
}

// upsertSlow is for rows whose key has no live entry.
func (t *Table) upsertSlow(u *Upserts, row int, hash, ordered uint64) uint32 {
	var key [bigintKeyLen]byte
	key[0] = 1
	binary.BigEndian.PutUint64(key[1:], ordered)
	return t.upsertRow(u, row, hash, key[:])
}

func (t *Table) upsertRow(u *Upserts, row int, hash uint64, key []byte) uint32 {
	slot, created := t.put(hash, key)
	if created {
		u.Created = append(u.Created, uint32(row))
	}
	if t.stamps[slot] != t.now {
		u.First = append(u.First, uint32(row))
		t.Touch(slot)
	}
	return slot
}

// UpsertKeys is Upsert of many rows, in order: the canonical key of row i is keys[ends[i-1]:ends[i]], with ends[-1] = 0, and
// its routing hash hashes[i]. Large tables are read ahead.
func (t *Table) UpsertKeys(u *Upserts, hashes []uint64, keys []byte, ends []uint32) {
	u.reset(len(hashes))
	start := uint32(0)
	for i, hash := range hashes {
		if i%warmRows == 0 && t.slots >= warmMin {
			t.Warm(hashes[i:])
		}
		u.Slots[i] = t.upsertRow(u, i, hash, keys[start:ends[i]])
		start = ends[i]
	}
}
