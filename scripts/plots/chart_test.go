package main

import (
	"bytes"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const data = "t,kind,v\n1,a,10\n2,a,100\n3,a,\n1,b,5\n2,b,0\n"

func TestChartsAreDrawnTwiceTheSame(t *testing.T) {
	charts := `[{"name": "one", "title": "Both kinds", "x": "time, s", "panels": [
		{"y": "values", "log_y": true, "series": [{"name": "kind a", "file": "d.csv", "x": "t", "y": "v", "where": {"kind": "a"}, "style": "both"},
		                                          {"name": "kind b", "file": "d.csv", "x": "t", "y": "v", "where": {"kind": "b"}, "style": "points"}]},
		{"y": "again", "series": [{"file": "d.csv", "x": "t", "y": "v", "where": {"kind": "b"}, "style": "steps", "dash": true}]}]}]`
	var first [][]byte
	for range 2 {
		dir := directory(t, map[string]string{"charts.json": charts, "d.csv": data})
		if err := run(dir); err != nil {
			t.Fatal(err)
		}
		var got [][]byte
		for _, name := range []string{"one.svg", "one.png"} {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, text)
		}
		if first == nil {
			first = got
		}
		if !bytes.Equal(got[0], first[0]) || !bytes.Equal(got[1], first[1]) {
			t.Fatal("the same data give another chart")
		}
	}
	for _, want := range []string{"Both kinds", "kind a", "kind b", "time, s", "again"} {
		if !bytes.Contains(first[0], []byte(want)) {
			t.Errorf("the SVG does not say %q", want)
		}
	}
	if _, err := png.Decode(bytes.NewReader(first[1])); err != nil {
		t.Fatal(err)
	}
}

func TestPointsAreThoseOfTheRowsThatAreChosen(t *testing.T) {
	tab, err := readTable(directory(t, map[string]string{"d.csv": data}), "d.csv")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		kind string
		log  bool
		want int
	}{{"a", false, 2}, {"b", false, 2}, {"b", true, 1}, {"c", false, 0}} {
		got, err := tab.points(series{X: "t", Y: "v", Where: map[string]string{"kind": c.kind}}, c.log)
		if err != nil || len(got) != c.want {
			t.Errorf("%+v: %v %v", c, got, err)
		}
	}
}

func TestWhatIsWrongIsNamed(t *testing.T) {
	chart := func(series string) string {
		return `[{"name": "c", "panels": [{"y": "y", "series": [` + series + `]}]}]`
	}
	for _, c := range []struct{ charts, want string }{
		{"{", "charts.json"}, {`[{"name": "../c"}]`, "no name of a chart"}, {`[{"name": "c"}]`, "no panel"},
		{chart(`{"file": "e.csv", "x": "t", "y": "v"}`), "e.csv"}, {chart(`{"file": "d.csv", "x": "t", "y": "w"}`), `no column "w"`},
		{chart(`{"file": "d.csv", "x": "t", "y": "kind"}`), `is no number`}, {chart(``), "nothing to draw"},
		{chart(`{"file": "../d.csv", "x": "t", "y": "v"}`), "no file of the directory"},
	} {
		err := run(directory(t, map[string]string{"charts.json": c.charts, "d.csv": data}))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.charts, err)
		}
	}
}
