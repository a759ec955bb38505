package relational_test

import (
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func newCall(fn string, arg int, result batch.Type, options ...string) plan.AggregateCall {
	c := plan.AggregateCall{Func: fn, Arg: arg, Filter: -1, Type: result}
	if arg >= 0 {
		c.ArgType = rowSchema.Fields[arg].Type
	}
	for _, o := range options {
		switch o {
		case "distinct":
			c.Distinct = true
		case "filter":
			c.Filter = colFilter
		}
	}
	return c
}

var (
	smallInt = batch.Type{ID: batch.SmallInt}
	dec38    = batch.DecimalOf(38, 2)
	decAvg   = batch.DecimalOf(38, 6)
)

func plainCalls() []plan.AggregateCall {
	return []plan.AggregateCall{
		newCall("COUNT", -1, batch.TypeBigInt),
		newCall("COUNT", colText, batch.TypeBigInt),
		newCall("COUNT", -1, batch.TypeBigInt, "filter"),
		newCall("SUM", colWide, batch.TypeBigInt),
		newCall("SUM", colSmall, smallInt, "filter"),
		newCall("SUM", colFloat, batch.TypeDouble),
		newCall("SUM", colDec, dec38),
		newCall("AVG", colSmall, smallInt),
		newCall("AVG", colFloat, batch.TypeDouble, "filter"),
		newCall("AVG", colDec, decAvg),
		newCall("MIN", colWide, batch.TypeBigInt),
		newCall("MAX", colText, batch.TypeString),
		newCall("MIN", colText, batch.TypeString, "filter"),
		newCall("MAX", colFloat, batch.TypeDouble),
		newCall("MIN", colDec, batch.DecimalOf(20, 2)),
		newCall("MAX", colDec, batch.DecimalOf(20, 2), "filter"),
		newCall("MIN", colBool, batch.TypeBoolean),
		newCall("MAX", colEnd, batch.TypeTimestamp),
	}
}

func distinctCalls() []plan.AggregateCall {
	return []plan.AggregateCall{
		newCall("COUNT", colText, batch.TypeBigInt, "distinct"),
		newCall("COUNT", colInt, batch.TypeBigInt, "distinct", "filter"),
		newCall("SUM", colWide, batch.TypeBigInt, "distinct"),
		newCall("SUM", colFloat, batch.TypeDouble, "distinct"),
		newCall("AVG", colDec, decAvg, "distinct"),
		newCall("MIN", colText, batch.TypeString, "distinct"),
		newCall("MAX", colWide, batch.TypeBigInt, "distinct", "filter"),
		newCall("SUM", colDec, dec38),
	}
}

func aggregateOp(mode plan.AggregateMode, keys []int, calls []plan.AggregateCall, updating bool) *plan.Op {
	a := &plan.Aggregate{Mode: mode, Keys: keys, Calls: calls, Updating: updating, InputSchema: rowSchema}
	return &plan.Op{Name: "aggregate#1", Schema: aggregateSchema(a), Aggregate: a}
}

func aggregateSchema(a *plan.Aggregate) *batch.Schema {
	s := &batch.Schema{}
	for _, k := range a.Keys {
		s.Fields = append(s.Fields, a.InputSchema.Fields[k])
	}
	for i, c := range a.Calls {
		s.Fields = append(s.Fields, batch.Field{Name: fmt.Sprintf("c%d", i), Type: c.Type})
	}
	return s
}

var keyChoices = map[string][]int{
	"no key":        {},
	"bigint":        {colInt},
	"string":        {colText},
	"bigint string": {colInt, colText},
	"string bool":   {colText, colBool},
	"decimal":       {colDec, colFloat},
}

// eachCase runs f for every choice of keys, calls, nulls and updates.
func eachCase(t *testing.T, f func(t *testing.T, keys []int, calls []plan.AggregateCall, nulls, updating bool)) {
	for name, keys := range keyChoices {
		for set, calls := range map[string][]plan.AggregateCall{"plain": plainCalls(), "distinct": distinctCalls(), "none": nil} {
			if len(keys)+len(calls) == 0 {
				continue // no columns
			}
			for _, nulls := range []bool{false, true} {
				for _, updating := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/nulls=%v/updating=%v", name, set, nulls, updating), func(t *testing.T) {
						f(t, keys, calls, nulls, updating)
					})
				}
			}
		}
	}
}

func TestRunningAggregateEmitsTheNetChangeOfEachEpoch(t *testing.T) {
	eachCase(t, func(t *testing.T, keys []int, calls []plan.AggregateCall, nulls, updating bool) {
		op := aggregateOp(plan.Running, keys, calls, updating)
		in, plain := randomEpochs(1, 15, 40, nulls, updating)
		got, _ := sameInEveryVariant(t, op, nil, in)
		equalLines(t, "reference", referenceRunning(op.Aggregate, plain), got)
	})
}

func TestAggregateAtEndEmitsFinalRowsInKeyOrder(t *testing.T) {
	eachCase(t, func(t *testing.T, keys []int, calls []plan.AggregateCall, nulls, updating bool) {
		op := aggregateOp(plan.AtEnd, keys, calls, updating)
		in, plain := randomEpochs(2, 12, 40, nulls, updating)
		got, _ := sameInEveryVariant(t, op, nil, in)
		want := make([][]string, len(in))
		for g := topology.KeyGroup(0); g < 3; g++ {
			var rows []row
			for _, byGroup := range plain {
				rows = append(rows, byGroup[g]...)
			}
			lines := referenceFinal(op.Aggregate, rows, keys)
			if len(lines) == 0 && len(keys) == 0 && g == 0 {
				lines = []string{"+1|" + join(callsText(op.Aggregate, nil))}
			}
			want[len(in)-1] = append(want[len(in)-1], lines...)
		}
		equalLines(t, "reference", want, got)
	})
}

func TestWindowsFireInOrderOfTheirEndAndLateRowsAreCounted(t *testing.T) {
	for name, keys := range map[string][]int{"end": {colEnd}, "end first": {colEnd, colText}, "end last": {colText, colInt, colEnd}} {
		for set, calls := range map[string][]plan.AggregateCall{"plain": plainCalls(), "distinct": distinctCalls()} {
			for _, updating := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/updating=%v", name, set, updating), func(t *testing.T) {
					op := aggregateOp(plan.Window, keys, calls, updating)
					for i, k := range keys {
						if k == colEnd {
							op.Aggregate.WindowEnd = i
						}
					}
					in, plain := randomEpochs(3, 20, 40, true, false)
					got, late := sameInEveryVariant(t, op, nil, in)
					want, wantLate := referenceWindows(op.Aggregate, in, plain)
					equalLines(t, "reference", want, got)
					if late != wantLate || late == 0 {
						t.Fatalf("%d rows late, want %d", late, wantLate)
					}
				})
			}
		}
	}
}

func referenceWindows(a *plan.Aggregate, in []epochInput, plain []map[topology.KeyGroup][]row) (lines [][]string, late int64) {
	order := []int{colEnd}
	for _, k := range a.Keys {
		if k != colEnd {
			order = append(order, k)
		}
	}
	waiting := map[topology.KeyGroup][]row{}
	for e, byGroup := range plain {
		var fired []string
		for g := topology.KeyGroup(0); g < 3; g++ {
			for _, x := range byGroup[g] {
				if x.values[colEnd].(int64)-1 <= in[e].before {
					late++
				} else {
					waiting[g] = append(waiting[g], x)
				}
			}
			var due, rest []row
			for _, x := range waiting[g] {
				if x.values[colEnd].(int64)-1 <= in[e].after {
					due = append(due, x)
				} else {
					rest = append(rest, x)
				}
			}
			waiting[g] = rest
			fired = append(fired, referenceFinal(a, due, order)...)
		}
		lines = append(lines, fired)
	}
	return lines, late
}

func join(parts []string) string {
	s := ""
	for i, p := range parts {
		if i > 0 {
			s += "|"
		}
		s += p
	}
	return s
}
