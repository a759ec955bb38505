package table

import (
	"errors"
	"fmt"

	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// ErrNotHere says that a node does not hold the key groups asked for, or no such table.
var ErrNotHere = errors.New("not on this node")

// NotVisibleError says that an epoch is not visible yet: asked for too early, or what holds the rows is being restored (Visible is 0
// then, or what it had committed).
type NotVisibleError struct {
	Epoch, Visible topology.Epoch
}

func (e *NotVisibleError) Error() string {
	if e.Epoch == 0 {
		return "no epoch is visible yet"
	}
	return fmt.Sprintf("epoch %d is not visible yet, %d is; wait, or read without an epoch", e.Epoch, e.Visible)
}

// TrimmedError says that the rows of an epoch are known no more.
type TrimmedError struct {
	Epoch, Oldest topology.Epoch
}

func (e *TrimmedError) Error() string {
	return fmt.Sprintf("epoch %d is not kept any more: the oldest that can be read is %d; name that or a later one, or none for the newest", e.Epoch, e.Oldest)
}

// UnavailableError says that some key groups of a table could not be read in time, and from where.
type UnavailableError struct {
	Table   string
	Range   topology.Range
	Process topology.Process
	Err     error // what the last attempt met
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("table %s: key groups %v on node %s cannot be read now: %v; they are probably being restored: try again", e.Table, e.Range, e.Process.Node, e.Err)
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// RequestError says that a request can never be answered as it is.
type RequestError struct{ Msg string }

func (e *RequestError) Error() string { return e.Msg }

// TooLargeError says that an answer would be larger than BytesMax.
type TooLargeError struct{ BytesMax int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the rows asked for take more than %d MiB; ask for fewer with a limit or a condition", e.BytesMax>>20)
}

// Failure is an error of a Read in the form in which it travels between nodes.
type Failure struct {
	Kind  string         `json:"kind"`
	Msg   string         `json:"msg,omitempty"`
	Epoch topology.Epoch `json:"epoch,omitempty"`
	Bound topology.Epoch `json:"bound,omitempty"`
	Bytes int            `json:"bytes,omitempty"`
	// Where in the text of Where, as ast.Error has it.
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// FailureOf puts an error of Store.Read into a Failure; nil for nil.
func FailureOf(err error) *Failure {
	var (
		notVisible *NotVisibleError
		trimmed    *TrimmedError
		request    *RequestError
		large      *TooLargeError
		text       *ast.Error
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &notVisible):
		return &Failure{Kind: "not_visible", Epoch: notVisible.Epoch, Bound: notVisible.Visible}
	case errors.As(err, &trimmed):
		return &Failure{Kind: "trimmed", Epoch: trimmed.Epoch, Bound: trimmed.Oldest}
	case errors.As(err, &request):
		return &Failure{Kind: "request", Msg: request.Msg}
	case errors.As(err, &large):
		return &Failure{Kind: "too_large", Bytes: large.BytesMax}
	case errors.As(err, &text):
		return &Failure{Kind: "condition", Msg: text.Msg, Line: text.Pos.Line, Column: text.Pos.Column, Hint: text.Hint}
	case errors.Is(err, ErrNotHere):
		return &Failure{Kind: "not_here", Msg: err.Error()}
	}
	return &Failure{Kind: "other", Msg: err.Error()}
}

// Err is the error that FailureOf was given, of the same type.
func (f *Failure) Err() error {
	if f == nil {
		return nil
	}
	switch f.Kind {
	case "not_visible":
		return &NotVisibleError{Epoch: f.Epoch, Visible: f.Bound}
	case "trimmed":
		return &TrimmedError{Epoch: f.Epoch, Oldest: f.Bound}
	case "request":
		return &RequestError{Msg: f.Msg}
	case "too_large":
		return &TooLargeError{BytesMax: f.Bytes}
	case "condition":
		return &ast.Error{Pos: ast.Pos{Line: f.Line, Column: f.Column}, Msg: f.Msg, Hint: f.Hint}
	case "not_here":
		return &remoteError{f.Msg, ErrNotHere}
	}
	return errors.New(f.Msg)
}

// remoteError is a sentinel with what the other node said.
type remoteError struct {
	msg      string
	sentinel error
}

func (e *remoteError) Error() string { return e.msg }

func (e *remoteError) Unwrap() error { return e.sentinel }

// lasting says that asking again cannot help.
func lasting(err error) bool {
	var (
		request *RequestError
		large   *TooLargeError
		text    *ast.Error
	)
	return errors.As(err, &request) || errors.As(err, &large) || errors.As(err, &text)
}
