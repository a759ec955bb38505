package batch

import (
	"bytes"
	"cmp"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestKeyHashesDoNotDependOnHowRowsAreStored(t *testing.T) {
	checkProperty(t, func(t *rapid.T) {
		b := drawBatch(t)
		cols := make([]int, 0, len(b.Cols))
		for k := range b.Cols {
			if rapid.Bool().Draw(t, "key column") {
				cols = append(cols, k)
			}
		}
		whole, scratch := AppendKeyHashes(nil, b, cols, 0, b.Len(), nil)
		cut := rapid.IntRange(0, b.Len()).Draw(t, "cut")
		parts, scratch := AppendKeyHashes(nil, b, cols, 0, cut, scratch)
		parts, _ = AppendKeyHashes(parts, b, cols, cut, b.Len(), scratch)
		// All-zero words in the null bitmap switch the fast way off.
		c := rowByRow(b, 0, b.Len())
		for k := range c.Cols {
			for len(c.Cols[k].Nulls) < b.Len()/64+2 {
				c.Cols[k].Nulls = append(c.Cols[k].Nulls, 0)
			}
		}
		slow, _ := AppendKeyHashes(nil, c, cols, 0, c.Len(), nil)
		for i, h := range whole {
			if one := HashKey(AppendKey(nil, b, cols, i)); h != one || parts[i] != h || slow[i] != h {
				t.Fatalf("row %d hashes to %x, in parts %x, with a longer null bitmap %x, alone %x", i, h, parts[i], slow[i], one)
			}
		}
	})
}

func TestKeyHashesOfIntegersAllocateNothing(t *testing.T) {
	b := New(NewSchema(Field{"v", TypeBigInt}))
	for i := range 100 {
		b.Cols[0].AppendInt64(int64(i))
		b.EndRow(Insert)
	}
	cols, dst, scratch := []int{0}, make([]uint64, 0, 100), make([]byte, 0, 16)
	if n := testing.AllocsPerRun(50, func() { dst, scratch = AppendKeyHashes(dst[:0], b, cols, 0, 100, scratch) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// compareValues is the order of SQL values that key bytes must have: nulls first, NaN last, -0 equal to 0.
func compareValues(c *Column, i, j int) int {
	if a, b := c.IsNull(i), c.IsNull(j); a || b {
		return cmp.Compare(btoi(b), btoi(a))
	}
	switch c.Kind() {
	case KindInt64:
		return cmp.Compare(c.Int64s[i], c.Int64s[j])
	case KindFloat64:
		a, b := c.Float64s[i], c.Float64s[j]
		if math.IsNaN(a) || math.IsNaN(b) {
			return cmp.Compare(btoi(math.IsNaN(a)), btoi(math.IsNaN(b)))
		}
		return cmp.Compare(a, b)
	case KindBool:
		return cmp.Compare(btoi(c.Bools[i]), btoi(c.Bools[j]))
	case KindDecimal:
		return bigOf(c.Decs[i]).Cmp(bigOf(c.Decs[j]))
	case KindBytes:
		return bytes.Compare(c.Bytes(i), c.Bytes(j))
	case KindList:
		a, az := c.Range(i)
		b, bz := c.Range(j)
		for ; a < az && b < bz; a, b = a+1, b+1 {
			for _, ch := range c.Children {
				if x := compareValues(ch, a, b); x != 0 {
					return x
				}
			}
		}
		return cmp.Compare(az-a, bz-b)
	}
	for _, ch := range c.Children {
		if x := compareValues(ch, i, j); x != 0 {
			return x
		}
	}
	return 0
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func bigOf(d Dec) *big.Int {
	x := new(big.Int).Lsh(big.NewInt(d.Hi), 64)
	return x.Add(x, new(big.Int).SetUint64(d.Lo))
}

func TestKeyBytesOrderAsTheirValues(t *testing.T) {
	checkProperty(t, func(t *rapid.T) {
		b := New(drawSchema(t))
		drawRows(t, b, 60)
		cols := make([]int, len(b.Cols))
		keys := make([][]byte, b.Len())
		for k := range cols {
			cols[k] = len(cols) - 1 - k
		}
		for i := range keys {
			keys[i] = AppendKey(nil, b, cols, i)
		}
		for i := range keys {
			for j := range keys {
				want := 0
				for _, k := range cols {
					if want = compareValues(&b.Cols[k], i, j); want != 0 {
						break
					}
				}
				if got := bytes.Compare(keys[i], keys[j]); got != want {
					t.Fatalf("rows %d and %d order %d by value, %d by key %x %x", i, j, want, got, keys[i], keys[j])
				}
			}
		}
	})
}

func TestZeroesAndNaNsOfAllKindsAreOneKey(t *testing.T) {
	b := New(NewSchema(Field{"f", TypeDouble}))
	for _, f := range []float64{0, math.Copysign(0, -1), math.NaN(), math.Float64frombits(math.Float64bits(math.NaN()) | 1<<63), math.Inf(1)} {
		b.Cols[0].AppendFloat64(f)
		b.EndRow(Insert)
	}
	key := func(i int) string { return string(AppendKey(nil, b, []int{0}, i)) }
	if key(0) != key(1) || key(2) != key(3) || key(4) >= key(2) {
		t.Fatalf("keys %x %x %x %x %x", key(0), key(1), key(2), key(3), key(4))
	}
}

// These values route rows to key groups and order state: they may never change.
func TestKeyHashesAreTheseForever(t *testing.T) {
	b := New(NewSchema(Field{"i", TypeBigInt}, Field{"s", TypeString}))
	b.Cols[0].AppendInt64(42)
	b.Cols[1].AppendString("seep")
	b.EndRow(Insert)
	for _, c := range []struct {
		cols []int
		key  string
		hash uint64
	}{
		{[]int{0}, "\x01\x80\x00\x00\x00\x00\x00\x00\x2a", goldenIntHash},
		{[]int{1}, "\x01seep", goldenTextHash},
		{[]int{1, 0}, "\x01seep\x00\x01\x01\x80\x00\x00\x00\x00\x00\x00\x2a", goldenPairHash},
	} {
		key := AppendKey(nil, b, c.cols, 0)
		if string(key) != c.key || HashKey(key) != c.hash {
			t.Errorf("columns %v: key %q hash %#x, want %q %#x", c.cols, key, HashKey(key), c.key, c.hash)
		}
	}
}

const (
	goldenIntHash  = 0x5bf76a388e4adf0a
	goldenTextHash = 0x34c88694591869da
	goldenPairHash = 0x5a5625f2fa2b09d4
)
