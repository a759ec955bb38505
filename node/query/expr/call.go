package expr

import (
	"fmt"
	"math/bits"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

// Call is one call of a function within a program: what its kernel gets. It is valid during the call.
type Call struct {
	Args []Vec
	Node *Node
	Env  *Env

	frame *frame
	def   *FunctionDef
	bad   bool // some row has failed in this call
}

// Fail fails row i: format says what is wrong with which value and what to do. The kernel goes on, writing any value for i.
func (x *Call) Fail(i int, format string, args ...any) {
	x.bad = true
	if x.frame.firstSoFar(i) {
		x.frame.record(i, x.Node, fmt.Sprintf(format, args...), "")
	}
}

// failHint is Fail with a hint.
func (x *Call) failHint(i int, hint, format string, args ...any) {
	x.bad = true
	if x.frame.firstSoFar(i) {
		x.frame.record(i, x.Node, fmt.Sprintf(format, args...), hint)
	}
}

// Rows calls f for every row of a variable-width or nested out that is not null, in order. f appends the row's bytes to out.Data
// or its elements to out.Children; Rows ends the row. A row longer than MaxValueBytes fails.
func (x *Call) Rows(out *batch.Column, n int, f func(i int)) {
	kind := out.Kind()
	nulls := len(out.Nulls) > 0
	start := 0
	for i := range n {
		null := nulls && out.IsNull(i)
		if !null {
			f(i)
		}
		if kind == batch.KindList {
			out.CloseList()
			if e := out.Children[0]; len(e.Data) > maxColumnBytes || e.Len() > maxColumnBytes/8 {
				x.Fail(i, tooMuch)
				nulls = true
				for k := i + 1; k < n; k++ {
					out.SetNull(k) // the row has failed already: nothing more is computed
				}
			}
			continue
		}
		if kind == batch.KindRow {
			closeRow(out, null)
			continue
		}
		out.CloseBytes()
		if len(out.Data)-start > MaxValueBytes {
			x.tooLong(out, i, start)
		}
		if len(out.Data) > maxColumnBytes {
			x.Fail(i, tooMuch)
			out.Data = out.Data[:start]
			out.Offsets[i+1] = uint32(start)
		}
		start = len(out.Data)
	}
}

func closeRow(out *batch.Column, null bool) {
	if null {
		for _, ch := range out.Children {
			ch.AppendNull()
		}
	}
	out.CloseRow()
}

func (x *Call) tooLong(out *batch.Column, i, start int) {
	x.Fail(i, "a value of %d bytes is over the limit of %d", len(out.Data)-start, MaxValueBytes)
	out.Data = out.Data[:start]
	out.Offsets[i+1] = uint32(start)
}

// callOp evaluates arguments, then the kernel over all of them.
type callOp struct {
	call   Call
	kernel Kernel
	args   []operator
	out    *batch.Column
	fixed  bool // out is of fixed width
	null   *batch.Column
}

func (c *compiler) compileCall(n *Node, s *scope) (operator, error) {
	def, kernel, err := kernelOf(n)
	if err != nil {
		return nil, err
	}
	op := &callOp{kernel: kernel, out: batch.NewColumn(n.Type), null: batch.NewColumn(n.Type)}
	op.null.AppendNull()
	op.call = Call{Args: make([]Vec, len(n.Args)), Node: n, def: def}
	k := op.out.Kind()
	op.fixed = k == batch.KindInt64 || k == batch.KindFloat64 || k == batch.KindBool || k == batch.KindDecimal
	for _, a := range n.Args {
		arg, err := c.compile(a, s)
		if err != nil {
			return nil, err
		}
		op.args = append(op.args, arg)
	}
	return op, nil
}

// kernelOf finds what computes a call or a cast.
func kernelOf(n *Node) (*FunctionDef, Kernel, error) {
	if n.Op != OpCall {
		k, def, err := castKernel(n)
		return def, k, err
	}
	def, ok := lookup(n.Func)
	if !ok {
		return nil, nil, &ast.Error{Pos: n.Pos, Msg: "function " + n.Func + " is not in this program",
			Hint: "run the query with the binary that registers it"}
	}
	if def.Build == nil {
		return def, def.Kernel, nil
	}
	k, err := def.Build(n)
	if err != nil {
		return nil, nil, &ast.Error{Pos: n.Pos, Msg: n.String() + ": " + err.Error()}
	}
	return def, k, nil
}

func (o *callOp) eval(f *frame) Vec {
	x := &o.call
	one := !x.def.perRow
	anyNull := false
	for k, a := range o.args {
		v := a.eval(f)
		x.Args[k] = v
		one = one && v.mask == 0
		anyNull = anyNull || v.mask == 0 && v.IsNull(0)
	}
	if anyNull && !x.def.CallsOnNull {
		return Vec{o.null, 0}
	}
	n, mask := f.n, -1
	if one {
		n, mask = 1, 0
	}
	x.frame, x.Env, x.bad = f, f.prog.env, false
	out := o.out
	if o.fixed {
		out.Resize(n)
	} else {
		out.Reset()
	}
	if !x.def.CallsOnNull {
		for _, v := range x.Args {
			if v.mask != 0 {
				out.Nulls = orNulls(out.Nulls, v.Nulls)
			}
		}
	}
	o.kernel(x, out, n)
	if o.fixed && len(out.Nulls) > 0 {
		zeroNulls(out, n)
	}
	return Vec{out, mask}
}

// orNulls adds the null bits of src to dst.
func orNulls(dst, src []uint64) []uint64 {
	k := min(len(dst), len(src))
	for i, w := range src[:k] {
		dst[i] |= w
	}
	return append(dst, src[k:]...)
}

// zeroNulls makes the values of null rows zero, as every column has them.
func zeroNulls(c *batch.Column, n int) {
	for w, word := range c.Nulls {
		for word != 0 {
			i := w<<6 + bits.TrailingZeros64(word)
			word &= word - 1
			if i >= n {
				break
			}
			switch c.Kind() {
			case batch.KindInt64:
				c.Int64s[i] = 0
			case batch.KindFloat64:
				c.Float64s[i] = 0
			case batch.KindBool:
				c.Bools[i] = false
			case batch.KindDecimal:
				c.Decs[i] = batch.Dec{}
			}
		}
	}
}
