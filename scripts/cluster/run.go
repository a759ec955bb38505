package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// ErrInterrupted is the cause of the end of Run's context: a signal.
var ErrInterrupted = errors.New("interrupted")

// Run runs a program: run's context ends at the first SIGINT, SIGTERM or SIGHUP, so that it can clean up, which takes a moment. Further ones
// do nothing: timeout(1), for one, sends each signal twice. SIGQUIT ends the process at once, and its agents end with it. It gives the
// exit code: 0, 1 after an error, which it prints, 128 and the signal after one.
func Run(name string, run func(ctx context.Context) error) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals, done := make(chan os.Signal, 2), make(chan struct{})
	defer close(done)
	wanted := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // as nohup wants it
		wanted = append(wanted, syscall.SIGHUP)
	}
	signal.Notify(signals, wanted...)
	defer signal.Stop(signals)
	var first syscall.Signal
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				if ctx.Err() != nil {
					continue
				}
				first, _ = s.(syscall.Signal)
				fmt.Fprintf(os.Stderr, "%s: %s: cleaning up\n", name, s)
				cancel(ErrInterrupted)
			}
		}
	}()
	err := run(ctx)
	switch {
	case errors.Is(context.Cause(ctx), ErrInterrupted):
		if err != nil && !errors.Is(err, ErrInterrupted) && !errors.Is(err, context.Canceled) {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		}
		return 128 + int(first)
	case err != nil:
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}
