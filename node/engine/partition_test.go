package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

type testCatalog struct {
	connectors connector.Registry
	operators  operator.Registry
}

func (c *testCatalog) Connector(name string) (*connector.Definition, bool) {
	return c.connectors.Lookup(name)
}
func (c *testCatalog) Connectors() []string { return c.connectors.Names() }
func (c *testCatalog) Operator(name string) (*operator.Definition, bool) {
	return c.operators.Lookup(name)
}
func (c *testCatalog) Operators() []string { return c.operators.Names() }

// TestAnEmptyEpochAllocatesNothing drives source, log and aggregate of a running query by hand through epochs without rows.
func TestAnEmptyEpochAllocatesNothing(t *testing.T) {
	c := &testCatalog{}
	for _, d := range []*connector.Definition{blackhole.Definition(), datagen.Definition()} {
		if err := c.connectors.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	p, err := plan.Compile(`
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='1','fields.k.min'='0','fields.k.max'='9');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, COUNT(*) FROM src GROUP BY k`, c, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	q := onOneNode(t, c, p, Limits{})
	for s, stage := range q.placement.Stages {
		part := newPartition(q, p.Stages[s], &stage[0])
		q.parts = append(q.parts, part)
		part.placement.Store(q.placement)
		if err := part.begin(ctx); err != nil {
			t.Fatal(err)
		}
		part.open.Store(true)
	}
	source, aggregate := q.parts[0], q.parts[1]
	for _, part := range q.parts {
		part.follow()
		if err := part.rewire(); err != nil {
			t.Fatal(err)
		}
	}
	if err := source.source.discover(ctx, source, 0); err != nil {
		t.Fatal(err)
	}
	step := func() {
		// The first row of a rate of 1 row/s comes after a second; these epochs end before it.
		if _, err := source.sealEpoch(ctx, source.next, nil); err != nil {
			t.Fatal(err)
		}
		last, ended, ok, err := aggregate.ready()
		if err != nil || !ok || ended {
			t.Fatalf("aggregate is not ready for epoch %d", source.next-1)
		}
		if err := aggregate.step(ctx, last, ended); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		step()
	}
	if n := testing.AllocsPerRun(60, step); n != 0 {
		t.Fatalf("an empty epoch allocates %v times", n)
	}
	if rows := source.stats.rows.Load(); rows != 0 {
		t.Fatalf("%d rows: the epochs were not empty", rows)
	}
	for _, part := range q.parts {
		part.shut()
	}
	if err := q.Close(false); err != nil {
		t.Fatal(err)
	}
}

func TestRangesEndAtMultiplesOfThePowerOfTwoThatASourceIsBehindAndNeverCrossACheckpoint(t *testing.T) {
	for _, c := range []struct{ next, now, want topology.Epoch }{
		{1, 1, 1}, {5, 5, 5}, {5, 6, 6}, {5, 7, 6}, {5, 8, 8}, {5, 11, 8}, {5, 12, 8}, {5, 13, 8}, {1, 127, 64}, {1, 128, 128}, {1, 1000, 128},
		{129, 130, 130}, {120, 1000, 128}, {128, 1000, 128}, {129, 100000, 256},
	} {
		if got := rangeEnd(c.next, c.now, 128); got != c.want {
			t.Errorf("next %d, clock %d: range ends at %d, want %d", c.next, c.now, got, c.want)
		}
	}
	for next := topology.Epoch(1); next < 300; next++ {
		for now := next; now < next+300; now++ {
			end := rangeEnd(next, now, 64)
			if end < next || end > now || (end-1)/64 != (next-1)/64 {
				t.Fatalf("next %d, clock %d: range ends at %d", next, now, end)
			}
		}
	}
}

// TestTopologyCoversEachKeyGroupExactlyOnce is invariant 14 for the topologies that a run makes.
func TestTopologyCoversEachKeyGroupExactlyOnce(t *testing.T) {
	for groups := 1; groups < 300; groups += 7 {
		for nodes := 1; nodes < 12; nodes++ {
			for id := range 3 {
				s := &plan.Stage{ID: topology.StageID(id), Groups: groups}
				all := topology.Topology{Partitions: make([][]topology.Partition, 1)}
				all.Partitions[0] = EvenLayout(s, nodes)
				if err := all.Validate([]int{groups}); err != nil {
					t.Fatalf("%d key groups on %d nodes: %v", groups, nodes, err)
				}
			}
		}
	}
	bad := topology.Topology{Partitions: [][]topology.Partition{{{Range: topology.Range{From: 0, To: 5}}, {Range: topology.Range{From: 6, To: 8}}}}}
	if bad.Validate([]int{8}) == nil {
		t.Fatal("a hole in the key groups was accepted")
	}
}

// TestLogsShrinkToNothingWhenSourcesHaveEnded is the logs' part of invariant 17.
func TestLogsShrinkToNothingWhenSourcesHaveEnded(t *testing.T) {
	c := &testCatalog{}
	for _, d := range []*connector.Definition{blackhole.Definition(), datagen.Definition()} {
		if err := c.connectors.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	p, err := plan.Compile(`SET 'seal' = 'rows:10';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='5000','fields.k.min'='0','fields.k.max'='9');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, COUNT(*) FROM src GROUP BY k`, c, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	q := onOneNode(t, c, p, Limits{BatchRows: 100, ForkRows: 10, Log: dataplane.Limits{Bytes: 1 << 20, Epochs: 10}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	<-q.Ended()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, p := range q.parts {
		for o, l := range p.logs {
			if n := l.Len(); n > 0 {
				t.Errorf("%s %v output %d holds %d entries after the end", p.spec.Name, p.rng, o, n)
			}
		}
	}
	if err := q.Close(true); err != nil {
		t.Fatal(err)
	}
}

// onOneNode places all of a plan on one node.
func onOneNode(t *testing.T, c *testCatalog, p *plan.Plan, limits Limits) *Query {
	t.Helper()
	n := NewNode(NodeConfig{ID: NodeName(0), Boot: 1, Limits: limits, Connectors: &c.connectors, Operators: &c.operators})
	q, err := n.NewQuery(QueryConfig{Plan: p})
	if err != nil {
		t.Fatal(err)
	}
	r := localRun{plan: p, options: Options{Nodes: 1}}
	q.Update(r.placement())
	return q
}
