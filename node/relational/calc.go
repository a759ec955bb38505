package relational

import (
	"errors"
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// calcKernel is plan.Calc. With a filter it counts, per key group, the rows that passed in the epoch: all pieces of a key
// group in one epoch must go through one kernel, in order.
type calcKernel struct {
	name    string
	filter  *expr.Program
	project []projection
	needed  []int // input columns that projections read
	width   int   // columns that the input must have

	sel    []uint32
	kept   *batch.Batch // the rows that passed: needed columns only
	passed passedRows
	env    expr.Env
}

// projection is an output column: an input column, or the program that computes it.
type projection struct {
	column  int
	program *expr.Program
}

func (*calcKernel) kernel() {}

func newCalc(name string, c *plan.Calc, schema *batch.Schema) (*calcKernel, error) {
	k := &calcKernel{name: name}
	var types []batch.Type
	var err error
	if c.Filter != nil {
		if k.filter, err = expr.Compile(c.Filter); err != nil {
			return nil, fmt.Errorf("filter: %w", err)
		}
	}
	seen := map[int]bool{}
	for i, n := range c.Project {
		p := projection{column: n.Column}
		if n.Op != expr.OpColumn {
			if p.program, err = expr.Compile(n); err != nil {
				return nil, fmt.Errorf("column %d: %w", i+1, err)
			}
		}
		k.project = append(k.project, p)
		types = append(types, n.Type)
		expr.Walk(n, func(n *expr.Node) {
			if n.Op == expr.OpColumn && !seen[n.Column] {
				seen[n.Column] = true
				k.needed = append(k.needed, n.Column)
			}
		})
	}
	k.width = widthOf(append([]*expr.Node{c.Filter}, c.Project...))
	return k, checkKinds(schema, types)
}

// Apply filters and projects.
func (k *calcKernel) Apply(ctx *Context, in, out *Grouped) error {
	n := in.Batch.Len()
	if n == 0 {
		return nil
	}
	if err := checkWidth(in.Batch, k.width); err != nil {
		return err
	}
	k.env = ctx.Env
	k.env.Groups, k.env.Offsets, k.env.Base = in.Groups, in.Offsets, in.Base
	if k.filter == nil {
		out.Groups = append(out.Groups, in.Groups...)
		out.Offsets = append(out.Offsets, in.Offsets...)
		out.Base = append(out.Base, in.Base...)
		return k.emit(in.Batch, out, nil)
	}
	var err error
	if k.sel, err = k.filter.Filter(k.sel[:0], in.Batch, &k.env); err != nil {
		return rowFailed(err, nil)
	}
	k.passed.regroup(in, out, k.sel)
	if len(k.sel) == 0 {
		return nil
	}
	k.env.Groups, k.env.Offsets, k.env.Base = out.Groups, out.Offsets, out.Base
	if len(k.sel) == n {
		return k.emit(in.Batch, out, nil)
	}
	k.gather(in.Batch)
	return k.emit(k.kept, out, k.sel)
}

// gather makes k.kept the selected rows of b.
func (k *calcKernel) gather(b *batch.Batch) {
	if k.kept == nil {
		k.kept = batch.New(b.Schema)
	}
	k.kept.Reset()
	for _, c := range k.needed {
		k.kept.Cols[c].AppendGather(&b.Cols[c], k.sel)
	}
	if b.Weights != nil {
		k.kept.Weights = gatherWeights(k.kept.Weights, b.Weights, k.sel)
	}
	k.kept.SetLen(len(k.sel))
}

func gatherWeights(dst, src []int8, idx []uint32) []int8 {
	dst = dst[:0]
	for _, i := range idx {
		dst = append(dst, src[i])
	}
	return dst
}

// emit appends the projections of b to out. Row i of b is row rows[i] of the kernel's input; nil: the same.
func (k *calcKernel) emit(b *batch.Batch, out *Grouped, rows []uint32) error {
	n := b.Len()
	for i := range k.project {
		p := &k.project[i]
		if p.program == nil {
			out.Batch.Cols[i].AppendRange(&b.Cols[p.column], 0, n)
			continue
		}
		col, err := p.program.Eval(b, &k.env)
		if err != nil {
			return rowFailed(err, rows)
		}
		out.Batch.Cols[i].AppendRange(col, 0, n)
	}
	if b.Weights != nil {
		out.Batch.Weights = append(out.Batch.Weights[:0], b.Weights...)
	}
	out.Batch.SetLen(n)
	return nil
}

// widthOf is how many columns an input must have for nodes.
func widthOf(nodes []*expr.Node) int {
	width := 0
	for _, n := range nodes {
		expr.Walk(n, func(n *expr.Node) {
			if n.Op == expr.OpColumn {
				width = max(width, n.Column+1)
			}
		})
	}
	return width
}

// checkWidth says whether a batch has the columns that the plan counts on.
func checkWidth(b *batch.Batch, width int) error {
	if len(b.Cols) < width {
		return fmt.Errorf("its input has %d columns, the plan says %d or more", len(b.Cols), width)
	}
	return nil
}

// rowFailed names the operator and the input's row in the error of an expression.
func rowFailed(err error, rows []uint32) error {
	var at *expr.RowError
	if !errors.As(err, &at) {
		return err
	}
	row := at.Row
	if rows != nil && row < len(rows) {
		row = int(rows[row])
	}
	return &expr.RowError{Row: row, Err: at.Err}
}

// passedRows counts the rows that a Stateless kernel which drops or adds rows has emitted per key group in the epoch, so that
// a row's index in its (key group, epoch, stream) does not depend on how the stream was cut.
type passedRows struct {
	rows []uint32 // by key group

}

// base is the number of rows that the key group's earlier pieces of the epoch gave, given inBase, that of rows they had.
func (p *passedRows) base(g topology.KeyGroup, inBase uint32) uint32 {
	if int(g) >= len(p.rows) {
		p.rows = extended(p.rows, int(g)+1)
	}
	if inBase == 0 { // the key group's first piece
		p.rows[g] = 0
	}
	return p.rows[g]
}

// regroup gives out the key groups of the rows from in that sel names, in ascending order and possibly repeated.
func (p *passedRows) regroup(in, out *Grouped, sel []uint32) {
	at := 0
	for i, g := range in.Groups {
		inBase := uint32(0)
		if in.Base != nil {
			inBase = in.Base[i]
		}
		base := p.base(g, inBase)
		first := at
		for end := in.Offsets[i+1]; at < len(sel) && sel[at] < end; {
			at++
		}
		if at == first {
			continue
		}
		p.rows[g] = base + uint32(at-first)
		if len(out.Offsets) == 0 {
			out.Offsets = append(out.Offsets, 0)
		}
		out.Groups = append(out.Groups, g)
		out.Offsets = append(out.Offsets, uint32(at))
		out.Base = append(out.Base, base)
	}
}
