package relational

import (
	"bytes"

	"github.com/seepnode/seepnode/backup/state"
)

// ordered holds some slots of a table in the order of their keys, in a treap over arrays: adding, removing and finding take
// O(log n) comparisons of keys. It is derived from the table and in no encoding; its shape, which follows from slot numbers,
// shows in nothing that it answers. A slot must be removed before its entry is deleted.
type ordered struct {
	table       *state.Table
	root        uint32   // slot + 1, 0 for none; so are all links
	left, right []uint32 // by slot
}

func newOrdered(t *state.Table) *ordered { return &ordered{table: t} }

// rank is the heap order of the treap: distinct for distinct nodes.
func rank(node uint32) uint32 {
	h := node * 0x9E3779B1
	h ^= h >> 15
	return h * 0x85EBCA77
}

func (o *ordered) key(node uint32) []byte { return o.table.Key(node - 1) }

func (o *ordered) add(slot uint32) {
	if int(slot) >= len(o.left) {
		o.left, o.right = extended(o.left, int(slot)+1), extended(o.right, int(slot)+1)
	}
	node, key := slot+1, o.table.Key(slot)
	link := &o.root
	for *link != 0 && rank(*link) >= rank(node) {
		if bytes.Compare(key, o.key(*link)) < 0 {
			link = &o.left[*link-1]
		} else {
			link = &o.right[*link-1]
		}
	}
	below := *link
	*link = node
	o.split(below, key, &o.left[slot], &o.right[slot])
}

// split puts the nodes below that are less than key into less, the others into more.
func (o *ordered) split(below uint32, key []byte, less, more *uint32) {
	for below != 0 {
		if bytes.Compare(o.key(below), key) < 0 {
			*less = below
			less = &o.right[below-1]
			below = *less
		} else {
			*more = below
			more = &o.left[below-1]
			below = *more
		}
	}
	*less, *more = 0, 0
}

// remove takes out a slot that was added.
func (o *ordered) remove(slot uint32) {
	node, key := slot+1, o.table.Key(slot)
	link := &o.root
	for *link != node {
		if *link == 0 {
			return
		}
		if bytes.Compare(key, o.key(*link)) < 0 {
			link = &o.left[*link-1]
		} else {
			link = &o.right[*link-1]
		}
	}
	a, b := o.left[slot], o.right[slot]
	o.left[slot], o.right[slot] = 0, 0
	for a != 0 && b != 0 {
		if rank(a) >= rank(b) {
			*link = a
			link = &o.right[a-1]
			a = *link
		} else {
			*link = b
			link = &o.left[b-1]
			b = *link
		}
	}
	*link = a | b
}

// first is the slot of the least key that is not less than bound.
func (o *ordered) first(bound []byte) (slot uint32, ok bool) {
	found := uint32(0)
	for node := o.root; node != 0; {
		if bytes.Compare(o.key(node), bound) >= 0 {
			found, node = node, o.left[node-1]
		} else {
			node = o.right[node-1]
		}
	}
	return found - 1, found != 0
}

// last is the slot of the greatest key that is less than bound.
func (o *ordered) last(bound []byte) (slot uint32, ok bool) {
	found := uint32(0)
	for node := o.root; node != 0; {
		if bytes.Compare(o.key(node), bound) < 0 {
			found, node = node, o.right[node-1]
		} else {
			node = o.left[node-1]
		}
	}
	return found - 1, found != 0
}
