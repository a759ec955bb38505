package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/host"
	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/cluster"
)

type options struct {
	program string
	rates   []int
	warm    time.Duration
	lasts   time.Duration
	idle    time.Duration
	out     string
	logs    bool
	profile string
}

const nodeCount = 4

// aims are the design's p99 by rate.
var aims = map[int]time.Duration{10_000: 20 * time.Millisecond, 100_000: 25 * time.Millisecond}

func main() {
	var o options
	var rates string
	flag.StringVar(&o.program, "program", "bin/seepnode", "the seepnode `BINARY`")
	flag.StringVar(&rates, "rates", "10000,100000", "`ROWS` per second, several with commas; \"\": no latency is measured")
	flag.DurationVar(&o.warm, "warm-up", 10*time.Second, "`TIME` before the measurement")
	flag.DurationVar(&o.lasts, "lasts", 60*time.Second, "`TIME` that is measured")
	flag.DurationVar(&o.idle, "idle", 20*time.Second, "`TIME` for which an idle cluster is measured; 0: not at all")
	flag.StringVar(&o.out, "write", "", "write the result to `FILE`, too")
	flag.StringVar(&o.profile, "profile", "", "write a CPU profile of each agent for each measurement to `DIR`, which must exist")
	flag.BoolVar(&o.logs, "keep-logs", true, "keep the agents' logs when something fails")
	flag.Parse()
	os.Exit(cluster.Run("bench-latency", func(ctx context.Context) error {
		for text := range strings.SplitSeq(rates, ",") {
			if rates == "" {
				break
			}
			n, err := strconv.Atoi(strings.TrimSpace(text))
			if err != nil || n < 100 || n > 10_000_000 {
				return fmt.Errorf("-rates %s: rates are numbers from 100 to 10000000", rates)
			}
			o.rates = append(o.rates, n)
		}
		if flag.NArg() > 0 || o.warm < 0 || o.lasts <= 0 || o.idle < 0 {
			return fmt.Errorf("wrong arguments %q; see -help", os.Args[1:])
		}
		return run(ctx, o)
	}))
}

func run(ctx context.Context, o options) error {
	var out strings.Builder
	fmt.Fprintf(&out, "## Latency: %d processes on one machine (%d cores, %s/%s, commit %s), k = 2, %s each\n", nodeCount, runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, host.Commit(ctx), o.lasts)
	if len(o.rates) > 0 {
		if err := latencies(ctx, o, &out); err != nil {
			return err
		}
	}
	if o.idle > 0 {
		if err := idle(ctx, o, &out); err != nil {
			return err
		}
	}
	fmt.Print(out.String())
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(out.String()), 0o644)
}

func latencies(ctx context.Context, o options, out *strings.Builder) error {
	fmt.Fprintln(out, "\nms from a row's creation until a reader sees it in the table, at the nodes in turn, the wait for the end of its epoch included.")
	fmt.Fprintln(out)
	fmt.Fprintln(out, "| rows/s | epoch | p50 | p99 | p99.9 | max | epochs | cores used | aim |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, rate := range o.rates {
		m, err := measureRate(ctx, o, rate)
		if err != nil {
			return fmt.Errorf("at %d rows/s: %w", rate, err)
		}
		verdict := "none"
		if aim := aims[rate]; aim > 0 {
			verdict = "p99 " + sample.Ms(aim) + ": met"
			if m.seen.Quantile(0.99) > aim {
				verdict = "p99 " + sample.Ms(aim) + ": missed"
			}
		}
		fmt.Fprintf(out, "| %d | %s | %s | %s | %s | %s | %d | %.2f | %s |\n", rate, m.epoch, sample.Ms(m.seen.Quantile(0.5)), sample.Ms(m.seen.Quantile(0.99)),
			sample.Ms(m.seen.Quantile(0.999)), sample.Ms(m.seen.Max()), m.epochs, m.cores, verdict)
	}
	return nil
}
