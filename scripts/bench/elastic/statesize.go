package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/fleet"
)

// stateSize is experiment (d).
func stateSize(ctx context.Context, b *bench) error {
	out, err := b.report.data("d-state.csv", "entries", "checkpoint_s", "rows_per_s", "p50_ms", "p95_ms", "p99_ms", "max_ms", "silence_ms")
	if err != nil {
		return err
	}
	defer out.close()
	entries := pick(b, []int{100, 10_000, 1_000_000}, []int{100, 10_000, 200_000})
	intervals := pick(b, []int{64, 512, 2048}, []int{64, 512})
	const rate = 1000
	lasts := pick(b, 45*time.Second, 15*time.Second)
	b.report.text("3 workers of 0.4 cores, one partition of the keyed stage, %d rows/s, %s each; a checkpoint interval of 5 s, say, is 512 epochs of 10 ms.\n", rate, lasts)
	c := chart{Name: "d-state", Title: "Latency against state and checkpoint interval", X: "checkpoint interval, s", Panels: []panel{{Y: "latency p95, ms"}}}
	var rows [][]string
	for _, n := range entries {
		for _, epochs := range intervals {
			m, err := b.latencyWith(ctx, fleet.Workload{Rate: fleet.Steady(rate), Keys: n, StateBytes: 8, Work: 2, Checkpoints: epochs}, lasts)
			if err != nil {
				return fmt.Errorf("%d entries, checkpoints every %d epochs: %w", n, epochs, err)
			}
			interval := float64(epochs) / 100
			say("%d entries, checkpoints every %.1f s: p95 %s ms", n, interval, sample.Ms(m.ages.Quantile(0.95)))
			if err := out.row(n, interval, rate, m.ages.Quantile(0.5), m.ages.Quantile(0.95), m.ages.Quantile(0.99), m.ages.Max(), m.silence); err != nil {
				return err
			}
			rows = append(rows, []string{strconv.Itoa(n), fmt.Sprintf("%.1f", interval), sample.Ms(m.ages.Quantile(0.5)), sample.Ms(m.ages.Quantile(0.95)), sample.Ms(m.ages.Quantile(0.99)), sample.Ms(m.ages.Max())})
		}
		c.Panels[0].Series = append(c.Panels[0].Series, series{Name: fmt.Sprintf("%d entries", n), File: out.name, X: "checkpoint_s", Y: "p95_ms", Where: map[string]string{"entries": strconv.Itoa(n)}, Style: "both"})
	}
	b.report.markdown([]string{"entries", "checkpoint every, s", "p50, ms", "p95, ms", "p99, ms", "max, ms"}, rows)
	b.report.chart(c)
	return nil
}

type latencies struct {
	ages    sample.Sample
	silence time.Duration
}

// latencyWith measures a workload in a cluster of its own.
func (b *bench) latencyWith(ctx context.Context, load fleet.Workload, lasts time.Duration) (m *latencies, err error) {
	f, err := b.newRig(ctx, 3, 0.4)
	if err != nil {
		return nil, err
	}
	defer func() { err = f.Close(err) }()
	if err := f.Add(ctx, load); err != nil {
		return nil, err
	}
	w, err := f.Watch(ctx)
	if err != nil {
		return nil, err
	}
	defer w.End()
	// What filling the state cost is over by then.
	if err := pause(ctx, 10*time.Second); err != nil {
		return nil, err
	}
	from := time.Now()
	if err := pause(ctx, lasts); err != nil {
		return nil, err
	}
	to := time.Now()
	w.End()
	return &latencies{w.Ages(from, to), w.Silence(from, to)}, w.Check()
}
