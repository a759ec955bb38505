package csv

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
	"github.com/seepnode/seepnode/node/query/expr"
)

var schema = batch.NewSchema(batch.Field{Name: "s", Type: batch.TypeString}, batch.Field{Name: "n", Type: batch.TypeInt})

func decoder(t testing.TB, s *batch.Schema, options string) *Decoder {
	t.Helper()
	c := connector.Config{Table: "t", Schema: s, Options: map[string]string{}}
	for _, o := range strings.Fields(options) {
		k, v, _ := strings.Cut(o, "=")
		c.Options["csv."+k] = v
	}
	d, err := NewDecoder(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func shown(b *batch.Batch) string {
	var rows []string
	for i := range b.Len() {
		var values []string
		for k := range b.Cols {
			if b.Cols[k].IsNull(i) {
				values = append(values, "NULL")
			} else {
				values = append(values, fmt.Sprintf("%q", expr.AppendText(nil, &b.Cols[k], i, nil)))
			}
		}
		rows = append(rows, strings.Join(values, " "))
	}
	return strings.Join(rows, "|")
}

func TestRecords(t *testing.T) {
	for _, c := range []struct{ options, record, want, err string }{
		{"", `a,1`, `"a" "1"`, ""},
		{"", `"a",1`, `"a" "1"`, ""},
		{"", `"a,""b""",-12`, `"a,\"b\"" "-12"`, ""},
		{"", `"",7`, `"" "7"`, ""},
		{"", `,`, `"" NULL`, ""},
		{"", `a, 1 `, `"a" "1"`, ""},
		{"", `a"b,1`, `"a\"b" "1"`, ""},
		{"", ``, ``, ""},
		{"", "\"a\nb\",1", `"a\nb" "1"`, ""},
		{"", `a`, "", "1 fields and the table 2 columns"},
		{"", `a,1,2`, "", "3 fields"},
		{"", `a,x`, "", `column n: "x" is not a value of INT`},
		{"", `a,1.5`, "", "column n"},
		{"", `a,1.0`, `"a" "1"`, ""},
		{"", `a,99999999999`, "", "column n"},
		{"", `"a,1`, "", "quote"},
		{"", `"a"b,1`, "", "quote"},
		{"ignore-parse-errors=true", `a,x`, `"a" NULL`, ""},
		{"ignore-parse-errors=true", `a`, `"a" NULL`, ""},
		{"ignore-parse-errors=true", `a,1,2`, `"a" "1"`, ""},
		{"null-literal=nil", `nil,nil`, `NULL NULL`, ""},
		{"null-literal=nil", `"nil",1`, `"nil" "1"`, ""},
		{"null-literal=", `,`, `NULL NULL`, ""},
		{"field-delimiter=\\t", "a\t1", `"a" "1"`, ""},
		{"field-delimiter=;", "a,b;1", `"a,b" "1"`, ""},
		{"disable-quote-character=true", `"a",1`, `"\"a\"" "1"`, ""},
		{"quote-character='", `'a,''b',1`, `"a,'b" "1"`, ""},
		{"escape-character=\\", `a\,b,1`, `"a,b" "1"`, ""},
		{"escape-character=\\", `"a\"b",1`, `"a\"b" "1"`, ""},
		{"allow-comments=true", `# a,1`, ``, ""},
		{"", `# a,1`, `"# a" "1"`, ""},
	} {
		out := batch.New(schema)
		err := decoder(t, schema, c.options).Decode([]byte(c.record), out)
		connectortest.CheckColumns(t, out)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || out.Len() != 0 {
				t.Errorf("%s %q: %v", c.options, c.record, err)
			}
			continue
		}
		if err != nil || shown(out) != c.want {
			t.Errorf("%s %q: %s, %v; want %s", c.options, c.record, shown(out), err, c.want)
		}
	}
}

func TestArraysAndRowsAreElementsOfAField(t *testing.T) {
	nested := batch.NewSchema(batch.Field{Name: "a", Type: batch.ArrayOf(batch.TypeInt)},
		batch.Field{Name: "r", Type: batch.RowOf(batch.Field{Name: "x", Type: batch.TypeInt}, batch.Field{Name: "y", Type: batch.TypeString})})
	d := decoder(t, nested, "")
	out := batch.New(nested)
	for _, record := range []string{`1;2;3,4;z`, `"",;`, `,`, `7;;8,5;`} {
		if err := d.Decode([]byte(record), out); err != nil {
			t.Fatalf("%s: %v", record, err)
		}
	}
	connectortest.CheckColumns(t, out)
	want := `"[1, 2, 3]" "(4, z)"|"[]" "(NULL, )"|NULL NULL|"[7, NULL, 8]" "(5, )"`
	if shown(out) != want {
		t.Errorf("%s, want %s", shown(out), want)
	}
	for _, record := range []string{`1;x,1;z`, `1,1`, `1,1;2;3`, `1,x;y`} {
		if err := d.Decode([]byte(record), out); err == nil || !strings.Contains(err.Error(), "column ") {
			t.Errorf("%s: %v", record, err)
		}
		connectortest.CheckColumns(t, out)
	}
	if shown(out) != want {
		t.Errorf("wrong records left %s", shown(out))
	}
}

func TestRecordEnds(t *testing.T) {
	for _, c := range []struct {
		options, buf string
		want         int
	}{
		{"", "a,b\nc", 3}, {"", "a,b", -1}, {"", "", -1}, {"", "\"a\nb\"\nc", 5}, {"", "\"a\nb", -1}, {"", "a\"b\nc\"\n", 3}, {"", "\"a\"\"\n\"\n", 6},
		{"multiline=false", "\"a\nb\"\nc", 2}, {"escape-character=\\", "a\\\nb\nc", 4}, {"disable-quote-character=true", "\"a\nb\"", 2},
		{"allow-comments=true", "# \"\nb", 3},
	} {
		if got := decoder(t, schema, c.options).RecordEnd([]byte(c.buf)); got != c.want {
			t.Errorf("%s %q: %d, want %d", c.options, c.buf, got, c.want)
		}
	}
}

func TestWrongOptionsAreRefused(t *testing.T) {
	for _, o := range []string{"field-delimiter=ab", "field-delimiter=\n", "field-delimiter=", "quote-character=,", "escape-character=\"", "quote-character=' disable-quote-character=true", "array-element-delimiter="} {
		c := connector.Config{Table: "t", Schema: schema, Options: map[string]string{}}
		for _, p := range strings.Split(o, " ") {
			k, v, _ := strings.Cut(p, "=")
			c.Options["csv."+k] = v
		}
		if _, err := NewDecoder(c); err == nil || !strings.Contains(err.Error(), "table t") {
			t.Errorf("%q: %v", o, err)
		}
	}
}

func TestTextWithoutAFormIsRefused(t *testing.T) {
	for _, c := range []struct{ options, text string }{{"disable-quote-character=true", "a,b"}, {"multiline=false", "a\nb"}, {"disable-quote-character=true escape-character=\\", "a\nb"}} {
		e := &Encoder{dialect: decoder(t, schema, c.options).dialect}
		b := batch.New(schema)
		b.Cols[0].AppendString(c.text)
		b.Cols[1].AppendInt64(1)
		b.EndRow(batch.Insert)
		if _, err := e.Append(nil, b, 0); err == nil || !strings.Contains(err.Error(), "column s") {
			t.Errorf("%s %q: %v", c.options, c.text, err)
		}
	}
}

func TestWarmDecodeAllocatesNothing(t *testing.T) {
	d := decoder(t, schema, "")
	out := batch.New(schema)
	record := []byte(`"a ""quoted"" text",12345`)
	if n := testing.AllocsPerRun(100, func() {
		out.Reset()
		if err := d.Decode(record, out); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// FuzzRecords reads any bytes as a file, with any dialect: nothing panics, a wrong record leaves no trace, and what was read is written and read again the same.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{"a,1\n", "\"a\"\"b\n\",2\n", "#c\n,,\n", "a\\,b,3", "\"", "1;2,x;y\n"} {
		for mode := range byte(8) {
			f.Add([]byte(s), mode)
		}
	}
	types := batch.NewSchema(batch.Field{Name: "s", Type: batch.TypeString}, batch.Field{Name: "n", Type: batch.TypeDouble}, batch.Field{Name: "a", Type: batch.ArrayOf(batch.TypeInt)})
	f.Fuzz(func(t *testing.T, file []byte, mode byte) {
		options := []string{"null-literal=~"}
		for bit, o := range []string{"escape-character=\\", "ignore-parse-errors=true", "allow-comments=true", "multiline=false", "quote-character='"} {
			if mode>>bit&1 != 0 {
				options = append(options, o)
			}
		}
		d := decoder(t, types, strings.Join(options, " "))
		out := batch.New(types)
		for len(file) > 0 {
			end := d.RecordEnd(file)
			rest := end + 1
			if end < 0 {
				end, rest = len(file), len(file)
			}
			before := out.Len()
			if err := d.Decode(file[:end], out); err != nil && out.Len() != before {
				t.Fatal("a wrong record gave a row")
			}
			connectortest.CheckColumns(t, out)
			file = file[rest:]
		}
		e := &Encoder{dialect: d.dialect}
		again := batch.New(types)
		for i := range out.Len() {
			text, err := e.Append(nil, out, i)
			if err != nil {
				return
			}
			if end := d.RecordEnd(append(text, '\n')); end != len(text) {
				t.Fatalf("%q ends at %d", text, end)
			}
			if err := d.Decode(text, again); err != nil {
				t.Fatalf("%q: %v", text, err)
			}
		}
		if connectortest.Digest(out, 0) != connectortest.Digest(again, 0) {
			t.Fatalf("%s\nwas read again as\n%s", shown(out), shown(again))
		}
	})
}
