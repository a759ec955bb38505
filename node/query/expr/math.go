package expr

import (
	"fmt"
	"math"
	"strconv"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

var _ = builtin(
	double1("SQRT", math.Sqrt), double1("EXP", math.Exp), double1("LN", math.Log), double1("LOG10", math.Log10),
	double1("LOG2", math.Log2), double1("SIN", math.Sin), double1("COS", math.Cos), double1("TAN", math.Tan),
	double1("ASIN", math.Asin), double1("ACOS", math.Acos), double1("ATAN", math.Atan), double1("SINH", math.Sinh),
	double1("COSH", math.Cosh), double1("TANH", math.Tanh),
	double1("COT", func(x float64) float64 { return 1 / math.Tan(x) }),
	double1("DEGREES", func(x float64) float64 { return x / math.Pi * 180 }),
	double1("RADIANS", func(x float64) float64 { return x / 180 * math.Pi }),
	double2("POWER", math.Pow), double2("ATAN2", math.Atan2),
	FunctionDef{Name: "LOG", Takes: "DOUBLE[, DOUBLE]", Result: batch.TypeDouble, Kernel: logKernel},
	FunctionDef{Name: "PI", Result: batch.TypeDouble, Kernel: constant(math.Pi)},
	FunctionDef{Name: "E", Result: batch.TypeDouble, Kernel: constant(math.E)},
	FunctionDef{Name: "ABS", Takes: "NUMERIC", Returns: firstType, Build: absKernel},
	FunctionDef{Name: "SIGN", Takes: "NUMERIC", Returns: firstType, Build: signKernel},
	FunctionDef{Name: "FLOOR OF", hidden: true, Takes: "NUMERIC", Returns: wholeType, Build: floorKernel(false)},
	FunctionDef{Name: "CEIL OF", hidden: true, Takes: "NUMERIC", Returns: wholeType, Build: floorKernel(true)},
	FunctionDef{Name: "ROUND", Takes: "NUMERIC[, INT]", Returns: roundType, MayBeNull: true, Build: roundKernel(true)},
	FunctionDef{Name: "TRUNCATE", Takes: "NUMERIC[, INT]", Returns: firstType, MayBeNull: true, Build: roundKernel(false)},
	FunctionDef{Name: "BIN", Takes: "INT", Result: batch.TypeString, Kernel: textKernel(func(x *Call, dst []byte, i int) []byte {
		return strconv.AppendUint(dst, uint64(x.Args[0].Int(i)), 2)
	})},
	FunctionDef{Name: "HEX", Takes: "INT|STRING|BYTES", Result: batch.TypeString, Kernel: textKernel(hexKernel)},
)

func modulo(name string, args []*Node, pos ast.Pos) (*Node, error) {
	if len(args) != 2 {
		return nil, wrongCount(name, "NUMERIC, NUMERIC", args, pos)
	}
	return checkArithmetic("%", args[0], args[1], pos)
}

// roundTo is FLOOR and CEIL of a number, or of a date or time to a unit.
func roundTo(name string, args []*Node, pos ast.Pos) (*Node, error) {
	if name == "CEILING" {
		name = "CEIL"
	}
	if len(args) == 2 {
		return checkRound(name, args, pos)
	}
	def, _ := lookup(name + " OF")
	shown := *def
	shown.Name = name
	if err := shown.bind(args); err != nil {
		return nil, &ast.Error{Pos: pos, Msg: err.Error()}
	}
	return callOf(def, args, pos)
}

func double1(name string, f func(float64) float64) FunctionDef {
	return FunctionDef{Name: name, Takes: "DOUBLE", Result: batch.TypeDouble, Kernel: func(x *Call, out *batch.Column, n int) {
		for i := range n {
			out.Float64s[i] = f(x.Args[0].Float(i))
		}
	}}
}

func double2(name string, f func(a, b float64) float64) FunctionDef {
	return FunctionDef{Name: name, Takes: "DOUBLE, DOUBLE", Result: batch.TypeDouble, Kernel: func(x *Call, out *batch.Column, n int) {
		for i := range n {
			out.Float64s[i] = f(x.Args[0].Float(i), x.Args[1].Float(i))
		}
	}}
}

func constant(v float64) Kernel {
	return func(x *Call, out *batch.Column, n int) { fill(out.Float64s, v) }
}

// logKernel is LOG(x), or LOG(base, x).
func logKernel(x *Call, out *batch.Column, n int) {
	for i := range n {
		v := math.Log(x.Args[len(x.Args)-1].Float(i))
		if len(x.Args) > 1 {
			v /= math.Log(x.Args[0].Float(i))
		}
		out.Float64s[i] = v
	}
}

func hexKernel(x *Call, dst []byte, i int) []byte {
	const digits = "0123456789ABCDEF"
	if x.Args[0].Kind() == batch.KindInt64 {
		from := len(dst)
		dst = strconv.AppendUint(dst, uint64(x.Args[0].Int(i)), 16)
		for k := from; k < len(dst); k++ {
			if dst[k] >= 'a' {
				dst[k] -= 0x20
			}
		}
		return dst
	}
	for _, c := range x.Args[0].Text(i) {
		dst = append(dst, digits[c>>4], digits[c&15])
	}
	return dst
}

// numberKernel builds the kernel of a function of one number by its kind.
func numberKernel(n *Node, ints func(int64) int64, floats func(float64) float64, decs func(batch.Dec) batch.Dec) (Kernel, error) {
	id := n.Type.ID
	switch n.Type.Kind() {
	case batch.KindInt64:
		return func(x *Call, out *batch.Column, rows int) {
			for i := range rows {
				out.Int64s[i] = ints(x.Args[0].Int(i))
			}
			wrapInts(out.Int64s, id)
		}, nil
	case batch.KindDecimal:
		return func(x *Call, out *batch.Column, rows int) {
			for i := range rows {
				out.Decs[i] = decs(x.Args[0].Dec(i))
			}
		}, nil
	}
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Float64s[i] = floats(x.Args[0].Float(i))
		}
	}, nil
}

func absKernel(n *Node) (Kernel, error) {
	return numberKernel(n, func(v int64) int64 { return max(v, -v) }, math.Abs, func(d batch.Dec) batch.Dec {
		m, _ := magnitude(d)
		return signed(m, false)
	})
}

func signKernel(n *Node) (Kernel, error) {
	one, _ := decRescale(decFromInt(1), 0, n.Type.Scale, maxDecimalPrecision)
	return numberKernel(n, func(v int64) int64 { return int64(sign(v, 0)) }, func(f float64) float64 {
		if f == 0 || f != f {
			return f
		}
		return math.Copysign(1, f)
	}, func(d batch.Dec) batch.Dec {
		switch decCmp(d, batch.Dec{}) {
		case 0:
			return d
		case 1:
			return one
		}
		return decNeg(one)
	})
}

func wholeType(args []*Node) (batch.Type, error) {
	t := args[0].Type.Nullable()
	if t.ID == batch.Decimal {
		return batch.DecimalOf(t.Precision, 0), nil
	}
	return t, nil
}

func floorKernel(up bool) func(n *Node) (Kernel, error) {
	return func(n *Node) (Kernel, error) {
		f := math.Floor
		if up {
			f = math.Ceil
		}
		scale := n.Args[0].Type.Scale
		return numberKernel(n, func(v int64) int64 { return v }, f, func(d batch.Dec) batch.Dec { return decFloor(d, scale, up) })
	}
}

// roundType is Flink's type of ROUND: a DECIMAL keeps the digits asked for, one more before the point.
func roundType(args []*Node) (batch.Type, error) {
	t := args[0].Type.Nullable()
	if t.ID != batch.Decimal {
		return t, nil
	}
	digits := int64(0)
	if len(args) > 1 {
		if args[1].Op != OpLiteral || args[1].Literal.Null {
			return t, nil
		}
		digits = args[1].Literal.Int
	}
	switch {
	case digits >= int64(t.Scale):
		return t, nil
	case digits < 0:
		return batch.DecimalOf(min(maxDecimalPrecision, 1+t.Precision-t.Scale), 0), nil
	}
	return batch.DecimalOf(min(maxDecimalPrecision, 1+t.Precision-t.Scale+int(digits)), int(digits)), nil
}

// roundKernel rounds HALF_UP, or cuts off, at a number of digits after the point, which may be negative.
func roundKernel(halfUp bool) func(n *Node) (Kernel, error) {
	return func(n *Node) (Kernel, error) {
		from, to := n.Args[0].Type, n.Type
		var buf []byte
		return func(x *Call, out *batch.Column, rows int) {
			for i := range rows {
				if out.IsNull(i) {
					continue
				}
				digits := int64(0)
				if len(x.Args) > 1 {
					digits = min(400, max(-400, x.Args[1].Int(i)))
				}
				a := x.Args[0]
				ok := true
				switch a.Kind() {
				case batch.KindInt64:
					var d batch.Dec
					d, ok = roundDec(decFromInt(a.Int(i)), 0, int(digits), maxDecimalPrecision, 0, halfUp)
					out.Int64s[i] = wrapInt(int64(d.Lo), to.ID)
				case batch.KindDecimal:
					out.Decs[i], ok = roundDec(a.Dec(i), from.Scale, int(digits), to.Precision, to.Scale, halfUp)
				default:
					out.Float64s[i], buf = roundFloat(a.Float(i), int(digits), floatBits(from), halfUp, buf)
				}
				if !ok {
					out.SetNull(i)
				}
			}
		}, nil
	}
}

// roundDec rounds d at digits and gives it at scale s.
func roundDec(d batch.Dec, scale, digits, p, s int, halfUp bool) (batch.Dec, bool) {
	if digits < scale {
		m, neg := magnitude(d)
		drop := scale - digits
		if drop > maxDecimalPrecision {
			return batch.Dec{}, true
		}
		q, r := m.quoRem(pow10[drop])
		if halfUp && !r.less(pow10[drop].sub(r)) {
			q, _ = q.add(u128{0, 1})
		}
		m, ok := q.mul(pow10[drop])
		if !ok {
			return batch.Dec{}, false
		}
		d = signed(m, neg)
	}
	return decRescale(d, scale, s, p)
}

// roundFloat rounds the shortest decimal form of f, as Java's BigDecimal.valueOf(f).setScale does.
func roundFloat(f float64, digits, bits int, halfUp bool, buf []byte) (float64, []byte) {
	if f != f || math.IsInf(f, 0) {
		return f, buf
	}
	buf = strconv.AppendFloat(append(buf[:0], '0'), math.Abs(f), 'f', -1, bits) // a leading 0 takes the carry
	point := len(buf)
	for i, c := range buf {
		if c == '.' {
			buf = append(buf[:i], buf[i+1:]...)
			point = i
			break
		}
	}
	cut := point + digits
	if cut >= len(buf) {
		return f, buf
	}
	up := halfUp && cut >= 0 && buf[cut] >= '5'
	for i := max(cut, 0); i < len(buf); i++ {
		buf[i] = '0'
	}
	for i := cut - 1; up && i >= 0; i-- {
		if buf[i] != '9' {
			buf[i]++
			break
		}
		buf[i] = '0'
	}
	buf = fmt.Appendf(buf, "e%d", point-len(buf))
	v, _ := parseFloat(buf, bits)
	return math.Copysign(v, f), buf
}
