package relational

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
)

// flatMapKernel is plan.FlatMap. As with a filtering calcKernel, all pieces of a key group in one epoch must go through one
// kernel, in order.
type flatMapKernel struct {
	name     string
	function expr.TableFunction
	programs []*expr.Program
	keep     []int
	outer    bool
	width    int // columns that the input must have

	args    []*batch.Column
	made    batch.Batch // the function's columns of the output
	parents []uint32    // by output row: the input row it came from
	passed  passedRows
	env     expr.Env
}

func (*flatMapKernel) kernel() {}

func newFlatMap(name string, f *plan.FlatMap, schema *batch.Schema) (*flatMapKernel, error) {
	def, ok := expr.LookupTableFunction(f.Function)
	if !ok {
		return nil, fmt.Errorf("table function %s is not there", f.Function)
	}
	k := &flatMapKernel{name: name, keep: f.Keep, outer: f.Outer}
	types := make([]batch.Type, len(f.Args))
	for i, n := range f.Args {
		p, err := expr.Compile(n)
		if err != nil {
			return nil, fmt.Errorf("argument %d of %s: %w", i+1, f.Function, err)
		}
		types[i] = n.Type
		k.programs = append(k.programs, p)
	}
	made, err := def.Check(types)
	if err != nil {
		return nil, fmt.Errorf("table function %s: %w", f.Function, err)
	}
	if k.function, err = def.New(types); err != nil {
		return nil, fmt.Errorf("table function %s: %w", f.Function, err)
	}
	if len(f.Keep) > len(schema.Fields) {
		return nil, fmt.Errorf("it keeps %d columns, its schema has %d", len(f.Keep), len(schema.Fields))
	}
	var want []batch.Type
	for i := range f.Keep {
		want = append(want, schema.Fields[i].Type)
	}
	for _, m := range made {
		want = append(want, m.Type)
	}
	k.width = widthOf(f.Args)
	for _, c := range f.Keep {
		k.width = max(k.width, c+1)
	}
	k.made.Schema = batch.NewSchema(made...)
	k.args = make([]*batch.Column, len(f.Args))
	return k, checkKinds(schema, want)
}

// Apply joins each row with the rows that the function makes of it.
func (k *flatMapKernel) Apply(ctx *Context, in, out *Grouped) error {
	n := in.Batch.Len()
	if n == 0 {
		return nil
	}
	if err := checkWidth(in.Batch, k.width); err != nil {
		return err
	}
	k.env = ctx.Env
	k.env.Groups, k.env.Offsets, k.env.Base = in.Groups, in.Offsets, in.Base
	for i, p := range k.programs {
		var err error
		if k.args[i], err = p.Eval(in.Batch, &k.env); err != nil {
			return rowFailed(err, nil)
		}
	}
	k.parents = k.parents[:0]
	k.made = batch.Batch{Schema: k.made.Schema, Cols: out.Batch.Cols[len(k.keep):]}
	for i := range n {
		rows, err := k.function.Call(k.args, i, &k.made)
		if err != nil {
			return rowFailed(&expr.RowError{Row: i, Err: err}, nil)
		}
		if rows == 0 && k.outer {
			for c := range k.made.Cols {
				k.made.Cols[c].AppendNull()
			}
			rows = 1
		}
		for range rows {
			k.parents = append(k.parents, uint32(i))
		}
	}
	for i, c := range k.keep {
		out.Batch.Cols[i].AppendGather(&in.Batch.Cols[c], k.parents)
	}
	if in.Batch.Weights != nil {
		out.Batch.Weights = gatherWeights(out.Batch.Weights, in.Batch.Weights, k.parents)
	}
	out.Batch.SetLen(len(k.parents))
	k.passed.regroup(in, out, k.parents)
	return nil
}
