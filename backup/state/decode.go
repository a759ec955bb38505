package state

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// Apply reads what AppendDelta or AppendBase wrote: a base replaces the contents, a delta changes them. What it changes does
// not count as touched, since the vaults have it; when all is applied, Acknowledge says which epoch that is. After an error (*SchemaError, *CorruptError, *LimitError) the contents are
// undefined: Reset, and take the state from elsewhere.
func (t *Table) Apply(src []byte) (err error) {
	r := &reader{src: src}
	defer func() {
		if p := recover(); p != nil {
			limit, ok := p.(*LimitError)
			if !ok {
				panic(p)
			}
			err = limit
		}
	}()
	return t.apply(r)
}

func (t *Table) apply(r *reader) error {
	version, flags := r.byte(), r.byte()
	if r.err == nil && (version != formatVersion || flags&^flagBase != 0) {
		return &SchemaError{What: fmt.Sprintf("encoding has version %d, flags %#x; this release reads version %d", version, flags, formatVersion)}
	}
	if err := t.checkTypes(r); err != nil {
		return err
	}
	n, gone := r.count(), r.count()
	if r.err != nil {
		return r.err
	}
	if flags&flagBase != 0 {
		t.clearEntries()
		t.reserve(n)
	}
	if t.now == 0 {
		t.applied, t.floor = true, floorNone
	} else {
		t.floor = max(t.floor, t.epoch)
	}
	slots := make([]uint32, 0, n)
	r.old = resized([]uint64(nil), (n+63)/64)
	r.keys(n, t.checkKey, func(key []byte) {
		slot, created := t.put(batch.HashKey(key), key)
		if !created {
			r.old[len(slots)>>6] |= 1 << (len(slots) & 63)
			for i := range t.cols {
				if c := &t.cols[i]; c.kind == batch.KindBytes {
					c.clearNull(slot) // the bytes may be left out
				} else {
					c.clear(slot)
				}
			}
		} else {
			for _, c := range t.starts {
				t.cols[c].clearNull(slot)
			}
		}
		slots = append(slots, slot)
	})
	r.keys(gone, nil, func(key []byte) {
		if slot, ok := t.Find(batch.HashKey(key), key); ok {
			t.deleteUntracked(slot)
		}
	})
	for i := 0; i < len(t.types) && n > 0 && r.err == nil; i++ {
		t.cols[i].readValues(r, slots, t.capacity)
	}
	if r.err == nil && len(r.src) != r.off {
		r.fail("bytes follow the end")
	}
	if r.err == nil {
		return nil
	}
	return r.err
}

func (t *Table) checkTypes(r *reader) error {
	keyText := r.take(r.count())
	n := r.count()
	if r.err != nil {
		return r.err
	}
	if string(keyText) != t.keyText {
		return &SchemaError{What: fmt.Sprintf("keys are made of %.100q in the encoding and of %q in the table", keyText, t.keyText)}
	}
	if n != len(t.types) {
		return &SchemaError{What: fmt.Sprintf("encoding has %d value columns, the table %d", n, len(t.types))}
	}
	for i, typ := range t.types {
		text := r.take(r.count())
		if r.err != nil {
			return r.err
		}
		if want := typ.Nullable().String(); string(text) != want {
			return &SchemaError{What: fmt.Sprintf("column %d is %.100q in the encoding and %s in the table", i, text, want)}
		}
	}
	return nil
}

// clearEntries drops all entries and touched keys and keeps the epoch.
func (t *Table) clearEntries() {
	if t.used == 0 && len(t.dirty) == 0 {
		return
	}
	old := *t
	t.Reset()
	t.epoch, t.base, t.floor, t.now, t.applied = old.epoch, old.base, old.floor, old.now, old.applied
}

// deleteUntracked deletes without touching. A key that was touched before stays a tombstone.
func (t *Table) deleteUntracked(slot uint32) {
	now := t.now
	t.now = t.stamps[slot]
	t.Delete(slot)
	t.now = now
}

// reader takes apart an encoding; after the first failure everything it returns is zero and err says why.
type reader struct {
	src []byte
	off int
	err error
	key []byte
	old []uint64 // bit per entry that is read: it was there before
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = &CorruptError{Offset: r.off, What: what}
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.src)-r.off {
		r.fail("it ends early")
		return nil
	}
	b := r.src[r.off : r.off+n]
	r.off += n
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.src[r.off:])
	if n <= 0 {
		r.fail("bad number")
		return 0
	}
	r.off += n
	return v
}

// count reads a number of things of which each takes at least a byte.
func (r *reader) count() int {
	v := r.uvarint()
	if r.err == nil && v > uint64(len(r.src)-r.off) {
		r.fail("a count exceeds what follows")
	}
	if r.err != nil {
		return 0
	}
	return int(v)
}

// keys reads n keys, strictly ascending, and gives each to use, which must not keep it.
func (r *reader) keys(n int, check func([]byte) error, use func(key []byte)) {
	if n == 0 || r.err != nil {
		return
	}
	form := r.byte()
	switch {
	case form == keysBigint:
		r.bigintKeys(n, check, use)
	case form == keysFront:
		r.frontKeys(n, check, use)
	default:
		r.fail("unknown form of keys")
	}
}

func (r *reader) bigintKeys(n int, check func([]byte) error, use func(key []byte)) {
	first := r.take(8)
	if r.err != nil {
		return
	}
	r.key = append(append(r.key[:0], 1), first...)
	v := binary.BigEndian.Uint64(first)
	for i := 0; ; {
		r.checkAndUse(check, use)
		if i++; i == n || r.err != nil {
			return
		}
		d := r.uvarint()
		if d == 0 || d > math.MaxUint64-v {
			r.fail("keys are not ascending")
			return
		}
		v += d
		binary.BigEndian.PutUint64(r.key[1:], v)
	}
}

func (r *reader) frontKeys(n int, check func([]byte) error, use func(key []byte)) {
	r.key = r.key[:0]
	for i := range n {
		shared := r.uvarint()
		rest := r.take(r.count())
		if r.err == nil && (shared > uint64(len(r.key)) || shared > sharedMax) {
			r.fail("a key shares more than there is")
		}
		if r.err == nil && i > 0 && bytes.Compare(rest, r.key[shared:]) <= 0 {
			r.fail("keys are not ascending")
		}
		if r.err != nil {
			return
		}
		r.key = append(r.key[:shared], rest...)
		r.checkAndUse(check, use)
	}
}

func (r *reader) checkAndUse(check func([]byte) error, use func(key []byte)) {
	if check != nil {
		if err := check(r.key); err != nil {
			r.fail(err.Error())
			return
		}
	}
	use(r.key)
}

func (c *column) readValues(r *reader, slots []uint32, capacity uint32) {
	form := r.byte()
	if form&^(valuesNull|valuesLeftOut) != 0 || form&valuesLeftOut != 0 && c.kind != batch.KindBytes {
		r.fail("unknown form of values")
	}
	if form == 0 {
		c.readNotNull(r, slots)
		return
	}
	var nulls, leftOut []byte
	if form&valuesNull != 0 {
		nulls = r.take((len(slots) + 7) / 8)
	}
	if form&valuesLeftOut != 0 {
		leftOut = r.take((len(slots) + 7) / 8)
	}
	if r.err != nil {
		return
	}
	given := make([]uint32, 0, len(slots))
	for i, slot := range slots {
		switch {
		case nulls != nil && nulls[i>>3]>>(i&7)&1 != 0:
			c.clear(slot)
			c.setNull(slot, capacity)
		case leftOut == nil || leftOut[i>>3]>>(i&7)&1 == 0:
			given = append(given, slot)
		case r.old[i>>6]>>(i&63)&1 == 0:
			r.fail("bytes of a new entry are left out")
			return
		}
	}
	c.readNotNull(r, given)
}

func (c *column) readNotNull(r *reader, slots []uint32) {
	switch c.kind {
	case batch.KindInt64:
		readInts(r, slots, func(slot uint32, v int64) { c.int64s[slot] = v })
	case batch.KindFloat64:
		src := r.take(8 * len(slots))
		for i := 0; len(src) >= 8; i, src = i+1, src[8:] {
			c.float64s[slots[i]] = math.Float64frombits(binary.LittleEndian.Uint64(src))
		}
	case batch.KindBool:
		src := r.take((len(slots) + 7) / 8)
		if r.err != nil {
			return
		}
		for i, slot := range slots {
			c.bools[slot] = src[i>>3]>>(i&7)&1 != 0
		}
	case batch.KindDecimal:
		c.readDecs(r, slots)
	default:
		c.readBytes(r, slots)
	}
}

func readInts(r *reader, slots []uint32, set func(slot uint32, v int64)) {
	if len(slots) == 0 || r.err != nil {
		return
	}
	least, n := binary.Varint(r.src[r.off:])
	if n <= 0 {
		r.fail("bad number")
		return
	}
	r.off += n
	width := int(r.byte())
	if width > 8 {
		r.fail("a number is wider than 8 bytes")
	}
	src := r.take(width * len(slots))
	if r.err != nil {
		return
	}
	mask := uint64(math.MaxUint64)
	if width < 8 {
		mask = 1<<(8*width) - 1
	}
	for i, slot := range slots {
		var v uint64
		if at := src[i*width:]; len(at) >= 8 {
			v = binary.LittleEndian.Uint64(at) & mask
		} else {
			for k := width - 1; k >= 0; k-- {
				v = v<<8 | uint64(at[k])
			}
		}
		set(slot, int64(uint64(least)+v))
	}
}

func (c *column) readDecs(r *reader, slots []uint32) {
	if len(slots) == 0 {
		return
	}
	switch r.byte() {
	case 0:
		src := r.take(16 * len(slots))
		for i := 0; len(src) >= 16; i, src = i+1, src[16:] {
			c.decs[slots[i]] = batch.Dec{Hi: int64(binary.LittleEndian.Uint64(src)), Lo: binary.LittleEndian.Uint64(src[8:])}
		}
	case 1:
		readInts(r, slots, func(slot uint32, v int64) { c.decs[slot] = batch.Dec{Hi: v >> 63, Lo: uint64(v)} })
	default:
		r.fail("unknown form of decimals")
	}
}

func (c *column) readBytes(r *reader, slots []uint32) {
	lens := *r
	total := uint64(0)
	for range slots {
		total += uint64(r.count())
	}
	if r.err == nil && total > uint64(len(r.src)-r.off) {
		r.fail("byte values are longer than what follows")
	}
	if r.err != nil {
		return
	}
	if n := int(total); n > cap(c.bytes.data)-len(c.bytes.data) {
		c.bytes.makeRoom(n)
	}
	for _, slot := range slots {
		c.bytes.set(slot, r.take(lens.count()))
	}
}
