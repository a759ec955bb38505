package batch

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

var keyTypes = []Type{
	TypeBoolean, {ID: TinyInt}, TypeBigInt, TypeDouble, DecimalOf(38, 2), TypeString, TypeBytes, TypeTimestamp,
	ArrayOf(TypeString), MapOf(TypeString, TypeBigInt), RowOf(Field{"a", TypeString}, Field{"b", ArrayOf(TypeBigInt)}),
}

// appendRandom appends a random value, nulls and awkward ones often among them.
func appendRandom(r *rand.Rand, c *Column) {
	if r.IntN(5) == 0 {
		c.AppendNull()
		return
	}
	switch c.Kind() {
	case KindInt64:
		c.AppendInt64([]int64{0, -1, math.MinInt64, math.MaxInt64, int64(r.Uint64())}[r.IntN(5)])
	case KindFloat64:
		c.AppendFloat64([]float64{0, -1.5, math.Inf(1), math.Inf(-1), math.MaxFloat64, r.NormFloat64()}[r.IntN(6)])
	case KindBool:
		c.AppendBool(r.IntN(2) == 0)
	case KindDecimal:
		c.AppendDec(Dec{Hi: int64(r.Uint64()), Lo: r.Uint64()})
	case KindBytes:
		c.AppendString([]string{"", "\x00", "\x00\x01", "a\x00\xff", "\xff\x00", "word"}[r.IntN(6)])
	case KindList:
		for range r.IntN(4) {
			for _, ch := range c.Children {
				appendRandom(r, ch)
			}
		}
		c.CloseList()
	case KindRow:
		for _, ch := range c.Children {
			appendRandom(r, ch)
		}
		c.CloseRow()
	}
}

func TestDecodedKeyEqualsTheEncodedOne(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		s := &Schema{}
		var cols []int
		for i := range r.IntN(4) {
			s.Fields = append(s.Fields, Field{"c", keyTypes[r.IntN(len(keyTypes))]})
			cols = append(cols, i)
		}
		b := New(s)
		for i := range b.Cols {
			appendRandom(r, &b.Cols[i])
		}
		b.EndRow(Insert)
		key := AppendKey(nil, b, cols, 0)
		got := New(s)
		rest := key
		var err error
		for i := range got.Cols {
			if rest, err = AppendKeyValue(&got.Cols[i], rest, i == len(got.Cols)-1); err != nil {
				t.Fatal(s, err)
			}
		}
		got.EndRow(Insert)
		if len(rest) != 0 {
			t.Fatalf("%v: %d bytes are left", s, len(rest))
		}
		want, _ := b.Chain(0, 0, 1, nil)
		if h, _ := got.Chain(0, 0, 1, nil); h != want {
			t.Fatalf("%v: key %x decodes to another row", s, key)
		}
	}
}

func TestDecodedKeyHoldsCanonicalFloats(t *testing.T) {
	for _, c := range []struct{ in, want float64 }{{math.Copysign(0, -1), 0}, {math.Float64frombits(0xFFF8000000000123), math.NaN()}} {
		in, out := NewColumn(TypeDouble), NewColumn(TypeDouble)
		in.AppendFloat64(c.in)
		if _, err := AppendKeyValue(out, AppendKeyColumn(nil, in, 0, true), true); err != nil {
			t.Fatal(err)
		}
		if got := out.Float64s[0]; math.Float64bits(got) != math.Float64bits(c.want) {
			t.Errorf("%v decodes to %x", c.in, math.Float64bits(got))
		}
	}
}

func FuzzKeyDecodeNeverPanicsAndKeepsTheBytes(f *testing.F) {
	f.Add(uint8(2), []byte{1, 128, 0, 0, 0, 0, 0, 0, 5}, true)
	f.Add(uint8(5), []byte("\x01word\x00\x01"), false)
	f.Add(uint8(8), []byte("\x01\x01\x01a\x00\xffb\x00\x01\x00"), false)
	f.Add(uint8(9), []byte{1, 0}, true)
	f.Fuzz(func(t *testing.T, number uint8, key []byte, last bool) {
		c := NewColumn(keyTypes[int(number)%len(keyTypes)])
		rest, err := AppendKeyValue(c, key, last)
		if err != nil {
			if !errors.Is(err, ErrBadKey) {
				t.Fatal(err)
			}
			return
		}
		if c.Len() != 1 || len(rest) > len(key) {
			t.Fatalf("%d rows, %d bytes left of %d", c.Len(), len(rest), len(key))
		}
		if c.Kind() == KindFloat64 || c.Kind() == KindBool {
			return // not every bit pattern is one that AppendKey writes
		}
		if again := AppendKeyColumn(nil, c, 0, last); !bytes.Equal(again, key[:len(key)-len(rest)]) {
			t.Fatalf("%x decodes to what is encoded as %x", key, again)
		}
	})
}
