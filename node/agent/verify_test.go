package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// verifySQL counts generated rows into a table and writes them to files of two lanes in dir.
func verifySQL(dir string, rows, perSecond int, settings string) string {
	return settings + fmt.Sprintf(`
SET 'parallelism.default' = '2';
SET 'checkpoint.epochs' = '32';
CREATE TABLE numbers (k BIGINT, v BIGINT) WITH (
  'connector' = 'datagen', 'number-of-rows' = '%d', 'rows-per-second' = '%d', 'splits' = '3',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '9',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '1', 'fields.v.end' = '%d');
CREATE TABLE counts (k BIGINT, n BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'table');
CREATE TABLE out (k BIGINT, v BIGINT) WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'csv', 'sink.lanes' = '2', 'sink.rolling.epochs' = '16');
INSERT INTO counts SELECT k, COUNT(*) FROM numbers GROUP BY k;
INSERT INTO out SELECT k, v FROM numbers;
`, rows, perSecond, rows, dir)
}

// verified has a node verify a query.
func (c *cluster) verified(a *Agent, name string) (*client.Verification, error) {
	return c.api(a).VerifyQuery(c.t.Context(), name, nil)
}

// same fails the test unless a node finds a query to be the same on one node.
func (c *cluster) same(a *Agent, name string) *client.Verification {
	c.t.Helper()
	v, err := c.verified(a, name)
	if err != nil {
		c.t.Fatalf("verifying on %s: %v", a.config.Name, err)
	}
	if !v.Equal {
		c.t.Fatalf("verifying on %s: %+v", a.config.Name, v.Differences)
	}
	if v.Chains == 0 || v.Rows == 0 || v.Seals == 0 {
		c.t.Errorf("verifying on %s compared %+v", a.config.Name, v)
	}
	return v
}

// holder is a node, not one of others, that runs a partition of a stage of a query.
func (c *cluster) holder(name string, source bool, others ...*Agent) *Agent {
	c.t.Helper()
	q := c.running()[0].Machine().View().Query(name)
	for _, st := range q.Stages {
		for _, p := range st.Partitions {
			for _, a := range c.running() {
				other := false
				for _, o := range others {
					other = other || o == a
				}
				if st.Source == source && a.self == p.Process && !other {
					return a
				}
			}
		}
	}
	c.t.Fatal("no such node")
	return nil
}

// TestForEachSinkLaneTheCommittedEpochGrowsAndTheChainsAreThoseOfOneNode is invariant 13: while nodes are killed, sources and sinks move and the
// leader changes, what sinks have committed never falls, and chains, files and tables are those of a run of the same seals on one node.
func TestForEachSinkLaneTheCommittedEpochGrowsAndTheChainsAreThoseOfOneNode(t *testing.T) {
	for _, retention := range []string{"checkpoint", "all"} {
		t.Run(retention, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testInvariant13(t, retention) })
		})
	}
}

func testInvariant13(t *testing.T, retention string) {
	c := newCluster(t)
	defer c.close()
	c.three()
	asked := c.leader()
	dir := filepath.Join(c.dir, "out")
	sql := verifySQL(dir, 9000, 500, "SET 'seal.retention' = '"+retention+"';")
	if _, err := c.api(asked).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
		t.Fatal(err)
	}
	committed := map[string]topology.Epoch{}
	grow := func(seconds int) {
		t.Helper()
		for range seconds * 10 {
			time.Sleep(100 * time.Millisecond)
			q, err := c.api(c.running()[0]).Query(t.Context(), "q")
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range q.Sinks {
				if s.CommittedEpoch < committed[s.Name] {
					t.Errorf("sink %s had committed %d and has %d", s.Name, committed[s.Name], s.CommittedEpoch)
				}
				committed[s.Name] = s.CommittedEpoch
			}
		}
	}
	grow(3)
	for i, source := range []bool{true, false} {
		victim := c.holder("q", source)
		c.kill(victim)
		grow(2)
		c.same(c.running()[i], "q")
		c.ready(c.start(victim.config.Name, func(k *Config) { k.Join = everybody }))
		grow(2)
	}
	v := c.same(c.running()[2], "q")
	if retention == "all" && v.From != 1 {
		t.Errorf("all seals are kept, and epochs from %d on were run again", v.From)
	}
	q := c.finished(c.running()[0], "q")
	if q.SealBytes == 0 && retention == "all" {
		t.Error("no seals are kept")
	}
	for _, a := range c.running() {
		// Behind the end nothing becomes complete any more: when the last checkpoint brought a whole state, seals before it are kept on demand only.
		if _, err := c.verified(a, "q"); err != nil && retention == "checkpoint" && strings.Contains(err.Error(), "the last, are trimmed") {
			return
		}
		v = c.same(a, "q")
	}
	least := 1 // how far back the kept checkpoints go depends on when vaults had them
	if retention == "all" {
		least = 10
	}
	if v.To != q.CompleteEpoch || v.Files < least || v.Tables != 1 || v.TableRows != 10 {
		t.Errorf("at the end, checkpoint %d, was compared %+v", q.CompleteEpoch, v)
	}
	if retention == "all" && (v.From != 1 || v.Rows != 9000) {
		t.Errorf("all seals are kept, and was compared %+v", v)
	}
}

// TestVerifyGoesOnFromTheOldestCheckpointWhoseSealsAreThere lets so many checkpoints pass that vaults have asked for whole states.
func TestVerifyGoesOnFromTheOldestCheckpointWhoseSealsAreThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.three()
		sql := strings.Replace(verifySQL(filepath.Join(c.dir, "out"), 50_000, 400, ""), "'checkpoint.epochs' = '32'", "'checkpoint.epochs' = '16'", 1)
		if _, err := c.api(c.leader()).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
			t.Fatal(err)
		}
		late := 0
		for range 30 {
			time.Sleep(700 * time.Millisecond)
			if v := c.same(c.leader(), "q"); v.From > 1 {
				late++
				if (v.From-1)%16 != 0 || v.To%16 != 0 || v.From >= v.To {
					t.Errorf("epochs %d to %d were run again", v.From, v.To)
				}
			}
		}
		if late == 0 {
			t.Error("seals were never trimmed")
		}
	})
}

func TestVerifyTellsOfAChangedFileAndAChangedRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.three()
		asked := c.leader()
		dir := filepath.Join(c.dir, "out")
		if _, err := c.api(asked).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: verifySQL(dir, 2000, 1000, "")}); err != nil {
			t.Fatal(err)
		}
		c.finished(asked, "q")
		c.same(asked, "q")

		files, err := filepath.Glob(filepath.Join(dir, "[^_]*.csv"))
		if err != nil || len(files) < 2 {
			t.Fatalf("%d files, %v", len(files), err)
		}
		b, err := os.ReadFile(files[1])
		if err != nil {
			t.Fatal(err)
		}
		b[7] ^= 1
		if err := os.WriteFile(files[1], b, 0o644); err != nil {
			t.Fatal(err)
		}
		v, err := c.verified(asked, "q")
		if err != nil || v.Equal || len(v.Differences) != 1 || v.Differences[0].Kind != client.DifferenceFile || v.Differences[0].File != files[1] || v.Differences[0].Offset != 7 {
			t.Errorf("byte 7 of %s was changed: %+v, %v", files[1], v, err)
		}
		b[7] ^= 1
		if err := os.WriteFile(files[1], b, 0o644); err != nil {
			t.Fatal(err)
		}

		// What a node that holds a part of the table gives the verifying one is changed on its way.
		for _, a := range c.running() {
			if !c.counts3Here(a) {
				asked = a
			}
		}
		ask := asked.reader.Ask
		asked.reader.Ask = func(ctx context.Context, to topology.Process, r table.Request) (table.Response, error) {
			response, err := ask(ctx, to, r)
			for i := range response.Rows {
				response.Rows[i].Values = []byte(strings.Replace(string(response.Rows[i].Values), `"k":3,"n":`, `"k":3,"n":9`, 1))
			}
			return response, err
		}
		v, err = c.verified(asked, "q")
		if err != nil || v.Equal || len(v.Differences) != 1 || v.Differences[0].Kind != client.DifferenceTable || v.Differences[0].Key != `{"k": 3}` {
			t.Errorf("a row was changed: %+v, %v", v, err)
		}
	})
}

// counts3Here says whether a node holds the row of key 3 itself.
func (c *cluster) counts3Here(a *Agent) bool {
	c.t.Helper()
	q := a.Machine().View().Query("q")
	for _, p := range a.partsOf(q.ID, "counts") {
		if p.Process != a.self {
			continue
		}
		response, err := a.tables.Read(c.t.Context(), table.Request{Query: q.ID, Table: "counts", Range: p.Range, Keys: [][]string{{"3"}}})
		if err != nil {
			c.t.Fatal(err)
		}
		return len(response.Rows) > 0
	}
	return false
}

// TestVerifyFindsAnOperatorThatIsNotDeterministic is the part of invariant 15 that needs no failure.
func TestVerifyFindsAnOperatorThatIsNotDeterministic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		operators := &operator.Registry{}
		if err := operators.Register(drifting()); err != nil {
			t.Fatal(err)
		}
		a := c.start("n1", func(k *Config) { k.Operators = operators })
		c.ready(a)
		sql := strings.Replace(verifySQL(filepath.Join(c.dir, "out"), 2000, 1000, ""), "INSERT INTO out SELECT k, v FROM numbers",
			"INSERT INTO out SELECT k, n FROM drifting(TABLE numbers PARTITION BY k)", 1)
		if _, err := c.api(a).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
			t.Fatal(err)
		}
		c.finished(a, "q")
		v, err := c.verified(a, "q")
		if err != nil || v.Equal || v.Differences[0].Kind != client.DifferenceChain || !strings.HasPrefix(v.Differences[0].Operator, "drifting") {
			t.Errorf("found was %+v, %v", v, err)
		}
	})
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

func TestVerifySaysWhyItCannot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		c.three()
		asked := c.leader()
		if _, err := c.verified(asked, "none"); !client.IsNotFound(err) {
			t.Errorf("of a query that is not there: %v", err)
		}
		words := filepath.Join(c.dir, "words")
		if err := os.WriteFile(words, []byte(strings.Repeat("the\nquick\nfox\n", 500)), 0o644); err != nil {
			t.Fatal(err)
		}
		sql := fmt.Sprintf(`CREATE TABLE words (word STRING) WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'raw');
CREATE TABLE counts (word STRING, n BIGINT, PRIMARY KEY (word) NOT ENFORCED) WITH ('connector' = 'table');
INSERT INTO counts SELECT word, COUNT(*) FROM words GROUP BY word`, words)
		if _, err := c.api(asked).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: sql}); err != nil {
			t.Fatal(err)
		}
		c.finished(asked, "q")
		c.same(asked, "q")
		if !asked.verifying.TryLock() {
			t.Fatal("a verification that has ended still runs")
		}
		if _, err := c.verified(asked, "q"); err == nil || !strings.Contains(err.Error(), "verifies a query already") {
			t.Errorf("beside another one: %v", err)
		}
		asked.verifying.Unlock()
		if err := os.WriteFile(words, []byte(strings.Repeat("the\nquick\ndog\n", 500)), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := c.verified(asked, "q"); err == nil || !strings.Contains(err.Error(), "its input is not what it was") || !strings.Contains(err.Error(), words) {
			t.Errorf("of a file that was changed: %v", err)
		}
		if err := os.Remove(words); err != nil {
			t.Fatal(err)
		}
		if _, err := c.verified(asked, "q"); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("of a file that was removed: %v", err)
		}
	})
}

func TestAVerificationEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		a := c.start("n1", nil)
		c.ready(a)
		if _, err := c.api(a).AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: verifySQL(filepath.Join(c.dir, "out"), 2000, 1000, "")}); err != nil {
			t.Fatal(err)
		}
		c.finished(a, "q")
		ctx, cancel := context.WithCancel(t.Context())
		_, err := c.api(a).VerifyQuery(ctx, "q", func(client.VerifyProgress) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
		for !a.verifying.TryLock() {
			time.Sleep(10 * time.Millisecond)
		}
		a.verifying.Unlock()
		c.same(a, "q")
	})
}
