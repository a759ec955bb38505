package connector

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
)

var declared = []Option{
	{Name: "path", Required: true, Doc: "where"},
	{Name: "format", Kind: Enum, Values: []string{"csv", "json"}},
	{Name: "rows", Kind: Int, Default: "7"},
	{Name: "follow", Kind: Bool, Default: "false"},
	{Name: "every", Kind: Duration},
	{Name: "size", Kind: Memory, Default: "1 kb"},
	{Name: "fields.#.kind", Kind: Enum, Default: "random", Values: []string{"random", "sequence"}},
}

var schema = batch.NewSchema(batch.Field{Name: "a", Type: batch.TypeInt}, batch.Field{Name: "l", Type: batch.ArrayOf(batch.TypeInt)})

func options(text string) map[string]string {
	m := map[string]string{}
	for _, o := range strings.Fields(text) {
		k, v, _ := strings.Cut(o, "=")
		m[k] = v
	}
	return m
}

func TestOptionsAreHeldAgainstTheirDeclaration(t *testing.T) {
	for _, c := range []struct{ given, want string }{
		{"connector=x path=/a", ""},
		{"path=/a format=csv rows=-3 follow=TRUE every=10s size=3mb fields.a.kind=sequence fields.l.element.kind=random", ""},
		{"", "option 'path' is required: where"},
		{"path=/a format=xml", "option 'format': \"xml\" is none of 'csv', 'json'"},
		{"path=/a rows=x", "option 'rows': \"x\" is not a whole number"},
		{"path=/a follow=yes", "option 'follow'"},
		{"path=/a every=soon", "option 'every'"},
		{"path=/a size=1qb", "option 'size'"},
		{"path=/a formt=csv", "option 'formt' is unknown; did you mean 'format'?"},
		{"path=/a zzzzzz=1", "option 'zzzzzz' is unknown"},
		{"path=/a fields.b.kind=random", "option 'fields.b.kind' names no column"},
		{"path=/a fields.a.x.kind=random", "option 'fields.a.x.kind' names no column"},
		{"rows=x formt=csv", "option 'formt' is unknown; did you mean 'format'?; option 'rows': \"x\" is not a whole number; option 'path' is required: where"},
	} {
		err := CheckOptions(declared, options(c.given), schema)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.given, err, c.want)
		}
	}
}

func TestOptionsHaveTheirDefaults(t *testing.T) {
	def := &Definition{Name: "x", Options: declared}
	c := Config{Table: "t", Options: options("every=2s fields.a.kind=sequence follow=true")}
	rows, err1 := c.Int(def, "rows")
	follow, err2 := c.Bool(def, "follow")
	every, err3 := c.Duration(def, "every")
	size, err4 := c.Memory(def, "size")
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || rows != 7 || !follow || every != 2*time.Second || size != 1024 {
		t.Errorf("%d %v %v %d; %v %v %v %v", rows, follow, every, size, err1, err2, err3, err4)
	}
	if c.Get(def, "fields.a.kind") != "sequence" || c.Get(def, "fields.b.kind") != "random" || c.Get(def, "path") != "" || c.Get(def, "nothing") != "" {
		t.Error("wrong values")
	}
	if _, err := (Config{Table: "t", Options: options("rows=")}).Int(def, "rows"); err == nil || !strings.Contains(err.Error(), "table t: option 'rows'") {
		t.Errorf("an empty number: %v", err)
	}
}

func TestDurationsAndSizesAreFlinks(t *testing.T) {
	for text, want := range map[string]time.Duration{"10 s": 10 * time.Second, "1min": time.Minute, "500 ms": 500 * time.Millisecond, "7": 7 * time.Millisecond,
		"2 HOURS": 2 * time.Hour, " 1 d ": 24 * time.Hour, "3µs": 3 * time.Microsecond, "": -1, "-1 s": -1, "1.5 s": -1, "1 fortnight": -1, "9999999999 d": -1} {
		if got, err := ParseDuration(text); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for text, want := range map[string]int64{"128mb": 128 << 20, "1 gb": 1 << 30, "12": 12, "3 kibibytes": 3 << 10, "2 TB": 2 << 40, "": -1, "x": -1, "1 pb": -1,
		"9223372036854775807": math.MaxInt64, "9007199254740992 kb": -1} {
		if got, err := ParseMemory(text); (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

func TestNamesAreRegisteredOnceAndListedSorted(t *testing.T) {
	var r Registry
	for _, name := range []string{"b", "a"} {
		if err := r.Register(&Definition{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Register(&Definition{Name: "a"}); err == nil {
		t.Error("a name was taken twice")
	}
	if d, ok := r.Lookup("a"); !ok || d.Name != "a" || strings.Join(r.Names(), " ") != "a b" {
		t.Error("lookup or names")
	}
	if _, ok := r.Lookup("c"); ok {
		t.Error("found what is not there")
	}
}
