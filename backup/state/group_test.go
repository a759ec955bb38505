package state

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"pgregory.net/rapid"
)

// operator is a stateful computation whose output is what the program below writes.
type operatorState struct {
	group *Group
	count *Value[int64]
	last  *Map[string, car]
	log   *List[string]
	table *Table
}

func newOperatorState(t rapid.TB) *operatorState {
	o := &operatorState{group: NewGroup()}
	var err error
	note := func(e error) { err = errors.Join(err, e) }
	var e error
	o.count, e = NewValue[int64](o.group, "count")
	note(e)
	o.last, e = NewMap[string, car](o.group, "last")
	note(e)
	o.log, e = NewList[string](o.group, "log")
	note(e)
	o.table, e = o.group.Register("table", allKinds)
	note(e)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

type event struct {
	key, name string
	op        int
	n         int64
}

// step processes one event and appends everything that can be seen of the key's state to out.
func (o *operatorState) step(out []byte, e event) []byte {
	keyed(o.group, e.key)
	switch e.op {
	case 0:
		o.count.Update(func(v *int64) { *v += e.n })
	case 1:
		o.last.Update(e.name, func(c *car) { c.ID += e.n; c.Plate += e.name })
	case 2:
		o.log.Append(e.name)
	case 3:
		o.log.PopFront(int(e.n))
	case 4:
		o.last.Delete(e.name)
	case 5:
		o.count.Delete()
	case 6:
		o.last.Clear()
	case 7:
		slot, _ := put(o.table, e.name)
		writeRow(o.table, slot, row{i: e.n, s: e.key})
	case 8:
		if slot, ok := find(o.table, e.name); ok {
			o.table.Delete(slot)
		}
	}
	n, ok := o.count.Get()
	out = fmt.Appendf(out, "%q %d %v", e.key, n, ok)
	for k, c := range o.last.All() {
		out = fmt.Appendf(out, " %q=%+v", k, c)
	}
	for i, s := range o.log.All() {
		out = fmt.Appendf(out, " %d:%q", i, s)
	}
	for _, slot := range o.table.Sorted(nil, nil) {
		out = fmt.Appendf(out, " %q:%+v", o.table.Key(slot), readRow(o.table, slot))
	}
	return append(out, '\n')
}

var eventGen = rapid.Custom(func(t *rapid.T) event {
	return event{
		key:  rapid.SampledFrom([]string{"", "a", "a\x00", "long long long long key"}).Draw(t, "key"),
		name: rapid.SampledFrom([]string{"", "x", "xy", "\x00", "z"}).Draw(t, "name"),
		op:   rapid.IntRange(0, 8).Draw(t, "op"), n: rapid.Int64Range(0, 4).Draw(t, "n"),
	}
})

// Invariant 6, and 7 for a whole group: one copy is encoded and decoded after every epoch, one is restored from base and
// deltas at random points, some follow; all write the same.
func TestEncodingAndDecodingAllStateBetweenAnyTwoEpochsChangesNoOutputByte(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		plain, paranoid, moved := newOperatorState(t), newOperatorState(t), newOperatorState(t)
		vault := newOperatorState(t)
		var acked topology.Epoch
		epochs := topology.Epoch(rapid.IntRange(1, 12).Draw(t, "epochs"))
		for epoch := topology.Epoch(1); epoch <= epochs; epoch++ {
			for _, o := range []*operatorState{plain, paranoid, moved} {
				o.group.Begin(epoch)
			}
			for range rapid.IntRange(0, 8).Draw(t, "events") {
				e := eventGen.Draw(t, "event")
				want := plain.step(nil, e)
				for name, o := range map[string]*operatorState{"paranoid": paranoid, "moved": moved} {
					if got := o.step(nil, e); !bytes.Equal(got, want) {
						t.Fatalf("%s copy writes\n%s\nwant\n%s", name, got, want)
					}
				}
			}
			if err := paranoid.group.Reload(); err != nil {
				t.Fatal(err)
			}
			if rapid.Bool().Draw(t, "checkpoint") {
				delta := plain.group.AppendDelta(nil, acked)
				for name, o := range map[string]*operatorState{"paranoid": paranoid, "moved": moved} {
					if o.group.CanDelta(acked) && !bytes.Equal(o.group.AppendDelta(nil, acked), delta) {
						t.Fatalf("%s copy gives another delta", name)
					}
				}
				if err := vault.group.Apply(delta); err != nil {
					t.Fatal(err)
				}
				if vault.group.Hash() != plain.group.Hash() {
					t.Fatal("base and deltas give another state")
				}
				if rapid.Bool().Draw(t, "acknowledge") {
					acked = epoch
					for _, o := range []*operatorState{plain, paranoid, moved} {
						o.group.Acknowledge(epoch)
					}
				}
				if rapid.Bool().Draw(t, "move") {
					moved = newOperatorState(t)
					if err := moved.group.Apply(vault.group.AppendBase(nil)); err != nil {
						t.Fatal(err)
					}
					moved.group.Acknowledge(epoch)
				}
			}
			if plain.group.Hash() != paranoid.group.Hash() || plain.group.Hash() != moved.group.Hash() {
				t.Fatal("hashes differ")
			}
		}
	})
}

func TestGroupApplyNamesTheTableThatDiffers(t *testing.T) {
	group := func(names []string, cols ...[]batch.Type) *Group {
		g := NewGroup()
		for i, name := range names {
			must[*Table](t)(g.Register(name, cols[i]))
		}
		return g
	}
	ints, texts := []batch.Type{batch.TypeBigInt}, []batch.Type{batch.TypeString}
	encoded := group([]string{"a", "b"}, ints, texts).AppendBase(nil)
	for _, c := range []struct {
		g    *Group
		want string
	}{
		{group([]string{"a"}, ints), `state "b": it is in the encoding but not registered`},
		{group([]string{"a", "b", "c"}, ints, texts, ints), `state "c": it is registered but not in the encoding`},
		{group([]string{"a", "b"}, ints, ints), `state "b": column 0 is "STRING" in the encoding and BIGINT in the table`},
	} {
		err := c.g.Apply(encoded)
		var schema *SchemaError
		if !errors.As(err, &schema) || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	if err := group([]string{"b", "a"}, texts, ints).Apply(encoded); err != nil {
		t.Errorf("the order of registration must not matter to Apply: %v", err)
	}
	ofInts, ofTexts := NewGroup(), NewGroup()
	must[*Map[int64, int]](t)(NewMap[int64, int](ofInts, "m"))
	must[*Map[string, int]](t)(NewMap[string, int](ofTexts, "m"))
	want := `state "m": keys are made of "map int64" in the encoding and of "map string" in the table`
	if err := ofTexts.Apply(ofInts.AppendBase(nil)); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestResetGroupIsAsNew(t *testing.T) {
	o := newOperatorState(t)
	empty := o.group.Hash()
	o.group.Begin(4)
	for i := range 100 {
		o.step(nil, event{key: fmt.Sprint(i), name: "x", op: i % 9, n: 1})
	}
	if o.group.Len() == 0 {
		t.Fatal("nothing was written")
	}
	full := o.group.MemBytes()
	o.group.Reset()
	if o.group.Len() != 0 || o.group.Hash() != empty || o.group.MemBytes() >= full {
		t.Errorf("after Reset: %d entries, %d bytes of %d", o.group.Len(), o.group.MemBytes(), full)
	}
	fresh := newOperatorState(t)
	fresh.group.Begin(1)
	o.group.Begin(1)
	e := event{key: "k", name: "n", op: 1, n: 3}
	if got, want := o.step(nil, e), fresh.step(nil, e); !bytes.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	if !bytes.Equal(o.group.AppendDelta(nil, 0), fresh.group.AppendDelta(nil, 0)) {
		t.Error("another delta than a new group's")
	}
}

func FuzzGroupApply(f *testing.F) {
	o := newOperatorState(f)
	o.group.Begin(1)
	f.Add(o.group.AppendBase(nil))
	for i := range 30 {
		o.step(nil, event{key: fmt.Sprint(i % 3), name: fmt.Sprint(i), op: i % 9, n: 1})
	}
	f.Add(o.group.AppendBase(nil))
	f.Add(o.group.AppendDelta(nil, 0))
	f.Fuzz(func(t *testing.T, src []byte) {
		o := newOperatorState(t)
		if err := o.group.Apply(src); err != nil {
			return
		}
		for _, key := range []string{"", "0", "1"} {
			o.step(nil, event{key: key, name: "n", op: 1, n: 1})
			o.step(nil, event{key: key, op: 2})
			o.step(nil, event{key: key, op: 3, n: 1})
		}
		again := newOperatorState(t)
		if err := again.group.Apply(o.group.AppendBase(nil)); err != nil || again.group.Hash() != o.group.Hash() {
			t.Fatalf("own encoding gives another state: %v", err)
		}
	})
}
