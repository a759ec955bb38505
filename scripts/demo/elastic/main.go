package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
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
	workersMost = 8
	cores       = 0.2
	spares      = 1
	// idle is how long there are too many nodes before the pool gives some back.
	idle = 12 * time.Second
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == providerWord {
		os.Exit(command(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
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
	c := fleet.Config{Program: o.program, KeepLogs: o.logs, Cores: cores}
	limited := "of a fifth of a core each"
	if err := cluster.CanLimit(); err != nil {
		c.Cores, limited = 0, fmt.Sprintf("which are not limited (%v), so that the load may be too little for them and none joins", err)
	}
	fmt.Printf("Starting %d nodes that lead. Their pool may start and end %d that work, %s.\n", fleet.Voters, workersMost, limited)
	f, err := fleet.Prepare(c)
	if err != nil {
		return err
	}
	defer func() { err = f.Close(err) }()
	m := &machines{agents: workers{f}, most: workersMost, now: time.Now}
	d, err := open(filepath.Join(f.Dir(), "provider"), m)
	if err != nil {
		return err
	}
	defer d.close() // before the fleet: nothing is started in the middle of its end
	flags, err := leadFlags(d)
	if err != nil {
		return err
	}
	if err := f.Lead(ctx, flags...); err != nil {
		return err
	}
	p := &play{fleet: f, machines: m, program: o.program, rate: loadOf(o.peak), out: os.Stdout, limited: c.Cores > 0}
	p.load = fleet.Workload{Rate: p.rate, Keys: 2000, StateBytes: 100, Work: 8, Settings: "SET 'seal.retention' = 'all';\n"}
	if err := p.begin(ctx); err != nil {
		return err
	}
	s := newScreen(os.Stdout, o.lines)
	err = p.show(ctx, s)
	s.close()
	if err != nil {
		if ctx.Err() == nil {
			p.tellAll()
		}
		return err
	}
	return p.end(ctx)
}

// leadFlags are those of the nodes that may lead: they keep the pool.
func leadFlags(d *desk) ([]string, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	flags, err := providerFlags(program, d.listener.Addr().String())
	return append(flags, "--autoscale", "rate", "--max-nodes", strconv.Itoa(fleet.Voters+workersMost), "--spares", strconv.Itoa(spares),
		"--provider-option", "idle-timeout="+idle.String(), "--provider-option", "launch-deadline=1m"), err
}

// The parts of the show, since the query's start.
const (
	rises  = 8 * time.Second
	top    = rises + 30*time.Second
	killAt = top + 15*time.Second
	falls  = top + 40*time.Second
	ends   = falls + 15*time.Second
	// over is when nodes that are not needed have left at the latest.
	over = ends + 75*time.Second
)

func loadOf(peak int) fleet.Schedule {
	return fleet.Schedule{fleet.At(0, peak/10), fleet.At(rises, peak/10), fleet.At(top, peak), fleet.At(falls, peak), fleet.At(ends, peak/10), fleet.At(ends, 0)}
}
