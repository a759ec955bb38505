package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// call is an aggregate function over expressions of its input.
type call struct {
	function string
	arg      *expr.Node // nil: COUNT(*)
	filter   *expr.Node // nil: none
	distinct bool
	typ      batch.Type
}

// name is the call as its output column is called.
func (k *call) name() string {
	var b strings.Builder
	b.WriteString(k.function + "(")
	if k.distinct {
		b.WriteString("DISTINCT ")
	}
	if k.arg == nil {
		b.WriteString("*")
	} else {
		b.WriteString(k.arg.String())
	}
	b.WriteString(")")
	if k.filter != nil {
		fmt.Fprintf(&b, " FILTER (WHERE %s)", k.filter)
	}
	return b.String()
}

func (k *call) equal(l *call) bool {
	return k.function == l.function && k.distinct == l.distinct && equalOrNil(k.arg, l.arg) && equalOrNil(k.filter, l.filter)
}

func equalOrNil(a, b *expr.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	return expr.Equal(a, b)
}

// grouping collects the keys and calls of one SELECT while its expressions are checked. It is the scope of the expressions
// above the aggregate, whose columns are the keys, then the calls.
type grouping struct {
	c     *compiler
	in    *source
	keys  []*expr.Node
	names []string // of keys
	calls []*call
	// aggregates says that the expression being checked holds an aggregate.
	aggregates bool
}

// Replace puts columns of the aggregate for grouping expressions and aggregate calls.
func (g *grouping) Replace(e ast.Expr) (*expr.Node, bool, error) {
	if x, ok := isAggregate(e); ok {
		n, err := g.aggregate(x)
		return n, true, err
	}
	if _, ok := e.(*ast.Literal); ok || len(g.keys) == 0 || g.aggregates && hasAggregate(e) {
		return nil, false, nil
	}
	if _, ok := e.(*ast.Column); !ok && !slices.ContainsFunc(g.keys, func(k *expr.Node) bool { return k.Op != expr.OpColumn }) {
		return nil, false, nil // all keys are columns
	}
	n, err := g.c.check(e, g.in.scope, "SELECT")
	if err != nil {
		return nil, false, err
	}
	for i, k := range g.keys {
		if expr.Equal(n, k) {
			return g.key(i, e.Position()), true, nil
		}
	}
	return nil, false, nil
}

func (g *grouping) key(i int, pos ast.Pos) *expr.Node {
	return expr.ColumnNode(i, g.names[i], g.keys[i].Type, pos)
}

// Column resolves a column outside of aggregates that is not itself a grouping expression: the fields of a ROW that is one.
func (g *grouping) Column(parts []ast.Name) (index int, typ batch.Type, used int, err error) {
	index, typ, used, err = g.in.scope.Column(parts)
	if err != nil {
		return 0, typ, 0, err
	}
	for i, k := range g.keys {
		if k.Op == expr.OpColumn && k.Column == index {
			return i, typ, used, nil
		}
	}
	return 0, typ, 0, hinted(parts[0].Pos, "add it to GROUP BY or use an aggregate such as MAX", "column %q is neither in GROUP BY nor in an aggregate",
		parts[used-1].Text)
}

// aggregate checks a call and gives the column that holds its result.
func (g *grouping) aggregate(x *ast.Call) (*expr.Node, error) {
	k := &call{function: strings.ToUpper(x.Name), distinct: x.Distinct}
	if err := refuseCall(x); err != nil {
		return nil, err
	}
	switch {
	case x.Star && k.function != "COUNT":
		return nil, errorAt(x.Pos, "%s(*) is not an aggregate; only COUNT(*) is", k.function)
	case x.Star && x.Distinct:
		return nil, unsupported(x.Pos, "COUNT(DISTINCT *) is", "name the column")
	case !x.Star && len(x.Args) != 1:
		return nil, errorAt(x.Pos, "%s takes one argument, found %d", k.function, len(x.Args))
	}
	var err error
	if !x.Star {
		if k.arg, err = g.operand(x.Args[0]); err != nil {
			return nil, err
		}
	}
	if x.Filter != nil {
		if k.filter, err = g.c.condition(x.Filter, g.in.scope, "FILTER (WHERE ...)"); err != nil {
			return nil, err
		}
		if err := refuseUnstable(k.filter, g.in.rel.updates); err != nil {
			return nil, err
		}
	}
	if k.typ, err = k.resultType(x.Pos, len(g.keys) == 0); err != nil {
		return nil, err
	}
	for i, other := range g.calls {
		if k.equal(other) {
			return g.result(i, x.Pos), nil
		}
	}
	g.calls = append(g.calls, k)
	return g.result(len(g.calls)-1, x.Pos), nil
}

func (g *grouping) operand(e ast.Expr) (*expr.Node, error) {
	n, err := g.c.check(e, g.in.scope, "an aggregate")
	if err != nil {
		return nil, err
	}
	if err := refuseUnstable(n, g.in.rel.updates); err != nil {
		return nil, err
	}
	return n, checkValueType(n, "the argument of an aggregate")
}

func (g *grouping) result(i int, pos ast.Pos) *expr.Node {
	return expr.ColumnNode(len(g.keys)+i, g.calls[i].name(), g.calls[i].typ, pos)
}

// resultType is the type of the call by Flink's rules: SUM, MIN and MAX have the argument's, sums of decimals more digits.
func (k *call) resultType(pos ast.Pos, global bool) (batch.Type, error) {
	if k.function == "COUNT" {
		if k.arg != nil && k.distinct {
			if err := checkKeyType(k.arg, pos, "COUNT(DISTINCT ...)"); err != nil {
				return batch.Type{}, err
			}
		}
		return batch.TypeBigInt.AsNotNull(), nil
	}
	t := k.arg.Type
	switch k.function {
	case "SUM", "AVG":
		if !t.IsNumeric() {
			return t, errorAt(pos, "%s needs a number, found %s", k.function, t.Nullable())
		}
		if t.ID == batch.Decimal && k.function == "SUM" {
			t.Precision = 38
		} else if t.ID == batch.Decimal {
			t.Precision, t.Scale = 38, max(6, t.Scale)
		}
	default:
		ordered := t.IsNumeric() || t.IsString() || t.IsTime() || t.ID == batch.Boolean || t.ID == batch.Date || t.ID == batch.Time
		if !ordered {
			return t, errorAt(pos, "%s needs numbers, texts, times or booleans, found %s", k.function, t.Nullable())
		}
	}
	t.NotNull = k.arg.Type.NotNull && !global && k.filter == nil
	return t, nil
}

// grouped plans SELECT with GROUP BY or aggregates.
func (c *compiler) grouped(s *ast.Select, items []selected, in *source, filter *expr.Node) (*rel, error) {
	g := &grouping{c: c, in: in}
	if err := g.addKeys(s.GroupBy); err != nil {
		return nil, err
	}
	project, names := make([]*expr.Node, len(items)), make([]string, len(items))
	for i, item := range items {
		names[i] = item.name
		n, err := g.item(item)
		if err != nil {
			return nil, err
		}
		project[i] = n
	}
	var having *expr.Node
	if s.Having != nil {
		if err := refuseForms(s.Having); err != nil {
			return nil, err
		}
		g.aggregates = hasAggregate(s.Having)
		n, err := checkFolded(s.Having, g)
		if err != nil {
			return nil, err
		}
		if having, err = asCondition(n, s.Having.Position(), "HAVING"); err != nil {
			return nil, err
		}
	}
	what, pos := "GROUP BY", s.Pos
	if len(s.GroupBy) > 0 {
		pos = s.GroupBy[0].Position()
	} else {
		what = "an aggregate without GROUP BY"
	}
	if len(g.keys)+len(g.calls) == 0 {
		g.calls = []*call{{function: "COUNT", typ: batch.TypeBigInt.AsNotNull()}} // HAVING alone: whether there is a row at all
	}
	r, err := c.newAggregate(in.rel, filter, g.keys, g.names, g.calls, what, pos)
	if err != nil {
		return nil, err
	}
	for _, n := range append(slices.Clone(project), having) {
		if n == nil {
			continue
		}
		if err := refuseUnstable(n, r.updates); err != nil {
			return nil, err
		}
	}
	return newCalc(r, having, project, names), nil
}

func (g *grouping) item(item selected) (*expr.Node, error) {
	if item.column >= 0 {
		for i, k := range g.keys {
			if k.Op == expr.OpColumn && k.Column == item.column {
				return g.key(i, item.pos), nil
			}
		}
		return nil, hinted(item.pos, "name the columns of GROUP BY instead of *", "column %q is neither in GROUP BY nor in an aggregate",
			g.in.scope.columns[item.column].name)
	}
	g.aggregates = hasAggregate(item.expr)
	return checkFolded(item.expr, g)
}

// addKeys checks GROUP BY. A parenthesized list is its elements; what is named twice counts once.
func (g *grouping) addKeys(list []ast.Expr) error {
	for _, e := range list {
		if row, ok := e.(*ast.RowValue); ok {
			if err := g.addKeys(row.Items); err != nil {
				return err
			}
			continue
		}
		if l, ok := e.(*ast.Literal); ok {
			if l.Kind == ast.LiteralNumber {
				return unsupported(l.Pos, "GROUP BY with a column's number is", "repeat the expression")
			}
			return errorAt(l.Pos, "GROUP BY needs a column or an expression of columns, found a constant")
		}
		n, err := g.c.check(e, g.in.scope, "GROUP BY")
		if err != nil {
			return err
		}
		if err := refuseRandom(n, "GROUP BY"); err != nil {
			return err
		}
		if err := refuseUnstable(n, g.in.rel.updates); err != nil {
			return err
		}
		if err := checkValueType(n, "GROUP BY"); err != nil {
			return err
		}
		if err := checkKeyType(n, e.Position(), "GROUP BY"); err != nil {
			return err
		}
		if !slices.ContainsFunc(g.keys, func(k *expr.Node) bool { return expr.Equal(k, n) }) {
			g.keys, g.names = append(g.keys, n), append(g.names, keyName(e, n))
		}
	}
	return nil
}

func keyName(e ast.Expr, n *expr.Node) string {
	if name := columnName(e, -1); !strings.HasPrefix(name, "EXPR$") {
		return name
	}
	return n.String()
}

// newAggregate groups the rows of in that pass filter: a calc that computes keys, arguments and filters, then the aggregate,
// whose columns are keys, then calls.
func (c *compiler) newAggregate(in *rel, filter *expr.Node, keys []*expr.Node, names []string, calls []*call, what string, pos ast.Pos) (*rel, error) {
	windowEnd, err := windowKey(in, keys, pos)
	if err != nil {
		return nil, err
	}
	var w *window
	if windowEnd >= 0 {
		w = in.columns[keys[windowEnd].Column].window
		if few, fewNames := endKeys(in, w, keys, names); len(few) < len(keys) {
			r, err := c.newAggregate(in, filter, few, fewNames, calls, what, pos)
			if err != nil {
				return nil, err
			}
			return restoreKeys(r, in, w, keys, names, pos), nil
		}
	}
	project, columns := slices.Clone(keys), slices.Clone(names)
	operand := func(n *expr.Node) int {
		if n == nil {
			return -1
		}
		if i := slices.IndexFunc(project, func(p *expr.Node) bool { return expr.Equal(p, n) }); i >= 0 {
			return i
		}
		project, columns = append(project, n), append(columns, n.String())
		return len(project) - 1
	}
	a := &aggregate{keys: len(keys), windowEnd: max(windowEnd, 0)}
	out := make([]batch.Field, 0, len(calls))
	for _, k := range calls {
		ac := AggregateCall{Func: k.function, Arg: operand(k.arg), Distinct: k.distinct, Filter: operand(k.filter), Type: k.typ}
		if k.arg != nil {
			ac.ArgType = k.arg.Type
		}
		a.calls = append(a.calls, ac)
		out = append(out, batch.Field{Name: k.name(), Type: k.typ})
	}
	pre := newCalc(in, filter, project, columns)
	if len(project) == 0 {
		pre = newCalc(in, filter, []*expr.Node{expr.LiteralNode(&expr.Value{Bool: true}, batch.TypeBoolean, pos)}, []string{"row"})
	}
	r := &rel{kind: relAggregate, inputs: []*rel{pre}, aggregate: a}
	a.mode, r.updates = c.aggregateMode(in, windowEnd >= 0, len(calls), what, pos)
	if a.mode != Window {
		a.windowEnd = 0
	}
	for i := range keys {
		r.columns = append(r.columns, pre.columns[i].grouped(w))
		r.key = append(r.key, i)
	}
	if r.key == nil {
		r.key = []int{} // one row at a time
	}
	for _, f := range out {
		r.columns = append(r.columns, column{name: f.Name, typ: f.Type})
	}
	return r, nil
}
