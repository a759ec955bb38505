package engine_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rawRow is a row of numbers that a query has read.
type rawRow []float64

// rawRows are the rows of the sink 'raw'.
func rawRows(t *testing.T, lines []string, want int) (out []rawRow) {
	t.Helper()
	for _, l := range lines {
		var row rawRow
		for _, f := range strings.FieldsFunc(l, func(r rune) bool { return r == ',' || r == '|' }) {
			x, err := strconv.ParseFloat(f, 64)
			if err != nil {
				t.Fatalf("raw line %q: %v", l, err)
			}
			row = append(row, x)
		}
		out = append(out, row)
	}
	if len(out) != want {
		t.Fatalf("%d raw rows, want %d", len(out), want)
	}
	return out
}

// sameSet compares lines in any order.
func sameSet(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if d := difference(strings.Join(want, "\n"), strings.Join(got, "\n")); d != "" {
		t.Errorf("%s, sorted: %s", what, d)
	}
}

// perKey are COUNT, SUM, MIN, MAX and AVG of whole numbers.
type perKey struct{ n, sum, low, high int }

func (p perKey) avg() int { return p.sum / p.n }

// countKeys groups rows (k, v) by k.
func countKeys(rows []rawRow) map[int]perKey {
	keys := map[int]perKey{}
	for _, r := range rows {
		k, v := int(r[0]), int(r[1])
		p, ok := keys[k]
		if !ok {
			p.low, p.high = v, v
		}
		keys[k] = perKey{p.n + 1, p.sum + v, min(p.low, v), max(p.high, v)}
	}
	return keys
}

// countCounts groups keys by how many rows they have: n, number of keys, highest sum.
func countCounts(keys map[int]perKey, separator string) (lines []string) {
	many, highest := map[int]int{}, map[int]int{}
	for _, p := range keys {
		many[p.n]++
		highest[p.n] = max(highest[p.n], p.sum)
	}
	for n := range many {
		lines = append(lines, fmt.Sprintf("%d%s%d%s%d", n, separator, many[n], separator, highest[n]))
	}
	return lines
}

func checkTwoStages(t *testing.T, o outcome) {
	sameSet(t, "out", o.lines("out"), countCounts(countKeys(rawRows(t, o.lines("raw"), 6000)), ","))
}

// TestRunningAggregatesEndWhereBatchModeDoesAndWhereTheirRowsSay sums the changelogs of the running query up.
func TestRunningAggregatesEndWhereBatchModeDoesAndWhereTheirRowsSay(t *testing.T) {
	sql := ""
	for _, q := range identityQueries {
		if strings.HasPrefix(q.name, "running count") {
			sql = strings.ReplaceAll(q.sql, "'blackhole'", "'capture'") + `;
CREATE TABLE raw (k BIGINT, v BIGINT) WITH ('connector'='tap');
INSERT INTO raw SELECT k, v FROM src`
		}
	}
	for _, mode := range []string{"streaming", "batch"} {
		for _, v := range variants(true) {
			run, compile, err := runCaptured(t, "SET 'execution.runtime-mode' = '"+mode+"';"+sql, v, nil)
			if compile != nil || err != nil {
				t.Fatal(compile, err)
			}
			var raw []string
			for _, r := range run.rows.rows["raw"] {
				raw = append(raw, r.text)
			}
			keys := countKeys(rawRows(t, raw, 6000))
			var want []string
			for k, p := range keys {
				want = append(want, fmt.Sprintf("1 x %d|%d|%d|%d|%d|%d", k, p.n, p.sum, p.low, p.high, p.avg()))
			}
			sameSet(t, mode+" log1", run.rows.final("log1"), want)
			want = nil
			for _, l := range countCounts(keys, "|") {
				want = append(want, "1 x "+l)
			}
			sameSet(t, mode+" out", run.rows.final("out"), want)
		}
	}
}

func checkWindows(t *testing.T, o outcome) {
	type window struct{ k, start int }
	values := map[window][]float64{}
	for _, r := range rawRows(t, o.lines("raw"), 5000) {
		w := window{int(r[1]), int(r[0]) * 10 / 2000 * 2000}
		values[w] = append(values[w], r[2])
	}
	lines := o.lines("out")
	if len(lines) != len(values) {
		t.Errorf("%d windows of keys, want %d", len(lines), len(values))
	}
	for _, l := range lines {
		f := fields(l)
		k, _ := strconv.Atoi(f[0])
		start, end := windowTime(t, f[1]), windowTime(t, f[2])
		v := values[window{k, start}]
		distinct, sum := map[float64]bool{}, new(big.Float).SetPrec(2000)
		for _, x := range v {
			distinct[x] = true
			sum.Add(sum, big.NewFloat(x))
		}
		exact, _ := sum.Float64()
		got, err := strconv.ParseFloat(f[5], 64)
		if err != nil || end != start+2000 || f[3] != strconv.Itoa(len(v)) || f[4] != strconv.Itoa(len(distinct)) || math.Abs(got-exact) > 1e-9 {
			t.Errorf("line %q: raw rows give count %d, distinct %d, sum %v", l, len(v), len(distinct), exact)
		}
		delete(values, window{k, start})
	}
	if len(values) > 0 {
		t.Errorf("%d windows of keys are missing or twice", len(values))
	}
}

// windowTime reads a TIMESTAMP_LTZ, of the zone UTC, in milliseconds since the Unix epoch.
func windowTime(t *testing.T, text string) int {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05.999", text)
	if err != nil {
		t.Fatal(err)
	}
	return int(at.UnixMilli())
}

// checkBursts plays the operator, its timers and the watermark again. Row i is in split i mod 3; an epoch takes 25 rows of each split.
func checkBursts(t *testing.T, o outcome) {
	const rows, splits, sealRows, gap, lag = 5000, 3, 25, 1500, 1000
	key := make([]int, rows)
	for _, r := range rawRows(t, o.lines("raw"), rows) {
		key[int(r[0])] = int(r[1])
	}
	type open struct{ started, last, n int }
	bursts := map[int]open{}
	var want []string
	for epoch, left := 0, rows; left > 0; epoch++ {
		watermark := math.MaxInt
		for s := range splits {
			at := (epoch*sealRows)*splits + s
			for range sealRows {
				if at >= rows {
					break
				}
				b, ok := bursts[key[at]]
				if !ok {
					b = open{at * 10, at * 10, 0}
				}
				bursts[key[at]] = open{min(b.started, at*10), max(b.last, at*10), b.n + 1}
				at += splits
				left--
			}
			if at < rows {
				watermark = min(watermark, (at-splits)*10-lag)
			}
		}
		for k, b := range bursts {
			if b.last+gap <= watermark {
				want = append(want, fmt.Sprintf("%d,%d,%d", k, b.started, b.n))
				delete(bursts, k)
			}
		}
	}
	var got []string
	for _, l := range o.lines("out") {
		got = append(got, l[:strings.LastIndexByte(l, ',')]) // r is random
	}
	sameSet(t, "out", got, want)
}
