package seepnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/agent"
)

// runAgent is the agent itself; tests put another in its place.
var runAgent = func(ctx context.Context, c agent.Config) error { return agent.Run(ctx, c) }

// agent runs a node until it is told to stop.
func (a *app) agent(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	l, err := a.loadAgent(c)
	if err != nil {
		return err
	}
	if c.Bool("config-check") {
		return l.write(a.streams.Out)
	}
	ctx, done := a.stopAgentOnSignal()
	defer done()
	if os.Getenv(parentEnv) == parentStdin {
		go a.endWithParent()
	}
	if err := runAgent(ctx, l.config); err != nil && !errors.Is(err, agent.ErrStop) {
		return err
	}
	return nil
}

// loadAgent puts flags, environment and file together.
func (a *app) loadAgent(c *cli.Context) (loaded, error) {
	file := c.String("config")
	if !c.IsSet("config") {
		file = os.Getenv("SEEPNODE_CONFIG")
	}
	from := sources{file: file, env: os.LookupEnv, flag: func(name string) ([]string, bool) {
		switch {
		case !c.IsSet(name):
			return nil, false
		case findSetting(name).many:
			return c.StringSlice(name), true
		}
		return []string{c.String(name)}, true
	}}
	l, err := from.load()
	l.config.Connectors, l.config.Operators = &a.connectors, &a.operators
	l.config.Version, _ = builtVersion()
	return l, err
}

// stopAgentOnSignal gives a context that ends with agent.ErrStop at the first SIGINT or SIGTERM. The second one ends the process at
// once, with the exit code that a shell gives a process which that signal ended.
func (a *app) stopAgentOnSignal() (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals, ended, gone := make(chan os.Signal, 2), make(chan struct{}), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer close(gone)
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			case s := <-signals:
				if n > 0 {
					fmt.Fprintln(a.streams.Err, "seepnode: ended at once; the cluster recovers what ran here")
					a.exit(exitOfSignal(s))
					return
				}
				fmt.Fprintln(a.streams.Err, "seepnode: stopping: this node's work goes to others first, at most 30 s; once more ends it at once")
				cancel(agent.ErrStop)
			}
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(ended)
		<-gone
		cancel(nil)
	}
}

// exitOfSignal is 130 for SIGINT and 143 for SIGTERM.
func exitOfSignal(s os.Signal) int {
	if number, ok := s.(syscall.Signal); ok {
		return 128 + int(number)
	}
	return exitFailed
}

// An agent that "seepnode dev" started has this in its environment: its standard input is a pipe that ends with its parent.
const (
	parentEnv   = "SEEPNODE_PARENT"
	parentStdin = "stdin"
)

// endWithParent ends the process when the parent is gone.
func (a *app) endWithParent() {
	_, _ = io.Copy(io.Discard, a.streams.In) // whatever ends it, the parent has no use for this process any longer
	fmt.Fprintln(a.streams.Err, "seepnode: the process that started this one is gone")
	a.exit(exitFailed)
}
