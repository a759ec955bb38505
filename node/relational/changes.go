package relational

import (
	"bytes"
	"math"

	"github.com/seepnode/seepnode/dataplane/batch"
)

// touchedKeys are the keys touched in a key group's epoch, in order of their first touch, with their results before it.
type touchedKeys struct {
	slots []uint32
	had   []bool         // whether the key had a result before the epoch
	old   []batch.Column // results before the epoch, one column a call
	now   []batch.Column // results after it

	marks []uint32 // by slot: the generation in which it was touched
	gen   uint32

	saved   int // keys whose old results are in old
	changed []bool
	emit    []uint32 // index in slots, times two, plus one for the new result
}

func (t *touchedKeys) init(calls []*call) {
	t.gen = 1
	t.old, t.now = make([]batch.Column, len(calls)), make([]batch.Column, len(calls))
	for i, c := range calls {
		t.old[i].Init(c.Type)
		t.now[i].Init(c.Type)
	}
}

// add notes the keys of some rows; created are the rows that created their key's entry.
func (t *touchedKeys) add(slots, created []uint32) {
	for i, slot := range slots {
		if int(slot) >= len(t.marks) {
			t.marks = extended(t.marks, int(slot)+1)
		}
		if t.marks[slot] == t.gen {
			continue
		}
		t.marks[slot] = t.gen
		for len(created) > 0 && int(created[0]) < i {
			created = created[1:]
		}
		t.slots = append(t.slots, slot)
		t.had = append(t.had, len(created) == 0 || int(created[0]) != i)
	}
}

func (t *touchedKeys) reset() {
	if t.gen++; t.gen == 0 {
		clear(t.marks)
		t.gen = 1
	}
	t.slots, t.had, t.saved = t.slots[:0], t.had[:0], 0
	for i := range t.old {
		t.old[i].Reset()
	}
}

// saveOld puts aside the results of the keys that were touched since the last call, before anything is added to them.
func (k *aggregateKernel) saveOld(d *aggregateGroup) error {
	t := &k.touched
	if t.saved == len(t.slots) {
		return nil
	}
	fresh := t.slots[t.saved:]
	if k.rowCount >= 0 {
		for i, s := range fresh {
			t.had[t.saved+i] = t.had[t.saved+i] && k.exists(s)
		}
	}
	t.saved = len(t.slots)
	for i, c := range k.calls {
		if err := k.appendResults(&t.old[i], d, c, fresh); err != nil {
			return err
		}
	}
	return nil
}

// emitChanges emits the net change of the touched keys: the old result's retraction, then the new one.
func (k *aggregateKernel) emitChanges(d *aggregateGroup, out *batch.Batch) error {
	t := &k.touched
	t.changed = extended(t.changed[:0], len(t.slots))
	for i, c := range k.calls {
		t.now[i].Reset()
		if err := k.appendResults(&t.now[i], d, c, t.slots); err != nil {
			return err
		}
		markChanged(t.changed, &t.old[i], &t.now[i])
	}
	t.emit = t.emit[:0]
	for i, s := range t.slots {
		exists := k.exists(s)
		if t.had[i] && (t.changed[i] || !exists) {
			t.emit = append(t.emit, uint32(i)<<1)
		}
		if exists && (t.changed[i] || !t.had[i]) {
			t.emit = append(t.emit, uint32(i)<<1|1)
		}
	}
	for i := range t.now {
		appendChosen(&out.Cols[len(k.keyOut)+i], &t.old[i], &t.now[i], t.emit)
	}
	k.emitSlots = k.emitSlots[:0]
	for _, e := range t.emit {
		k.emitSlots = append(k.emitSlots, t.slots[e>>1])
	}
	if err := k.appendKeys(out, d, k.emitSlots); err != nil {
		return err
	}
	for _, e := range t.emit {
		w := batch.Retract
		if e&1 != 0 {
			w = batch.Insert
		}
		out.EndRow(w)
	}
	return nil
}

// appendChosen appends, for each of emit, row emit>>1 of old or, when emit is odd, of now.
func appendChosen(out, old, now *batch.Column, emit []uint32) {
	if len(old.Nulls) == 0 && len(now.Nulls) == 0 {
		switch out.Kind() {
		case batch.KindInt64:
			for _, e := range emit {
				v := old.Int64s[e>>1]
				if e&1 != 0 {
					v = now.Int64s[e>>1]
				}
				out.Int64s = append(out.Int64s, v)
			}
			return
		case batch.KindFloat64:
			for _, e := range emit {
				v := old.Float64s[e>>1]
				if e&1 != 0 {
					v = now.Float64s[e>>1]
				}
				out.Float64s = append(out.Float64s, v)
			}
			return
		}
	}
	for _, e := range emit {
		if e&1 != 0 {
			out.AppendFrom(now, int(e>>1))
		} else {
			out.AppendFrom(old, int(e>>1))
		}
	}
}

// markChanged sets changed[i] where row i of a and b differ. Floats differ by their bits.
func markChanged(changed []bool, a, b *batch.Column) {
	switch a.Kind() {
	case batch.KindInt64:
		for i, v := range a.Int64s {
			changed[i] = changed[i] || v != b.Int64s[i]
		}
	case batch.KindFloat64:
		for i, v := range a.Float64s {
			changed[i] = changed[i] || math.Float64bits(v) != math.Float64bits(b.Float64s[i])
		}
	case batch.KindBool:
		for i, v := range a.Bools {
			changed[i] = changed[i] || v != b.Bools[i]
		}
	case batch.KindDecimal:
		for i, v := range a.Decs {
			changed[i] = changed[i] || v != b.Decs[i]
		}
	case batch.KindBytes:
		for i := range changed {
			changed[i] = changed[i] || !bytes.Equal(a.Bytes(i), b.Bytes(i))
		}
	}
	if len(a.Nulls) == 0 && len(b.Nulls) == 0 {
		return
	}
	for i := range changed {
		changed[i] = changed[i] || a.IsNull(i) != b.IsNull(i)
	}
}
