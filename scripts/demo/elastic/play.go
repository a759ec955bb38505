package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/scripts/fleet"
)

const (
	// drawEvery is how often the screen is drawn anew, askBudget bounds one round of questions.
	drawEvery = 500 * time.Millisecond
	askBudget = 2 * time.Second
	// runsWithin bounds the time from adding the query until it runs.
	runsWithin = 30 * time.Second
)

// play is the show on a fleet that stands.
type play struct {
	fleet   *fleet.Fleet
	rate    fleet.Schedule
	load    fleet.Workload
	program string
	out     io.Writer

	asks   *client.Client
	watch  *fleet.Watch
	scene  scene
	seq    uint64 // of the history, as far as it was shown
	killed string
}

// begin adds the query and waits until it runs.
func (p *play) begin(ctx context.Context) error {
	fmt.Fprintf(p.out, "Adding the query:\n\n%s\n", indented(p.load.Text()))
	if err := p.fleet.Start(ctx, p.load); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, runsWithin, fmt.Errorf("not there after %s", runsWithin))
	defer cancel()
	return p.fleet.Settle(ctx, func(*client.QueryDetail) bool { return true })
}

// indented shortens long lines: the work on each row is an expression within itself.
func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if runes := []rune(strings.TrimRight(line, "\n")); len(runes) > 130 {
			line = string(runes[:100]) + " ... " + string(runes[len(runes)-20:]) + "\n"
		}
		b.WriteString("  " + line)
	}
	return b.String()
}

// show plays until the load is over and the nodes are given back.
func (p *play) show(ctx context.Context, s screen) (err error) {
	if p.watch, err = p.fleet.Watch(ctx); err != nil {
		return err
	}
	defer p.watch.End()
	if p.asks, err = p.fleet.Poll(0, 1, 2); err != nil {
		return err
	}
	defer p.asks.Close()
	ticks := time.NewTicker(drawEvery)
	defer ticks.Stop()
	for {
		p.look(ctx)
		at := time.Since(p.fleet.Clock.Start)
		p.scene.at = at
		p.scene.phase = phase(at)
		s.draw(&p.scene)
		if at >= killAt && p.killed == "" {
			if err := p.kill(); err != nil {
				return err
			}
		}
		if at >= over || at >= ends && p.scene.idle() {
			return p.watch.Check()
		}
		if err := p.fleet.Check(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
	}
}

func phase(at time.Duration) string {
	switch {
	case at < rises:
		return "little load"
	case at < top:
		return "the load rises"
	case at < falls:
		return "much load"
	case at < ends:
		return "the load falls"
	}
	return "no load"
}

// look asks the cluster how it is. What is not answered stays as it was; the next look is soon.
func (p *play) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, askBudget)
	defer cancel()
	now := time.Now()
	p.scene.measure(p.watch, p.fleet.Clock, p.rate, now)
	q, err := p.asks.Query(ctx, fleet.QueryName)
	if err != nil {
		return
	}
	nodes, err := p.asks.Nodes(ctx)
	if err != nil {
		return
	}
	p.scene.layout(q, nodes, p.killed)
	h, err := p.asks.History(ctx, fleet.QueryName, client.HistoryRequest{After: p.seq})
	if err != nil {
		return
	}
	for _, e := range h {
		p.seq = e.Seq
		if text := told(e); text != "" {
			p.scene.say(e.Time.Sub(p.fleet.Clock.Start), text)
		}
	}
}

// told is a line of the history that is worth a line of the screen; where copies of state go is not.
func told(e client.HistoryEntry) string {
	switch e.Kind {
	case "vaults", "seals", "shadow", "switch": // the steps of what "switched" sums up
		return ""
	case "recovered":
		return fmt.Sprintf("%s (detect %s + commit %s + restore %s + replay %s ms)", e.Text, e.Figures["detect_ms"], or0(e.Figures["commit_ms"]), e.Figures["restore_ms"], e.Figures["replay_ms"])
	}
	if ms := e.Figures["pause_ms"]; ms != "" {
		return fmt.Sprintf("%s (pause %s ms)", e.Text, ms)
	}
	return e.Text
}

func or0(s string) string {
	if s == "" {
		return "0"
	}
	return s
}

// kill ends the worker with the most partitions as kill -9 does.
func (p *play) kill() error {
	best := slices.MaxFunc(p.scene.nodes, func(a, b nodeLine) int { return a.total() - b.total() })
	i := p.fleet.Find(best.name)
	if i < fleet.Voters || best.total() == 0 {
		return fmt.Errorf("no worker runs a partition that killing it would lose")
	}
	p.killed = best.name
	p.scene.say(time.Since(p.fleet.Clock.Start), fmt.Sprintf("kill -9 of %s, which runs %d partitions", best.name, best.total()))
	return p.fleet.Kill(i)
}

// end says what happened and verifies it.
func (p *play) end(ctx context.Context) error {
	s := &p.scene
	fmt.Fprintf(p.out, "What happened, in seconds since the query's start:\n\n")
	for _, e := range s.events {
		fmt.Fprintf(p.out, "%s\n", e)
	}
	fmt.Fprintf(p.out, "\n%d rows; nodes: %d at first, %d at the most, %d in the end; longest time without a new result %d ms.\n", int(p.rate.Rows(ends)), s.nodesFirst, s.nodesMost, s.nodesNow,
		p.watch.Silence(p.fleet.Clock.Start.Add(rises), p.fleet.Clock.Start.Add(ends)).Milliseconds())
	fmt.Fprintf(p.out, "\nRunning it again on one node, from the same seals:\n\n$ seepnode query verify %s\n", fleet.QueryName)
	address := p.fleet.Agent(0).HTTP
	verify := exec.CommandContext(ctx, p.program, "query", "verify", fleet.QueryName, "--address", address)
	verify.Stdout, verify.Stderr = p.out, os.Stderr
	verify.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEEPNODE_") })
	if err := verify.Run(); err != nil {
		return fmt.Errorf("verifying the query: %w", err)
	}
	return nil
}
