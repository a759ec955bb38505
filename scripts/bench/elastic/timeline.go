package main

import (
	"context"
	"sync"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/fleet"
)

// second is what happened in one.
type second struct {
	at                 time.Duration // of its begin, since the query's start
	offered, processed float64       // rows
	p50, p99, silence  time.Duration
	nodes, parts       int // nodes that run anything of the query, or of its keyed stage
}

// timeline is what happened while a query ran, second by second.
type timeline []second

// look is what the cluster said of the query's layout at a time.
type look struct {
	at           time.Time
	nodes, parts int
}

// follow watches a query until a time since its start.
func (f *rig) follow(ctx context.Context, rate fleet.Schedule, from, until time.Duration) (timeline, error) {
	w, err := f.Watch(ctx)
	if err != nil {
		return nil, err
	}
	defer w.End()
	if err := pause(ctx, time.Until(f.Clock.Start.Add(from))); err != nil {
		return nil, err
	}
	var looks []look
	var looking sync.WaitGroup
	ended, cancel := context.WithCancel(ctx)
	looking.Go(func() { looks = f.looks(ended) })
	err = pause(ctx, time.Until(f.Clock.Start.Add(until)))
	cancel()
	looking.Wait()
	w.End()
	if err != nil {
		return nil, err
	}
	return together(w, f.Clock.Start, rate, looks, from, until), w.Check()
}

// looks asks for the layout again and again until ctx ends.
func (f *rig) looks(ctx context.Context) (all []look) {
	for pause(ctx, 250*time.Millisecond) == nil {
		if q, err := f.Query(ctx); err == nil {
			n, p := fleet.Layout(q)
			all = append(all, look{time.Now(), n, p})
		}
	}
	return all
}

// together puts together what was seen.
func together(w *fleet.Watch, start time.Time, rate fleet.Schedule, looks []look, from, until time.Duration) (line timeline) {
	next := 0
	var latest look
	for at := from; at+time.Second <= until; at += time.Second {
		begin := start.Add(at)
		end := begin.Add(time.Second)
		ages := w.Ages(begin, end)
		s := second{at: at, offered: rate.Rows(at+time.Second) - rate.Rows(at), p50: ages.Quantile(0.5), p99: ages.Quantile(0.99), silence: w.Silence(begin, end)}
		s.processed = w.Processed(rate, begin, end)
		for ; next < len(looks) && looks[next].at.Before(end); next++ {
			latest = looks[next]
		}
		s.nodes, s.parts = latest.nodes, latest.parts
		line = append(line, s)
	}
	return line
}

// write adds the seconds to a file of timelineHead, behind what names the run.
func (l timeline) write(out *data, run any, origin time.Duration) error {
	for _, s := range l {
		p50, p99 := any(s.p50), any(s.p99)
		if s.processed == 0 { // nothing was seen, so there is no latency
			p50, p99 = "", ""
		}
		if err := out.row(run, int((s.at - origin).Seconds()), s.offered, s.processed, p50, p99, s.silence, s.nodes, s.parts); err != nil {
			return err
		}
	}
	return nil
}

var timelineHead = []string{"run", "t_s", "offered_rows_per_s", "processed_rows_per_s", "p50_ms", "p99_ms", "silence_ms", "nodes", "keyed_nodes"}

// panels are those of a chart of a timeline.
func (l timeline) panels(file, run string) []panel {
	of := func(name, column, style string) series {
		return series{Name: name, File: file, X: "t_s", Y: column, Where: map[string]string{"run": run}, Style: style}
	}
	offered := of("offered", "offered_rows_per_s", "line")
	offered.Dash = true
	return []panel{
		{Y: "rows/s", Series: []series{offered, of("processed", "processed_rows_per_s", "line")}},
		{Y: "latency, ms", LogY: true, Series: []series{of("p50", "p50_ms", "line"), of("p99", "p99_ms", "line")}},
		{Y: "nodes", Series: []series{of("in all", "nodes", "steps"), of("of the keyed stage", "keyed_nodes", "steps")}},
	}
}

// part are the seconds that begin at or behind from and before to.
func (l timeline) part(from, to time.Duration) (out timeline) {
	for _, s := range l {
		if s.at >= from && s.at < to {
			out = append(out, s)
		}
	}
	return out
}

func (l timeline) most(of func(second) int) (most int) {
	for _, s := range l {
		most = max(most, of(s))
	}
	return most
}

func (l timeline) worst(of func(second) time.Duration) time.Duration {
	var all sample.Sample
	for _, s := range l {
		all = append(all, of(s))
	}
	return all.Max()
}

// since is when, behind a time, something begins to hold to the end of the line; ok is false when it does not.
func (l timeline) since(from time.Duration, holds func(second) bool) (after time.Duration, ok bool) {
	after = -1
	for _, s := range l {
		switch {
		case s.at < from:
		case !holds(s):
			after = -1
		case after < 0:
			after = s.at - from
		}
	}
	return after, after >= 0
}

func usedNodes(s second) int { return s.nodes }
