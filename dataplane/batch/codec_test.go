package batch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDecodedBatchEqualsTheEncodedOne(t *testing.T) {
	checkProperty(t, func(t *rapid.T) {
		b := drawBatch(t)
		from := rapid.IntRange(0, b.Len()).Draw(t, "from")
		to := rapid.IntRange(from, b.Len()).Draw(t, "to")
		want := rowByRow(b, from, to)
		enc := append(b.AppendEncoded([]byte("before"), from, to), "behind"...)
		got := New(b.Schema)
		rest, err := Decode(enc[len("before"):], got, DefaultLimits)
		if err != nil || string(rest) != "behind" {
			t.Fatalf("decode: %v, rest %q", err, rest)
		}
		failIfDifferent(t, "decoded", got, want)
		x, _ := want.Chain(3, 0, want.Len(), nil)
		if y, _ := got.Chain(3, 0, got.Len(), nil); x != y {
			t.Fatalf("chain %x after decoding, %x before", y, x)
		}
		// Again, behind rows that are there already, then into memory full of garbage, with the encoded bytes overwritten.
		if _, err := Decode(enc[len("before"):], got, DefaultLimits); err != nil {
			t.Fatal(err)
		}
		twice := rowByRow(want, 0, want.Len())
		twice.AppendRange(want, 0, want.Len())
		failIfDifferent(t, "decoded twice", got, twice)
		spoilBatch(got)
		if _, err := Decode(enc[len("before"):], got, DefaultLimits); err != nil {
			t.Fatal(err)
		}
		fill(enc, 0xcc)
		failIfDifferent(t, "decoded into used memory", got, want)
	})
}

func TestEncodedBytesDependOnTheRowsAlone(t *testing.T) {
	checkProperty(t, func(t *rapid.T) {
		b := drawBatch(t)
		from := rapid.IntRange(0, b.Len()).Draw(t, "from")
		to := rapid.IntRange(from, b.Len()).Draw(t, "to")
		want := b.AppendEncoded(nil, from, to)
		moved := rowByRow(b, 0, b.Len())
		spoilBatch(moved)
		moved.AppendRange(b, from, to)
		for k := range moved.Cols {
			for len(moved.Cols[k].Nulls) < b.Len()/64+2 {
				moved.Cols[k].Nulls = append(moved.Cols[k].Nulls, 0)
			}
		}
		moved.needWeights()
		dst := bytes.Repeat([]byte{0xab}, 3)[:0]
		if got := moved.AppendEncoded(dst, 0, moved.Len()); !bytes.Equal(got, want) {
			t.Fatalf("the same rows elsewhere give other bytes:\n%x\n%x", got, want)
		}
	})
}

func TestIntegersOfEveryWidthAndFormRoundTrip(t *testing.T) {
	shapes := map[string]func(i int) int64{
		"range": func(i int) int64 { return int64(uint64(i) * 0x9E3779B97F4A7C15) },
		"delta": func(i int) int64 { return int64(i)<<50 + int64(uint64(i)*0x9E3779B97F4A7C15>>60) },
		"runs":  func(i int) int64 { return int64(uint64(i/40) * 0x9E3779B97F4A7C15) },
	}
	for name, shape := range shapes {
		for bits := range 65 {
			for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 9, 17, 64, 65, 1023, 1024, 1025, 3000} {
				b := New(NewSchema(Field{"v", TypeBigInt}))
				for i := range n {
					v := shape(i)
					if name != "delta" {
						v = int64(uint64(v)>>(64-bits)) - 5
					} else {
						v >>= 64 - bits
					}
					b.Cols[0].AppendInt64(v)
				}
				b.SetLen(n)
				got := New(b.Schema)
				// Exactly as many bytes as there are, so that nothing is read behind them.
				enc := bytes.Clone(b.AppendEncoded(nil, 0, n))
				if rest, err := Decode(enc[:len(enc):len(enc)], got, DefaultLimits); err != nil || len(rest) != 0 {
					t.Fatalf("%s of %d bits, %d values: %v, %d bytes left", name, bits, n, err, len(rest))
				}
				failIfDifferent(t, name, got, b)
			}
		}
	}
}

func TestRepetitiveColumnsAreSmall(t *testing.T) {
	const rows = 10000
	cases := []struct {
		name   string
		typ    Type
		put    func(c *Column, i int)
		atMost int
	}{
		{"constant integers", TypeBigInt, func(c *Column, i int) { c.AppendInt64(1 << 40) }, 120},
		{"sequence", TypeBigInt, func(c *Column, i int) { c.AppendInt64(int64(i) * 1000) }, 200},
		{"runs", TypeBigInt, func(c *Column, i int) { c.AppendInt64(int64(i/100) * 7919 % 1000) }, 600},
		{"bits", TypeBigInt, func(c *Column, i int) { c.AppendInt64(int64(i*7919>>3) & 1) }, rows/8 + 100},
		{"true", TypeBoolean, func(c *Column, i int) { c.AppendBool(true) }, 20},
		{"words of a dictionary", TypeString, func(c *Column, i int) { c.AppendString([]string{"insert", "update", "delete"}[i*i%3]) }, rows/4 + 100},
		{"constant doubles", TypeDouble, func(c *Column, i int) { c.AppendFloat64(2.5) }, 150},
		{"small decimals", DecimalOf(30, 2), func(c *Column, i int) { c.AppendDec(Dec{0, uint64(i * 7919 % 250)}) }, rows + 300},
	}
	for _, c := range cases {
		b := New(NewSchema(Field{"v", c.typ}))
		for i := range rows {
			c.put(&b.Cols[0], i)
		}
		b.SetLen(rows)
		enc := b.AppendEncoded(nil, 0, rows)
		if len(enc) > c.atMost {
			t.Errorf("%s: %d bytes, at most %d expected", c.name, len(enc), c.atMost)
		}
		got := New(b.Schema)
		if _, err := Decode(enc, got, DefaultLimits); err != nil {
			t.Fatal(err)
		}
		failIfDifferent(t, c.name, got, b)
	}
}

func TestEncodingAndDecodingAllocateNothing(t *testing.T) {
	if raceDetector {
		t.Skip("allocations are not counted under the race detector")
	}
	b := New(NewSchema(Field{"i", TypeBigInt}, Field{"s", TypeString}, Field{"f", TypeDouble}, Field{"d", DecimalOf(20, 2)}, Field{"a", ArrayOf(TypeInt)}))
	for i := range 2000 {
		b.Cols[0].AppendInt64(int64(i * i))
		b.Cols[1].AppendString([]string{"insert", "update", "delete"}[i%3])
		b.Cols[2].AppendFloat64(float64(i))
		b.Cols[3].AppendDec(Dec{0, uint64(i)})
		b.Cols[4].Children[0].AppendInt64(int64(i))
		b.Cols[4].CloseList()
		b.EndRow([]int8{Insert, Retract}[i&1])
	}
	enc := b.AppendEncoded(nil, 0, b.Len())
	got := New(b.Schema)
	n := testing.AllocsPerRun(100, func() {
		enc = b.AppendEncoded(enc[:0], 0, b.Len())
		got.Reset()
		if _, err := Decode(enc, got, DefaultLimits); err != nil {
			t.Fatal(err)
		}
	})
	if n >= 1 {
		t.Fatalf("%v allocations", n)
	}
}

func TestDecodeRefusesWhatExceedsItsLimits(t *testing.T) {
	constant := func(rows int, typ Type, put func(c *Column)) []byte {
		b := New(NewSchema(Field{"v", typ}))
		for range rows {
			put(&b.Cols[0])
		}
		b.SetLen(rows)
		return b.AppendEncoded(nil, 0, rows)
	}
	list := ArrayOf(TypeInt)
	cases := []struct {
		name   string
		typ    Type
		enc    []byte
		limits Limits
		want   error
	}{
		{"rows", TypeInt, constant(101, TypeInt, func(c *Column) { c.AppendInt64(1) }), Limits{100, 1 << 20}, ErrLimit},
		{"memory of integers", TypeInt, constant(100, TypeInt, func(c *Column) { c.AppendInt64(1) }), Limits{100, 799}, ErrLimit},
		{"memory of a dictionary's values", TypeString, constant(1000, TypeString, func(c *Column) { c.AppendString(strings.Repeat("x", 100)) }), Limits{1000, 90000}, ErrLimit},
		{"elements of lists", list, constant(60, list, func(c *Column) {
			c.Children[0].AppendInt64(1)
			c.Children[0].AppendInt64(1)
			c.CloseList()
		}), Limits{100, 1 << 20}, ErrLimit},
		{"rows that no bytes stand for", TypeInt, binary.AppendUvarint([]byte{codecVersion}, 10<<20), DefaultLimits, ErrCorrupt},
		{"integers that no bytes stand for", TypeInt, append(binary.AppendUvarint([]byte{codecVersion}, 10<<20), 1, 0, byte(KindInt64)<<1, 0, 0), DefaultLimits, ErrCorrupt},
		{"another version", TypeInt, []byte{9, 0, 1, 0, 2}, DefaultLimits, ErrCorrupt},
		{"another schema", TypeString, constant(1, TypeInt, func(c *Column) { c.AppendInt64(1) }), DefaultLimits, ErrCorrupt},
	}
	for _, c := range cases {
		b := New(NewSchema(Field{"v", c.typ}))
		if _, err := Decode(c.enc, b, c.limits); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want one of %v", c.name, err, c.want)
		} else if b.Len() != 0 || b.Cols[0].Len() != 0 || b.MemBytes() > 8 {
			t.Errorf("%s: %d rows and %d bytes are left in the batch", c.name, b.Len(), b.MemBytes())
		}
	}
}

func TestDecodeRefusesNullRowsThatHoldValues(t *testing.T) {
	b := New(NewSchema(Field{"amount", TypeInt}))
	b.Cols[0].AppendInt64(5)
	b.Cols[0].SetNull(0)
	b.EndRow(Insert)
	_, err := Decode(b.AppendEncoded(nil, 0, 1), New(b.Schema), DefaultLimits)
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "column 0 (amount)") {
		t.Fatalf("error %v", err)
	}
}

func TestEveryCutAndEveryFlippedBitIsAnErrorOrAValidBatch(t *testing.T) {
	b := fuzzBatch()
	enc := b.AppendEncoded(nil, 0, b.Len())
	into := New(b.Schema)
	for n := range enc {
		if _, err := Decode(enc[:n:n], into, fuzzLimits); err == nil {
			t.Fatalf("the first %d of %d bytes are accepted", n, len(enc))
		}
	}
	for i := range enc {
		for bit := range 8 {
			enc[i] ^= 1 << bit
			decodeAndCheck(t, enc, into)
			enc[i] ^= 1 << bit
		}
	}
}

var fuzzLimits = Limits{RowsMax: 1 << 14, BytesMax: 1 << 20}

func fuzzSchema() *Schema {
	return NewSchema(Field{"i", TypeBigInt}, Field{"s", TypeString}, Field{"f", TypeDouble}, Field{"b", TypeBoolean}, Field{"d", DecimalOf(20, 2)},
		Field{"m", MapOf(TypeString, ArrayOf(TypeInt))}, Field{"r", RowOf(Field{"x", TypeInt}, Field{"y", TypeString})})
}

func fuzzBatch() *Batch {
	b := New(fuzzSchema())
	for i := range 40 {
		seed := uint64(i)
		next := func() uint64 { seed = seed*6364136223846793005 + 1442695040888963407; return seed >> 33 % 30 }
		for k := range b.Cols {
			drawValue(&b.Cols[k], next, 5)
		}
		b.EndRow([]int8{Insert, Insert, Retract}[i%3])
	}
	return b
}

// decodeAndCheck wants an error, or a batch whose every value can be read, hashed and encoded again to the same rows.
func decodeAndCheck(t *testing.T, src []byte, into *Batch) {
	into.Reset()
	if _, err := Decode(src, into, fuzzLimits); err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrLimit) {
			t.Fatalf("error of neither kind: %v", err)
		}
		return
	}
	x, _ := into.Chain(0, 0, into.Len(), nil)
	again := New(into.Schema)
	if _, err := Decode(into.AppendEncoded(nil, 0, into.Len()), again, fuzzLimits); err != nil {
		t.Fatalf("what was decoded does not decode again: %v", err)
	}
	if y, _ := again.Chain(0, 0, again.Len(), nil); x != y || again.Len() != into.Len() {
		t.Fatalf("what was decoded encodes to other rows")
	}
}

func FuzzDecode(f *testing.F) {
	b := fuzzBatch()
	f.Add(b.AppendEncoded(nil, 0, b.Len()))
	f.Add(b.AppendEncoded(nil, 0, 1))
	f.Add(b.AppendEncoded(nil, 0, 0))
	large := New(fuzzSchema())
	for range 60 {
		large.AppendRange(b, 0, b.Len())
	}
	f.Add(large.AppendEncoded(nil, 0, large.Len()))
	f.Fuzz(func(t *testing.T, src []byte) { decodeAndCheck(t, src, New(fuzzSchema())) })
}

// Another hash means another format: then codecVersion must change too.
func TestEncodedFormOfVersionOneIsThisForever(t *testing.T) {
	b := fuzzBatch()
	enc := b.AppendEncoded(nil, 0, b.Len())
	if h := HashKey(enc); codecVersion != 1 || h != 0xd292ebca243c2417 {
		t.Fatalf("version %d, %d bytes with hash %#x", codecVersion, len(enc), h)
	}
}
