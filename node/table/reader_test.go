package table

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// cluster are some nodes' stores and who holds what.
type cluster struct {
	mu     sync.Mutex
	stores map[topology.NodeID]*Store
	parts  []Part
	down   map[topology.NodeID]bool
	asked  map[topology.NodeID]int
}

func newCluster(nodes int) *cluster {
	c := &cluster{stores: map[topology.NodeID]*Store{}, down: map[topology.NodeID]bool{}, asked: map[topology.NodeID]int{}}
	for i := range nodes {
		c.stores[nodeName(i)] = NewStore()
	}
	return c
}

func nodeName(i int) topology.NodeID { return topology.NodeID(fmt.Sprintf("n%d", i+1)) }

func (c *cluster) place(parts ...Part) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.parts = parts
}

func part(from, to int, node topology.NodeID) Part {
	return Part{topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(to)}, topology.Process{Node: node}}
}

// reader is a peer. What it asks another for passes through JSON, as it does between processes.
func (c *cluster) reader(self topology.NodeID) *Reader {
	return &Reader{
		Local: c.stores[self], Self: topology.Process{Node: self},
		Placement: func(_ topology.QueryID, table string) []Part {
			c.mu.Lock()
			defer c.mu.Unlock()
			if table != "t" {
				return nil
			}
			return c.parts
		},
		Ask: func(ctx context.Context, to topology.Process, r Request) (response Response, err error) {
			c.mu.Lock()
			c.asked[to.Node]++
			store, down := c.stores[to.Node], c.down[to.Node]
			c.mu.Unlock()
			if down {
				return response, errors.New("connection refused")
			}
			var sent Request
			if err := through(r, &sent); err != nil {
				return response, err
			}
			answer, err := store.Read(ctx, sent)
			if err != nil {
				var failure Failure
				if err := through(FailureOf(err), &failure); err != nil {
					return response, err
				}
				return response, failure.Err()
			}
			return response, through(answer, &response)
		},
	}
}

func through(from, to any) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

var scanAll = Request{Query: testQuery, Table: "t"}

func TestAReadIsTheSameCutOfAllLanesAndNeverGoesBackWhileLanesAreReplaced(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 2))
		c, m := newCluster(3), newModel()
		ranges := topology.Split(testGroups, 3)
		lanes, visible, saved := make([]connector.Keeper, 3), make([]topology.Epoch, 3), make([]topology.Epoch, 3)
		bases := make([]map[topology.KeyGroup][]byte, 3)
		var parts []Part
		for i, r := range ranges {
			lanes[i] = openLane(t, c.stores[nodeName(i)], r)
			commit(t, lanes[i], 0)
			bases[i] = map[topology.KeyGroup][]byte{}
			parts = append(parts, Part{r, topology.Process{Node: nodeName(i)}})
		}
		c.place(parts...)
		readers := []*Reader{c.reader("n1"), c.reader("n2"), c.reader("n3")}
		newest := topology.Epoch(0)
		for range 200 {
			i := random.IntN(3)
			switch random.IntN(6) {
			case 0, 1:
				m.write(m.random(random, 50))
				for k, l := range lanes {
					if err := l.Write(m.last(), m.last(), views(m.rows[m.last()], ranges[k], random)); err != nil {
						t.Fatal(err)
					}
				}
			case 2:
				visible[i] += topology.Epoch(random.Int64N(int64(m.last()-visible[i]) + 1))
				commit(t, lanes[i], visible[i])
			case 3: // a checkpoint of one lane
				visible[i], saved[i] = m.last(), m.last()
				commit(t, lanes[i], visible[i])
				for g := ranges[i].From; g < ranges[i].To; g++ {
					bases[i][g] = lanes[i].AppendDelta(nil, g, 0, saved[i])
				}
			case 4: // the lane dies and comes back elsewhere: it is committed once it has passed what was visible
				node := nodeName(random.IntN(3))
				again := openLane(t, c.stores[node], ranges[i])
				for g, base := range bases[i] {
					if err := again.Apply(g, base, saved[i]); err != nil {
						t.Fatal(err)
					}
				}
				for e := saved[i] + 1; e <= m.last(); e++ {
					if err := again.Write(e, e, views(m.rows[e], ranges[i], random)); err != nil {
						t.Fatal(err)
					}
				}
				visible[i] += topology.Epoch(random.Int64N(int64(m.last()-visible[i]) + 1))
				commit(t, again, visible[i])
				if err := lanes[i].Close(); err != nil {
					t.Fatal(err)
				}
				lanes[i] = again
				parts = append([]Part(nil), parts...)
				parts[i].Process.Node = node
				c.place(parts...)
			}
			if oldest := max(saved[0], saved[1], saved[2]); min(visible[0], visible[1], visible[2]) < oldest {
				continue // a restored lane would not know that epoch: readers wait
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			got, err := readers[random.IntN(3)].Read(ctx, scanAll)
			cancel()
			if err != nil {
				t.Fatal(seed, visible, saved, err)
			}
			if got.Epoch < newest || got.Epoch != min(visible[0], visible[1], visible[2]) {
				t.Fatalf("seed %d: epoch %d after %d; visible are %v", seed, got.Epoch, newest, visible)
			}
			newest = got.Epoch
			if rows := shown(got.Rows); rows != m.at(newest, testAll) {
				t.Fatalf("seed %d: at epoch %d\n%s\nwant\n%s", seed, newest, rows, m.at(newest, testAll))
			}
		}
	}
}

func TestAReadWaitsForWhatIsRestoredAndThenNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		c.place(part(0, 4, "n1"), part(4, testGroups, "n2"))
		one, two := openLane(t, c.stores["n1"], topology.Range{To: 4}), openLane(t, c.stores["n2"], topology.Range{From: 4, To: testGroups})
		commit(t, one, 10)
		reader := c.reader("n1")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := reader.Read(ctx, scanAll)
		unavailable, early := (*UnavailableError)(nil), (*NotVisibleError)(nil)
		if !errors.As(err, &unavailable) || unavailable.Range != (topology.Range{From: 4, To: testGroups}) || unavailable.Process.Node != "n2" || !errors.As(err, &early) {
			t.Fatal(err)
		}
		c.down["n2"] = true
		ctx, cancel = context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := reader.Read(ctx, scanAll); !errors.As(err, &unavailable) || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), "n2") {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(3 * time.Second)
			if err := two.Write(1, 12, nil); err != nil {
				t.Error(err)
			}
			commit(t, two, 12)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.down["n2"] = false
		}()
		if got, err := reader.Read(context.Background(), scanAll); err != nil || got.Epoch != 10 {
			t.Fatal(got, err)
		}
	})
}

func TestANamedEpochIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		c.place(part(0, testGroups, "n2"))
		lane := openLane(t, c.stores["n2"], testAll)
		commit(t, lane, 5)
		reader := c.reader("n1")
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		at := scanAll
		at.Epoch = 8
		_, err := reader.Read(ctx, at)
		if early := (*NotVisibleError)(nil); !errors.As(err, &early) || *early != (NotVisibleError{8, 5}) {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(time.Second)
			write(t, lane, testAll, 8, change{1, 1, "x"})
			commit(t, lane, 9)
		}()
		if got, err := reader.Read(context.Background(), at); err != nil || got.Epoch != 8 || len(got.Rows) != 1 {
			t.Fatal(got, err)
		}
		lane.Acknowledge(9)
		lane.Trim(9)
		_, err = reader.Read(context.Background(), at)
		if trimmed := (*TrimmedError)(nil); !errors.As(err, &trimmed) || *trimmed != (TrimmedError{8, 9}) {
			t.Fatal(err)
		}
	})
}

// TestAReaderThatIsToldOfAReplacementLateDoesNotGoBack: a replaced lane may live on for a while and lag behind.
func TestAReaderThatIsToldOfAReplacementLateDoesNotGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3)
		old, fresh := openLane(t, c.stores["n1"], testAll), openLane(t, c.stores["n2"], testAll)
		commit(t, old, 100)
		commit(t, fresh, 120)
		c.place(part(0, testGroups, "n2"))
		reader, other := c.reader("n3"), c.reader("n1")
		if got, err := reader.Read(context.Background(), scanAll); err != nil || got.Epoch != 120 {
			t.Fatal(got, err)
		}
		c.place(part(0, testGroups, "n1")) // as a peer sees it that lags behind the FSM
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		session := scanAll
		session.AtLeast = 120
		for _, try := range []struct {
			reader *Reader
			Request
		}{{reader, scanAll}, {other, session}} {
			if got, err := try.reader.Read(ctx, try.Request); err == nil {
				t.Fatalf("epoch %d after 120", got.Epoch)
			}
		}
		go func() {
			time.Sleep(time.Second)
			c.place(part(0, testGroups, "n2"))
		}()
		if got, err := other.Read(context.Background(), session); err != nil || got.Epoch != 120 {
			t.Fatal(got, err)
		}
	})
}

func TestEndedPartsShowEveryLaterEpoch(t *testing.T) {
	c := newCluster(2)
	c.place(part(0, 4, "n1"), part(4, testGroups, "n2"))
	one, two := openLane(t, c.stores["n1"], topology.Range{To: 4}), openLane(t, c.stores["n2"], topology.Range{From: 4, To: testGroups})
	write(t, one, topology.Range{To: 4}, 3)
	commit(t, two, 20)
	if err := one.End(); err != nil {
		t.Fatal(err)
	}
	reader := c.reader("n1")
	if got, err := reader.Read(context.Background(), scanAll); err != nil || got.Epoch != 20 || got.Ended {
		t.Fatal(got, err)
	}
	one.Trim(64)
	if err := two.End(); err != nil {
		t.Fatal(err)
	}
	if got, err := reader.Read(context.Background(), scanAll); err != nil || got.Epoch != 20 || !got.Ended {
		t.Fatal(got, err)
	}
}

func TestKeysGoWhereTheyAre(t *testing.T) {
	c := newCluster(3)
	c.place(part(0, 4, "n2"), part(4, testGroups, "n3"))
	lanes := map[topology.NodeID]connector.Keeper{}
	for _, p := range c.parts {
		l := openLane(t, c.stores[p.Process.Node], p.Range)
		lanes[p.Process.Node] = l
		var all []change
		for key := range int64(100) {
			all = append(all, change{1, key, "x"})
		}
		write(t, l, p.Range, 1, all...)
		commit(t, l, 1)
	}
	reader := c.reader("n1")
	route := NewRoute(testSchema, []int{1}, []int{1}, testGroups)
	reader.Route = func(_ topology.QueryID, _ string, key []string) (topology.KeyGroup, bool) { return route(key) }
	for key := range int64(100) {
		clear(c.asked)
		got, err := reader.Read(context.Background(), Request{Query: testQuery, Table: "t", Keys: [][]string{{fmt.Sprint(key)}}})
		if err != nil || shown(got.Rows) != (change{1, key, "x"}).row()+"\n" {
			t.Fatal(key, shown(got.Rows), err)
		}
		if c.asked["n2"]*c.asked["n3"] != 0 || c.asked["n2"]+c.asked["n3"] != 1 { // for its epoch and the row at once
			t.Fatalf("key %d: asked %v", key, c.asked)
		}
	}
	got, err := reader.Read(context.Background(), Request{Query: testQuery, Table: "t", Keys: [][]string{{"99"}, {"-5"}, {"3"}, {"99"}}})
	if err != nil || shown(got.Rows) != (change{1, 3, "x"}).row()+"\n"+(change{1, 99, "x"}).row()+"\n" {
		t.Fatal(shown(got.Rows), err)
	}
	if NewRoute(testSchema, []int{1}, []int{0}, testGroups) != nil {
		t.Fatal("a key does not tell the key group of another column")
	}
}

// TestAKeyIsReadWhileOtherPartsAreRestored: and who scans then sees at least what was read, once all parts are there.
func TestAKeyIsReadWhileOtherPartsAreRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3)
		c.place(part(0, 4, "n1"), part(4, testGroups, "n2"))
		all := []topology.Range{{To: 4}, {From: 4, To: testGroups}}
		one, two := openLane(t, c.stores["n1"], all[0]), openLane(t, c.stores["n2"], all[1])
		route := NewRoute(testSchema, []int{1}, []int{1}, testGroups)
		key := int64(0)
		for g, _ := route([]string{fmt.Sprint(key)}); !all[0].Contains(g); g, _ = route([]string{fmt.Sprint(key)}) {
			key++
		}
		write(t, one, all[0], 7, change{1, key, "x"})
		commit(t, one, 7)
		reader, other := c.reader("n3"), c.reader("n3")
		reader.Route = func(_ topology.QueryID, _ string, key []string) (topology.KeyGroup, bool) { return route(key) }
		got, err := reader.Read(context.Background(), Request{Query: testQuery, Table: "t", Keys: [][]string{{fmt.Sprint(key)}}})
		if err != nil || got.Epoch != 7 || len(got.Rows) != 1 {
			t.Fatal(got, err)
		}
		commit(t, two, 5)
		go func() {
			time.Sleep(time.Second)
			commit(t, two, 9)
		}()
		begun := time.Now()
		if got, err := other.Read(context.Background(), scanAll); err != nil || got.Epoch != 7 || time.Since(begun) != time.Second {
			t.Fatal(got, err, time.Since(begun))
		}
	})
}

func TestConditionOrderAndLimit(t *testing.T) {
	c := newCluster(2)
	c.place(part(0, 4, "n1"), part(4, testGroups, "n2"))
	all := []change{{1, 1, "bb"}, {1, 2, ""}, {1, 3, "a"}, {1, 4, "ccc"}, {1, 5, "a"}}
	for _, p := range c.parts {
		l := openLane(t, c.stores[p.Process.Node], p.Range)
		write(t, l, p.Range, 1, all...)
		commit(t, l, 1)
	}
	for _, try := range []struct {
		r    Request
		want []int
	}{
		{Request{}, []int{0, 1, 2, 3, 4}},
		{Request{Limit: 2}, []int{0, 1}},
		{Request{Where: "k > 2 AND t.v <> 'ccc'"}, []int{2, 4}},
		{Request{OrderBy: "v"}, []int{1, 2, 4, 0, 3}},
		{Request{OrderBy: "v", Desc: true}, []int{3, 0, 2, 4, 1}},
		{Request{OrderBy: "v", Desc: true, Limit: 3}, []int{3, 0, 2}},
		{Request{Where: "v IS NULL"}, []int{1}},
		{Request{Where: "NULL"}, nil},
		{Request{Keys: [][]string{{"4"}, {"1"}}, Where: "n < 3"}, []int{0}},
	} {
		try.r.Query, try.r.Table = testQuery, "t"
		got, err := c.reader("n1").Read(context.Background(), try.r)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		for _, i := range try.want {
			want += all[i].row() + "\n"
		}
		if shown(got.Rows) != want {
			t.Errorf("%+v:\n%s\nwant\n%s", try.r, shown(got.Rows), want)
		}
	}
}

func TestWrongRequestsAreToldAtOnceFromAnyNode(t *testing.T) {
	c := newCluster(2)
	c.place(part(0, testGroups, "n2"))
	l := openLane(t, c.stores["n2"], testAll)
	write(t, l, testAll, 1, change{1, 1, "x"})
	commit(t, l, 1)
	for _, try := range []struct {
		r    Request
		want string
	}{
		{Request{Where: "k >"}, "line 1, column 4"},
		{Request{Where: "v = 1 AND w = 2"}, "line 1, column"},
		{Request{Where: "k > 0 AND w = 2"}, `line 1, column 11: table t has no column "w"; there are v, k, n`},
		{Request{Where: "k + 1"}, "BOOLEAN"},
		{Request{Where: "1 / (k - 1) > 0"}, "line 1, column"},
		{Request{Where: "CURRENT_DATE > DATE '2020-01-01'"}, "CURRENT_DATE is not supported"},
		{Request{Where: "RAND() < 0.5"}, "RAND is not supported"},
		{Request{Where: "COUNT(*) > 0"}, "line 1, column"},
		{Request{Where: strings.Repeat("(", conditionMax+1)}, "longer than"},
		{Request{OrderBy: "x"}, `order by: table t has no column "x"`},
		{Request{Limit: -1}, "negative"},
		{Request{Keys: [][]string{}}, "no key"},
		{Request{Keys: [][]string{{"x"}}}, `key column k: "x" is not a value of BIGINT`},
		{Request{Keys: [][]string{{"1", "2"}}}, "a key has 2 values, the primary key is (k)"},
		{Request{Keys: make([][]string, KeysMax+1)}, "at most"},
		{Request{Table: "u"}, "there is no table u"},
	} {
		try.r.Query = testQuery
		if try.r.Table == "" {
			try.r.Table = "t"
		}
		for _, node := range []topology.NodeID{"n1", "n2"} {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			_, err := c.reader(node).Read(ctx, try.r)
			if err == nil || !strings.Contains(err.Error(), try.want) || ctx.Err() != nil {
				t.Errorf("%+v on %s: %v", try.r, node, err)
			}
			if text := (*ast.Error)(nil); strings.HasPrefix(try.want, "line") && !errors.As(err, &text) {
				t.Errorf("%T", err)
			}
			cancel()
		}
	}
}
