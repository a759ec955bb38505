package batch

import (
	"testing"

	"pgregory.net/rapid"
)

func TestAppendRangeAndAppendGatherEqualAppendRow(t *testing.T) {
	checkProperty(t, func(t *rapid.T) {
		src := drawBatch(t)
		from := rapid.IntRange(0, src.Len()).Draw(t, "from")
		to := rapid.IntRange(from, src.Len()).Draw(t, "to")
		idx := make([]uint32, 0, to-from)
		for i := from; i < to; i++ {
			idx = append(idx, uint32(i))
		}
		want := rowByRow(src, from, to)
		// A used batch with garbage in its memory, to which rows come in two parts.
		got := rowByRow(src, 0, src.Len())
		spoilBatch(got)
		cut := rapid.IntRange(from, to).Draw(t, "cut")
		got.AppendRange(src, from, cut)
		got.AppendRange(src, cut, to)
		failIfDifferent(t, "AppendRange", got, want)
		spoilBatch(got)
		got.AppendGather(src, idx[:cut-from])
		got.AppendGather(src, idx[cut-from:])
		failIfDifferent(t, "AppendGather", got, want)
	})
}

func TestGatherFollowsItsIndex(t *testing.T) {
	checkProperty(t, func(t *rapid.T) {
		src := drawBatch(t)
		if src.Len() == 0 {
			return
		}
		idx := rapid.SliceOfN(rapid.Uint32Range(0, uint32(src.Len()-1)), 0, 100).Draw(t, "idx")
		got, want := New(src.Schema), New(src.Schema)
		got.AppendGather(src, idx)
		for _, i := range idx {
			want.AppendRow(src, int(i))
		}
		failIfDifferent(t, "AppendGather", got, want)
	})
}

func TestResetBatchKeepsNoNullsAndNoWeights(t *testing.T) {
	b := New(NewSchema(Field{"v", TypeBigInt}, Field{"s", TypeString}))
	for range 100 {
		b.Cols[0].AppendNull()
		b.Cols[1].AppendNull()
		b.EndRow(Retract)
	}
	spoilBatch(b)
	for range 100 {
		b.Cols[0].AppendInt64(1)
		b.Cols[1].AppendString("x")
		b.EndRow(Insert)
	}
	if b.Weights != nil || b.Cols[0].HasNulls() || b.Cols[1].HasNulls() {
		t.Fatalf("weights %v, nulls %v %v after Reset", b.Weights, b.Cols[0].Nulls, b.Cols[1].Nulls)
	}
	b.Cols[0].AppendNull()
	b.Cols[1].AppendNull()
	b.EndRow(Retract)
	for i := range 101 {
		if b.Cols[0].IsNull(i) != (i == 100) || (b.Weight(i) == Retract) != (i == 100) {
			t.Fatalf("row %d: null %v, weight %d", i, b.Cols[0].IsNull(i), b.Weight(i))
		}
	}
}

func TestRefilledBatchAllocatesNothing(t *testing.T) {
	src := New(NewSchema(Field{"v", TypeBigInt}, Field{"s", TypeString}, Field{"a", ArrayOf(TypeInt)}))
	for i := range 500 {
		src.Cols[0].AppendInt64(int64(i))
		src.Cols[1].AppendString("word")
		src.Cols[2].Children[0].AppendInt64(5)
		src.Cols[2].CloseList()
		src.EndRow([]int8{Insert, Retract}[i%2])
	}
	b := New(src.Schema)
	if n := testing.AllocsPerRun(50, func() {
		b.Reset()
		b.AppendRange(src, 0, src.Len())
	}); n != 0 {
		t.Fatalf("%v allocations to refill a batch", n)
	}
}

func TestZeroNullsLeavesOnlyZeroValuesUnderNulls(t *testing.T) {
	b := New(NewSchema(Field{"i", TypeInt}, Field{"f", TypeDouble}, Field{"b", TypeBoolean}, Field{"d", DecimalOf(9, 2)}))
	for i := range 130 {
		b.Cols[0].AppendInt64(7)
		b.Cols[1].AppendFloat64(7)
		b.Cols[2].AppendBool(true)
		b.Cols[3].AppendDec(Dec{0, 7})
		if i%3 == 0 {
			for k := range b.Cols {
				b.Cols[k].SetNull(i)
			}
		}
		b.EndRow(Insert)
	}
	for k := range b.Cols {
		b.Cols[k].ZeroNulls()
		for i := range b.Len() {
			if b.Cols[k].isZero(i) != (i%3 == 0) {
				t.Fatalf("column %d row %d: zero %v", k, i, b.Cols[k].isZero(i))
			}
		}
	}
}

func TestRowCursorReadsEveryKind(t *testing.T) {
	b := New(NewSchema(Field{"i", TypeInt}, Field{"f", TypeDouble}, Field{"b", TypeBoolean}, Field{"d", DecimalOf(9, 2)}, Field{"s", TypeString}))
	b.Cols[0].AppendInt64(-3)
	b.Cols[1].AppendFloat64(2.5)
	b.Cols[2].AppendBool(true)
	b.Cols[3].AppendDec(Dec{-1, 9})
	b.Cols[4].AppendString("héllo")
	b.EndRow(Retract)
	r := b.Row(0)
	if r.Int64(0) != -3 || r.Float64(1) != 2.5 || !r.Bool(2) || r.Dec(3) != (Dec{-1, 9}) || r.Text(4) != "héllo" || r.Weight() != Retract || r.IsNull(4) {
		t.Fatalf("row reads %v %v %v %v %v %v", r.Int64(0), r.Float64(1), r.Bool(2), r.Dec(3), r.Text(4), r.Weight())
	}
	if string(r.Bytes(4)) != r.Text(4) || b.MemBytes() == 0 {
		t.Fatal("Bytes and Text differ, or the batch takes no memory")
	}
}
