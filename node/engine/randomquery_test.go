package engine_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
)

// queryWriter writes a random query: tables of datagen with NULLs and late rows, windows, views over views, and sinks over them. Every
// view has the columns k, v, s and d.
type queryWriter struct {
	r     *rand.Rand
	b     strings.Builder
	views []string
	sinks []string
	// late: rows come behind the watermark; random: values depend on where a row stands. Batch mode gives something else then.
	late, random bool
}

func (w *queryWriter) n(k int) int                     { return w.r.IntN(k) }
func (w *queryWriter) pick(s ...string) string         { return s[w.n(len(s))] }
func (w *queryWriter) view() string                    { return w.views[w.n(len(w.views))] }
func (w *queryWriter) line(format string, args ...any) { fmt.Fprintf(&w.b, format+";\n", args...) }
func (w *queryWriter) addView(format string, args ...any) {
	name := fmt.Sprintf("v%d", len(w.views))
	w.line("CREATE VIEW %s AS %s", name, fmt.Sprintf(format, args...))
	w.views = append(w.views, name)
}

func (w *queryWriter) condition() string {
	return w.pick("k > 2", "v IS NOT NULL", "k IS NULL OR v < 5", "s = 'a' OR s > '5'", "MOD(v, 3) <> 1", "d >= 0", "s IS NULL", "k = v",
		"NOT (k < 3 AND v > 2)", "k BETWEEN 1 AND 4", "v IN (1, 2, 3, 4, NULL)", "TRUE")
}

// aggregates are the select items of an aggregation beside k.
func (w *queryWriter) aggregates() string {
	v := w.pick("COUNT(*)", "SUM(v)", "COUNT(DISTINCT v)", "MAX(v)", "MIN(v)", "AVG(v)", "SUM(DISTINCT v)", "COUNT(v) FILTER (WHERE k > 1)",
		"SUM(v) FILTER (WHERE s > '5')", "COUNT(s)", "COUNT(DISTINCT s)", "COUNT(*) + SUM(k)", "MAX(k) - MIN(v)", "AVG(DISTINCT v)",
		"COUNT(DISTINCT v) FILTER (WHERE d > 1)")
	s := w.pick("MIN(s)", "MAX(s)", "MAX(s) FILTER (WHERE v > 2)", "CAST(COUNT(*) AS STRING)", "MIN(DISTINCT s)")
	d := w.pick("SUM(d)", "MAX(d)", "MIN(d)", "SUM(DISTINCT d)", "CAST(COUNT(d) AS DOUBLE)", "MAX(DISTINCT d)")
	return fmt.Sprintf("%s AS v, %s AS s, %s AS d", v, s, d)
}

func (w *queryWriter) addStep() {
	from := w.view()
	switch w.n(9) {
	case 0:
		w.addView("SELECT k, v, s, d FROM %s WHERE %s", from, w.condition())
	case 1:
		w.addView("SELECT %s AS k, %s AS v, %s AS s, %s AS d FROM %s", w.pick("v", "MOD(v, 5)", "k + 1", "NULLIF(k, 2)", "COALESCE(k, v, 0)"),
			w.pick("k", "v * 2", "CASE WHEN k > 2 THEN v ELSE k END"), w.pick("s", "UPPER(s)", "COALESCE(s, 'x')", "CAST(k AS STRING)", "s || 'q'"),
			w.pick("d", "d * 2", "CAST(v AS DOUBLE)", "ABS(d)"), from)
	case 2:
		q := "SELECT * FROM " + from
		for range 1 + w.n(3) {
			q += " UNION ALL SELECT " + w.pick("k, v, s, d", "v, k, s, d", "k, v + 1, s, d", "k, v, 'z', d") + " FROM " + w.view()
			if w.n(2) == 0 {
				q += " WHERE " + w.condition()
			}
		}
		w.addView("%s", q)
	case 3, 4, 5:
		having := ""
		if w.n(4) == 0 {
			having = " HAVING " + w.pick("COUNT(*) > 3", "SUM(v) > 10", "MAX(s) > '5'")
		}
		w.addView("SELECT k, %s FROM %s GROUP BY k%s", w.aggregates(), from, having)
	case 6:
		w.addView("SELECT k, %s FROM %s GROUP BY s, k", w.aggregates(), from)
	case 7:
		w.addView("SELECT DISTINCT k, v, s, %s AS d FROM %s", w.pick("d", "CAST(0 AS DOUBLE)"), from)
	case 8:
		w.addView("SELECT COUNT(*) AS k, %s FROM %s", w.aggregates(), from)
	}
}

// addTable declares table i and some views over it.
func (w *queryWriter) addTable(i int, seed uint64) {
	at := "id * 10"
	if w.late {
		at = "id * 10 + MOD(id * 7919, 1300)"
	}
	rows := []int{300, 1000, 40}[w.n(3)]
	w.line(`CREATE TABLE t%d (id BIGINT, k BIGINT, v BIGINT, s STRING, i INT, arr ARRAY<BIGINT>, ts AS TO_TIMESTAMP_LTZ(%s, 3), d AS CAST(i AS DOUBLE),
  WATERMARK FOR ts AS ts - INTERVAL '%d' SECOND) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='%d','splits'='%d','seed'='%d',
  'fields.id.kind'='sequence','fields.id.start'='0','fields.id.end'='%d','fields.k.min'='0','fields.k.max'='%d','fields.k.null-rate'='0.1',
  'fields.v.min'='-5','fields.v.max'='9','fields.v.null-rate'='0.2','fields.s.length'='1','fields.s.null-rate'='0.1',
  'fields.i.min'='-3','fields.i.max'='3','fields.i.null-rate'='0.3','fields.arr.length'='2')`,
		i, at, w.n(2), rows, 1+w.n(6), seed+uint64(i), rows-1, []int{1, 9, 60}[w.n(3)])
	t := fmt.Sprintf("t%d", i)
	w.addView("SELECT k, v, s, d FROM %s", t)
	tumble := "TUMBLE(TABLE " + t + ", DESCRIPTOR(ts), INTERVAL '1' SECOND)"
	hop := "HOP(TABLE " + t + ", DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '3' SECOND)"
	cumulate := "CUMULATE(TABLE " + t + ", DESCRIPTOR(ts), INTERVAL '1' SECOND, INTERVAL '4' SECOND)"
	switch w.n(5) {
	case 0:
		w.addView("SELECT k, %s FROM TABLE(%s) GROUP BY k, window_start, window_end", w.aggregates(), w.pick(tumble, hop, cumulate))
	case 1:
		w.addView(`SELECT COUNT(*) AS k, SUM(v) AS v, MAX(s) AS s, MIN(d) AS d FROM (
  SELECT k, COUNT(*) AS v, MIN(s) AS s, SUM(d) AS d, window_start, window_end, window_time FROM TABLE(%s) GROUP BY k, window_start, window_end, window_time)
  GROUP BY window_start, window_end`, w.pick(tumble, hop))
	case 2:
		w.addView("SELECT k, x AS v, s, d FROM %s CROSS JOIN UNNEST(arr) AS u(x)", t)
	case 3:
		if w.late {
			w.addView("SELECT k, n AS v, CAST(started AS STRING) AS s, CAST(r AS DOUBLE) AS d FROM bursts(TABLE %s PARTITION BY k, 150)", t)
			w.random = true
		}
	}
	if w.random {
		w.addView("SELECT RAND_INTEGER(5) + k AS k, v, UUID() AS s, FLOOR(RAND() * 3) AS d FROM %s", t)
		w.addView("SELECT EXTRACT(EPOCH FROM NOW()) * 0 + k AS k, v, CAST(CURRENT_TIMESTAMP AS STRING) AS s, d FROM %s", t)
	}
}

// randomQuery is the query of a seed; settings come before it.
func randomQuery(seed uint64) (w *queryWriter, settings, sql string) {
	w = &queryWriter{r: rand.New(rand.NewPCG(seed, 77))}
	settings = fmt.Sprintf("SET 'seal'='rows:%d';\n", []int{1, 7, 20, 100}[w.n(4)])
	if w.n(2) == 0 {
		w.line("SET 'key-groups'='%d'", []int{1, 3, 16, 64}[w.n(4)])
	}
	w.late, w.random = w.n(3) == 0, w.n(4) == 0
	for i := range 1 + w.n(2) {
		w.addTable(i, seed)
	}
	for range 2 + w.n(6) {
		w.addStep()
	}
	for i := range 1 + w.n(3) {
		from := w.views[len(w.views)-1]
		if i > 0 {
			from = w.view()
		}
		w.sinks = append(w.sinks, fmt.Sprintf("o%d", i))
		w.line("CREATE TABLE o%d (k BIGINT, v BIGINT, s STRING, d DOUBLE) WITH ('connector'=%s)", i, w.pick("'capture','sink.lanes'='3'", "'capture'", "'tap'"))
		w.line("INSERT INTO o%d SELECT CAST(k AS BIGINT), CAST(v AS BIGINT), s, CAST(d AS DOUBLE) FROM %s", i, from)
	}
	return w, settings, w.b.String()
}

// capturedRun is a run whose sinks capture.
type capturedRun struct {
	plan   *plan.Plan
	rows   *captured
	result *engine.Result
}

// runCaptured runs a query; a nil error of compile says that it was run.
func runCaptured(t *testing.T, sql string, v variant, replay *engine.SealLog) (out capturedRun, compile, run error) {
	t.Helper()
	c := newCatalog(t, burstsDefinition())
	out.rows = registerCapture(t, c)
	if out.plan, compile = plan.Compile(sql, c, plan.Options{}); compile != nil {
		return out, compile, nil
	}
	o := v.options(c)
	o.Replay = replay
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out.result, run = engine.Run(ctx, out.plan, o)
	return out, nil, run
}

// differences says where two runs of a query are not the same.
func (r capturedRun) differences(first capturedRun, sinks []string) (out []string) {
	if m := engine.CompareChains(r.plan, first.result.Chains, r.result.Chains); m != nil {
		out = append(out, m.Error())
	}
	for _, s := range sinks {
		if d := difference(first.rows.lines(s), r.rows.lines(s)); d != "" {
			out = append(out, fmt.Sprintf("sink %s: %s", s, d))
		}
	}
	if a, b := first.result.Progress, r.result.Progress; a.RowsLate != b.RowsLate || a.RowsIn != b.RowsIn {
		out = append(out, fmt.Sprintf("%d of %d rows late, want %d of %d", b.RowsLate, b.RowsIn, a.RowsLate, a.RowsIn))
	}
	return out
}

// rounds is how many random queries to try: SEEPNODE_ROUNDS, or few under -short.
func rounds(t *testing.T, normal, short int) int {
	t.Helper()
	if text := os.Getenv("SEEPNODE_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			t.Fatalf("SEEPNODE_ROUNDS is %q, want a number from 1", text)
		}
		return n
	}
	if testing.Short() {
		return short
	}
	return normal
}

var plainVariant = variant{nodes: 1, workers: 1, batchRows: 16 << 10, forkRows: 1 << 40, memory: true}

// randomVariant is one of all ways to run a query.
func randomVariant(r *rand.Rand) variant {
	return variant{nodes: 1 + r.IntN(5), workers: 1 + r.IntN(3), batchRows: 1 + r.IntN(50), forkRows: int64(r.IntN(20)), memory: true,
		uneven: 1 + r.Uint64()>>1, tiny: r.IntN(2) == 0, paranoid: r.IntN(2) == 0}
}

// TestRandomQueriesGiveTheSameBytesHoweverTheyAreRun compares rows, epochs, weights, order and chains of a plain run with runs of every kind,
// one of them a replay of its seals; and where values do not depend on epochs, what is there in the end with batch mode.
func TestRandomQueriesGiveTheSameBytesHoweverTheyAreRun(t *testing.T) {
	n, refused := rounds(t, 40, 8), 0
	for seed := range uint64(n) {
		w, settings, sql := randomQuery(seed)
		want, compile, err := runCaptured(t, settings+sql, plainVariant, nil)
		if compile != nil {
			refused++
			continue
		}
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("seed %d:\n%s%s", seed, settings, sql)
				}
			}()
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(seed, 5))
			variants := []variant{
				{nodes: 5, workers: 8, batchRows: 1, forkRows: 1, memory: true, uneven: 1 + r.Uint64()>>1},
				{nodes: 3, workers: 2, batchRows: 3, forkRows: 50, tiny: true, paranoid: true, uneven: 1 + r.Uint64()>>1},
				{nodes: 1, workers: 8, batchRows: 7, forkRows: 1, memory: true},
				{nodes: 2, workers: 1, batchRows: 1 << 14, forkRows: 1 << 40, memory: true, tiny: true, paranoid: true},
				randomVariant(r), // replays
			}
			for i, v := range variants {
				var replay *engine.SealLog
				if i == len(variants)-1 {
					replay = want.result.Seals
				}
				got, _, err := runCaptured(t, settings+sql, v, replay)
				if err != nil {
					t.Fatalf("%v: %v", v, err)
				}
				for _, d := range got.differences(want, w.sinks) {
					t.Errorf("%v: %s", v, d)
				}
			}
			if w.late || w.random {
				return
			}
			batch, compile, err := runCaptured(t, "SET 'execution.runtime-mode'='batch';\n"+settings+sql, plainVariant, nil)
			if compile != nil || err != nil {
				t.Fatalf("batch mode: %v%v", compile, err)
			}
			for _, s := range w.sinks {
				if a, b := want.rows.final(s), batch.rows.final(s); !slices.Equal(a, b) {
					t.Errorf("sink %s ends with other rows in batch mode: %s", s, difference(strings.Join(a, "\n"), strings.Join(b, "\n")))
				}
			}
		})
	}
	if 4*refused > n {
		t.Errorf("%d of %d queries were refused while planning", refused, n)
	}
}

// TestRandomQueriesSealedByTheClockGiveTheSameBytesWhenReplayed: how the clock cuts epochs, and which splits it finds idle, is all in the seals.
func TestRandomQueriesSealedByTheClockGiveTheSameBytesWhenReplayed(t *testing.T) {
	for seed := range uint64(rounds(t, 4, 1)) {
		w, _, sql := randomQuery(1000 + seed)
		r := rand.New(rand.NewPCG(seed, 6))
		sql = strings.ReplaceAll(sql, "'rows-per-second'='0'", fmt.Sprintf("'rows-per-second'='%d'", 4000+r.IntN(8000)))
		sql = strings.ReplaceAll(sql, "'connector'='datagen'", "'connector'='datagen','scan.watermark.idle-timeout'='"+w.pick("5 ms", "0 ms")+"'")
		want, compile, err := runCaptured(t, sql, randomVariant(r), nil)
		if compile != nil {
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, sql)
		}
		for range 3 {
			v := randomVariant(r)
			got, _, err := runCaptured(t, sql, v, want.result.Seals)
			if err != nil {
				t.Fatalf("seed %d %v: %v\n%s", seed, v, err, sql)
			}
			for _, d := range got.differences(want, w.sinks) {
				t.Errorf("seed %d %v: %s\n%s", seed, v, d, sql)
			}
		}
	}
}
