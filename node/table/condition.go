package table

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// conditionMax is the longest condition, in bytes.
const conditionMax = 64 << 10

// clocks are the functions of the present time. In a read there is none: nodes would answer with different ones.
var clocks = []string{"NOW", "CURRENT_TIMESTAMP", "CURRENT_ROW_TIMESTAMP", "PROCTIME", "LOCALTIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIME"}

// compileCondition makes a program of a WHERE condition over the columns of a table. Errors are *ast.Error, or *RequestError.
func compileCondition(text, table string, schema *batch.Schema) (*expr.Program, error) {
	if len(text) > conditionMax {
		return nil, &RequestError{fmt.Sprintf("the condition is longer than %d bytes", conditionMax)}
	}
	e, err := ast.ParseExpr(text)
	if err != nil {
		return nil, err
	}
	n, err := expr.Check(e, scope{table, schema})
	if err != nil {
		return nil, err
	}
	if n.Type.ID != batch.Boolean && n.Type.ID != batch.Null {
		return nil, &ast.Error{Pos: e.Position(), Msg: fmt.Sprintf("a condition is a BOOLEAN, found %s", n.Type.Nullable())}
	}
	if n.Type.ID == batch.Null {
		if n, err = expr.Coerce(n, batch.TypeBoolean); err != nil {
			return nil, err
		}
	}
	expr.Walk(n, func(n *expr.Node) {
		if err != nil || n.Op != expr.OpCall {
			return
		}
		clock := slices.Contains(clocks, n.Func) || n.Func == "UNIX_TIMESTAMP" && len(n.Args) == 0
		if clock || n.IsRandom() || !expr.IsDeterministic(n.Func) {
			err = &ast.Error{Pos: n.Pos, Msg: fmt.Sprintf("the function %s is not supported in a read: its value would depend on when or where it is computed", n.Func),
				Hint: "write the value itself"}
		}
	})
	if err != nil {
		return nil, err
	}
	if n, err = expr.Fold(n); err != nil {
		return nil, err
	}
	return expr.Compile(n)
}

// scope are the columns of a table, alone or behind its name.
type scope struct {
	table  string
	schema *batch.Schema
}

// Column implements expr.Scope.
func (s scope) Column(parts []ast.Name) (index int, typ batch.Type, used int, err error) {
	if i := s.schema.Index(parts[0].Text); i >= 0 {
		return i, s.schema.Fields[i].Type, 1, nil
	}
	if len(parts) > 1 && parts[0].Text == s.table {
		if i := s.schema.Index(parts[1].Text); i >= 0 {
			return i, s.schema.Fields[i].Type, 2, nil
		}
		return 0, typ, 0, s.unknown(parts[1])
	}
	return 0, typ, 0, s.unknown(parts[0])
}

func (s scope) unknown(n ast.Name) error {
	return &ast.Error{Pos: n.Pos, Msg: fmt.Sprintf("table %s has no column %q", s.table, n.Text), Hint: "there are " + columnNames(s.schema)}
}

func columnNames(s *batch.Schema) string {
	names := make([]string, len(s.Fields))
	for i, f := range s.Fields {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

// Replace implements expr.Scope: nothing is replaced.
func (s scope) Replace(ast.Expr) (*expr.Node, bool, error) { return nil, false, nil }
