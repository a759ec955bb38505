package relational_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func column(i int) *expr.Node {
	f := rowSchema.Fields[i]
	return expr.ColumnNode(i, f.Name, f.Type, ast.Pos{})
}

func callNode(name string, t batch.Type, args ...*expr.Node) *expr.Node {
	return &expr.Node{Op: expr.OpCall, Func: name, Type: t, Args: args}
}

func bigint(v int64) *expr.Node {
	return expr.LiteralNode(expr.IntValue(v), batch.TypeBigInt, ast.Pos{})
}

func schemaOf(types ...batch.Type) *batch.Schema {
	s := &batch.Schema{}
	for i, t := range types {
		s.Fields = append(s.Fields, batch.Field{Name: fmt.Sprintf("c%d", i), Type: t})
	}
	return s
}

// stream is rows of several key groups, in order per key group.
func randomStream(seed uint64, rows int) map[topology.KeyGroup][]row {
	r := rand.New(rand.NewPCG(seed, 3))
	out := map[topology.KeyGroup][]row{}
	for range rows {
		g := topology.KeyGroup(r.IntN(4))
		x := randomRow(r, true, 1)
		if r.IntN(4) == 0 {
			x.weight = batch.Retract
		}
		out[g] = append(out[g], x)
	}
	return out
}

// pieces cuts a stream into pieces of at most n rows a key group.
func pieces(stream map[topology.KeyGroup][]row, n int) []*relational.Grouped {
	var out []*relational.Grouped
	for from := 0; ; from += n {
		p := &relational.Grouped{Batch: batch.New(rowSchema), Offsets: []uint32{0}}
		for g := topology.KeyGroup(0); g < 4; g++ {
			rows := stream[g]
			if from >= len(rows) {
				continue
			}
			b := batches(map[topology.KeyGroup][]row{g: rows[from:min(len(rows), from+n)]})[g]
			p.Batch.AppendRange(b, 0, b.Len())
			p.Groups = append(p.Groups, g)
			p.Offsets = append(p.Offsets, uint32(p.Batch.Len()))
			p.Base = append(p.Base, uint32(from))
		}
		if len(p.Groups) == 0 {
			return out
		}
		out = append(out, p)
	}
}

// runStateless gives the output rows per key group, each with its index in the key group's stream.
func runStateless(t *testing.T, op *plan.Op, in []*relational.Grouped) map[topology.KeyGroup][]string {
	t.Helper()
	built, err := relational.Build(op, nil, 42)
	check(t, err)
	k := built.(relational.Stateless)
	out := &relational.Grouped{Batch: batch.New(op.Schema)}
	got := map[topology.KeyGroup][]string{}
	for range 2 { // the same epoch once more: nothing may be left from the first time
		clear(got)
		for _, p := range in {
			out.Reset()
			before := rowLines(p.Batch)
			ctx := &relational.Context{Epoch: 3, Env: expr.Env{Epoch: 3, Seed: 9}}
			check(t, k.Apply(ctx, p, out))
			if strings.Join(before, "\n") != strings.Join(rowLines(p.Batch), "\n") {
				t.Fatal("the input was changed")
			}
			lines := rowLines(out.Batch)
			if len(out.Groups) > 0 && (len(out.Offsets) != len(out.Groups)+1 || int(out.Offsets[len(out.Groups)]) != len(lines)) || len(out.Groups) == 0 && len(lines) > 0 {
				t.Fatalf("%d rows, key groups %v, offsets %v", len(lines), out.Groups, out.Offsets)
			}
			for i, g := range out.Groups {
				base := uint32(0)
				if len(out.Base) > 0 {
					base = out.Base[i]
				}
				if out.Offsets[i] == out.Offsets[i+1] {
					t.Fatalf("key group %d is there without rows", g)
				}
				for r := out.Offsets[i]; r < out.Offsets[i+1]; r++ {
					if int(base) != len(got[g])-int(r-out.Offsets[i]) {
						t.Fatalf("key group %d: base %d after %d rows", g, base, len(got[g]))
					}
					got[g] = append(got[g], lines[r])
				}
			}
		}
	}
	return got
}

func sameHoweverCut(t *testing.T, op *plan.Op, stream map[topology.KeyGroup][]row) map[topology.KeyGroup][]string {
	t.Helper()
	want := runStateless(t, op, pieces(stream, 1000))
	for _, n := range []int{1, 7, 64} {
		got := runStateless(t, op, pieces(stream, n))
		for g := range want {
			equalLines(t, fmt.Sprintf("pieces of %d, key group %d", n, g), [][]string{want[g]}, [][]string{got[g]})
		}
	}
	return want
}

func TestCalcFiltersAndProjectsHoweverTheStreamIsCut(t *testing.T) {
	positive := callNode(">", batch.TypeBoolean, column(colInt), bigint(0))
	never := callNode(">", batch.TypeBoolean, column(colWide), bigint(5000))
	sum := callNode("+", batch.TypeBigInt, column(colInt), column(colWide))
	random := &expr.Node{Op: expr.OpCall, Func: "RAND", Type: batch.TypeDouble, Site: 1}
	stream := randomStream(5, 300)
	for name, filter := range map[string]*expr.Node{"all": nil, "some": positive, "none": never} {
		t.Run(name, func(t *testing.T) {
			op := &plan.Op{Name: "calc#1", Calc: &plan.Calc{Filter: filter, Project: []*expr.Node{column(colText), sum, column(colDec), random, bigint(3)}},
				Schema: schemaOf(batch.TypeString, batch.TypeBigInt, batch.DecimalOf(20, 2), batch.TypeDouble, batch.TypeBigInt)}
			got := sameHoweverCut(t, op, stream)
			for g := topology.KeyGroup(0); g < 4; g++ {
				var want []string
				for _, x := range stream[g] {
					i, w := x.values[colInt], x.values[colWide]
					if name == "none" || name == "some" && (i == nil || i.(int64) <= 0) {
						continue
					}
					var sum any
					if i != nil && w != nil {
						sum = i.(int64) + w.(int64)
					}
					want = append(want, join([]string{fmt.Sprintf("%+d", x.weight), valueText(x.values[colText]), valueText(sum), valueText(x.values[colDec])}))
				}
				randoms := map[string]bool{}
				for i, line := range got[g] {
					parts := strings.Split(line, "|")
					if join(parts[:4]) != want[i] || parts[5] != "3" {
						t.Fatalf("key group %d, row %d: %s, want %s", g, i, line, want[i])
					}
					randoms[parts[4]] = true
				}
				if len(got[g]) != len(want) || len(randoms) != len(want) {
					t.Fatalf("key group %d: %d rows with %d random numbers, want %d", g, len(got[g]), len(randoms), len(want))
				}
			}
		})
	}
}

func TestCalcNamesTheInputsRowThatFails(t *testing.T) {
	positive := callNode(">", batch.TypeBoolean, column(colInt), bigint(0))
	quotient := callNode("/", batch.TypeBigInt, column(colWide), column(colSmall))
	quotient.Args[1] = &expr.Node{Op: expr.OpCast, Type: batch.TypeBigInt, Args: []*expr.Node{column(colSmall)}}
	op := &plan.Op{Name: "calc#7", Calc: &plan.Calc{Filter: positive, Project: []*expr.Node{quotient}}, Schema: schemaOf(batch.TypeBigInt)}
	built, err := relational.Build(op, nil, 0)
	check(t, err)
	b := batch.New(rowSchema)
	for i := range 6 {
		x := randomRow(rand.New(rand.NewPCG(1, 1)), false, 1)
		x.values[colInt], x.values[colSmall] = int64(i%2), int64(5-i)
		for c, v := range x.values {
			appendValue(&b.Cols[c], v)
		}
		b.EndRow(batch.Insert)
	}
	in := &relational.Grouped{Batch: b, Groups: []topology.KeyGroup{2}, Offsets: []uint32{0, 6}}
	err = built.(relational.Stateless).Apply(&relational.Context{}, in, &relational.Grouped{Batch: batch.New(op.Schema)})
	var at *expr.RowError
	if !errors.As(err, &at) || at.Row != 5 || !strings.Contains(err.Error(), "division") {
		t.Fatalf("got %v", err)
	}
}

// wordsFunction gives the words of its argument between 'a's; none of a null.
type wordsFunction struct{}

func (wordsFunction) Call(args []*batch.Column, i int, out *batch.Batch) (int, error) {
	if args[0].IsNull(i) {
		return 0, nil
	}
	n := 0
	for _, w := range strings.Split(string(args[0].Bytes(i)), "a") {
		if w == "" {
			continue
		}
		out.Cols[0].AppendString(w)
		out.Cols[1].AppendInt64(int64(n))
		out.EndRow(batch.Insert)
		n++
	}
	return n, nil
}

func TestFlatMapJoinsEachRowWithItsRows(t *testing.T) {
	check(t, expr.RegisterTableFunction(expr.TableFunctionDef{Name: "WORDS_OF_TEST",
		Check: func([]batch.Type) ([]batch.Field, error) {
			return schemaOf(batch.TypeString, batch.TypeBigInt).Fields, nil
		},
		New: func([]batch.Type) (expr.TableFunction, error) { return wordsFunction{}, nil }}))
	stream := randomStream(6, 300)
	for _, outer := range []bool{false, true} {
		op := &plan.Op{Name: "flatmap#1", Schema: schemaOf(batch.TypeBigInt, batch.DecimalOf(20, 2), batch.TypeString, batch.TypeBigInt),
			FlatMap: &plan.FlatMap{Function: "words_of_test", Args: []*expr.Node{column(colText)}, Keep: []int{colInt, colDec}, Outer: outer}}
		got := sameHoweverCut(t, op, stream)
		for g := topology.KeyGroup(0); g < 4; g++ {
			var want []string
			for _, x := range stream[g] {
				head := []string{fmt.Sprintf("%+d", x.weight), valueText(x.values[colInt]), valueText(x.values[colDec])}
				n := 0
				if s, ok := x.values[colText].(string); ok {
					for _, w := range strings.Split(s, "a") {
						if w != "" {
							want = append(want, join(append(head[:3:3], valueText(w), fmt.Sprint(n))))
							n++
						}
					}
				}
				if n == 0 && outer {
					want = append(want, join(append(head[:3:3], "NULL", "NULL")))
				}
			}
			equalLines(t, "reference", [][]string{want}, [][]string{got[g]})
		}
	}
}

func TestBuildNamesTheOperatorThatDoesNotFit(t *testing.T) {
	for name, op := range map[string]*plan.Op{
		"no kernel":       {Schema: rowSchema, Union: &plan.Union{}},
		"schema":          {Schema: schemaOf(batch.TypeString), Calc: &plan.Calc{Project: []*expr.Node{column(colInt)}}},
		"table function":  {Schema: schemaOf(batch.TypeString), FlatMap: &plan.FlatMap{Function: "nowhere"}},
		"custom operator": {Schema: schemaOf(batch.TypeString), Process: &plan.Process{Operator: "nowhere", InputSchema: rowSchema}},
		"sum of text":     aggregateOp(plan.Running, nil, []plan.AggregateCall{newCall("SUM", colText, batch.TypeString)}, false),
		"function":        aggregateOp(plan.Running, nil, []plan.AggregateCall{newCall("MEDIAN", colInt, batch.TypeBigInt)}, false),
		"mode":            aggregateOp(9, nil, nil, false),
		"partial updates": {Schema: schemaOf(batch.TypeBigInt, batch.TypeBigInt), Partial: &plan.Aggregate{InputSchema: rowSchema, Updating: true, Calls: []plan.AggregateCall{newCall("SUM", colInt, batch.TypeBigInt)}}},
		"partial minimum": {Schema: schemaOf(batch.TypeBigInt, batch.TypeBigInt), Partial: &plan.Aggregate{InputSchema: rowSchema, Updating: true, Calls: []plan.AggregateCall{newCall("COUNT", -1, batch.TypeBigInt), newCall("MIN", colInt, batch.TypeBigInt)}}},
	} {
		op.Name = "this#1"
		if _, err := relational.Build(op, nil, 0); err == nil || !strings.Contains(err.Error(), "operator this#1: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
