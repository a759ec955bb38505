package plan

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// view is a query with a name: planned once, shared by all who use it.
type view struct {
	rel *rel
}

// ctes holds the queries of WITH that are visible at a place, the innermost first.
type ctes struct {
	outer *ctes
	name  string
	view  *view
}

func (n *ctes) find(name string) *view {
	for ; n != nil; n = n.outer {
		if n.name == name {
			return n.view
		}
	}
	return nil
}

func (c *compiler) createView(def *ast.CreateView) error {
	if c.named(def.Name.Text) {
		if def.IfNotExists {
			return nil
		}
		return errorAt(def.Name.Pos, "%q is already declared", def.Name.Text)
	}
	v, err := c.view(def, nil)
	if err != nil {
		return err
	}
	c.views[def.Name.Text] = v
	return nil
}

func (c *compiler) view(def *ast.CreateView, with *ctes) (*view, error) {
	r, err := c.query(def.Query, with)
	if err != nil {
		return nil, err
	}
	if def.Columns != nil {
		if r, err = renamed(r, def.Columns, def.Name.Pos, fmt.Sprintf("view %q", def.Name.Text)); err != nil {
			return nil, err
		}
	}
	return &view{r}, nil
}

// renamed gives the columns of r other names. Only names change: r stays the shared relation below.
func renamed(r *rel, columns []ast.Name, pos ast.Pos, what string) (*rel, error) {
	if len(columns) != len(r.columns) {
		return nil, errorAt(pos, "%s names %d columns, its query gives %d", what, len(columns), len(r.columns))
	}
	names := make([]string, len(columns))
	for i, n := range columns {
		names[i] = n.Text
	}
	return newCalc(r, nil, r.identity(pos), names), nil
}

// query plans a query expression; with are the queries of WITH around it.
func (c *compiler) query(q ast.Query, with *ctes) (*rel, error) {
	switch x := q.(type) {
	case *ast.Select:
		return c.selectQuery(x, with)
	case *ast.SetOp:
		return c.setOp(x, with)
	case *ast.With:
		for i := range x.Views {
			v, err := c.view(&x.Views[i], with)
			if err != nil {
				return nil, err
			}
			with = &ctes{with, x.Views[i].Name.Text, v}
		}
		return c.query(x.Body, with)
	case *ast.Values:
		return nil, unsupported(x.Pos, "VALUES is", "put the rows into a file and read it with 'connector' = 'filesystem'")
	}
	return nil, errorAt(q.Position(), "this query is not supported")
}

// setOp plans UNION ALL. Chains lean to the left and may be long: they are walked, not recursed into.
func (c *compiler) setOp(x *ast.SetOp, with *ctes) (*rel, error) {
	var branches []ast.Query
	var ops []*ast.SetOp
	for {
		if err := refuseTail(x.Pos, x.OrderBy, x.Limit); err != nil {
			return nil, err
		}
		switch x.Op {
		case "UNION ALL":
		case "UNION":
			return nil, unsupported(x.Pos, "UNION (distinct) is", "use SELECT DISTINCT over a UNION ALL")
		default:
			return nil, unsupported(x.Pos, x.Op+" is", "")
		}
		branches, ops = append(branches, x.Right), append(ops, x)
		left, ok := x.Left.(*ast.SetOp)
		if !ok {
			branches = append(branches, x.Left)
			break
		}
		x = left
	}
	rels := make([]*rel, len(branches))
	for i := range branches {
		var err error
		if rels[i], err = c.query(branches[len(branches)-1-i], with); err != nil {
			return nil, err
		}
	}
	for i := 1; i < len(rels); i++ {
		if l, r := len(rels[0].columns), len(rels[i].columns); l != r {
			return nil, errorAt(ops[len(ops)-i].Pos, "UNION ALL of queries with %d and %d columns", l, r)
		}
	}
	return c.unite(rels, ops)
}

// maxBranches bounds the inputs of a UNION ALL.
const maxBranches = 1000

// unite brings the columns of all rels to common types; ops[len(ops)-i] stands before rels[i].
func (c *compiler) unite(rels []*rel, ops []*ast.SetOp) (*rel, error) {
	types := make([]batch.Type, len(rels[0].columns))
	for k := range types {
		types[k] = rels[0].columns[k].typ
		for i := 1; i < len(rels); i++ {
			t, ok := expr.CommonType(types[k], rels[i].columns[k].typ)
			if !ok {
				return nil, hinted(ops[len(ops)-i].Pos, "CAST one of them", "UNION ALL: column %d (%q) is %s and %s", k+1, rels[0].columns[k].name,
					types[k].Nullable(), rels[i].columns[k].typ.Nullable())
			}
			types[k] = t
		}
	}
	for i, r := range rels {
		project, cast := r.identity(ast.Pos{}), false
		columns := make([]string, len(project))
		for k, n := range project {
			columns[k] = rels[0].columns[k].name
			if n.Type.Equal(types[k]) {
				continue
			}
			coerced, err := expr.Coerce(n, types[k])
			if err != nil {
				return nil, errorAt(ops[max(1, len(ops)-i)-1].Pos, "UNION ALL: column %d (%q): %v", k+1, columns[k], message(err))
			}
			project[k], cast = coerced, true
		}
		if cast {
			rels[i] = newCalc(r, nil, project, columns)
		}
	}
	u := newUnion(rels)
	if u.branches > maxBranches {
		return nil, errorAt(ops[0].Pos, "a UNION ALL of %d queries, views written out; at most %d are supported", u.branches, maxBranches)
	}
	return u, nil
}

// message is an error's text without its place.
func message(err error) string {
	if e, ok := err.(*ast.Error); ok {
		return e.Msg
	}
	return err.Error()
}

func (c *compiler) selectQuery(s *ast.Select, with *ctes) (*rel, error) {
	if err := refuseTail(s.Pos, s.OrderBy, s.Limit); err != nil {
		return nil, err
	}
	if s.From == nil {
		return nil, unsupported(s.Pos, "SELECT without FROM is", "name a table to read")
	}
	for _, item := range s.Items {
		if err := refuseForms(item.Expr); err != nil {
			return nil, err
		}
	}
	in, err := c.from(s.From, with)
	if err != nil {
		return nil, err
	}
	var filter *expr.Node
	if s.Where != nil {
		if filter, err = c.condition(s.Where, in.scope, "WHERE"); err != nil {
			return nil, err
		}
		if err := refuseUnstable(filter, in.rel.updates); err != nil {
			return nil, err
		}
	}
	items, err := in.expand(s.Items)
	if err != nil {
		return nil, err
	}
	if err := checkColumns(s.Pos, len(items)); err != nil {
		return nil, err
	}
	var r *rel
	if isGrouped(s) {
		r, err = c.grouped(s, items, in, filter)
	} else {
		r, err = c.projected(s, items, in, filter)
	}
	if err != nil || !s.Distinct {
		return r, err
	}
	return c.distinct(r, s.Pos)
}

func isGrouped(s *ast.Select) bool {
	if len(s.GroupBy) > 0 || s.Having != nil {
		return true
	}
	for _, item := range s.Items {
		if hasAggregate(item.Expr) {
			return true
		}
	}
	return false
}

// selected is a select item with stars written out: a column of FROM, or an expression.
type selected struct {
	column int // -1: expr
	expr   ast.Expr
	name   string
	pos    ast.Pos
}

// expand writes out stars.
func (in *source) expand(items []ast.SelectItem) ([]selected, error) {
	var out []selected
	for _, item := range items {
		if !item.Star {
			name := item.Alias
			if name == "" {
				name = columnName(item.Expr, len(out))
			}
			out = append(out, selected{-1, item.Expr, name, item.Pos})
			continue
		}
		n := len(out)
		for i, col := range in.scope.columns {
			if item.Qualifier == "" || col.qualifier == item.Qualifier {
				out = append(out, selected{i, nil, col.name, item.Pos})
			}
		}
		if len(out) == n {
			return nil, hinted(item.Pos, unknownColumnHint(item.Qualifier, in.scope.qualifiers()), "there is no table %q here", item.Qualifier)
		}
	}
	return out, nil
}

// projected plans SELECT without aggregates.
func (c *compiler) projected(s *ast.Select, items []selected, in *source, filter *expr.Node) (*rel, error) {
	project, names := make([]*expr.Node, len(items)), make([]string, len(items))
	for i, item := range items {
		names[i] = item.name
		if item.column >= 0 {
			project[i] = in.column(item.column, item.pos)
			continue
		}
		n, err := c.check(item.expr, in.scope, "SELECT")
		if err != nil {
			return nil, err
		}
		if err := refuseUnstable(n, in.rel.updates); err != nil {
			return nil, err
		}
		project[i] = n
	}
	return newCalc(in.rel, filter, project, names), nil
}

// distinct groups by all columns.
func (c *compiler) distinct(in *rel, pos ast.Pos) (*rel, error) {
	keys, names := in.identity(pos), make([]string, len(in.columns))
	for i, n := range keys {
		names[i] = in.columns[i].name
		if err := checkKeyType(n, pos, "SELECT DISTINCT"); err != nil {
			return nil, err
		}
	}
	return c.newAggregate(in, nil, keys, names, nil, "SELECT DISTINCT", pos)
}
