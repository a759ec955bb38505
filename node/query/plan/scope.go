package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// scopeColumn is a column that expressions may name: column i of the relation that the scope is for.
type scopeColumn struct {
	qualifier string // alias or name of the table it comes from, "" none
	name      string
	typ       batch.Type
}

// scope resolves names to columns of one relation. It is an expr.Scope.
type scope struct {
	columns []scopeColumn
}

// newScope names the columns of a relation, all under one qualifier.
func newScope(qualifier string, columns []column) *scope {
	s := &scope{columns: make([]scopeColumn, len(columns))}
	for i, c := range columns {
		s.columns[i] = scopeColumn{qualifier, c.name, c.typ}
	}
	return s
}

// Column implements expr.Scope: "name", "qualifier.name", and either followed by fields of a ROW.
func (s *scope) Column(parts []ast.Name) (index int, typ batch.Type, used int, err error) {
	if len(parts) > 1 {
		index, n := s.find(parts[0].Text, parts[1].Text, true)
		if n > 1 {
			return 0, typ, 0, errorAt(parts[1].Pos, "column %q of %q is ambiguous: there are %d of that name", parts[1].Text, parts[0].Text, n)
		}
		if n == 1 {
			return index, s.columns[index].typ, 2, nil
		}
	}
	index, n := s.find("", parts[0].Text, false)
	switch {
	case n > 1:
		return 0, typ, 0, hinted(parts[0].Pos, s.qualifyHint(parts[0].Text), "column %q is ambiguous", parts[0].Text)
	case n == 1:
		return index, s.columns[index].typ, 1, nil
	}
	return 0, typ, 0, s.unknown(parts)
}

// Replace implements expr.Scope: nothing is replaced.
func (s *scope) Replace(ast.Expr) (*expr.Node, bool, error) { return nil, false, nil }

func (s *scope) find(qualifier, name string, qualified bool) (index, n int) {
	for i, c := range s.columns {
		if c.name == name && (!qualified || c.qualifier == qualifier) {
			if n == 0 {
				index = i
			}
			n++
		}
	}
	return index, n
}

func (s *scope) qualifyHint(name string) string {
	var names []string
	for _, c := range s.columns {
		if full := c.qualifier + "." + name; c.name == name && c.qualifier != "" && !slices.Contains(names, full) {
			names = append(names, full)
		}
	}
	if len(names) < 2 {
		return "give the columns different names with AS"
	}
	return "write " + strings.Join(names, " or ")
}

func (s *scope) unknown(parts []ast.Name) error {
	if len(parts) > 1 && s.hasQualifier(parts[0].Text) {
		names := s.names(parts[0].Text)
		return hinted(parts[1].Pos, unknownColumnHint(parts[1].Text, names), "%q has no column %q", parts[0].Text, parts[1].Text)
	}
	names := s.names("")
	if len(parts) > 1 {
		return hinted(parts[0].Pos, unknownColumnHint(parts[0].Text, append(names, s.qualifiers()...)),
			"there is no table or column %q here", parts[0].Text)
	}
	return hinted(parts[0].Pos, unknownColumnHint(parts[0].Text, names), "there is no column %q here", parts[0].Text)
}

func unknownColumnHint(name string, names []string) string {
	if hint := didYouMean(name, names); hint != "" {
		return hint
	}
	if len(names) == 0 {
		return ""
	}
	return "there are " + quoteList(names)
}

func (s *scope) hasQualifier(q string) bool {
	return slices.ContainsFunc(s.columns, func(c scopeColumn) bool { return c.qualifier == q })
}

// names lists the distinct column names in order, of one qualifier or ("") of all.
func (s *scope) names(qualifier string) []string {
	var names []string
	for _, c := range s.columns {
		if (qualifier == "" || c.qualifier == qualifier) && !slices.Contains(names, c.name) {
			names = append(names, c.name)
		}
	}
	return names
}

func (s *scope) qualifiers() []string {
	var names []string
	for _, c := range s.columns {
		if c.qualifier != "" && !slices.Contains(names, c.qualifier) {
			names = append(names, c.qualifier)
		}
	}
	return names
}

// check types an expression in a scope; clause says where it stands, for messages about what may not stand there.
func (c *compiler) check(e ast.Expr, s expr.Scope, clause string) (*expr.Node, error) {
	if err := refuseInExpr(e, clause); err != nil {
		return nil, err
	}
	return checkFolded(e, s)
}

// checkFolded types e, computes what is constant in it and refuses functions that are not functions of the query's input.
func checkFolded(e ast.Expr, s expr.Scope) (*expr.Node, error) {
	n, err := expr.Check(e, s)
	if err != nil {
		return nil, err
	}
	expr.Walk(n, func(n *expr.Node) {
		if err == nil && n.Op == expr.OpCall && !expr.IsDeterministic(n.Func) {
			err = unsupported(n.Pos, fmt.Sprintf("the function %s, which may give another answer next time, is", n.Func),
				"compute it outside and read the result as a table")
		}
	})
	if err != nil {
		return nil, err
	}
	return expr.Fold(n)
}

// condition checks a predicate: BOOLEAN.
func (c *compiler) condition(e ast.Expr, s expr.Scope, clause string) (*expr.Node, error) {
	n, err := c.check(e, s, clause)
	if err != nil {
		return nil, err
	}
	return asCondition(n, e.Position(), clause)
}

func asCondition(n *expr.Node, pos ast.Pos, clause string) (*expr.Node, error) {
	if n.Type.ID == batch.Null {
		return expr.Coerce(n, batch.TypeBoolean)
	}
	if n.Type.ID != batch.Boolean {
		return nil, errorAt(pos, "%s needs a BOOLEAN, found %s", clause, n.Type.Nullable())
	}
	return n, nil
}

// checkValueType refuses types that a column of a table cannot have.
func checkValueType(n *expr.Node, what string) error {
	switch n.Type.ID {
	case batch.Null:
		return hinted(n.Pos, "write CAST(NULL AS type)", "NULL as %s has no type", what)
	case batch.Interval, batch.IntervalYM:
		return errorAt(n.Pos, "%s cannot be %s", what, n.Type.Nullable())
	}
	return nil
}

// columnName is the name of a select item without an alias: that of a column or field, otherwise EXPR$i as in Flink.
func columnName(e ast.Expr, i int) string {
	switch x := e.(type) {
	case *ast.Column:
		return x.Parts[len(x.Parts)-1].Text
	case *ast.FieldAccess:
		return x.Name.Text
	}
	return fmt.Sprintf("EXPR$%d", i)
}
