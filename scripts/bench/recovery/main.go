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
	losses  int
	sizes   []int
	kinds   []string
	rows    int
	out     string
	logs    bool
	trace   string
}

// Ways to lose a node.
const (
	kindOther    = "non-leader"
	kindLeader   = "leader"
	kindVanished = "vanished"
)

// aims are the design's: p50 and max of the first result.
var aims = map[string][2]time.Duration{
	kindOther:    {300 * time.Millisecond, time.Second},
	kindLeader:   {900 * time.Millisecond, 2 * time.Second},
	kindVanished: {0, 3 * time.Second},
}

func main() {
	var o options
	var sizes, kinds string
	flag.StringVar(&o.program, "program", "bin/seepnode", "the seepnode `BINARY`")
	flag.IntVar(&o.losses, "losses", 100, "`N` losses of each kind")
	flag.StringVar(&sizes, "sizes", "1,10,100", "state of a partition in `MB`, several with commas")
	flag.StringVar(&kinds, "kinds", kindOther+","+kindLeader+","+kindVanished, "`KINDS` of loss, several with commas")
	flag.IntVar(&o.rows, "rows", 100_000, "rows per `SECOND`")
	flag.StringVar(&o.out, "write", "", "write the result to `FILE`, too")
	flag.BoolVar(&o.logs, "keep-logs", true, "keep the agents' logs when something fails")
	flag.StringVar(&o.trace, "trace", "", "have the agents log all they know of recoveries, and keep their logs in `DIR`")
	flag.Parse()
	os.Exit(cluster.Run("bench-recovery", func(ctx context.Context) error {
		if err := o.read(sizes, kinds); err != nil {
			return err
		}
		return run(ctx, o)
	}))
}

func (o *options) read(sizes, kinds string) error {
	for _, text := range strings.Split(sizes, ",") {
		mb, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || mb < 1 || mb > 10_000 {
			return fmt.Errorf("-sizes %s: sizes are numbers of MB from 1 to 10000", sizes)
		}
		o.sizes = append(o.sizes, mb)
	}
	for _, kind := range strings.Split(kinds, ",") {
		if _, ok := aims[kind]; !ok {
			return fmt.Errorf("-kinds %s: kinds are %s, %s and %s", kinds, kindOther, kindLeader, kindVanished)
		}
		o.kinds = append(o.kinds, kind)
	}
	if o.losses < 1 || o.rows < 1000 || o.rows > 10_000_000 || flag.NArg() > 0 {
		return fmt.Errorf("wrong arguments %q; see -help", os.Args[1:])
	}
	return nil
}

func run(ctx context.Context, o options) error {
	var out strings.Builder
	fmt.Fprintf(&out, "## Recovery: 5 processes on one machine (%d cores, %s/%s, commit %s), %d rows/s, %d losses of each kind\n\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, host.Commit(ctx), o.rows, o.losses)
	fmt.Fprintln(&out, "ms from the loss; p50 / p95 / max. First result: of a killed key group, with a row created after the loss, read from a surviving node.")
	fmt.Fprintln(&out)
	fmt.Fprintln(&out, "| lost | MB in a partition | first result | caught up | ends | detect | commit | restore | replay | aim |")
	fmt.Fprintln(&out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	met := true
	for _, size := range o.sizes {
		results, err := measureSize(ctx, o, size)
		if err != nil {
			return fmt.Errorf("with %d MB in a partition: %w", size, err)
		}
		for _, kind := range o.kinds {
			ok := results[kind].row(&out, kind)
			met = met && ok
		}
	}
	fmt.Fprintln(&out)
	if !met {
		fmt.Fprintln(&out, "Not all aims are met.")
	}
	fmt.Print(out.String())
	if o.out == "" {
		return nil
	}
	return os.WriteFile(o.out, []byte(out.String()), 0o644)
}

// result is what was measured of one kind at one size.
type result struct {
	lost                                             time.Time     // the last time
	lostBytes                                        int64         // of state, the last time
	lostParts                                        int           // of the keyed stage, the last time
	stateBytes                                       int64         // of a lost partition, the mean
	ended                                            sample.Sample // from the kill until its connections ended
	first, caughtUp, detect, commit, restore, replay sample.Sample
}

func (r *result) row(out *strings.Builder, kind string) (met bool) {
	three := func(s sample.Sample) string {
		return fmt.Sprintf("%s / %s / %s", sample.Ms(s.Quantile(0.5)), sample.Ms(s.Quantile(0.95)), sample.Ms(s.Max()))
	}
	aim, verdict := aims[kind], "met"
	met = r.first.Max() <= aim[1] && (aim[0] == 0 || r.first.Quantile(0.5) <= aim[0])
	if !met {
		verdict = "missed"
	}
	want := "max " + sample.Ms(aim[1])
	if aim[0] > 0 {
		want = "p50 " + sample.Ms(aim[0]) + ", " + want
	}
	fmt.Fprintf(out, "| %s | %.1f | %s | %s | %s | %s | %s | %s | %s | %s: %s |\n", kind, float64(r.stateBytes)/1e6, three(r.first), three(r.caughtUp),
		three(r.ended), three(r.detect), three(r.commit), three(r.restore), three(r.replay), want, verdict)
	return met
}
