package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// cutRows are what the query under cuts reads, in some 20 s: every epoch waits for the vaults of its seal.
	cutRows = 200_000
	// cutBudget bounds one scenario, the end of the query included.
	cutBudget = 5 * time.Minute
	// inFlightEpochs is how many epochs may have been on their way when a wire was cut; a source makes some hundreds in a second.
	inFlightEpochs = 10
	// aheadEpochs is how far the others go while those that are cut off must not move.
	aheadEpochs = 200
)

// cutQuery counts in windows and passes rows on, into files that are the same bytes for the same seals.
func cutQuery(dir string) string {
	return fmt.Sprintf(`
SET 'seal' = 'rows:5';
SET 'parallelism.default' = '6';
CREATE TABLE src (v BIGINT NOT NULL, k INT NOT NULL, ts TIMESTAMP(3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND) WITH ('connector' = 'datagen',
  'rows-per-second' = '1000', 'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '%d', 'fields.k.min' = '0', 'fields.k.max' = '99');
CREATE TABLE counts (at TIMESTAMP(3), k INT, n BIGINT, s BIGINT) WITH ('connector' = 'filesystem', 'path' = '%[2]s/counts', 'format' = 'csv');
CREATE TABLE some (v BIGINT, k INT) WITH ('connector' = 'filesystem', 'path' = '%[2]s/some', 'format' = 'csv');
INSERT INTO counts SELECT window_start, k, COUNT(*), SUM(v) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end, k;
INSERT INTO some SELECT v, k FROM src WHERE MOD(v, 7) = 1;`, cutRows-1, dir)
}

// cuts is a cluster under cuts.
type cuts struct {
	*Cluster
	t   *testing.T
	ctx context.Context
}

// underCuts runs the query on five hosts, lets cuts happen, mends everything, and compares the files with those of one process.
func underCuts(t *testing.T, program string, happen func(c *cuts)) {
	t.Helper()
	c := startCluster(t, Config{Program: program, Network: true}, 5)
	ctx, cancel := context.WithTimeoutCause(t.Context(), cutBudget, fmt.Errorf("not there after %s", cutBudget))
	defer cancel()
	x := &cuts{c, t, ctx}
	out := filepath.Join(c.Dir(), "out")
	asks := clientOf(t, c)
	if _, err := asks.AddQuery(ctx, client.AddQueryRequest{Name: "q", SQL: cutQuery(out), Wait: client.UntilRunning}); err != nil {
		t.Fatal(err)
	}
	defer x.explain()
	completeOf(ctx, t, c, 1)
	happen(x)
	for i := range c.Len() {
		if err := c.Rejoin(i); err != nil {
			t.Fatal(err)
		}
	}
	x.await("the query to finish", func(q *client.QueryDetail) (bool, string) {
		return q.State == client.StateFinished, q.State + " " + q.Reason + " " + q.Resolves
	})
	compareWithOneProcess(ctx, t, program, out)
}

// explain shows what the cluster says of a failure, or always with SEEPNODE_EXPLAIN.
func (c *cuts) explain() {
	if !c.t.Failed() && os.Getenv("SEEPNODE_EXPLAIN") == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for _, i := range c.Running() {
		asks, err := c.Poll(i)
		if err != nil {
			continue
		}
		history, err := asks.History(ctx, "q", client.HistoryRequest{Limit: 30})
		if err == nil {
			for _, e := range history {
				c.t.Logf("%s %s: %s %v", e.Time.Format(time.StampMilli), e.Kind, e.Text, e.Figures)
			}
			if q, err := asks.Query(ctx, "q"); err == nil {
				c.t.Logf("%s: %s %s %s, epoch %d, complete %d", c.Agent(i).Name, q.State, q.Reason, q.Resolves, q.Epoch, q.CompleteEpoch)
				for _, p := range q.Parts {
					c.t.Logf("%+v", p)
				}
			}
			if placed, err := asks.Topology(ctx, "q"); err == nil {
				for _, set := range placed.SealSets {
					c.t.Logf("%+v", set)
				}
			}
			asks.Close()
			c.dump(ctx)
			return
		}
		asks.Close()
	}
}

// dump writes what the agents' goroutines do into the directory that SEEPNODE_EXPLAIN names.
func (c *cuts) dump(ctx context.Context) {
	dir := os.Getenv("SEEPNODE_EXPLAIN")
	if dir == "" {
		return
	}
	for _, i := range c.Running() {
		for _, what := range []string{"/debug/pprof/goroutine?debug=2", "/metrics"} {
			text, err := c.fetch(ctx, i, what)
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, c.Agent(i).Name+"-"+strings.Map(func(r rune) rune {
					if r >= 'a' && r <= 'z' {
						return r
					}
					return -1
				}, what)+".txt"), text, 0o600)
			}
			if err != nil {
				c.t.Log(err)
			}
		}
	}
}

// fetch gets a page of an agent.
func (c *cuts) fetch(ctx context.Context, agent int, path string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.Agent(agent).HTTP+path, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+c.Token())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // it has been read
	return io.ReadAll(answer.Body)
}

func (c *cuts) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// await asks those of the agents that are given, or all, about the query.
func (c *cuts) await(what string, there func(q *client.QueryDetail) (bool, string), agents ...int) {
	c.t.Helper()
	asks, err := c.Poll(agents...)
	c.must(err)
	defer asks.Close()
	c.must(c.Await(c.ctx, what, func(ctx context.Context) (bool, string, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		q, err := asks.Query(ctx, "q")
		if err != nil {
			return false, err.Error(), nil
		}
		if q.State == client.StateFailed {
			return false, "", errors.New(q.Reason)
		}
		done, state := there(q)
		return done, state, nil
	}))
}

// recovered waits until the agents asked see everything run on none of the others.
func (c *cuts) recovered(asked []int) {
	c.t.Helper()
	var names []string
	for _, i := range asked {
		names = append(names, c.Agent(i).Name)
	}
	c.await("everything to run on "+strings.Join(names, ", "), func(q *client.QueryDetail) (bool, string) {
		elsewhere := slices.ContainsFunc(q.Parts, func(p client.Partition) bool { return p.Role == client.RoleActive && !slices.Contains(names, p.Node) })
		return !elsewhere && q.PartitionsRunning == q.Partitions, fmt.Sprintf("%s, %d of %d partitions run", q.State, q.PartitionsRunning, q.Partitions)
	}, asked...)
}

// running is what runs where; it fails when the query is over, as then a cut would show nothing.
func (c *cuts) running() (*client.Topology, string) {
	c.t.Helper()
	asks, err := c.Client()
	c.must(err)
	defer asks.Close()
	q, err := asks.Query(c.ctx, "q")
	c.must(err)
	if q.State != client.StateRunning {
		c.t.Fatalf("the query is %s before the cut", q.State)
	}
	placed, err := asks.Topology(c.ctx, "q")
	c.must(err)
	status, err := asks.Status(c.ctx)
	c.must(err)
	return placed, status.Leader
}

// at is an agent that runs an active partition of a stage and is none of those in but; -1 when there is none.
func (c *cuts) at(placed *client.Topology, is func(s *client.TopologyStage) bool, but ...int) int {
	for i := range placed.Stages {
		if !is(&placed.Stages[i]) {
			continue
		}
		for _, p := range placed.Stages[i].Partitions {
			if n := c.Find(p.Node); p.Role == client.RoleActive && !slices.Contains(but, n) {
				return n
			}
		}
	}
	return -1
}

func isSource(s *client.TopologyStage) bool { return s.Source }

func isSink(s *client.TopologyStage) bool { return !s.Source && s.KeyGroups == 1 }

func (c *cuts) others(than ...int) []int {
	return slices.DeleteFunc(c.Running(), func(i int) bool { return slices.Contains(than, i) })
}

// epochs are those that an agent's active partitions have finished, by stage, as it tells itself, cut off or not.
func (c *cuts) epochs(agent int) map[string]int64 {
	c.t.Helper()
	asks, err := c.Poll(agent)
	c.must(err)
	defer asks.Close()
	text, err := asks.Metrics(c.ctx)
	c.must(err)
	found := map[string]int64{}
	for line := range strings.Lines(text) {
		if labels, ok := strings.CutPrefix(line, "seepnode_epoch{"); ok {
			stage, value, _ := strings.Cut(labels, "} ")
			epoch, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			c.must(err)
			found[stage] = int64(epoch)
		}
	}
	return found
}

// standStill proves that agents which are cut off finish no epoch, of whatever stage, while those asked go on: a source releases nothing
// without all vaults of its set, and a sink commits nothing that is not released.
func (c *cuts) standStill(asked []int, cut ...int) {
	c.t.Helper()
	before := map[int]map[string]int64{}
	for _, i := range cut {
		before[i] = c.epochs(i)
	}
	from := topology.Epoch(-1)
	c.await("the others to go on", func(q *client.QueryDetail) (bool, string) {
		if from < 0 {
			from = q.Epoch
		}
		return q.Epoch >= from+aheadEpochs, fmt.Sprintf("%s at epoch %d, from %d", q.State, q.Epoch, from)
	}, asked...)
	for _, i := range cut {
		for stage, epoch := range c.epochs(i) {
			if was, ok := before[i][stage]; !ok || epoch != was {
				c.t.Errorf("%s, cut off, went from epoch %d to %d of %s", c.Agent(i).Name, was, epoch, stage)
			}
		}
	}
}

// isolated cuts agents off, both ways, until all that they ran runs elsewhere, and proves that they do nothing any more.
func (c *cuts) isolated(agents ...int) {
	c.t.Helper()
	others := c.others(agents...)
	began := time.Now()
	c.must(c.Isolate(agents...))
	c.recovered(others)
	c.t.Logf("everything runs elsewhere after %s", time.Since(began).Round(time.Millisecond))
	c.standStill(others, agents...)
	c.t.Logf("the others are %d epochs ahead after %s", aheadEpochs, time.Since(began).Round(time.Millisecond))
	c.must(c.Rejoin(agents...))
}

// TestCutsOfTheNetworkLoseRepeatAndChangeNothing: real processes on hosts of their own. The files are the bytes that one process
// writes, whatever was cut.
func TestCutsOfTheNetworkLoseRepeatAndChangeNothing(t *testing.T) {
	if os.Getenv("SEEPNODE_NET") == "" {
		t.Skip("takes minutes: make test-net runs it")
	}
	needs(t, CanNetwork)
	program := seepnode(t)
	for _, scenario := range []struct {
		name   string
		happen func(c *cuts)
	}{
		{"a node with a source", func(c *cuts) {
			placed, leader := c.running()
			c.isolated(c.at(placed, isSource, c.Find(leader)))
		}},
		{"the leader", func(c *cuts) {
			_, leader := c.running()
			c.isolated(c.Find(leader))
		}},
		{"a minority with a source and a sink", func(c *cuts) {
			placed, _ := c.running()
			sink := c.at(placed, isSink)
			c.isolated(sink, c.at(placed, isSource, sink))
		}},
		{"a node that nobody hears", func(c *cuts) {
			placed, leader := c.running()
			c.oneWay(c.at(placed, isSource, c.Find(leader)), c.Cut)
		}},
		{"a node that hears nobody", func(c *cuts) {
			placed, leader := c.running()
			c.oneWay(c.at(placed, isSource, c.Find(leader)), func(node, other int) error { return c.Cut(other, node) })
		}},
		{"a leader that hears nobody", func(c *cuts) {
			_, leader := c.running()
			c.oneWay(c.Find(leader), func(node, other int) error { return c.Cut(other, node) })
		}},
		{"a source and a vault of its seals", (*cuts).sourceFromVault},
		{"flapping", (*cuts).flap},
	} {
		t.Run(scenario.name, func(t *testing.T) { underCuts(t, program, scenario.happen) })
	}
}

// oneWay cuts an agent off from all others in one direction until all that it ran runs elsewhere.
func (c *cuts) oneWay(node int, cut func(node, other int) error) {
	c.t.Helper()
	others := c.others(node)
	for _, other := range others {
		c.must(cut(node, other))
	}
	c.recovered(others)
}

// sourceFromVault cuts a source and one vault of its seals off from each other, while all others reach both: nothing is released
// until the cluster has given that vault's place to another, or the source.
func (c *cuts) sourceFromVault() {
	c.t.Helper()
	placed, _ := c.running()
	set := placed.SealSets[0]
	source, vault := c.Find(nodeOf(set.Owner)), c.Find(nodeOf(set.Members[len(set.Members)-1]))
	c.must(errors.Join(c.Cut(source, vault), c.Cut(vault, source)))
	asks, err := c.Poll(c.others(source, vault)...)
	c.must(err)
	defer asks.Close()
	first, last, looks := int64(-1), int64(-1), 0
	c.must(c.Await(c.ctx, "somebody to do something about the cut", func(ctx context.Context) (bool, string, error) {
		epoch, ok := c.epochs(source)[stageLabel(placed, isSource)]
		now, err := asks.Topology(ctx, "q")
		if err != nil {
			return false, "", err
		}
		i := slices.IndexFunc(now.SealSets, func(s client.SealSet) bool { return s.Owner == set.Owner })
		if !ok || i < 0 || now.SealSets[i].Version != set.Version || now.SealSets[i].Term != set.Term {
			return true, "", nil
		}
		if first < 0 {
			first = epoch
		}
		last = epoch
		looks++
		return false, fmt.Sprintf("the source is at epoch %d, its vaults are %v", epoch, now.SealSets[i].Members), nil
	}))
	c.t.Logf("%d looks at the source before its vaults were changed: from epoch %d to %d", looks, first, last)
	if last > first+inFlightEpochs {
		c.t.Errorf("the source went from epoch %d to %d while it did not reach a vault of its seals", first, last)
	}
}

// stageLabel names a stage as metrics do.
func stageLabel(placed *client.Topology, is func(s *client.TopologyStage) bool) string {
	i := slices.IndexFunc(placed.Stages, func(s client.TopologyStage) bool { return is(&s) })
	return fmt.Sprintf("query=\"q\",stage=\"%d\"", placed.Stages[i].Stage)
}

// nodeOf is the node of a process, "n1/2a".
func nodeOf(process string) string {
	node, _, _ := strings.Cut(process, "/")
	return node
}

// flap cuts hosts off and lets them come back again and again, for shorter and for longer than it takes to be noticed.
func (c *cuts) flap() {
	c.t.Helper()
	seed := rand.Uint64()
	if text := os.Getenv("SEEPNODE_SEED"); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		c.must(err)
	}
	c.t.Logf("seed %d", seed)
	defer func() { c.t.Logf("flapped until %s", time.Now().Format(time.StampMilli)) }()
	chance := rand.New(rand.NewPCG(seed, 0))
	for range 12 {
		node := chance.IntN(c.Len())
		c.t.Logf("%s: %s is cut off", time.Now().Format(time.StampMilli), c.Agent(node).Name)
		c.must(c.Isolate(node))
		c.pause(time.Duration(50+chance.IntN(1500)) * time.Millisecond)
		c.must(c.Rejoin(node))
		c.pause(time.Duration(chance.IntN(500)) * time.Millisecond)
	}
}

func (c *cuts) pause(d time.Duration) {
	select {
	case <-c.ctx.Done():
	case <-time.After(d):
	}
}

// compareWithOneProcess runs the query in one process that never fails and compares all files, their names without the incarnation.
func compareWithOneProcess(ctx context.Context, t *testing.T, program, got string) {
	t.Helper()
	dir := t.TempDir()
	want := filepath.Join(dir, "out")
	text := filepath.Join(dir, "q.sql")
	if err := os.WriteFile(text, []byte(cutQuery(want)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, program, "run", text).CombinedOutput(); err != nil {
		t.Fatalf("running the query in one process: %v\n%s", err, out)
	}
	for _, sink := range []string{"counts", "some"} {
		a, b := sinkFiles(t, filepath.Join(want, sink)), sinkFiles(t, filepath.Join(got, sink))
		if len(a) < 5 {
			t.Errorf("%s: only %d files", sink, len(a))
		}
		for name := range maps.Keys(a) {
			if !bytes.Equal(a[name], b[name]) {
				t.Errorf("%s: file %s has %d bytes, not the %d that one process writes", sink, name, len(b[name]), len(a[name]))
			}
		}
		for name := range maps.Keys(b) {
			if _, ok := a[name]; !ok {
				t.Errorf("%s: file %s, %d bytes, which one process does not write", sink, name, len(b[name]))
			}
		}
	}
}

// sinkFiles are the files of a sink that are seen, by name without the incarnation.
func sinkFiles(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
			return err
		}
		_, name, _ := strings.Cut(d.Name(), "-")
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
