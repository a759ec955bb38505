package plan

import (
	"errors"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

// Functions that window table functions become. All times are in milliseconds.
const (
	// internalPrefix begins names that a query cannot call.
	internalPrefix = "$"
	// tumbleFunction (ts, size, offset, shift) is the start of the tumbling window that ts is in, plus shift.
	tumbleFunction = "$TUMBLE"
	// hopFunction (ts, slide, size, offset) gives start, end and time of the windows that ts is in, one row each, in order of time;
	// cumulateFunction (ts, step, size, offset) likewise.
	hopFunction      = "$HOP"
	cumulateFunction = "$CUMULATE"
)

var errNullTime = errors.New("the time of a row is NULL; leave such rows out with WHERE ... IS NOT NULL before the window")

func init() {
	must(expr.Register(expr.FunctionDef{
		Name: tumbleFunction, Takes: "DATETIME, INT, INT, INT", CallsOnNull: true, MayFail: true,
		Returns: func(args []*expr.Node) (batch.Type, error) { return args[0].Type, nil },
		Kernel:  tumbleKernel,
	}))
	must(expr.RegisterTableFunction(expr.TableFunctionDef{Name: hopFunction, Check: windowColumns,
		New: func([]batch.Type) (expr.TableFunction, error) { return hop{}, nil }}))
	must(expr.RegisterTableFunction(expr.TableFunctionDef{Name: cumulateFunction, Check: windowColumns,
		New: func([]batch.Type) (expr.TableFunction, error) { return cumulate{}, nil }}))
}

// must is for the registrations above: a mistake in them is one of the program.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

// windowBefore is the start of the last window that starts at or before ts, where starts are every slide from offset on.
func windowBefore(ts, slide, offset int64) int64 {
	into := (ts - offset) % slide
	if into < 0 {
		into += slide
	}
	return ts - into
}

func tumbleKernel(x *expr.Call, out *batch.Column, n int) {
	ts, size, offset, shift := x.Args[0], x.Args[1].Int(0), x.Args[2].Int(0), x.Args[3].Int(0)
	for i := range n {
		if ts.Null(i) || size <= 0 {
			x.Fail(i, "%v", errNullTime)
			out.Int64s[i] = 0
			continue
		}
		out.Int64s[i] = windowBefore(ts.Int(i), size, offset) + shift
	}
}

func windowColumns(args []batch.Type) ([]batch.Field, error) {
	if len(args) != 4 || !args[0].IsTime() {
		return nil, errors.New("a window needs a time, two lengths and an offset")
	}
	t := args[0]
	t.Precision, t.NotNull = 3, true
	return []batch.Field{{Name: "window_start", Type: t}, {Name: "window_end", Type: t}, {Name: "window_time", Type: t}}, nil
}

type hop struct{}

// Call implements expr.TableFunction.
func (hop) Call(args []*batch.Column, i int, out *batch.Batch) (int, error) {
	ts, slide, size, offset, err := windowCall(args, i)
	if err != nil {
		return 0, err
	}
	n := 0
	last := windowBefore(ts, slide, offset)
	for start := last - (size-1)/slide*slide; start <= last; start += slide {
		if start+size > ts {
			appendWindow(out, start, start+size)
			n++
		}
	}
	return n, nil
}

type cumulate struct{}

// Call implements expr.TableFunction.
func (cumulate) Call(args []*batch.Column, i int, out *batch.Batch) (int, error) {
	ts, step, size, offset, err := windowCall(args, i)
	if err != nil {
		return 0, err
	}
	n := 0
	start := windowBefore(ts, size, offset)
	for end := start + ((ts-start)/step+1)*step; end <= start+size; end += step {
		appendWindow(out, start, end)
		n++
	}
	return n, nil
}

func windowCall(args []*batch.Column, i int) (ts, step, size, offset int64, err error) {
	if args[0].IsNull(i) {
		return 0, 0, 0, 0, errNullTime
	}
	ts, step, size, offset = args[0].Int64s[i], args[1].Int64s[i], args[2].Int64s[i], args[3].Int64s[i]
	if step <= 0 || size <= 0 || size/step > maxWindowsOfRow {
		return 0, 0, 0, 0, errors.New("the lengths of the window are out of range")
	}
	return ts, step, size, offset, nil
}

func appendWindow(out *batch.Batch, start, end int64) {
	out.Cols[0].AppendInt64(start)
	out.Cols[1].AppendInt64(end)
	out.Cols[2].AppendInt64(end - 1)
	out.EndRow(batch.Insert)
}
