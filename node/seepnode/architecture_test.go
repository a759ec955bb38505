package seepnode

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// modulePath is this module's.
const modulePath = "github.com/seepnode/seepnode"

// layer says what the packages at and below a directory may import of ours. A directory in may stands for itself and all below it,
// one that ends in "!" for itself alone. Of several layers that hold a package the longest directory counts.
type layer struct {
	dir string
	may []string
}

// layers are the design's: node uses the rest, backup uses dataplane, dataplane and raftfsm know nothing of the others but topology.
var layers = []layer{
	{"raftfsm/topology", nil},
	{"raftfsm", []string{"raftfsm"}},
	{"dataplane/batch", nil},
	{"dataplane", []string{"dataplane", "raftfsm/topology"}},
	{"backup/state", []string{"backup/state", "dataplane/batch", "raftfsm/topology"}},
	{"backup", []string{"backup", "dataplane", "raftfsm/topology"}},
	{"autoscale", []string{"autoscale", "raftfsm/topology"}},
	{"node/operator", []string{"node/operator", "backup/state", "dataplane/batch"}},
	{"node/connector", []string{"node/connector", "node/query/expr", "node/query/spelling", "node/query/zone", "dataplane/batch", "raftfsm/topology"}},
	{"node/query/ast", []string{"node/query/ast", "node/query/spelling", "dataplane/batch"}},
	{"node/query/spelling", nil},
	{"node/query/zone", nil},
	{"node/query/expr", []string{"node/query/ast", "node/query/expr", "node/query/spelling", "node/query/zone", "dataplane/batch", "raftfsm/topology"}},
	// plan sees operators and connectors through a Catalog: their SDKs and the names of formats, no connector.
	{"node/query", []string{"node/query", "node/operator", "node/connector!", "node/connector/format!", "dataplane/batch", "raftfsm/topology"}},
	{"node/relational", []string{"node/relational", "node/query", "node/operator", "backup/state", "dataplane/batch", "raftfsm/topology"}},
	{"node/engine", []string{"node/engine", "node/relational", "node/query", "node/operator", "node/connector", "node/tail", "backup", "dataplane", "raftfsm/topology"}},
	{"node/tail", []string{"node/tail", "node/connector", "dataplane/batch", "raftfsm/topology"}},
	{"node/table", []string{"node/table", "node/connector", "node/tail", "node/query/ast", "node/query/expr", "backup", "dataplane", "raftfsm/topology"}},
	{"node/coordinator", []string{"node/coordinator", "autoscale", "raftfsm"}},
	{"node/api", []string{"node/api", "raftfsm/topology"}},
	{"node/api/client", []string{"node/api/client", "raftfsm/topology"}},
	{"node/agent/discovery", []string{"autoscale/provider/ec2"}},
	{"node/agent/port", []string{"node/agent/port", "dataplane/transport"}},
	{"node/agent/gossip", []string{"node/agent/gossip", "node/agent/port", "raftfsm/topology"}},
	{"node/agent/peering", []string{"node/agent/peering", "node/agent/port", "dataplane", "raftfsm/topology"}},
	{"node/cmd", []string{"node/seepnode"}},
	{"node/example", []string{"node/seepnode", "node/operator", "backup/state", "dataplane/batch"}},
}

// never are packages that some others must not reach by any path.
var never = []struct{ from, to string }{
	{"node/query", "node/engine"}, {"node/query", "node/relational"},
	{"node/operator", "node/engine"}, {"node/operator", "node/query"},
	{"node/connector", "node/engine"}, {"node/connector", "node/query/plan"}, {"node/connector", "node/relational"},
	{"node/relational", "node/engine"}, {"node/relational", "node/connector/filesystem"},
	{"node/api/client", "node/engine"}, {"node/api/client", "backup"}, {"node/api/client", "dataplane"},
	{"node/engine", "node/seepnode"}, {"node/engine", "node/agent"}, {"node/engine", "node/api"}, {"node/engine", "node/coordinator"},
	{"backup", "node"}, {"dataplane", "backup"}, {"dataplane", "node"}, {"raftfsm", "dataplane"}, {"raftfsm", "node"},
}

// topLevel is all that the root may hold, beside what .gitignore leaves out.
var topLevel = []string{
	".ci", ".git", ".gitignore", "LICENSE", "Makefile", "README.md", "go.mod", "go.sum",
	"autoscale", "backup", "dataplane", "node", "raftfsm", "scripts",
}

// onlyIn are modules that stay inside one directory.
var onlyIn = map[string]string{"github.com/urfave/cli": "node/seepnode"}

// source is a package as its files say it.
type source struct {
	dir     string // from the root, with slashes
	imports map[string]string
	hasDoc  bool // doc.go is there
	isMain  bool
}

// readSources parses the imports of all packages, tests left out: what a test uses is in no binary.
func readSources(t *testing.T, root string) map[string]*source {
	t.Helper()
	sources := map[string]*source{}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := e.Name()
		if e.IsDir() {
			if p != root && (name[0] == '.' || name[0] == '_' || name == "testdata" || name == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(p))
		if err != nil {
			return err
		}
		dir := filepath.ToSlash(rel)
		s := sources[dir]
		if s == nil {
			s = &source{dir: dir, imports: map[string]string{}}
			sources[dir] = s
		}
		f, err := parser.ParseFile(token.NewFileSet(), p, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		s.isMain = s.isMain || f.Name.Name == "main"
		s.hasDoc = s.hasDoc || name == "doc.go"
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			s.imports[imported] = path.Join(dir, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}

// ours is the directory of one of our packages.
func ours(imported string) (dir string, ok bool) { return strings.CutPrefix(imported, modulePath+"/") }

func within(dir, above string) bool { return dir == above || strings.HasPrefix(dir, above+"/") }

func layerOf(dir string) *layer {
	var best *layer
	for i := range layers {
		if within(dir, layers[i].dir) && (best == nil || len(layers[i].dir) > len(best.dir)) {
			best = &layers[i]
		}
	}
	return best
}

func (l *layer) allows(dir string) bool {
	return slices.ContainsFunc(l.may, func(m string) bool {
		alone, exact := strings.CutSuffix(m, "!")
		return exact && dir == alone || !exact && within(dir, m)
	})
}

func TestImportsPointDown(t *testing.T) {
	sources := readSources(t, "../..")
	for _, want := range []string{"dataplane/batch", "raftfsm/topology", "node/engine", "node/seepnode", "node/cmd/seepnode"} {
		if sources[want] == nil {
			t.Fatalf("package %s was not found: the test looks in the wrong place", want)
		}
	}
	for _, s := range sources {
		l := layerOf(s.dir)
		for imported, file := range s.imports {
			if dir, ok := ours(imported); ok && l != nil && !l.allows(dir) {
				t.Errorf("%s imports %s; packages at %s may import of ours only %q", file, dir, l.dir, l.may)
			}
			for module, only := range onlyIn {
				if within(imported, module) && !within(s.dir, only) {
					t.Errorf("%s imports %s, which only %s may", file, imported, only)
				}
			}
			if dir, ok := ours(imported); ok && within(dir, "node/seepnode") && l == nil && !within(s.dir, "node/seepnode") {
				t.Errorf("%s imports the command line", file)
			}
		}
	}
	for _, rule := range never {
		for _, s := range sources {
			if within(s.dir, rule.from) {
				if chain := reach(sources, s.dir, rule.to, map[string]bool{}); chain != nil {
					t.Errorf("%s must not know %s, but: %s", s.dir, rule.to, strings.Join(chain, " -> "))
				}
			}
		}
	}
}

// reach is a chain of imports from a package to one at or below to; nil without.
func reach(sources map[string]*source, from, to string, seen map[string]bool) []string {
	if within(from, to) {
		return []string{from}
	}
	s := sources[from]
	if s == nil || seen[from] {
		return nil
	}
	seen[from] = true
	for imported := range s.imports {
		if dir, ok := ours(imported); ok {
			if chain := reach(sources, dir, to, seen); chain != nil {
				return append([]string{from}, chain...)
			}
		}
	}
	return nil
}

func TestTopLevelHoldsOnlyTheDesignsNames(t *testing.T) {
	entries, err := os.ReadDir("../..")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../.gitignore")
	if err != nil {
		t.Fatal(err)
	}
	ignored := strings.Fields(string(text))
	for _, e := range entries {
		name := e.Name()
		left := slices.ContainsFunc(ignored, func(pattern string) bool {
			ok, err := path.Match(strings.Trim(pattern, "/"), name)
			return ok && err == nil
		})
		if !left && !slices.Contains(topLevel, name) {
			t.Errorf("%s is in the root, which holds only %q", name, topLevel)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for _, s := range readSources(t, "../..") {
		if !s.hasDoc && !within(s.dir, "node/cmd") {
			t.Errorf("%s has no doc.go", s.dir)
		}
	}
}
