package relational_test

import (
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// partialOps are the two halves of a pre-aggregated op.
func partialOps(t *testing.T, op *plan.Op) (first, second *plan.Op) {
	t.Helper()
	a := *op.Aggregate
	schema := &batch.Schema{Fields: append([]batch.Field{}, op.Schema.Fields[:len(a.Keys)]...)}
	for i, c := range a.Calls {
		fields, ok := c.PartialFields(fmt.Sprintf("c%d_", i), a.Updating)
		if !ok {
			t.Fatalf("%s cannot be pre-aggregated", c.Func)
		}
		schema.Fields = append(schema.Fields, fields...)
	}
	b := a
	b.FromPartial = true
	return &plan.Op{Name: "partial#1", Schema: schema, Partial: &a}, &plan.Op{Name: "aggregate#2", Schema: op.Schema, Aggregate: &b}
}

// runPartial runs the first half and makes its rows the input of the second.
func runPartial(t *testing.T, op *plan.Op, in []epochInput, v variant) []epochInput {
	t.Helper()
	out := make([]epochInput, len(in))
	for e := range in {
		out[e] = epochInput{before: in[e].before, after: in[e].after, rows: map[topology.KeyGroup]*batch.Batch{}}
	}
	built, err := relational.Build(op, nil, 0)
	check(t, err)
	k := built.(relational.Keyed)
	for g := topology.KeyGroup(0); g < 3; g++ {
		group := &relational.Group{ID: g}
		check(t, k.Open(group))
		for e := range in {
			rows := in[e].rows[g]
			if rows == nil {
				continue
			}
			b := batch.New(op.Schema)
			ctx := &relational.Context{Epoch: topology.Epoch(e + 1)}
			feed(t, k, ctx, group, rows, b, v)
			check(t, k.End(ctx, group, b))
			out[e].rows[g] = b
		}
	}
	return out
}

func updatableCalls() []plan.AggregateCall {
	var out []plan.AggregateCall
	for _, c := range plainCalls() {
		if c.Func != "MIN" && c.Func != "MAX" {
			out = append(out, c)
		}
	}
	return out
}

func TestPartialThenAggregateIsTheAggregateOfTheRows(t *testing.T) {
	for name, keys := range keyChoices {
		for _, updating := range []bool{false, true} {
			for _, nulls := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/updating=%v/nulls=%v", name, updating, nulls), func(t *testing.T) {
					calls := plainCalls()
					if updating {
						calls = updatableCalls()
					}
					op := aggregateOp(plan.Running, keys, calls, updating)
					first, second := partialOps(t, op)
					in, plain := randomEpochs(4, 12, 60, nulls, updating)
					want := runPartial(t, first, in, variants[0])
					for _, v := range variants[1:] {
						got := runPartial(t, first, in, v)
						for e := range want {
							for g, b := range want[e].rows {
								equalLines(t, v.String(), [][]string{rowLines(b)}, [][]string{rowLines(got[e].rows[g])})
							}
						}
					}
					got, _ := sameInEveryVariant(t, second, nil, want)
					equalLines(t, "reference", referenceRunning(op.Aggregate, plain), got)
				})
			}
		}
	}
}

func TestPartialKeepsOrderOfFirstTouchOverManyKeys(t *testing.T) {
	schema := batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt}, batch.Field{Name: "s", Type: batch.TypeString})
	for _, keys := range [][]int{{0}, {1}, {0, 1}, {0, 0}} {
		a := &plan.Aggregate{Mode: plan.Running, Keys: keys, InputSchema: schema, Calls: []plan.AggregateCall{newCall("COUNT", -1, batch.TypeBigInt)}}
		out := &batch.Schema{}
		for _, k := range keys {
			out.Fields = append(out.Fields, schema.Fields[k])
		}
		out.Fields = append(out.Fields, batch.Field{Name: "n", Type: batch.TypeBigInt})
		built, err := relational.Build(&plan.Op{Name: "partial#1", Schema: out, Partial: a}, nil, 0)
		check(t, err)
		k := built.(relational.Keyed)
		for _, n := range []int{30_000, 5, 20_000, 0, 7000} { // grows, shrinks, grows
			b := batch.New(schema)
			for i := range n {
				v := int64(i*7919%max(1, n*2/3)) << 20
				b.Cols[0].AppendInt64(v)
				b.Cols[1].AppendString(fmt.Sprint("key ", v))
				b.EndRow(batch.Insert)
			}
			got := batch.New(out)
			check(t, k.Rows(&relational.Context{}, &relational.Group{}, 0, b, 0, n, got))
			check(t, k.End(&relational.Context{}, &relational.Group{}, got))
			counts := map[int64]int64{}
			var order []int64
			for _, v := range b.Cols[0].Int64s {
				if counts[v]++; counts[v] == 1 {
					order = append(order, v)
				}
			}
			if got.Len() != len(order) {
				t.Fatalf("keys %v: %d keys of %d", keys, got.Len(), len(order))
			}
			for i, v := range order {
				if c := got.Cols[len(keys)].Int64s[i]; c != counts[v] {
					t.Fatalf("keys %v: key %d counts %d, want %d", keys, i, c, counts[v])
				}
				if keys[0] == 0 && got.Cols[0].Int64s[i] != v || keys[0] == 1 && string(got.Cols[0].Bytes(i)) != fmt.Sprint("key ", v) {
					t.Fatalf("keys %v: key %d is another", keys, i)
				}
			}
		}
	}
}
