package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

// window is what a window table function cuts time into.
type window struct {
	call     int    // numbers the uses of window table functions: two may cut different times alike
	function string // "TUMBLE", "HOP", "CUMULATE"
	stepMs   int64  // slide of HOP, step of CUMULATE, size of TUMBLE
	sizeMs   int64
	offsetMs int64
}

// maxWindowsOfRow bounds the windows that HOP and CUMULATE put a row into.
const maxWindowsOfRow = 10_000

// windowRole tells the columns apart that a window table function adds.
type windowRole uint8

const (
	windowStart windowRole = 1
	windowEnd   windowRole = 2
	windowTime  windowRole = 3 // window_end - 1 ms: the rowtime of what is aggregated
)

func isWindowFunction(name string) bool { return windowParams[name] != nil || name == "SESSION" }

// windowParams are the parameters of the window table functions as Flink calls them; the last may be left out.
var windowParams = map[string][]string{
	"TUMBLE":   {"DATA", "TIMECOL", "SIZE", "OFFSET"},
	"HOP":      {"DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"},
	"CUMULATE": {"DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"},
}

// windowFunction plans TUMBLE(TABLE t, DESCRIPTOR(ts), size [, offset]), HOP and CUMULATE.
func (c *compiler) windowFunction(call *ast.TableCall, name string, with *ctes) (*rel, error) {
	params := windowParams[name]
	if params == nil {
		return nil, unsupported(call.Pos, "the window table function "+name+" is", "there are TUMBLE, HOP and CUMULATE; a custom operator can make sessions")
	}
	args, err := windowArgs(call, params)
	if err != nil {
		return nil, err
	}
	in, err := c.windowInput(call, args[0], with)
	if err != nil {
		return nil, err
	}
	ts, err := c.descriptor(in, args[1], name)
	if err != nil {
		return nil, err
	}
	w, err := c.windowLengths(args[2:], params[2:], name)
	if err != nil {
		return nil, err
	}
	unit := w.stepMs // starts and ends are multiples of it
	if name == "CUMULATE" {
		unit = w.sizeMs
	}
	if err := c.checkZone(in.columns[ts].typ, unit, args[2].Pos); err != nil {
		return nil, err
	}
	if name == "TUMBLE" {
		return assignTumble(in, ts, w, call.Pos), nil
	}
	return assignSeveral(in, ts, w, call.Pos), nil
}

// windowLengths reads the lengths after the descriptor and the offset.
func (c *compiler) windowLengths(args []*ast.TableCallArg, params []string, name string) (*window, error) {
	lengths := make([]int64, len(args))
	for i, a := range args {
		if a == nil {
			continue
		}
		var err error
		if lengths[i], err = c.intervalMs(a, params[i]+" of "+name); err != nil {
			return nil, err
		}
		if lengths[i] <= 0 && i < len(args)-1 {
			return nil, errorAt(a.Pos, "%s of %s must be more than zero", params[i], name)
		}
	}
	last := len(args) - 1
	c.windows++
	w := &window{call: c.windows, function: name, stepMs: lengths[0], sizeMs: lengths[last-1], offsetMs: lengths[last]}
	switch {
	case w.sizeMs%w.stepMs != 0:
		return nil, errorAt(args[1].Pos, "SIZE of %s must be a multiple of %s", name, params[0])
	case w.sizeMs/w.stepMs > maxWindowsOfRow:
		return nil, errorAt(args[0].Pos, "%s puts each row into %d windows; at most %d are supported", name, w.sizeMs/w.stepMs, maxWindowsOfRow)
	}
	unit := w.stepMs
	if name == "CUMULATE" {
		unit = w.sizeMs
	}
	w.offsetMs = ((w.offsetMs % unit) + unit) % unit
	return w, nil
}

// assignSeveral adds window_start, window_end and window_time of all windows that a row is in, a row for each.
func assignSeveral(in *rel, ts int, w *window, pos ast.Pos) *rel {
	function := internalPrefix + w.function
	args := []*expr.Node{in.columnNode(ts, pos)}
	for _, v := range []int64{w.stepMs, w.sizeMs, w.offsetMs} {
		args = append(args, expr.LiteralNode(expr.IntValue(v), batch.TypeBigInt, pos))
	}
	fields, err := windowColumns([]batch.Type{args[0].Type, batch.TypeBigInt, batch.TypeBigInt, batch.TypeBigInt})
	must(err) // the descriptor is a column of time
	out := make([]column, len(fields))
	for i, f := range fields {
		out[i] = column{name: f.Name, typ: f.Type, window: w, role: windowRole(i + 1)}
	}
	out[windowTime-1].rowtime = true
	return newFlatMap(in, function, args, firstColumns(len(in.columns)), out, false)
}

// assignTumble adds window_start, window_end and window_time.
func assignTumble(in *rel, ts int, w *window, pos ast.Pos) *rel {
	t := in.columns[ts].typ
	t.Precision, t.NotNull = 3, true
	millis := func(v int64) *expr.Node { return expr.LiteralNode(expr.IntValue(v), batch.TypeBigInt, pos) }
	project, names := in.identity(pos), make([]string, len(in.columns), len(in.columns)+3)
	for i, col := range in.columns {
		names[i] = col.name
	}
	for _, shift := range []int64{0, w.sizeMs, w.sizeMs - 1} {
		project = append(project, &expr.Node{Op: expr.OpCall, Func: tumbleFunction, Type: t, Pos: pos,
			Args: []*expr.Node{in.columnNode(ts, pos), millis(w.sizeMs), millis(w.offsetMs), millis(shift)}})
	}
	r := newCalc(in, nil, project, append(names, "window_start", "window_end", "window_time"))
	n := len(in.columns)
	for i, role := range []windowRole{windowStart, windowEnd, windowTime} {
		r.columns[n+i].window, r.columns[n+i].role = w, role
	}
	r.columns[n+2].rowtime = true
	return r
}

// windowArgs puts the arguments of a window table function into the order of params; the last may be absent (nil).
func windowArgs(call *ast.TableCall, params []string) ([]*ast.TableCallArg, error) {
	out := make([]*ast.TableCallArg, len(params))
	usage := fmt.Sprintf("write %s(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND [, offset])", strings.ToUpper(call.Name))
	if len(params) > 4 {
		usage = fmt.Sprintf("write %s(TABLE t, DESCRIPTOR(ts), INTERVAL '10' SECOND, INTERVAL '1' MINUTE [, offset])", strings.ToUpper(call.Name))
	}
	for i := range call.Args {
		a := &call.Args[i]
		at := i
		if a.Name != "" {
			at = slices.Index(params, strings.ToUpper(a.Name))
			if at < 0 {
				return nil, hinted(a.Pos, usage, "%s has no argument %q", strings.ToUpper(call.Name), a.Name)
			}
		}
		if at >= len(params) {
			return nil, hinted(a.Pos, usage, "too many arguments of %s", strings.ToUpper(call.Name))
		}
		if out[at] != nil {
			return nil, errorAt(a.Pos, "argument %s of %s is given twice", params[at], strings.ToUpper(call.Name))
		}
		out[at] = a
	}
	for i := range len(params) - 1 {
		if out[i] == nil {
			return nil, hinted(call.Pos, usage, "%s needs the argument %s", strings.ToUpper(call.Name), params[i])
		}
	}
	return out, nil
}

// windowInput plans the TABLE argument.
func (c *compiler) windowInput(call *ast.TableCall, a *ast.TableCallArg, with *ctes) (*rel, error) {
	name := strings.ToUpper(call.Name)
	if a.Table == nil {
		return nil, errorAt(a.Pos, "%s needs TABLE and a table's name or a query as its first argument", name)
	}
	if len(a.Table.PartitionBy) > 0 {
		return nil, unsupported(a.Table.PartitionBy[0].Pos, "PARTITION BY in "+name+" is", "group by the column together with window_start and window_end")
	}
	in, err := c.from(a.Table.Relation, with)
	if err != nil {
		return nil, err
	}
	return in.rel, refuseUpdates(in.rel, a.Pos, name)
}

// descriptor finds the column of DESCRIPTOR(ts): in streaming mode one with a watermark.
func (c *compiler) descriptor(in *rel, a *ast.TableCallArg, function string) (int, error) {
	if len(a.Descriptor) != 1 {
		return 0, errorAt(a.Pos, "%s needs DESCRIPTOR(column) with one column of time", function)
	}
	name := a.Descriptor[0]
	ts, _, _, err := newScope("", in.columns).Column([]ast.Name{name})
	if err != nil {
		return 0, err
	}
	col := in.columns[ts]
	if !col.typ.IsTime() {
		return 0, errorAt(name.Pos, "%s needs a column of type TIMESTAMP(3) or TIMESTAMP_LTZ(3); %q is %s", function, name.Text, col.typ.Nullable())
	}
	if !col.rowtime && !c.settings.Batch {
		return 0, hinted(name.Pos, fmt.Sprintf("add WATERMARK FOR %s AS %s - INTERVAL '5' SECOND to the table; a computed or grouped column loses it", name.Text, name.Text),
			"%s needs a column with a watermark; %q has none", function, name.Text)
	}
	return ts, nil
}

// intervalMs is the value of a constant INTERVAL of days to seconds.
func (c *compiler) intervalMs(a *ast.TableCallArg, what string) (int64, error) {
	if a.Expr == nil {
		return 0, errorAt(a.Pos, "%s must be an INTERVAL such as INTERVAL '10' SECOND", what)
	}
	n, err := c.check(a.Expr, &scope{}, "a window")
	if err != nil {
		return 0, err
	}
	switch {
	case n.Type.ID == batch.IntervalYM:
		return 0, unsupported(a.Pos, fmt.Sprintf("%s in months or years is", what), "use days")
	case n.Type.ID != batch.Interval || n.Op != expr.OpLiteral || n.Literal.Null:
		return 0, errorAt(a.Pos, "%s must be an INTERVAL such as INTERVAL '10' SECOND, found %s", what, n.Type.Nullable())
	}
	return n.Literal.Int, nil
}

// checkZone refuses windows over TIMESTAMP_LTZ whose starts would not be the same in the session's zone and in UTC: the offsets of
// all zones are multiples of 15 minutes.
func (c *compiler) checkZone(t batch.Type, sizeMs int64, pos ast.Pos) error {
	const quarter = int64(15 * time.Minute / time.Millisecond)
	if t.ID != batch.TimestampLTZ || c.settings.Zone == "UTC" || quarter%sizeMs == 0 {
		return nil
	}
	return unsupported(pos, fmt.Sprintf("a window over TIMESTAMP_LTZ that does not divide 15 minutes in 'table.local-time-zone' = '%s' is", c.settings.Zone),
		"use 'UTC', or CAST the column to TIMESTAMP(3) in the table and give it the watermark")
}

// windowKey looks for a window among grouping keys: the index in keys of its window_end, -1 without a window.
func windowKey(in *rel, keys []*expr.Node, pos ast.Pos) (int, error) {
	var w *window
	end := -1
	for i, n := range keys {
		if n.Op != expr.OpColumn {
			continue
		}
		col := in.columns[n.Column]
		if col.window == nil || col.role == windowTime {
			continue
		}
		if w != nil && *w != *col.window {
			return 0, errorAt(pos, "GROUP BY names the windows of two different window table functions")
		}
		w = col.window
		if col.role == windowEnd {
			end = i
		}
	}
	if w == nil || end >= 0 {
		return end, nil
	}
	return 0, hinted(pos, "write GROUP BY window_start, window_end", "GROUP BY window_start needs window_end too")
}

// grouped is the column as a key of an aggregate over w (nil: over no window). Of what is known of it that stays which holds of rows
// that come when w ends.
func (c column) grouped(w *window) column {
	if w == nil || c.window == nil || *c.window != *w {
		c.rowtime, c.window, c.role = false, nil, 0
	}
	return c
}

// fromEnd is how long before the end of w a column is, in milliseconds; false when that differs from window to window.
func fromEnd(w *window, c column) (ms int64, ok bool) {
	switch {
	case c.window == nil || *c.window != *w:
		return 0, false
	case c.role == windowTime:
		return 1, true
	case c.role == windowStart && c.window.function != "CUMULATE":
		return c.window.sizeMs, true
	}
	return 0, false
}

// endKeys are keys without those that follow from the window's end, which is among them: a row is hashed by fewer columns.
func endKeys(in *rel, w *window, keys []*expr.Node, names []string) (few []*expr.Node, fewNames []string) {
	for i, n := range keys {
		if n.Op == expr.OpColumn {
			if _, ok := fromEnd(w, in.columns[n.Column]); ok {
				continue
			}
		}
		few, fewNames = append(few, n), append(fewNames, names[i])
	}
	return few, fewNames
}

// restoreKeys gives the aggregate r of endKeys the columns that it would have with all keys.
func restoreKeys(r, in *rel, w *window, keys []*expr.Node, names []string, pos ast.Pos) *rel {
	end := slices.IndexFunc(r.columns, func(c column) bool { return c.role == windowEnd && *c.window == *w })
	project, columns, next := make([]*expr.Node, 0, len(r.columns)), slices.Clone(names), 0
	for _, n := range keys {
		var c column
		if n.Op == expr.OpColumn {
			c = in.columns[n.Column]
		}
		ms, ok := fromEnd(w, c)
		if !ok {
			project = append(project, r.columnNode(next, pos))
			next++
			continue
		}
		millis := func(v int64) *expr.Node { return expr.LiteralNode(expr.IntValue(v), batch.TypeBigInt, pos) }
		project = append(project, &expr.Node{Op: expr.OpCall, Func: tumbleFunction, Type: n.Type, Pos: pos,
			Args: []*expr.Node{r.columnNode(end, pos), millis(1), millis(0), millis(-ms)}})
	}
	for i := next; i < len(r.columns); i++ {
		project, columns = append(project, r.columnNode(i, pos)), append(columns, r.columns[i].name)
	}
	out := newCalc(r, nil, project, columns)
	for i, n := range keys {
		if n.Op == expr.OpColumn {
			c := in.columns[n.Column].grouped(w)
			out.columns[i].window, out.columns[i].role, out.columns[i].rowtime = c.window, c.role, c.rowtime
		}
	}
	return out
}
