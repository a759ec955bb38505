package datagen

import (
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
)

func mustSchedule(t interface{ Fatal(...any) }, text string) pace {
	p, err := parseSchedule(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScheduleRampsHoldsAndSteps(t *testing.T) {
	p := mustSchedule(t, "0 s: 1000, 10 s: 1000, 20s:10000, 20 s: 500, 30 s: 0, 40 s: 0, 40 s: 100")
	for _, c := range []struct{ ms, rows uint64 }{
		{0, 0}, {1, 1}, {10_000, 10_000}, // 1000 a second
		{11_000, 11_450}, {15_000, 26_250}, {20_000, 65_000}, // up to 10000 a second: 55,000 rows in all
		{20_002, 65_000}, {21_000, 65_475}, {30_000, 67_500}, // down from 500 a second
		{39_999, 67_500}, {40_000, 67_500}, {40_010, 67_501}, {50_000, 68_500}, // nothing, then 100 a second for ever
	} {
		if got := p.rows(c.ms); got != c.rows {
			t.Errorf("%d rows after %d ms, want %d", got, c.ms, c.rows)
		}
	}
	for _, c := range []struct{ row, ms uint64 }{{0, 0}, {999, 999}, {9_999, 9_999}, {10_000, 10_000}, {65_000, 20_000}, {67_499, 29_800}, {67_500, 40_000}, {67_501, 40_010}} {
		if got := p.time(c.row); got != c.ms {
			t.Errorf("row %d comes after %d ms, want %d", c.row, got, c.ms)
		}
	}
}

// exactRows is the area below the rate in 1/1000 of a row, by fractions and without the arithmetic of pace.
func exactRows(p pace, ms uint64) *big.Rat {
	sum := new(big.Rat)
	for i, from := range p {
		end := ms
		rate := func(at uint64) *big.Rat { return new(big.Rat).SetInt64(int64(from.rate)) }
		if i+1 < len(p) {
			to := p[i+1]
			if end = min(end, to.ms); to.ms > from.ms {
				slope := big.NewRat(int64(to.rate)-int64(from.rate), int64(to.ms-from.ms))
				rate = func(at uint64) *big.Rat {
					r := new(big.Rat).Mul(slope, new(big.Rat).SetInt64(int64(at-from.ms)))
					return r.Add(r, new(big.Rat).SetInt64(int64(from.rate)))
				}
			}
		}
		if end <= from.ms {
			continue
		}
		area := new(big.Rat).Add(rate(from.ms), rate(end))
		area.Mul(area, big.NewRat(int64(end-from.ms), 2))
		sum.Add(sum, area)
	}
	return sum
}

func drawSchedule(t *rapid.T) pace {
	var parts []string
	ms, rateMax := 0, rapid.SampledFrom([]int{3, 1000, 100_000, scheduleRateMax}).Draw(t, "greatest rate")
	for i := range rapid.IntRange(1, 6).Draw(t, "points") {
		if i > 0 {
			ms += rapid.SampledFrom([]int{0, 1, 7, 1000, 86_399_999}).Draw(t, "distance")
		}
		parts = append(parts, fmt.Sprintf("%d ms: %d", ms, rapid.IntRange(0, rateMax).Draw(t, "rate")))
	}
	parts = append(parts, fmt.Sprintf("%d:%d", ms, rapid.IntRange(1, rateMax).Draw(t, "last rate")))
	return mustSchedule(t, strings.Join(parts, ", "))
}

func TestRowsAreTheAreaBelowTheRateAndTimesAreItsInverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawSchedule(t)
		end := p[len(p)-1].ms + 10_000
		times := []uint64{0, end}
		for _, point := range p {
			times = append(times, point.ms, point.ms+1, point.ms-min(point.ms, 1))
		}
		for range 20 {
			times = append(times, rapid.Uint64Range(0, end).Draw(t, "ms"))
		}
		slices.Sort(times)
		thousand := big.NewInt(1000)
		for _, ms := range times {
			exact := exactRows(p, ms)
			whole := new(big.Int).Div(exact.Num(), new(big.Int).Mul(exact.Denom(), thousand))
			if got := p.rows(ms); got != whole.Uint64() {
				t.Fatalf("%v: %d rows after %d ms, want %d", p, got, ms, whole)
			}
		}
		for range 20 {
			row := rapid.Uint64Range(0, p.rows(end)-1).Draw(t, "row")
			due := new(big.Rat).SetInt64(int64(row * 1000))
			ms := p.time(row)
			if exactRows(p, ms).Cmp(due) > 0 || exactRows(p, ms+1).Cmp(due) <= 0 || ms > 0 && p.time(row-min(row, 1)) > ms {
				t.Fatalf("%v: row %d comes after %d ms, where %v thousandths of a row are due", p, row, ms, exactRows(p, ms))
			}
		}
	})
}

func TestSteadyPaceIsThatOfAnyRate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Uint64Range(1, 1<<63-1).Draw(t, "rate")
		ms := rapid.Uint64Range(0, 1<<63-1).Draw(t, "ms")
		want := new(big.Int).Mul(new(big.Int).SetUint64(rate), new(big.Int).SetUint64(ms))
		want.Div(want, big.NewInt(1000))
		if most := big.NewInt(rowsMax); want.Cmp(most) > 0 {
			want = most
		}
		if got := steady(rate).rows(ms); got != want.Uint64() {
			t.Fatalf("%d rows, want %d", got, want)
		}
		row := rapid.Uint64Range(0, rowsMax).Draw(t, "row")
		due := new(big.Int).Mul(new(big.Int).SetUint64(row), big.NewInt(1000))
		if got := steady(rate).time(row); got != due.Div(due, new(big.Int).SetUint64(rate)).Uint64() {
			t.Fatalf("row %d comes after %d ms, want %d", row, got, due)
		}
	})
}

// TestScheduledRowsAreTheSameSetForAnyNumberOfSplitsAndCarryTheirTimes reads in steps, as a source does.
func TestScheduledRowsAreTheSameSetForAnyNumberOfSplitsAndCarryTheirTimes(t *testing.T) {
	schema := batch.NewSchema(field("n", batch.TypeBigInt), field("ts", batch.TypeTimestamp))
	schedule := "0 s: 100, 1 s: 5000, 2 s: 0, 3 s: 0, 3 s: 700"
	p := mustSchedule(t, schedule)
	var want [][]byte
	for _, splits := range []int{1, 3, 8} {
		c := config(schema, "rows-per-second.schedule", schedule, "splits", fmt.Sprint(splits))
		rows := batch.New(schema)
		for split := range splits {
			offset := int64(0)
			for ms := int64(0); ms <= 4000; ms += 10 {
				before := rows.Len()
				var status connector.Status
				if offset, status = readUntil(t, c, fmt.Sprintf("%04d", split), offset, ms, rows); status != connector.Idle {
					t.Fatalf("status %d", status)
				}
				for i := before; i < rows.Len(); i++ {
					if at := rows.Row(i).Int64(1); at >= ms {
						t.Fatalf("a row of %d ms was read after %d ms", at, ms)
					}
				}
			}
		}
		if rows.Len() != int(p.rows(4000)) {
			t.Fatalf("%d splits: %d rows, want %d", splits, rows.Len(), p.rows(4000))
		}
		times := slices.Sorted(slices.Values(rows.Cols[1].Int64s))
		for i, at := range times {
			if at != int64(p.time(uint64(i))) {
				t.Fatalf("row %d of %d splits comes after %d ms, want %d", i, splits, at, p.time(uint64(i)))
			}
		}
		got := connectortest.SortedRows(rows)
		if want == nil {
			want = got
		}
		if !slices.EqualFunc(got, want, slices.Equal) {
			t.Fatalf("%d splits give other rows", splits)
		}
	}
}

func TestWrongSchedulesAreRefused(t *testing.T) {
	schema := batch.NewSchema(field("n", batch.TypeInt))
	for text, want := range map[string]string{
		"":                           "is not a time and a rate",
		"1000":                       "is not a time and a rate",
		"0 s: 10,":                   "is not a time and a rate",
		"0 parsecs: 10":              "unknown unit",
		"0 s: -1":                    "rows per second from 0 to 1000000000",
		"0 s: 1000000001":            "rows per second from 0 to 1000000000",
		"0 s: 1.5":                   "rows per second from 0 to 1000000000",
		"1 s: 10":                    "the first point must lie at 0 s",
		"0 s: 1, 5 s: 2, 4 s: 3":     `"4 s: 3" lies before the point in front of it`,
		"0 s: 0, 10 s: 0":            "never makes a row",
		"0 s: 1, 100 d: 1":           "too late",
		strings.Repeat("0:1,", 2000): "at most 1000",
	} {
		err := definition.Check(config(schema, "rows-per-second.schedule", text))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "table t: option 'rows-per-second.schedule'") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := definition.Check(config(schema, "rows-per-second.schedule", "0:1", "rows-per-second", "5")); err == nil || !strings.Contains(err.Error(), "exclude each other") {
		t.Error(err)
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add("0 s: 1000, 30 s: 10000, 60 s: 0", uint64(45_000))
	f.Add("0:1", uint64(1))
	f.Add("0:5,0:7,1000000000:1000000000,1000000000:0", uint64(1<<63))
	f.Fuzz(func(t *testing.T, text string, ms uint64) {
		p, err := parseSchedule(text)
		if err != nil {
			return
		}
		if ms < 1<<63 && p.rows(ms) > p.rows(ms+1) {
			t.Fatalf("%q: rows are taken back after %d ms", text, ms)
		}
		if row := ms % rowsMax; p.time(row) > p.time(row+1) {
			t.Fatalf("%q: row %d comes after the next one", text, row)
		}
	})
}
