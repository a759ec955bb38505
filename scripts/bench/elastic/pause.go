package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/fleet"
)

const (
	// calmBefore is what a rescale is compared with, aroundIt the time in which rows are looked at together.
	calmBefore = 5 * time.Second
	aroundIt   = time.Second
	slide      = 100 * time.Millisecond
	// rescaleBudget bounds a rescale.
	rescaleBudget = 2 * time.Minute
)

// rescalePause is experiment (b).
func rescalePause(ctx context.Context, b *bench) error {
	out, err := b.report.data("b-pause.csv", "state_mb", "way", "nr", "before_p99_ms", "around_p99_ms", "added_p99_ms", "silence_ms", "took_ms")
	if err != nil {
		return err
	}
	defer out.close()
	load := fleet.Workload{StateBytes: 1000, Work: 4}
	sizes, times := pick(b, []int{1, 10, 100}, []int{1, 100}), pick(b, 20, 4)
	b.report.text("At a rate that uses half of a worker the keyed stage goes from one partition to two and back, %d times in all for each size of state. *Added* is the p99 of the worst", times)
	b.report.text("second between the command and its end, less the p99 of the %s before; *silence* is the longest time without a new result.\n", calmBefore)
	var rows [][]string
	ch := chart{Name: "b-pause", Title: "Added p99 of a rescale at 50 % utilisation", X: "state, MB", LogX: true, Panels: []panel{{Y: "added p99, ms"}, {Y: "longest silence, ms"}}}
	for _, size := range sizes {
		load.Keys = size * 1000
		c, err := b.calibrate(ctx, load, 0.4)
		if err != nil {
			return err
		}
		load.Rate = fleet.Steady(c.rate(0.5))
		b.report.text("- %d MB: %s; it gets %d", size, c, load.Rate[0].Rate)
		r, err := b.rescales(ctx, load, size, times, out)
		if err != nil {
			return fmt.Errorf("%d MB: %w", size, err)
		}
		for _, way := range []string{"out", "in"} {
			var added, silence, took sample.Sample
			for _, x := range r {
				if x.way == way {
					added, silence, took = append(added, x.added()), append(silence, x.silence), append(took, x.took)
				}
			}
			rows = append(rows, []string{strconv.Itoa(size), way, sample.Ms(added.Quantile(0.5)), sample.Ms(added.Max()), sample.Ms(silence.Max()), sample.Ms(took.Quantile(0.5)), strconv.Itoa(len(added))})
		}
		if size == 100 {
			var added, silence sample.Sample
			for _, x := range r {
				added, silence = append(added, x.added()), append(silence, x.silence)
			}
			b.report.aim("added p99 of a rescale <= 100 ms at 100 MB", added.Max() <= 100*time.Millisecond, "median %s ms, worst %s ms of %d", sample.Ms(added.Quantile(0.5)), sample.Ms(added.Max()), len(added))
			b.report.aim("no second without results", silence.Max() < time.Second, "longest silence %s ms", sample.Ms(silence.Max()))
		}
	}
	b.report.text("")
	b.report.markdown([]string{"MB", "scale", "added p99, median, ms", "worst, ms", "longest silence, ms", "from command to end, median, ms", "times"}, rows)
	for _, way := range []string{"out", "in"} {
		for i, y := range []string{"added_p99_ms", "silence_ms"} {
			ch.Panels[i].Series = append(ch.Panels[i].Series, series{Name: "scale " + way, File: out.name, X: "state_mb", Y: y, Where: map[string]string{"way": way}, Style: "points"})
		}
	}
	b.report.chart(ch)
	return nil
}

// rescale is one that was measured.
type rescale struct {
	way            string
	before, around time.Duration // p99
	silence, took  time.Duration
}

func (r *rescale) added() time.Duration { return r.around - r.before }

func (b *bench) rescales(ctx context.Context, load fleet.Workload, size, times int, out *data) (all []rescale, err error) {
	f, err := b.newRig(ctx, 4, 0.4)
	if err != nil {
		return nil, err
	}
	defer func() { err = f.Close(err) }()
	if err := f.addApart(ctx, load); err != nil {
		return nil, err
	}
	w, err := f.Watch(ctx)
	if err != nil {
		return nil, err
	}
	defer w.End()
	for n := range times {
		if err := pause(ctx, calmBefore+2*time.Second); err != nil {
			return nil, err
		}
		r := rescale{way: "out"}
		parts := 2
		if n%2 == 1 {
			r.way, parts = "in", 1
		}
		at := time.Now()
		if err := f.scale(ctx, parts); err != nil {
			return nil, err
		}
		r.took = time.Since(at)
		if err := pause(ctx, aroundIt); err != nil {
			return nil, err
		}
		end := time.Now()
		r.before = w.Ages(at.Add(-calmBefore), at).Quantile(0.99)
		r.silence = w.Silence(at, end)
		for from := at; from.Add(aroundIt).Before(end); from = from.Add(slide) {
			r.around = max(r.around, w.Ages(from, from.Add(aroundIt)).Quantile(0.99))
		}
		say("%d MB, scale %s: p99 %s ms before, %s ms in the worst second, silent for %s ms, took %s ms", size, r.way, sample.Ms(r.before), sample.Ms(r.around), sample.Ms(r.silence), sample.Ms(r.took))
		if err := out.row(size, r.way, n+1, r.before, r.around, r.added(), r.silence, r.took); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, w.Check()
}

// errNotThere says that a layout did not come about in time.
var errNotThere = fmt.Errorf("not there after %s", rescaleBudget)

// scale gives the keyed stage so many partitions on a node each and waits until they run and nothing is on its way.
func (f *rig) scale(ctx context.Context, parts int) error {
	q, err := f.Query(ctx)
	if err != nil {
		return err
	}
	stage := fleet.KeyedStage(q).Stage
	if err := f.Command(ctx, "query", "scale", fleet.QueryName, fmt.Sprintf("%d=%d", stage, parts)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, rescaleBudget, errNotThere)
	defer cancel()
	latest := "nothing"
	return f.Await(ctx, fmt.Sprintf("the keyed stage to be on %d nodes", parts), func(ctx context.Context) (bool, string, error) {
		q, err := f.Query(ctx)
		if err != nil {
			return false, err.Error(), nil
		}
		shadows := 0
		for _, p := range q.Parts {
			if p.Role == client.RoleShadow {
				shadows++
			}
		}
		_, have := fleet.Layout(q)
		if h, err := f.Asks.History(ctx, fleet.QueryName, client.HistoryRequest{Limit: 1}); err == nil && len(h) > 0 {
			latest = h[0].Kind + ": " + h[0].Text
		}
		return have == parts && shadows == 0 && q.PartitionsRunning == q.Partitions, fmt.Sprintf("it is on %d, %d shadows are on their way, %d of %d partitions run; the latest in its history: %s", have, shadows, q.PartitionsRunning, q.Partitions, latest), nil
	})
}
