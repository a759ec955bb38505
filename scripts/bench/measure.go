package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
)

// measurement is what one child process found.
type measurement struct {
	Rows         int64   `json:"rows"`
	Bytes        int64   `json:"bytes,omitempty"`
	Seconds      float64 `json:"seconds"`
	CPUSeconds   float64 `json:"cpu_seconds"`
	AllocsPerRow float64 `json:"allocs_per_row"`
	PeakMB       float64 `json:"peak_mb"`
	LongestMs    float64 `json:"longest_ms,omitempty"` // longest epoch, from the instant it was to be sealed to its end
	StepMs       float64 `json:"step_ms,omitempty"`    // longest time one partition took for one epoch
	GCPauseMs    float64 `json:"gc_pause_ms,omitempty"`
	Saves        int64   `json:"saves,omitempty"` // checkpoints of partitions with state
	MeanMB       float64 `json:"mean_mb,omitempty"`
	FullMB       float64 `json:"full_mb,omitempty"`        // the largest of those that bring mostly whole key groups
	DeltaMB      float64 `json:"incremental_mb,omitempty"` // mean of the others
}

// counting is a backup that acknowledges at once and counts bytes.
type counting struct {
	mu                        sync.Mutex
	saves, bytes, full        int64
	incremental, changedBytes int64
}

func (c *counting) Save(cp backup.Checkpoint) {
	n, whole := int64(0), int64(0)
	for _, g := range cp.Groups {
		n += int64(len(g.Data))
		if g.Base {
			whole += int64(len(g.Data))
		}
	}
	if n < 64<<10 {
		return // a source's, or a sink's
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.saves++
	c.bytes += n
	if whole > n/2 {
		c.full = max(c.full, n)
		return
	}
	c.incremental++
	c.changedBytes += n
}

func (c *counting) fill(m *measurement) {
	if c == nil || c.saves == 0 {
		return
	}
	m.Saves, m.FullMB, m.MeanMB = c.saves, float64(c.full)/1e6, float64(c.bytes)/1e6/float64(c.saves)
	m.DeltaMB = float64(c.changedBytes) / 1e6 / float64(max(1, c.incremental))
}

// counter is a counting backup when word is "saved", nil otherwise.
func counter(args []string, n int) *counting {
	if len(args) > n && args[n] == "saved" {
		return &counting{}
	}
	return nil
}

// measure runs one measurement in this process: "roof KEYS ROWS", "count KEYS ROWS NODES [saved]", "words DIR", "held KEYS
// [saved]"; saved: with checkpoints.
func measure(args []string, profile string) (m measurement, err error) {
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return m, err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return m, err
		}
		defer pprof.StopCPUProfile()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	switch args[0] {
	case "roof":
		m, err = measureRoof(number(args[2]), number(args[1]))
	case "count":
		m, err = measureCount(number(args[1]), number(args[2]), number(args[3]), counter(args, 4))
	case "words":
		m, err = measureWords(args[1])
	case "held":
		m, err = measureHeld(number(args[1]), counter(args, 2))
	default:
		err = fmt.Errorf("no measurement %q", args[0])
	}
	if err != nil {
		return m, err
	}
	runtime.ReadMemStats(&after)
	m.AllocsPerRow = float64(after.Mallocs-before.Mallocs) / float64(max(1, m.Rows))
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return m, err
	}
	m.PeakMB = float64(u.Maxrss) / 1024
	m.CPUSeconds = time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
	return m, nil
}

func number(s string) (n int) {
	if _, err := fmt.Sscan(s, &n); err != nil {
		panic(err)
	}
	return n
}

type catalog struct {
	connectors connector.Registry
	operators  operator.Registry
}

func (c *catalog) Connector(name string) (*connector.Definition, bool) {
	return c.connectors.Lookup(name)
}
func (c *catalog) Connectors() []string { return c.connectors.Names() }
func (c *catalog) Operator(name string) (*operator.Definition, bool) {
	return c.operators.Lookup(name)
}
func (c *catalog) Operators() []string { return c.operators.Names() }

// run runs a query; watch, when set, is called every 20 ms with its progress.
func run(sql string, nodes int, saved *counting, watch func(engine.Progress)) (*engine.Result, error) {
	c := &catalog{}
	for _, d := range []*connector.Definition{blackhole.Definition(), datagen.Definition(), filesystem.Definition()} {
		if err := c.connectors.Register(d); err != nil {
			return nil, err
		}
	}
	p, err := plan.Compile(sql, c, plan.Options{})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	o := engine.Options{Nodes: nodes, Connectors: &c.connectors, Operators: &c.operators, Incarnation: 1}
	if nodes > 1 {
		o.Workers = 1 // the nodes share the machine's cores
	}
	if saved != nil {
		o.Backup, o.Acknowledged = saved, true
	}
	if watch != nil {
		o.Started = func(progress func() engine.Progress) {
			go func() {
				for ctx.Err() == nil {
					time.Sleep(20 * time.Millisecond)
					watch(progress())
				}
			}()
		}
	}
	return engine.Run(ctx, p, o)
}

// measureCount is a keyed running count over three BIGINT columns, all of them used, into a sink that counts.
func measureCount(keys, rows, nodes int, saved *counting) (measurement, error) {
	sql := fmt.Sprintf(`
CREATE TABLE src (k BIGINT NOT NULL, a BIGINT NOT NULL, b BIGINT NOT NULL) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='%d','splits'='8',
  'fields.k.min'='0','fields.k.max'='%d','fields.a.min'='0','fields.a.max'='16777215','fields.b.min'='0','fields.b.max'='4294967295');
CREATE TABLE counts (k BIGINT, n BIGINT, a BIGINT, b BIGINT) WITH ('connector'='blackhole');
INSERT INTO counts SELECT k, COUNT(*), SUM(a), SUM(b) FROM src GROUP BY k`, rows, keys-1)
	start := time.Now()
	res, err := run(sql, nodes, saved, nil)
	if err != nil {
		return measurement{}, err
	}
	m := measurement{Rows: res.Progress.RowsIn, Seconds: time.Since(start).Seconds()}
	saved.fill(&m)
	return m, nil
}

// measureWords is the word count of the demo over the Go tree.
func measureWords(dir string) (measurement, error) {
	out, err := os.MkdirTemp("", "seepnode-bench-")
	if err != nil {
		return measurement{}, err
	}
	defer os.RemoveAll(out)
	sql := fmt.Sprintf(`SET 'execution.runtime-mode' = 'batch';
CREATE TABLE files (line STRING) WITH ('connector'='filesystem','path'='%s/**/*.go','format'='raw');
CREATE TABLE counts (word STRING, n BIGINT) WITH ('connector'='filesystem','path'='%s','format'='csv');
INSERT INTO counts SELECT word, COUNT(*) FROM (SELECT LOWER(w) AS word FROM files CROSS JOIN UNNEST(REGEXP_EXTRACT_ALL(line, '[A-Za-z0-9]+', 0)) AS t(w)) GROUP BY word`,
		strings.ReplaceAll(dir, "'", "''"), out)
	size, err := treeBytes(dir)
	if err != nil {
		return measurement{}, err
	}
	start := time.Now()
	res, err := run(sql, 1, nil, nil)
	if err != nil {
		return measurement{}, err
	}
	return measurement{Rows: res.Progress.RowsIn, Bytes: size, Seconds: time.Since(start).Seconds()}, nil
}

// measureHeld fills state with keys and then runs 100,000 rows/s of random keys among them for 20 s, while a
// garbage collection is forced once a second: the longest epoch then.
func measureHeld(keys int, saved *counting) (measurement, error) {
	const rate, seconds = 100_000, 20
	sql := fmt.Sprintf(`
CREATE TABLE fill (k BIGINT NOT NULL) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='%d','splits'='8','fields.k.kind'='sequence','fields.k.start'='0','fields.k.end'='%d');
CREATE TABLE live (k BIGINT NOT NULL) WITH ('connector'='datagen','rows-per-second'='%d','number-of-rows'='%d','splits'='8','fields.k.min'='0','fields.k.max'='%d');
CREATE TABLE counts (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO counts SELECT k, COUNT(*) FROM (SELECT k FROM fill UNION ALL SELECT k FROM live) GROUP BY k`, keys, keys-1, rate, rate*(seconds+keys/1_000_000), keys-1)
	var longest, step time.Duration
	settled, calm, polls := false, 0, 0
	var gc runtime.MemStats
	res, err := run(sql, 1, saved, func(p engine.Progress) {
		if !settled {
			if p.RowsIn >= int64(keys) && p.LagMs < 100 {
				calm++
			}
			if settled = calm > 25; settled { // the filling is over and caught up for half a second
				runtime.GC()
				runtime.ReadMemStats(&gc)
			}
			return
		}
		longest, step = max(longest, p.LongestEpoch), max(step, p.LongestStep)
		if polls++; polls%50 == 0 {
			runtime.GC() // once a second: epochs run on meanwhile
		}
	})
	if err != nil {
		return measurement{}, err
	}
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	pause := uint64(0)
	for n := gc.NumGC; n < after.NumGC; n++ {
		pause = max(pause, after.PauseNs[(n+255)%256])
	}
	m := measurement{Rows: res.Progress.RowsIn, Seconds: res.Progress.Elapsed.Seconds(), LongestMs: float64(longest.Microseconds()) / 1000,
		StepMs: float64(step.Microseconds()) / 1000, GCPauseMs: float64(pause) / 1e6}
	saved.fill(&m)
	return m, nil
}
