package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// tableNameMax is the longest name of a table, in bytes.
const tableNameMax = 255

// Group is all state of one key group of a stage: its tables, in the order of their registration, and the current key that
// Value, Map and List are scoped by. It is not safe for concurrent use.
type Group struct {
	tables []*Table
	names  []string

	hash    uint64 // of key
	key     []byte // the current key, owned by the caller of SetKey
	keyed   bool
	scoped  bool   // scope is up to date
	scope   []byte // the current key as appendScope writes it
	scratch []byte // a key being put together
	idle    []*iteration
}

// Registrar is what state is registered with: a Group, or an operator's setup that leads to one.
type Registrar interface {
	// State is the key group's state.
	State() *Group
}

// NewGroup makes a group without tables.
func NewGroup() *Group { return &Group{} }

// State is the group itself.
func (g *Group) State() *Group { return g }

// Register adds an empty table. All tables are registered before the first Begin or Apply, the same ones in the same order
// in every key group and every run of a plan. A name that is taken, empty or longer than 255 bytes is an error, and so is a
// column without a type. cols is kept, not copied, so that all key groups can share it.
func (g *Group) Register(name string, cols []batch.Type) (*Table, error) {
	if name == "" || len(name) > tableNameMax {
		return nil, fmt.Errorf("state: a table's name has 1 to %d bytes, %q has %d", tableNameMax, name, len(name))
	}
	if g.Table(name) != nil {
		return nil, fmt.Errorf("state %q is registered twice: give each Value, Map, List and table of an operator its own name", name)
	}
	for i, c := range cols {
		if c.ID == batch.Invalid || c.ID > batch.IntervalYM {
			return nil, fmt.Errorf("state %q: column %d has no type", name, i)
		}
	}
	t := NewTable(cols)
	g.tables, g.names = append(g.tables, t), append(g.names, name)
	return t, nil
}

// Table is the table of that name, or nil.
func (g *Group) Table(name string) *Table {
	for i, n := range g.names {
		if n == name {
			return g.tables[i]
		}
	}
	return nil
}

// SetKey makes key, with its routing hash (batch.HashKey of it), the current key. key is not copied: it must stay as it is
// until the next SetKey or ClearKey.
func (g *Group) SetKey(hash uint64, key []byte) {
	g.hash, g.key, g.keyed, g.scoped = hash, key, true, false
}

// ClearKey ends the current key: using a Value, Map or List panics until the next SetKey.
func (g *Group) ClearKey() { g.hash, g.key, g.keyed, g.scoped = 0, nil, false, false }

// Begin makes epoch current in all tables; see Table.Begin.
func (g *Group) Begin(epoch topology.Epoch) {
	for _, t := range g.tables {
		t.Begin(epoch)
	}
}

// Acknowledge says that all vaults hold everything up to and including epoch c; see Table.Acknowledge.
func (g *Group) Acknowledge(c topology.Epoch) {
	for _, t := range g.tables {
		t.Acknowledge(c)
	}
}

// The encoding of a group: version 1 byte, 1; flags 1 byte, bit 0 base; number of tables (uvarint); per table its name and its
// encoding, each with its length (uvarint) in front. A delta leaves out tables in which nothing was touched.

// CanDelta says whether AppendDelta from that epoch gives a delta rather than a base.
func (g *Group) CanDelta(from topology.Epoch) bool {
	for _, t := range g.tables {
		if !t.CanDelta(from) {
			return false
		}
	}
	return true
}

// AppendDelta appends what changed after epoch from in all tables, or a base when that is no longer known in one of them; see
// Table.AppendDelta.
func (g *Group) AppendDelta(dst []byte, from topology.Epoch) []byte {
	if !g.CanDelta(from) {
		return g.AppendBase(dst)
	}
	var live, gone []uint32
	touched := 0
	for _, t := range g.tables {
		if live, gone = t.touchedSince(from, live[:0], gone[:0]); len(live)+len(gone) > 0 {
			touched++
		}
	}
	dst = append(dst, formatVersion, 0)
	dst = binary.AppendUvarint(dst, uint64(touched))
	for i, t := range g.tables {
		if live, gone = t.touchedSince(from, live[:0], gone[:0]); len(live)+len(gone) > 0 {
			dst = appendString(dst, g.names[i])
			dst = appendSized(dst, func(b []byte) []byte { return t.appendEncoding(b, live, gone, 0) })
		}
	}
	return dst
}

// AppendBase appends the encoding of all entries of all tables.
func (g *Group) AppendBase(dst []byte) []byte {
	dst = append(dst, formatVersion, flagBase)
	dst = binary.AppendUvarint(dst, uint64(len(g.tables)))
	for i, t := range g.tables {
		dst = appendString(dst, g.names[i])
		dst = appendSized(dst, t.AppendBase)
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// appendSized appends what add appends, with its length in front.
func appendSized(dst []byte, add func([]byte) []byte) []byte {
	start := len(dst)
	dst = add(dst)
	n := len(dst) - start
	var head [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(head[:], uint64(n))
	dst = append(dst, head[:w]...)
	copy(dst[start+w:], dst[start:start+n])
	copy(dst[start:], head[:w])
	return dst
}

// Apply reads what AppendDelta or AppendBase of a group with the same tables wrote; see Table.Apply. Errors name the table.
func (g *Group) Apply(src []byte) error {
	r := &reader{src: src}
	version, flags, n := r.byte(), r.byte(), r.count()
	if r.err != nil {
		return r.err
	}
	if version != formatVersion || flags&^flagBase != 0 {
		return &SchemaError{What: fmt.Sprintf("encoding has version %d, flags %#x; this release reads version %d", version, flags, formatVersion)}
	}
	seen := make([]bool, len(g.tables))
	for range n {
		name := r.take(r.count())
		block := r.take(r.count())
		if r.err != nil {
			return r.err
		}
		i := g.indexOf(name)
		if i < 0 {
			return &SchemaError{Table: fmt.Sprintf("%.100s", name), What: "it is in the encoding but not registered"}
		}
		if seen[i] {
			return &CorruptError{Table: g.names[i], Offset: r.off, What: "the table is there twice"}
		}
		seen[i] = true
		if err := g.tables[i].Apply(block); err != nil {
			return named(err, g.names[i])
		}
	}
	if len(r.src) != r.off {
		r.fail("bytes follow the end")
		return r.err
	}
	for i := range seen {
		if flags&flagBase != 0 && !seen[i] {
			return &SchemaError{Table: g.names[i], What: "it is registered but not in the encoding"}
		}
	}
	return nil
}

func (g *Group) indexOf(name []byte) int {
	for i, n := range g.names {
		if n == string(name) {
			return i
		}
	}
	return -1
}

func named(err error, table string) error {
	var schema *SchemaError
	var corrupt *CorruptError
	switch {
	case errors.As(err, &schema):
		return &SchemaError{Table: table, What: schema.What}
	case errors.As(err, &corrupt):
		return &CorruptError{Table: table, Offset: corrupt.Offset, What: corrupt.What}
	}
	return fmt.Errorf("state %q: %w", table, err)
}

// Hash is a hash of the entries of all tables with the tables' names: see Table.Hash.
func (g *Group) Hash() uint64 {
	h := uint64(len(g.tables))
	for i, t := range g.tables {
		name := unsafe.Slice(unsafe.StringData(g.names[i]), len(g.names[i]))
		h = batch.Mix(batch.Mix(h, batch.HashKey(name)), t.Hash())
	}
	return h
}

// Reload replaces the contents of all tables by what their encoding decodes to, and keeps what was touched: afterwards
// nothing may be different but slot numbers. Paranoid mode calls it between epochs.
func (g *Group) Reload() error {
	for i, t := range g.tables {
		if err := t.reload(); err != nil {
			return named(err, g.names[i])
		}
	}
	return nil
}

// Reset empties all tables and frees their memory; the tables and the structures over them stay registered.
func (g *Group) Reset() {
	for _, t := range g.tables {
		t.Reset()
	}
	g.ClearKey()
}

// Len is the number of entries of all tables.
func (g *Group) Len() int {
	n := 0
	for _, t := range g.tables {
		n += t.Len()
	}
	return n
}

// TouchedLen is the number of keys touched and not yet acknowledged, of all tables.
func (g *Group) TouchedLen() int {
	n := 0
	for _, t := range g.tables {
		n += t.TouchedLen()
	}
	return n
}

// MemBytes is the memory that the group takes, in bytes, capacity counted.
func (g *Group) MemBytes() int {
	n := int(unsafe.Sizeof(*g)) + cap(g.scope) + cap(g.scratch)
	for _, t := range g.tables {
		n += t.MemBytes()
	}
	return n
}

// current is the current key and its hash, for the structure called name.
func (g *Group) current(name string) (hash uint64, key []byte) {
	if !g.keyed {
		panic(fmt.Sprintf("state %q was used where there is no current key: use it while a row or a timer of a key is processed", name))
	}
	return g.hash, g.key
}

// scopeOf is the current key as scoped tables have it, valid until the next SetKey.
func (g *Group) scopeOf(name string) []byte {
	if !g.scoped {
		_, key := g.current(name)
		g.scope, g.scoped = appendScope(g.scope[:0], key), true
	}
	return g.scope
}
