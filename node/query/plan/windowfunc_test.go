package plan

import (
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
)

var instants = []int64{-61_001, -60_000, -1, 0, 1, 999, 1000, 59_999, 60_000, 60_001, 1_600_000_000_123}

func column64(values ...int64) *batch.Column {
	c := batch.NewColumn(batch.TypeTimestamp)
	for _, v := range values {
		c.AppendInt64(v)
	}
	return c
}

// windowsOf are all windows [start, end) that hold ts, by trying every start and end.
func windowsOf(function string, ts, step, size, offset int64) (out [][2]int64) {
	for start := ts - 3*size; start <= ts; start++ {
		unit := step
		if function == cumulateFunction {
			unit = size
		}
		if ((start-offset)%unit+unit)%unit != 0 {
			continue
		}
		if function != cumulateFunction {
			if start+size > ts {
				out = append(out, [2]int64{start, start + size})
			}
			continue
		}
		for end := start + step; end <= start+size; end += step {
			if end > ts {
				out = append(out, [2]int64{start, end})
			}
		}
	}
	return out
}

func TestARowIsInAllWindowsThatHoldItsTime(t *testing.T) {
	for _, c := range []struct {
		function           string
		step, size, offset int64
	}{
		{hopFunction, 10, 10, 0}, {hopFunction, 10, 50, 0}, {hopFunction, 7, 21, 3}, {hopFunction, 1000, 60_000, 250},
		{cumulateFunction, 10, 10, 0}, {cumulateFunction, 10, 60, 0}, {cumulateFunction, 250, 1000, 999},
	} {
		def, _ := expr.LookupTableFunction(c.function)
		types := []batch.Type{batch.TypeTimestamp, batch.TypeBigInt, batch.TypeBigInt, batch.TypeBigInt}
		fields, err := def.Check(types)
		if err != nil {
			t.Fatal(err)
		}
		f, err := def.New(types)
		if err != nil {
			t.Fatal(err)
		}
		for _, ts := range instants {
			out := batch.New(batch.NewSchema(fields...))
			n, err := f.Call([]*batch.Column{column64(ts), column64(c.step), column64(c.size), column64(c.offset)}, 0, out)
			if err != nil {
				t.Fatal(err)
			}
			want := windowsOf(c.function, ts, c.step, c.size, c.offset)
			if n != len(want) || out.Len() != n {
				t.Fatalf("%+v of %d: %d windows, not %d", c, ts, n, len(want))
			}
			for i, w := range want {
				if row := out.Row(i); row.Int64(0) != w[0] || row.Int64(1) != w[1] || row.Int64(2) != w[1]-1 {
					t.Errorf("%+v of %d: window [%d, %d), not %v", c, ts, row.Int64(0), row.Int64(1), w)
				}
			}
		}
	}
}

func TestTumbleIsTheOneWindowThatHoldsTheTime(t *testing.T) {
	in := batch.New(batch.NewSchema(batch.Field{Name: "ts", Type: batch.TypeTimestamp}))
	for _, ts := range instants {
		in.Cols[0].AppendInt64(ts)
		in.EndRow(batch.Insert)
	}
	for _, w := range []window{{0, "TUMBLE", 1000, 1000, 0}, {0, "TUMBLE", 60_000, 60_000, 15_000}, {0, "TUMBLE", 7, 7, 6}} {
		r := assignTumble(&rel{columns: []column{{name: "ts", typ: batch.TypeTimestamp}}}, 0, &w, ast.Pos{})
		for k, n := range r.project[1:] {
			p, err := expr.Compile(n)
			if err != nil {
				t.Fatal(err)
			}
			got, err := p.Eval(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, ts := range instants {
				want := windowsOf(hopFunction, ts, w.sizeMs, w.sizeMs, w.offsetMs)[0]
				if v := []int64{want[0], want[1], want[1] - 1}[k]; got.Int64s[i] != v {
					t.Errorf("%+v of %d: %s is %d, not %d", w, ts, r.columns[k+1].name, got.Int64s[i], v)
				}
			}
		}
	}
}

func TestARowWithoutATimeFailsInAWindow(t *testing.T) {
	in := batch.New(batch.NewSchema(batch.Field{Name: "ts", Type: batch.TypeTimestamp}))
	in.Cols[0].AppendNull()
	in.EndRow(batch.Insert)
	r := assignTumble(&rel{columns: []column{{name: "ts", typ: batch.TypeTimestamp}}}, 0, &window{0, "TUMBLE", 10, 10, 0}, ast.Pos{})
	p, err := expr.Compile(r.project[1])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(in, nil); err == nil {
		t.Error("a NULL time has a window")
	}
	if _, err := (hop{}).Call([]*batch.Column{&in.Cols[0], column64(1), column64(1), column64(0)}, 0, nil); err == nil {
		t.Error("a NULL time has windows")
	}
}
