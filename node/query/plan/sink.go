package plan

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// sink is a table that the query writes and what goes there: all INSERTs into one table are one sink.
type sink struct {
	table    *table
	pos      ast.Pos
	branches []*rel // with the table's physical columns
	rel      *rel   // relSink over all branches, made when all statements are read
}

func (c *compiler) insert(in *ast.Insert) error {
	t := c.tables[in.Table.Text]
	if t == nil {
		if c.views[in.Table.Text] != nil {
			return errorAt(in.Table.Pos, "%q is a view; only tables can be written", in.Table.Text)
		}
		names := make([]string, len(c.order))
		for i, t := range c.order {
			names[i] = t.name
		}
		hint := didYouMean(in.Table.Text, names)
		if hint == "" {
			hint = "declare it before with CREATE TABLE; names are case-sensitive"
		}
		return hinted(in.Table.Pos, hint, "there is no table %q", in.Table.Text)
	}
	if t.connector.NewSink == nil {
		return errorAt(in.Table.Pos, "table %q cannot be written: connector '%s' only reads", t.name, t.connector.Name)
	}
	r, err := c.query(in.Query, nil)
	if err != nil {
		return err
	}
	branch, err := c.toSink(r, t, in)
	if err != nil {
		return err
	}
	return c.write(t, branch, in.Table.Pos)
}

func (c *compiler) write(t *table, branch *rel, pos ast.Pos) error {
	if err := refuseSinkUpdates(branch, t); err != nil {
		return err
	}
	if t.sink == nil {
		t.sink = &sink{table: t, pos: pos}
		c.sinks = append(c.sinks, t.sink)
	}
	t.sink.branches = append(t.sink.branches, branch)
	return nil
}

// toSink brings the columns of r to those of t: in order, or as the column list of INSERT says, NULL where it names none.
func (c *compiler) toSink(r *rel, t *table, in *ast.Insert) (*rel, error) {
	fields := t.physical.Fields
	from, err := sinkColumns(r, t, in)
	if err != nil {
		return nil, err
	}
	project := make([]*expr.Node, len(fields))
	for i, f := range fields {
		if from[i] < 0 {
			if f.Type.NotNull {
				return nil, errorAt(in.Pos, "column %q of table %q is NOT NULL and not among the columns of INSERT", f.Name, t.name)
			}
			project[i] = expr.LiteralNode(expr.NullValue(), f.Type, in.Pos)
			continue
		}
		n := r.columnNode(from[i], itemPosition(in.Query, from[i]))
		coerced, err := expr.Coerce(n, f.Type)
		if err != nil {
			return nil, hinted(n.Pos, fmt.Sprintf("use CAST(%s AS %s)", ast.FormatName(n.Name), f.Type.Nullable()),
				"column %d %q of sink %q is %s, the query gives %s", i+1, f.Name, t.name, f.Type.Nullable(), n.Type.Nullable())
		}
		project[i] = coerced
	}
	return newCalc(r, nil, project, fieldNames(fields)), nil
}

// sinkColumns says for each column of t which column of r it gets, -1 for none.
func sinkColumns(r *rel, t *table, in *ast.Insert) ([]int, error) {
	fields := t.physical.Fields
	from := make([]int, len(fields))
	if in.Columns == nil {
		if len(r.columns) != len(fields) {
			return nil, hinted(positionOf(in.Query), "the table's columns are "+t.physical.String(), "sink %q has %d columns, the query gives %d",
				t.name, len(fields), len(r.columns))
		}
		for i := range from {
			from[i] = i
		}
		return from, nil
	}
	if len(in.Columns) != len(r.columns) {
		return nil, errorAt(in.Columns[0].Pos, "INSERT names %d columns, the query gives %d", len(in.Columns), len(r.columns))
	}
	for i := range from {
		from[i] = -1
	}
	for i, name := range in.Columns {
		k := t.physical.Index(name.Text)
		switch {
		case k < 0:
			return nil, hinted(name.Pos, unknownColumnHint(name.Text, fieldNames(fields)), "table %q has no column %q to write", t.name, name.Text)
		case from[k] >= 0:
			return nil, errorAt(name.Pos, "INSERT names column %q twice", name.Text)
		}
		from[k] = i
	}
	return from, nil
}

// positionOf is where the column lists of a query begin: its first SELECT.
func positionOf(q ast.Query) ast.Pos {
	for {
		switch x := q.(type) {
		case *ast.With:
			q = x.Body
		case *ast.SetOp:
			q = x.Left
		default:
			return q.Position()
		}
	}
}

// itemPosition is where column i of a query is written: its item in the first SELECT, or that SELECT when stars stand before.
func itemPosition(q ast.Query, i int) ast.Pos {
	switch x := q.(type) {
	case *ast.With:
		return itemPosition(x.Body, i)
	case *ast.SetOp:
		return positionOf(q)
	case *ast.Select:
		for k, item := range x.Items {
			if item.Star {
				break
			}
			if k == i {
				return item.Pos
			}
		}
	}
	return q.Position()
}

// print plans a bare SELECT: a table of its own with connector 'print'.
func (c *compiler) print(s *ast.SelectStatement) error {
	r, err := c.query(s.Query, nil)
	if err != nil {
		return err
	}
	def, ok := c.catalog.Connector("print")
	if !ok || def.NewSink == nil {
		return hinted(s.Pos, "use INSERT INTO a table", "SELECT on its own needs the connector 'print', which is not there")
	}
	name := ""
	for name == "" || c.named(name) {
		c.prints++
		name = "select"
		if c.prints > 1 {
			name = fmt.Sprintf("select_%d", c.prints)
		}
	}
	project, fields := r.identity(s.Query.Position()), make([]batch.Field, len(r.columns))
	for i, n := range project {
		if n.Type.ID == batch.Null {
			n, err = expr.Coerce(n, batch.TypeString)
			if err != nil {
				return err
			}
			project[i] = n
		}
		if err := checkValueType(n, fmt.Sprintf("column %d %q of a printed SELECT", i+1, r.columns[i].name)); err != nil {
			return err
		}
		fields[i] = batch.Field{Name: r.columns[i].name, Type: n.Type}
	}
	t := &table{name: name, pos: s.Pos, connector: def, physical: batch.NewSchema(fields...), options: map[string]string{}, lanes: 1, rowtime: -1}
	if err := c.checkConfig(t); err != nil {
		return err
	}
	c.tables[name] = t
	c.order = append(c.order, t)
	return c.write(t, newCalc(r, nil, project, fieldNames(fields)), s.Pos)
}

// finishSinks closes the graph: one relSink per table written.
func (c *compiler) finishSinks() {
	for _, s := range c.sinks {
		in := newUnion(s.branches)
		s.rel = &rel{kind: relSink, inputs: []*rel{in}, table: s.table, columns: slices.Clone(in.columns), updates: in.updates, key: in.key}
	}
}
