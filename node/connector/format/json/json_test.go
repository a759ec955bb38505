package json

import (
	stdjson "encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
	"github.com/seepnode/seepnode/node/query/expr"
)

func field(name string, t batch.Type) batch.Field { return batch.Field{Name: name, Type: t} }

var schema = batch.NewSchema(field("s", batch.TypeString), field("n", batch.TypeBigInt), field("d", batch.DecimalOf(20, 2)), field("b", batch.TypeBoolean))

var nested = batch.NewSchema(field("a", batch.ArrayOf(batch.TypeInt)), field("m", batch.MapOf(batch.TypeString, batch.ArrayOf(batch.TypeString))),
	field("r", batch.RowOf(field("x", batch.TypeInt), field("y", batch.RowOf(field("z", batch.TypeString))))))

func decoder(t testing.TB, s *batch.Schema, options string) *Decoder {
	t.Helper()
	c := connector.Config{Table: "t", Schema: s, Options: map[string]string{}}
	for _, o := range strings.Fields(options) {
		k, v, _ := strings.Cut(o, "=")
		c.Options["json."+k] = v
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

type decodeCase struct{ options, record, want, err string }

func run(t *testing.T, s *batch.Schema, cases []decodeCase) {
	t.Helper()
	for _, c := range cases {
		out := batch.New(s)
		err := decoder(t, s, c.options).Decode([]byte(c.record), out)
		connectortest.CheckColumns(t, out)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) || out.Len() != 0 {
				t.Errorf("%s %s: %v; want %s", c.options, c.record, err, c.err)
			}
			continue
		}
		if err != nil || shown(out) != c.want {
			t.Errorf("%s %s: %s, %v; want %s", c.options, c.record, shown(out), err, c.want)
		}
	}
}

func TestObjects(t *testing.T) {
	run(t, schema, []decodeCase{
		{"", `{"s":"a","n":1,"d":1.5,"b":true}`, `"a" "1" "1.50" "TRUE"`, ""},
		{"", ` { "b" : false , "n" : -9223372036854775808 } ` + "\r", `NULL "-9223372036854775808" NULL "FALSE"`, ""},
		{"", `{"n":9007199254740993,"d":123456789012345678.91}`, `NULL "9007199254740993" "123456789012345678.91" NULL`, ""},
		{"", `{"n":"12","d":"3.10","b":"true","s":12.50}`, `"12.50" "12" "3.10" "TRUE"`, ""},
		{"", `{"s":{"x": [1]}}`, `"{\"x\": [1]}" NULL NULL NULL`, ""},
		{"", `{"s":true,"other":[{"a":[]},null,1e5,"\u12aB"]}`, `"true" NULL NULL NULL`, ""},
		{"", `{"s":null}`, `NULL NULL NULL NULL`, ""},
		{"", `{}`, `NULL NULL NULL NULL`, ""},
		{"", `{"s":"1","s":"2","n":4,"n":null}`, `"2" NULL NULL NULL`, ""},
		{"", `{"\u0073":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud83d"}`, `"\"\\/\b\f\n\r\té😀�" NULL NULL NULL`, ""},
		{"", "  \t\r", ``, ""},
		{"", "", ``, ""},
		{"", `{"n":1.0}`, `NULL "1" NULL NULL`, ""},
		{"", `{"n":1.5}`, "", `column n: "1.5" is not a value of BIGINT`},
		{"", `{"n":true}`, "", "column n"},
		{"", `{"n":[1]}`, "", "column n"},
		{"", `{"n":9223372036854775808}`, "", "column n"},
		{"", `{"b":1}`, "", "column b"},
		{"", `{"n":01}`, "", "','"},
		{"", `{"n":-}`, "", "value"},
		{"", `{"n":1.}`, "", "digit"},
		{"", `{"n":1e}`, "", "digit"},
		{"", `{"n":+1}`, "", "value"},
		{"", `{"n":nul}`, "", "value"},
		{"", `{"n":1,}`, "", "string"},
		{"", `{"n":1`, "", "ends"},
		{"", `{"n":1} x`, "", "end of the line"},
		{"", `{"n" 1}`, "", "':'"},
		{"", `[1]`, "", "object"},
		{"", `{"s":"a` + "\n" + `b"}`, "", "control"},
		{"", `{"s":"\x"}`, "", "escape"},
		{"", `{"s":"\u12g4"}`, "", "escape"},
		{"", "{\"s\":\"\xff\"}", "", "UTF-8"},
		{"", `{"o":` + strings.Repeat("[", 2000) + `}`, "", "deeper"},
		{"fail-on-missing-field=true", `{"s":"a","n":1,"d":1.5}`, "", "column b"},
		{"ignore-parse-errors=true", `{"s":"a","n":"x","d":[1],"b":true}`, `"a" NULL NULL "TRUE"`, ""},
		{"ignore-parse-errors=true", `{"s":"a","n":x}`, "", "column n"},
	})
}

func TestNestedValues(t *testing.T) {
	run(t, nested, []decodeCase{
		{"", `{"a":[1,null,3],"m":{"k":["v",null],"l":null},"r":{"x":1,"y":{"z":"q","extra":0}}}`, `"[1, NULL, 3]" "{k=[v, NULL], l=NULL}" "(1, (q))"`, ""},
		{"", `{"a":[],"m":{},"r":{}}`, `"[]" "{}" "(NULL, NULL)"`, ""},
		{"", `{"m":{"a":["1"],"b":[],"a":["2"]}}`, `NULL "{b=[], a=[2]}" NULL`, ""},
		{"", `{"r":{"x":1,"y":{"z":"q"},"x":2,"y":null},"a":[1],"a":[2,3]}`, `"[2, 3]" NULL "(2, NULL)"`, ""},
		{"", `{"r":{"x":1,"y":{"z":"a"}},"r":null}`, `NULL NULL NULL`, ""},
		{"", `{"a":[1,"x"]}`, "", "column a"},
		{"", `{"r":{"x":1,"y":{"z":"\x"}}}`, "", "column r.y.z"},
		{"", `{"a":{}}`, "", "array"},
		{"", `{"m":[]}`, "", "object"},
		{"ignore-parse-errors=true", `{"a":[1,"x"],"r":{"x":"?","y":{"z":"q"}}}`, `NULL NULL "(NULL, (q))"`, ""},
	})
}

func TestWrongRecordsLeaveNoTrace(t *testing.T) {
	out := batch.New(nested)
	d := decoder(t, nested, "")
	good := []byte(`{"a":[1],"m":{"k":["v"]},"r":{"x":1,"y":{"z":"q"}}}`)
	for i := range len(good) {
		if err := d.Decode(good[:i], out); err == nil && i > 0 {
			t.Fatalf("%s was taken", good[:i])
		}
		connectortest.CheckColumns(t, out)
		if err := d.Decode(good, out); err != nil {
			t.Fatal(err)
		}
	}
	for i := range out.Len() {
		one := batch.New(nested)
		one.AppendRow(out, i)
		if shown(one) != `"[1]" "{k=[v]}" "(1, (q))"` {
			t.Fatalf("row %d: %s", i, shown(one))
		}
	}
}

func TestNotNullColumnsNeedAValue(t *testing.T) {
	s := batch.NewSchema(field("n", batch.TypeInt.AsNotNull()))
	for _, options := range []string{"", "ignore-parse-errors=true"} {
		for _, record := range []string{`{}`, `{"n":null}`} {
			if err := decoder(t, s, options).Decode([]byte(record), batch.New(s)); err == nil || !strings.Contains(err.Error(), "column n is NOT NULL") {
				t.Errorf("%s: %v", record, err)
			}
		}
	}
}

func TestTimestampsAreWrittenInTheStandardAsked(t *testing.T) {
	s := batch.NewSchema(field("ts", batch.TypeTimestamp), field("tz", batch.TypeTimestampLTZ))
	b := batch.New(s)
	b.Cols[0].AppendInt64(86400123)
	b.Cols[1].AppendInt64(86400123)
	b.EndRow(batch.Insert)
	for standard, want := range map[string]string{
		"SQL":      `{"ts":"1970-01-02 00:00:00.123","tz":"1970-01-02 00:00:00.123Z"}`,
		"ISO-8601": `{"ts":"1970-01-02T00:00:00.123","tz":"1970-01-02T00:00:00.123Z"}`,
	} {
		e, err := NewEncoder(connector.Config{Schema: s, Options: map[string]string{"json.timestamp-format.standard": standard}})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.Append(nil, b, 0); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", standard, got, err)
		}
	}
}

func TestNullKeysOfMaps(t *testing.T) {
	s := batch.NewSchema(field("m", batch.MapOf(batch.TypeString, batch.TypeInt)))
	b := batch.New(s)
	b.Cols[0].Children[0].AppendNull()
	b.Cols[0].Children[0].AppendString("k")
	b.Cols[0].Children[1].AppendInt64(1)
	b.Cols[0].Children[1].AppendInt64(2)
	b.Cols[0].CloseList()
	b.EndRow(batch.Insert)
	for mode, want := range map[string]string{"FAIL": "", "DROP": `{"m":{"k":2}}`, "LITERAL": `{"m":{"none":1,"k":2}}`} {
		e, err := NewEncoder(connector.Config{Schema: s, Options: map[string]string{"json.map-null-key.mode": mode, "json.map-null-key.literal": "none"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Append(nil, b, 0)
		if (err != nil) != (want == "") || err == nil && string(got) != want {
			t.Errorf("%s: %s, %v", mode, got, err)
		}
	}
}

func TestWrittenStringsAreJSON(t *testing.T) {
	for _, s := range []string{"", "a\"b\\c", "\x00\x1f\n\r\t", "é😀", "\xff\xfea", "a\xf0\x9f"} {
		var got string
		if err := stdjson.Unmarshal(AppendString(nil, s), &got); err != nil || got != strings.ToValidUTF8(s, "\ufffd") && strings.Count(got, "\ufffd") == 0 {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

func TestWarmDecodeAllocatesNothing(t *testing.T) {
	out := batch.New(nested)
	d := decoder(t, nested, "")
	record := []byte(`{"a":[1,null,3],"m":{"k\n":["v"],"l":[]},"x":{"y":"\n"},"r":{"x":1,"y":{"z":"q"}}}`)
	decode := func() {
		out.Reset()
		if err := d.Decode(record, out); err != nil {
			t.Fatal(err)
		}
	}
	decode()
	if n := testing.AllocsPerRun(100, decode); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// FuzzRecords: nothing panics; a record that is taken is JSON for the standard library too, and what it gave is written and read again the same.
func FuzzRecords(f *testing.F) {
	for _, s := range []string{`{"s":"a","n":1,"d":1.5,"b":true}`, `{"a":[1,null],"m":{"k":["v"],"k":null},"r":{"x":1,"y":{"z":"\ud83d\ude00"}}}`, `{"a":[[]],"r":{"y":{"z":{}}}}`, `{"n":"1e400"}`, "{\"s\":\"\\u0000\xff"} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	all := batch.NewSchema(append(append([]batch.Field{}, schema.Fields...), append(nested.Fields, field("ts", batch.TypeTimestamp), field("f", batch.TypeFloat), field("y", batch.TypeBytes))...)...)
	f.Fuzz(func(t *testing.T, record []byte, lenient bool) {
		options := ""
		if lenient {
			options = "ignore-parse-errors=true"
		}
		d := decoder(t, all, options)
		out := batch.New(all)
		err := d.Decode(record, out)
		connectortest.CheckColumns(t, out)
		if err != nil {
			if out.Len() != 0 {
				t.Fatal("a wrong record gave a row")
			}
			return
		}
		if out.Len() == 0 {
			return
		}
		if !stdjson.Valid(record) {
			t.Fatalf("%q is not JSON and was taken", record)
		}
		e, err := NewEncoder(connector.Config{Schema: all})
		if err != nil {
			t.Fatal(err)
		}
		text, err := e.Append(nil, out, 0)
		if err != nil || !stdjson.Valid(text) {
			t.Fatalf("%q, %v", text, err)
		}
		again := batch.New(all)
		if err := decoder(t, all, "").Decode(text, again); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if connectortest.Digest(out, 0) != connectortest.Digest(again, 0) {
			t.Fatalf("%s\nwas read again as\n%s", shown(out), shown(again))
		}
	})
}
