package relational

import (
	"encoding/binary"
	"errors"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// timers are the timers of a key group's custom operator, in two tables: by (time, key, name), which is the order in which
// they fire, and by (key, name), which tells the time. Names with '#' cannot be those of an author's tables.
type timers struct {
	table  *state.Table // time in 8 ordered bytes, key escaped, name; no columns
	byName *state.Table // key escaped, name; time
	order  *ordered     // of table, derived
	atKey  []byte
	key    []byte
}

const (
	tableTimers      = "timers#time"
	tableTimerByName = "timers#name"
)

var (
	timerColumns = []batch.Type{}
	timeColumn   = []batch.Type{batch.TypeBigInt}
	errTimerKey  = errors.New("bytes in state are not a timer")
)

func (t *timers) register(g *state.Group) (err error) {
	if t.table, err = g.Register(tableTimers, timerColumns); err != nil {
		return err
	}
	if t.byName, err = g.Register(tableTimerByName, timeColumn); err != nil {
		return err
	}
	t.order = newOrdered(t.table)
	return nil
}

func (t *timers) restore() error {
	t.order = newOrdered(t.table)
	for _, slot := range t.table.Sorted(nil, nil) {
		var err error
		if _, t.key, t.atKey, err = cutTimerKey(t.table.Key(slot), t.key[:0], t.atKey[:0]); err != nil {
			return err
		}
		t.order.add(slot)
	}
	return nil
}

func appendTimerName(dst, key []byte, name string) []byte {
	for _, x := range key {
		if x == 0 {
			dst = append(dst, 0, 255)
		} else {
			dst = append(dst, x)
		}
	}
	return append(append(dst, 0, 1), name...)
}

func appendTimerKey(dst []byte, atMs int64, key []byte, name string) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(atMs)^1<<63)
	return appendTimerName(dst, key, name)
}

// cutTimerKey takes a key of the table apart, appending to key and name.
func cutTimerKey(b, key, name []byte) (atMs int64, k, n []byte, err error) {
	if len(b) < 10 {
		return 0, key, name, errTimerKey
	}
	atMs = int64(binary.BigEndian.Uint64(b) ^ 1<<63)
	for i := 8; i+1 < len(b); i++ {
		switch {
		case b[i] != 0:
			key = append(key, b[i])
		case b[i+1] == 1:
			return atMs, key, append(name, b[i+2:]...), nil
		case b[i+1] == 255:
			key = append(key, 0)
			i++
		default:
			return 0, key, name, errTimerKey
		}
	}
	return 0, key, name, errTimerKey
}

// due is the time of the first timer; topology.WatermarkEnd without one.
func (t *timers) due() int64 {
	slot, ok := t.order.first(nil)
	if !ok {
		return topology.WatermarkEnd
	}
	return int64(binary.BigEndian.Uint64(t.table.Key(slot)) ^ 1<<63)
}

// set makes atMs the time of the key's timer of that name.
func (t *timers) set(key []byte, name string, atMs int64) error {
	t.key = appendTimerName(t.key[:0], key, name)
	hash := batch.HashKey(t.key)
	if slot, ok := t.byName.Find(hash, t.key); ok && t.byName.Int64s(0)[slot] == atMs {
		return nil
	}
	t.clear(key, name)
	slot, _ := t.byName.Upsert(hash, t.key)
	t.byName.Int64s(0)[slot] = atMs
	t.atKey = appendTimerKey(t.atKey[:0], atMs, key, name)
	slot, _ = t.table.Upsert(batch.HashKey(t.atKey), t.atKey)
	t.order.add(slot)
	return nil
}

// clear removes the key's timer of that name, if it is set.
func (t *timers) clear(key []byte, name string) {
	t.key = appendTimerName(t.key[:0], key, name)
	slot, ok := t.byName.Find(batch.HashKey(t.key), t.key)
	if !ok {
		return
	}
	t.atKey = appendTimerKey(t.atKey[:0], t.byName.Int64s(0)[slot], key, name)
	t.byName.Delete(slot)
	if slot, ok = t.table.Find(batch.HashKey(t.atKey), t.atKey); ok {
		t.order.remove(slot)
		t.table.Delete(slot)
	}
}
