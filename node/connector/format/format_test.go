package format_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
	"github.com/seepnode/seepnode/node/connector/format"
)

func field(name string, t batch.Type) batch.Field { return batch.Field{Name: name, Type: t} }

func config(schema *batch.Schema, options ...string) connector.Config {
	c := connector.Config{Table: "t", Schema: schema, Options: map[string]string{}, Zone: time.UTC}
	for i := 0; i < len(options); i += 2 {
		c.Options[options[i]] = options[i+1]
	}
	return c
}

var scalars = batch.NewSchema(
	field("b", batch.TypeBoolean), field("i8", batch.TypeTinyInt), field("i64", batch.TypeBigInt), field("f32", batch.TypeFloat), field("f64", batch.TypeDouble),
	field("d", batch.DecimalOf(38, 10)), field("s", batch.TypeString), field("y", batch.TypeBytes), field("date", batch.TypeDate), field("time", batch.TypeTime),
	field("ts", batch.TypeTimestamp), field("tz", batch.TypeTimestampLTZ), field("a", batch.ArrayOf(batch.TypeInt)), field("r", batch.RowOf(field("x", batch.TypeInt), field("y", batch.TypeBoolean))))

// sample has awkward values of every type, and a row of nulls.
func sample() *batch.Batch {
	b := batch.New(scalars)
	texts := []string{"", "plain", "a,b", "say \"hi\"", "two\nlines", "carriage\r", " spaces ", "#no comment", "null", "日本\u00a0😀", "\\", "\t\x01", "'", ";", "a\r\nb"}
	for i, s := range texts {
		v := int64(i - 5)
		b.Cols[0].AppendBool(i%2 == 0)
		b.Cols[1].AppendInt64([]int64{-128, 127, v}[i%3])
		b.Cols[2].AppendInt64([]int64{math.MinInt64, math.MaxInt64, v}[i%3])
		b.Cols[3].AppendFloat64(float64([]float32{math.MaxFloat32, float32(math.Inf(-1)), 1e-10, 0.1}[i%4]))
		b.Cols[4].AppendFloat64([]float64{math.MaxFloat64, math.NaN(), -0.1, 1e22, 5e-324}[i%5])
		b.Cols[5].AppendDec([]batch.Dec{{Lo: 123456789012}, {Hi: -1, Lo: math.MaxUint64}, {Hi: 1 << 60}}[i%3])
		b.Cols[6].AppendString(s)
		b.Cols[7].AppendBytes([]byte{0, byte(i), 255, '\n'}[:i%5%4+1])
		b.Cols[8].AppendInt64(v * 10000)
		b.Cols[9].AppendInt64(int64(i) * 5000000 / 1000 * 1000)
		b.Cols[10].AppendInt64(v*100000000000 + 123)
		b.Cols[11].AppendInt64(v*100000000000 + 7)
		for k := range i % 3 {
			b.Cols[12].Children[0].AppendInt64(int64(k) + v)
		}
		b.Cols[12].CloseList()
		b.Cols[13].Children[0].AppendInt64(v)
		b.Cols[13].Children[1].AppendBool(i%2 == 1)
		b.Cols[13].CloseRow()
		b.EndRow(batch.Insert)
	}
	for i := range b.Cols {
		b.Cols[i].AppendNull()
	}
	b.EndRow(batch.Insert)
	return b
}

func roundTrip(t *testing.T, name string, c connector.Config, b *batch.Batch) *batch.Batch {
	t.Helper()
	w, err := format.Write(name, c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := format.Read(name, c)
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for i := range b.Len() {
		if file, err = w.Encoder.Append(file, b, i); err != nil {
			t.Fatalf("row %d: %v", i, err)
		}
		file = append(file, '\n')
	}
	out := batch.New(c.Schema)
	for len(file) > 0 {
		end := r.RecordEnd(file)
		if end < 0 {
			t.Fatalf("no end of record in %q", file)
		}
		if err := r.Decoder.Decode(file[:end], out); err != nil {
			t.Fatalf("%q: %v", file[:end], err)
		}
		file = file[end+1:]
	}
	connectortest.CheckColumns(t, out)
	return out
}

func wantSame(t *testing.T, got, want *batch.Batch) {
	t.Helper()
	if got.Len() != want.Len() {
		t.Fatalf("%d rows, want %d", got.Len(), want.Len())
	}
	for i := range want.Len() {
		for k := range want.Cols {
			a, b := batch.AppendKeyColumn(nil, &got.Cols[k], i, true), batch.AppendKeyColumn(nil, &want.Cols[k], i, true)
			if string(a) != string(b) {
				t.Errorf("row %d, column %s: %q, want %q", i, want.Schema.Fields[k].Name, a, b)
			}
		}
	}
}

func TestDecodedRecordsEqualTheEncodedRows(t *testing.T) {
	for _, c := range []struct{ name, options string }{
		{"json", ""}, {"json", "json.timestamp-format.standard=ISO-8601"}, {"json", "json.encode.ignore-null-fields=true"},
		{"csv", "csv.null-literal=null"}, {"csv", "csv.null-literal=n/a csv.escape-character=\\"}, {"csv", "csv.null-literal=~ csv.field-delimiter=; csv.quote-character='  csv.array-element-delimiter=|"},
	} {
		t.Run(c.name+" "+c.options, func(t *testing.T) {
			var options []string
			for _, o := range strings.Fields(c.options) {
				k, v, _ := strings.Cut(o, "=")
				options = append(options, k, v)
			}
			wantSame(t, roundTrip(t, c.name, config(scalars, options...), sample()), sample())
		})
	}
}

func TestRawPassesBytesUnchanged(t *testing.T) {
	schema := batch.NewSchema(field("l", batch.TypeBytes))
	b := batch.New(schema)
	for _, s := range []string{"", "x", "\xff\x00\r", " a "} {
		b.Cols[0].AppendString(s)
		b.EndRow(batch.Insert)
	}
	wantSame(t, roundTrip(t, "raw", config(schema), b), b)
}

func TestEveryFormatDeclaresItsOptions(t *testing.T) {
	if fmt.Sprint(format.Names()) != "[csv json raw]" {
		t.Fatal(format.Names())
	}
	for _, name := range format.Names() {
		for _, o := range format.Options(name) {
			if !strings.HasPrefix(o.Name, name+".") || o.Doc == "" {
				t.Errorf("%s: option %+v", name, o)
			}
			if o.Default != "" && o.CheckValue(o.Default) != nil {
				t.Errorf("%s: default of %s", name, o.Name)
			}
		}
	}
	if format.Options("avro") != nil {
		t.Error("avro has options")
	}
	if _, err := format.Read("avro", config(scalars)); err == nil || !strings.Contains(err.Error(), "avro") {
		t.Error(err)
	}
}

func TestTypesWithoutAFormAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		format string
		schema *batch.Schema
	}{
		{"raw", scalars},
		{"raw", batch.NewSchema(field("n", batch.TypeInt))},
		{"csv", batch.NewSchema(field("n", batch.MapOf(batch.TypeString, batch.TypeInt)))},
		{"csv", batch.NewSchema(field("n", batch.ArrayOf(batch.ArrayOf(batch.TypeInt))))},
		{"json", batch.NewSchema(field("n", batch.MapOf(batch.TypeInt, batch.TypeInt)))},
	} {
		_, readErr := format.Read(c.format, config(c.schema))
		_, writeErr := format.Write(c.format, config(c.schema))
		if readErr == nil || writeErr == nil || !strings.Contains(readErr.Error(), c.format) {
			t.Errorf("%s %s: %v, %v", c.format, c.schema, readErr, writeErr)
		}
	}
}
