package expr

import (
	"math"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

var _ = builtin(
	FunctionDef{Name: "+", hidden: true, cheap: true, Takes: "ANY, ANY", Returns: firstType, Build: arithmeticKernel},
	FunctionDef{Name: "-", hidden: true, cheap: true, Takes: "ANY, ANY", Returns: firstType, Build: arithmeticKernel},
	FunctionDef{Name: "*", hidden: true, cheap: true, Takes: "ANY, ANY", Returns: firstType, Build: arithmeticKernel},
	FunctionDef{Name: "/", hidden: true, cheap: true, Takes: "ANY, ANY", Returns: firstType, Build: arithmeticKernel},
	FunctionDef{Name: "%", hidden: true, cheap: true, Takes: "ANY, ANY", Returns: firstType, Build: arithmeticKernel},
	FunctionDef{Name: "NEGATE", hidden: true, cheap: true, Takes: "ANY", Returns: firstType, Build: negateKernel},
)

func firstType(args []*Node) (batch.Type, error) { return args[0].Type.Nullable(), nil }

// failsOnValue says whether an arithmetic operator can fail: division of whole or decimal numbers by something that is not a
// constant other than zero.
func failsOnValue(n *Node) bool {
	if n.Func != "/" && n.Func != "%" || n.Type.Kind() == batch.KindFloat64 {
		return false
	}
	d := n.Args[1]
	return d.Op != OpLiteral || d.Literal.Null || d.Literal.Int == 0 && d.Literal.Dec == batch.Dec{}
}

// checkArithmetic types a op b of numbers: integers and floats in their common type, DECIMALs by Flink's rules.
func checkArithmetic(op string, l, r *Node, pos ast.Pos) (*Node, error) {
	lt, rt := l.Type, r.Type
	if lt.ID == batch.Null && rt.ID == batch.Null {
		lt, rt = batch.TypeInt, batch.TypeInt
	} else if lt.ID == batch.Null {
		lt = rt
	} else if rt.ID == batch.Null {
		rt = lt
	}
	if !lt.IsNumeric() || !rt.IsNumeric() {
		return nil, operatorError(op, l, r, pos)
	}
	common := commonNumeric(lt, rt)
	result := common
	switch {
	case common.ID == batch.Decimal:
		lt, rt = decimalOf(lt), decimalOf(rt)
		l, r = castTo(l, lt), castTo(r, rt)
		result = decimalResult(op, lt, rt)
	case common.IsInteger():
		l, r = retypeNull(l, common), retypeNull(r, common)
		if op == "%" {
			result = rt.Nullable() // smaller in size than the divisor
		}
	default:
		l, r = castTo(l, common), castTo(r, common)
	}
	result.NotNull = l.Type.NotNull && r.Type.NotNull && common.ID != batch.Decimal
	return &Node{Op: OpCall, Func: op, Type: result, Args: []*Node{l, r}, Pos: pos}, nil
}

func retypeNull(n *Node, t batch.Type) *Node {
	if n.Type.ID == batch.Null {
		return castTo(n, t)
	}
	return n
}

func arithmeticKernel(n *Node) (Kernel, error) {
	op := n.Func[0]
	switch n.Type.Kind() {
	case batch.KindDecimal:
		return decimalArithmetic(n), nil
	case batch.KindFloat64:
		single := n.Type.ID == batch.Float
		return func(x *Call, out *batch.Column, rows int) {
			floatArithmetic(op, out.Float64s, x.Args[0], x.Args[1])
			if single {
				for i, v := range out.Float64s {
					out.Float64s[i] = float64(float32(v))
				}
			}
		}, nil
	}
	id := n.Type.ID
	return func(x *Call, out *batch.Column, rows int) {
		if op == '/' || op == '%' {
			intDivision(x, op, out)
		} else {
			arithmetic(op, out.Int64s, x.Args[0].Int64s, x.Args[1].Int64s, x.Args[0].Const(), x.Args[1].Const())
		}
		wrapInts(out.Int64s, id)
	}, nil
}

// wrapInts cuts values to the width of an integer type, as Java's narrowing does.
func wrapInts(s []int64, id batch.TypeID) {
	switch id {
	case batch.Int:
		for i, v := range s {
			s[i] = int64(int32(v))
		}
	case batch.SmallInt:
		for i, v := range s {
			s[i] = int64(int16(v))
		}
	case batch.TinyInt:
		for i, v := range s {
			s[i] = int64(int8(v))
		}
	}
}

func arithmetic[T int64 | float64](op byte, dst, a, b []T, aConst, bConst bool) {
	switch {
	case len(dst) == 0:
	case bConst:
		arithmeticRight(op, dst, a, b[0])
	case aConst && op == '-':
		for i, v := range b[:len(dst)] {
			dst[i] = a[0] - v
		}
	case aConst:
		arithmeticRight(op, dst, b, a[0])
	default:
		a, b = a[:len(dst)], b[:len(dst)]
		switch op {
		case '+':
			for i := range dst {
				dst[i] = a[i] + b[i]
			}
		case '-':
			for i := range dst {
				dst[i] = a[i] - b[i]
			}
		case '*':
			for i := range dst {
				dst[i] = a[i] * b[i]
			}
		}
	}
}

func arithmeticRight[T int64 | float64](op byte, dst, a []T, b T) {
	a = a[:len(dst)]
	switch op {
	case '+':
		for i, v := range a {
			dst[i] = v + b
		}
	case '-':
		for i, v := range a {
			dst[i] = v - b
		}
	case '*':
		for i, v := range a {
			dst[i] = v * b
		}
	}
}

func floatArithmetic(op byte, dst []float64, a, b Vec) {
	switch op {
	case '/':
		for i := range dst {
			dst[i] = a.Float(i) / b.Float(i)
		}
	case '%':
		for i := range dst {
			dst[i] = math.Mod(a.Float(i), b.Float(i))
		}
	default:
		arithmetic(op, dst, a.Float64s, b.Float64s, a.Const(), b.Const())
	}
}

const divisionHint = "guard it: CASE WHEN divisor <> 0 THEN ... END, or NULLIF(divisor, 0)"

func intDivision(x *Call, op byte, out *batch.Column) {
	a, b := x.Args[0], x.Args[1]
	dst := out.Int64s
	if b.Const() && b.Int64s[0] != 0 {
		d := b.Int64s[0]
		for i := range dst {
			if op == '/' {
				dst[i] = a.Int(i) / d
			} else {
				dst[i] = a.Int(i) % d
			}
		}
		return
	}
	for i := range dst {
		d := b.Int(i)
		switch {
		case d == 0:
			dst[i] = 0
			if !out.IsNull(i) {
				x.failHint(i, divisionHint, "division of %d by zero", a.Int(i))
			}
		case op == '/':
			dst[i] = a.Int(i) / d
		default:
			dst[i] = a.Int(i) % d
		}
	}
}

func decimalArithmetic(n *Node) Kernel {
	op := n.Func[0]
	as, bs, p, s := n.Args[0].Type.Scale, n.Args[1].Type.Scale, n.Type.Precision, n.Type.Scale
	return func(x *Call, out *batch.Column, rows int) {
		a, b := x.Args[0], x.Args[1]
		for i := range rows {
			if out.IsNull(i) {
				continue
			}
			av, bv := a.Dec(i), b.Dec(i)
			var r batch.Dec
			var ok bool
			switch {
			case op == '+' || op == '-':
				r, ok = decAdd(av, as, bv, bs, op == '-', p, s)
			case op == '*':
				r, ok = decMul(av, as, bv, bs, p, s)
			case bv == batch.Dec{}:
				x.failHint(i, divisionHint, "division of %s by zero", AppendDecimal(nil, av, as))
			case op == '/':
				r, ok = decDiv(av, as, bv, bs, p, s)
			default:
				r, ok = decMod(av, as, bv, bs, p, s)
			}
			out.Decs[i] = r
			if !ok {
				out.Decs[i] = batch.Dec{}
				out.SetNull(i)
			}
		}
	}
}

func negateKernel(n *Node) (Kernel, error) {
	id := n.Type.ID
	switch n.Type.Kind() {
	case batch.KindDecimal:
		return func(x *Call, out *batch.Column, rows int) {
			for i := range rows {
				out.Decs[i] = decNeg(x.Args[0].Dec(i))
			}
		}, nil
	case batch.KindFloat64:
		return func(x *Call, out *batch.Column, rows int) {
			for i := range rows {
				out.Float64s[i] = -x.Args[0].Float(i)
			}
		}, nil
	}
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Int64s[i] = -x.Args[0].Int(i)
		}
		wrapInts(out.Int64s, id)
	}, nil
}
