package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/seepnode/seepnode/scripts/cluster"
	"github.com/seepnode/seepnode/scripts/fleet"
)

type options struct {
	program string
	peak    int
	lines   bool
	logs    bool
}

const (
	workers = 8
	cores   = 0.2
)

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/seepnode", "the seepnode `BINARY`")
	flag.IntVar(&o.peak, "peak", 1500, "the greatest load, `ROWS` per second; it begins with a tenth of it")
	flag.BoolVar(&o.lines, "lines", false, "write lines even to a terminal")
	flag.BoolVar(&o.logs, "keep-logs", false, "keep the agents' logs when something fails")
	flag.Parse()
	os.Exit(cluster.Run("demo-elastic", func(ctx context.Context) error { return run(ctx, o) }))
}

func run(ctx context.Context, o options) (err error) {
	if flag.NArg() > 0 || o.peak < 10 || o.peak > 1_000_000 {
		return fmt.Errorf("wrong arguments %q; see -help", os.Args[1:])
	}
	c := fleet.Config{Program: o.program, KeepLogs: o.logs, Workers: workers, Cores: cores, Flags: []string{"--autoscale", "rate"}}
	limited := "of a fifth of a core each"
	if err := cluster.CanLimit(); err != nil {
		c.Cores, limited = 0, fmt.Sprintf("which are not limited (%v)", err)
	}
	fmt.Printf("Starting 3 nodes that lead and %d that work, %s.\n", workers, limited)
	f, err := fleet.New(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = f.Close(err) }()
	p := &play{fleet: f, program: o.program, rate: loadOf(o.peak), out: os.Stdout}
	p.load = fleet.Workload{Rate: p.rate, Keys: 2000, StateBytes: 100, Work: 8, Settings: "SET 'seal.retention' = 'all';\n"}
	if err := p.begin(ctx); err != nil {
		return err
	}
	s := newScreen(os.Stdout, o.lines)
	err = p.show(ctx, s)
	s.close()
	if err != nil {
		return err
	}
	return p.end(ctx)
}

// The parts of the show, since the query's start.
const (
	rises  = 8 * time.Second
	top    = rises + 30*time.Second
	killAt = top + 15*time.Second
	falls  = top + 40*time.Second
	ends   = falls + 15*time.Second
	// over is when nodes that are not needed have been given back at the latest.
	over = ends + 60*time.Second
)

func loadOf(peak int) fleet.Schedule {
	return fleet.Schedule{fleet.At(0, peak/10), fleet.At(rises, peak/10), fleet.At(top, peak), fleet.At(falls, peak), fleet.At(ends, peak/10), fleet.At(ends, 0)}
}
