package agent

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// sinkPaths puts every sink into a folder of its own.
func sinkPaths(t *testing.T, dir string, sinks []string) map[string]string {
	t.Helper()
	set := map[string]string{}
	for _, s := range sinks {
		path := filepath.Join(dir, s)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		set[s+".path"] = path
	}
	return set
}

// sinkFiles are the bytes of all that sinks show, by sink and name without the incarnation.
func sinkFiles(t *testing.T, dir string, sinks []string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, s := range sinks {
		found, err := os.ReadDir(filepath.Join(dir, s))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			name := f.Name()
			if strings.HasPrefix(name, "_") || strings.HasPrefix(name, ".") {
				continue
			}
			b, err := os.ReadFile(filepath.Join(dir, s, name))
			if err != nil {
				t.Fatal(err)
			}
			_, name, _ = strings.Cut(name, "-")
			files[s+"/"+name] = string(b)
		}
	}
	return files
}

// onOneNode is what a query gives on one node that never fails: the files of sinks, and tables as they are at the end.
func onOneNode(t *testing.T, sql string, sinks []string, tables ...string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	config, store := DefaultConfig(), table.NewStore()
	config.Connectors, config.Operators, config.AllowPaths = registry(t), burstsRegistry(t), []string{dir}
	c, err := newCatalog(&config, store)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.Compile(sql, c, plan.Options{Set: sinkPaths(t, dir, sinks)})
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{}
	const incarnation = 7
	read := func() error { // the engine takes its tables with it
		for _, name := range tables {
			i := slices.IndexFunc(p.Stages, func(st *plan.Stage) bool {
				return slices.ContainsFunc(st.Ops, func(op *plan.Op) bool { return op.Sink != nil && p.Tables[op.Sink.Table].Name == name })
			})
			all := topology.Range{To: topology.KeyGroup(p.Stages[i].Groups)}
			response, err := store.Read(t.Context(), table.Request{Query: topology.QueryID{Incarnation: incarnation, Generation: 1}, Table: name, Range: all})
			if err != nil {
				return err
			}
			for _, row := range response.Rows {
				shown[tableKey(name)] += string(row.Values) + "\n"
			}
		}
		return nil
	}
	if _, err := engine.Run(t.Context(), p, engine.Options{Connectors: c.connectors, Operators: c.operators, Incarnation: incarnation, Reached: read}); err != nil {
		t.Fatal(err)
	}
	maps.Copy(shown, sinkFiles(t, dir, sinks))
	for _, name := range tables {
		if shown[tableKey(name)] == "" {
			t.Fatalf("table %s is empty", name)
		}
	}
	if len(shown) == len(tables) {
		t.Fatal("the query gives no files")
	}
	return shown
}

func tableKey(name string) string { return "table " + name }

// shown is what the sinks of query q show: files, and whole tables by key, as one peer or another reads them.
func (w *trial) shown(sinks []string, tables ...string) map[string]string {
	w.t.Helper()
	shown := sinkFiles(w.t, w.dir, sinks)
	for _, name := range tables {
		read, err := w.person().ReadTable(w.t.Context(), client.TableReadRequest{Query: "q", Table: name, Limit: client.MaxTableRows})
		if err != nil {
			w.t.Errorf("reading table %s: %v", name, err)
			continue
		}
		rows := ""
		for _, row := range read.Rows {
			rows += string(row) + "\n"
		}
		shown[tableKey(name)] = rows
	}
	return shown
}

// sameBytes compares what a query shows with what it shows on one node.
func sameBytes(t *testing.T, got, want map[string]string) {
	t.Helper()
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Errorf("there are %v, one node gives %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		g, w := got[name], want[name]
		if g == w {
			continue
		}
		t.Errorf("%s differs: %d bytes, one node gives %d", name, len(g), len(w))
		theirs, ours := strings.Split(g, "\n"), strings.Split(w, "\n")
		for i := range min(len(theirs), len(ours)) {
			if theirs[i] != ours[i] {
				t.Errorf("its line %d is %q, on one node %q", i+1, theirs[i], ours[i])
				break
			}
		}
	}
}
