package expr

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// table is a scope of one batch whose columns are called by their names, with or without "t." before them.
type table struct{ *batch.Batch }

func (s table) Column(parts []ast.Name) (int, batch.Type, int, error) {
	used := 1
	if parts[0].Text == "t" && len(parts) > 1 {
		used = 2
	}
	i := s.Schema.Index(parts[used-1].Text)
	if i < 0 {
		return 0, batch.Type{}, 0, &ast.Error{Pos: parts[0].Pos, Msg: "there is no column " + parts[used-1].Text}
	}
	return i, s.Schema.Fields[i].Type, used, nil
}

func (table) Replace(ast.Expr) (*Node, bool, error) { return nil, false, nil }

var testEnv = &Env{TimeMs: 1_600_000_000_123, Epoch: 7, Seed: 42}

// columnSpec is a column and its rows as text; "NULL" is null.
type columnSpec struct {
	name string
	t    batch.Type
	rows []string
}

func makeTable(tb testing.TB, cols ...columnSpec) table {
	tb.Helper()
	fields := make([]batch.Field, len(cols))
	for i, c := range cols {
		fields[i] = batch.Field{Name: c.name, Type: c.t}
	}
	b := batch.New(batch.NewSchema(fields...))
	n := 0
	for i, c := range cols {
		n = len(c.rows)
		for _, text := range c.rows {
			if text == "NULL" {
				b.Cols[i].AppendNull()
			} else if err := ParseText(&b.Cols[i], []byte(text)); err != nil {
				tb.Fatal(err)
			}
		}
	}
	b.SetLen(n)
	return table{b}
}

// sample has nulls in every column and odd values in each.
func sample(tb testing.TB) table {
	list := func(s string) []string { return strings.Split(s, "|") }
	t := makeTable(tb,
		columnSpec{"i", batch.TypeInt, list("1|2|NULL|-7|2147483647|0|NULL|12|-2147483648")},
		columnSpec{"b", batch.TypeBigInt, list("10|NULL|3|0|9223372036854775807|-1|5|NULL|2")},
		columnSpec{"ti", batch.TypeTinyInt, list("1|127|-128|NULL|5|0|7|-1|NULL")},
		columnSpec{"d", batch.TypeDouble, list("1.5|-0.0|NaN|Infinity|NULL|2.25|1e10|-3|0.001")},
		columnSpec{"f", batch.TypeFloat, list("0.1|NULL|3.5|-1|2|1e30|7|0|0.25")},
		columnSpec{"dec", batch.DecimalOf(10, 2), list("1.25|NULL|-3.50|0.00|99999999.99|2.00|7.77|-0.01|5.00")},
		columnSpec{"s", batch.TypeString, list("Hello|NULL||été ß|a,b,,c|x=1&y=2|  pad |UPPER lower|0")},
		columnSpec{"p", batch.TypeBoolean, list("TRUE|FALSE|NULL|TRUE|FALSE|NULL|TRUE|FALSE|TRUE")},
		columnSpec{"q", batch.TypeBoolean, list("TRUE|TRUE|TRUE|NULL|NULL|NULL|FALSE|FALSE|NULL")},
		columnSpec{"day", batch.TypeDate, list("2020-02-29|NULL|1969-12-31|2021-01-01|1970-01-01|2024-12-30|0001-01-01|2020-01-31|9999-12-31")},
		columnSpec{"tm", batch.Type{ID: batch.Time, Precision: 3}, list("00:00:00|12:34:56.789|NULL|23:59:59.999|01:02:03|00:00:00.001|06:00:00|18:30:00|NULL")},
		columnSpec{"ts", batch.TypeTimestamp, list("2020-02-29 12:34:56.789|NULL|1969-12-31 23:59:59.999|2021-01-01|2024-03-31 02:30:00|2024-10-27 02:30:00|1970-01-01|2020-01-31 10:00:00|2038-01-19 03:14:08")},
		columnSpec{"ltz", batch.TypeTimestampLTZ, list("2020-02-29 12:34:56.789|2021-07-01|NULL|1970-01-01|2024-03-31 01:30:00|2024-10-27 00:30:00|2024-10-27 01:30:00|1969-12-31 23:00:00|2038-01-19 03:14:08")},
	)
	return t
}

// run checks, compiles and evaluates src over rows [from, to) of in at a time of size rows, and gives the values as text.
func run(in table, src string, env *Env, size int) ([]string, *Node, error) {
	e, err := ast.ParseExpr(src)
	if err != nil {
		return nil, nil, err
	}
	n, err := Check(e, in)
	if err != nil {
		return nil, nil, err
	}
	p, err := Compile(n)
	if err != nil {
		return nil, n, err
	}
	var out []string
	part := batch.New(in.Schema)
	for from := 0; from < in.Len(); from += size {
		part.Reset()
		part.AppendRange(in.Batch, from, min(in.Len(), from+size))
		cut := *env
		cut.Groups, cut.Offsets, cut.Base = []topology.KeyGroup{3}, []uint32{0, uint32(part.Len())}, []uint32{uint32(from)}
		c, err := p.Eval(part, &cut)
		var failed *RowError
		if errors.As(err, &failed) {
			return nil, n, &RowError{failed.Row + from, failed.Err}
		}
		if err != nil {
			return nil, n, err
		}
		if c.Len() != part.Len() {
			return nil, n, fmt.Errorf("%s: %d rows of %d", src, c.Len(), part.Len())
		}
		if err := zeroWhereNull(c); err != nil {
			return nil, n, fmt.Errorf("%s: %w", src, err)
		}
		if !c.Type.Equal(n.Type) {
			return nil, n, fmt.Errorf("%s: column of type %s, node of %s", src, c.Type, n.Type)
		}
		for i := range c.Len() {
			out = append(out, string(AppendText(nil, c, i, env.zone())))
		}
	}
	return out, n, nil
}

// zeroWhereNull is the rule of columns that a null row holds a zero value.
func zeroWhereNull(c *batch.Column) error {
	for i := range c.Len() {
		if !c.IsNull(i) {
			continue
		}
		v := *c
		v.Nulls = nil
		z := ValueAt(&v, i)
		if z.Int != 0 || z.Float != 0 || z.Bool || len(z.Bytes) != 0 || z.Dec != (batch.Dec{}) || c.Kind() == batch.KindList && len(z.List) != 0 {
			return fmt.Errorf("row %d is null and holds %+v", i, z)
		}
	}
	return nil
}

// sizes are the batch sizes that everything is run with: one, odd and full.
var sizes = []int{1, 3, 1 << 20}

// runAll runs src at all batch sizes and fails when they differ.
func runAll(t *testing.T, in table, src string, env *Env) ([]string, *Node, error) {
	t.Helper()
	want, n, wantErr := run(in, src, env, sizes[0])
	for _, size := range sizes[1:] {
		got, _, err := run(in, src, env, size)
		if strings.Join(got, "|") != strings.Join(want, "|") || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Errorf("%s: batches of %d rows give %q, %v; of 1 row %q, %v", src, size, got, err, want, wantErr)
		}
	}
	return want, n, wantErr
}

// oneValue evaluates src over the first row of the sample.
type valueCase struct{ src, want string }

func checkValues(t *testing.T, env *Env, cases []valueCase) {
	t.Helper()
	in := sample(t)
	for _, c := range cases {
		got, n, err := runAll(t, in, c.src, env)
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		if got[0] != c.want {
			t.Errorf("%s = %s (%s), want %s", c.src, got[0], n.Type, c.want)
		}
		folded, err := Fold(n)
		if err != nil {
			t.Errorf("%s: folding: %v", c.src, err)
			continue
		}
		if folded.Op == OpLiteral {
			v := batch.NewColumn(n.Type)
			folded.Literal.Append(v)
			if text := string(AppendText(nil, v, 0, env.zone())); text != c.want {
				t.Errorf("%s folds to %s, want %s", c.src, text, c.want)
			}
		}
	}
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Skip(err)
	}
	return z
}

// checked is the typed node of src over in.
func checked(tb testing.TB, in table, src string) *Node {
	tb.Helper()
	e, err := ast.ParseExpr(src)
	if err != nil {
		tb.Fatal(err)
	}
	n, err := Check(e, in)
	if err != nil {
		tb.Fatalf("%s: %v", src, err)
	}
	return n
}
