package seepnode

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/plan"
)

// queryBytesMax bounds what is read of a query. The planner's own limit is lower and says so better.
const queryBytesMax = 16 << 20

// compile reads and plans the query of a Config. A mistake in its text is a *queryError.
func (a *app) compile(c Config) (*plan.Plan, error) {
	name, src, err := a.read(c.File)
	if err != nil {
		return nil, err
	}
	p, err := plan.Compile(src, a, plan.Options{Set: c.Set})
	var mistake *ast.Error
	if errors.As(err, &mistake) {
		return nil, &queryError{name, src, mistake}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// read gives a query's text and the name for messages.
func (a *app) read(file string) (name, src string, err error) {
	from := a.streams.In
	if file == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(file)
		if err != nil {
			return "", "", fmt.Errorf("reading the query: %w", err)
		}
		defer f.Close() //nolint:errcheck // only read
		name, from = file, f
	}
	text, err := io.ReadAll(io.LimitReader(from, queryBytesMax))
	if err != nil {
		return "", "", fmt.Errorf("reading the query: %w", err)
	}
	return name, string(text), nil
}

func (a *app) queryPlan(c Config) error {
	p, err := a.compile(c)
	if err != nil {
		return err
	}
	if c.JSON {
		return writeJSON(a.streams.Out, p, "  ")
	}
	_, err = io.WriteString(a.streams.Out, p.Explain())
	return err
}

// validation is what 'query validate --json' prints.
type validation struct {
	File   string           `json:"file"`
	Valid  bool             `json:"valid"`
	Tables int              `json:"tables,omitempty"`
	Stages int              `json:"stages,omitempty"`
	Error  *validationError `json:"error,omitempty"`
}

type validationError struct {
	Line    int    `json:"line"`   // from 1
	Column  int    `json:"column"` // from 1, in characters
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (a *app) queryValidate(c Config) error {
	p, err := a.compile(c)
	var wrong *queryError
	switch {
	case errors.As(err, &wrong) && !wrong.fromSet() && c.JSON:
		e := wrong.err
		answer := validation{File: wrong.name, Error: &validationError{e.Pos.Line, e.Pos.Column, e.Msg, e.Hint}}
		if err := writeJSON(a.streams.Out, answer, ""); err != nil {
			return err
		}
		return reported{err}
	case err != nil:
		return err
	case c.JSON:
		return writeJSON(a.streams.Out, validation{File: c.File, Valid: true, Tables: len(p.Tables), Stages: len(p.Stages)}, "")
	}
	_, err = fmt.Fprintf(a.streams.Out, "%s: right (%s, %s)\n", c.File, counted(len(p.Tables), "table"), counted(len(p.Stages), "stage"))
	return err
}

func writeJSON(w io.Writer, v any, indent string) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	return e.Encode(v)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return grouped(int64(n)) + " " + what + "s"
}
