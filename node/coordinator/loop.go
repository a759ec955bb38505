package coordinator

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Deps is what Loop works with. All fields but Observe are needed.
type Deps struct {
	Machine *raftfsm.Machine
	// Propose has a command applied, by the leader that runs the loop.
	Propose func(ctx context.Context, e raftfsm.Envelope) (raftfsm.Outcome, error)
	Reports *ReportTable
	// Leader is this process.
	Leader topology.Process
	// Clock is time.Now; its monotonic part is used, so that steps of the clock decide nothing.
	Clock  func() time.Time
	Logger *slog.Logger
	// Observe is told of what was decided and committed, for metrics. Called by one goroutine at a time; it must not block.
	Observe func(Note)
}

const (
	stepEvery      = 100 * time.Millisecond
	stepGap        = 5 * time.Millisecond // reports of a whole cluster come one by one: they are looked at together
	proposeTimeout = 2 * time.Second
	// A kind of command that was refused, or a lane that cannot propose, is tried again this much later, doubled each time up to the most.
	backoffLeast, backoffMost = 200 * time.Millisecond, 5 * time.Second
)

// Loop decides and proposes while this node leads, until ctx ends. It steps when the metadata changes, when reports come, and every
// 100 ms. The nodes and each query have a lane of their own: a command that takes long, or is refused, holds up its lane alone.
func Loop(ctx context.Context, deps Deps) {
	deps.Reports.begin()
	l := &loop{Deps: deps, start: deps.Clock(), finished: make(chan *lane), nodes: &lane{name: "nodes"}, queries: map[uint64]*lane{}}
	l.startMs = l.start.UnixMilli()
	defer l.running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// At the instants of the keep-alives: an idle process wakes up for both once.
	until := func() time.Duration { return stepEvery - time.Duration(deps.Clock().UnixNano())%stepEvery }
	tick := time.NewTimer(until())
	defer tick.Stop()
	for {
		changed := deps.Machine.Changed()
		l.step(ctx)
		select {
		case <-ctx.Done():
			return
		case <-deps.Machine.Failed():
			return
		case <-changed:
		case <-deps.Reports.Changed():
			select {
			case <-ctx.Done():
				return
			case <-time.After(stepGap):
			}
		case <-tick.C:
			tick.Reset(until())
		case x := <-l.finished:
			l.finish(x)
		}
	}
}

// loop belongs to the goroutine of Loop, lanes that are busy to theirs.
type loop struct {
	Deps
	start    time.Time
	startMs  int64
	memory   NodesMemory
	nodes    *lane
	queries  map[uint64]*lane // by incarnation
	finished chan *lane
	running  sync.WaitGroup
}

// lane proposes what was decided of the nodes, or of one query, one decision at a time.
type lane struct {
	name     string
	busy     bool
	memory   QueryMemory
	decision Decision
	// Set by the lane's goroutine while busy.
	done []raftfsm.Outcome // of the commands that were answered
	err  error
	// held are kinds of commands that were refused lately; the others go on.
	held []held
	wait held // nothing at all could be proposed
}

// held is what is not tried before a time.
type held struct {
	kind    raftfsm.Kind
	backoff time.Duration
	till    time.Time
}

func (h *held) again(now time.Time) {
	h.backoff = min(max(backoffLeast, 2*h.backoff), backoffMost)
	h.till = now.Add(h.backoff)
}

func (l *loop) now() int64 { return l.startMs + l.Clock().Sub(l.start).Milliseconds() }

// step decides for every lane that is not busy.
func (l *loop) step(ctx context.Context) {
	s := l.Machine.View()
	reports, unread := l.Reports.received(s, l.start, l.startMs)
	v := &View{State: s, Reports: reports, Unread: unread, NowMs: l.now(), Leader: l.Leader, Timing: DefaultTiming(), Losses: l.memory.Losses}
	if l.free(l.nodes) {
		l.run(ctx, l.nodes, StepNodes(v, &l.memory))
	}
	v.Losses = l.memory.Losses
	v.Settled = l.memory.BeganMs > 0 && v.NowMs-l.memory.BeganMs > v.Timing.Fresh
	for _, q := range s.Queries {
		x := l.queries[q.ID.Incarnation]
		if x == nil {
			x = &lane{name: q.Name}
			l.queries[q.ID.Incarnation] = x
		}
		if l.free(x) {
			l.run(ctx, x, StepQuery(v, q, &x.memory))
		}
	}
	for n, x := range l.queries {
		if !x.busy && s.Incarnation(n) == nil {
			delete(l.queries, n)
		}
	}
}

func (l *loop) free(x *lane) bool { return !x.busy && !l.Clock().Before(x.wait.till) }

// run proposes a decision on a goroutine of the lane.
func (l *loop) run(ctx context.Context, x *lane, d Decision) {
	now := l.Clock()
	d.Commands = slices.DeleteFunc(d.Commands, func(k raftfsm.Command) bool {
		return slices.ContainsFunc(x.held, func(h held) bool { return h.kind == k.Kind() && now.Before(h.till) })
	})
	if len(d.Commands) == 0 {
		return
	}
	x.busy, x.decision, x.done, x.err = true, d, nil, nil
	at := l.now()
	l.running.Go(func() {
		for _, k := range d.Commands {
			limited, cancel := context.WithTimeout(ctx, proposeTimeout)
			out, err := l.Propose(limited, raftfsm.Envelope{ID: CommandIDOf(k), AtMs: at, Command: k})
			cancel()
			if err != nil {
				x.err = err
				break
			}
			x.done = append(x.done, out)
		}
		select {
		case l.finished <- x:
		case <-ctx.Done():
		}
	})
}

// finish looks at what became of a decision. Stale is as good as applied: the next step sees what is now.
func (l *loop) finish(x *lane) {
	x.busy = false
	for i, out := range x.done {
		k := x.decision.Commands[i]
		h := slices.IndexFunc(x.held, func(h held) bool { return h.kind == k.Kind() })
		switch {
		case out.Code == raftfsm.Refused:
			if h < 0 {
				h, x.held = len(x.held), append(x.held, held{kind: k.Kind()})
			}
			x.held[h].again(l.Clock())
			l.Logger.Warn("what was decided was refused; it is decided again", "lane", x.name, "command", fmt.Sprintf("%T", k),
				"in", x.held[h].backoff, "why", out.Text)
			continue
		case out.Code == raftfsm.Stale:
			l.Logger.Debug("a decision was overtaken", "lane", x.name, "command", fmt.Sprintf("%T", k), "why", out.Text)
		}
		if h >= 0 {
			x.held = slices.Delete(x.held, h, h+1)
		}
	}
	if x.err != nil {
		x.wait.again(l.Clock())
		l.Logger.Warn("cannot propose what was decided; it is decided again", "lane", x.name, "in", x.wait.backoff, "error", x.err)
		return
	}
	x.wait = held{}
	for _, n := range x.decision.Notes {
		level := slog.LevelInfo
		if n.IsCheckpoint() {
			level = slog.LevelDebug // about one a second
		}
		l.Logger.Log(context.Background(), level, n.Text, "decision", n.Kind, "query", n.Query)
		if l.Observe != nil {
			l.Observe(n)
		}
	}
}
