package relational_test

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// rowsOf makes one epoch of rows for key group 0; only the columns that a test names are set.
func rowsOf(rows ...row) epochInput {
	for i := range rows {
		set := rows[i].values
		rows[i].values = make([]any, len(rowSchema.Fields))
		rows[i].values[colEnd] = int64(0)
		for k := 0; k < len(set); k += 2 {
			rows[i].values[set[k].(int)] = set[k+1]
		}
		if rows[i].weight == 0 {
			rows[i].weight = batch.Insert
		}
	}
	return epochInput{before: topology.WatermarkNone, after: topology.WatermarkNone, rows: batches(map[topology.KeyGroup][]row{0: rows})}
}

func set(values ...any) row      { return row{values: values} }
func takeBack(values ...any) row { return row{batch.Retract, values} }

func TestKeysComeBackCanonical(t *testing.T) {
	negativeZero := math.Copysign(0, -1)
	op := aggregateOp(plan.Running, []int{colFloat}, []plan.AggregateCall{newCall("COUNT", -1, batch.TypeBigInt)}, true)
	in := []epochInput{
		rowsOf(set(colFloat, negativeZero), set(colFloat, math.NaN())),
		rowsOf(set(colFloat, 0.0), takeBack(colFloat, math.Float64frombits(0xFFF8000000000001))),
	}
	got, _ := sameInEveryVariant(t, op, nil, in)
	zero, nan := valueText(0.0), valueText(math.NaN())
	equalLines(t, "floats", [][]string{{"+1|" + zero + "|1", "+1|" + nan + "|1"}, {"-1|" + zero + "|1", "+1|" + zero + "|2", "-1|" + nan + "|1"}}, got)
}

func TestDecimalSumsThatOverflowAreNull(t *testing.T) {
	big1 := new(big.Int).Exp(big.NewInt(10), big.NewInt(38), nil)
	big1.Sub(big1, big.NewInt(1))
	wide := batch.DecimalOf(38, 2)
	for _, partial := range []bool{false, true} {
		calls := []plan.AggregateCall{newCall("COUNT", -1, batch.TypeBigInt), {Func: "SUM", Arg: colDec, ArgType: wide, Filter: -1, Type: wide}}
		op := aggregateOp(plan.Running, []int{colInt}, calls, true)
		var many []row
		for range 9 { // far beyond 128 bits
			many = append(many, set(colInt, int64(1), colDec, big1))
		}
		in := []epochInput{
			rowsOf(set(colInt, int64(1), colDec, big1)),
			rowsOf(many...),
			rowsOf(set(colInt, int64(2), colDec, new(big.Int).Neg(big1))),
		}
		want := [][]string{{"+1|1|1|" + big1.String()}, {"-1|1|1|" + big1.String(), "+1|1|10|NULL"}, {"+1|2|1|-" + big1.String()}}
		if !partial {
			var back []row
			for range 9 {
				back = append(back, takeBack(colInt, int64(1), colDec, big1))
			}
			in = append(in, rowsOf(back...))
			want = append(want, []string{"-1|1|10|NULL", "+1|1|1|" + big1.String()})
			got, _ := sameInEveryVariant(t, op, nil, in)
			equalLines(t, "raw", want, got)
			continue
		}
		first, second := partialOps(t, op)
		got, _ := sameInEveryVariant(t, second, nil, runPartial(t, first, in, variants[0]))
		equalLines(t, "partial", want, got)
	}
}

func TestSumsWrapInTheirTypeAsInFlink(t *testing.T) {
	op := aggregateOp(plan.Running, nil, []plan.AggregateCall{newCall("SUM", colSmall, smallInt), newCall("AVG", colSmall, smallInt), newCall("SUM", colWide, batch.TypeBigInt)}, false)
	in := []epochInput{rowsOf(set(colSmall, int64(32767), colWide, int64(math.MaxInt64)), set(colSmall, int64(-2)), set(colSmall, int64(32767), colWide, int64(1)))}
	got, _ := sameInEveryVariant(t, op, nil, in)
	equalLines(t, "sums", [][]string{{"+1|-4|21844|-9223372036854775808"}}, got)
}

func TestWindowWithoutATimeIsAnErrorThatNamesTheOperator(t *testing.T) {
	op := aggregateOp(plan.Window, []int{colEnd}, nil, false)
	built, err := relational.Build(op, nil, 0)
	check(t, err)
	g := &relational.Group{ID: 3, State: state.NewGroup()}
	k := built.(relational.Keyed)
	check(t, k.Open(g))
	b := batch.New(rowSchema)
	for c := range b.Cols {
		b.Cols[c].AppendNull()
	}
	b.EndRow(batch.Insert)
	err = k.Rows(&relational.Context{}, g, 0, b, 0, 1, batch.New(op.Schema))
	if err == nil || !strings.Contains(err.Error(), "window is NULL") {
		t.Fatalf("got %v", err)
	}
}

func TestRetractionsInAnInputThatOnlyGrowsAreRefused(t *testing.T) {
	op := aggregateOp(plan.Running, nil, nil, false)
	op.Schema = batch.NewSchema()
	built, err := relational.Build(op, nil, 0)
	check(t, err)
	g := &relational.Group{State: state.NewGroup()}
	k := built.(relational.Keyed)
	check(t, k.Open(g))
	in := rowsOf(takeBack()).rows[0]
	if err = k.Rows(&relational.Context{}, g, 0, in, 0, 1, batch.New(op.Schema)); err == nil || !strings.Contains(err.Error(), "retraction") {
		t.Fatalf("got %v", err)
	}
}

func TestTouchingKeysThatExistAllocatesNothing(t *testing.T) {
	for name, op := range map[string]*plan.Op{
		"running":  aggregateOp(plan.Running, []int{colInt, colText}, append(plainCalls(), distinctCalls()...), false),
		"updating": aggregateOp(plan.Running, []int{colText}, append(plainCalls(), distinctCalls()...), true),
		"bigint":   aggregateOp(plan.Running, []int{colWide}, plainCalls(), false),
		"at end":   aggregateOp(plan.AtEnd, []int{colText}, plainCalls(), false),
		"partial":  {Partial: aggregateOp(plan.Running, []int{colText}, plainCalls(), false).Aggregate},
	} {
		if op.Partial != nil {
			first, _ := partialOps(t, aggregateOp(plan.Running, []int{colText}, plainCalls(), false))
			op = first
		}
		op.Name = name
		built, err := relational.Build(op, nil, 0)
		check(t, err)
		k := built.(relational.Keyed)
		g := &relational.Group{State: state.NewGroup()}
		check(t, k.Open(g))
		in, _ := randomEpochs(11, 1, 3000, true, false)
		rows := in[0].rows[0]
		out := batch.New(op.Schema)
		ctx := &relational.Context{WatermarkBefore: topology.WatermarkNone}
		epoch := func() {
			out.Reset()
			ctx.Epoch++
			g.State.Begin(ctx.Epoch)
			if k.Rows(ctx, g, 0, rows, 0, rows.Len(), out) != nil || k.End(ctx, g, out) != nil {
				t.Fatal("failed")
			}
		}
		epoch()
		epoch()
		if n := testing.AllocsPerRun(5, epoch); n != 0 {
			t.Errorf("%s: %v allocations an epoch", name, n)
		}
	}
}
