package main

import (
	"fmt"
	"slices"
	"strings"
)

// savedSizes are the keyed counts that are run with and without checkpoints, long enough for some ten of these.
var savedSizes = []struct{ keys, rows int }{{1_000, 400_000_000}, {100_000, 120_000_000}, {1_000_000, 60_000_000}}

// benchSaved measures what checkpoints cost a keyed count in processor time for each row: unlike rows/s that hardly depends on what else the
// machine does. keys 0 runs all sizes. A round is without, with, with, without, so that a drift of the machine's speed cancels out.
func benchSaved(out *strings.Builder, rounds, keys int) {
	fmt.Fprintf(out, "## What checkpoints cost a keyed count: processor time of a row with them against without, %d rounds of without, with, with, without\n\n", rounds)
	fmt.Fprintln(out, "The state of all keys that were touched is copied and coded every 1.28 s; sending it and what vaults do with it is not in here.")
	fmt.Fprintln(out)
	fmt.Fprintln(out, "| keys | M rows | ns a row without | with | more, median (least to most of a round) | checkpoints | MB each | aim |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, size := range savedSizes {
		if keys != 0 && keys != size.keys {
			continue
		}
		k, r := fmt.Sprint(size.keys), fmt.Sprint(size.rows)
		var off, on []measurement
		var more []float64
		for range rounds {
			a := child("count", k, r, "1")
			b, c := child("count", k, r, "1", "saved"), child("count", k, r, "1", "saved")
			d := child("count", k, r, "1")
			off, on = append(off, a, d), append(on, b, c)
			more = append(more, 100*((cost(b)+cost(c))/(cost(a)+cost(d))-1))
		}
		slices.Sort(more)
		middle, verdict := more[len(more)/2], "5 %: met"
		if middle > 5 {
			verdict = "5 %: missed"
		}
		fmt.Fprintf(out, "| %d | %d | %.1f | %.1f | %+.1f %% (%+.1f to %+.1f) | %.0f | %.2f | %s |\n", size.keys, size.rows/1_000_000, median(off, cost), median(on, cost),
			middle, more[0], more[len(more)-1], median(on, func(m measurement) float64 { return float64(m.Saves) }),
			median(on, func(m measurement) float64 { return m.MeanMB }), verdict)
	}
	fmt.Fprintln(out)
}

// cost is the processor time of a row in ns.
func cost(m measurement) float64 { return 1e9 * m.CPUSeconds / float64(m.Rows) }
