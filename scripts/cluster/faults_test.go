package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// faultRows are what the query under faults reads, in about 5 s.
const faultRows = 20_000

// seepnode builds the real program, once for all tests.
func seepnode(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("real processes")
	}
	program := filepath.Join(t.TempDir(), "seepnode")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "github.com/seepnode/seepnode/node/cmd/seepnode")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building seepnode: %v\n%s", err, out)
	}
	return program
}

// faultQuery counts into a table and writes the same rows to files.
func faultQuery(files string) string {
	return fmt.Sprintf(`
CREATE TABLE src (v BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '4000', 'number-of-rows' = '%d',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '%d');
CREATE TABLE counts (k BIGINT, n BIGINT, s BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'table');
CREATE TABLE files (v BIGINT) WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'json');
INSERT INTO counts SELECT MOD(v, 100), COUNT(*), SUM(v) FROM src GROUP BY MOD(v, 100);
INSERT INTO files SELECT v FROM src;`, faultRows, faultRows-1, files)
}

// underFaults adds the query to a new cluster of three, lets faults happen, and compares both sinks with what was read.
func underFaults(t *testing.T, program string, faults func(ctx context.Context, c *Cluster) error) {
	t.Helper()
	files := filepath.Join(t.TempDir(), "out") // removed behind the agents' end
	c := startCluster(t, Config{Program: program}, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	api := clientOf(t, c)
	if _, err := api.AddQuery(ctx, client.AddQueryRequest{Name: "q", SQL: faultQuery(files), Wait: client.UntilRunning}); err != nil {
		t.Fatal(err)
	}
	completeOf(ctx, t, c, 1)
	if err := faults(ctx, c); err != nil {
		t.Fatal(err)
	}
	api = clientOf(t, c)
	if err := c.Await(ctx, "the query to finish", func(ctx context.Context) (bool, string, error) {
		q, err := api.Query(ctx, "q")
		if err != nil {
			return false, err.Error(), nil
		}
		return q.State == client.StateFinished, q.State + " " + q.Reason + " " + q.Resolves, nil
	}); err != nil {
		t.Fatal(err)
	}
	compareTable(ctx, t, api)
	compareFiles(t, files)
}

func clientOf(t *testing.T, c *Cluster) *client.Client {
	t.Helper()
	api, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	return api
}

// completeOf waits for a complete checkpoint.
func completeOf(ctx context.Context, t *testing.T, c *Cluster, least int64) {
	t.Helper()
	api := clientOf(t, c)
	if err := c.Await(ctx, "a complete checkpoint", func(ctx context.Context) (bool, string, error) {
		q, err := api.Query(ctx, "q")
		if err != nil {
			return false, err.Error(), nil
		}
		return int64(q.CompleteEpoch) >= least, q.State + " " + q.Reason, nil
	}); err != nil {
		t.Fatal(err)
	}
}

func compareTable(ctx context.Context, t *testing.T, api *client.Client) {
	t.Helper()
	read, err := api.ReadTable(ctx, client.TableReadRequest{Query: "q", Table: "counts", Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var rows, sum int64
	for _, r := range read.Rows {
		var row struct{ N, S int64 }
		if err := json.Unmarshal([]byte(r), &row); err != nil {
			t.Fatal(err)
		}
		rows, sum = rows+row.N, sum+row.S
	}
	if rows != faultRows || sum != faultRows*(faultRows-1)/2 {
		t.Errorf("the table counts %d rows with sum %d, %d with %d were read", rows, sum, faultRows, faultRows*(faultRows-1)/2)
	}
}

// compareFiles looks for each row once in the files that are seen, those whose names begin with neither a dot nor _.
func compareFiles(t *testing.T, dir string) {
	t.Helper()
	seen := map[int64]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" || strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") {
			return err
		}
		data, err := os.ReadFile(path)
		for line := range strings.Lines(string(data)) {
			var row struct{ V int64 }
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			seen[row.V]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for v, n := range seen {
		if n != 1 {
			t.Fatalf("row %d is in the files %d times", v, n)
		}
	}
	if len(seen) != faultRows {
		t.Errorf("%d rows are in the files, %d were read", len(seen), faultRows)
	}
}

// TestRealProcessesUnderFaultsLoseAndRepeatNothing: a node that is frozen and comes back; the whole cluster killed and started again in
// another order; a node that is asked to stop twice and started again under its name.
func TestRealProcessesUnderFaultsLoseAndRepeatNothing(t *testing.T) {
	program := seepnode(t)
	t.Run("frozen and back", func(t *testing.T) {
		underFaults(t, program, func(ctx context.Context, c *Cluster) error {
			if err := c.Freeze(1); err != nil {
				return err
			}
			if err := lostOf(ctx, c, c.Agent(1).Name, 0, 2); err != nil {
				return err
			}
			return c.Thaw(1)
		})
	})
	t.Run("all killed", func(t *testing.T) {
		underFaults(t, program, func(ctx context.Context, c *Cluster) error {
			for i := range c.Len() {
				if err := c.Kill(i); err != nil {
					return err
				}
			}
			for i := c.Len() - 1; i >= 0; i-- {
				if err := c.Restart(i); err != nil {
					return err
				}
			}
			return c.AwaitMembers(ctx)
		})
	})
	t.Run("asked twice", func(t *testing.T) {
		underFaults(t, program, func(ctx context.Context, c *Cluster) error {
			pid := c.PID(2)
			ended := make(chan error, 1)
			go func() { ended <- c.Terminate(ctx, 2) }()
			for { // again and again: one that comes before the last was taken is none
				select {
				case err := <-ended:
					if err != nil {
						return err
					}
				case <-time.After(200 * time.Millisecond):
					_ = syscall.Kill(pid, syscall.SIGTERM) // gone by itself is fine
					continue
				}
				break
			}
			if err := c.Restart(2); err != nil {
				return err
			}
			return c.AwaitMembers(ctx)
		})
	})
}

// lostOf waits until the cluster, as the agents asked see it, takes a node for lost.
func lostOf(ctx context.Context, c *Cluster, name string, asked ...int) error {
	api, err := c.Client(asked...)
	if err != nil {
		return err
	}
	defer api.Close()
	return c.Await(ctx, name+" to be taken for lost", func(ctx context.Context) (bool, string, error) {
		n, err := api.Node(ctx, name)
		if err != nil {
			return false, err.Error(), nil
		}
		return n.Status == client.NodeLost, n.Status, nil
	})
}
