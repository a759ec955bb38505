package table

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	none         = math.MaxUint32
	arenaMax     = math.MaxUint32 - 1 // offsets are 32 bits wide
	indexMin     = 16
	compactMin   = 4096 // bytes of arena below which garbage is left alone
	versionFixed = 8 + 4
)

// group holds the rows of one key group. Its lane's goroutine writes, under mu; others read under mu.RLock.
//
// An entry is a key; its number stays the same while it lives. data holds
//
//	key      uvarint length, canonical key bytes
//	version  epoch, 8 bytes | offset of the next older version or none, 4 bytes | uvarint 0 tombstone, else 1 + length | row
//
// Numbers are little-endian.
type group struct {
	mu sync.RWMutex

	// index is open addressing with linear probing: 0 when empty, else the upper 32 bits of the hash and entry + 1. All keys of a key
	// group may share hash mod G, so positions come from the upper bits.
	index []uint64
	shift uint8

	keyAt []uint32 // by entry, where its key is; none: the entry is free
	head  []uint32 // by entry, where its newest version is
	free  []uint32
	used  int // entries in the index, those with tombstones too
	live  int // entries whose newest version is a row

	data    []byte
	garbage int

	last  topology.Epoch // of the newest version
	floor topology.Epoch // deltas start here or later
	dirty []uint32       // entries whose newest version is behind floor
	// queue holds the entries that were written, oldest first: those that have something to prune once marks' epochs are trimmed.
	queue  []uint32
	queued int // elements of queue that are done with
	marks  []mark
}

// mark says that count entries of the queue, behind those of the marks before it, were written in epoch.
type mark struct {
	epoch topology.Epoch
	count int
}

// LimitError says that one key group of a table outgrew what its index or arena can address.
type LimitError struct {
	Table string
	Group topology.KeyGroup
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("table %s: key group %d holds more than 4 GiB; spread the primary key over more key groups", e.Table, e.Group)
}

func (g *group) key(entry uint32) []byte { return keyIn(g.data, g.keyAt[entry]) }

func keyIn(data []byte, at uint32) []byte {
	if b := data[at]; b < 0x80 {
		return data[at+1 : at+1+uint32(b)]
	}
	size, n := binary.Uvarint(data[at:])
	return data[int(at)+n : int(at)+n+int(size)]
}

// versionIn reads the version at offset at; a tombstone has no row.
func versionIn(data []byte, at uint32) (epoch topology.Epoch, older uint32, row []byte, tombstone bool) {
	v := data[at:]
	epoch, older = topology.Epoch(binary.LittleEndian.Uint64(v)), binary.LittleEndian.Uint32(v[8:])
	size, n := binary.Uvarint(v[versionFixed:])
	if size == 0 {
		return epoch, older, nil, true
	}
	from := versionFixed + n
	return epoch, older, v[from : from+int(size)-1], false
}

// rowIn is the row of the version at offset at, which has one or is a tombstone. It may be called while the version's link to older ones changes.
func rowIn(data []byte, at uint32) (row []byte, tombstone bool) {
	v := data[at+versionFixed:]
	size, n := binary.Uvarint(v)
	if size == 0 {
		return nil, true
	}
	return v[n : n+int(size)-1], false
}

func (g *group) headEpoch(entry uint32) topology.Epoch {
	return topology.Epoch(binary.LittleEndian.Uint64(g.data[g.head[entry]:]))
}

// at is the row of an entry at epoch e; false without one. Entries that are free have none.
func (g *group) at(entry uint32, e topology.Epoch) (row []byte, ok bool) {
	if g.keyAt[entry] == none {
		return nil, false
	}
	for at := g.head[entry]; at != none; {
		epoch, older, row, tombstone := versionIn(g.data, at)
		if epoch <= e {
			return row, !tombstone
		}
		at = older
	}
	return nil, false
}

func (g *group) find(hash uint64, key []byte) (pos uint64, entry uint32, ok bool) {
	if len(g.index) == 0 {
		return 0, 0, false
	}
	mask := uint64(len(g.index) - 1)
	for pos = hash >> (g.shift & 63) & mask; ; pos = (pos + 1) & mask {
		elem := g.index[pos]
		if elem == 0 {
			return pos, 0, false
		}
		if elem>>32 == hash>>32 && bytes.Equal(g.key(uint32(elem)-1), key) {
			return pos, uint32(elem) - 1, true
		}
	}
}

// entry finds or makes the entry of key. A new one has no version yet. It fails when the arena is full.
func (g *group) entry(hash uint64, key []byte) (entry uint32, ok bool) {
	pos, entry, ok := g.find(hash, key)
	if ok {
		return entry, true
	}
	if !g.makeRoom(len(key) + binary.MaxVarintLen32) {
		return 0, false
	}
	if g.used >= len(g.index)/4*3 {
		g.growIndex()
		pos = g.emptyFor(hash)
	}
	if n := len(g.free); n > 0 {
		entry = g.free[n-1]
		g.free = g.free[:n-1]
	} else {
		entry = uint32(len(g.keyAt))
		g.keyAt = append(grown(g.keyAt), none)
		g.head = append(grown(g.head), none)
	}
	g.keyAt[entry], g.head[entry] = uint32(len(g.data)), none
	g.data = append(binary.AppendUvarint(g.data, uint64(len(key))), key...)
	g.index[pos] = hash>>32<<32 | uint64(entry+1)
	g.used++
	return entry, true
}

// grown gives s room for one more element, by a quarter more where append would double.
func grown[T any](s []T) []T {
	if len(s) < cap(s) {
		return s
	}
	t := make([]T, len(s), len(s)+max(8, len(s)/4))
	copy(t, s)
	return t
}

func (g *group) emptyFor(hash uint64) uint64 {
	mask := uint64(len(g.index) - 1)
	pos := hash >> (g.shift & 63) & mask
	for g.index[pos] != 0 {
		pos = (pos + 1) & mask
	}
	return pos
}

func (g *group) growIndex() {
	old := g.index
	n := max(indexMin, 2*len(old))
	g.index = make([]uint64, n)
	g.shift = 64
	for ; n > 1; n >>= 1 {
		g.shift--
	}
	for _, elem := range old {
		if elem != 0 {
			g.index[g.emptyFor(elem)] = elem
		}
	}
}

// remove forgets an entry and all its versions.
func (g *group) remove(entry uint32) {
	key := g.key(entry)
	pos, _, _ := g.find(batch.HashKey(key), key)
	mask := uint64(len(g.index) - 1)
	for next := (pos + 1) & mask; ; next = (next + 1) & mask { // close the gap
		elem := g.index[next]
		if elem == 0 {
			break
		}
		home := elem >> (g.shift & 63)
		if (next-home)&mask >= (next-pos)&mask {
			g.index[pos] = elem
			pos = next
		}
	}
	g.index[pos] = 0
	g.used--
	g.discard(g.head[entry])
	g.garbage += len(key) + uvarintLen(uint64(len(key)))
	g.keyAt[entry], g.head[entry] = none, none
	g.free = append(g.free, entry)
}

// discard counts the version at offset at and all older ones as garbage.
func (g *group) discard(at uint32) {
	for at != none {
		_, older, row, tombstone := versionIn(g.data, at)
		g.garbage += versionLen(row, tombstone)
		at = older
	}
}

func versionLen(row []byte, tombstone bool) int {
	if tombstone {
		return versionFixed + 1
	}
	return versionFixed + uvarintLen(uint64(len(row)+1)) + len(row)
}

func uvarintLen(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// put gives an entry a version at epoch, which is behind its newest one. It does nothing when that is the same row or a tombstone too.
// row is not in g.data. It fails when the arena is full.
func (g *group) put(entry uint32, epoch topology.Epoch, row []byte, tombstone bool) (changed, ok bool) {
	first, before := g.head[entry] == none, topology.Epoch(0)
	if first && tombstone {
		return false, true
	}
	if !first {
		var old []byte
		var dead bool
		before, _, old, dead = versionIn(g.data, g.head[entry])
		if dead == tombstone && bytes.Equal(old, row) {
			return false, true
		}
	}
	if !g.push(entry, epoch, row, tombstone) {
		return false, false
	}
	if first || before <= g.floor {
		g.dirty = append(g.dirty, entry)
	}
	if !first { // a first version leaves nothing to prune
		g.enqueue(entry, epoch)
	}
	return true, true
}

// push makes a row or tombstone the newest version of an entry.
func (g *group) push(entry uint32, epoch topology.Epoch, row []byte, tombstone bool) bool {
	if !g.makeRoom(versionFixed + binary.MaxVarintLen32 + len(row)) {
		return false
	}
	head := g.head[entry]
	if head != none && g.data[head+versionFixed] != 0 {
		g.live--
	}
	g.head[entry] = uint32(len(g.data))
	g.data = binary.LittleEndian.AppendUint64(g.data, uint64(epoch))
	g.data = binary.LittleEndian.AppendUint32(g.data, head)
	if tombstone {
		g.data = append(g.data, 0)
	} else {
		g.data = append(binary.AppendUvarint(g.data, uint64(len(row)+1)), row...)
		g.live++
	}
	g.last = epoch
	return true
}

// restore makes a row all that there is of an entry, as the vaults have it.
func (g *group) restore(entry uint32, epoch topology.Epoch, row []byte) bool {
	if at := g.head[entry]; at != none {
		g.discard(at)
		g.head[entry] = none
		g.live--
	}
	return g.push(entry, epoch, row, false)
}

func (g *group) enqueue(entry uint32, epoch topology.Epoch) {
	g.queue = append(g.queue, entry)
	if n := len(g.marks); n > 0 && g.marks[n-1].epoch == epoch {
		g.marks[n-1].count++
	} else {
		g.marks = append(g.marks, mark{epoch, 1})
	}
}

// makeRoom makes room for n more bytes of data: by leaving garbage behind when more than half is garbage. Only offsets stay valid that
// keyAt, head and versions hold.
func (g *group) makeRoom(n int) bool {
	if len(g.data)+n <= cap(g.data) && uint64(len(g.data)+n) <= arenaMax {
		return true
	}
	live := len(g.data) - g.garbage
	if uint64(live+n) > arenaMax {
		return false
	}
	if g.garbage*2 > len(g.data) || uint64(len(g.data)+n) > arenaMax {
		g.compact(n)
		return true
	}
	data := make([]byte, len(g.data), len(g.data)+max(n+32, len(g.data)/4))
	copy(data, g.data)
	g.data = data
	return true
}

func (g *group) tidy() {
	if len(g.data) >= compactMin && g.garbage*2 > len(g.data) {
		g.compact(0)
	}
}

// compact copies what is in use to a new arena with room for n more bytes.
func (g *group) compact(n int) {
	live := len(g.data) - g.garbage
	old := g.data
	data := make([]byte, 0, live+live/8+n)
	for entry, keyAt := range g.keyAt {
		if keyAt == none {
			continue
		}
		key := keyIn(old, keyAt)
		g.keyAt[entry] = uint32(len(data))
		data = append(binary.AppendUvarint(data, uint64(len(key))), key...)
		newer := -1
		for at := g.head[entry]; at != none; {
			_, older, row, tombstone := versionIn(old, at)
			to := len(data)
			data = append(data, old[at:int(at)+versionLen(row, tombstone)]...)
			if newer < 0 {
				g.head[entry] = uint32(to)
			} else {
				binary.LittleEndian.PutUint32(data[newer+8:], uint32(to))
			}
			newer, at = to, older
		}
	}
	g.data, g.garbage = data, 0
}

// prune drops versions that no read at or behind limit sees and no delta from floor or later, and entries that are tombstones by then, of
// at most budget written entries.
func (g *group) prune(limit topology.Epoch, budget int) {
	limit = min(limit, g.floor)
	done, past := 0, 0
	for past < len(g.marks) && g.marks[past].epoch <= limit && done < budget {
		m := &g.marks[past]
		n := min(m.count, budget-done)
		for _, entry := range g.queue[g.queued+done:][:n] {
			g.pruneEntry(entry, limit)
		}
		done += n
		if m.count -= n; m.count == 0 {
			past++
		}
	}
	if done == 0 {
		return
	}
	g.marks = append(g.marks[:0], g.marks[past:]...)
	if g.queued += done; g.queued*2 >= len(g.queue) {
		g.queue = trimmed(g.queue, append(g.queue[:0], g.queue[g.queued:]...))
		g.queued = 0
	}
	g.tidy()
}

// keepMax is the largest working memory, in elements, that a group keeps when it is not needed.
const keepMax = 1024

// trimmed is s, which lies in whole, in memory of its own size when it takes much more than it needs.
func trimmed(whole, s []uint32) []uint32 {
	if cap(whole) <= keepMax || len(s) > cap(whole)/4 {
		return s
	}
	return append([]uint32(nil), s...)
}

func (g *group) pruneEntry(entry uint32, limit topology.Epoch) {
	if g.keyAt[entry] == none {
		return // removed by then, for an earlier place in the queue
	}
	for at := g.head[entry]; at != none; {
		epoch, older, _, tombstone := versionIn(g.data, at)
		if epoch > limit {
			at = older
			continue
		}
		if tombstone && at == g.head[entry] {
			g.remove(entry)
			return
		}
		if older != none {
			g.discard(older)
			binary.LittleEndian.PutUint32(g.data[at+8:], none)
		}
		return
	}
}

// acknowledge says that deltas start at floor or later.
func (g *group) acknowledge(floor topology.Epoch) {
	if floor <= g.floor {
		return
	}
	g.floor = floor
	kept := g.dirty[:0]
	if g.last > floor {
		for _, entry := range g.dirty {
			if g.headEpoch(entry) > floor {
				kept = append(kept, entry)
			}
		}
	}
	g.dirty = trimmed(g.dirty, kept)
}

func (g *group) reset() {
	g.index, g.shift, g.keyAt, g.head, g.free, g.used, g.live = nil, 0, nil, nil, nil, 0, 0
	g.data, g.garbage, g.last, g.dirty, g.queue, g.queued, g.marks = nil, 0, 0, nil, nil, 0, nil
}

// memBytes is the memory that the group takes, in bytes, capacity counted.
func (g *group) memBytes() int {
	return 8*cap(g.index) + 4*(cap(g.keyAt)+cap(g.head)+cap(g.free)+cap(g.dirty)+cap(g.queue)) + 16*cap(g.marks) + cap(g.data)
}
