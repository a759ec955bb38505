package table

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// The encoding of what changed in a key group:
//
//	delta   version byte, 1 | byte 1 base (it replaces what is there), 0 otherwise | 8 bytes, hash of the table's columns and key | entries
//	entry   uvarint leading bytes shared with the key before | uvarint length of the rest, the rest | uvarint 0 tombstone, else 1 + length | row
//
// Entries ascend by key to the end of the bytes. Equal contents and equal changes give equal bytes.
const (
	deltaVersion = 1
	deltaHeader  = 2 + 8
	sharedMax    = 127 // bounds what a few bytes can decode to
)

// CorruptError says that bytes are no delta of this table: they were damaged or are something else.
type CorruptError struct {
	Table  string
	Group  topology.KeyGroup
	Offset int // bytes from the delta's start
	What   string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("table %s, key group %d: saved rows cannot be read at byte %d: %s", e.Table, e.Group, e.Offset, e.What)
}

// fingerprint tells tables of other columns or keys.
func (l *layout) fingerprint() uint64 {
	text := []byte("table 1")
	for i, f := range l.schema.Fields {
		text = fmt.Appendf(text, "|%d %q %s", slices.Index(l.key, i), f.Name, f.Type.Nullable())
	}
	return batch.HashKey(text)
}

// deltaEntry is where a delta's key and version are in a key group's data.
type deltaEntry struct{ key, version uint32 }

// appendDelta locks g only while it looks for what belongs to the delta: keys and rows stay where they are in data, which is replaced by
// another when it is compacted.
func (l *lane) appendDelta(dst []byte, g *group, from, through topology.Epoch) []byte {
	g.mu.RLock()
	data, base := g.data, from < g.floor || from == 0
	entries := l.deltas[:0]
	if base {
		entries = g.appendRows(entries, through)
	} else {
		entries = g.appendChanges(entries, from, through)
	}
	g.mu.RUnlock()
	slices.SortFunc(entries, func(a, b deltaEntry) int { return bytes.Compare(keyIn(data, a.key), keyIn(data, b.key)) })
	dst = append(dst, deltaVersion, 0)
	if base {
		dst[len(dst)-1] = 1
	}
	dst = binary.LittleEndian.AppendUint64(dst, l.layout.mark)
	var before []byte
	for _, e := range entries {
		key := keyIn(data, e.key)
		shared := 0
		for shared < min(len(before), len(key), sharedMax) && before[shared] == key[shared] {
			shared++
		}
		before = key
		dst = binary.AppendUvarint(dst, uint64(shared))
		dst = append(binary.AppendUvarint(dst, uint64(len(key)-shared)), key[shared:]...)
		if row, tombstone := rowIn(data, e.version); tombstone {
			dst = append(dst, 0)
		} else {
			dst = append(binary.AppendUvarint(dst, uint64(len(row)+1)), row...)
		}
	}
	l.deltas = nil
	if cap(entries) <= keepMax {
		l.deltas = entries[:0]
	}
	return dst
}

// appendRows appends all rows as of epoch through.
func (g *group) appendRows(dst []deltaEntry, through topology.Epoch) []deltaEntry {
	for entry, key := range g.keyAt {
		if key == none {
			continue
		}
		if _, at, tombstone := g.newest(uint32(entry), through); at != none && !tombstone {
			dst = append(dst, deltaEntry{key, at})
		}
	}
	return dst
}

// appendChanges appends what was written last in the epochs (from, through]; from is at or behind floor.
func (g *group) appendChanges(dst []deltaEntry, from, through topology.Epoch) []deltaEntry {
	for _, entry := range g.dirty {
		if epoch, at, _ := g.newest(entry, through); at != none && epoch > from {
			dst = append(dst, deltaEntry{g.keyAt[entry], at})
		}
	}
	return dst
}

// newest finds the newest version of an entry at epoch through; none without one.
func (g *group) newest(entry uint32, through topology.Epoch) (epoch topology.Epoch, at uint32, tombstone bool) {
	for at = g.head[entry]; at != none; {
		var older uint32
		if epoch, older, _, tombstone = versionIn(g.data, at); epoch <= through {
			return epoch, at, tombstone
		}
		at = older
	}
	return 0, none, false
}

// deltaReader goes through the entries of a delta.
type deltaReader struct {
	src   []byte
	at    int
	begun bool
	key   []byte
	row   []byte // nil when dead
	dead  bool
	what  string // what is wrong
}

// next reads an entry: key and row are valid until the next call. It is false at the end and when something is wrong.
func (r *deltaReader) next() bool {
	if r.at == len(r.src) {
		return false
	}
	shared, ok := r.number(uint64(min(len(r.key), sharedMax)))
	if !ok {
		return r.wrong("a key shares more than the one before has")
	}
	rest, ok := r.bytes()
	if !ok {
		return r.wrong("a key is cut off")
	}
	if tail := r.key[shared:]; r.begun && (bytes.Compare(rest, tail) <= 0 || shared < sharedMax && len(tail) > 0 && rest[0] == tail[0]) {
		return r.wrong("keys do not ascend")
	}
	r.begun = true
	r.key = append(r.key[:shared], rest...)
	size, ok := r.number(uint64(len(r.src)))
	if !ok || size > uint64(len(r.src)-r.at)+1 {
		return r.wrong("a row is cut off")
	}
	r.dead, r.row = size == 0, nil
	if !r.dead {
		r.row = r.src[r.at : r.at+int(size)-1]
		r.at += int(size) - 1
	}
	return true
}

func (r *deltaReader) number(limit uint64) (uint64, bool) {
	v, n := binary.Uvarint(r.src[r.at:])
	if n <= 0 || v > limit || n != uvarintLen(v) {
		return 0, false
	}
	r.at += n
	return v, true
}

func (r *deltaReader) bytes() ([]byte, bool) {
	size, ok := r.number(uint64(len(r.src)))
	if !ok || size > uint64(len(r.src)-r.at) {
		return nil, false
	}
	v := r.src[r.at : r.at+int(size)]
	r.at += int(size)
	return v, true
}

func (r *deltaReader) wrong(what string) bool {
	r.what = what
	return false
}

// apply adds a delta to g. It checks all of it before it changes anything.
func (l *lane) apply(g *group, number topology.KeyGroup, delta []byte, at topology.Epoch) error {
	corrupt := func(offset int, what string) error {
		return &CorruptError{Table: l.sink.config.Table, Group: number, Offset: offset, What: what}
	}
	switch {
	case len(delta) < deltaHeader || delta[1] > 1:
		return corrupt(0, "its head is cut off")
	case delta[0] != deltaVersion:
		return corrupt(0, fmt.Sprintf("version %d is not supported, %d is", delta[0], deltaVersion))
	case binary.LittleEndian.Uint64(delta[2:]) != l.layout.mark:
		return corrupt(2, "it is of a table with other columns or another primary key")
	}
	base := delta[1] == 1
	check := deltaReader{src: delta, at: deltaHeader}
	if l.scratch == nil {
		l.scratch = batch.New(l.layout.schema)
	}
	for offset := check.at; check.next(); offset = check.at {
		if base && check.dead {
			return corrupt(offset, "a tombstone among all rows")
		}
		if what := l.checkEntry(check.key, check.row, check.dead); what != "" {
			return corrupt(offset, what)
		}
	}
	if check.what != "" {
		return corrupt(check.at, check.what)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if base {
		g.reset()
	}
	g.floor = max(g.floor, at)
	r := deltaReader{src: delta, at: deltaHeader}
	for r.next() {
		hash := batch.HashKey(r.key)
		if r.dead {
			if _, entry, ok := g.find(hash, r.key); ok {
				g.live--
				g.remove(entry)
			}
			continue
		}
		entry, ok := g.entry(hash, r.key)
		if !ok || !g.restore(entry, at, r.row) {
			return &LimitError{Table: l.sink.config.Table, Group: number}
		}
	}
	g.last = max(g.last, at)
	g.tidy()
	return nil
}

const checkRows = 1024

// checkEntry says what is wrong with a key and its row, "" nothing: they must be what this package writes, to the byte.
func (l *lane) checkEntry(key, row []byte, dead bool) string {
	scratch := l.scratch
	if scratch.Len() >= checkRows {
		scratch.Reset()
	}
	if dead {
		row = l.layout.emptyRow()
	}
	if err := l.layout.decode(scratch, key, row); err != nil {
		l.scratch = nil // it may have part of the row
		return err.Error()
	}
	i := scratch.Len() - 1
	l.keyBytes = l.layout.appendKey(l.keyBytes[:0], scratch, i)
	l.rowBytes = l.layout.appendRow(l.rowBytes[:0], scratch, i)
	if !bytes.Equal(l.keyBytes, key) || !bytes.Equal(l.rowBytes, row) {
		return errBadRow.Error()
	}
	return ""
}

// emptyRow is a row of nulls.
func (l *layout) emptyRow() []byte {
	row := make([]byte, (len(l.values)+7)/8)
	for n := range l.values {
		row[n>>3] |= 1 << (n & 7)
	}
	return row
}
