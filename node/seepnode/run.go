package seepnode

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
)

// errStopped is why a query ends that a person stopped.
var errStopped = errors.New("stopped")

// run runs a query to its end or until a signal.
func (a *app) run(c Config) error {
	p, err := a.compile(c)
	if err != nil {
		return err
	}
	if err := needsCluster(p); err != nil {
		return err
	}
	screen := newConsole(a.streams)
	if c.Verbose {
		fmt.Fprintf(screen.err, "%s: %s, %s\n", c.File, counted(len(p.Tables), "table"), counted(len(p.Stages), "stage"))
	}
	if c.JSON {
		printJSON(p)
	}
	ctx, done := a.stopOnSignal(screen)
	defer done()
	incarnation, err := newIncarnation()
	if err != nil {
		return err
	}
	started := time.Now()
	result, err := engine.Run(ctx, p, engine.Options{
		Nodes: c.Nodes, Workers: c.Workers, Paranoid: c.Paranoid,
		Connectors: &a.connectors, Operators: &a.operators,
		Logger: newLogger(screen.err, c.Verbose), Stdout: screen.out, Incarnation: incarnation,
		Started: screen.showProgress,
	})
	screen.endProgress()
	s := summarize(result, err, time.Since(started))
	s.unfinished = holdsBack(p)
	switch {
	case c.JSON:
		err = s.finish(screen.err, true, err)
	case screen.terminal || c.Verbose || s.State == stateStopped:
		err = s.finish(screen.err, false, err)
	}
	if s.RowsSkipped > 0 && !c.JSON {
		fmt.Fprintf(screen.err, "warning: %s could not be read and %s skipped, as 'on-error' = 'skip' says\n",
			counted(int(s.RowsSkipped), "row"), wasOrWere(s.RowsSkipped))
	}
	if s.State == stateStopped {
		return s.stopError(err)
	}
	if err != nil {
		return fmt.Errorf("%s failed: %w", nameOf(c.File), err)
	}
	return nil
}

func wasOrWere(n int64) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

func nameOf(file string) string {
	if file == "-" {
		return "stdin"
	}
	return file
}

// holdsBack says whether a sink of the plan shows what it writes only when a file, or what it calls so, is whole.
func holdsBack(p *plan.Plan) bool {
	for _, stage := range p.Stages {
		for _, op := range stage.Ops {
			if op.Sink != nil && !op.Sink.Fused {
				return true
			}
		}
	}
	return false
}

// needsCluster refuses a query whose results only agents keep: nobody could read them.
func needsCluster(p *plan.Plan) error {
	for _, t := range p.Tables {
		if t.Connector == "table" {
			return fmt.Errorf("table %s is kept by a cluster (connector 'table'), and \"seepnode run\" has none: start one with \"seepnode dev\" or \"seepnode agent\" and give it the query with \"seepnode query add\", or run it with --set %s.connector=print", t.Name, t.Name)
		}
	}
	return nil
}

// printJSON makes tables that print say it in JSON, unless they say how themselves.
func printJSON(p *plan.Plan) {
	for _, t := range p.Tables {
		if _, set := t.Options["format"]; t.Connector == "print" && !set {
			t.Options["format"] = "json"
		}
	}
}

// newIncarnation is a number that no other run has; later runs have greater ones. It is for names outside and shapes no row.
func newIncarnation() (uint64, error) {
	var chance [8]byte
	if _, err := rand.Read(chance[:]); err != nil {
		return 0, fmt.Errorf("drawing the query's number: %w", err)
	}
	return uint64(time.Now().UnixMilli())<<20 | binary.LittleEndian.Uint64(chance[:])&(1<<20-1), nil
}

// newLogger writes warnings for people, without a time; with everything if verbose.
func newLogger(w io.Writer, verbose bool) *slog.Logger {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// stopOnSignal gives a context that ends with errStopped at the first SIGINT or SIGTERM. The second one ends the process.
func (a *app) stopOnSignal(screen *console) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals, ended := make(chan os.Signal, 2), make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for n := 0; ; n++ {
			select {
			case <-ended:
				return
			case <-signals:
				if n > 0 {
					screen.endProgress()
					fmt.Fprintln(screen.err, "seepnode: ended at once; unfinished temporary files may be left")
					a.exit(exitFailed)
					return
				}
				cancel(errStopped)
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

// How a query ended.
const (
	stateFinished = "finished"
	stateStopped  = "stopped"
	stateFailed   = "failed"
)

// summary is what is told of a query that ended; its JSON form is one line on standard error.
type summary struct {
	State         string  `json:"state"`
	Rows          int64   `json:"rows"` // read by sources
	Seconds       float64 `json:"seconds"`
	RowsPerSecond int64   `json:"rows_per_second"`
	RowsSkipped   int64   `json:"rows_skipped"`
	RowsLate      int64   `json:"rows_late"`
	StateBytes    int64   `json:"state_bytes"`
	Epoch         *int64  `json:"epoch,omitempty"` // of a stopped or failed query: the last that was complete everywhere
	Error         string  `json:"error,omitempty"`

	unfinished bool // a sink may have thrown away what it had not finished
}

func summarize(r *engine.Result, err error, elapsed time.Duration) summary {
	s := summary{State: stateFinished, Seconds: elapsed.Seconds()}
	if r != nil {
		p := r.Progress
		s.Rows, s.RowsSkipped, s.RowsLate, s.StateBytes = p.RowsIn, p.RowsSkipped, p.RowsLate, p.StateBytes
		if err != nil {
			epoch := int64(p.Epoch)
			s.Epoch = &epoch
		}
	}
	s.RowsPerSecond = perSecond(s.Rows, elapsed)
	switch {
	case errors.Is(err, errStopped):
		s.State = stateStopped
	case err != nil:
		s.State, s.Error = stateFailed, err.Error()
	}
	return s
}

// finish tells the summary and hands err on; a summary that cannot be told does not fail the query.
func (s summary) finish(w io.Writer, asJSON bool, err error) error {
	if asJSON {
		if jsonErr := writeJSON(w, s, ""); jsonErr != nil {
			return errors.Join(err, jsonErr)
		}
		return err
	}
	fmt.Fprintln(w, s.text())
	return err
}

func (s summary) text() string {
	rows := fmt.Sprintf("%s read in %.2f s, %s rows/s; %s skipped, %s late", counted(int(s.Rows), "row"), s.Seconds,
		grouped(s.RowsPerSecond), grouped(s.RowsSkipped), grouped(s.RowsLate))
	if s.State == stateStopped {
		epoch := int64(0)
		if s.Epoch != nil {
			epoch = *s.Epoch
		}
		text := fmt.Sprintf("stopped at epoch %d: %s", epoch, rows)
		if s.unfinished {
			text += ". Files that were not finished were not written"
		}
		return text
	}
	return s.State + ": " + rows
}

// stopError is what went wrong beside the stop itself; nil for a clean stop.
func (s summary) stopError(err error) error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var rest []error
	for _, e := range joined.Unwrap() {
		if !errors.Is(e, errStopped) {
			rest = append(rest, e)
		} else if more := s.stopError(e); more != nil {
			rest = append(rest, more)
		}
	}
	if rest == nil {
		return nil
	}
	return fmt.Errorf("stopping: %w", errors.Join(rest...))
}
