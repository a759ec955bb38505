package table

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testGroups = 8

var (
	testSchema = batch.NewSchema(batch.Field{Name: "v", Type: batch.TypeString}, batch.Field{Name: "k", Type: batch.TypeBigInt.AsNotNull()},
		batch.Field{Name: "n", Type: batch.TypeInt})
	testQuery = topology.QueryID{Incarnation: 7}
	testAll   = topology.Range{To: testGroups}
)

func testConfig() connector.Config {
	return connector.Config{Table: "t", Schema: testSchema, Primary: []int{1}, Query: testQuery}
}

func newSink(t testing.TB, s *Store) connector.RangeSink {
	t.Helper()
	made, err := s.Definition().NewSink(testConfig())
	if err != nil {
		t.Fatal(err)
	}
	return made.(connector.RangeSink)
}

func openLane(t testing.TB, s *Store, r topology.Range) connector.Keeper {
	t.Helper()
	l, err := newSink(t, s).OpenRange(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return l.(connector.Keeper)
}

// change is one row of a stream.
type change struct {
	weight int8
	key    int64
	value  string // "" null
}

func (c change) row() string {
	value := "null"
	if c.value != "" {
		value = `"` + c.value + `"`
	}
	return fmt.Sprintf(`{"v":%s,"k":%d,"n":%d}`, value, c.key, len(c.value))
}

var groupsOf sync.Map // memory of groupOf

func groupOf(key int64) topology.KeyGroup {
	if g, ok := groupsOf.Load(key); ok {
		return g.(topology.KeyGroup)
	}
	g := groupOfKey(key)
	groupsOf.Store(key, g)
	return g
}

func groupOfKey(key int64) topology.KeyGroup {
	b := rowsOf([]change{{1, key, ""}})
	return topology.GroupOf(batch.HashKey(batch.AppendKey(nil, b, []int{1}, 0)), testGroups)
}

func rowsOf(changes []change) *batch.Batch {
	b := batch.New(testSchema)
	for _, c := range changes {
		if c.value == "" {
			b.Cols[0].AppendNull()
		} else {
			b.Cols[0].AppendString(c.value)
		}
		b.Cols[1].AppendInt64(c.key)
		b.Cols[2].AppendInt64(int64(len(c.value)))
		b.EndRow(c.weight)
	}
	return b
}

// views are the changes of a range by key group, cut into several views here and there.
func views(changes []change, r topology.Range, random *rand.Rand) []connector.Rows {
	var out []connector.Rows
	for g := r.From; g < r.To; g++ {
		var of []change
		for _, c := range changes {
			if groupOf(c.key) == g {
				of = append(of, c)
			}
		}
		if len(of) == 0 {
			continue
		}
		b, cut := rowsOf(of), 0
		if random != nil {
			cut = random.IntN(len(of) + 1)
		}
		out = append(out, connector.Rows{Batch: b, From: 0, To: cut, Group: g}, connector.Rows{Batch: b, From: cut, To: len(of), Group: g})
	}
	return out
}

func write(t testing.TB, l connector.Keeper, r topology.Range, epoch topology.Epoch, changes ...change) {
	t.Helper()
	if err := l.Write(epoch, epoch, views(changes, r, nil)); err != nil {
		t.Fatal(err)
	}
}

func commit(t testing.TB, l connector.Keeper, through topology.Epoch) {
	t.Helper()
	if err := l.Commit(through); err != nil {
		t.Fatal(err)
	}
}

// model is the table as Go maps: a state for each epoch.
type model struct {
	states []map[int64]string // by epoch
	rows   [][]change
}

func newModel() *model { return &model{states: []map[int64]string{{}}, rows: [][]change{nil}} }

func (m *model) last() topology.Epoch { return topology.Epoch(len(m.states) - 1) }

// write applies an epoch: net weights of rows, deletions before inserts, of several inserts of a key the last.
func (m *model) write(rows []change) {
	state := maps.Clone(m.states[m.last()])
	weights := map[string]int{}
	for _, c := range rows {
		weights[c.row()] += int(c.weight)
	}
	for _, c := range rows {
		if weights[c.row()] < 0 {
			delete(state, c.key)
		}
	}
	for _, c := range rows {
		if c.weight > 0 && weights[c.row()] > 0 {
			state[c.key] = c.row()
		}
	}
	m.states, m.rows = append(m.states, state), append(m.rows, rows)
}

// at is what a scan of a range shows at an epoch.
func (m *model) at(e topology.Epoch, r topology.Range) string {
	var b strings.Builder
	state := m.states[min(e, m.last())]
	for _, k := range slices.Sorted(maps.Keys(state)) {
		if r.Contains(groupOf(k)) {
			b.WriteString(state[k] + "\n")
		}
	}
	return b.String()
}

// random makes the rows of an epoch: consistent retractions and inserts, sometimes out of order, sometimes cancelling each other.
func (m *model) random(random *rand.Rand, keys int64) []change {
	var rows []change
	state := maps.Clone(m.states[m.last()])
	for range random.IntN(20) {
		key := random.Int64N(keys)
		value := strings.Repeat("x", random.IntN(4))
		fresh := change{1, key, value}
		before, had := state[key]
		if had {
			old := change{-1, key, ""}
			for old.row() != before {
				old.value += "x"
			}
			rows = append(rows, old)
			delete(state, key)
			if random.IntN(3) == 0 {
				continue
			}
		}
		rows = append(rows, fresh)
		state[key] = fresh.row()
	}
	if random.IntN(4) == 0 {
		random.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
	if random.IntN(8) == 0 { // an upsert without a retraction
		rows = append(rows, change{1, random.Int64N(keys), strings.Repeat("x", random.IntN(6))})
	}
	return rows
}

func shown(rows []Row) string {
	var b strings.Builder
	for _, r := range rows {
		b.Write(r.Values)
		b.WriteByte('\n')
	}
	return b.String()
}

func read(t testing.TB, s *Store, r topology.Range, e topology.Epoch) string {
	t.Helper()
	got, err := s.Read(context.Background(), Request{Query: testQuery, Table: "t", Range: r, Epoch: e})
	if err != nil {
		t.Fatalf("epoch %d of %v: %v", e, r, err)
	}
	if e != 0 && got.Epoch != e {
		t.Fatalf("epoch %d was asked for, %d answered", e, got.Epoch)
	}
	return shown(got.Rows)
}
