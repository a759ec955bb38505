package relational_test

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// tally counts the rows of a key and reports on two timers: "soon" 30 ms after the row's window end, set anew by each row,
// and "now", which is due at once and sets "now" again while the count is odd.
type tally struct {
	count *state.Value[int64]
	sums  *state.Map[int64, int64]
}

func (o *tally) Open(s operator.Setup) (err error) {
	if len(s.Args()) != 1 || s.Input() != rowSchema {
		return fmt.Errorf("wrong setup")
	}
	if o.count, err = state.NewValue[int64](s, "count"); err != nil {
		return err
	}
	o.sums, err = state.NewMap[int64, int64](s, "sums")
	return err
}

func (o *tally) Row(ctx *operator.Context, r batch.Row) error {
	n := int64(0)
	o.count.Update(func(v *int64) { *v++; n = *v })
	w := r.Int64(colWide) % 3
	o.sums.Put(w, n)
	end := r.Int64(colEnd)
	if err := ctx.SetTimer("soon", end+30); err != nil {
		return err
	}
	switch n % 4 {
	case 1:
		if err := ctx.SetTimer("now", ctx.WatermarkMs); err != nil {
			return err
		}
	case 3:
		ctx.ClearTimer("soon")
	}
	ctx.Out.Text("row").Int64(n).Int64(int64(ctx.Rand() >> 1)).Int64(ctx.Now()).End()
	return nil
}

func (o *tally) Timer(ctx *operator.Context, t operator.Timer) error {
	n, _ := o.count.Get()
	ctx.Out.Text(t.Name).Int64(n).Int64(t.AtMs).Int64(int64(o.sums.Len())).End()
	if t.Name == "now" && n%2 == 1 {
		o.count.Set(n + 1)
		return ctx.SetTimer("now", t.AtMs+1)
	}
	return nil
}

func registryOf(t testing.TB, name string, make func() operator.Operator, outputs ...batch.Type) relational.OperatorLookup {
	t.Helper()
	var r operator.Registry
	check(t, r.Register(&operator.Definition{Name: name, Bind: func(operator.Call) (operator.Binding, error) {
		return operator.Binding{Output: schemaOf(outputs...), New: make, AcceptsUpdates: true}, nil
	}}))
	return r.Lookup
}

func processOp(name string, keys []int, outputs ...batch.Type) *plan.Op {
	op := &plan.Op{Name: name + "#4", Process: &plan.Process{Operator: name, PartitionBy: keys, InputSchema: rowSchema, Args: []operator.Arg{{Text: "1"}}}}
	var types []batch.Type
	for _, k := range keys {
		types = append(types, rowSchema.Fields[k].Type)
	}
	op.Schema = schemaOf(append(types, outputs...)...)
	return op
}

func TestCustomOperatorWithTimersGivesTheSameRowsInEveryVariant(t *testing.T) {
	outputs := []batch.Type{batch.TypeString, batch.TypeBigInt, batch.TypeBigInt, batch.TypeBigInt}
	lookup := registryOf(t, "tally", func() operator.Operator { return &tally{} }, outputs...)
	for _, keys := range [][]int{{colText}, {colInt, colText}, {}} {
		in, _ := randomEpochs(8, 15, 30, true, false)
		lines, _ := sameInEveryVariant(t, processOp("tally", keys, outputs...), lookup, in)
		fired, rows, randoms := map[string]int{}, 0, map[string]bool{}
		for _, epoch := range lines {
			last := ""
			for _, line := range epoch {
				parts := strings.Split(line, "|")[1+len(keys):]
				switch name := parts[0]; name {
				case `"row"`:
					rows++
					randoms[parts[2]] = true
				default:
					fired[name]++
				}
				last = line
			}
			_ = last
		}
		if fired[`"soon"`] == 0 || fired[`"now"`] == 0 || rows == 0 || len(randoms) != rows {
			t.Fatalf("timers %v, %d rows, %d random numbers", fired, rows, len(randoms))
		}
	}
}

// scripted runs what a test says.
type scripted struct {
	row   func(ctx *operator.Context, r batch.Row) error
	timer func(ctx *operator.Context, t operator.Timer) error
}

func (o *scripted) Open(operator.Setup) error                           { return nil }
func (o *scripted) Row(ctx *operator.Context, r batch.Row) error        { return o.row(ctx, r) }
func (o *scripted) Timer(ctx *operator.Context, t operator.Timer) error { return o.timer(ctx, t) }

func runScripted(t *testing.T, o *scripted, rows int, after int64) (*batch.Batch, error) {
	t.Helper()
	op := processOp("scripted", []int{colText}, batch.TypeBigInt)
	built, err := relational.Build(op, registryOf(t, "scripted", func() operator.Operator { return o }, batch.TypeBigInt), 1)
	check(t, err)
	k := built.(relational.Keyed)
	g := &relational.Group{ID: 7, State: state.NewGroup()}
	check(t, k.Open(g))
	b := batch.New(rowSchema)
	for i := range rows {
		for c := range b.Cols {
			b.Cols[c].AppendNull()
		}
		b.Cols[colText].Reset()
		for j := range i + 1 {
			b.Cols[colText].AppendString(fmt.Sprint("key", j%2))
		}
		b.EndRow(batch.Insert)
	}
	out := batch.New(op.Schema)
	ctx := &relational.Context{Epoch: 1, WatermarkBefore: topology.WatermarkNone, Watermark: after}
	if err := k.Rows(ctx, g, 0, b, 0, rows, out); err != nil {
		return out, err
	}
	if after >= g.Due {
		if err := k.Advance(ctx, g, out); err != nil {
			return out, err
		}
	}
	return out, k.End(ctx, g, out)
}

func TestTimersFireInOrderOfTimeKeyAndName(t *testing.T) {
	var fired []string
	n := 0
	o := &scripted{row: func(ctx *operator.Context, r batch.Row) error {
		n++
		for _, name := range []string{"z", "", "a\x00"} {
			if err := ctx.SetTimer(name, 1000); err != nil {
				return err
			}
			if err := ctx.SetTimer(name, int64(100-n)); err != nil { // replaces
				return err
			}
		}
		return ctx.SetTimer("late", 5000)
	}, timer: func(ctx *operator.Context, tm operator.Timer) error {
		fired = append(fired, fmt.Sprintf("%d%q", tm.AtMs, tm.Name))
		if tm.AtMs == 98 && tm.Name == "" {
			if err := ctx.SetTimer("again", math.MinInt64); err != nil {
				return err
			}
		}
		ctx.Out.Int64(tm.AtMs).End()
		return nil
	}}
	out, err := runScripted(t, o, 2, 500)
	check(t, err)
	want := `98"",-9223372036854775808"again",98"a\x00",98"z",99"",99"a\x00",99"z"`
	if got := strings.Join(fired, ","); got != want {
		t.Fatalf("fired %s\nwant %s", got, want)
	}
	if got := rowLines(out)[0]; got != `+1|"key1"|98` {
		t.Fatalf("first row %s", got)
	}
}

func TestMistakesOfCustomOperatorsNameTheRowOrTimer(t *testing.T) {
	sentinel := errors.New("no such thing")
	fail := map[string]struct {
		row   func(ctx *operator.Context, r batch.Row) error
		timer func(ctx *operator.Context, t operator.Timer) error
		want  []string
	}{
		"error":      {row: func(*operator.Context, batch.Row) error { return sentinel }, want: []string{"row {i: NULL, s: 'key0'", "no such thing"}},
		"panic":      {row: func(*operator.Context, batch.Row) error { panic("oh") }, want: []string{"row {", "panic: oh", "process_test.go:"}},
		"index":      {row: func(_ *operator.Context, r batch.Row) error { _ = r.Int64(99); return nil }, want: []string{"index out of range", "process_test.go:"}},
		"nil":        {row: func(*operator.Context, batch.Row) error { var p *tally; p.count = nil; return nil }, want: []string{"nil pointer", "process_test.go:"}},
		"wrong type": {row: func(ctx *operator.Context, _ batch.Row) error { ctx.Out.Text("x").End(); return nil }, want: []string{`output column "c1"`}},
		"no End":     {row: func(ctx *operator.Context, _ batch.Row) error { ctx.Out.Int64(1); return nil }, want: []string{"not ended"}},
		"long name":  {row: func(ctx *operator.Context, _ batch.Row) error { return ctx.SetTimer(strings.Repeat("x", 256), 1) }, want: []string{"255 bytes"}},
		"timer": {row: func(ctx *operator.Context, _ batch.Row) error { return ctx.SetTimer("t1", 1) },
			timer: func(*operator.Context, operator.Timer) error { panic(sentinel) }, want: []string{"timer t1", "no such thing", "process_test.go:"}},
		"endless": {row: func(ctx *operator.Context, _ batch.Row) error { return ctx.SetTimer("t1", 1) },
			timer: func(ctx *operator.Context, tm operator.Timer) error { return ctx.SetTimer("t1", tm.AtMs+1) }, want: []string{"timer t1", "sets itself again"}},
	}
	for name, c := range fail {
		t.Run(name, func(t *testing.T) {
			_, err := runScripted(t, &scripted{row: c.row, timer: c.timer}, 1, topology.WatermarkEnd)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
			if strings.Contains(err.Error(), "no such thing") && !errors.Is(err, sentinel) {
				t.Errorf("the cause is lost: %v", err)
			}
		})
	}
}

func TestRowsAreCutInErrors(t *testing.T) {
	o := &scripted{row: func(_ *operator.Context, r batch.Row) error { return errors.New("bad") }}
	op := processOp("scripted", nil, batch.TypeBigInt)
	built, err := relational.Build(op, registryOf(t, "scripted", func() operator.Operator { return o }, batch.TypeBigInt), 1)
	check(t, err)
	g := &relational.Group{State: state.NewGroup()}
	k := built.(relational.Keyed)
	check(t, k.Open(g))
	b := batch.New(rowSchema)
	for c := range b.Cols {
		b.Cols[c].AppendNull()
	}
	b.Cols[colText].Reset()
	b.Cols[colText].AppendString(strings.Repeat("ü", 100_000))
	b.EndRow(batch.Insert)
	err = k.Rows(&relational.Context{}, g, 0, b, 0, 1, batch.New(op.Schema))
	if err == nil || len(err.Error()) > 500 {
		t.Fatalf("error of %d bytes", len(err.Error()))
	}
}
