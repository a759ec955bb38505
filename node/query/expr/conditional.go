package expr

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

// branch is a part of an expression that only some rows need. A dense branch can neither fail nor cost much: it is computed for
// all rows of the frame. Any other is computed over the rows that take it, with the columns it needs gathered.
type branch struct {
	op    operator
	dense bool
	needs []int
	f     frame
	store []batch.Column // gathered columns, in order of needs
	rows  []uint32
}

func (c *compiler) branch(n *Node, s *scope) (*branch, error) {
	b := &branch{dense: isCheap(n, 0)}
	if !b.dense {
		s = newScope()
		seen := map[int]bool{}
		Walk(n, func(m *Node) {
			if m.Op == OpColumn && !seen[m.Column] {
				seen[m.Column] = true
				b.needs = append(b.needs, m.Column)
				b.store = append(b.store, *batch.NewColumn(m.Type))
			}
		})
	}
	op, err := c.compile(n, s)
	b.op = op
	return b, err
}

// isCheap says whether computing n for rows that do not need it is harmless and no slower than leaving them out.
func isCheap(n *Node, depth int) bool {
	switch n.Op {
	case OpColumn, OpLiteral:
		return true
	case OpCall:
		if def, ok := lookup(n.Func); !ok || !def.cheap || def.MayFail {
			return false
		}
		if failsOnValue(n) {
			return false
		}
	case OpAnd, OpOr, OpField:
	default:
		return false
	}
	for _, a := range n.Args {
		if depth > 4 || !isCheap(a, depth+1) {
			return false
		}
	}
	return true
}

// over evaluates b for the rows of f that list names, in ascending order. The value of row list[j] is at result row list[j] when
// byRow, else at j.
func (b *branch) over(f *frame, list []uint32) (v Vec, byRow bool) {
	if b.dense || len(list) == f.n {
		return b.op.eval(f), true
	}
	g := &b.f
	g.n, g.prog = len(list), f.prog
	f.prog.gen++
	g.gen = f.prog.gen
	for len(g.cols) < len(f.cols) {
		g.cols = append(g.cols, nil)
	}
	for k, col := range b.needs {
		c := &b.store[k]
		c.Reset()
		c.AppendGather(f.cols[col], list)
		g.cols[col] = c
	}
	b.rows = b.rows[:0]
	for _, i := range list {
		b.rows = append(b.rows, uint32(f.row(int(i))))
	}
	g.rows = b.rows
	return b.op.eval(g), false
}

// merge builds one column out of the rows of several: row i is row pos[i] of vecs[choice[i]].
type merge struct {
	node   *Node
	out    *batch.Column
	vecs   []Vec
	choice []uint16
	pos    []uint32
	ints   [][]int64
	floats [][]float64
	bools  [][]bool
	decs   [][]batch.Dec
}

// maxBranches is the most branches of one CASE or COALESCE: rows name theirs in 16 bits.
const maxBranches = 1 << 15

func newMerge(n *Node, branches int) (*merge, error) {
	if branches > maxBranches {
		return nil, &ast.Error{Pos: n.Pos, Msg: fmt.Sprintf("%d branches are more than the %d that are supported", branches, maxBranches)}
	}
	return &merge{node: n, out: batch.NewColumn(n.Type), vecs: make([]Vec, branches)}, nil
}

func (m *merge) start(n int) {
	m.choice = resized(m.choice, n)
	m.pos = resized(m.pos, n)
	clear(m.vecs)
}

func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// take says that row i is row at of branch k.
func (m *merge) take(i uint32, k, at int) {
	m.choice[i], m.pos[i] = uint16(k), uint32(m.vecs[k].At(at))
}

func (m *merge) build(f *frame) *batch.Column {
	out, n := m.out, f.n
	out.Reset()
	switch out.Kind() {
	case batch.KindInt64:
		m.ints = m.ints[:0]
		for _, v := range m.vecs {
			m.ints = append(m.ints, slicesOf(v, func(c *batch.Column) []int64 { return c.Int64s }))
		}
		out.Resize(n)
		mergeFixed(out.Int64s, m.choice, m.pos, m.ints)
	case batch.KindFloat64:
		m.floats = m.floats[:0]
		for _, v := range m.vecs {
			m.floats = append(m.floats, slicesOf(v, func(c *batch.Column) []float64 { return c.Float64s }))
		}
		out.Resize(n)
		mergeFixed(out.Float64s, m.choice, m.pos, m.floats)
	case batch.KindBool:
		m.bools = m.bools[:0]
		for _, v := range m.vecs {
			m.bools = append(m.bools, slicesOf(v, func(c *batch.Column) []bool { return c.Bools }))
		}
		out.Resize(n)
		mergeFixed(out.Bools, m.choice, m.pos, m.bools)
	case batch.KindDecimal:
		m.decs = m.decs[:0]
		for _, v := range m.vecs {
			m.decs = append(m.decs, slicesOf(v, func(c *batch.Column) []batch.Dec { return c.Decs }))
		}
		out.Resize(n)
		mergeFixed(out.Decs, m.choice, m.pos, m.decs)
	default:
		m.buildNested(f, n)
		return out
	}
	for k := range m.vecs {
		if c := m.vecs[k].Column; c != nil && c.HasNulls() {
			m.mergeNulls(n)
			break
		}
	}
	return out
}

// buildNested appends values of variable width row by row.
func (m *merge) buildNested(f *frame, n int) {
	for i := range n {
		m.out.AppendFrom(m.vecs[m.choice[i]].Column, int(m.pos[i]))
		if i%16 == 0 && m.out.MemBytes() > maxColumnBytes {
			if f.firstSoFar(i) {
				f.record(i, m.node, tooMuch, "")
			}
			for m.out.Len() < n {
				m.out.AppendNull()
			}
			return
		}
	}
}

func (m *merge) mergeNulls(n int) {
	for i := range n {
		if m.vecs[m.choice[i]].IsNull(int(m.pos[i])) {
			m.out.SetNull(i)
		}
	}
}

func slicesOf[T any](v Vec, f func(*batch.Column) []T) []T {
	if v.Column == nil {
		return nil
	}
	return f(v.Column)
}

func mergeFixed[T any](dst []T, choice []uint16, pos []uint32, from [][]T) {
	for i := range dst {
		dst[i] = from[choice[i]][pos[i]]
	}
}

// caseOp is CASE: conditions in order over the rows that none has taken yet, then each value over its rows.
type caseOp struct {
	conds, thens []*branch // one then more than conds: ELSE
	m            *merge
	lists        [][]uint32
	rest         []uint32
}

func (c *compiler) compileCase(n *Node, s *scope) (operator, error) {
	m, err := newMerge(n, len(n.Args)/2+1)
	if err != nil {
		return nil, err
	}
	op := &caseOp{m: m, lists: make([][]uint32, len(n.Args)/2+1)}
	for i, a := range n.Args {
		b, err := c.branch(a, s)
		if err != nil {
			return nil, err
		}
		if i%2 == 0 && i < len(n.Args)-1 {
			op.conds = append(op.conds, b)
		} else {
			op.thens = append(op.thens, b)
		}
	}
	return op, nil
}

func (o *caseOp) eval(f *frame) Vec {
	o.m.start(f.n)
	rest := allRows(&o.rest, f.n)
	for k, cond := range o.conds {
		take := o.lists[k][:0]
		if len(rest) > 0 {
			v, byRow := cond.over(f, rest)
			keep := rest[:0]
			for j, i := range rest {
				at := j
				if byRow {
					at = int(i)
				}
				if v.Bool(at) {
					take = append(take, i)
				} else {
					keep = append(keep, i)
				}
			}
			rest = keep
		}
		o.lists[k] = take
	}
	last := len(o.conds)
	o.lists[last] = append(o.lists[last][:0], rest...)
	for k, list := range o.lists {
		if len(list) == 0 {
			continue
		}
		v, byRow := o.thens[k].over(f, list)
		if len(list) == f.n {
			return v
		}
		o.m.vecs[k] = v
		for j, i := range list {
			at := j
			if byRow {
				at = int(i)
			}
			o.m.take(i, k, at)
		}
	}
	return Vec{o.m.build(f), -1}
}

func allRows(store *[]uint32, n int) []uint32 {
	s := resized(*store, n)
	*store = s
	for i := range s {
		s[i] = uint32(i)
	}
	return s
}

// coalesceOp evaluates each argument over the rows for which all before it were null.
type coalesceOp struct {
	args []*branch
	m    *merge
	rest []uint32
}

func (c *compiler) compileCoalesce(n *Node, s *scope) (operator, error) {
	m, err := newMerge(n, len(n.Args))
	if err != nil {
		return nil, err
	}
	op := &coalesceOp{m: m}
	for _, a := range n.Args {
		b, err := c.branch(a, s)
		if err != nil {
			return nil, err
		}
		op.args = append(op.args, b)
	}
	return op, nil
}

func (o *coalesceOp) eval(f *frame) Vec {
	o.m.start(f.n)
	rest := allRows(&o.rest, f.n)
	for k, arg := range o.args {
		if len(rest) == 0 {
			break
		}
		v, byRow := arg.over(f, rest)
		if len(rest) == f.n && !v.HasNulls() {
			return v
		}
		o.m.vecs[k] = v
		keep := rest[:0]
		for j, i := range rest {
			at := j
			if byRow {
				at = int(i)
			}
			if v.Null(at) && k < len(o.args)-1 {
				keep = append(keep, i)
			} else {
				o.m.take(i, k, at)
			}
		}
		rest = keep
	}
	return Vec{o.m.build(f), -1}
}

// logicOp is AND or OR in three-valued logic. An argument is evaluated over the rows that those before it leave open.
type logicOp struct {
	and  bool
	args []*branch
	out  *batch.Column
	rest []uint32
}

func (c *compiler) compileLogic(n *Node, s *scope) (operator, error) {
	op := &logicOp{and: n.Op == OpAnd, out: batch.NewColumn(n.Type)}
	for _, a := range n.Args {
		b, err := c.branch(a, s)
		if err != nil {
			return nil, err
		}
		op.args = append(op.args, b)
	}
	return op, nil
}

func (o *logicOp) eval(f *frame) Vec {
	first := o.args[0].op.eval(f) // every row needs it
	out := o.out
	out.Resize(f.n)
	if first.Const() {
		spread(out, first, f.n)
	} else {
		copy(out.Bools, first.Bools)
		out.Nulls = append(out.Nulls, first.Nulls...)
	}
	for _, arg := range o.args[1:] {
		if arg.dense && !out.HasNulls() {
			if v := arg.op.eval(f); !v.HasNulls() && !v.Const() {
				combineBools(out.Bools, v.Bools, o.and)
				continue
			}
		}
		rest := o.open(f.n)
		if len(rest) == 0 {
			break
		}
		v, byRow := arg.over(f, rest)
		for j, i := range rest {
			at := j
			if byRow {
				at = int(i)
			}
			o.combine(int(i), v.Bool(at), v.Null(at))
		}
	}
	return Vec{out, -1}
}

func combineBools(dst, src []bool, and bool) {
	src = src[:len(dst)]
	if and {
		for i, v := range src {
			dst[i] = dst[i] && v
		}
		return
	}
	for i, v := range src {
		dst[i] = dst[i] || v
	}
}

// open lists the rows whose result the arguments so far do not settle.
func (o *logicOp) open(n int) []uint32 {
	rest := resized(o.rest, n)
	o.rest = rest
	k := 0
	for i, v := range o.out.Bools {
		rest[k] = uint32(i)
		if v == o.and || o.out.IsNull(i) {
			k++
		}
	}
	return rest[:k]
}

// combine folds one value into row i, which is true or null for AND, false or null for OR.
func (o *logicOp) combine(i int, v, null bool) {
	switch {
	case null:
		o.out.Bools[i] = false
		o.out.SetNull(i)
	case v != o.and: // settles the result
		o.out.Bools[i] = v
		o.out.ClearNull(i)
	}
}
