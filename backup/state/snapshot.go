package state

import (
	"encoding/binary"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Snapshot is what a delta or base of a Group encodes, copied out of its tables: keys and values of the touched entries, keys of the
// tombstones, in no particular order. Taking one costs a fraction of encoding; sorting and encoding are left to whoever has the
// time, on any goroutine. The zero value is empty; taking another overwrites it and uses its memory again.
type Snapshot struct {
	base   bool
	names  []string // of the group's tables
	tables []tableSnapshot
	slots  []uint32 // scratch
}

// tableSnapshot is a table without an index whose first slots hold the live entries, those behind them the tombstones' keys.
type tableSnapshot struct {
	table Table
	live  int
	gone  int
}

// Snapshot takes what AppendDelta from that epoch would encode now.
func (g *Group) Snapshot(s *Snapshot, from topology.Epoch) {
	if !g.CanDelta(from) {
		g.SnapshotBase(s)
		return
	}
	s.begin(g, false)
	for i, t := range g.tables {
		var live int
		s.slots, live = t.appendTouched(s.slots[:0], from)
		s.tables[i].take(t, s.slots, live, false)
	}
}

// SnapshotBase takes what AppendBase would encode now.
func (g *Group) SnapshotBase(s *Snapshot) {
	s.begin(g, true)
	for i, t := range g.tables {
		s.slots = t.appendLive(s.slots[:0], nil)
		s.tables[i].take(t, s.slots, len(s.slots), true)
	}
}

func (s *Snapshot) begin(g *Group, base bool) {
	s.base, s.names = base, g.names
	if len(s.tables) != len(g.tables) {
		s.tables = make([]tableSnapshot, len(g.tables))
	}
	if cap(s.slots) > 4*g.TouchedLen()+1024 {
		s.slots = nil
	}
}

// appendTouched appends to dst the slots last touched after epoch from: those of live entries, which end at live, then those of tombstones.
func (t *Table) appendTouched(dst []uint32, from topology.Epoch) (slots []uint32, live int) {
	if t.dead > 0 {
		slots, gone := t.touchedSince(from, dst, nil)
		return append(slots, gone...), len(slots)
	}
	if from >= t.epoch {
		return dst, len(dst)
	}
	// No tombstones to tell apart. Stamps are all over the memory: without a branch on them many are read at once.
	past := uint32(0)
	if from > t.base {
		past = uint32(min(from-t.base, stampMax-1))
	}
	n := len(dst)
	slots = slices.Grow(dst, len(t.dirty))[:n+len(t.dirty)]
	for _, slot := range t.dirty {
		slots[n] = slot
		if t.stamps[slot] > past {
			n++
		}
	}
	return slots[:n], n
}

// take copies slots of t: those before live with their values, the others' keys.
func (s *tableSnapshot) take(t *Table, slots []uint32, live int, base bool) {
	s.live, s.gone = live, len(slots)-live
	d := &s.table
	d.types, d.keyText = t.types, t.keyText
	if len(slots) == 0 {
		return
	}
	d.keys.gather(&t.keys, slots)
	if len(d.cols) != len(t.cols) {
		d.cols = make([]column, len(t.cols))
	}
	for i := range d.cols {
		d.cols[i].gather(&t.cols[i], slots[:live], base)
	}
}

// Append appends what AppendDelta or AppendBase would have appended when the snapshot was taken.
func (s *Snapshot) Append(dst []byte) []byte {
	flags := byte(0)
	tables := len(s.tables)
	if s.base {
		flags = flagBase
	} else {
		tables = 0
		for i := range s.tables {
			if t := &s.tables[i]; t.live+t.gone > 0 {
				tables++
			}
		}
	}
	dst = append(dst, formatVersion, flags)
	dst = binary.AppendUvarint(dst, uint64(tables))
	for i := range s.tables {
		t := &s.tables[i]
		if n := t.live + t.gone; n > 0 || s.base {
			s.slots = slices.Grow(s.slots[:0], n)[:n]
			for k := range s.slots {
				s.slots[k] = uint32(k)
			}
			dst = appendString(dst, s.names[i])
			dst = appendSized(dst, func(b []byte) []byte {
				return t.table.appendEncoding(b, s.slots[:t.live], s.slots[t.live:], flags)
			})
		}
	}
	return dst
}

// MemBytes is the memory that the snapshot takes, in bytes, capacity counted.
func (s *Snapshot) MemBytes() int {
	n := 4 * cap(s.slots)
	for i := range s.tables {
		t := &s.tables[i].table
		n += tableBytes + t.keys.memBytes()
		for c := range t.cols {
			n += columnBytes + t.cols[c].memBytes()
		}
	}
	return n
}

// reused gives s the length n, its contents undefined. It takes new memory when there is too little, or far too much.
func reused[T any](s []T, n int) []T {
	if cap(s) < n || cap(s) > 4*n+1024 {
		return make([]T, n, n+n/8)
	}
	return s[:n]
}

// gather makes k the keys of these slots of src.
func (k *keys) gather(src *keys, slots []uint32) {
	k.width = src.width
	switch w := src.width; {
	case w == bigintKeyLen:
		k.data = reused(k.data, len(slots)*bigintKeyLen)
		to := k.data
		for _, slot := range slots {
			at := int(slot) * bigintKeyLen
			*(*[bigintKeyLen]byte)(to) = [bigintKeyLen]byte(src.data[at : at+bigintKeyLen])
			to = to[bigintKeyLen:]
		}
	case w >= 0:
		k.data = reused(k.data, len(slots)*w)
		for i, slot := range slots {
			copy(k.data[i*w:(i+1)*w], src.data[int(slot)*w:])
		}
	default:
		k.vary.gather(&src.vary, slots, nil)
		return
	}
	k.vary = arena{}
}

// gather makes a the byte strings of these slots of src; of those that are not in only, empty ones. nil: all.
func (a *arena) gather(src *arena, slots []uint32, only []uint64) {
	a.refs = reused(a.refs, len(slots))
	total := 0
	for i, slot := range slots {
		n := src.refs[slot].len
		if only != nil && only[i>>6]>>(i&63)&1 == 0 {
			n = 0
		}
		a.refs[i] = ref{uint32(total), n}
		total += int(n)
	}
	a.data = reused(a.data, total)
	for i, slot := range slots {
		copy(a.data[a.refs[i].off:][:a.refs[i].len], src.get(slot))
	}
}

// gather makes c the values of these slots of src, all of them or what a delta gives.
func (c *column) gather(src *column, slots []uint32, all bool) {
	c.kind = src.kind
	switch c.kind {
	case batch.KindInt64:
		c.int64s = gathered(c.int64s, src.int64s, slots)
	case batch.KindFloat64:
		c.float64s = gathered(c.float64s, src.float64s, slots)
	case batch.KindBool:
		c.bools = gathered(c.bools, src.bools, slots)
	case batch.KindDecimal:
		c.decs = gathered(c.decs, src.decs, slots)
	default:
		if all {
			c.bytes.gather(&src.bytes, slots, nil)
			break
		}
		c.changed = gatheredBits(c.changed, src.changed, slots)
		c.bytes.gather(&src.bytes, slots, c.changed)
	}
	if src.nulls == nil {
		c.nulls = nil
	} else {
		c.nulls = gatheredBits(c.nulls, src.nulls, slots)
	}
}

// gatheredBits are the bits of these slots of src; nil has none.
func gatheredBits(to, src []uint64, slots []uint32) []uint64 {
	to = reused(to, (len(slots)+63)/64)
	clear(to)
	if src == nil {
		return to
	}
	for i, slot := range slots {
		to[i>>6] |= src[slot>>6] >> (slot & 63) & 1 << (i & 63)
	}
	return to
}

func gathered[T any](to, src []T, slots []uint32) []T {
	to = reused(to, len(slots))
	for i, slot := range slots {
		to[i] = src[slot]
	}
	return to
}
