package plan

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/query/ast"
)

func TestTheSameTextGivesTheSamePlan(t *testing.T) {
	tables, _ := os.ReadFile("testdata/tables.sql")
	query, err := os.ReadFile("testdata/query/shared_view.sql")
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]string{"seed": "1", "lines.path": "/a", "words.path": "/b", "bids.rate": "5", "trades.rows": "7"}
	var first string
	for range 20 {
		p, err := Compile(string(tables)+string(query), testCatalog(), Options{Set: set})
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if first == "" {
			first = string(text)
		}
		if string(text) != first {
			t.Fatalf("two plans:\n%s\n%s", first, text)
		}
	}
}

func TestViewsThatDoubleAreRefused(t *testing.T) {
	tables, _ := os.ReadFile("testdata/tables.sql")
	var b strings.Builder
	b.Write(tables)
	b.WriteString("CREATE VIEW v0 AS SELECT line FROM lines;\n")
	for i := range 40 {
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll("CREATE VIEW vB AS SELECT line || line AS line FROM vA UNION ALL SELECT line FROM vA;\n",
			"vB", "v"+strconv.Itoa(i+1)), "vA", "v"+strconv.Itoa(i)))
	}
	b.WriteString("SELECT * FROM v40")
	_, err := Compile(b.String(), testCatalog(), Options{})
	var e *ast.Error
	if !errors.As(err, &e) || !strings.Contains(e.Msg, "at most 1000 are supported") {
		t.Fatal(err)
	}
}

func FuzzCompile(f *testing.F) {
	tables, err := os.ReadFile("testdata/tables.sql")
	if err != nil {
		f.Fatal(err)
	}
	files, _ := filepath.Glob("testdata/query/*.sql")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	for _, c := range refusals {
		f.Add(strings.Replace(c.text, "^", "", 1))
	}
	catalog := testCatalog()
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 4096 {
			t.Skip()
		}
		p, err := Compile(string(tables)+text, catalog, Options{})
		if err != nil {
			var e *ast.Error
			if !errors.As(err, &e) || e.Pos.Line < 1 || e.Pos.Column < 1 || e.Msg == "" {
				t.Fatalf("%T %v", err, err)
			}
			return
		}
		checkPlan(t, p)
		p.Explain()
	})
}
