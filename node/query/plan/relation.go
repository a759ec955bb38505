package plan

import (
	"slices"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// relKind is what a logical operator does.
type relKind uint8

const (
	relScan      relKind = 1 // the physical columns of a table
	relCalc      relKind = 2
	relFlatMap   relKind = 3
	relWatermark relKind = 4
	relUnion     relKind = 5 // UNION ALL: inputs have equal types
	relAggregate relKind = 6
	relProcess   relKind = 7
	relSink      relKind = 8
)

// rel is a logical operator and the rows it gives. Relations form a graph: what several consumers share is one rel. They are
// immutable once built; rewriting makes new ones.
type rel struct {
	kind    relKind
	inputs  []*rel
	columns []column
	updates *updating // nil: rows are never retracted
	// key are columns of which no two rows that are in force at a time share the values; nil: unknown. Only kept for updating ones.
	key []int
	// branches is how many inputs a UNION ALL of this relation has; 0 is 1.
	branches int

	table *table // relScan, relSink

	filter  *expr.Node // relCalc
	project []*expr.Node

	function string // relFlatMap
	args     []*expr.Node
	keep     []int
	outer    bool

	watermark *expr.Node // relWatermark
	idleMs    int64

	aggregate *aggregate   // relAggregate
	process   *processCall // relProcess
}

// column is an output column of a rel.
type column struct {
	name string
	typ  batch.Type
	// rowtime says that the watermark is about this column: a row that comes later than the watermark says is late.
	rowtime bool
	// window and role are set on the columns that a window table function adds.
	window *window
	role   windowRole
}

// updating says why a relation retracts rows.
type updating struct {
	what string
	pos  ast.Pos
}

// aggregate is what a relAggregate does with its input, whose first columns are the keys.
type aggregate struct {
	mode      AggregateMode
	keys      int
	calls     []AggregateCall
	windowEnd int // key, Window only
}

// processCall is a use of a custom operator.
type processCall struct {
	name        string
	partitionBy []int
	args        []operator.Arg
}

func (r *rel) schema() *batch.Schema {
	fields := make([]batch.Field, len(r.columns))
	for i, c := range r.columns {
		fields[i] = batch.Field{Name: c.name, Type: c.typ}
	}
	return batch.NewSchema(fields...)
}

func (r *rel) columnNode(i int, pos ast.Pos) *expr.Node {
	return expr.ColumnNode(i, r.columns[i].name, r.columns[i].typ, pos)
}

// identity projects all columns of r.
func (r *rel) identity(pos ast.Pos) []*expr.Node {
	nodes := make([]*expr.Node, len(r.columns))
	for i := range nodes {
		nodes[i] = r.columnNode(i, pos)
	}
	return nodes
}

// newCalc filters (filter may be nil) and projects in. What the columns of in are known to be stays with those that are passed
// on as they are.
func newCalc(in *rel, filter *expr.Node, project []*expr.Node, names []string) *rel {
	r := &rel{kind: relCalc, inputs: []*rel{in}, filter: filter, project: project, updates: in.updates, branches: in.branches}
	r.columns = make([]column, len(project))
	at := make([]int, len(in.columns))
	for i := range at {
		at[i] = -1
	}
	for i, n := range project {
		if n.Op == expr.OpColumn {
			r.columns[i] = in.columns[n.Column]
			if at[n.Column] < 0 {
				at[n.Column] = i
			}
		}
		r.columns[i].name, r.columns[i].typ = names[i], n.Type
	}
	r.key = mapKey(in.key, func(i int) int { return at[i] })
	return r
}

// mapKey moves a key to other column numbers; nil when a column is lost (at gives -1).
func mapKey(key []int, at func(int) int) []int {
	if key == nil {
		return nil
	}
	out := make([]int, len(key))
	for i, k := range key {
		if out[i] = at(k); out[i] < 0 {
			return nil
		}
	}
	return out
}

// newFlatMap joins each row of in with what function gives for it: columns keep of in, then columns out.
func newFlatMap(in *rel, function string, args []*expr.Node, keep []int, out []column, outer bool) *rel {
	r := &rel{kind: relFlatMap, inputs: []*rel{in}, function: function, args: args, keep: keep, outer: outer,
		updates: in.updates, branches: in.branches}
	for _, k := range keep {
		r.columns = append(r.columns, in.columns[k])
	}
	r.columns = append(r.columns, out...)
	return r // one row becomes several: the key is lost
}

// newUnion is UNION ALL of relations whose columns have equal types.
func newUnion(inputs []*rel) *rel {
	if len(inputs) == 1 {
		return inputs[0]
	}
	r := &rel{kind: relUnion, inputs: inputs, columns: slices.Clone(inputs[0].columns)}
	for _, in := range inputs {
		if r.updates == nil {
			r.updates = in.updates
		}
		r.branches += max(in.branches, 1)
		for i := range r.columns {
			c, d := &r.columns[i], in.columns[i]
			c.typ.NotNull = c.typ.NotNull && d.typ.NotNull
			c.rowtime = c.rowtime && d.rowtime
			if c.role != d.role {
				c.window, c.role = nil, 0
			}
		}
		r.uniteWindows(in)
	}
	return r
}

// uniteWindows keeps the windows of a union's columns that another branch cuts in the same way, each by one window of that branch.
func (r *rel) uniteWindows(in *rel) {
	other := map[int]int{}
	differ := map[int]bool{}
	for i, c := range r.columns {
		if c.window == nil {
			continue
		}
		w := *in.columns[i].window // there: the roles are the same
		call, seen := other[c.window.call]
		other[c.window.call] = w.call
		differ[c.window.call] = differ[c.window.call] || seen && call != w.call
		if w.call = c.window.call; w != *c.window {
			differ[w.call] = true
		}
	}
	for i := range r.columns {
		if c := &r.columns[i]; c.window != nil && differ[c.window.call] {
			c.window, c.role = nil, 0
		}
	}
}

// reference is the relation of a table that the query reads: scan, then its watermark and computed columns.
func (c *compiler) reference(t *table, pos ast.Pos) (*rel, error) {
	if t.scan != nil {
		return t.scan, nil
	}
	switch {
	case t.connector.NewSource == nil:
		return nil, errorAt(pos, "table %q cannot be read: connector '%s' only writes", t.name, t.connector.Name)
	case c.settings.Batch && !t.bounded:
		return nil, hinted(pos, "bound the table by its options, or SET 'execution.runtime-mode' = 'streaming'",
			"'execution.runtime-mode' = 'batch' needs input that ends; table %q never ends", t.name)
	}
	r := &rel{kind: relScan, table: t, columns: make([]column, len(t.physical.Fields))}
	for i, f := range t.physical.Fields {
		r.columns[i] = column{name: f.Name, typ: f.Type}
	}
	t.scan = t.withWatermark(r)
	return t.scan, nil
}

// withWatermark adds computed columns and the watermark. The watermark goes first when it needs no computed column, so that
// those can be computed together with what the query does with them.
func (t *table) withWatermark(r *rel) *rel {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	first := t.watermark != nil && t.computed != nil && t.onPhysical(t.watermark) && t.computed[t.rowtime].Op == expr.OpColumn
	if first {
		w := t.watermark.Remap(func(i int) int { return t.computed[i].Column })
		r = t.addWatermark(r, w, t.computed[t.rowtime].Column)
	}
	if t.computed != nil {
		r = newCalc(r, nil, t.computed, names)
	}
	if t.watermark != nil && !first {
		r = t.addWatermark(r, t.watermark, t.rowtime)
	}
	return r
}

// onPhysical says whether n uses physical columns only.
func (t *table) onPhysical(n *expr.Node) bool {
	ok := true
	expr.Walk(n, func(n *expr.Node) {
		if n.Op == expr.OpColumn && t.computed[n.Column].Op != expr.OpColumn {
			ok = false
		}
	})
	return ok
}

func (t *table) addWatermark(in *rel, w *expr.Node, rowtime int) *rel {
	r := &rel{kind: relWatermark, inputs: []*rel{in}, watermark: w, idleMs: t.idleMs, columns: slices.Clone(in.columns)}
	r.columns[rowtime].rowtime = true
	return r
}

// checkColumns refuses relations of absurd width before they are built.
func checkColumns(pos ast.Pos, n int) error {
	const most = 4096
	if n > most {
		return errorAt(pos, "the result has %d columns; at most %d are supported", n, most)
	}
	return nil
}
