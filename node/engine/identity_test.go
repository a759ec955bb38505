package engine_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// identityQueries are seeded queries whose sink files must be the same bytes however they are run.
var identityQueries = []struct {
	name, sql string
	sinks     []string
	check     func(t *testing.T, o outcome)
	// raw, when set, writes the rows read to a sink 'raw' in the run that is checked, so that check can compute the same from them.
	raw string
}{
	{name: "stateless", sinks: []string{"out"}, check: checkStateless, sql: `
SET 'seal' = 'rows:50';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='4000','splits'='5','fields.k.min'='0','fields.k.max'='99','fields.v.kind'='sequence','fields.v.start'='0','fields.v.end'='3999');
CREATE TABLE out (v BIGINT, k BIGINT, s STRING, r BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT v, k * 2, CASE WHEN MOD(v, 2) = 0 THEN 'even' ELSE 'odd' END, RAND_INTEGER(1000) FROM src WHERE k <> 7`},
	{name: "running count into a second keyed stage", sql: `
SET 'seal' = 'rows:40';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='6000','splits'='7','fields.k.min'='0','fields.k.max'='300','fields.v.min'='0','fields.v.max'='1000');
CREATE TABLE log1 (k BIGINT, n BIGINT, s BIGINT, mi BIGINT, ma BIGINT, a BIGINT) WITH ('connector'='blackhole');
CREATE TABLE out (n BIGINT, keys BIGINT, ma BIGINT) WITH ('connector'='blackhole');
CREATE VIEW perkey AS SELECT k, COUNT(*) AS n, SUM(v) AS s, MIN(v) AS mi, MAX(v) AS ma, AVG(v) AS a FROM src GROUP BY k;
INSERT INTO log1 SELECT * FROM perkey;
INSERT INTO out SELECT n, COUNT(*), MAX(s) FROM perkey GROUP BY n`},
	{name: "two keyed stages, batch", sinks: []string{"out"}, check: checkTwoStages, raw: `
CREATE TABLE raw (k BIGINT, v BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO raw SELECT k, v FROM src`, sql: `
SET 'seal' = 'rows:40';
SET 'execution.runtime-mode' = 'batch';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='6000','splits'='7','fields.k.min'='0','fields.k.max'='300','fields.v.min'='0','fields.v.max'='1000');
CREATE TABLE out (n BIGINT, keys BIGINT, ma BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT n, COUNT(*), MAX(s) FROM (SELECT k, COUNT(*) AS n, SUM(v) AS s FROM src GROUP BY k) GROUP BY n`},
	{name: "tumbling windows", sinks: []string{"out"}, check: checkWindows, raw: `
CREATE TABLE raw (id BIGINT, k INT, v DOUBLE) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO raw SELECT id, k, v FROM src`, sql: `
SET 'seal' = 'rows:30';
CREATE TABLE src (id BIGINT, k INT, v DOUBLE, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='5000','splits'='4','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='4999','fields.k.min'='0','fields.k.max'='20','fields.v.min'='-1000','fields.v.max'='1000');
CREATE TABLE out (k INT, ws TIMESTAMP_LTZ(3), we TIMESTAMP_LTZ(3), n BIGINT, d BIGINT, s DOUBLE) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT k, window_start, window_end, COUNT(*), COUNT(DISTINCT v), SUM(v) FROM TABLE(TUMBLE(TABLE src, DESCRIPTOR(ts), INTERVAL '2' SECOND)) GROUP BY k, window_start, window_end`},
	{name: "custom operator with timers", sinks: []string{"out"}, check: checkBursts, raw: `
CREATE TABLE raw (id BIGINT, k BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO raw SELECT id, k FROM src`, sql: `
SET 'seal' = 'rows:25';
CREATE TABLE src (id BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='5000','splits'='3','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='4999','fields.k.min'='0','fields.k.max'='200');
CREATE TABLE out (k BIGINT, started BIGINT, n BIGINT, r BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT k, started, n, r FROM bursts(TABLE src PARTITION BY k, 1500)`},
	{name: "nulls and many types", sinks: []string{"out", "agg"}, check: checkNulls, sql: `
SET 'seal' = 'rows:33';
SET 'execution.runtime-mode' = 'batch';
CREATE TABLE src (id BIGINT, b BOOLEAN, ti TINYINT, i INT, f FLOAT, d DOUBLE, dec DECIMAL(12, 3), s STRING, c VARCHAR(3), dt DATE, t TIME, ts TIMESTAMP(3), arr ARRAY<INT>, r ROW<x INT, y STRING>)
  WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='3000','splits'='4','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='2999',
  'fields.i.min'='0','fields.i.max'='9','fields.i.null-rate'='0.3','fields.s.length'='3','fields.s.null-rate'='0.2','fields.d.null-rate'='0.5','fields.ti.min'='0','fields.ti.max'='3','fields.c.length'='1');
CREATE TABLE out (id BIGINT, a BIGINT, q INT, e STRING, n STRING, arr ARRAY<INT>, r ROW<x INT, y STRING>, dec DECIMAL(12, 3), w DOUBLE, dt DATE, t TIME, ts TIMESTAMP(3)) WITH ('connector'='filesystem','path'='-','format'='json');
CREATE TABLE agg (i INT, c VARCHAR(3), n BIGINT, ns BIGINT, ds BIGINT, sd DOUBLE, mi STRING, ma DECIMAL(12, 3), av DOUBLE, b BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
INSERT INTO out SELECT id, CAST(i AS BIGINT) + 1, NULLIF(i, 3), CASE WHEN i > 5 THEN s END, COALESCE(s, c, 'none'), arr, r, dec * 2, d / NULLIF(i, 0), dt, t, ts FROM src WHERE ti <> 2;
INSERT INTO agg SELECT i, c, COUNT(*), COUNT(s), COUNT(DISTINCT s), SUM(d), MIN(s), MAX(dec), AVG(f), COUNT(*) FILTER (WHERE b) FROM src GROUP BY i, c`},
	{name: "union all diamond", sinks: []string{"out", "raw"}, check: checkDiamond, sql: `
SET 'seal' = 'rows:35';
SET 'execution.runtime-mode' = 'batch';
CREATE TABLE src (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='3000','splits'='6','fields.k.min'='0','fields.k.max'='50','fields.v.kind'='sequence','fields.v.start'='0','fields.v.end'='2999');
CREATE TABLE src2 (k BIGINT, v BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='1000','splits'='2','seed'='9','fields.k.min'='0','fields.k.max'='50','fields.v.kind'='sequence','fields.v.start'='10000','fields.v.end'='10999');
CREATE TABLE out (k BIGINT, n BIGINT, s BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE raw (k BIGINT, v BIGINT, side STRING) WITH ('connector'='filesystem','path'='-','format'='csv','sink.lanes'='3');
CREATE VIEW both_sides AS SELECT k, v, 'low' AS side FROM src WHERE v < 2000 UNION ALL SELECT k, v + 1, 'high' FROM src WHERE v >= 1000 UNION ALL SELECT k, v, 'other' FROM src2;
INSERT INTO raw SELECT * FROM both_sides;
INSERT INTO out SELECT k, COUNT(*), SUM(v) FROM both_sides GROUP BY k`},
}

// TestOutputIsTheSameBytesForAnyNumberOfNodesWorkersBatchSizesAndLimits is invariant 5, with 6 in paranoid mode and 16 under tiny limits.
func TestOutputIsTheSameBytesForAnyNumberOfNodesWorkersBatchSizesAndLimits(t *testing.T) {
	for _, q := range identityQueries {
		t.Run(q.name, func(t *testing.T) {
			c := newCatalog(t, burstsDefinition())
			if q.check != nil {
				sql, sinks := q.sql, q.sinks
				if q.raw != "" {
					sql, sinks = sql+";"+q.raw, append([]string{"raw"}, sinks...)
				}
				_, o := runQuery(t, c, sql, variants(true)[3].options(c), sinks...)
				q.check(t, o)
			}
			var first outcome
			for i, v := range variants(testing.Short()) {
				// Without sinks that write files, chains are compared.
				p, o := runQuery(t, c, q.sql, v.options(c), q.sinks...)
				if i == 0 {
					first = o
					continue
				}
				t.Run(v.String(), func(t *testing.T) { o.sameAs(t, p, first) })
			}
		})
	}
}

func fields(line string) []string { return strings.Split(line, ",") }

func checkStateless(t *testing.T, o outcome) {
	lines := o.lines("out")
	seen := map[string]bool{}
	for _, l := range lines {
		f := fields(l)
		v, err := strconv.Atoi(f[0])
		if err != nil || seen[f[0]] || v < 0 || v > 3999 || f[1] == "14" {
			t.Fatalf("line %q", l)
		}
		seen[f[0]] = true
		if want := []string{"even", "odd"}[v%2]; f[2] != want {
			t.Fatalf("line %q: want %s", l, want)
		}
	}
	if len(lines) < 3800 || len(lines) >= 4000 {
		t.Fatalf("%d lines of about 3960", len(lines))
	}
}

func checkNulls(t *testing.T, o outcome) {
	total, groups := 0, map[string]bool{}
	for _, l := range o.lines("agg") {
		f := fields(l)
		n, err := strconv.Atoi(f[2])
		if err != nil || groups[f[0]+","+f[1]] {
			t.Fatalf("line %q: %v", l, err)
		}
		total, groups[f[0]+","+f[1]] = total+n, true
	}
	if total != 3000 {
		t.Fatalf("groups hold %d rows of 3000", total)
	}
	if n := len(o.lines("out")); n < 2100 || n > 2400 {
		t.Fatalf("%d rows with ti <> 2 of about 2250", n)
	}
}

func checkDiamond(t *testing.T, o outcome) {
	count, sum := map[string]int{}, map[string]int{}
	raw := o.lines("raw")
	for _, l := range raw {
		f := fields(l)
		v, _ := strconv.Atoi(f[1])
		count[f[0]]++
		sum[f[0]] += v
	}
	if len(raw) != 2000+2000+1000 {
		t.Fatalf("%d raw rows, want 5000", len(raw))
	}
	out := o.lines("out")
	for _, l := range out {
		f := fields(l)
		if f[1] != strconv.Itoa(count[f[0]]) || f[2] != strconv.Itoa(sum[f[0]]) {
			t.Fatalf("line %q, raw rows give %d, %d", l, count[f[0]], sum[f[0]])
		}
	}
	if len(out) != len(count) {
		t.Fatalf("%d keys, raw rows have %d", len(out), len(count))
	}
}

// bursts groups the rows of a key that are no further apart than a gap, and emits a burst when the watermark has passed it.
type bursts struct {
	gap   int64
	start *state.Value[burst]
}

type burst struct {
	Started, Last, Rows int64
	Random              uint64
}

func burstsDefinition() *operator.Definition {
	return &operator.Definition{Name: "bursts", Bind: func(c operator.Call) (operator.Binding, error) {
		gap, err := strconv.ParseInt(c.Args[0].Text, 10, 64)
		if err != nil {
			return operator.Binding{}, err
		}
		out := batch.NewSchema(batch.Field{Name: "started", Type: batch.TypeBigInt}, batch.Field{Name: "n", Type: batch.TypeBigInt}, batch.Field{Name: "r", Type: batch.TypeBigInt})
		return operator.Binding{Output: out, New: func() operator.Operator { return &bursts{gap: gap} }}, nil
	}}
}

func (b *bursts) Open(s operator.Setup) (err error) {
	b.start, err = state.NewValue[burst](s, "burst")
	return err
}

func (b *bursts) Row(ctx *operator.Context, row batch.Row) error {
	at := row.Int64(row.Batch.Schema.Index("ts"))
	v, ok := b.start.Get()
	if !ok {
		v = burst{Started: at, Random: ctx.Rand() % 100}
	}
	v.Started, v.Last, v.Rows = min(v.Started, at), max(v.Last, at), v.Rows+1
	b.start.Set(v)
	return ctx.SetTimer("over", v.Last+b.gap)
}

func (b *bursts) Timer(ctx *operator.Context, t operator.Timer) error {
	v, ok := b.start.Get()
	if !ok {
		return fmt.Errorf("timer %q without a burst", t.Name)
	}
	b.start.Delete()
	ctx.Out.Int64(v.Started).Int64(v.Rows).Int64(int64(v.Random)).End()
	return nil
}

// TestSealsOfTheClockGiveTheSameBytesOnAnyLayout runs a query sealed by the clock, then its seals again on other layouts.
func TestSealsOfTheClockGiveTheSameBytesOnAnyLayout(t *testing.T) {
	c := newCatalog(t, burstsDefinition())
	sql := `
CREATE TABLE src (id BIGINT, k BIGINT, ts AS TO_TIMESTAMP_LTZ(id * 10, 3), WATERMARK FOR ts AS ts - INTERVAL '1' SECOND)
  WITH ('connector'='datagen','rows-per-second'='20000','number-of-rows'='4000','splits'='3','fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='3999','fields.k.min'='0','fields.k.max'='200');
CREATE TABLE out (k BIGINT, started BIGINT, n BIGINT, at_ms BIGINT) WITH ('connector'='filesystem','path'='-','format'='csv');
CREATE TABLE log1 (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO log1 SELECT k, COUNT(*) FROM src GROUP BY k;
INSERT INTO out SELECT k, started, n, r FROM bursts(TABLE src PARTITION BY k, 1500)`
	first := variant{nodes: 3, workers: 2, batchRows: 64, forkRows: 16}
	p, want := runQuery(t, c, sql, first.options(c), "out")
	if len(want.lines("out")) == 0 {
		t.Fatal("no output")
	}
	for _, v := range variants(testing.Short()) {
		o := v.options(c)
		o.Replay = want.result.Seals
		_, got := runQuery(t, c, sql, o, "out")
		t.Run(v.String(), func(t *testing.T) { got.sameAs(t, p, want) })
	}
}

// drifting gives every row a number from a counter that all key groups share: not deterministic, on purpose.
type drifting struct{ counter *atomic.Int64 }

func (d *drifting) Open(operator.Setup) error { return nil }
func (d *drifting) Row(ctx *operator.Context, row batch.Row) error {
	ctx.Out.Int64(d.counter.Add(1)).End()
	return nil
}

// TestDeliberatelyNonDeterministicOperatorGivesAnotherChainAndIsNamed is the part of invariant 15 that needs no kill.
func TestDeliberatelyNonDeterministicOperatorGivesAnotherChainAndIsNamed(t *testing.T) {
	counter := &atomic.Int64{}
	c := newCatalog(t, &operator.Definition{Name: "drifting", Bind: func(operator.Call) (operator.Binding, error) {
		return operator.Binding{Output: batch.NewSchema(batch.Field{Name: "n", Type: batch.TypeBigInt}), New: func() operator.Operator { return &drifting{counter} }}, nil
	}})
	sql := `SET 'seal' = 'rows:10';
CREATE TABLE src (k BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='100','fields.k.min'='0','fields.k.max'='9');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, n FROM drifting(TABLE src PARTITION BY k)`
	v := variant{nodes: 1, workers: 1, batchRows: 100, forkRows: 1 << 40}
	p, a := runQuery(t, c, sql, v.options(c))
	_, b := runQuery(t, c, sql, v.options(c))
	m := engine.CompareChains(p, a.result.Chains, b.result.Chains)
	if m == nil {
		t.Fatal("the chains are equal")
	}
	if !strings.Contains(m.Operator, "drifting") {
		t.Fatalf("%v: does not name the operator", m)
	}
}

type failing struct{}

func (failing) Open(operator.Setup) error { return nil }
func (failing) Row(_ *operator.Context, row batch.Row) error {
	if row.Int64(0) == 777 {
		if row.Int64(1) == 0 {
			panic("out of cheese")
		}
		return errors.New("will not take it")
	}
	return nil
}

func TestPanicOrErrorInAnOperatorFailsTheQueryWithOperatorKeyGroupAndRow(t *testing.T) {
	c := newCatalog(t, &operator.Definition{Name: "failing", Bind: func(operator.Call) (operator.Binding, error) {
		return operator.Binding{Output: batch.NewSchema(batch.Field{Name: "n", Type: batch.TypeBigInt}), New: func() operator.Operator { return failing{} }}, nil
	}})
	for mode, want := range map[string]string{"0": "out of cheese", "1": "will not take it"} {
		sql := `CREATE TABLE src (k BIGINT, m AS ` + "CAST(" + mode + " AS BIGINT)" + `) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='1000','fields.k.kind'='sequence','fields.k.start'='0','fields.k.end'='999');
CREATE TABLE out (k BIGINT, n BIGINT) WITH ('connector'='blackhole');
INSERT INTO out SELECT k, n FROM failing(TABLE src PARTITION BY k)`
		p := c.compile(t, sql, nil)
		v := variant{nodes: 2, workers: 2, batchRows: 100, forkRows: 10}
		_, err := engine.Run(context.Background(), p, v.options(c))
		var e *engine.Error
		if !errors.As(err, &e) {
			t.Fatalf("%v is no *engine.Error", err)
		}
		for _, part := range []string{want, "failing", "key group", "k: 777"} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
		if wantGroup := topology.GroupOf(keyHash(777), 256); !e.HasGroup || e.KeyGroup != wantGroup {
			t.Errorf("key group %d, the row's is %d", e.KeyGroup, wantGroup)
		}
	}
}

func keyHash(v int64) uint64 {
	b := batch.New(batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt}))
	b.Cols[0].AppendInt64(v)
	b.EndRow(batch.Insert)
	return batch.HashKey(batch.AppendKey(nil, b, []int{0}, 0))
}
