package relational

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
)

// The table of counted values has an entry per (key, call, value) with the number of the key's rows that hold the value. Its
// keys are the key's canonical bytes escaped (0 -> 0 255, end 0 1), the call's number in two bytes, and the value's canonical
// bytes: so all values of a key's call stand together in their order.
//
// DISTINCT adds a value to its accumulator when the count leaves 0 and takes it off when the count returns there. MIN and MAX
// over updates find the first or last value of theirs in an ordered index of the values whose count is positive: a row costs
// O(log n) comparisons when its value appears or vanishes, n being the number of such values in the key group, and O(1)
// otherwise; a touched key costs O(log n) for its old result and for the new one. Window keeps the values of DISTINCT in the
// index as well, to find those of a window that fires.

var countType = []batch.Type{batch.TypeBigInt}

// appendValuePrefix appends what all entries of a key's call begin with.
func appendValuePrefix(dst, key []byte, call int) []byte {
	for _, x := range key {
		if x == 0 {
			dst = append(dst, 0, 255)
		} else {
			dst = append(dst, x)
		}
	}
	return binary.BigEndian.AppendUint16(append(dst, 0, 1), uint16(call))
}

// cutValuePrefix gives the call and the value of an entry's key.
func cutValuePrefix(key []byte) (call int, value []byte, ok bool) {
	for i := 0; i+3 < len(key); i++ {
		if key[i] != 0 {
			continue
		}
		if key[i+1] == 1 {
			return int(binary.BigEndian.Uint16(key[i+2:])), key[i+4:], true
		}
		i++
	}
	return 0, nil, false
}

// feedValues counts the values of rows [from, to) for a call that needs them one by one.
func (k *aggregateKernel) feedValues(d *aggregateGroup, c *call, slots []uint32, b *batch.Batch, from, to int) {
	w := c.weigh(b, from, to, &k.raw.weights)
	arg := &b.Cols[c.Arg]
	one := [1]int8{}
	for i, s := range slots {
		weight := int8(1)
		if w != nil {
			if weight = w[i]; weight == 0 {
				continue
			}
		}
		k.valueKey = appendValuePrefix(k.valueKey[:0], d.table.Key(s), c.number)
		k.valueKey = batch.AppendKeyColumn(k.valueKey, arg, from+i, true)
		slot, _ := d.values.Upsert(batch.HashKey(k.valueKey), k.valueKey)
		counts := d.values.Int64s(0)
		before := counts[slot]
		after := before + int64(weight)
		counts[slot] = after
		if change := changeOfPresence(before, after); change != 0 {
			switch {
			case d.order == nil || !c.multiset && k.spec.Mode != plan.Window:
			case change > 0:
				d.order.add(slot)
			default:
				d.order.remove(slot)
			}
			if !c.multiset {
				one[0] = change
				addOnes(k.acc.cols[c.at], slots[i:i+1], one[:])
				if c.fn != count {
					c.addValues(k.acc.cols[c.at:], slots[i:i+1], arg, from+i, from+i+1, one[:])
				}
			}
		}
		if after == 0 {
			d.values.Delete(slot)
		}
	}
}

// changeOfPresence is 1 when a count becomes positive, -1 when it ceases to be.
func changeOfPresence(before, after int64) int8 {
	switch {
	case before <= 0 && after > 0:
		return 1
	case before > 0 && after <= 0:
		return -1
	}
	return 0
}

// appendExtremes appends the least or greatest value of a multiset call for the keys in slots.
func (k *aggregateKernel) appendExtremes(out *batch.Column, d *aggregateGroup, c *call, slots []uint32) error {
	for _, s := range slots {
		k.valueKey = appendValuePrefix(k.valueKey[:0], d.table.Key(s), c.number)
		n := len(k.valueKey)
		var slot uint32
		var ok bool
		if c.fn == least {
			slot, ok = d.order.first(k.valueKey)
		} else {
			k.valueKey = appendValuePrefix(k.valueKey, d.table.Key(s), c.number+1)
			slot, ok = d.order.last(k.valueKey[n:])
		}
		if ok {
			ok = bytes.HasPrefix(d.values.Key(slot), k.valueKey[:n])
		}
		if !ok {
			out.AppendNull()
			continue
		}
		if _, err := batch.AppendKeyValue(out, d.values.Key(slot)[n:], true); err != nil {
			return fmt.Errorf("value in state: %w", err)
		}
	}
	return nil
}

// restoreOrder puts the values of multiset calls in order.
func (k *aggregateKernel) restoreOrder(d *aggregateGroup) error {
	for _, slot := range d.values.Sorted(nil, nil) {
		call, _, ok := cutValuePrefix(d.values.Key(slot))
		if !ok || call >= len(k.calls) {
			return fmt.Errorf("a value in state does not belong to any of the %d aggregates", len(k.calls))
		}
		if (k.calls[call].multiset || k.spec.Mode == plan.Window) && d.values.Int64s(0)[slot] > 0 {
			d.order.add(slot)
		}
	}
	return nil
}

// dropValues deletes the values of the keys in slots, which with AtEnd are all keys.
func (k *aggregateKernel) dropValues(d *aggregateGroup, slots []uint32) {
	if d.values == nil {
		return
	}
	if k.spec.Mode == plan.AtEnd {
		for _, slot := range d.values.Sorted(nil, nil) {
			d.values.Delete(slot)
		}
		if d.order != nil {
			d.order = newOrdered(d.values)
		}
		return
	}
	for _, s := range slots {
		k.valueKey = appendValuePrefix(k.valueKey[:0], d.table.Key(s), 0)
		prefix := k.valueKey[:len(k.valueKey)-2]
		for {
			slot, ok := d.order.first(prefix)
			if !ok || !bytes.HasPrefix(d.values.Key(slot), prefix) {
				break
			}
			d.order.remove(slot)
			d.values.Delete(slot)
		}
	}
}
