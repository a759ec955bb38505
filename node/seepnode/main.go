package seepnode

import (
	"fmt"
	"io"
	"os"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/node/connector/print"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/table"
)

// Option adds something to what the binary knows. It is used once, by Main or Run.
type Option func(*app) error

// WithOperator adds a custom operator, which SQL calls as a process table function: name(TABLE t PARTITION BY (a), args...).
func WithOperator(d *operator.Definition) Option {
	return func(a *app) error { return a.operators.Register(d) }
}

// WithConnector adds a connector for CREATE TABLE ... WITH ('connector' = '...').
func WithConnector(d *connector.Definition) Option {
	return func(a *app) error { return a.connectors.Register(d) }
}

// WithFunction adds a scalar function. Functions belong to the process, not to one call of Run: the same name a second time is
// an error.
func WithFunction(d expr.FunctionDef) Option {
	return func(*app) error { return expr.Register(d) }
}

// Main is the whole of a binary: it runs the command that the process's arguments name and exits with its code.
func Main(options ...Option) {
	os.Exit(Run(os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, options...))
}

// Streams are what a command reads and writes. Out carries data only. A progress line is drawn when Err is a terminal's *os.File.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run runs the command that args (without the program's name) name and returns the exit code: 0 done or cleanly stopped, 1 failed,
// 2 wrong usage. While a query runs, SIGINT and SIGTERM stop it; a second one ends the process at once.
func Run(args []string, streams Streams, options ...Option) int {
	a := &app{streams: streams, exit: os.Exit}
	for _, o := range append(builtin(), options...) {
		if err := o(a); err != nil {
			return a.report(fmt.Errorf("this binary is put together wrongly: %w", err))
		}
	}
	return a.report(a.command(args))
}

// builtin are the connectors that every binary has.
func builtin() []Option {
	return []Option{
		WithConnector(blackhole.Definition()), WithConnector(datagen.Definition()),
		WithConnector(filesystem.Definition()), WithConnector(print.Definition()),
		WithConnector(table.NewStore().Definition()), // for checking and planning; each agent has a store of its own
	}
}

// app is one command being run: what it knows and where it writes. It is the planner's catalog.
type app struct {
	streams    Streams
	connectors connector.Registry
	operators  operator.Registry
	exit       func(code int) // ends the process at once
}

func (a *app) Connector(name string) (*connector.Definition, bool) { return a.connectors.Lookup(name) }
func (a *app) Connectors() []string                                { return a.connectors.Names() }
func (a *app) Operator(name string) (*operator.Definition, bool)   { return a.operators.Lookup(name) }
func (a *app) Operators() []string                                 { return a.operators.Names() }
