package state

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"pgregory.net/rapid"
)

func counts() *Table { return NewTable([]batch.Type{batch.TypeBigInt}) }

func add(t *Table, key, n int64) {
	k := bigKey(key)
	slot, _ := t.Upsert(batch.HashKey(k), k)
	t.Int64s(0)[slot] += n
}

func remove(t *Table, key int64) {
	k := bigKey(key)
	if slot, ok := t.Find(batch.HashKey(k), k); ok {
		t.Delete(slot)
	}
}

func TestDeltaHoldsWhatWasTouchedAndNothingElse(t *testing.T) {
	live := counts()
	live.Begin(1)
	for k := range int64(1000) {
		add(live, k, k)
	}
	live.Begin(2)
	add(live, 7, 1)
	remove(live, 8)
	if got := live.TouchedLen(); got != 1000 {
		t.Fatalf("%d keys are touched before any acknowledgement", got)
	}
	live.Acknowledge(1)
	if got := live.TouchedLen(); got != 2 {
		t.Fatalf("%d keys are touched after epoch 1, want 2", got)
	}
	delta := live.AppendDelta(nil, 1)
	if len(delta) > 64 {
		t.Errorf("the delta of two keys takes %d bytes", len(delta))
	}
	if !bytes.Equal(live.AppendDelta(nil, 2), counts().deltaOf(t)) {
		t.Error("a delta from the current epoch is not that of an untouched table")
	}
	live.Begin(3)
	live.Acknowledge(2)
	if live.TouchedLen() != 0 || live.dead != 0 || len(live.free) != 1 {
		t.Errorf("after acknowledging all: %d touched, %d tombstones, %d free", live.TouchedLen(), live.dead, len(live.free))
	}
}

// deltaOf is the delta of a table in which nothing was touched.
func (t *Table) deltaOf(testing.TB) []byte {
	t.Begin(1)
	return t.AppendDelta(nil, 0)
}

// TestDeltasLeaveOutBytesThatAreAsBefore: a key that is counted up has its text in a base, and in no delta until the text changes.
func TestDeltasLeaveOutBytesThatAreAsBefore(t *testing.T) {
	types := []batch.Type{batch.TypeBigInt, batch.TypeString}
	live, copied := NewTable(types), NewTable(types)
	text := []byte(strings.Repeat("a text that stays ", 100))
	step := func(epoch topology.Epoch, n int64, text []byte, sent int) {
		t.Helper()
		live.Begin(epoch)
		slot, _ := put(live, string(bigKey(7)))
		live.Int64s(0)[slot] = n
		if text == nil {
			live.SetNull(1, slot)
		} else {
			live.ClearNull(1, slot)
			live.SetBytes(1, slot, text)
		}
		delta := live.AppendDelta(nil, epoch-1)
		if has := len(delta) >= sent; !has || len(delta) > sent+200 {
			t.Errorf("epoch %d: a delta of %d bytes with %d of text", epoch, len(delta), sent)
		}
		if err := copied.Apply(delta); err != nil || copied.Hash() != live.Hash() {
			t.Fatalf("epoch %d: %v", epoch, err)
		}
		live.Acknowledge(epoch)
	}
	step(1, 1, text, len(text))
	step(2, 2, text, 0)
	step(3, 3, text[1:], len(text)-1)
	step(4, 4, nil, 0)
	step(5, 5, []byte{}, 0)
	step(6, 6, text, len(text))
	live.Begin(7)
	slot, _ := find(live, string(bigKey(7)))
	live.Delete(slot)
	step(7, 7, text, len(text))
	if err := NewTable(types).Apply(leaveOut(live)); err == nil || !strings.Contains(err.Error(), "left out") {
		t.Errorf("a new entry without its bytes: %v", err)
	}
}

// leaveOut is a delta that counts the only key up.
func leaveOut(live *Table) []byte {
	live.Begin(8)
	slot, _ := put(live, string(bigKey(7)))
	live.Int64s(0)[slot]++
	return live.AppendDelta(nil, 7)
}

func TestTombstonesStayUntilAcknowledgedAndSlotsAreUsedAgain(t *testing.T) {
	live := counts()
	live.Begin(1)
	add(live, 1, 10)
	slot, _ := live.Find(batch.HashKey(bigKey(1)), bigKey(1))
	live.Begin(2)
	remove(live, 1)
	add(live, 2, 20)
	if live.Len() != 1 {
		t.Fatalf("Len is %d", live.Len())
	}
	if other, _ := live.Find(batch.HashKey(bigKey(2)), bigKey(2)); other == slot {
		t.Fatal("the slot of a tombstone was used again before the deletion was acknowledged")
	}
	follower := counts()
	if err := errors.Join(follower.Apply(live.AppendDelta(nil, 0))); err != nil || follower.Hash() != live.Hash() {
		t.Fatalf("delta with a tombstone for a key the receiver never had: %v", err)
	}
	live.Acknowledge(2)
	live.Begin(3)
	add(live, 3, 30)
	if third, _ := live.Find(batch.HashKey(bigKey(3)), bigKey(3)); third != slot {
		t.Errorf("slot %d was not used again", slot)
	}
	if err := follower.Apply(live.AppendDelta(nil, 2)); err != nil || follower.Hash() != live.Hash() {
		t.Errorf("after reuse the delta gives another state: %v", err)
	}
}

func TestDeltaThatCanNoLongerBeMadeIsABase(t *testing.T) {
	base := func(b []byte) bool { return b[1]&flagBase != 0 }
	live := counts()
	add(live, 1, 1)
	if !base(live.AppendDelta(nil, 0)) {
		t.Error("untracked table gave a delta")
	}
	live.Begin(5)
	if !base(live.AppendDelta(nil, 3)) || base(live.AppendDelta(nil, 4)) {
		t.Error("a table that held state before epoch 5 must give deltas from 4 on")
	}
	live.Acknowledge(5)
	live.Begin(6)
	if !base(live.AppendDelta(nil, 4)) || base(live.AppendDelta(nil, 5)) {
		t.Error("after acknowledging 5, deltas start at 5")
	}
	if err := live.Apply(counts().AppendBase(nil)); err != nil || live.Len() != 0 {
		t.Fatalf("a base did not replace the contents: %v, %d entries", err, live.Len())
	}
	if !base(live.AppendDelta(nil, 5)) {
		t.Error("a delta was made over an Apply it does not know of")
	}
	restored := counts()
	if err := restored.Apply(live.AppendBase(nil)); err != nil {
		t.Fatal(err)
	}
	restored.Acknowledge(9)
	restored.Begin(12)
	if base(restored.AppendDelta(nil, 9)) || !base(restored.AppendDelta(nil, 8)) {
		t.Error("restored to 9: deltas start at 9")
	}
}

func TestTouchesAreKeptApartOverLongTimesWithoutAcknowledgement(t *testing.T) {
	live := counts()
	live.Begin(1)
	add(live, 1, 1)
	far := topology.Epoch(1) << 40
	live.Begin(far)
	add(live, 2, 1)
	follower := counts()
	if err := follower.Apply(live.AppendDelta(nil, 0)); err != nil || follower.Hash() != live.Hash() {
		t.Fatalf("delta over 2^40 epochs: %v", err)
	}
	live.Acknowledge(far - 1)
	if live.TouchedLen() != 1 {
		t.Errorf("%d keys touched, want the one of the last epoch", live.TouchedLen())
	}
	live.Begin(far + 1)
	live.Acknowledge(far)
	if live.TouchedLen() != 0 {
		t.Errorf("%d keys touched after acknowledging all", live.TouchedLen())
	}
	live.Begin(topology.EpochForever)
	add(live, 3, 1)
	live.Acknowledge(topology.EpochForever)
	if live.TouchedLen() != 0 {
		t.Error("acknowledging for ever left touched keys")
	}
}

func TestArenaIsCompactedWhenMostOfItIsGarbage(t *testing.T) {
	tab := NewTable([]batch.Type{batch.TypeString})
	value := bytes.Repeat([]byte("x"), 100)
	for i := range 50_000 {
		key := fmt.Appendf(nil, "key %d", i%100)
		slot, _ := tab.Upsert(batch.HashKey(key), key)
		tab.SetBytes(0, slot, value[:i%101])
		if i%7 == 0 {
			tab.Delete(slot)
		}
	}
	if got := tab.MemBytes(); got > 64<<10 {
		t.Errorf("100 keys with values of up to 100 bytes take %d bytes after 50,000 changes", got)
	}
	a := &tab.cols[0].bytes
	if a.garbage*2 > len(a.data) && len(a.data) >= arenaCompactMin {
		t.Errorf("%d of %d bytes are garbage", a.garbage, len(a.data))
	}
}

func TestValuesThatPointIntoTheTableMayBeStoredInIt(t *testing.T) {
	tab := NewTable([]batch.Type{batch.TypeString})
	a, _ := put(tab, "a")
	tab.SetBytes(0, a, []byte("seed"))
	for i := range 2000 {
		slot, _ := put(tab, fmt.Sprint("key", i))
		tab.SetBytes(0, slot, tab.Bytes(0, a))
		long, _ := put(tab, string(tab.Key(slot))+"!")
		tab.SetBytes(0, long, tab.Bytes(0, slot))
		tab.SetBytes(0, slot, nil)
		if got := string(tab.Bytes(0, long)); got != "seed" {
			t.Fatalf("stored %q", got)
		}
	}
}

func TestFullArenaIsAnErrorNotAWrapAround(t *testing.T) {
	defer func(old uint64) { arenaMax = old }(arenaMax)
	arenaMax = 1 << 12
	full := func(f func()) (err *LimitError) {
		defer func() { err, _ = recover().(*LimitError) }()
		f()
		return nil
	}
	for name, f := range map[string]func(){
		"values": func() {
			tab := NewTable([]batch.Type{batch.TypeString})
			slot, _ := put(tab, "k")
			tab.SetBytes(0, slot, make([]byte, arenaMax+1))
		},
		"long keys": func() {
			tab := NewTable(nil)
			for i := range 100 {
				put(tab, fmt.Sprintf("%d%0100d", i, i))
			}
		},
		"keys of one width": func() {
			tab := NewTable(nil)
			for i := range 1000 {
				put(tab, string(bigKey(int64(i))))
			}
		},
	} {
		if full(f) == nil {
			t.Errorf("%s: no *LimitError", name)
		}
	}
	arenaMax = 1 << 20
	tab := NewTable([]batch.Type{batch.TypeString})
	slot, _ := put(tab, "k")
	tab.SetBytes(0, slot, make([]byte, 1<<13))
	encoded := tab.AppendBase(nil)
	arenaMax = 1 << 12
	var limit *LimitError
	if err := NewTable(tab.types).Apply(encoded); !errors.As(err, &limit) {
		t.Errorf("Apply gives %v", err)
	}
	// A full arena with garbage has room again.
	tab = NewTable([]batch.Type{batch.TypeString})
	slot, _ = put(tab, "k")
	for i := range 100 {
		tab.SetBytes(0, slot, make([]byte, 1000+i*30))
	}
}

func TestSortedGivesLiveKeysOfAPrefixInKeyOrder(t *testing.T) {
	tab := counts()
	for i := range int64(5000) {
		k := append(bigKey(i*7919%100-50), bigKey(i*104729%5003-2500)...)
		tab.Upsert(batch.HashKey(k), k)
	}
	for p := int64(-50); p < 50; p++ {
		prefix := bigKey(p)
		slots := tab.Sorted([]uint32{99}, prefix)
		if slots[0] != 99 || len(slots) < 20 {
			t.Fatalf("prefix %d: %d slots", p, len(slots))
		}
		for i, slot := range slots[1:] {
			if !bytes.HasPrefix(tab.Key(slot), prefix) {
				t.Fatalf("key %x without prefix %x", tab.Key(slot), prefix)
			}
			if i > 0 && bytes.Compare(tab.Key(slots[i]), tab.Key(slot)) >= 0 {
				t.Fatalf("keys %x, %x", tab.Key(slots[i]), tab.Key(slot))
			}
		}
	}
}

func TestTableTakesKeysThatShareTheirLowHashBits(t *testing.T) {
	tab := counts()
	n := 0
	for k := int64(0); n < 20_000; k++ {
		key := bigKey(k)
		if hash := batch.HashKey(key); hash%256 == 3 {
			tab.Upsert(hash, key)
			n++
		}
	}
	steps := 0
	mask := uint64(len(tab.index) - 1)
	for pos, elem := range tab.index {
		if elem != 0 {
			steps += int((uint64(pos) - elem>>tab.shift) & mask)
		}
	}
	if steps > 3*n {
		t.Errorf("%d keys lie %d steps from home", n, steps)
	}
}

func TestNewEntriesStartNullWhereAsked(t *testing.T) {
	tab := NewTable(allKinds)
	tab.StartNull(0, 4)
	slot, _ := put(tab, "k")
	if r := readRow(tab, slot); r != (row{nulls: 1 | 1<<4}) {
		t.Errorf("new entry %+v", r)
	}
	tab.ClearNull(0, slot)
	tab.Delete(slot)
	slot, _ = put(tab, "k")
	if !tab.IsNull(0, slot) {
		t.Error("an entry put again does not start null")
	}
	tab.ClearNull(0, slot)
	other := NewTable(allKinds)
	other.StartNull(0, 4)
	if err := other.Apply(tab.AppendBase(nil)); err != nil || other.Hash() != tab.Hash() {
		t.Errorf("restored with other nulls: %v", err)
	}
}

func TestEmptyTableTakesNoMemoryAndAnswersEverything(t *testing.T) {
	tab := NewTable(allKinds)
	if tab.MemBytes() > 512 {
		t.Errorf("an empty table takes %d bytes", tab.MemBytes())
	}
	if _, ok := find(tab, "k"); ok || tab.Len() != 0 || tab.Int64s(0) != nil || len(tab.Sorted(nil, nil)) != 0 {
		t.Error("an empty table holds something")
	}
	tab.Delete(3)
	tab.Warm([]uint64{1, 2, 3})
	tab.Begin(1)
	tab.Acknowledge(1)
	if err := tab.reload(); err != nil {
		t.Error(err)
	}
}

// Rows upserted one by one and in runs give the same slots, the same touched set, and the same notes.
func TestUpsertingARunEqualsUpsertingItsRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		single, run, byKey := counts(), counts(), counts()
		var u, k Upserts
		if rapid.Bool().Draw(t, "null key") { // a key of another length ends the fixed width
			for _, tab := range []*Table{single, run, byKey} {
				put(tab, "\x00")
			}
		}
		for epoch := range topology.Epoch(rapid.IntRange(1, 6).Draw(t, "epochs")) {
			deletes := rapid.IntRange(0, 5).Draw(t, "deletes")
			for _, tab := range []*Table{single, run, byKey} {
				tab.Begin(epoch + 1)
				tab.Acknowledge(epoch - 2)
				for n := range deletes {
					remove(tab, int64(n))
				}
			}
			values := rapid.SliceOf(rapid.Int64Range(-60, 60)).Draw(t, "values")
			if rapid.IntRange(0, 9).Draw(t, "many") == 0 {
				for v := range int64(5000) {
					values = append(values, v*v%4999)
				}
			}
			var hashes []uint64
			var keys []byte
			var ends []uint32
			var first, created, slots []uint32
			for i, v := range values {
				key := bigKey(v)
				hashes, keys = append(hashes, batch.HashKey(key)), append(keys, key...)
				ends = append(ends, uint32(len(keys)))
				slot, isNew, isFirst := single.UpsertFirst(hashes[i], key)
				if slots = append(slots, slot); isNew {
					created = append(created, uint32(i))
				}
				if isFirst {
					first = append(first, uint32(i))
				}
			}
			run.UpsertInt64s(&u, hashes, values)
			byKey.UpsertKeys(&k, hashes, keys, ends)
			for name, got := range map[string]Upserts{"UpsertInt64s": u, "UpsertKeys": k} {
				if !slices.Equal(got.Slots, slots) || !slices.Equal(got.First, first) || !slices.Equal(got.Created, created) {
					t.Fatalf("%s gives slots %v first %v created %v, want %v %v %v", name, got.Slots, got.First, got.Created, slots, first, created)
				}
			}
			want := single.AppendDelta(nil, 0)
			if !bytes.Equal(run.AppendDelta(nil, 0), want) || !bytes.Equal(byKey.AppendDelta(nil, 0), want) {
				t.Fatal("deltas differ")
			}
		}
	})
}

func TestHotPathsAllocateNothing(t *testing.T) {
	tab := NewTable([]batch.Type{batch.TypeBigInt, batch.TypeString})
	tab.Begin(1)
	var keys [][]byte
	var hashes []uint64
	for k := range int64(100) {
		keys = append(keys, bigKey(k))
		hashes = append(hashes, batch.HashKey(keys[k]))
		slot, _ := tab.Upsert(hashes[k], keys[k])
		tab.SetBytes(1, slot, []byte("some text"))
	}
	epoch := topology.Epoch(1)
	text := []byte("other")
	ints := make([]int64, len(keys))
	for k := range ints {
		ints[k] = int64(k)
	}
	var u Upserts
	tab.UpsertInt64s(&u, hashes, ints)
	if n := testing.AllocsPerRun(100, func() {
		epoch++
		tab.Begin(epoch)
		tab.Warm(hashes)
		tab.UpsertInt64s(&u, hashes, ints)
		for i, key := range keys {
			slot, _ := tab.Find(hashes[i], key)
			slot, _ = tab.Upsert(hashes[i], key)
			tab.Int64s(0)[slot]++
			tab.Touch(slot)
			tab.SetBytes(1, slot, text)
		}
		tab.Hash()
		tab.Acknowledge(epoch)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestApplyRefusesAnotherSchemaByName(t *testing.T) {
	encoded := counts().AppendBase(nil)
	for _, c := range []struct {
		table *Table
		want  string
	}{
		{NewTable(nil), "state: encoding has 1 value columns, the table 0"},
		{NewTable([]batch.Type{batch.TypeString}), `state: column 0 is "BIGINT" in the encoding and STRING in the table`},
	} {
		err := c.table.Apply(encoded)
		var schema *SchemaError
		if !errors.As(err, &schema) || err.Error() != c.want {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	notNull := NewTable([]batch.Type{batch.TypeBigInt.AsNotNull()})
	if err := notNull.Apply(encoded); err != nil {
		t.Errorf("nullability must not matter: %v", err)
	}
}

func FuzzApply(f *testing.F) {
	seed := func(change func(t *Table)) {
		t := NewTable(allKinds)
		t.Begin(1)
		change(t)
		f.Add(t.AppendBase(nil))
		f.Add(t.AppendDelta(nil, 0))
	}
	seed(func(*Table) {})
	for _, keys := range [][]string{{string(bigKey(-1)), string(bigKey(5)), string(bigKey(math.MaxInt64))}, {"", "a", "ab", "b"}} {
		seed(func(t *Table) {
			for i, k := range keys {
				slot, _ := put(t, k)
				writeRow(t, slot, row{i: int64(i) << 40, f: 1, b: true, d: batch.Dec{Hi: int64(i)}, s: k, n: "n", nulls: uint8(1 << i)}.canonical())
			}
			slot, _ := put(t, keys[0])
			t.Delete(slot)
		})
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		tab := NewTable(allKinds)
		add := func(k string) {
			slot, _ := put(tab, k)
			writeRow(tab, slot, row{i: 1, s: "old"})
		}
		add("a")
		add(string(bigKey(5)))
		if err := tab.Apply(src); err != nil {
			return
		}
		// What was accepted is a state like any other.
		encoded := tab.AppendBase(nil)
		again := NewTable(allKinds)
		if err := again.Apply(encoded); err != nil {
			t.Fatalf("own encoding is refused: %v", err)
		}
		if again.Hash() != tab.Hash() || !bytes.Equal(again.AppendBase(nil), encoded) {
			t.Fatal("own encoding gives another state")
		}
		if mem := tab.MemBytes(); mem > 1<<16+1000*len(src) {
			t.Fatalf("%d bytes became %d in memory", len(src), mem)
		}
	})
}

func TestEveryTruncationOfAnEncodingIsRefused(t *testing.T) {
	tab := NewTable(allKinds)
	for i := range 20 {
		slot, _ := put(tab, fmt.Sprint("key", i))
		writeRow(tab, slot, row{i: int64(i), s: "text", nulls: uint8(i)}.canonical())
	}
	encoded := tab.AppendBase(nil)
	for n := range encoded {
		var corrupt *CorruptError
		if err := NewTable(allKinds).Apply(encoded[:n]); !errors.As(err, &corrupt) {
			t.Fatalf("the first %d of %d bytes give %v", n, len(encoded), err)
		}
	}
	if err := NewTable(allKinds).Apply(append(encoded, 0)); err == nil {
		t.Error("a byte too many is accepted")
	}
}

// TestManyBigintKeysAreEncodedInTheirOrder: near to each other or far, negative, with a null among them, after deletions, and whichever way they are
// sorted.
func TestManyBigintKeysAreEncodedInTheirOrder(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 5))
	for _, span := range []int64{200, 5_000, 1 << 40, math.MaxInt64} {
		for _, null := range []bool{false, true} {
			for _, deleted := range []int{0, 17} {
				table := NewTable([]batch.Type{batch.TypeBigInt})
				table.Begin(1)
				put := func(key []byte, v int64) {
					slot, _ := table.Upsert(batch.HashKey(key), key)
					table.Int64s(0)[slot] = v
				}
				want := map[int64]int64{}
				for range 3 * radixMin {
					v := rnd.Int64N(span)
					if rnd.IntN(2) == 0 {
						v = -v
					}
					want[v] = rnd.Int64N(span)
					put(bigKey(v), want[v])
				}
				if null {
					put([]byte{0}, -1)
				}
				for v := range want {
					if deleted == 0 {
						break
					}
					if slot, ok := table.Find(batch.HashKey(bigKey(v)), bigKey(v)); ok {
						table.Delete(slot)
						delete(want, v)
						deleted--
					}
				}
				again := NewTable([]batch.Type{batch.TypeBigInt})
				if err := again.Apply(table.AppendBase(nil)); err != nil {
					t.Fatalf("span %d, null %v: %v", span, null, err)
				}
				var keys []int64
				for v := range want {
					keys = append(keys, v)
				}
				slices.Sort(keys)
				sorted := table.Sorted(nil, nil)
				if null {
					sorted = sorted[1:] // a null comes first
				}
				if len(sorted) != len(keys) {
					t.Fatalf("span %d, null %v: %d keys of %d", span, null, len(sorted), len(keys))
				}
				for i, v := range keys {
					slot, ok := again.Find(batch.HashKey(bigKey(v)), bigKey(v))
					if !bytes.Equal(table.Key(sorted[i]), bigKey(v)) || !ok || again.Int64s(0)[slot] != want[v] {
						t.Fatalf("span %d, null %v: key %d is not where it belongs", span, null, v)
					}
				}
			}
		}
	}
}
