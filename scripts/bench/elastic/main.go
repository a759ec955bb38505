package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/seepnode/seepnode/scripts/cluster"
)

type options struct {
	program, plots, out string
	only                string
	quick, logs         bool
}

// experiment is one of the paper's.
type experiment struct {
	key, title string
	budget     time.Duration // the most that it takes, quick or not
	run        func(ctx context.Context, b *bench) error
}

// experiments in the order in which they are run.
var experiments = []experiment{
	{"d", "Latency against the size of state and the checkpoint interval", 25 * time.Minute, stateSize},
	{"b", "Pause of a rescale", 25 * time.Minute, rescalePause},
	{"c", "Recovery against the checkpoint interval and the rate", 30 * time.Minute, recoveries},
	{"p", "Parallel recovery", 15 * time.Minute, parallelRecovery},
	{"a", "A load that rises and falls", 10 * time.Minute, ramp},
	{"f", "Nodes chosen automatically and by hand", 20 * time.Minute, fit},
	{"e", "Threshold", 25 * time.Minute, threshold},
}

// bench is what experiments share.
type bench struct {
	options
	report *report
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/seepnode", "the seepnode `BINARY`")
	flag.StringVar(&o.plots, "plots", "bin/plots", "the `BINARY` of scripts/plots; \"\": data without charts")
	flag.StringVar(&o.out, "out", "scripts/bench/elastic/results", "write data, summary and charts to `DIR`")
	flag.StringVar(&o.only, "only", "", "run only these `EXPERIMENTS`, letters with commas between: "+keys())
	flag.BoolVar(&o.quick, "quick", false, "fewer and shorter runs: minutes instead of an hour, figures to look at rather than to quote")
	flag.BoolVar(&o.logs, "keep-logs", false, "keep the agents' logs when something fails")
	flag.Parse()
	os.Exit(cluster.Run("bench-elastic", func(ctx context.Context) error {
		chosen, err := choose(o.only)
		if err != nil {
			return err
		}
		if flag.NArg() > 0 {
			return fmt.Errorf("wrong arguments %q; see -help", flag.Args())
		}
		return run(ctx, o, chosen)
	}))
}

// keys names all experiments.
func keys() string {
	var all []string
	for _, e := range experiments {
		all = append(all, e.key)
	}
	return strings.Join(all, ",")
}

func choose(only string) ([]experiment, error) {
	if only == "" {
		return experiments, nil
	}
	var chosen []experiment
	for _, key := range strings.Split(only, ",") {
		found := false
		for _, e := range experiments {
			if e.key == strings.TrimSpace(key) {
				chosen, found = append(chosen, e), true
			}
		}
		if !found {
			return nil, fmt.Errorf("-only %s: there is no experiment %q, there are %s", only, key, keys())
		}
	}
	return chosen, nil
}

func run(ctx context.Context, o options, chosen []experiment) error {
	if err := cluster.CanLimit(); err != nil {
		return fmt.Errorf("agents cannot be given a share of the processors here: %w", err)
	}
	r, err := newReport(o.out)
	if err != nil {
		return err
	}
	var all time.Duration
	for _, e := range chosen {
		all += e.budget
	}
	say("%d experiments, at most %s", len(chosen), all)
	r.begin(ctx, o, chosen)
	b := &bench{options: o, report: r}
	var failed []string
	for _, e := range chosen {
		say("(%s) %s", e.key, e.title)
		r.section(e)
		started := time.Now()
		within, cancel := context.WithTimeoutCause(ctx, e.budget, fmt.Errorf("it takes more than its %s", e.budget))
		err := e.run(within, b)
		cancel()
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), r.write())
		}
		if err != nil {
			failed = append(failed, e.key)
			say("(%s) failed: %v", e.key, err)
			r.text("**Failed** after %s: %v\n", time.Since(started).Round(time.Second), err)
		}
		if err := r.write(); err != nil {
			return err
		}
	}
	fmt.Print(r.String())
	if o.plots != "" {
		if err := r.draw(ctx, o.plots); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s; the summary says why", strings.Join(failed, ", "))
	}
	return nil
}

// say tells who waits how far it is.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

// pick gives what a run of everything takes, or a quick one.
func pick[T any](b *bench, full, quick T) T {
	if b.quick {
		return quick
	}
	return full
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
