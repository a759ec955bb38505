package pool

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// Cluster is what the runner needs of the cluster. Its methods are called by one goroutine but NextToken.
type Cluster interface {
	// Look gives what a step looks at.
	Look() Input
	// NextToken gives a token that nobody was ever given.
	NextToken(ctx context.Context) (string, error)
	// Drain, Undrain and Leave change what the metadata says of a node. What is so already is no error.
	Drain(ctx context.Context, c Change) error
	Undrain(ctx context.Context, c Change) error
	Leave(ctx context.Context, c Change) error
}

// Runner makes the machine's calls while its node leads.
type Runner struct {
	Machine  *Machine
	Provider provider.Provider
	Cluster  Cluster
	Now      func() time.Time
	Logger   *slog.Logger
	// Observe is told what every step saw, for people. It must not block.
	Observe func(Standing)

	calls   sync.WaitGroup
	results chan func(*Machine)
}

const (
	stepEvery = time.Second
	callWait  = 90 * time.Second
)

// Run steps every second, and when a call has been answered, until ctx ends and all calls have returned.
func (r *Runner) Run(ctx context.Context) {
	r.results = make(chan func(*Machine))
	ctx, cancel := context.WithCancel(ctx)
	defer r.calls.Wait()
	defer cancel()
	tick := time.NewTicker(stepEvery)
	defer tick.Stop()
	for {
		r.step(ctx)
		select {
		case <-tick.C:
		case tell := <-r.results:
			tell(r.Machine)
		case <-ctx.Done():
			return
		}
	}
}

func (r *Runner) step(ctx context.Context) {
	e := r.Machine.Step(r.Cluster.Look())
	if r.Observe != nil {
		r.Observe(r.Machine.Standing())
	}
	for _, k := range []struct {
		what    string
		changes []Change
		do      func(context.Context, Change) error
	}{{"drain", e.Drain, r.Cluster.Drain}, {"undrain", e.Undrain, r.Cluster.Undrain}, {"leave", e.Leave, r.Cluster.Leave}} {
		for _, c := range k.changes {
			r.Logger.Info("pool", "change", k.what, "node", c.Node, "why", c.Why)
			if err := k.do(ctx, c); err != nil && ctx.Err() == nil {
				r.Logger.Warn("pool: it is tried again", "change", k.what, "node", c.Node, "error", err)
			}
		}
	}
	if e.List {
		r.call(ctx, func(ctx context.Context) func(*Machine) {
			list, err := r.Provider.List(ctx)
			return func(m *Machine) { m.Listed(r.nowMs(), list, r.said("list instances", err)) }
		})
	}
	for range e.Launch {
		r.call(ctx, func(ctx context.Context) func(*Machine) {
			i, err := r.launch(ctx)
			return func(m *Machine) { m.Launched(r.nowMs(), i, r.said("start an instance", err)) }
		})
	}
	if len(e.Terminate) > 0 {
		var ids []string
		for _, t := range e.Terminate {
			r.Logger.Info("pool: an instance is terminated", "instance", t.ID, "why", t.Why)
			ids = append(ids, t.ID)
		}
		r.call(ctx, func(ctx context.Context) func(*Machine) {
			err := r.Provider.Terminate(ctx, ids)
			return func(m *Machine) { m.Terminated(r.nowMs(), ids, r.said("terminate instances", err)) }
		})
	}
}

func (r *Runner) nowMs() int64 { return r.Now().UnixMilli() }

func (r *Runner) said(doing string, err error) error {
	if err != nil {
		r.Logger.Warn("pool: the provider refuses", "provider", r.Provider.Name(), "doing", doing, "kind", string(provider.KindOf(err)), "error", err)
	}
	return err
}

// launch starts an instance under a new token.
func (r *Runner) launch(ctx context.Context) (provider.Instance, error) {
	token, err := r.Cluster.NextToken(ctx)
	if err != nil {
		return provider.Instance{}, err
	}
	i, err := r.Provider.Launch(ctx, provider.Request{Token: token})
	if err == nil {
		r.Logger.Info("pool: an instance is started", "provider", r.Provider.Name(), "instance", i.ID, "token", token)
	}
	return i, err
}

// call makes a call of the provider beside the loop and brings its answer to it.
func (r *Runner) call(ctx context.Context, do func(context.Context) func(*Machine)) {
	r.calls.Go(func() {
		limited, cancel := context.WithTimeout(ctx, callWait)
		defer cancel()
		tell := do(limited)
		select {
		case r.results <- tell:
		case <-ctx.Done():
		}
	})
}
