package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/node/connector/print"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// catalog is what the tests' queries may use.
type catalog struct {
	connectors *connector.Registry
	operators  *operator.Registry
}

func newCatalog(t testing.TB, ops ...*operator.Definition) *catalog {
	t.Helper()
	c := &catalog{&connector.Registry{}, &operator.Registry{}}
	for _, d := range []*connector.Definition{blackhole.Definition(), datagen.Definition(), filesystem.Definition(), print.Definition()} {
		if err := c.connectors.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range ops {
		if err := c.operators.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *catalog) Connector(name string) (*connector.Definition, bool) {
	return c.connectors.Lookup(name)
}
func (c *catalog) Connectors() []string { return c.connectors.Names() }
func (c *catalog) Operator(name string) (*operator.Definition, bool) {
	return c.operators.Lookup(name)
}
func (c *catalog) Operators() []string { return c.operators.Names() }

func (c *catalog) compile(t testing.TB, sql string, set map[string]string) *plan.Plan {
	t.Helper()
	p, err := plan.Compile(sql, c, plan.Options{Set: set})
	if err != nil {
		t.Fatalf("%v\n%s", err, sql)
	}
	return p
}

// variant is a way to run a query that must not show in its output.
type variant struct {
	nodes, workers, batchRows int
	forkRows                  int64
	memory, paranoid, tiny    bool
	uneven                    uint64 // seed of a random layout; 0: even
}

func (v variant) String() string {
	return fmt.Sprintf("nodes=%d,workers=%d,batch=%d,fork=%d,memory=%v,paranoid=%v,tiny=%v,uneven=%d",
		v.nodes, v.workers, v.batchRows, v.forkRows, v.memory, v.paranoid, v.tiny, v.uneven)
}

func (v variant) options(c *catalog) engine.Options {
	o := engine.Options{Connectors: c.connectors, Operators: c.operators, Nodes: v.nodes, Workers: v.workers,
		Paranoid: v.paranoid || os.Getenv("SEEPNODE_PARANOID") == "1", // make test-paranoid
		Limits:   engine.DefaultLimits(), Incarnation: 7, KeepSeals: true}
	o.Limits.BatchRows, o.Limits.ForkRows = v.batchRows, v.forkRows
	if v.memory {
		m := transport.NewMemory(transport.Options{})
		o.Transport = func(n topology.NodeID) transport.Transport { return m.Node(string(n)) }
	}
	if v.tiny {
		o.Limits.Log = dataplane.Limits{Bytes: 1, Epochs: 1}
		o.Limits.GroupBytes = 1
	}
	if v.uneven != 0 {
		o.Layout = unevenLayout(v.uneven)
	}
	return o
}

// unevenLayout cuts every stage into random ranges on random nodes, several on one node too.
func unevenLayout(seed uint64) func(*plan.Stage, int) []topology.Partition {
	return func(s *plan.Stage, nodes int) []topology.Partition {
		r := rand.New(rand.NewPCG(seed, uint64(s.ID)))
		cuts := []int{0, s.Groups}
		for range r.IntN(2*nodes + 1) {
			cuts = append(cuts, r.IntN(s.Groups+1))
		}
		sort.Ints(cuts)
		var out []topology.Partition
		for i := 1; i < len(cuts); i++ {
			if cuts[i] > cuts[i-1] {
				out = append(out, topology.Partition{Stage: s.ID, Node: engine.NodeName(r.IntN(nodes)), Boot: 1,
					Range: topology.Range{From: topology.KeyGroup(cuts[i-1]), To: topology.KeyGroup(cuts[i])}})
			}
		}
		return out
	}
}

// variants are all the ways an identity test runs a query beside the first, plain one.
func variants(short bool) []variant {
	plain := variant{nodes: 1, workers: 1, batchRows: 16 << 10, forkRows: 1 << 40}
	list := []variant{plain}
	add := func(f func(v *variant)) {
		v := plain
		f(&v)
		list = append(list, v)
	}
	add(func(v *variant) { v.workers, v.forkRows = 8, 1 })
	add(func(v *variant) { v.paranoid = true })
	add(func(v *variant) { v.nodes, v.workers, v.forkRows, v.batchRows = 5, 8, 1, 7 })
	add(func(v *variant) { v.nodes, v.tiny, v.memory = 2, true, true })
	if short {
		return list
	}
	add(func(v *variant) { v.batchRows = 1 })
	add(func(v *variant) { v.tiny = true })
	add(func(v *variant) { v.nodes = 2 })
	add(func(v *variant) { v.nodes, v.memory = 5, true })
	add(func(v *variant) { v.nodes, v.paranoid, v.workers, v.forkRows = 2, true, 8, 1 })
	add(func(v *variant) { v.nodes, v.tiny, v.batchRows = 5, true, 3 })
	for seed := range uint64(6) {
		add(func(v *variant) {
			v.nodes, v.uneven, v.memory, v.workers, v.forkRows = 1+int(seed), seed+1, seed%2 == 0, 1+int(seed), 1<<(4*seed)
		})
	}
	return list
}

// outcome is what a run left: the bytes of every sink file by name, and the chains.
type outcome struct {
	files    map[string]string
	result   *engine.Result
	merges   int   // of neighbours on one node, in a run under a schedule
	readBack int64 // entries that came from disk again
}

// runQuery compiles sql with the option 'path' of every table named in sinks set to a folder of its own, and runs it.
func runQuery(t testing.TB, c *catalog, sql string, o engine.Options, sinks ...string) (*plan.Plan, outcome) {
	t.Helper()
	set := map[string]string{}
	dirs := map[string]string{}
	for _, s := range sinks {
		dirs[s] = t.TempDir()
		set[s+".path"] = dirs[s]
	}
	p := c.compile(t, sql, set)
	res, err := engine.Run(context.Background(), p, o)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out := outcome{files: map[string]string{}, result: res}
	for _, s := range sinks {
		files, err := filepath.Glob(filepath.Join(dirs[s], "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if name := filepath.Base(f); !strings.HasPrefix(name, "_") {
				out.files[s+"/"+name] = string(b)
			}
		}
	}
	return p, out
}

// lines are all lines of a sink's files, in the order of the files' names.
func (o outcome) lines(sink string) []string {
	var names []string
	for n := range o.files {
		if strings.HasPrefix(n, sink+"/") {
			names = append(names, n)
		}
	}
	sort.Strings(names)
	var b bytes.Buffer
	for _, n := range names {
		b.WriteString(o.files[n])
	}
	s := strings.TrimSuffix(b.String(), "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func (o outcome) sameAs(t *testing.T, p *plan.Plan, first outcome) {
	t.Helper()
	if m := engine.CompareChains(p, first.result.Chains, o.result.Chains); m != nil {
		t.Errorf("%v", m)
	}
	if len(first.files) != len(o.files) {
		t.Errorf("%d files, the first run gave %d: %v and %v", len(o.files), len(first.files), slices.Sorted(maps.Keys(o.files)), slices.Sorted(maps.Keys(first.files)))
	}
	for name, want := range first.files {
		if got := o.files[name]; got != want {
			t.Errorf("file %s differs: %d bytes, the first run gave %d; first difference at byte %d", name, len(got), len(want), firstDifference(got, want))
		}
	}
}

func firstDifference(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
