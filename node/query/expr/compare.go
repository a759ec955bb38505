package expr

import (
	"bytes"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

var _ = builtin(
	FunctionDef{Name: "=", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean, Build: compareKernel},
	FunctionDef{Name: "<>", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean, Build: compareKernel},
	FunctionDef{Name: "<", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean, Build: compareKernel},
	FunctionDef{Name: "<=", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean, Build: compareKernel},
	FunctionDef{Name: ">", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean, Build: compareKernel},
	FunctionDef{Name: ">=", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean, Build: compareKernel},
	FunctionDef{Name: "IS DISTINCT FROM", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean,
		CallsOnNull: true, Build: distinctKernel},
	FunctionDef{Name: "IS NOT DISTINCT FROM", hidden: true, cheap: true, Takes: "ANY, ANY", Result: batch.TypeBoolean,
		CallsOnNull: true, Build: distinctKernel},
	FunctionDef{Name: "NOT", hidden: true, cheap: true, Takes: "BOOLEAN", Result: batch.TypeBoolean, Kernel: notKernel},
	FunctionDef{Name: "IS NULL", hidden: true, cheap: true, Takes: "ANY", Result: batch.TypeBoolean, CallsOnNull: true, Kernel: isNull(true)},
	FunctionDef{Name: "IS NOT NULL", hidden: true, cheap: true, Takes: "ANY", Result: batch.TypeBoolean, CallsOnNull: true, Kernel: isNull(false)},
	FunctionDef{Name: "IS TRUE", hidden: true, cheap: true, Takes: "BOOLEAN", Result: batch.TypeBoolean, CallsOnNull: true, Kernel: isTruth(true, true)},
	FunctionDef{Name: "IS NOT TRUE", hidden: true, cheap: true, Takes: "BOOLEAN", Result: batch.TypeBoolean, CallsOnNull: true, Kernel: isTruth(true, false)},
	FunctionDef{Name: "IS FALSE", hidden: true, cheap: true, Takes: "BOOLEAN", Result: batch.TypeBoolean, CallsOnNull: true, Kernel: isTruth(false, true)},
	FunctionDef{Name: "IS NOT FALSE", hidden: true, cheap: true, Takes: "BOOLEAN", Result: batch.TypeBoolean, CallsOnNull: true, Kernel: isTruth(false, false)},
	FunctionDef{Name: "IN", hidden: true, Takes: "ANY, ANY...", Result: batch.TypeBoolean, MayBeNull: true, CallsOnNull: true, Build: inKernel},
)

// checkCompare types a comparison: both sides are brought to their common type. Text beside a date, time or timestamp is read
// as one.
func checkCompare(op string, l, r *Node, pos ast.Pos) (*Node, error) {
	var ok bool
	if l, r, ok = sameType(l, r); !ok {
		return nil, operatorError(op, l, r, pos)
	}
	if t := l.Type; t.Kind() == batch.KindList || t.Kind() == batch.KindRow {
		if op != "=" && op != "<>" && op != "IS DISTINCT FROM" && op != "IS NOT DISTINCT FROM" {
			return nil, &ast.Error{Pos: pos, Msg: op + " is not supported on " + t.Nullable().String(), Hint: "only = and <> are"}
		}
	}
	t := batch.TypeBoolean
	t.NotNull = l.Type.NotNull && r.Type.NotNull || len(op) > 2
	return &Node{Op: OpCall, Func: op, Type: t, Args: []*Node{l, r}, Pos: pos}, nil
}

func sameType(l, r *Node) (*Node, *Node, bool) {
	if l.Type.IsInteger() && r.Type.IsInteger() {
		return l, r, true // of one physical kind
	}
	t, ok := CommonType(l.Type, r.Type)
	if !ok {
		switch {
		case l.Type.IsString() && (r.Type.IsTime() || r.Type.ID == batch.Date || r.Type.ID == batch.Time):
			t = r.Type
		case r.Type.IsString() && (l.Type.IsTime() || l.Type.ID == batch.Date || l.Type.ID == batch.Time):
			t = l.Type
		default:
			return l, r, false
		}
	}
	if t.Kind() == batch.KindBytes && l.Type.ID != batch.Null && r.Type.ID != batch.Null {
		return l, r, true // texts of any length compare as they are
	}
	return castTo(l, t), castTo(r, t), true
}

var flipped = map[string]string{"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

func compareKernel(n *Node) (Kernel, error) {
	op := n.Func
	switch n.Args[0].Type.Kind() {
	case batch.KindInt64:
		return func(x *Call, out *batch.Column, rows int) {
			compareOrdered(op, out.Bools, x.Args[0].Int64s, x.Args[1].Int64s, x.Args[0].Const(), x.Args[1].Const())
		}, nil
	case batch.KindFloat64:
		return func(x *Call, out *batch.Column, rows int) {
			compareOrdered(op, out.Bools, x.Args[0].Float64s, x.Args[1].Float64s, x.Args[0].Const(), x.Args[1].Const())
		}, nil
	case batch.KindBytes:
		if op == "=" || op == "<>" {
			return func(x *Call, out *batch.Column, rows int) {
				equalBytes(out.Bools, x.Args[0], x.Args[1], op == "=")
			}, nil
		}
	}
	holds := signTable(op)
	compare := comparer(n.Args[0].Type.Kind())
	return func(x *Call, out *batch.Column, rows int) {
		a, b := x.Args[0], x.Args[1]
		for i := range rows {
			out.Bools[i] = holds[compare(a.Column, a.At(i), b.Column, b.At(i))+1]
		}
	}, nil
}

// signTable says for less, equal and greater whether op holds.
func signTable(op string) [3]bool {
	switch op {
	case "=":
		return [3]bool{false, true, false}
	case "<>":
		return [3]bool{true, false, true}
	case "<":
		return [3]bool{true, false, false}
	case "<=":
		return [3]bool{true, true, false}
	case ">":
		return [3]bool{false, false, true}
	}
	return [3]bool{false, true, true}
}

// comparer orders two values of one kind: -1, 0 or +1. NaN equals itself and is above all other numbers.
func comparer(k batch.Kind) func(a *batch.Column, i int, b *batch.Column, j int) int {
	switch k {
	case batch.KindInt64:
		return func(a *batch.Column, i int, b *batch.Column, j int) int { return sign(a.Int64s[i], b.Int64s[j]) }
	case batch.KindFloat64:
		return func(a *batch.Column, i int, b *batch.Column, j int) int {
			return floatOrder(a.Float64s[i], b.Float64s[j])
		}
	case batch.KindBool:
		return func(a *batch.Column, i int, b *batch.Column, j int) int {
			x, y := a.Bools[i], b.Bools[j]
			switch {
			case x == y:
				return 0
			case y:
				return -1
			}
			return 1
		}
	case batch.KindDecimal:
		return func(a *batch.Column, i int, b *batch.Column, j int) int { return decCmp(a.Decs[i], b.Decs[j]) }
	case batch.KindBytes:
		return func(a *batch.Column, i int, b *batch.Column, j int) int { return bytes.Compare(a.Bytes(i), b.Bytes(j)) }
	}
	var x, y []byte
	return func(a *batch.Column, i int, b *batch.Column, j int) int {
		x = batch.AppendKeyColumn(x[:0], a, i, true)
		y = batch.AppendKeyColumn(y[:0], b, j, true)
		return bytes.Compare(x, y)
	}
}

func sign[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func floatOrder(a, b float64) int {
	switch {
	case a != a && b != b:
		return 0
	case a != a:
		return 1
	case b != b:
		return -1
	}
	return sign(a, b)
}

func compareOrdered[T int64 | float64](op string, dst []bool, a, b []T, aConst, bConst bool) {
	switch {
	case len(dst) == 0:
	case bConst:
		compareRight(op, dst, a, b[0])
	case aConst:
		compareRight(flipped[op], dst, b, a[0])
	default:
		a, b = a[:len(dst)], b[:len(dst)]
		switch op {
		case "=":
			for i := range dst {
				dst[i] = a[i] == b[i]
			}
		case "<>":
			for i := range dst {
				dst[i] = a[i] != b[i]
			}
		case "<":
			for i := range dst {
				dst[i] = a[i] < b[i]
			}
		case "<=":
			for i := range dst {
				dst[i] = a[i] <= b[i]
			}
		case ">":
			for i := range dst {
				dst[i] = a[i] > b[i]
			}
		case ">=":
			for i := range dst {
				dst[i] = a[i] >= b[i]
			}
		}
	}
}

func compareRight[T int64 | float64](op string, dst []bool, a []T, b T) {
	a = a[:len(dst)]
	switch op {
	case "=":
		for i, v := range a {
			dst[i] = v == b
		}
	case "<>":
		for i, v := range a {
			dst[i] = v != b
		}
	case "<":
		for i, v := range a {
			dst[i] = v < b
		}
	case "<=":
		for i, v := range a {
			dst[i] = v <= b
		}
	case ">":
		for i, v := range a {
			dst[i] = v > b
		}
	case ">=":
		for i, v := range a {
			dst[i] = v >= b
		}
	}
}

func equalBytes(dst []bool, a, b Vec, want bool) {
	if a.Const() {
		a, b = b, a
	}
	if b.Const() && !a.Const() {
		w := b.Bytes(0)
		for i := range dst {
			dst[i] = bytes.Equal(a.Bytes(i), w) == want
		}
		return
	}
	for i := range dst {
		dst[i] = bytes.Equal(a.Text(i), b.Text(i)) == want
	}
}

func distinctKernel(n *Node) (Kernel, error) {
	distinct := n.Func == "IS DISTINCT FROM"
	compare := comparer(n.Args[0].Type.Kind())
	return func(x *Call, out *batch.Column, rows int) {
		a, b := x.Args[0], x.Args[1]
		for i := range rows {
			an, bn := a.Null(i), b.Null(i)
			same := an && bn
			if !an && !bn {
				same = compare(a.Column, a.At(i), b.Column, b.At(i)) == 0
			}
			out.Bools[i] = same != distinct
		}
	}, nil
}

func notKernel(x *Call, out *batch.Column, n int) {
	a := x.Args[0]
	for i := range n {
		out.Bools[i] = !a.Bool(i)
	}
}

func isNull(want bool) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		a := x.Args[0]
		if !a.HasNulls() {
			fill(out.Bools, !want)
			return
		}
		for i := range n {
			out.Bools[i] = a.Null(i) == want
		}
	}
}

func isTruth(truth, want bool) Kernel {
	return func(x *Call, out *batch.Column, n int) {
		a := x.Args[0]
		for i := range n {
			out.Bools[i] = (!a.Null(i) && a.Bool(i) == truth) == want
		}
	}
}

// inKernel is x IN (constants), all of x's type, as a set of canonical keys.
func inKernel(n *Node) (Kernel, error) {
	set := make(map[string]struct{}, len(n.Args))
	ints := make(map[int64]struct{}, len(n.Args))
	anyNull := false
	var key []byte
	for _, a := range n.Args[1:] {
		if a.Literal.Null {
			anyNull = true
			continue
		}
		c := batch.NewColumn(a.Type)
		a.Literal.Append(c)
		key = batch.AppendKeyColumn(key[:0], c, 0, true)
		set[string(key)] = struct{}{}
		ints[a.Literal.Int] = struct{}{}
	}
	integral := n.Args[0].Type.Kind() == batch.KindInt64
	return func(x *Call, out *batch.Column, rows int) {
		a := x.Args[0]
		for i := range rows {
			found := false
			if a.Null(i) {
				out.Bools[i] = false
				out.SetNull(i)
				continue
			}
			if integral {
				_, found = ints[a.Int(i)]
			} else {
				key = batch.AppendKeyColumn(key[:0], a.Column, a.At(i), true)
				_, found = set[string(key)]
			}
			out.Bools[i] = found
			if !found && anyNull {
				out.SetNull(i)
			}
		}
	}, nil
}
