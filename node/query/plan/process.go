package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// processFunction plans f(TABLE t PARTITION BY (a, b), args...).
func (c *compiler) processFunction(call *ast.TableCall, def *operator.Definition, with *ctes) (*rel, error) {
	table, rest, err := processTable(call, def)
	if err != nil {
		return nil, err
	}
	in, err := c.from(table.Relation, with)
	if err != nil {
		return nil, err
	}
	p := &processCall{name: def.Name, partitionBy: []int{}}
	for _, name := range table.PartitionBy {
		i, _, _, err := in.scope.Column([]ast.Name{name})
		if err != nil {
			return nil, err
		}
		if slices.Contains(p.partitionBy, i) {
			return nil, errorAt(name.Pos, "PARTITION BY names column %q twice", name.Text)
		}
		if err := checkKeyType(in.column(i, name.Pos), name.Pos, "PARTITION BY"); err != nil {
			return nil, err
		}
		p.partitionBy = append(p.partitionBy, i)
	}
	for _, a := range rest {
		arg, err := c.processArg(a, def)
		if err != nil {
			return nil, err
		}
		p.args = append(p.args, arg)
	}
	// The operator sees the columns under the names that FROM gives them.
	r := withNames(in, table.Pos)
	binding, err := def.Bind(operator.Call{Input: r.schema(), PartitionBy: p.partitionBy, Args: p.args})
	if err != nil {
		return nil, errorAt(call.Pos, "operator %q: %s", def.Name, message(err))
	}
	if !binding.AcceptsUpdates {
		if err := refuseUpdates(r, table.Pos, fmt.Sprintf("operator %q", def.Name)); err != nil {
			return nil, err
		}
	}
	if binding.Output == nil || len(binding.Output.Fields) == 0 && len(p.partitionBy) == 0 {
		return nil, errorAt(call.Pos, "operator %q declares no output columns", def.Name)
	}
	out := &rel{kind: relProcess, inputs: []*rel{r}, process: p}
	for _, i := range p.partitionBy {
		out.columns = append(out.columns, column{name: r.columns[i].name, typ: r.columns[i].typ})
	}
	for _, f := range binding.Output.Fields {
		if f.Type.ID == batch.Invalid || f.Type.ID == batch.Null {
			return nil, errorAt(call.Pos, "operator %q declares its output column %q without a type", def.Name, f.Name)
		}
		out.columns = append(out.columns, column{name: f.Name, typ: f.Type})
	}
	return out, nil
}

// processTable finds the TABLE argument.
func processTable(call *ast.TableCall, def *operator.Definition) (*ast.TableArg, []ast.TableCallArg, error) {
	var table *ast.TableArg
	var rest []ast.TableCallArg
	for _, a := range call.Args {
		switch {
		case a.Table != nil && table != nil:
			return nil, nil, unsupported(a.Pos, fmt.Sprintf("a second TABLE argument (operator %q) is", def.Name), "combine the tables with UNION ALL")
		case a.Table != nil:
			table = a.Table
		case a.Descriptor != nil:
			return nil, nil, unsupported(a.Pos, fmt.Sprintf("DESCRIPTOR as an argument of operator %q is", def.Name), "give the column's name as a text")
		default:
			rest = append(rest, a)
		}
	}
	if table == nil {
		return nil, nil, hinted(call.Pos, fmt.Sprintf("write %s(TABLE t PARTITION BY (a, b), ...)", call.Name), "operator %q needs a TABLE argument", def.Name)
	}
	return table, rest, nil
}

// processArg computes a constant argument and its text.
func (c *compiler) processArg(a ast.TableCallArg, def *operator.Definition) (operator.Arg, error) {
	n, err := c.check(a.Expr, &scope{}, "an argument of an operator")
	if err != nil {
		return operator.Arg{}, err
	}
	if n.Op != expr.OpLiteral {
		return operator.Arg{}, hinted(a.Pos, "columns reach the operator through its TABLE argument", "an argument of operator %q must be a constant", def.Name)
	}
	arg := operator.Arg{Name: a.Name, Type: n.Type, Null: n.Literal.Null}
	if !arg.Null {
		col := batch.NewColumn(n.Type)
		n.Literal.Append(col)
		arg.Text = string(expr.AppendText(nil, col, 0, c.zone))
	}
	return arg, nil
}

// withNames is the relation of in with the names of its scope.
func withNames(in *source, pos ast.Pos) *rel {
	same := true
	names := make([]string, len(in.scope.columns))
	for i, col := range in.scope.columns {
		names[i] = col.name
		same = same && col.name == in.rel.columns[i].name
	}
	if same {
		return in.rel
	}
	return newCalc(in.rel, nil, in.rel.identity(pos), names)
}

// operatorLabel is how a stage of a custom operator is called.
func operatorLabel(p *processCall, in *batch.Schema) string {
	if len(p.partitionBy) == 0 {
		return p.name
	}
	names := make([]string, len(p.partitionBy))
	for i, k := range p.partitionBy {
		names[i] = in.Fields[k].Name
	}
	return p.name + " by " + strings.Join(names, ", ")
}
