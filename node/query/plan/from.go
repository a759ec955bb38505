package plan

import (
	"fmt"
	"sort"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// source is what FROM gives: a relation and the names of its columns.
type source struct {
	rel   *rel
	scope *scope
}

func (in *source) column(i int, pos ast.Pos) *expr.Node {
	return expr.ColumnNode(i, in.scope.columns[i].name, in.rel.columns[i].typ, pos)
}

// named is a source whose columns all have one qualifier; columns, if not nil, are their new names.
func named(r *rel, qualifier string, columns []ast.Name, pos ast.Pos) (*source, error) {
	s := newScope(qualifier, r.columns)
	if columns != nil {
		if len(columns) != len(s.columns) {
			return nil, errorAt(pos, "%q has %d columns; %d names are given", qualifier, len(s.columns), len(columns))
		}
		for i, n := range columns {
			s.columns[i].name = n.Text
		}
	}
	return &source{r, s}, nil
}

func (c *compiler) from(f ast.Relation, with *ctes) (*source, error) {
	switch x := f.(type) {
	case *ast.TableRef:
		r, err := c.lookup(x.Name, with)
		if err != nil {
			return nil, err
		}
		alias := x.Alias
		if alias == "" {
			alias = x.Name.Text
		}
		return named(r, alias, x.Columns, x.Pos)
	case *ast.Subquery:
		r, err := c.query(x.Query, with)
		if err != nil {
			return nil, err
		}
		return named(r, x.Alias, x.Columns, x.Pos)
	case *ast.TableFunction:
		return c.tableFunction(x, with)
	case *ast.Unnest:
		return nil, unsupported(x.Pos, "UNNEST without a table before it is", "write FROM t CROSS JOIN UNNEST(t.x) AS u(y)")
	case *ast.Join:
		return c.join(x, with)
	}
	return nil, errorAt(f.Position(), "this is not supported in FROM")
}

// lookup finds a query of WITH, a view or a table.
func (c *compiler) lookup(name ast.Name, with *ctes) (*rel, error) {
	if v := with.find(name.Text); v != nil {
		return v.rel, nil
	}
	if v := c.views[name.Text]; v != nil {
		return v.rel, nil
	}
	if t := c.tables[name.Text]; t != nil {
		return c.reference(t, name.Pos)
	}
	known := c.relationNames()
	for n := with; n != nil; n = n.outer {
		known = append(known, n.name)
	}
	hint := didYouMean(name.Text, known)
	if hint == "" {
		hint = "declare it before with CREATE TABLE or CREATE VIEW; names are case-sensitive"
	}
	return nil, hinted(name.Pos, hint, "there is no table or view %q", name.Text)
}

func (c *compiler) relationNames() []string {
	var known []string
	for n := range c.tables {
		known = append(known, n)
	}
	for n := range c.views {
		known = append(known, n)
	}
	return known // nearest sorts
}

// join plans what of joins there is: a table function or UNNEST for each row of the left side.
func (c *compiler) join(x *ast.Join, with *ctes) (*source, error) {
	call, unnest := lateral(x.Right)
	if call == nil && unnest == nil {
		return nil, unsupported(x.Right.Position(), joinName(x)+" is", "only LATERAL TABLE(f(x)) and UNNEST(x) can be joined")
	}
	outer := false
	switch {
	case x.Kind == "RIGHT" || x.Kind == "FULL":
		return nil, unsupported(x.Right.Position(), x.Kind+" JOIN with a table function is", "")
	case len(x.Using) > 0 || x.On != nil && !isTrue(x.On):
		pos := x.Right.Position()
		if x.On != nil {
			pos = x.On.Position()
		}
		return nil, unsupported(pos, "a join condition on a table function other than ON TRUE is", "put the condition into WHERE")
	case x.Kind == "LEFT":
		outer = true
	}
	left, err := c.from(x.Left, with)
	if err != nil {
		return nil, err
	}
	if unnest != nil {
		function := "UNNEST"
		if unnest.Ordinality {
			function = "UNNEST WITH ORDINALITY"
		}
		args := []ast.Expr{unnest.Expr}
		return c.flatMap(left, function, args, outer, aliases{unnest.Alias, unnest.Columns, unnest.Pos})
	}
	args := make([]ast.Expr, len(call.Call.Args))
	for i, a := range call.Call.Args {
		switch {
		case a.Expr == nil:
			return nil, errorAt(a.Pos, "%s: a table argument cannot be given in a join", call.Call.Name)
		case a.Name != "":
			return nil, unsupported(a.Pos, "an argument by name for a table function is", "give arguments in order")
		}
		args[i] = a.Expr
	}
	return c.flatMap(left, call.Call.Name, args, outer, aliases{call.Alias, call.Columns, call.Pos})
}

// lateral says whether r is a table function over the rows before it, or UNNEST.
func lateral(r ast.Relation) (*ast.TableFunction, *ast.Unnest) {
	switch x := r.(type) {
	case *ast.Unnest:
		return nil, x
	case *ast.TableFunction:
		for _, a := range x.Call.Args {
			if a.Expr == nil {
				return nil, nil
			}
		}
		return x, nil
	}
	return nil, nil
}

func joinName(x *ast.Join) string {
	if x.Kind == "CROSS" {
		return "CROSS JOIN (or the comma) of two tables"
	}
	return x.Kind + " JOIN of two tables"
}

func isTrue(e ast.Expr) bool {
	l, ok := e.(*ast.Literal)
	return ok && l.Kind == ast.LiteralBool && l.Bool
}

// aliases are what stands after AS.
type aliases struct {
	name    string
	columns []ast.Name
	pos     ast.Pos
}

// flatMap joins the rows of left with a table function.
func (c *compiler) flatMap(left *source, function string, args []ast.Expr, outer bool, as aliases) (*source, error) {
	def, ok := expr.LookupTableFunction(function)
	if !ok || strings.HasPrefix(function, internalPrefix) {
		return nil, hinted(as.pos, c.tableFunctionHint(function), "there is no table function %q", function)
	}
	nodes, types := make([]*expr.Node, len(args)), make([]batch.Type, len(args))
	for i, a := range args {
		n, err := c.check(a, left.scope, "an argument of a table function")
		if err != nil {
			return nil, err
		}
		if err := refuseUnstable(n, left.rel.updates); err != nil {
			return nil, err
		}
		nodes[i], types[i] = n, n.Type
	}
	fields, err := def.Check(types)
	if err != nil {
		if at, ok := err.(*ast.Error); ok {
			return nil, at
		}
		return nil, errorAt(as.pos, "%v", err)
	}
	if as.columns != nil && len(as.columns) != len(fields) {
		return nil, errorAt(as.columns[0].Pos, "%s gives %d columns; %d names are given", strings.ToUpper(function), len(fields), len(as.columns))
	}
	out := make([]column, len(fields))
	for i, f := range fields {
		out[i] = column{name: f.Name, typ: f.Type}
		if as.columns != nil {
			out[i].name = as.columns[i].Text
		}
		if outer {
			out[i].typ.NotNull = false
		}
	}
	keep := make([]int, len(left.rel.columns))
	for i := range keep {
		keep[i] = i
	}
	r := newFlatMap(left.rel, strings.ToUpper(function), nodes, keep, out, outer)
	s := &scope{columns: append([]scopeColumn(nil), left.scope.columns...)}
	for _, col := range out {
		s.columns = append(s.columns, scopeColumn{as.name, col.name, col.typ})
	}
	return &source{r, s}, nil
}

func (c *compiler) tableFunctionHint(name string) string {
	known := append([]string{"TUMBLE", "HOP", "CUMULATE"}, c.catalog.Operators()...)
	for _, f := range expr.TableFunctions() {
		if !strings.HasPrefix(f, internalPrefix) && !strings.Contains(f, " ") {
			known = append(known, f)
		}
	}
	sort.Strings(known)
	if hint := didYouMean(name, known); hint != "" {
		return hint
	}
	return fmt.Sprintf("there are %s", quoteList(known))
}

// tableFunction plans a call that stands on its own in FROM: a window table function or a custom operator.
func (c *compiler) tableFunction(x *ast.TableFunction, with *ctes) (*source, error) {
	name := strings.ToUpper(x.Call.Name)
	var r *rel
	var err error
	qualifier := x.Alias
	call := *x.Call
	call.Pos = x.Pos
	if isWindowFunction(name) {
		r, err = c.windowFunction(&call, name, with)
	} else if def, ok := c.catalog.Operator(x.Call.Name); ok {
		if x.Lateral {
			return nil, errorAt(x.Pos, "operator %q takes a table; write FROM TABLE(%s(TABLE t ...)) without LATERAL", def.Name, x.Call.Name)
		}
		r, err = c.processFunction(&call, def, with)
		if qualifier == "" {
			qualifier = x.Call.Name
		}
	} else if _, ok := expr.LookupTableFunction(name); ok {
		err = unsupported(x.Pos, fmt.Sprintf("the table function %s without a table before it is", name),
			fmt.Sprintf("write FROM t, LATERAL TABLE(%s(t.x)) AS u(y)", x.Call.Name))
	} else {
		err = hinted(x.Pos, c.tableFunctionHint(x.Call.Name), "there is no table function or operator %q", x.Call.Name)
	}
	if err != nil {
		return nil, err
	}
	return named(r, qualifier, x.Columns, x.Pos)
}
