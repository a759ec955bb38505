package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/fleet"
)

const (
	// stages is how many the query has.
	stages = 3
	// small are the computers of experiments in which the cluster chooses how many it uses.
	smallWorkers = 8
	smallCores   = 0.2
	// lead is the time that a cluster has to fill its state before the load begins to change.
	lead = 10 * time.Second
	// stepAim is how fast the processed rate follows a step, givenBackAim how fast nodes are given back after the load's end.
	stepAim      = 10 * time.Second
	givenBackAim = 60 * time.Second
)

// heavy is a load that small computers can hardly take.
func heavy() fleet.Workload { return fleet.Workload{Keys: 2000, StateBytes: 100, Work: 8} }

// ramp is experiment (a).
func ramp(ctx context.Context, b *bench) error {
	out, err := b.report.data("a-load.csv", timelineHead...)
	if err != nil {
		return err
	}
	defer out.close()
	c, err := b.calibrate(ctx, heavy(), smallCores)
	if err != nil {
		return err
	}
	// At ten times the least rate five small computers are used to the policy's seven tenths.
	least := max(1, c.rate(0.7)/2)
	long := pick(b, 60*time.Second, 30*time.Second)
	hold := pick(b, 30*time.Second, 20*time.Second)
	load := heavy()
	up, top, down := long, long+hold, 2*long+hold
	step := down + hold
	end := step + hold + 10*time.Second
	over := end + pick(b, 70*time.Second, 60*time.Second)
	load.Rate = fleet.Schedule{fleet.At(0, least), fleet.At(up, 10*least), fleet.At(top, 10*least), fleet.At(down, least), fleet.At(step, least), fleet.At(step, 5*least), fleet.At(end, 5*least), fleet.At(end, 0)}.After(lead)
	b.report.text("%s. %d workers of %g cores, policy `rate`. The rate goes from %d to %d rows/s in %s, back after %s, then in one step to %d, and to nothing at %s.\n", c, smallWorkers, smallCores, least,
		10*least, long, hold, 5*least, end)
	line, err := b.autoscaled(ctx, load, lead, lead+over, "--autoscale", "rate")
	if err != nil {
		return err
	}
	if err := line.write(out, "ramp", lead); err != nil {
		return err
	}
	running := line.part(lead, lead+end)
	followed, ok := line.part(0, lead+end).since(lead+step, func(s second) bool { return s.processed >= 0.9*s.offered })
	b.report.aim("the processed rate follows a step within "+stepAim.String(), ok && followed <= stepAim, "%s", after(followed, ok))
	base := stages // a node for each stage at the most
	back, ok := line.since(lead+end, func(s second) bool { return s.nodes <= base })
	b.report.aim("every node given back within "+givenBackAim.String()+" of the load's end", ok && back <= givenBackAim, "%d nodes at the most, no more than %d %s", line.most(usedNodes), base, after(back, ok))
	silence := running.worst(func(s second) time.Duration { return s.silence })
	b.report.aim("no second without results", silence < time.Second, "longest silence %s ms", sample.Ms(silence))
	b.report.text("\nWorst p99 of a second: %s ms while it rose, %s ms at the top, %s ms while it fell, %s ms after the step.\n", worstP99(line.part(lead, lead+up)), worstP99(line.part(lead+up, lead+top)),
		worstP99(line.part(lead+top, lead+down)), worstP99(line.part(lead+step, lead+end)))
	b.report.chart(chart{Name: "a-load", Title: "A load that rises and falls, policy rate", X: "time, s", Panels: line.panels(out.name, "ramp")})
	return nil
}

func after(d time.Duration, ok bool) string {
	if !ok {
		return "not at all"
	}
	return fmt.Sprintf("after %s", d)
}

func worstP99(l timeline) string {
	return sample.Ms(l.worst(func(s second) time.Duration { return s.p99 }))
}

// autoscaled runs a load in a fleet of small computers that chooses itself how many it uses.
func (b *bench) autoscaled(ctx context.Context, load fleet.Workload, from, until time.Duration, flags ...string) (_ timeline, err error) {
	f, err := b.newRig(ctx, smallWorkers, smallCores, flags...)
	if err != nil {
		return nil, err
	}
	defer func() { err = f.Close(err) }()
	if err := f.Start(ctx, load); err != nil {
		return nil, err
	}
	return f.follow(ctx, load.Rate, from, until)
}

// fit is experiment (f).
func fit(ctx context.Context, b *bench) error {
	out, err := b.report.data("f-fit.csv", "rows_per_s", "way", "nodes", "holds", "p99_ms")
	if err != nil {
		return err
	}
	defer out.close()
	c, err := b.calibrate(ctx, heavy(), smallCores)
	if err != nil {
		return err
	}
	b.report.text("%s. %d workers of %g cores. *Automatic* is what `rate` has chosen for the keyed stage a minute after the load began; *by hand* the fewest partitions, on a node each, that hold", c, smallWorkers, smallCores)
	b.report.text("the load: they process it for a while without falling behind, once the layout is there, within %s.\n", rescaleBudget)
	var rows [][]string
	worst := -smallWorkers
	for _, nodes := range pick(b, []float64{0.5, 1.5, 2.5, 3.5}, []float64{1.5, 2.5}) {
		load := heavy()
		load.Rate = fleet.Steady(int(nodes * float64(c.rate(0.9))))
		auto, least, err := b.fitOne(ctx, load, out)
		if err != nil {
			return fmt.Errorf("%d rows/s: %w", load.Rate[0].Rate, err)
		}
		say("%d rows/s: %d automatically, %d by hand", load.Rate[0].Rate, auto, least)
		rows = append(rows, []string{strconv.Itoa(load.Rate[0].Rate), strconv.Itoa(auto), strconv.Itoa(least)})
		worst = max(worst, auto-least)
	}
	b.report.markdown([]string{"rows/s", "automatic", "by hand"}, rows)
	b.report.aim("at most one node more than by hand", worst <= 1, "%d more at the most", worst)
	b.report.chart(chart{Name: "f-fit", Title: "Nodes of the keyed stage", X: "rows/s", Panels: []panel{{Y: "nodes", Series: []series{
		{Name: "automatic", File: out.name, X: "rows_per_s", Y: "nodes", Where: map[string]string{"way": "automatic"}, Style: "both"},
		{Name: "least by hand", File: out.name, X: "rows_per_s", Y: "nodes", Where: map[string]string{"way": "least by hand"}, Style: "both"}}}}})
	return nil
}

func (b *bench) fitOne(ctx context.Context, load fleet.Workload, out *data) (auto, least int, err error) {
	f, err := b.newRig(ctx, smallWorkers, smallCores, "--autoscale", "rate")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = f.Close(err) }()
	if err := f.Start(ctx, load); err != nil {
		return 0, 0, err
	}
	rate := load.Rate[0].Rate
	began := time.Since(f.Clock.Start)
	line, err := f.follow(ctx, load.Rate, began, began+pick(b, 60*time.Second, 40*time.Second))
	if err != nil {
		return 0, 0, err
	}
	auto = line[len(line)-1].parts
	end := line[len(line)-1]
	if err := out.row(rate, "automatic", auto, end.processed >= 0.9*end.offered, end.p99); err != nil {
		return 0, 0, err
	}
	for parts := auto; parts >= 1; parts-- {
		if err := f.scale(ctx, parts); parts < auto && errors.Is(err, errNotThere) {
			// What would take over does not catch up: its node cannot even take what comes.
			if err := out.row(rate, "by hand", parts, false, ""); err != nil {
				return 0, 0, err
			}
			break
		} else if err != nil {
			return 0, 0, err
		}
		holds, p99, err := f.holds(ctx, load.Rate)
		if err != nil {
			return 0, 0, err
		}
		if err := out.row(rate, "by hand", parts, holds, p99); err != nil {
			return 0, 0, err
		}
		if !holds {
			break
		}
		least = parts
	}
	if least == 0 {
		return auto, 0, errors.New("what was chosen automatically does not hold the load")
	}
	return auto, least, out.row(rate, "least by hand", least, true, "")
}

// holds says whether a layout keeps up: it processes in the last seconds of a while what is offered, and is less than a second behind.
func (f *rig) holds(ctx context.Context, rate fleet.Schedule) (bool, time.Duration, error) {
	began := time.Since(f.Clock.Start)
	line, err := f.follow(ctx, rate, began, began+15*time.Second)
	if err != nil {
		return false, 0, err
	}
	last := line[len(line)/2:]
	processed, offered := 0.0, 0.0
	for _, s := range last {
		processed, offered = processed+s.processed, offered+s.offered
	}
	p99 := last.worst(func(s second) time.Duration { return s.p99 })
	return processed >= 0.97*offered && p99 < time.Second, p99, nil
}

// threshold is experiment (e).
func threshold(ctx context.Context, b *bench) error {
	out, err := b.report.data("e-threshold.csv", timelineHead...)
	if err != nil {
		return err
	}
	defer out.close()
	sums, err := b.report.data("e-delta.csv", "delta_percent", "nodes", "keyed_nodes", "p50_ms", "p99_ms")
	if err != nil {
		return err
	}
	defer sums.close()
	c, err := b.calibrate(ctx, heavy(), smallCores)
	if err != nil {
		return err
	}
	load := heavy()
	load.Rate = fleet.Steady(2 * c.rate(0.9))
	lasts := pick(b, 120*time.Second, 60*time.Second)
	b.report.text("%s. %d workers of %g cores, policy `threshold` with k = 2 reports of r = 5 s, %d rows/s, %s; nodes and latency of the last 15 s.\n", c, smallWorkers, smallCores, load.Rate[0].Rate, lasts)
	var rows [][]string
	for _, delta := range pick(b, []int{10, 30, 50, 70, 90}, []int{10, 50, 90}) {
		line, err := b.autoscaled(ctx, load, lead, lead+lasts, "--autoscale", "threshold", "--autoscale-option", fmt.Sprintf("threshold=%d", delta))
		if err != nil {
			return fmt.Errorf("δ %d %%: %w", delta, err)
		}
		if err := line.write(out, delta, lead); err != nil {
			return err
		}
		last := line[max(0, len(line)-15):]
		nodes, parts := last.most(usedNodes), last.most(func(s second) int { return s.parts })
		p50, p99 := last.worst(func(s second) time.Duration { return s.p50 }), last.worst(func(s second) time.Duration { return s.p99 })
		say("δ %d %%: %d nodes, %d of the keyed stage, p99 %s ms", delta, nodes, parts, sample.Ms(p99))
		if err := sums.row(delta, nodes, parts, p50, p99); err != nil {
			return err
		}
		rows = append(rows, []string{strconv.Itoa(delta), strconv.Itoa(nodes), strconv.Itoa(parts), sample.Ms(p50), sample.Ms(p99)})
	}
	b.report.markdown([]string{"δ, %", "nodes", "of the keyed stage", "worst p50 of a second, ms", "worst p99, ms"}, rows)
	of := func(name, column string) series {
		return series{Name: name, File: sums.name, X: "delta_percent", Y: column, Style: "both"}
	}
	b.report.chart(chart{Name: "e-threshold", Title: "Threshold", X: "δ, %", Panels: []panel{
		{Y: "nodes", Series: []series{of("in all", "nodes"), of("of the keyed stage", "keyed_nodes")}}, {Y: "latency, ms", LogY: true, Series: []series{of("p50", "p50_ms"), of("p99", "p99_ms")}}}})
	return nil
}
