package main

import (
	"cmp"
	"context"
	"errors"
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
	// silenceMost is how long the cluster may leave questions unanswered.
	silenceMost = 20 * time.Second
	// poolWithin bounds the time until the pool's first nodes have joined, runsWithin that from adding the query until it runs.
	poolWithin = 60 * time.Second
	runsWithin = 30 * time.Second
	// leftWithin is how long all voters may take to know that a node has left whose agent has ended.
	leftWithin = 5 * time.Second
)

// play is the show on a cluster of nodes that lead, with a pool that starts the others.
type play struct {
	fleet    *fleet.Fleet
	machines *machines
	rate     fleet.Schedule
	load     fleet.Workload
	program  string
	out      io.Writer
	limited  bool // the workers have little of the processors each: the load must spread

	asks   *client.Client
	watch  *fleet.Watch
	scene  scene
	seq    uint64 // of the history, as far as it was shown
	killed string
	before int // the most nodes that had joined before the load rose

	ended    map[string]time.Duration // agents that ended by themselves before the cluster said that they have left, and since when
	answered time.Time                // when the cluster last answered everything
	unheard  error                    // why it has not since
	pool     client.AutoscalePool
}

// begin waits for the pool's first nodes, one to work and the spare ones, adds the query and waits until it runs.
func (p *play) begin(ctx context.Context) error {
	s := &p.scene
	s.cluster.is(fleet.Voters)
	within, cancel := context.WithTimeoutCause(ctx, poolWithin, fmt.Errorf("not there after %s", poolWithin))
	defer cancel()
	err := p.fleet.Await(within, "the first nodes of the pool to join", func(ctx context.Context) (bool, string, error) {
		nodes, err := p.fleet.Asks.Nodes(ctx)
		if err != nil {
			return false, err.Error(), nil
		}
		a, err := p.fleet.Asks.Autoscale(ctx)
		if err != nil || a.Pool == nil {
			return false, fmt.Sprintf("the leader has no pool yet (%v)", err), nil
		}
		s.meet(0, nodes, p.machines.running(), "")
		s.pool(time.Now(), a.Pool)
		return s.joins > spares, fmt.Sprintf("%d of %d have joined; %s", s.joins, 1+spares, standing(a.Pool)), nil
	})
	for _, e := range s.events {
		fmt.Fprintf(p.out, "  %s\n", e.text)
	}
	s.events = nil
	if err != nil {
		return err
	}
	fmt.Fprintf(p.out, "Adding the query:\n\n%s\n", indented(p.load.Text()))
	if err := p.fleet.Start(ctx, p.load); err != nil {
		return err
	}
	within, cancel = context.WithTimeoutCause(ctx, runsWithin, fmt.Errorf("not there after %s", runsWithin))
	defer cancel()
	return p.fleet.Settle(within, func(*client.QueryDetail) bool { return true })
}

// standing is what the pool says of itself.
func standing(p *client.AutoscalePool) string {
	text := fmt.Sprintf("the pool has %d nodes and needs %d, of which %d are to be spare, and %d start", p.Nodes, p.Needed, p.Spares, p.Starting)
	for _, more := range append([]string{p.Waiting, p.Error}, p.Problems...) {
		if more != "" {
			text += "; " + more
		}
	}
	return text
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

// show plays until the load is over and the nodes that it needed have left.
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
	p.answered = time.Now()
	for {
		if err := p.look(ctx); err != nil {
			return err
		}
		at := time.Since(p.fleet.Clock.Start)
		p.scene.at = at
		p.scene.phase = phase(at)
		s.draw(&p.scene)
		if done, err := p.act(at); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticks.C:
		}
	}
}

// act does what is due, and says whether the show is over or what did not come about.
func (p *play) act(at time.Duration) (done bool, err error) {
	s := &p.scene
	if at < rises || p.before == 0 {
		p.before = max(p.before, s.cluster.now)
	}
	if at >= killAt && p.killed == "" {
		if err := p.kill(); err != nil {
			return false, err
		}
	}
	if err := errors.Join(p.fleet.Check(), p.leavers(at)); err != nil {
		return false, err
	}
	if silent := time.Since(p.answered); silent > silenceMost {
		return false, fmt.Errorf("the cluster has not told how it is for %s: %w", silent.Round(time.Second), p.unheard)
	}
	if at >= falls && p.limited && (s.cluster.most <= p.before || s.use.most <= s.use.first) {
		return false, fmt.Errorf("the load rose and no more nodes joined and were used: %d had joined before and %d at the most, %d were used before and %d "+
			"at the most; %s", p.before, s.cluster.most, s.use.first, s.use.most, standing(&p.pool))
	}
	if at < ends {
		return false, nil
	}
	restless, needed := s.restless(), p.pool.Nodes <= p.pool.Needed
	if needed && s.cluster.now <= p.before && len(restless) == 0 && s.running == s.partitions {
		return true, p.watch.Check()
	}
	if at >= over {
		return false, fmt.Errorf("%s after the load's end the nodes that it needed have not all left: %d are in the cluster, %d of them in use, before the load rose "+
			"there were %d; %s", over-ends, s.cluster.now, s.use.now, p.before, strings.Join(append(restless, standing(&p.pool)), "; "))
	}
	return false, nil
}

// leavers looks at agents that have ended by themselves: those of nodes that have left should, and are released.
func (p *play) leavers(at time.Duration) error {
	for i := fleet.Voters; i < p.fleet.Len(); i++ {
		fault := p.fleet.Fault(i)
		if fault == nil {
			continue
		}
		name := p.fleet.Agent(i).Name
		if slices.ContainsFunc(p.scene.nodes, func(n nodeLine) bool { return n.name == name && n.state == left }) {
			if err := p.fleet.Release(i); err != nil {
				return err
			}
			continue
		}
		since, ok := p.ended[name]
		switch {
		case !ok && p.ended == nil:
			p.ended = map[string]time.Duration{name: at}
		case !ok:
			p.ended[name] = at
		case at-since > leftWithin:
			return fmt.Errorf("the cluster did not have it leave: %w", fault)
		}
	}
	return nil
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

// look asks the cluster how it is. What is not answered stays as it was; the next look is soon. An error is that the query has failed.
func (p *play) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askBudget)
	defer cancel()
	now := time.Now()
	p.scene.measure(p.watch, p.fleet.Clock, p.rate, now)
	q, err := p.ask(ctx)
	if err != nil {
		p.unheard = err
		return nil
	}
	p.answered = now
	if q.State == client.StateFailed {
		return fmt.Errorf("the query has failed: %s", q.Reason)
	}
	return nil
}

// ask fills the scene with answers.
func (p *play) ask(ctx context.Context) (*client.QueryDetail, error) {
	nodes, err := p.asks.Nodes(ctx)
	if err != nil {
		return nil, err
	}
	q, err := p.asks.Query(ctx, fleet.QueryName)
	if err != nil {
		return nil, err
	}
	a, err := p.asks.Autoscale(ctx)
	if err != nil {
		return nil, err
	}
	h, err := p.asks.History(ctx, fleet.QueryName, client.HistoryRequest{After: p.seq})
	if err != nil {
		return nil, err
	}
	start := p.fleet.Clock.Start
	p.scene.meet(time.Since(start), nodes, p.machines.running(), p.killed)
	p.scene.layout(q)
	if a.Pool != nil { // nil: another node has just begun to lead
		p.pool = *a.Pool
		p.scene.pool(start, a.Pool)
	}
	for _, e := range h {
		p.seq = e.Seq
		if text := told(e); text != "" {
			p.scene.say(e.Time.Sub(start), text)
		}
	}
	return q, nil
}

// told is a line of the history that is worth a line of the screen; where copies of state go is not.
func told(e client.HistoryEntry) string {
	switch e.Kind {
	case "vaults", "seals", "shadow", "switch": // the steps of what "switched" sums up
		return ""
	case "recovered":
		return fmt.Sprintf("%s (detect %s + commit %s + restore %s + replay %s ms)", e.Text, e.Figures["detect_ms"], or0(e.Figures["commit_ms"]),
			e.Figures["restore_ms"], e.Figures["replay_ms"])
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
	var best nodeLine
	for _, n := range p.scene.nodes {
		if n.state == joined && n.total() > best.total() {
			best = n
		}
	}
	i := p.fleet.Find(best.name)
	if i < fleet.Voters {
		return errors.New("no worker runs a partition that killing it would lose")
	}
	p.killed = best.name
	p.scene.say(time.Since(p.fleet.Clock.Start), fmt.Sprintf("kill -9 of %s, which runs %d partitions", best.name, best.total()))
	return p.fleet.Kill(i)
}

// tellAll writes all that happened.
func (p *play) tellAll() {
	fmt.Fprintf(p.out, "What happened, in seconds since the query's start:\n\n")
	slices.SortStableFunc(p.scene.events, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	for _, e := range p.scene.events {
		fmt.Fprintf(p.out, "%s\n", e)
	}
}

// end says what happened and verifies it.
func (p *play) end(ctx context.Context) error {
	s := &p.scene
	p.tellAll()
	fmt.Fprintf(p.out, "\nNodes in the cluster, of which %d lead and run nothing: %s; %d joined, %d left, 1 was killed.\nNodes in use: %s.\n",
		fleet.Voters, s.cluster, s.joins, s.leaves, s.use)
	start := p.fleet.Clock.Start
	fmt.Fprintf(p.out, "%d rows; longest time without a new result %d ms.\n", int(p.rate.Rows(ends)), p.watch.Silence(start.Add(rises), start.Add(ends)).Milliseconds())
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
