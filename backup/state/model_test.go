package state

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"pgregory.net/rapid"
)

// allKinds has a column of every physical kind.
var allKinds = []batch.Type{batch.TypeBigInt, batch.TypeDouble, batch.TypeBoolean, batch.DecimalOf(30, 2), batch.TypeString,
	batch.ArrayOf(batch.TypeInt)}

// row is a model entry of a table with columns allKinds.
type row struct {
	i     int64
	f     uint64 // bits
	b     bool
	d     batch.Dec
	s, n  string
	nulls uint8
}

func writeRow(t *Table, slot uint32, r row) {
	t.Int64s(0)[slot] = r.i
	t.Float64s(1)[slot] = math.Float64frombits(r.f)
	t.Bools(2)[slot] = r.b
	t.Decs(3)[slot] = r.d
	t.SetBytes(4, slot, []byte(r.s))
	t.SetBytes(5, slot, []byte(r.n))
	for c := range allKinds {
		if r.nulls>>c&1 != 0 {
			t.SetNull(c, slot)
		} else {
			t.ClearNull(c, slot)
		}
	}
}

func readRow(t *Table, slot uint32) row {
	r := row{i: t.Int64s(0)[slot], f: math.Float64bits(t.Float64s(1)[slot]), b: t.Bools(2)[slot], d: t.Decs(3)[slot],
		s: string(t.Bytes(4, slot)), n: string(t.Bytes(5, slot))}
	for c := range allKinds {
		if t.IsNull(c, slot) {
			r.nulls |= 1 << c
		}
	}
	return r
}

// canonical is r with zero values where it is null.
func (r row) canonical() row {
	zero := row{}
	pick := func(c int) bool { return r.nulls>>c&1 != 0 }
	if pick(0) {
		r.i = zero.i
	}
	if pick(1) {
		r.f = zero.f
	}
	if pick(2) {
		r.b = zero.b
	}
	if pick(3) {
		r.d = zero.d
	}
	if pick(4) {
		r.s = zero.s
	}
	if pick(5) {
		r.n = zero.n
	}
	return r
}

var rowGen = rapid.Custom(func(t *rapid.T) row {
	r := row{
		i: rapid.Int64().Draw(t, "i"), f: rapid.Uint64().Draw(t, "f"), b: rapid.Bool().Draw(t, "b"),
		s: rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "often", "the same"})).Draw(t, "s"), n: rapid.StringN(0, 3, 9).Draw(t, "n"), nulls: rapid.Uint8Range(0, 63).Draw(t, "nulls"),
	}
	r.d = batch.Dec{Hi: rapid.Int64Range(-1, 1).Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
	return r.canonical()
})

// keyGen draws keys of a small set, so that histories meet: BIGINT keys only, or of any length.
func keyGen(bigint bool) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		if bigint {
			return string(bigKey(rapid.Int64Range(-20, 20).Draw(t, "key")))
		}
		return rapid.SampledFrom([]string{"", "\x00", "a", "a\x00", "aa", "ab", "aaaaaaaaaaaa", "aaaaaaaaaaab", "aaaaaaaaaaaab", "b",
			string(bigKey(1)), string(bigKey(-1)), string(make([]byte, 200)), string(make([]byte, 300)), "\xff"}).Draw(t, "key")
	})
}

func bigKey(v int64) []byte {
	c := batch.NewColumn(batch.TypeBigInt)
	c.AppendInt64(v)
	return batch.AppendKeyColumn(nil, c, 0, true)
}

func put(t *Table, key string) (uint32, bool) {
	return t.Upsert(batch.HashKey([]byte(key)), []byte(key))
}

func find(t *Table, key string) (uint32, bool) {
	return t.Find(batch.HashKey([]byte(key)), []byte(key))
}

// sameAsModel checks everything that can be seen of a table.
func sameAsModel(t rapid.TB, tab *Table, model map[string]row) {
	if tab.Len() != len(model) {
		t.Fatalf("Len is %d, the model has %d", tab.Len(), len(model))
	}
	want := make([]string, 0, len(model))
	for k, r := range model {
		want = append(want, k)
		slot, ok := find(tab, k)
		if !ok {
			t.Fatalf("key %q is not found", k)
		}
		if got := readRow(tab, slot); got != r {
			t.Fatalf("key %q holds %+v, want %+v", k, got, r)
		}
	}
	slices.Sort(want)
	var got []string
	for _, slot := range tab.Sorted(nil, nil) {
		got = append(got, string(tab.Key(slot)))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("Sorted gives %q, want %q", got, want)
	}
}

func modelOf(tab *Table) map[string]row {
	m := map[string]row{}
	for _, slot := range tab.Sorted(nil, nil) {
		m[string(tab.Key(slot))] = readRow(tab, slot)
	}
	return m
}

func TestTableIsAMapOfKeysToRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := keyGen(rapid.Bool().Draw(t, "bigint"))
		tab, model := NewTable(allKinds), map[string]row{}
		epoch := topology.Epoch(0)
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				k, r := key.Draw(t, "k"), rowGen.Draw(t, "row")
				_, had := model[k]
				slot, created := put(tab, k)
				if created == had {
					t.Fatalf("Upsert of %q says created=%v", k, created)
				}
				if created && readRow(tab, slot) != (row{}) {
					t.Fatalf("a new entry holds %+v", readRow(tab, slot))
				}
				writeRow(tab, slot, r)
				model[k] = r
			},
			"delete": func(t *rapid.T) {
				k := key.Draw(t, "k")
				slot, ok := find(tab, k)
				if _, had := model[k]; had != ok {
					t.Fatalf("Find of %q says %v", k, ok)
				}
				if ok {
					tab.Delete(slot)
					tab.Delete(slot)
					delete(model, k)
				}
			},
			"begin":       func(t *rapid.T) { epoch++; tab.Begin(epoch) },
			"acknowledge": func(t *rapid.T) { tab.Acknowledge(epoch - topology.Epoch(rapid.IntRange(0, 3).Draw(t, "back"))) },
			"reload": func(t *rapid.T) {
				before := tab.Hash()
				if err := tab.reload(); err != nil || tab.Hash() != before {
					t.Fatalf("reload changed the table, error %v", err)
				}
			},
			"reset": func(t *rapid.T) {
				if rapid.IntRange(0, 20).Draw(t, "now") == 0 {
					tab.Reset()
					clear(model)
				}
			},
			"": func(t *rapid.T) { sameAsModel(t, tab, model) },
		})
	})
}

// Invariant 7. Several checkpoints are under way at once; each receiver applies a base of some checkpoint and later deltas,
// some of them sent by a table that was itself restored.
func TestBasePlusDeltasEqualsLiveStateHashEqualWhoeverSent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := keyGen(rapid.Bool().Draw(t, "bigint"))
		live := NewTable(allKinds)
		vault := NewTable(allKinds) // applies every delta as it comes
		type shadow struct {
			table *Table
			at    topology.Epoch
		}
		var acked topology.Epoch
		var pending []topology.Epoch
		var shadows []shadow
		for epoch := topology.Epoch(1); epoch <= topology.Epoch(rapid.IntRange(1, 25).Draw(t, "epochs")); epoch++ {
			if rapid.Bool().Draw(t, "idle") {
				continue
			}
			live.Begin(epoch)
			for range rapid.IntRange(0, 6).Draw(t, "changes") {
				k := key.Draw(t, "k")
				if slot, ok := find(live, k); ok && rapid.Bool().Draw(t, "delete") {
					live.Delete(slot)
				} else {
					slot, _ := put(live, k)
					writeRow(live, slot, rowGen.Draw(t, "row"))
				}
			}
			if rapid.Bool().Draw(t, "paranoid") {
				if err := live.reload(); err != nil {
					t.Fatal(err)
				}
			}
			if rapid.Bool().Draw(t, "checkpoint") {
				if !live.CanDelta(acked) {
					t.Fatalf("no delta from %d at %d", acked, epoch)
				}
				delta := live.AppendDelta(nil, acked)
				for _, s := range append(shadows, shadow{vault, acked}) {
					if s.at < acked {
						continue // its contents lie before the delta: it would have to follow others first
					}
					if err := s.table.Apply(delta); err != nil {
						t.Fatal(err)
					}
					if s.table.Hash() != live.Hash() {
						t.Fatalf("at epoch %d a copy has %+v, live %+v", epoch, modelOf(s.table), modelOf(live))
					}
				}
				pending = append(pending, epoch)
				if rapid.Bool().Draw(t, "shadow") {
					s := NewTable(allKinds)
					if err := s.Apply(live.AppendBase(nil)); err != nil {
						t.Fatal(err)
					}
					shadows = append(shadows, shadow{s, epoch})
				}
			}
			if len(pending) > 0 && rapid.Bool().Draw(t, "acknowledge") {
				n := rapid.IntRange(1, len(pending)).Draw(t, "n")
				acked = pending[n-1]
				pending = pending[n:]
				live.Acknowledge(acked)
			}
			if len(shadows) > 0 && rapid.Bool().Draw(t, "switch") {
				// The shadow that is up to date becomes the live table.
				if s := shadows[len(shadows)-1]; s.at == epoch && s.table.Hash() == live.Hash() {
					live, shadows = s.table, nil
					acked, pending = epoch, nil
					live.Acknowledge(epoch)
				}
			}
		}
	})
}

func TestEqualContentsEncodeToEqualBytesWhateverTheHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := keyGen(rapid.Bool().Draw(t, "bigint"))
		model := map[string]row{}
		var order []string
		for range rapid.IntRange(0, 30).Draw(t, "n") {
			k := key.Draw(t, "k")
			if _, ok := model[k]; !ok {
				order = append(order, k)
			}
			model[k] = rowGen.Draw(t, "row")
		}
		a, b := NewTable(allKinds), NewTable(allKinds)
		for _, k := range order {
			slot, _ := put(a, k)
			writeRow(a, slot, model[k])
		}
		b.Begin(3)
		for range rapid.IntRange(0, 30).Draw(t, "noise") {
			slot, _ := put(b, key.Draw(t, "k"))
			writeRow(b, slot, rowGen.Draw(t, "row"))
			if rapid.Bool().Draw(t, "delete") {
				b.Delete(slot)
			}
			if rapid.Bool().Draw(t, "acknowledge") {
				b.Acknowledge(3)
				b.Begin(b.epoch + 1)
			}
		}
		for _, slot := range b.Sorted(nil, nil) {
			if _, ok := model[string(b.Key(slot))]; !ok {
				b.Delete(slot)
			}
		}
		for _, k := range rapid.Permutation(order).Draw(t, "order") {
			slot, _ := put(b, k)
			writeRow(b, slot, model[k])
		}
		c := NewTable(allKinds)
		if err := c.Apply(a.AppendBase(nil)); err != nil {
			t.Fatal(err)
		}
		want := a.AppendBase(nil)
		for name, other := range map[string]*Table{"shuffled": b, "restored": c} {
			if got := other.AppendBase(nil); !bytes.Equal(got, want) {
				t.Fatalf("%s table encodes to %x, want %x", name, got, want)
			}
			if other.Hash() != a.Hash() {
				t.Fatalf("%s table has another hash", name)
			}
		}
	})
}

func TestHashTellsDifferentContentsApart(t *testing.T) {
	seen := map[uint64]string{}
	note := func(name string, change func(t *Table)) {
		tab := NewTable(allKinds)
		change(tab)
		if other, ok := seen[tab.Hash()]; ok {
			t.Errorf("%s and %s have one hash", name, other)
		}
		seen[tab.Hash()] = name
	}
	with := func(key string, r row) func(*Table) {
		return func(tab *Table) { slot, _ := put(tab, key); writeRow(tab, slot, r) }
	}
	note("empty", func(*Table) {})
	note("zero", with("k", row{}))
	note("other key", with("l", row{}))
	note("empty key", with("", row{}))
	note("int", with("k", row{i: 1}))
	note("float", with("k", row{f: 1}))
	note("minus zero", with("k", row{f: 1 << 63}))
	note("bool", with("k", row{b: true}))
	note("decimal low", with("k", row{d: batch.Dec{Lo: 1}}))
	note("decimal high", with("k", row{d: batch.Dec{Hi: 1}}))
	note("string", with("k", row{s: "x"}))
	note("other string column", with("k", row{n: "x"}))
	for c := range allKinds {
		note(fmt.Sprint("null ", c), with("k", row{nulls: 1 << c}))
	}
	note("both", func(tab *Table) { with("k", row{})(tab); with("l", row{})(tab) })
	note("swapped a", func(tab *Table) { with("k", row{i: 1})(tab); with("l", row{i: 2})(tab) })
	note("swapped b", func(tab *Table) { with("k", row{i: 2})(tab); with("l", row{i: 1})(tab) })
}
