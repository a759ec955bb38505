package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// killedSQL takes some twenty seconds on five agents: four splits of 7,500 epochs each through two keyed stages into files, and into a table that keeps
// what comes last of each key; most come once, so that what is lost of it is not made up for by later rows.
const killedSQL = `
SET 'seal' = 'rows:20';
SET 'checkpoint.epochs' = '64';
SET 'parallelism.default' = '3';
SET 'execution.runtime-mode' = 'batch';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='600000','splits'='4',
  'fields.k.min'='0','fields.k.max'='500','fields.v.min'='0','fields.v.max'='1000');
CREATE TABLE raw (k BIGINT, v BIGINT, r BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv','sink.lanes'='2');
CREATE TABLE counts (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE newest (k BIGINT, v BIGINT, r BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector'='table');
INSERT INTO raw SELECT k, v, RAND_INTEGER(1000) FROM src WHERE v < 100;
INSERT INTO newest SELECT k * 100 + v, v, RAND_INTEGER(1000) FROM src WHERE v < 20;
INSERT INTO counts SELECT n, COUNT(*), MAX(s) FROM (SELECT k, COUNT(*) AS n, SUM(v) AS s FROM src GROUP BY k) GROUP BY n`

// killRuns is how many schedules are drawn: SEEPNODE_RUNS, or one.
func killRuns(t *testing.T) int {
	text := os.Getenv("SEEPNODE_RUNS")
	if text == "" {
		return 1
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("SEEPNODE_RUNS is %q, want a number from 1", text)
	}
	return n
}

// TestRealProcessesThatAreKilledAtRandomGiveTheSameBytes: five agents are killed, frozen and asked to stop while a query runs, two at a time at
// most, by a schedule that a seed draws. What the files and the table show is byte for byte what one process gives that never fails. SEEPNODE_RUNS says
// how many schedules, SEEPNODE_SEED which is the first.
func TestRealProcessesThatAreKilledAtRandomGiveTheSameBytes(t *testing.T) {
	atRandom(t, 12, nil)
}

// TestRealProcessesThatAreRescaledAndKilledAtRandomGiveTheSameBytes is the same with people who scale stages out and in, drain agents and take
// that back, all the time, and fewer faults in the middle of it.
func TestRealProcessesThatAreRescaledAndKilledAtRandomGiveTheSameBytes(t *testing.T) {
	atRandom(t, 5, rescale)
}

// atRandom runs the schedules that are asked for, with at most so many strikes each, and with what people do meanwhile.
func atRandom(t *testing.T, strikes int, people func(ctx context.Context, c *Cluster, seed uint64) []string) {
	t.Helper()
	first := uint64(1)
	if text := os.Getenv("SEEPNODE_SEED"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEEPNODE_SEED: %v", err)
		}
	}
	program := seepnode(t)
	file := filepath.Join(t.TempDir(), "killed.sql")
	if err := os.WriteFile(file, []byte(killedSQL), 0o600); err != nil {
		t.Fatal(err)
	}
	alone := t.TempDir()
	// One process keeps no table: it writes all that one would be told.
	run := exec.CommandContext(t.Context(), program, "run", file, "--set", "raw.path="+sinkDir(t, alone, "raw"), "--set", "counts.path="+sinkDir(t, alone, "counts"),
		"--set", "newest.connector=filesystem", "--set", "newest.format=json", "--set", "newest.path="+sinkDir(t, alone, "newest"))
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("the run on one node: %v\n%s", err, out)
	}
	want := shown(t, alone)
	if len(want) == 0 {
		t.Fatal("the run on one node shows nothing")
	}
	want[newestTable] = lastOfKeys(t, filepath.Join(alone, "newest"))
	for seed := first; seed < first+uint64(killRuns(t)); seed++ {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { killAtRandom(t, program, seed, want, strikes, people) })
	}
}

func killAtRandom(t *testing.T, program string, seed uint64, want map[string]string, strikesMax int,
	people func(ctx context.Context, c *Cluster, seed uint64) []string) {
	dir := t.TempDir()
	c := startCluster(t, Config{Program: program, Dir: filepath.Join(dir, "c")}, 5)
	set := map[string]string{"raw.path": sinkDir(t, dir, "raw"), "counts.path": sinkDir(t, dir, "counts")}
	anyone, err := c.Client(0, 1, 2, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer anyone.Close()
	if _, err := anyone.AddQuery(t.Context(), client.AddQueryRequest{Name: "killed", SQL: killedSQL, Set: set}); err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 5))
	began := time.Now()
	var story, done []string
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asking sync.WaitGroup
	if people != nil {
		asking.Go(func() { done = people(ctx, c, seed) })
	}
	reason := ""
	state := func() string {
		q, err := anyone.Query(t.Context(), "killed")
		if err != nil {
			return err.Error()
		}
		reason = q.Reason
		return q.State
	}
	var heals []heal
	over := func() bool { s := state(); return s == client.StateFinished || s == client.StateFailed }
	next := began.Add(time.Duration(r.IntN(1000)) * time.Millisecond)
	for strikes := 0; !over() && time.Since(began) < 10*time.Minute; time.Sleep(lookEvery) {
		now := time.Now()
		for i := 0; i < len(heals); i++ {
			if h := heals[i]; now.After(h.at) {
				if err := h.do(); err != nil {
					t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(story, "\n"))
				}
				heals = slices.Delete(heals, i, i+1)
				i--
			}
		}
		if now.Before(next) || len(heals) >= 2 || strikes >= strikesMax {
			continue
		}
		strikes++
		next = now.Add(time.Duration(800+r.IntN(2000)) * time.Millisecond)
		what, h, err := strike(t.Context(), c, r, heals)
		story = append(story, fmt.Sprintf("%v: %s", now.Sub(began).Round(time.Millisecond), what))
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, strings.Join(story, "\n"))
		}
		heals = append(heals, h)
	}
	for _, h := range heals {
		if err := h.do(); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	asking.Wait()
	story = append(story, done...)
	if s := state(); s == client.StateFailed && strings.HasPrefix(reason, "query of death") {
		t.Skipf("seed %d, lost: the bytes of this one schedule. Kills one after the other at the same row look like what that row does: %s. "+
			"It runs whenever they do not meet, and make soak runs ten of them\n%s", seed, reason, strings.Join(story, "\n"))
	} else if s != client.StateFinished {
		t.Errorf("the query is %s after %v: %s", s, time.Since(began), reason)
		if list, err := anyone.History(t.Context(), "killed", client.HistoryRequest{}); err == nil {
			for _, e := range list {
				t.Logf("%s %s %s", e.Time.Format("05.000"), e.Kind, e.Text)
			}
		}
	}
	got := shown(t, dir)
	got[newestTable] = newest(t, anyone)
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Errorf("there are %v, one node gives %v", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
	for name, bytes := range want {
		if got[name] != bytes {
			t.Errorf("%s differs", name)
		}
	}
	t.Logf("seed %d: %v\n%s", seed, time.Since(began), strings.Join(story, "\n"))
}

// rescale asks for other layouts, and for agents to be drained and used again, until ctx ends; it tells what it asked for. Agents that nobody
// reaches just now, and changes that are refused because another is under way, are no mistakes.
func rescale(ctx context.Context, c *Cluster, seed uint64) (story []string) {
	r := rand.New(rand.NewPCG(seed, 6))
	began := time.Now()
	for ctx.Err() == nil {
		what, err := change(ctx, c, r)
		if err != nil {
			what += ": " + err.Error()
		}
		story = append(story, fmt.Sprintf("%v: %s", time.Since(began).Round(time.Millisecond), what))
		select {
		case <-time.After(time.Duration(300+r.IntN(1500)) * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return story
}

func change(ctx context.Context, c *Cluster, r *rand.Rand) (what string, err error) {
	asks, err := c.Poll(0, 1, 2, 3, 4)
	if err != nil {
		return "", err
	}
	defer asks.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	name := c.Agent(r.IntN(c.Len())).Name
	switch r.IntN(6) {
	case 0:
		_, err = asks.DrainNode(ctx, name)
		return "drain " + name, err
	case 1, 2:
		_, err = asks.UndrainNode(ctx, name)
		return "undrain " + name, err
	}
	scale, err := asks.QueryScale(ctx, "killed")
	if err != nil || len(scale.Stages) == 0 {
		return "scale", err
	}
	of := scale.Stages[r.IntN(len(scale.Stages))]
	to := client.ScaleStage{Stage: fmt.Sprint(of.Stage), Partitions: 1 + r.IntN(min(4, of.KeyGroups))}
	_, err = asks.ScaleQuery(ctx, "killed", client.ScaleRequest{Stages: []client.ScaleStage{to}})
	return fmt.Sprintf("stage %s to %d partitions", to.Stage, to.Partitions), err
}

// heal ends what was done to an agent.
type heal struct {
	agent int
	at    time.Time
	do    func() error
}

// strike hurts an agent that nothing was done to.
func strike(ctx context.Context, c *Cluster, r *rand.Rand, hurt []heal) (what string, h heal, err error) {
	h.agent = r.IntN(c.Len())
	for slices.ContainsFunc(hurt, func(o heal) bool { return o.agent == h.agent }) {
		h.agent = (h.agent + 1) % c.Len()
	}
	i, name := h.agent, c.Agent(h.agent).Name
	h.at = time.Now().Add(time.Duration(200+r.IntN(2500)) * time.Millisecond)
	h.do = func() error { return c.Restart(i) }
	switch r.IntN(5) {
	case 0:
		h.do = func() error { return c.Thaw(i) }
		return name + " is frozen", h, c.Freeze(i)
	case 1:
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		return name + " is asked to stop", h, c.Terminate(ctx, i)
	}
	return name + " is killed", h, c.Kill(i)
}

// sinkDir makes a folder for a sink.
func sinkDir(t *testing.T, dir, sink string) string {
	t.Helper()
	path := filepath.Join(dir, sink)
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// shown are the files that sinks have published, by sink and name without the incarnation.
func shown(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, sink := range []string{"raw", "counts"} {
		for name, bytes := range filesOf(t, filepath.Join(dir, sink)) {
			files[sink+"/"+name] = bytes
		}
	}
	return files
}

// filesOf are the files that a sink has published, by name without the incarnation.
func filesOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, f := range list {
		if strings.HasPrefix(f.Name(), "_") || strings.HasPrefix(f.Name(), ".") {
			continue
		}
		bytes, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(f.Name(), "-")
		files[name] = string(bytes)
	}
	return files
}

const newestTable = "table newest"

// newest is the whole table, by key, as any agent reads it.
func newest(t *testing.T, anyone *client.Client) string {
	t.Helper()
	read, err := anyone.ReadTable(t.Context(), client.TableReadRequest{Query: "killed", Table: "newest", Limit: client.MaxTableRows})
	if err != nil {
		t.Errorf("reading the table: %v", err)
		return ""
	}
	rows := ""
	for _, row := range read.Rows {
		rows += string(row) + "\n"
	}
	return rows
}

// lastOfKeys are the last rows of each key in a folder of JSON files whose names, but for the incarnation, sort as what they hold came; by key.
func lastOfKeys(t *testing.T, dir string) string {
	t.Helper()
	last, files := map[int64]string{}, filesOf(t, dir)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for line := range strings.Lines(files[name]) {
			var row struct{ K int64 }
			if err := json.Unmarshal([]byte(line), &row); err != nil {
				t.Fatalf("%s: %v", dir, err)
			}
			last[row.K] = line
		}
	}
	if len(last) == 0 {
		t.Fatalf("%s: no rows", dir)
	}
	rows := ""
	for _, k := range slices.Sorted(maps.Keys(last)) {
		rows += last[k]
	}
	return rows
}
