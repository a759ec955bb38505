package datagen

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(schema *batch.Schema, options ...string) connector.Config {
	c := connector.Config{Table: "t", Schema: schema, Options: map[string]string{"connector": "datagen"}, Skipped: func(connector.SkippedRow) {}}
	for i := 0; i < len(options); i += 2 {
		c.Options[options[i]] = options[i+1]
	}
	return c
}

func field(name string, t batch.Type) batch.Field { return batch.Field{Name: name, Type: t} }

var everyType = batch.NewSchema(
	field("b", batch.TypeBoolean), field("i8", batch.TypeTinyInt), field("i16", batch.TypeSmallInt), field("i32", batch.TypeInt),
	field("i64", batch.TypeBigInt), field("f32", batch.TypeFloat), field("f64", batch.TypeDouble), field("d9", batch.DecimalOf(9, 2)),
	field("d38", batch.DecimalOf(38, 10)), field("c", batch.Type{ID: batch.Char, Precision: 5}), field("v", batch.Type{ID: batch.Varchar, Precision: 20}),
	field("s", batch.TypeString), field("y", batch.TypeBytes), field("d", batch.TypeDate), field("t", batch.TypeTime),
	field("ts", batch.TypeTimestamp), field("tz", batch.TypeTimestampLTZ), field("a", batch.ArrayOf(batch.TypeInt)),
	field("m", batch.MapOf(batch.TypeString, batch.ArrayOf(batch.TypeBigInt))),
	field("r", batch.RowOf(field("x", batch.TypeBigInt), field("y", batch.RowOf(field("z", batch.TypeString))))),
)

func nullable(rate string) []string {
	options := []string{"number-of-rows", "203", "splits", "3", "fields.v.var-len", "true", "fields.ts.max-past", "1 d",
		"fields.d.max-past", "100 d", "fields.m.key.length", "1", "fields.m.length", "20", "fields.r.x.kind", "sequence", "fields.r.x.start", "5", "fields.r.x.end", "900"}
	for _, f := range everyType.Fields {
		options = append(options, "fields."+f.Name+".null-rate", rate)
	}
	return append(options, "fields.a.element.null-rate", rate, "fields.r.y.null-rate", rate, "fields.m.value.null-rate", rate)
}

func TestEveryTypeIsTheSameFromEveryOffsetAndWithAnyLimit(t *testing.T) {
	for _, rate := range []string{"0", "0.3", "1"} {
		c := config(everyType, nullable(rate)...)
		if err := connector.CheckOptions(definition.Options, c.Options, c.Schema); err != nil {
			t.Fatal(err)
		}
		if !definition.Bounded(c) {
			t.Fatal("the table is not bounded")
		}
		rows := connectortest.Source(t, func() (connector.Source, error) { return newSource(c) }, everyType)
		if rows.Len() != 203 {
			t.Fatalf("%d rows", rows.Len())
		}
	}
}

func all(t *testing.T, c connector.Config) *batch.Batch {
	t.Helper()
	src, err := newSource(c)
	if err != nil {
		t.Fatal(err)
	}
	out := batch.New(c.Schema)
	for _, s := range connectortest.Discover(t, src) {
		rows := connectortest.ReadSplit(t, src, s, 0, c.Schema, connectortest.Unlimited())
		out.AppendRange(rows, 0, rows.Len())
	}
	return out
}

func TestRowsAreTheSameSetForAnyNumberOfSplits(t *testing.T) {
	var want [][]byte
	for _, splits := range []string{"1", "2", "7", "300"} {
		got := connectortest.SortedRows(all(t, config(everyType, append(nullable("0.1"), "splits", splits)...)))
		if want == nil {
			want = got
		}
		if len(got) != len(want) || !bytes.Equal(bytes.Join(got, nil), bytes.Join(want, nil)) {
			t.Fatalf("%s splits give other rows", splits)
		}
	}
}

func TestSeedChangesRandomValues(t *testing.T) {
	schema := batch.NewSchema(field("n", batch.TypeBigInt))
	a := all(t, config(schema, "number-of-rows", "10"))
	b := all(t, config(schema, "number-of-rows", "10", "seed", "1"))
	if connectortest.Digest(a, 0) == connectortest.Digest(b, 0) {
		t.Fatal("two seeds give the same rows")
	}
}

func TestSequencesHoldEveryValueOnceAndEndTheTable(t *testing.T) {
	schema := batch.NewSchema(field("n", batch.TypeInt), field("s", batch.TypeString), field("d", batch.DecimalOf(10, 2)), field("f", batch.TypeDouble))
	var options []string
	for _, f := range schema.Fields {
		options = append(options, "fields."+f.Name+".kind", "sequence", "fields."+f.Name+".start", "-3", "fields."+f.Name+".end", "6")
	}
	rows := all(t, config(schema, append(options, "fields.n.end", "9", "splits", "4")...))
	if rows.Len() != 10 {
		t.Fatalf("%d rows", rows.Len())
	}
	seen := map[int64]bool{}
	for i := range rows.Len() {
		r := rows.Row(i)
		n := r.Int64(0)
		if seen[n] || n < -3 || n > 6 || r.Text(1) != fmt.Sprint(n) || int64(r.Dec(2).Lo) != 100*n || r.Float64(3) != float64(n) {
			t.Fatalf("row %d: %d %s %v %v", i, n, r.Text(1), r.Dec(2), r.Float64(3))
		}
		seen[n] = true
	}
}

// TestRandomValuesKeepBoundsAndSpreadEvenly counts values without the generator's arithmetic: each of 16 equal parts of the range must
// hold its share within six standard deviations.
func TestRandomValuesKeepBoundsAndSpreadEvenly(t *testing.T) {
	const rows, parts = 64000, 16
	schema := batch.NewSchema(field("i", batch.TypeInt), field("l", batch.TypeBigInt), field("f", batch.TypeDouble), field("d", batch.DecimalOf(30, 3)),
		field("t", batch.TypeTimestamp), field("b", batch.TypeBoolean), field("full", batch.TypeBigInt), field("small", batch.TypeTinyInt))
	out := all(t, config(schema, "number-of-rows", fmt.Sprint(rows), "fields.i.min", "-50", "fields.i.max", "749",
		"fields.l.min", "-9000000000000000000", "fields.l.max", "9000000000000000000", "fields.f.min", "-1.5", "fields.f.max", "0.5",
		"fields.d.min", "-8", "fields.d.max", "7.999", "fields.t.max-past", "10000000", "fields.b.null-rate", "0.25", "rows-per-second", "1000000"))
	var counts [8][parts]int
	nulls := 0
	for k := range rows {
		r := out.Row(k)
		i, l, f, d := r.Int64(0), r.Int64(1), r.Float64(2), int64(r.Dec(3).Lo)
		if i < -50 || i > 749 || l < -9e18 || l > 9e18 || f < -1.5 || f > 0.5 || d < -8000 || d > 7999 || r.Int64(4) > 64 || r.Int64(4) < -10000000 {
			t.Fatalf("row %d is out of bounds: %d %d %g %d %d", k, i, l, f, d, r.Int64(4))
		}
		counts[0][(i+50)/50]++
		counts[1][min(int((float64(l)+9e18)/18e18*parts), parts-1)]++
		counts[2][min(int((f+1.5)/2*parts), parts-1)]++
		counts[3][(d+8000)/1000]++
		counts[4][min(-min(r.Int64(4), 0)/625000, parts-1)]++
		counts[6][uint64(r.Int64(6))>>60]++
		counts[7][uint8(r.Int64(7))>>4]++
		if r.IsNull(5) {
			nulls++
		} else if r.Bool(5) {
			counts[5][0]++
		} else {
			counts[5][1]++
		}
	}
	for c := range counts {
		if c == 5 {
			continue
		}
		for p, n := range counts[c] {
			if math.Abs(float64(n-rows/parts)) > 6*math.Sqrt(rows/parts) {
				t.Errorf("column %d: part %d holds %d of %d", c, p, n, rows)
			}
		}
	}
	if math.Abs(float64(nulls-rows/4)) > 6*math.Sqrt(rows/4) || math.Abs(float64(counts[5][0]-counts[5][1])) > 6*math.Sqrt(rows) {
		t.Errorf("%d nulls, %v booleans", nulls, counts[5][:2])
	}
}

func TestEveryValueOfASmallRangeComesUp(t *testing.T) {
	schema := batch.NewSchema(field("n", batch.TypeInt), field("d", batch.DecimalOf(38, 0)))
	out := all(t, config(schema, "number-of-rows", "1000", "fields.n.min", "7", "fields.n.max", "9", "fields.d.min", "-1", "fields.d.max", "1"))
	n, d := map[int64]int{}, map[batch.Dec]int{}
	for i := range out.Len() {
		n[out.Row(i).Int64(0)]++
		d[out.Row(i).Dec(1)]++
	}
	if len(n) != 3 || len(d) != 3 || n[7] == 0 || n[9] == 0 || d[batch.Dec{Hi: -1, Lo: math.MaxUint64}] == 0 {
		t.Fatalf("%v %v", n, d)
	}
}

func TestStringsHaveTheirLengths(t *testing.T) {
	schema := batch.NewSchema(field("s", batch.TypeString), field("c", batch.Type{ID: batch.Char, Precision: 7}), field("v", batch.TypeString), field("y", batch.TypeBytes))
	out := all(t, config(schema, "number-of-rows", "300", "fields.v.length", "5", "fields.v.var-len", "true"))
	lengths := map[int]int{}
	for i := range out.Len() {
		r := out.Row(i)
		if len(r.Text(0)) != 100 || len(r.Text(1)) != 7 || len(r.Bytes(3)) != 20 || strings.Trim(r.Text(0), hexDigits) != "" {
			t.Fatalf("row %d: %q %q %q", i, r.Text(0), r.Text(1), r.Bytes(3))
		}
		lengths[len(r.Text(2))]++
	}
	if len(lengths) != 5 || lengths[0] != 0 || lengths[1] == 0 || lengths[5] == 0 {
		t.Fatalf("lengths %v", lengths)
	}
}

func TestRateReleasesRowsAsTimePasses(t *testing.T) {
	schema := batch.NewSchema(field("t", batch.TypeTimestamp))
	src, err := newSource(config(schema, "rows-per-second", "1000", "splits", "3", "number-of-rows", "100"))
	if err != nil {
		t.Fatal(err)
	}
	splits := connectortest.Discover(t, src)
	for _, c := range []struct {
		ms   int64
		want int
	}{{0, 0}, {1, 1}, {2, 2}, {10, 10}, {99, 99}, {1000, 100}, {math.MaxInt64, 100}, {-1, 100}} {
		n := 0
		for _, s := range splits {
			rows := connectortest.ReadSplit(t, src, s, 0, schema, connector.Limit{Rows: 7, Bytes: 1 << 20, ElapsedMs: c.ms})
			n += rows.Len()
			for i := range rows.Len() {
				if c.ms >= 0 && rows.Row(i).Int64(0) >= c.ms {
					t.Errorf("after %d ms: a row of %d ms", c.ms, rows.Row(i).Int64(0))
				}
			}
		}
		if n != c.want {
			t.Errorf("after %d ms: %d rows, want %d", c.ms, n, c.want)
		}
	}
	r, err := src.Open(context.Background(), splits[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := batch.New(schema)
	if status, _ := r.Read(out, connector.Limit{Rows: 50, Bytes: 1 << 20, ElapsedMs: 10}); status != connector.Idle || out.Len() != 4 {
		t.Fatalf("status %d with %d rows", status, out.Len())
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	schema := batch.NewSchema(field("n", batch.TypeTinyInt), field("s", batch.TypeString), field("q", batch.TypeInt.AsNotNull()), field("a", batch.ArrayOf(batch.TypeInt)), field("d", batch.TypeDate))
	for _, c := range []struct{ options, want string }{
		{"rows-per-second=-1", "rows-per-second"}, {"splits=0", "splits"}, {"splits=99999", "splits"}, {"number-of-rows=-5", "number-of-rows"},
		{"fields.n.min=-129", "TINYINT"}, {"fields.n.max=x", "TINYINT"}, {"fields.n.min=5 fields.n.max=4", "less"}, {"fields.s.min=1", "for numbers"},
		{"fields.s.length=-1", "length"}, {"fields.s.length=99999999", "length"}, {"fields.n.null-rate=1.5", "null-rate"}, {"fields.q.null-rate=0.5", "NOT NULL"},
		{"fields.n.kind=sequence", "required"}, {"fields.n.start=1", "sequence"}, {"fields.n.kind=sequence fields.n.start=1 fields.n.end=200", "does not fit"},
		{"fields.n.kind=sequence fields.n.start=3 fields.n.end=2", "less"}, {"fields.d.kind=sequence fields.d.start=1 fields.d.end=2", "not supported"},
		{"fields.a.element.kind=sequence fields.a.element.start=1 fields.a.element.end=2", "not supported"}, {"fields.d.max-past=x", "max-past"},
	} {
		var options []string
		for _, o := range strings.Fields(c.options) {
			k, v, _ := strings.Cut(o, "=")
			options = append(options, k, v)
		}
		if err := definition.Check(config(schema, options...)); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "table t") {
			t.Errorf("%s: %v", c.options, err)
		}
	}
}

func TestWarmReadAllocatesNothing(t *testing.T) {
	c := config(everyType, "rows-per-second", "0", "fields.m.length", "2")
	src, err := newSource(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := src.Open(context.Background(), connectortest.Discover(t, src)[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := batch.New(everyType)
	read := func() {
		out.Reset()
		if _, err := r.Read(out, connector.Limit{Rows: 100, Bytes: 1 << 30, ElapsedMs: -1}); err != nil {
			t.Fatal(err)
		}
	}
	read()
	if n := testing.AllocsPerRun(20, read); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkThreeBigInts(b *testing.B) {
	schema := batch.NewSchema(field("k", batch.TypeBigInt), field("v", batch.TypeBigInt), field("w", batch.TypeBigInt))
	src, err := newSource(config(schema, "rows-per-second", "0", "fields.k.min", "0", "fields.k.max", "99999"))
	if err != nil {
		b.Fatal(err)
	}
	r, _ := src.Open(context.Background(), connector.Split{ID: "0000"}, 0)
	defer r.Close()
	out := batch.New(schema)
	for b.Loop() {
		out.Reset()
		if _, err := r.Read(out, connector.Limit{Rows: 10000, Bytes: 1 << 30, ElapsedMs: -1}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/30000, "ns/value")
}
