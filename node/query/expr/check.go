package expr

import (
	"fmt"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/spelling"
)

// Scope resolves names while checking.
type Scope interface {
	// Column resolves a path such as t.a or a. used says how many parts it took; further parts are fields of a ROW column.
	Column(parts []ast.Name) (index int, typ batch.Type, used int, err error)
	// Replace is asked first for every sub-expression, outermost first, so that the caller can put a node of its own for it: a
	// GROUP BY expression or an aggregate call becomes a column. With ok false the expression is checked as usual.
	Replace(e ast.Expr) (n *Node, ok bool, err error)
}

// maxDepth bounds nesting, so that no query text can exhaust the stack.
const maxDepth = 1000

type checker struct {
	scope Scope
	depth int
}

// Check types e. Errors are *ast.Error, with the place and, where it helps, what to do.
func Check(e ast.Expr, s Scope) (*Node, error) {
	return (&checker{scope: s}).check(e)
}

func (c *checker) check(e ast.Expr) (*Node, error) {
	if e == nil {
		return nil, &ast.Error{Msg: "an expression is missing"}
	}
	if c.depth++; c.depth > maxDepth {
		return nil, &ast.Error{Pos: e.Position(), Msg: fmt.Sprintf("expressions are nested more than %d deep", maxDepth)}
	}
	defer func() { c.depth-- }()
	if n, ok, err := c.scope.Replace(e); ok || err != nil {
		return n, err
	}
	switch e := e.(type) {
	case *ast.Literal:
		return checkLiteral(e)
	case *ast.Column:
		return c.column(e)
	case *ast.Unary:
		return c.unary(e)
	case *ast.Binary:
		return c.binary(e)
	case *ast.Is:
		return c.is(e)
	case *ast.IsDistinct:
		return c.isDistinct(e)
	case *ast.Between:
		return c.between(e)
	case *ast.In:
		return c.in(e)
	case *ast.Like:
		return c.like(e)
	case *ast.Case:
		return c.caseOf(e)
	case *ast.Cast:
		return c.cast(e)
	case *ast.Call:
		return c.call(e)
	case *ast.ArrayValue:
		return c.arrayValue(e)
	case *ast.MapValue:
		return c.mapValue(e)
	case *ast.RowValue:
		return c.rowValue(e)
	case *ast.Index:
		return c.index(e)
	case *ast.FieldAccess:
		x, err := c.check(e.X)
		if err != nil {
			return nil, err
		}
		return fieldOf(x, e.Name)
	case *ast.ScalarSubquery:
		return nil, &ast.Error{Pos: e.Pos, Msg: "a subquery as a value is not supported", Hint: "join with it instead"}
	case *ast.Exists:
		return nil, &ast.Error{Pos: e.Pos, Msg: "EXISTS is not supported", Hint: "join with the subquery instead"}
	}
	return nil, &ast.Error{Pos: e.Position(), Msg: fmt.Sprintf("%T is not supported as an expression", e)}
}

func (c *checker) checkAll(list []ast.Expr) ([]*Node, error) {
	out := make([]*Node, len(list))
	for i, e := range list {
		var err error
		if out[i], err = c.check(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *checker) column(e *ast.Column) (*Node, error) {
	index, t, used, err := c.scope.Column(e.Parts)
	if err != nil {
		return nil, err
	}
	name := make([]string, used)
	for i := range name {
		name[i] = e.Parts[i].Text
	}
	n := ColumnNode(index, strings.Join(name, "."), t, e.Pos)
	for _, part := range e.Parts[used:] {
		if n, err = fieldOf(n, part); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func fieldOf(x *Node, name ast.Name) (*Node, error) {
	if x.Type.ID != batch.RowType {
		return nil, &ast.Error{Pos: name.Pos, Msg: fmt.Sprintf("%s is %s, not a ROW: it has no field %s", x, x.Type.Nullable(), name.Text)}
	}
	names := make([]string, len(x.Type.Fields))
	for i, f := range x.Type.Fields {
		if f.Name == name.Text {
			t := f.Type
			t.NotNull = t.NotNull && x.Type.NotNull
			return &Node{Op: OpField, Type: t, Column: i, Name: name.Text, Args: []*Node{x}, Pos: name.Pos}, nil
		}
		names[i] = f.Name
	}
	hint := "its fields are " + strings.Join(names, ", ")
	if near := spelling.Nearest(name.Text, names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return nil, &ast.Error{Pos: name.Pos, Msg: fmt.Sprintf("%s has no field %s", x, name.Text), Hint: hint}
}

func (c *checker) unary(e *ast.Unary) (*Node, error) {
	if lit, ok := e.X.(*ast.Literal); ok && e.Op == "-" && lit.Kind == ast.LiteralNumber && !strings.HasPrefix(lit.Text, "-") {
		return checkLiteral(&ast.Literal{Pos: e.Pos, Kind: lit.Kind, Text: "-" + lit.Text})
	}
	x, err := c.check(e.X)
	if err != nil {
		return nil, err
	}
	if e.Op == "NOT" {
		return not(x, e.Pos)
	}
	if x.Type.ID == batch.Null {
		x = castTo(x, batch.TypeInt)
	}
	interval := x.Type.ID == batch.Interval || x.Type.ID == batch.IntervalYM
	if !x.Type.IsNumeric() && !interval {
		return nil, &ast.Error{Pos: e.Pos, Msg: fmt.Sprintf("%s needs a number; %s is %s", e.Op, x, x.Type.Nullable())}
	}
	if e.Op == "+" {
		return x, nil
	}
	return &Node{Op: OpCall, Func: "NEGATE", Type: x.Type, Args: []*Node{x}, Pos: e.Pos}, nil
}

func not(x *Node, pos ast.Pos) (*Node, error) {
	x, err := boolean(x, "NOT")
	if err != nil {
		return nil, err
	}
	return &Node{Op: OpCall, Func: "NOT", Type: x.Type, Args: []*Node{x}, Pos: pos}, nil
}

// boolean is x where a BOOLEAN is needed.
func boolean(x *Node, where string) (*Node, error) {
	if x.Type.ID == batch.Null {
		return castTo(x, batch.TypeBoolean), nil
	}
	if x.Type.ID != batch.Boolean {
		return nil, &ast.Error{Pos: x.Pos, Msg: fmt.Sprintf("%s needs a BOOLEAN; %s is %s", where, x, x.Type.Nullable())}
	}
	return x, nil
}

func (c *checker) binary(e *ast.Binary) (*Node, error) {
	if e.Op == "AND" || e.Op == "OR" {
		return c.logic(e)
	}
	l, err := c.check(e.L)
	if err != nil {
		return nil, err
	}
	r, err := c.check(e.R)
	if err != nil {
		return nil, err
	}
	switch e.Op {
	case "=", "<>", "<", "<=", ">", ">=":
		return checkCompare(e.Op, l, r, e.Pos)
	case "||":
		return checkConcat(l, r, e.Pos)
	case "+", "-", "*", "/", "%":
		if isTemporal(l.Type) || isTemporal(r.Type) {
			return checkTemporal(e.Op, l, r, e.Pos)
		}
		return checkArithmetic(e.Op, l, r, e.Pos)
	}
	return nil, &ast.Error{Pos: e.Pos, Msg: "operator " + e.Op + " is not supported"}
}

func operatorError(op string, l, r *Node, pos ast.Pos) error {
	hint := ""
	if l.Type.IsString() != r.Type.IsString() {
		text, other := l, r.Type
		if r.Type.IsString() {
			text, other = r, l.Type
		}
		if explicitCast(text.Type, other) {
			hint = fmt.Sprintf("write CAST(%s AS %s)", text, other.Nullable())
		}
	}
	return &ast.Error{Pos: pos, Msg: fmt.Sprintf("%s %s %s: %s is not defined between %s and %s", l.text(nil, bindUnary),
		op, r.text(nil, bindUnary), op, l.Type.Nullable(), r.Type.Nullable()), Hint: hint}
}

// logic flattens a chain of one connective, without recursion along its left side: such chains are long in practice.
func (c *checker) logic(e *ast.Binary) (*Node, error) {
	var parts []ast.Expr
	left := ast.Expr(e)
	for {
		b, ok := left.(*ast.Binary)
		if !ok || b.Op != e.Op {
			break
		}
		if b != e {
			if _, ok, err := c.scope.Replace(b); err != nil || ok {
				break // check below asks again
			}
		}
		parts = append(parts, b.R)
		left = b.L
	}
	parts = append(parts, left)
	n := &Node{Op: strings.ToLower(e.Op), Type: batch.TypeBoolean.AsNotNull(), Pos: e.Pos}
	for i := len(parts) - 1; i >= 0; i-- {
		x, err := c.check(parts[i])
		if err == nil {
			x, err = boolean(x, e.Op)
		}
		if err != nil {
			return nil, err
		}
		n.Type.NotNull = n.Type.NotNull && x.Type.NotNull
		if x.Op == n.Op {
			n.Args = append(n.Args, x.Args...)
		} else {
			n.Args = append(n.Args, x)
		}
	}
	return n, nil
}

func (c *checker) is(e *ast.Is) (*Node, error) {
	x, err := c.check(e.X)
	if err != nil {
		return nil, err
	}
	what := e.What
	if what != "NULL" {
		if x, err = boolean(x, "IS "+what); err != nil {
			return nil, err
		}
	}
	if what == "UNKNOWN" {
		what = "NULL"
	}
	if e.Not {
		what = "NOT " + what
	}
	return &Node{Op: OpCall, Func: "IS " + what, Type: batch.TypeBoolean.AsNotNull(), Args: []*Node{x}, Pos: e.Pos}, nil
}

func (c *checker) isDistinct(e *ast.IsDistinct) (*Node, error) {
	l, err := c.check(e.L)
	if err != nil {
		return nil, err
	}
	r, err := c.check(e.R)
	if err != nil {
		return nil, err
	}
	op := "IS DISTINCT FROM"
	if e.Not {
		op = "IS NOT DISTINCT FROM"
	}
	return checkCompare(op, l, r, e.Pos)
}

func (c *checker) between(e *ast.Between) (*Node, error) {
	list, err := c.checkAll([]ast.Expr{e.X, e.Low, e.High})
	if err != nil {
		return nil, err
	}
	low, err := checkCompare(">=", list[0], list[1], e.Pos)
	if err != nil {
		return nil, err
	}
	high, err := checkCompare("<=", list[0], list[2], e.Pos)
	if err != nil {
		return nil, err
	}
	t := batch.TypeBoolean
	t.NotNull = low.Type.NotNull && high.Type.NotNull
	n := &Node{Op: OpAnd, Type: t, Args: []*Node{low, high}, Pos: e.Pos}
	if e.Not {
		return not(n, e.Pos)
	}
	return n, nil
}

func (c *checker) in(e *ast.In) (*Node, error) {
	if e.Query != nil {
		return nil, &ast.Error{Pos: e.Pos, Msg: "IN (SELECT ...) is not supported", Hint: "join with the subquery instead"}
	}
	x, err := c.check(e.X)
	if err != nil {
		return nil, err
	}
	list, err := c.checkAll(e.List)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &ast.Error{Pos: e.Pos, Msg: "IN needs at least one value"}
	}
	n, err := inList(x, list, e.Pos)
	if err != nil || !e.Not {
		return n, err
	}
	return not(n, e.Pos)
}

// inList is x IN (list): a set when all of list are constants of x's form, else a chain of comparisons.
func inList(x *Node, list []*Node, pos ast.Pos) (*Node, error) {
	or := &Node{Op: OpOr, Type: batch.TypeBoolean, Pos: pos}
	in := &Node{Op: OpCall, Func: "IN", Type: batch.TypeBoolean, Args: []*Node{x}, Pos: pos}
	set := len(list) > 2 && x.Type.ID != batch.Null
	for _, item := range list {
		eq, err := checkCompare("=", x, item, item.Pos)
		if err != nil {
			return nil, err
		}
		or.Args = append(or.Args, eq)
		v, err := Fold(eq.Args[1])
		if err != nil {
			return nil, err
		}
		set = set && v.Op == OpLiteral && Equal(eq.Args[0], x)
		in.Args = append(in.Args, v)
	}
	switch {
	case set:
		return in, nil
	case len(or.Args) == 1:
		return or.Args[0], nil
	}
	return or, nil
}

func (c *checker) caseOf(e *ast.Case) (*Node, error) {
	var operand *Node
	var err error
	if e.Operand != nil {
		if operand, err = c.check(e.Operand); err != nil {
			return nil, err
		}
	}
	n := &Node{Op: OpCase, Pos: e.Pos}
	for _, w := range e.Whens {
		cond, err := c.check(w.Cond)
		if err != nil {
			return nil, err
		}
		if operand != nil {
			cond, err = checkCompare("=", operand, cond, w.Cond.Position())
		} else {
			cond, err = boolean(cond, "WHEN")
		}
		if err != nil {
			return nil, err
		}
		then, err := c.check(w.Then)
		if err != nil {
			return nil, err
		}
		n.Args = append(n.Args, cond, then)
	}
	last := LiteralNode(NullValue(), batch.TypeNull, e.Pos)
	if e.Else != nil {
		if last, err = c.check(e.Else); err != nil {
			return nil, err
		}
	}
	n.Args = append(n.Args, last)
	return n, unifyCase(n, "CASE")
}

// unifyCase brings the values of a case node to their common type, which becomes the node's.
func unifyCase(n *Node, what string) error {
	var values []*Node
	for i := 1; i < len(n.Args); i += 2 {
		values = append(values, n.Args[i])
	}
	values = append(values, n.Args[len(n.Args)-1])
	t, err := unify(values, what)
	if err != nil {
		return err
	}
	n.Type = t
	for i := 1; i < len(n.Args); i += 2 {
		n.Args[i] = values[i/2]
	}
	n.Args[len(n.Args)-1] = values[len(values)-1]
	return nil
}

// unify converts values to their common type in place.
func unify(values []*Node, what string) (batch.Type, error) {
	t := values[0].Type
	for _, v := range values[1:] {
		u, ok := CommonType(t, v.Type)
		if !ok {
			return t, &ast.Error{Pos: v.Pos, Msg: fmt.Sprintf("the values of %s have no common type: %s is %s, those before are %s",
				what, v, v.Type.Nullable(), t.Nullable())}
		}
		t = u
	}
	for i, v := range values {
		values[i] = castTo(v, t)
	}
	return t, nil
}

func (c *checker) cast(e *ast.Cast) (*Node, error) {
	x, err := c.check(e.X)
	if err != nil {
		return nil, err
	}
	to := e.Type
	to.NotNull = x.Type.NotNull && !e.Try && to.ID != batch.Decimal
	if !explicitCast(x.Type, to) {
		return nil, castError(x, to, e.Pos)
	}
	if x.Type.Equal(to) || x.Op == OpLiteral && x.Literal.Null {
		return castTo(x, to), nil
	}
	op := OpCast
	if e.Try {
		op = OpTryCast
	}
	return &Node{Op: op, Type: to, Args: []*Node{x}, Pos: e.Pos}, nil
}

// call checks a function call by name.
func (c *checker) call(e *ast.Call) (*Node, error) {
	name := strings.ToUpper(e.Name)
	if e.Over != nil {
		return nil, &ast.Error{Pos: e.Pos, Msg: name + " OVER (...) is not supported"}
	}
	def, known := lookup(name)
	special := specialForms[name]
	if special == nil && (!known || def.hidden) {
		return nil, unknownFunction(name, e.Pos)
	}
	if e.Distinct || e.Star || e.Filter != nil {
		return nil, &ast.Error{Pos: e.Pos, Msg: name + " is not an aggregate: it takes no DISTINCT, * or FILTER"}
	}
	args, err := c.checkAll(e.Args)
	if err != nil {
		return nil, err
	}
	if special != nil {
		return special(name, args, e.Pos)
	}
	return callOf(def, args, e.Pos)
}

// callOf types a call of def.
func callOf(def *FunctionDef, args []*Node, pos ast.Pos) (*Node, error) {
	if err := def.bind(args); err != nil {
		return nil, &ast.Error{Pos: pos, Msg: err.Error()}
	}
	t := def.Result
	if def.Returns != nil {
		var err error
		if t, err = def.Returns(args); err != nil {
			return nil, &ast.Error{Pos: pos, Msg: def.Name + ": " + err.Error()}
		}
	}
	t.NotNull = !def.MayBeNull && !def.CallsOnNull
	for _, a := range args {
		t.NotNull = t.NotNull && a.Type.NotNull
	}
	return &Node{Op: OpCall, Func: def.Name, Type: t, Args: args, Pos: pos}, nil
}

var aggregates = []string{"COUNT", "SUM", "MIN", "MAX", "AVG", "FIRST_VALUE", "LAST_VALUE", "LISTAGG", "COLLECT", "STDDEV_POP",
	"STDDEV_SAMP", "VAR_POP", "VAR_SAMP", "ARRAY_AGG", "APPROX_COUNT_DISTINCT"}

func unknownFunction(name string, pos ast.Pos) error {
	for _, a := range aggregates {
		if a == name {
			return &ast.Error{Pos: pos, Msg: name + " is an aggregate, which cannot stand here",
				Hint: "aggregates belong into SELECT or HAVING of a query with or without GROUP BY"}
		}
	}
	if _, ok := LookupTableFunction(name); ok {
		return &ast.Error{Pos: pos, Msg: name + " is a table function, not a value",
			Hint: "write FROM ..., LATERAL TABLE(" + name + "(...)) AS t(c)"}
	}
	hint := ""
	if near := spelling.Nearest(name, append(aggregates[:5:5], Functions()...)); near != "" {
		hint = "did you mean " + near + "?"
	}
	return &ast.Error{Pos: pos, Msg: "there is no function " + name, Hint: hint}
}
