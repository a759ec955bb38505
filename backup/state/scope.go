package state

import (
	"encoding/binary"
	"errors"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// The keys of a scoped table start with a scope: the length of the current key (uvarint) and the current key. scopes finds
// the entries of one scope without looking at the others. It is derived from the entries and in no encoding.
type scopes struct {
	heads      *Table   // by current key; scopeHead and scopeCount
	next, prev []uint32 // by slot: slot + 1 of the neighbour in its scope, 0 at the ends
}

const (
	scopeHead  = 0 // slot + 1 of the scope's first entry
	scopeCount = 1 // number of the scope's entries
)

var scopeColumns = []batch.Type{batch.TypeBigInt, batch.TypeBigInt}

var errScope = errors.New("a key does not start with a current key")

func newScopes() *scopes { return &scopes{heads: NewTable(scopeColumns)} }

// trackScopes makes an empty table a scoped one.
func (t *Table) trackScopes() { t.scopes = newScopes() }

// appendScope appends the scope that current is the key of.
func appendScope(dst, current []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(current)))
	return append(dst, current...)
}

// cutScope takes a key of a scoped table apart.
func cutScope(key []byte) (current, rest []byte, ok bool) {
	n, w := binary.Uvarint(key)
	if w <= 0 || n > uint64(len(key)-w) {
		return nil, nil, false
	}
	return key[w : w+int(n)], key[w+int(n):], true
}

func (s *scopes) grow(capacity uint32) {
	s.next, s.prev = resized(s.next, int(capacity)), resized(s.prev, int(capacity))
}

func (s *scopes) link(key []byte, slot uint32) {
	current, _, ok := cutScope(key)
	if !ok {
		return // only a Table used beside its Map or List could hold such a key
	}
	at, _ := s.heads.put(batch.HashKey(current), current)
	head := &s.heads.Int64s(scopeHead)[at]
	s.prev[slot], s.next[slot] = 0, uint32(*head)
	if *head != 0 {
		s.prev[*head-1] = slot + 1
	}
	*head = int64(slot + 1)
	s.heads.Int64s(scopeCount)[at]++
}

func (s *scopes) unlink(key []byte, slot uint32) {
	current, _, ok := cutScope(key)
	if !ok {
		return
	}
	at, ok := s.heads.Find(batch.HashKey(current), current)
	if !ok {
		return
	}
	before, after := s.prev[slot], s.next[slot]
	if before != 0 {
		s.next[before-1] = after
	} else {
		s.heads.Int64s(scopeHead)[at] = int64(after)
	}
	if after != 0 {
		s.prev[after-1] = before
	}
	s.prev[slot], s.next[slot] = 0, 0
	count := &s.heads.Int64s(scopeCount)[at]
	if *count--; *count == 0 {
		s.heads.Delete(at)
	}
}

// len is the number of entries in the scope of a current key.
func (s *scopes) len(hash uint64, current []byte) int {
	if at, ok := s.heads.Find(hash, current); ok {
		return int(s.heads.Int64s(scopeCount)[at])
	}
	return 0
}

// appendSlots appends the slots of the scope's entries, in no particular order.
func (s *scopes) appendSlots(dst []uint32, hash uint64, current []byte) []uint32 {
	at, ok := s.heads.Find(hash, current)
	if !ok {
		return dst
	}
	for n := s.heads.Int64s(scopeHead)[at]; n != 0; n = int64(s.next[n-1]) {
		dst = append(dst, uint32(n-1))
	}
	return dst
}

func (s *scopes) memBytes() int { return s.heads.MemBytes() + 4*cap(s.next) + 4*cap(s.prev) }
