package verify_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/node/verify"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// query writes files, a table and a blackhole, all of one keyed count; its seals are of rows of a file and of generated ones.
const query = `
SET 'seal' = 'rows:20';
SET 'checkpoint.epochs' = '4';
CREATE TABLE words (word STRING) WITH ('connector'='filesystem','path'='-','format'='raw');
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='3000','splits'='4','fields.k.min'='0','fields.k.max'='60','fields.v.kind'='sequence','fields.v.start'='0','fields.v.end'='2999');
CREATE TABLE out (k BIGINT, v BIGINT, r BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv','sink.lanes'='2','sink.rolling.epochs'='2');
CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='table');
CREATE TABLE gone (word STRING, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, v, RAND_INTEGER(100) FROM src WHERE MOD(v, 3) <> 0;
INSERT INTO counts SELECT k, COUNT(*) FROM src GROUP BY k;
INSERT INTO gone SELECT word, COUNT(*) FROM words GROUP BY word`

// world is a query that has run, with the checkpoints that it made.
type world struct {
	t          *testing.T
	connectors *connector.Registry
	operators  *operator.Registry
	store      *table.Store
	plan       *plan.Plan
	words, out string

	mu      sync.Mutex
	deltas  [][][]backup.GroupDelta // by stage, key group; ascending
	epochs  []topology.Epoch        // checkpoints that were saved
	tables  map[string]*verify.Rows
	rows    map[string][]table.Row // the same, as they were read
	through topology.Epoch
}

func (w *world) Connector(name string) (*connector.Definition, bool) {
	return w.connectors.Lookup(name)
}
func (w *world) Connectors() []string                              { return w.connectors.Names() }
func (w *world) Operator(name string) (*operator.Definition, bool) { return w.operators.Lookup(name) }
func (w *world) Operators() []string                               { return w.operators.Names() }

// Save keeps a checkpoint: it is all vaults of the world.
func (w *world) Save(c backup.Checkpoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range c.Groups {
		g.To, g.Data = c.Epoch, slices.Clone(g.Data)
		w.deltas[c.Stage][g.Group] = append(w.deltas[c.Stage][g.Group], g)
	}
	if !slices.Contains(w.epochs, c.Epoch) {
		w.epochs = append(w.epochs, c.Epoch)
	}
}

// newWorld runs a query on three nodes.
func newWorld(t *testing.T, sql string, operators ...*operator.Definition) *world {
	t.Helper()
	w := &world{t: t, connectors: &connector.Registry{}, operators: &operator.Registry{}, store: table.NewStore(), words: filepath.Join(t.TempDir(), "words"),
		out: t.TempDir(), tables: map[string]*verify.Rows{}, rows: map[string][]table.Row{}}
	var text strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		text.WriteString([]string{"the", "a", "fox", "dog", "jumps"}[r.IntN(5)] + "\n")
	}
	if err := os.WriteFile(w.words, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*connector.Definition{blackhole.Definition(), datagen.Definition(), filesystem.Definition(), w.store.Definition()} {
		if err := w.connectors.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range operators {
		if err := w.operators.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]string{"words.path": w.words, "out.path": w.out}
	var err error
	if w.plan, err = plan.Compile(sql, w, plan.Options{Set: all}); err != nil {
		t.Fatal(err)
	}
	for _, s := range w.plan.Stages {
		w.deltas = append(w.deltas, make([][]backup.GroupDelta, s.Groups))
	}
	_, err = engine.Run(context.Background(), w.plan, engine.Options{Nodes: 3, Connectors: w.connectors, Operators: w.operators, Incarnation: 7, Backup: w, Acknowledged: true,
		Reached: w.readTables})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(w.epochs)
	w.through = slices.Max(w.epochs)
	return w
}

// readTables reads the tables at the end, as a node would.
func (w *world) readTables() error {
	for _, st := range w.plan.Stages {
		for _, op := range st.Ops {
			if op.Sink == nil || w.plan.Tables[op.Sink.Table].Connector != "table" {
				continue
			}
			name := w.plan.Tables[op.Sink.Table].Name
			rows, err := verify.ReadTable(st.Groups, func(r topology.Range) ([]table.Row, error) {
				w.mu.Lock() // what was emitted last may still be saved
				epoch := slices.Max(w.epochs)
				w.mu.Unlock()
				response, err := w.store.Read(context.Background(), table.Request{Query: topology.QueryID{Incarnation: 7, Generation: 1}, Table: name, Range: r, Epoch: epoch})
				w.rows[name] = append(w.rows[name], response.Rows...)
				return response.Rows, err
			})
			if err != nil {
				return err
			}
			w.tables[name] = rows
		}
	}
	return nil
}

// past is what vaults tell that hold the deltas of each key group from number from on, up to a checkpoint.
func (w *world) past(through topology.Epoch) *verify.Past {
	w.t.Helper()
	p := verify.NewPast(w.plan, through)
	for s := range w.deltas {
		for _, deltas := range w.deltas[s] {
			var some []backup.GroupDelta
			for _, d := range deltas {
				if d.To <= through {
					some = append(some, d)
				}
			}
			if err := p.Add(topology.StageID(s), some); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	return p
}

func (w *world) config(through topology.Epoch) verify.Config {
	c := verify.Config{Plan: w.plan, Incarnation: 7, Past: w.past(through), Connectors: w.connectors, Operators: w.operators}
	if through == w.through {
		c.Tables = w.tables
	}
	return c
}

func (w *world) verify(through topology.Epoch) *verify.Result {
	w.t.Helper()
	r, err := verify.Run(context.Background(), w.config(through))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestARunThatIsRepeatedFromItsSealsIsTheSameAtEveryCheckpoint(t *testing.T) {
	w := newWorld(t, query)
	for _, c := range w.epochs {
		complete := true
		for s := range w.deltas {
			for _, deltas := range w.deltas[s] {
				i := slices.IndexFunc(deltas, func(d backup.GroupDelta) bool { return d.To >= c })
				complete = complete && (i >= 0 && deltas[i].To == c || i < 0)
			}
		}
		if !complete {
			continue
		}
		r := w.verify(c)
		if !r.Equal() {
			t.Fatalf("at checkpoint %d: %v", c, r.Differences[0].String())
		}
		if r.From != 0 || r.Through != c || r.Chains == 0 || r.Files == 0 || r.FileBytes == 0 || r.Rows == 0 || r.Seals == 0 {
			t.Errorf("at checkpoint %d was compared: %+v", c, r)
		}
		if c == w.through && (r.Tables != 1 || r.TableRows != 61 || r.Rows != 5000) {
			t.Errorf("at the end was compared: %+v", r)
		}
		if !slices.Equal(r.NotCompared, []string{"gone"}) && c == w.through {
			t.Errorf("not compared: %v", r.NotCompared)
		}
	}
}

func TestVerifyWritesNothing(t *testing.T) {
	w := newWorld(t, query)
	before := listing(t, w.out)
	w.verify(w.through)
	if after := listing(t, w.out); after != before {
		t.Errorf("the sink's directory held\n%s\nand holds\n%s", before, after)
	}
}

func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Name() + " " + info.ModTime().String() + "\n")
	}
	return b.String()
}

func TestAByteChangedInASinkFileIsFoundWithItsPlace(t *testing.T) {
	w := newWorld(t, query)
	file := sinkFiles(t, w.out)[3]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := len(b) / 2
	b[at] ^= 1
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.verify(w.through)
	if len(r.Differences) != 1 {
		t.Fatalf("%d differences: %v", len(r.Differences), r.Differences)
	}
	if d := r.Differences[0]; d.Kind != verify.KindFile || d.File != file || d.Offset != int64(at) || d.Table != "out" {
		t.Errorf("byte %d of %s was changed, found was %+v", at, file, d)
	}
}

func TestFilesThatAreMissingCutLongerOrTooManyAreFound(t *testing.T) {
	w := newWorld(t, query)
	files := sinkFiles(t, w.out)
	held := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		held[f] = b
	}
	for name, change := range map[string]func() (file string, err error){
		"missing": func() (string, error) { return files[1], os.Remove(files[1]) },
		"cut":     func() (string, error) { return files[2], os.WriteFile(files[2], held[files[2]][:10], 0o644) },
		"longer": func() (string, error) {
			return files[0], os.WriteFile(files[0], append(slices.Clone(held[files[0]]), "1,2,3\n"...), 0o644)
		},
	} {
		t.Run(name, func(t *testing.T) {
			file, err := change()
			if err != nil {
				t.Fatal(err)
			}
			r := w.verify(w.through)
			if len(r.Differences) != 1 || r.Differences[0].Kind != verify.KindFile || r.Differences[0].File != file {
				t.Errorf("%s was changed, found was %v", file, r.Differences)
			}
			if err := os.WriteFile(file, held[file], 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestAFileOfEpochsWithoutRowsIsFound(t *testing.T) {
	sql := strings.Replace(query, "WHERE MOD(v, 3) <> 0", "WHERE v < 700", 1)
	w := newWorld(t, sql)
	some := filepath.Base(sinkFiles(t, w.out)[0])
	extra := filepath.Join(w.out, strings.Replace(some, "000000000001-000000000002", "000000000033-000000000034", 1))
	if err := os.WriteFile(extra, []byte("1,2,3\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := w.verify(w.through)
	if len(r.Differences) != 1 || r.Differences[0].File != extra {
		t.Errorf("%s was put there, found was %v", extra, r.Differences)
	}
}

func sinkFiles(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "[^_]*"))
	if err != nil || len(all) < 1 {
		t.Fatalf("%d files, %v", len(all), err)
	}
	return all
}

func TestAChangedRowOfATableIsFoundWithItsKey(t *testing.T) {
	w := newWorld(t, query)
	for name, change := range map[string]struct {
		rows func([]table.Row) []table.Row
		key  string
		text string
	}{
		"changed": {func(rows []table.Row) []table.Row {
			rows[7].Values = []byte(strings.Replace(string(rows[7].Values), `"n":`, `"n":1`, 1))
			return rows
		}, "same", "the run that was repeated"},
		"removed": {func(rows []table.Row) []table.Row { return slices.Delete(rows, 7, 8) }, "same", "the table has no such row"},
		"added": {func(rows []table.Row) []table.Row {
			return slices.Insert(rows, 7, table.Row{Values: []byte(`{"k":777,"n":1}`)})
		}, `{"k": 777}`, "has no such row"},
		"added behind all": {func(rows []table.Row) []table.Row {
			return append(rows, table.Row{Values: []byte(`{"k":778,"n":1}`)})
		}, `{"k": 778}`, "has no such row"},
	} {
		t.Run(name, func(t *testing.T) {
			c := w.config(w.through)
			key := change.key
			rows, err := verify.ReadTable(256, func(topology.Range) ([]table.Row, error) {
				var list []table.Row
				for _, r := range w.rows["counts"] {
					list = append(list, table.Row{Values: slices.Clone(r.Values)})
				}
				if key == "same" {
					key = strings.ReplaceAll(strings.Split(string(list[7].Values), ",")[0], ":", ": ") + "}"
				}
				return change.rows(list), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			c.Tables = map[string]*verify.Rows{"counts": rows}
			r, err := verify.Run(context.Background(), c)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Differences) != 1 || r.Differences[0].Kind != verify.KindTable || r.Differences[0].Key != key || !strings.Contains(r.Differences[0].Text, change.text) {
				t.Errorf("the row %s was %s, found was %v", key, name, r.Differences)
			}
		})
	}
}

func TestAChangedChainIsFoundWithStageKeyGroupAndCheckpoint(t *testing.T) {
	w := newWorld(t, query)
	// The chains of a delta stand behind its version, flags and watermark: the last byte of the first chain is changed in one of them.
	stage := topology.StageID(slices.IndexFunc(w.plan.Stages, func(s *plan.Stage) bool {
		return slices.ContainsFunc(s.Ops, func(o *plan.Op) bool { return o.Sink != nil && w.plan.Tables[o.Sink.Table].Name == "counts" })
	}))
	for g, deltas := range w.deltas[stage] {
		i := slices.IndexFunc(deltas, func(d backup.GroupDelta) bool {
			saved, err := engine.ReadSavedGroup(d.Data, false, stage, d.Group)
			return err == nil && !saved.Unchanged && saved.Chains[0] != 0
		})
		if i < 0 {
			continue
		}
		d := &deltas[i]
		for at := range d.Data {
			changed := slices.Clone(d.Data)
			changed[at] ^= 0x40
			saved, err := engine.ReadSavedGroup(changed, false, stage, d.Group)
			was, _ := engine.ReadSavedGroup(d.Data, false, stage, d.Group)
			if err == nil && len(saved.Chains) == len(was.Chains) && saved.Chains[0] != was.Chains[0] && !saved.Unchanged {
				d.Data = changed
				break
			}
		}
		r := w.verify(w.through)
		if len(r.Differences) != 1 {
			t.Fatalf("%d differences: %v", len(r.Differences), r.Differences)
		}
		if x := r.Differences[0]; x.Kind != verify.KindChain || x.Stage != stage || int(x.KeyGroup) != g || x.Epoch != d.To || x.After >= x.Epoch {
			t.Errorf("the chain of stage %d, key group %d at %d was changed, found was %+v", stage, g, d.To, x)
		}
		return
	}
	t.Fatal("no chain to change")
}

func TestAnOperatorThatIsNotDeterministicIsFound(t *testing.T) {
	w := newWorld(t, query+`;
CREATE TABLE odd (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO odd SELECT k, n FROM drifting(TABLE src PARTITION BY k)`, drifting())
	r := w.verify(w.through)
	if r.Equal() {
		t.Fatal("the run that was repeated is said to be equal")
	}
	if d := r.Differences[0]; d.Kind != verify.KindChain || !strings.HasPrefix(d.Operator, "drifting") || d.After >= d.Epoch {
		t.Errorf("found was %+v: %v", d, d.String())
	}
}

// drifting counts over all key groups and runs, as no operator may.
func drifting() *operator.Definition {
	var calls atomic.Int64
	return &operator.Definition{Name: "drifting", Bind: func(operator.Call) (operator.Binding, error) {
		return operator.Binding{Output: batch.NewSchema(batch.Field{Name: "n", Type: batch.TypeBigInt}), New: func() operator.Operator { return &driftingOperator{&calls} }}, nil
	}}
}

type driftingOperator struct{ calls *atomic.Int64 }

func (*driftingOperator) Open(operator.Setup) error { return nil }

func (o *driftingOperator) Row(ctx *operator.Context, _ batch.Row) error {
	ctx.Out.Int64(o.calls.Add(1)).End()
	return nil
}

func TestSourcesThatHaveChangedAreToldWithTheSplit(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"changed": func(path string) error {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b[100] ^= 1
			return os.WriteFile(path, b, 0o644)
		},
		"cut":     func(path string) error { return os.Truncate(path, 1000) },
		"removed": os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, query)
			if err := change(w.words); err != nil {
				t.Fatal(err)
			}
			_, err := verify.Run(context.Background(), w.config(w.through))
			var source *engine.SourceError
			if !errors.As(err, &source) || source.Table != "words" || !strings.Contains(source.Split, w.words) {
				t.Errorf("the file was %s, and the error is %v", name, err)
			}
		})
	}
}

func TestARunThatTakesTooMuchMemoryIsEnded(t *testing.T) {
	w := newWorld(t, query)
	c := w.config(w.through)
	c.MemoryBytes = 1000
	_, err := verify.Run(context.Background(), c)
	var memory *verify.MemoryError
	if !errors.As(err, &memory) {
		t.Errorf("the error is %v", err)
	}
}

func TestAVerificationCanBeCancelled(t *testing.T) {
	w := newWorld(t, query)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := verify.Run(ctx, w.config(w.through)); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
