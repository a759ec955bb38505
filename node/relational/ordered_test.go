package relational

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
)

func TestOrderedAnswersLikeASortedList(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	table := state.NewTable(nil)
	o := newOrdered(table)
	var keys []string
	slots := map[string]uint32{}
	for range 20_000 {
		key := fmt.Sprintf("%03x", r.IntN(600))
		at := sort.SearchStrings(keys, key)
		slot, there := slots[key]
		switch {
		case r.IntN(3) == 0:
			got, ok := o.first([]byte(key))
			if ok != (at < len(keys)) || ok && string(table.Key(got)) != keys[at] {
				t.Fatalf("first from %s", key)
			}
			if got, ok = o.last([]byte(key)); ok != (at > 0) || ok && string(table.Key(got)) != keys[at-1] {
				t.Fatalf("last before %s", key)
			}
		case there:
			o.remove(slot)
			table.Delete(slot)
			delete(slots, key)
			keys = append(keys[:at], keys[at+1:]...)
		default:
			slot, _ = table.Upsert(batch.HashKey([]byte(key)), []byte(key))
			o.add(slot)
			slots[key] = slot
			keys = append(keys[:at], append([]string{key}, keys[at:]...)...)
		}
	}
}

func TestOrderedIsNoDeeperThanItMustBe(t *testing.T) {
	table := state.NewTable(nil)
	o := newOrdered(table)
	const n = 1 << 14
	for i := range n {
		key := fmt.Appendf(nil, "%08d", i)
		slot, _ := table.Upsert(batch.HashKey(key), key)
		o.add(slot)
	}
	deepest := 0
	var walk func(node uint32, depth int)
	walk = func(node uint32, depth int) {
		deepest = max(deepest, depth)
		if node != 0 {
			walk(o.left[node-1], depth+1)
			walk(o.right[node-1], depth+1)
		}
	}
	walk(o.root, 0)
	if deepest > 60 {
		t.Fatalf("%d keys in ascending order are %d deep", n, deepest)
	}
}

func TestFloatsAsIntsKeepTheirOrder(t *testing.T) {
	ascending := []float64{math.Inf(-1), -math.MaxFloat64, -1, -math.SmallestNonzeroFloat64, 0, math.SmallestNonzeroFloat64, 1, math.Inf(1), math.NaN()}
	for i, f := range ascending {
		if i > 0 && orderedInt(ascending[i-1]) >= orderedInt(f) {
			t.Errorf("%v is not before %v", ascending[i-1], f)
		}
		if back := floatOfOrderedInt(orderedInt(f)); math.Float64bits(back) != math.Float64bits(f) {
			t.Errorf("%v comes back as %v", f, back)
		}
	}
	if orderedInt(math.Copysign(0, -1)) != 0 {
		t.Error("-0 is not 0")
	}
}

func TestWideDivisionRoundsHalvesUp(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	toBig := func(a u192) *big.Int {
		v := new(big.Int)
		for _, w := range a {
			v.Or(v.Lsh(v, 64), new(big.Int).SetUint64(w))
		}
		return v
	}
	for range 2000 {
		a := u192{r.Uint64() >> r.IntN(64), r.Uint64(), r.Uint64()}
		d := r.Uint64()>>1>>r.IntN(63) + 1
		q, rem := new(big.Int).QuoRem(toBig(a), new(big.Int).SetUint64(d), new(big.Int))
		if rem.Lsh(rem, 1).Cmp(new(big.Int).SetUint64(d)) >= 0 {
			q.Add(q, big.NewInt(1))
		}
		if got := toBig(a.overHalfUp(d)); got.Cmp(q) != 0 {
			t.Fatalf("%v / %d = %v, want %v", a, d, got, q)
		}
		p, ok := a.times(d)
		want := new(big.Int).Mul(toBig(a), new(big.Int).SetUint64(d))
		if ok != (want.BitLen() <= 192) || ok && toBig(p).Cmp(want) != 0 {
			t.Fatalf("%v * %d = %v, %v", a, d, p, ok)
		}
	}
}
