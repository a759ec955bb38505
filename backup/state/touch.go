package state

import (
	"unsafe"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	tableBytes  = int(unsafe.Sizeof(Table{}))
	columnBytes = int(unsafe.Sizeof(column{}))
)

// Begin makes epoch the one that touches belong to; epochs never go back (it panics if they do). Epochs without input need
// no Begin. Before the first Begin nothing is tracked: deletions free their slot at once and AppendDelta gives a base; that
// is how a restore fills a table, and how a query without checkpoints runs.
func (t *Table) Begin(epoch topology.Epoch) {
	if t.now == 0 {
		if t.floor == floorNone && (t.used > 0 || t.applied) {
			t.floor = epoch - 1 // what was there is what the state was before this epoch
		}
	} else if epoch < t.epoch {
		panic("state: an epoch began before the one that is current")
	}
	t.epoch = epoch
	if len(t.dirty) == 0 {
		t.base = epoch - 1
	}
	t.now = uint32(min(epoch-t.base, stampMax))
}

// Touch marks the entry as changed in the current epoch: to be called before or after its columns are written directly.
func (t *Table) Touch(slot uint32) {
	if t.stamps[slot] != t.now {
		t.touch(slot)
	}
}

func (t *Table) touch(slot uint32) {
	old := t.stamps[slot]
	if old&^deadBit == 0 && t.now != 0 {
		t.dirty = append(t.dirty, slot)
	}
	t.stamps[slot] = t.now | old&deadBit
}

// Acknowledge says that all vaults hold everything up to and including epoch c: what was last touched by then leaves the
// touched set, and its tombstones their slots. c has ended: nothing may be touched in it any more. Deltas from before c can
// no longer be made; see AppendDelta.
// A restored table is told the epoch it was restored to, so that deltas can start there.
func (t *Table) Acknowledge(c topology.Epoch) {
	t.floor = max(t.floor, c)
	if len(t.dirty) == 0 {
		return
	}
	c = min(c, t.epoch)
	if c <= t.base {
		return
	}
	past := uint64(c - t.base)
	kept := t.dirty[:0]
	for _, slot := range t.dirty {
		stamp, dead := t.stamps[slot]&^deadBit, t.stamps[slot]&deadBit
		switch {
		case stamp == stampMax && c < t.epoch: // older than can be told: it counts as touched now
			t.stamps[slot] = uint32(min(t.epoch-c, stampMax)) | dead
			kept = append(kept, slot)
		case uint64(stamp) > past:
			t.stamps[slot] = stamp - uint32(past) | dead
			kept = append(kept, slot)
		default:
			t.stamps[slot] = dead
			for i := range t.cols {
				t.cols[i].clearChanged(slot)
			}
			if dead != 0 {
				if pos, ok := t.position(slot); ok {
					t.release(pos, slot)
				}
			}
		}
	}
	t.dirty = kept
	t.base = c
	t.now = uint32(min(t.epoch-t.base, stampMax))
	if t.now == 0 { // nothing is left, since c is the current epoch; 0 would end the tracking
		t.base, t.now = c-1, 1
	}
}

// touchedSince appends to live and gone the slots last touched after epoch from, in no particular order.
func (t *Table) touchedSince(from topology.Epoch, live, gone []uint32) (l, g []uint32) {
	if from >= t.epoch {
		return live, gone
	}
	past := uint64(0)
	if from > t.base {
		past = uint64(from - t.base)
	}
	for _, slot := range t.dirty {
		stamp, dead := t.stamps[slot]&^deadBit, t.stamps[slot]&deadBit != 0
		if uint64(stamp) <= past && stamp != stampMax {
			continue
		}
		if dead {
			gone = append(gone, slot)
		} else {
			live = append(live, slot)
		}
	}
	return live, gone
}

// TouchedLen is the number of keys touched and not yet acknowledged: the most entries that the next delta can have.
func (t *Table) TouchedLen() int { return len(t.dirty) }

// reload replaces the contents by what their encoding decodes to and keeps what was touched.
func (t *Table) reload() error {
	type mark struct {
		end     int
		stamp   uint32
		changed []int // columns
	}
	var names []byte
	marks := make([]mark, 0, len(t.dirty))
	for _, slot := range t.dirty {
		names = append(names, t.keys.get(slot)...)
		m := mark{end: len(names), stamp: t.stamps[slot]}
		for i := range t.cols {
			if t.cols[i].hasChanged(slot) {
				m.changed = append(m.changed, i)
			}
		}
		marks = append(marks, m)
	}
	encoded := t.AppendBase(nil)
	old := *t
	t.Reset()
	if err := t.Apply(encoded); err != nil {
		return err
	}
	t.epoch, t.base, t.floor, t.now, t.applied = old.epoch, old.base, old.floor, old.now, old.applied
	from := 0
	for _, m := range marks {
		key := names[from:m.end]
		from = m.end
		slot, _ := t.put(batch.HashKey(key), key)
		t.stamps[slot] = m.stamp &^ deadBit
		t.dirty = append(t.dirty, slot)
		for i := range t.cols {
			t.cols[i].clearChanged(slot)
		}
		for _, i := range m.changed {
			t.cols[i].setChanged(slot, t.capacity)
		}
		if m.stamp&deadBit != 0 {
			now := t.now
			t.now = m.stamp &^ deadBit
			t.Delete(slot)
			t.now = now
		}
	}
	return nil
}
