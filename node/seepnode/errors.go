package seepnode

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seepnode/seepnode/node/query/ast"
)

// Exit codes.
const (
	exitDone   = 0 // the query is done, or was stopped cleanly
	exitFailed = 1 // the query failed, or its text is wrong
	exitUsage  = 2 // the command line is wrong
)

// usageError is a mistake in the command line.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// errNoCommand is seepnode called without anything to do.
var errNoCommand = usagef("no command; \"seepnode run FILE\" runs a query, \"seepnode --help\" shows all commands")

// reported is an error that was told already; only the exit code remains.
type reported struct{ error }

// queryError is a mistake in a query's text.
type queryError struct {
	name string // of the file
	src  string
	err  *ast.Error
}

// Error is "q.sql:3:7: message", the line, a caret under the column, and the hint.
func (e *queryError) Error() string {
	if e.fromSet() {
		return e.err.Msg + e.hint("; ")
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.name, e.err.Pos.Line, e.err.Pos.Column, e.err.Msg)
	if caret := e.err.Caret(e.src); strings.Trim(caret, " \t\n^") != "" {
		b.WriteString("\n  " + strings.ReplaceAll(caret, "\n", "\n  "))
	}
	b.WriteString(e.hint("\n"))
	return b.String()
}

// fromSet says that the mistake is in --set and not in the text.
func (e *queryError) fromSet() bool { return strings.HasPrefix(e.err.Msg, "--set ") }

func (e *queryError) hint(before string) string {
	if e.err.Hint == "" {
		return ""
	}
	if before == "\n" {
		return before + "hint: " + e.err.Hint
	}
	return before + e.err.Hint
}

func (e *queryError) Unwrap() error { return e.err }

// report tells err on standard error, once, and gives the exit code.
func (a *app) report(err error) int {
	var usage *usageError
	var query *queryError
	var told reported
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &told):
		return exitFailed
	case errors.As(err, &usage):
		fmt.Fprintf(a.streams.Err, "seepnode: %v\n", usage)
		return exitUsage
	case errors.As(err, &query) && query.fromSet():
		fmt.Fprintf(a.streams.Err, "seepnode: %v\n", query)
		return exitUsage
	case errors.As(err, &query):
		fmt.Fprintln(a.streams.Err, query)
		return exitFailed
	}
	fmt.Fprintf(a.streams.Err, "seepnode: %v\n", err)
	return exitFailed
}
