package expr

import (
	"fmt"
	"math"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

// castDef are the properties of CAST and TRY_CAST as a function.
var castDef = &FunctionDef{Name: "CAST", MayBeNull: true, MayFail: true}

// Coerce brings n to type to as INSERT INTO does: implicitly, where nothing but precision can be lost. The error is an
// *ast.Error when Flink would refuse.
func Coerce(n *Node, to batch.Type) (*Node, error) {
	if !implicitCast(n.Type, to) {
		hint := ""
		if explicitCast(n.Type, to) {
			hint = fmt.Sprintf("write CAST(%s AS %s)", n, to.Nullable())
		}
		return nil, &ast.Error{Pos: n.Pos, Msg: fmt.Sprintf("%s is %s, which is not converted to %s implicitly", n,
			n.Type.Nullable(), to.Nullable()), Hint: hint}
	}
	return castTo(n, to), nil
}

// castTo is n as type to, whatever its type; n itself where nothing changes.
func castTo(n *Node, to batch.Type) *Node {
	to.NotNull = n.Type.NotNull
	if n.Type.Equal(to) {
		return n
	}
	if n.Op == OpLiteral && (n.Literal.Null || sameForm(n.Type, to)) {
		c := *n
		c.Type = to
		return &c
	}
	if n.Op == OpCast && n.Type.ID == to.ID && to.ID == batch.Varchar && to.Precision >= n.Type.Precision && n.Type.ID == batch.Varchar {
		c := *n
		c.Type = to
		return &c
	}
	return &Node{Op: OpCast, Type: to, Args: []*Node{n}, Pos: n.Pos}
}

// sameForm says whether every value of type from is stored as that value of type to.
func sameForm(from, to batch.Type) bool {
	switch {
	case from.IsInteger() && to.IsInteger():
		return from.ID <= to.ID
	case from.IsString() && to.ID == batch.Varchar, from.ID == batch.Bytes && to.ID == batch.Bytes:
		return from.Precision <= to.Precision
	case from.ID == batch.Float && to.ID == batch.Double:
		return true
	case from.ID == batch.Decimal && to.ID == batch.Decimal:
		return from.Scale == to.Scale && from.Precision <= to.Precision
	case from.ID == to.ID && (from.IsTime() || from.ID == batch.Time):
		return from.Precision <= to.Precision || to.Precision >= 3
	}
	return from.Equal(to)
}

// retypeOp gives the values of x another type of the same form.
type retypeOp struct {
	x   operator
	t   batch.Type
	col batch.Column
}

func (o *retypeOp) eval(f *frame) Vec {
	v := o.x.eval(f)
	o.col = *v.Column
	o.col.Type = o.t
	return Vec{&o.col, v.mask}
}

// caster is what converting one value may need.
type caster struct {
	x   *Call
	buf []byte
	err error // set by a conversion from text: what the text is not
	bad bool  // set by an element or field that has no such form
}

// convert appends value i of src, which is not null, to out as out's type; false when it has no such form.
type convert func(c *caster, out, src *batch.Column, i int) bool

func castKernel(n *Node) (Kernel, *FunctionDef, error) {
	from, to := n.Args[0].Type, n.Type
	if !explicitCast(from, to) {
		return nil, nil, castError(n.Args[0], to, n.Pos)
	}
	if k := fastCast(from, to); k != nil {
		return k, castDef, nil
	}
	conv := converter(from, to)
	try := n.Op == OpTryCast
	c := &caster{}
	conv = wholeOrNothing(conv, to)
	return func(x *Call, out *batch.Column, rows int) {
		c.x = x
		src := x.Args[0]
		truncate(out)
		for i := range rows {
			if src.Null(i) || len(out.Nulls) > 0 && out.IsNull(i) {
				out.AppendNull()
				continue
			}
			c.err = nil
			if conv(c, out, src.Column, src.At(i)) {
				continue
			}
			out.AppendNull()
			if !try {
				c.fail(i, src, to)
			}
		}
	}, castDef, nil
}

// fail reports that row i of src is no value of type to.
func (c *caster) fail(i int, src Vec, to batch.Type) {
	const hint = "TRY_CAST gives NULL instead of failing"
	if c.err != nil {
		c.x.failHint(i, hint, "%v", c.err)
		return
	}
	c.x.failHint(i, hint, "%s is not a %s", AppendText(nil, src.Column, src.At(i), c.x.Env.zone()), to.Nullable())
}

// truncate empties a fixed-width column but keeps its null bits.
func truncate(c *batch.Column) {
	c.Int64s, c.Float64s, c.Bools, c.Decs = c.Int64s[:0], c.Float64s[:0], c.Bools[:0], c.Decs[:0]
}

// fastCast covers conversions between numbers that are loops over slices.
func fastCast(from, to batch.Type) Kernel {
	switch {
	case from.IsInteger() && to.IsInteger():
		return func(x *Call, out *batch.Column, n int) {
			copy(out.Int64s, x.Args[0].Int64s[:n])
			wrapInts(out.Int64s, to.ID)
		}
	case from.IsInteger() && to.Kind() == batch.KindFloat64:
		single := to.ID == batch.Float
		return func(x *Call, out *batch.Column, n int) {
			for i, v := range x.Args[0].Int64s[:n] {
				out.Float64s[i] = float64(v)
				if single {
					out.Float64s[i] = float64(float32(v))
				}
			}
		}
	case from.Kind() == batch.KindFloat64 && to.Kind() == batch.KindFloat64:
		return func(x *Call, out *batch.Column, n int) {
			for i, v := range x.Args[0].Float64s[:n] {
				out.Float64s[i] = v
				if to.ID == batch.Float {
					out.Float64s[i] = float64(float32(v))
				}
			}
		}
	}
	return nil
}

func converter(from, to batch.Type) convert {
	switch {
	case from.ID == batch.Null:
		return func(c *caster, out, src *batch.Column, i int) bool { out.AppendNull(); return true }
	case to.IsString():
		return toText(to)
	case from.IsString():
		return func(c *caster, out, src *batch.Column, i int) bool {
			c.err = ParseTextIn(out, src.Bytes(i), c.x.Env.zone())
			return c.err == nil
		}
	case to.ID == batch.Decimal:
		return toDecimal(from, to)
	case to.ID == batch.Boolean:
		return toBoolean(from)
	case to.Kind() == batch.KindFloat64:
		return toFloat(from, to)
	case to.Kind() == batch.KindInt64:
		f := toInt(from, to)
		return func(c *caster, out, src *batch.Column, i int) bool {
			out.AppendInt64(f(c, src, i))
			return true
		}
	case to.ID == batch.Bytes:
		return func(c *caster, out, src *batch.Column, i int) bool {
			out.AppendBytes(cutBytes(src.Bytes(i), to))
			return true
		}
	}
	return toNested(from, to)
}

func toText(to batch.Type) convert {
	return func(c *caster, out, src *batch.Column, i int) bool {
		c.buf = AppendText(c.buf[:0], src, i, c.x.Env.zone())
		out.Data = appendFitted(out.Data, c.buf, to)
		out.CloseBytes()
		return true
	}
}

func toDecimal(from, to batch.Type) convert {
	p, s := to.Precision, to.Scale
	put := func(out *batch.Column, d batch.Dec, ok bool) bool {
		if ok {
			out.AppendDec(d)
		} else {
			out.AppendNull() // too many digits: NULL, as in Flink
		}
		return true
	}
	switch from.Kind() {
	case batch.KindDecimal:
		return func(c *caster, out, src *batch.Column, i int) bool {
			d, ok := decRescale(src.Decs[i], from.Scale, s, p)
			return put(out, d, ok)
		}
	case batch.KindFloat64:
		bits := floatBits(from)
		return func(c *caster, out, src *batch.Column, i int) bool {
			c.buf = appendFloat(c.buf[:0], src.Float64s[i], bits)
			d, ok, fit := parseDecimal(c.buf, p, s)
			return put(out, d, ok && fit)
		}
	case batch.KindBool:
		return func(c *caster, out, src *batch.Column, i int) bool {
			d, ok := decRescale(decFromInt(boolInt(src.Bools[i])), 0, s, p)
			return put(out, d, ok)
		}
	}
	return func(c *caster, out, src *batch.Column, i int) bool {
		d, ok := decRescale(decFromInt(src.Int64s[i]), 0, s, p)
		return put(out, d, ok)
	}
}

func floatBits(t batch.Type) int {
	if t.ID == batch.Float {
		return 32
	}
	return 64
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func toBoolean(from batch.Type) convert {
	return func(c *caster, out, src *batch.Column, i int) bool {
		switch from.Kind() {
		case batch.KindInt64:
			out.AppendBool(src.Int64s[i] != 0)
		case batch.KindFloat64:
			out.AppendBool(src.Float64s[i] != 0)
		case batch.KindDecimal:
			out.AppendBool(src.Decs[i] != batch.Dec{})
		default:
			out.AppendBool(src.Bools[i])
		}
		return true
	}
}

func toFloat(from, to batch.Type) convert {
	return func(c *caster, out, src *batch.Column, i int) bool {
		var f float64
		switch from.Kind() {
		case batch.KindDecimal:
			f = decFloat(src.Decs[i], from.Scale)
		case batch.KindBool:
			f = float64(boolInt(src.Bools[i]))
		case batch.KindInt64:
			f = float64(src.Int64s[i])
		default:
			f = src.Float64s[i]
		}
		if to.ID == batch.Float {
			f = float64(float32(f))
		}
		out.AppendFloat64(f)
		return true
	}
}

// toInt converts to the types that are stored as int64.
func toInt(from, to batch.Type) func(c *caster, src *batch.Column, i int) int64 {
	switch {
	case from.ID == batch.Boolean:
		return func(c *caster, src *batch.Column, i int) int64 { return boolInt(src.Bools[i]) }
	case from.ID == batch.Decimal:
		return func(c *caster, src *batch.Column, i int) int64 {
			return wrapInt(decTrunc(src.Decs[i], from.Scale), to.ID)
		}
	case from.Kind() == batch.KindFloat64:
		return func(c *caster, src *batch.Column, i int) int64 { return floatToInt(src.Float64s[i], to.ID) }
	case to.IsNumeric():
		return func(c *caster, src *batch.Column, i int) int64 { return wrapInt(src.Int64s[i], to.ID) }
	}
	wall := func(c *caster, src *batch.Column, i int) int64 { // what clock and calendar show
		v := src.Int64s[i]
		switch from.ID {
		case batch.Date:
			return v * msPerDay
		case batch.TimestampLTZ:
			return toLocal(v, c.x.Env.zone())
		}
		return v
	}
	unit := fractionUnit(to.Precision)
	return func(c *caster, src *batch.Column, i int) int64 {
		switch {
		case to.ID == batch.Interval || to.ID == batch.IntervalYM:
			return src.Int64s[i]
		case to.ID == batch.Date:
			if from.ID == batch.Date {
				return src.Int64s[i]
			}
			return floorDiv(wall(c, src, i), msPerDay)
		case to.ID == batch.Time:
			ms := floorMod(wall(c, src, i), msPerDay)
			return ms - ms%unit
		case from.ID == to.ID:
			return src.Int64s[i] - floorMod(src.Int64s[i], unit)
		case to.ID == batch.TimestampLTZ:
			v := toInstant(wall(c, src, i), c.x.Env.zone())
			return v - floorMod(v, unit)
		}
		v := wall(c, src, i)
		return v - floorMod(v, unit)
	}
}

// fractionUnit is the number of ms that the last of precision fractional digits counts.
func fractionUnit(precision int) int64 {
	switch precision {
	case 0:
		return 1000
	case 1:
		return 100
	case 2:
		return 10
	}
	return 1
}

func wrapInt(v int64, id batch.TypeID) int64 {
	switch id {
	case batch.Int:
		return int64(int32(v))
	case batch.SmallInt:
		return int64(int16(v))
	case batch.TinyInt:
		return int64(int8(v))
	}
	return v
}

// floatToInt narrows as Java does: NaN is 0, what is out of range is the nearest long or int, which is then cut.
func floatToInt(f float64, id batch.TypeID) int64 {
	lo, hi := int64(math.MinInt32), int64(math.MaxInt32)
	if id == batch.BigInt {
		lo, hi = math.MinInt64, math.MaxInt64
	}
	switch {
	case f != f:
		return 0
	case f <= float64(lo):
		return wrapInt(lo, id)
	case f >= float64(hi):
		return wrapInt(hi, id)
	}
	return wrapInt(int64(f), id)
}

// wholeOrNothing builds nested values aside, so that one with a part that has no such form leaves nothing behind.
func wholeOrNothing(conv convert, to batch.Type) convert {
	if k := to.Kind(); k != batch.KindList && k != batch.KindRow {
		return conv
	}
	aside := batch.NewColumn(to)
	return func(c *caster, out, src *batch.Column, i int) bool {
		aside.Reset()
		c.bad = false
		if !conv(c, aside, src, i) || c.bad {
			return false
		}
		out.AppendFrom(aside, 0)
		return true
	}
}

// toNested converts part by part; c.bad tells of parts that have no such form.
func toNested(from, to batch.Type) convert {
	parts := make([]convert, len(to.Fields))
	for i := range parts {
		parts[i] = converter(from.Fields[i].Type, to.Fields[i].Type)
	}
	one := func(c *caster, out, src *batch.Column, k, i int) {
		if src.IsNull(i) {
			out.AppendNull()
		} else if !parts[k](c, out, src, i) {
			out.AppendNull()
			c.bad = true
		}
	}
	if to.ID == batch.RowType {
		return func(c *caster, out, src *batch.Column, i int) bool {
			for k := range parts {
				one(c, out.Children[k], src.Children[k], k, i)
			}
			out.CloseRow()
			return true
		}
	}
	return func(c *caster, out, src *batch.Column, i int) bool {
		from, until := src.Range(i)
		for j := from; j < until; j++ {
			for k := range parts {
				one(c, out.Children[k], src.Children[k], k, j)
			}
		}
		out.CloseList()
		return true
	}
}

func castError(n *Node, to batch.Type, pos ast.Pos) error {
	hint := ""
	if to.IsNumeric() && n.Type.IsTime() {
		hint = "UNIX_TIMESTAMP gives the seconds since 1970"
	}
	return &ast.Error{Pos: pos, Msg: fmt.Sprintf("%s of type %s cannot be cast to %s", n, n.Type.Nullable(), to.Nullable()), Hint: hint}
}
