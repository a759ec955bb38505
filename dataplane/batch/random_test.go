package batch

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// drawType is any type, nested up to depth levels.
func drawType(t *rapid.T, depth int) Type {
	flat := []Type{TypeBoolean, TypeTinyInt, TypeInt, TypeBigInt, TypeDouble, DecimalOf(38, 4), TypeString, TypeBytes, TypeDate, TypeTimestamp}
	k := rapid.IntRange(0, len(flat)+2*min(depth, 1)+min(depth, 1)-1).Draw(t, "type")
	if k < len(flat) {
		return flat[k]
	}
	switch k - len(flat) {
	case 0:
		return ArrayOf(drawType(t, depth-1))
	case 1:
		return MapOf(drawType(t, depth-1), drawType(t, depth-1))
	}
	fields := make([]Field, rapid.IntRange(1, 3).Draw(t, "fields"))
	for i := range fields {
		fields[i] = Field{fmt.Sprintf("f%d", i), drawType(t, depth-1)}
	}
	return RowOf(fields...)
}

func drawSchema(t *rapid.T) *Schema {
	fields := make([]Field, rapid.IntRange(0, 4).Draw(t, "columns"))
	for i := range fields {
		fields[i] = Field{fmt.Sprintf("c%d", i), drawType(t, 2)}
	}
	return NewSchema(fields...)
}

// drawRows appends n rows whose values come in the shapes that the codec tells apart.
func drawRows(t *rapid.T, b *Batch, n int) {
	shape := rapid.SampledFrom([]string{"any", "small", "constant", "sequence", "runs"}).Draw(t, "shape")
	nulls := rapid.SampledFrom([]int{0, 2, 7}).Draw(t, "a null every")
	retracts := rapid.SampledFrom([]int{0, 3}).Draw(t, "a retraction every")
	seed := rapid.Uint64().Draw(t, "seed")
	at := uint64(0)
	next := func() uint64 {
		at++
		seed += 0x9E3779B97F4A7C15
		x := (seed ^ seed>>30) * 0xBF58476D1CE4E5B9
		x = (x ^ x>>27) * 0x94D049BB133111EB
		x ^= x >> 31
		switch shape {
		case "any":
			return x >> (x & 63)
		case "small":
			return x % 10
		case "constant":
			return 42
		case "sequence":
			return at * 1000003
		}
		return (at / 50) * 77777777777
	}
	for range n {
		for k := range b.Cols {
			drawValue(&b.Cols[k], next, nulls)
		}
		weight := Insert
		if retracts > 0 && next()%uint64(retracts) == 0 {
			weight = Retract
		}
		b.EndRow(weight)
	}
}

func drawValue(c *Column, next func() uint64, nulls int) {
	if nulls > 0 && next()%uint64(nulls) == 0 {
		c.AppendNull()
		return
	}
	x := next()
	switch c.Kind() {
	case KindInt64:
		c.AppendInt64(int64(x))
	case KindFloat64:
		specials := []float64{math.Copysign(0, -1), 0, math.NaN(), math.Inf(1), math.Inf(-1), float64(x)}
		c.AppendFloat64(specials[x%uint64(len(specials))])
	case KindBool:
		c.AppendBool(x&1 != 0)
	case KindDecimal:
		c.AppendDec(Dec{Hi: int64(x) >> 60, Lo: next()})
	case KindBytes:
		c.AppendString(fmt.Sprint(x)[:int(x%8)%len(fmt.Sprint(x))] + "\x00word"[:x%6])
	case KindList:
		for range x % 4 {
			for _, ch := range c.Children {
				drawValue(ch, next, nulls)
			}
		}
		c.CloseList()
	default:
		for _, ch := range c.Children {
			drawValue(ch, next, nulls)
		}
		c.CloseRow()
	}
}

func drawBatch(t *rapid.T) *Batch {
	b := New(drawSchema(t))
	drawRows(t, b, rapid.SampledFrom([]int{0, 1, 2, 63, 64, 65, 300, 1023, 1024, 1025, 2100}).Draw(t, "rows"))
	return b
}

// rowByRow is the slow definition of a copy of rows [from, to).
func rowByRow(b *Batch, from, to int) *Batch {
	out := New(b.Schema)
	for i := from; i < to; i++ {
		out.AppendRow(b, i)
	}
	return out
}

// failIfDifferent compares values, nulls and weights one by one, through the accessors only.
func failIfDifferent(t interface{ Fatalf(string, ...any) }, what string, got, want *Batch) {
	if h, ok := t.(interface{ Helper() }); ok {
		h.Helper()
	}
	if got.Len() != want.Len() {
		t.Fatalf("%s: %d rows, want %d", what, got.Len(), want.Len())
	}
	for k := range want.Cols {
		if n := got.Cols[k].Len(); n != want.Len() {
			t.Fatalf("%s: column %d has %d rows, want %d", what, k, n, want.Len())
		}
	}
	for i := range want.Len() {
		if got.Weight(i) != want.Weight(i) {
			t.Fatalf("%s: row %d has weight %d, want %d", what, i, got.Weight(i), want.Weight(i))
		}
		for k := range want.Cols {
			if g, w := describe(&got.Cols[k], i), describe(&want.Cols[k], i); g != w {
				t.Fatalf("%s: row %d column %d (%v) is %s, want %s", what, i, k, want.Cols[k].Type, g, w)
			}
		}
	}
}

func describe(c *Column, i int) string {
	null := ""
	if c.IsNull(i) {
		null = "null "
	}
	switch c.Kind() {
	case KindInt64:
		return fmt.Sprint(null, c.Int64s[i])
	case KindFloat64:
		return fmt.Sprintf("%s%x", null, math.Float64bits(c.Float64s[i]))
	case KindBool:
		return fmt.Sprint(null, c.Bools[i])
	case KindDecimal:
		return fmt.Sprint(null, c.Decs[i])
	case KindBytes:
		return fmt.Sprintf("%s%q", null, c.Bytes(i))
	case KindList:
		s := null + "["
		from, to := c.Range(i)
		for j := from; j < to; j++ {
			for _, ch := range c.Children {
				s += describe(ch, j) + ","
			}
		}
		return s + "]"
	}
	s := null + "("
	for _, ch := range c.Children {
		s += describe(ch, i) + ","
	}
	return s + ")"
}

// spoil overwrites all that a batch's columns hold, its unused capacity included.
func spoil(c *Column) {
	fill(c.Int64s, -7)
	fill(c.Float64s, math.Pi)
	fill(c.Bools, true)
	fill(c.Decs, Dec{-1, 12345})
	fill(c.Offsets, 0xdeadbeef)
	fill(c.Data, 0xee)
	fill(c.Nulls, math.MaxUint64)
	for _, ch := range c.Children {
		spoil(ch)
	}
}

func fill[T any](s []T, v T) {
	s = s[:cap(s)]
	for i := range s {
		s[i] = v
	}
}

func spoilBatch(b *Batch) {
	for k := range b.Cols {
		spoil(&b.Cols[k])
	}
	fill(b.Weights, 99)
	b.Reset()
}

func checkProperty(t *testing.T, f func(t *rapid.T)) {
	t.Helper()
	rapid.Check(t, f)
}
