package engine

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sort"
	"strings"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Error is why a query failed: where, at which row, and what happened.
type Error struct {
	Node     topology.NodeID
	Stage    string
	Operator string            // "" when the failure has none
	KeyGroup topology.KeyGroup // meaningful with HasGroup
	HasGroup bool
	Epoch    topology.Epoch
	Row      string // "row {column: value, ...}" or "timer name"; "" when unknown
	Err      error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.Operator != "" {
		fmt.Fprintf(&b, "operator %s", e.Operator)
	} else {
		fmt.Fprintf(&b, "stage %q", e.Stage)
	}
	if e.HasGroup {
		fmt.Fprintf(&b, ", key group %d", e.KeyGroup)
	}
	fmt.Fprintf(&b, ", epoch %d, node %s: %v", e.Epoch, e.Node, e.Err)
	if e.Row != "" {
		fmt.Fprintf(&b, "; at %s", e.Row)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// SourceError says that a split of a source cannot be read, or not as it was sealed.
type SourceError struct {
	Table, Split string
	Err          error
}

func (e *SourceError) Error() string {
	return fmt.Sprintf("table %q, split %q: %v", e.Table, e.Split, e.Err)
}

func (e *SourceError) Unwrap() error { return e.Err }

func (p *partition) failure(op *plan.Op, epoch topology.Epoch, err error) *Error {
	e := &Error{Node: p.node.config.ID, Stage: p.spec.Name, Epoch: epoch, Err: err}
	if op != nil {
		e.Operator = op.Name
	}
	return e
}

// stateless places an error of a stateless operator over a piece.
func (p *partition) stateless(op *plan.Op, in *relational.Grouped, epoch topology.Epoch, err error) error {
	e := p.failure(op, epoch, err)
	var row *expr.RowError
	if errors.As(err, &row) {
		e.Err, e.Row = row.Err, "row "+relational.RowText(in.Batch, row.Row)
		if k := sort.Search(len(in.Groups), func(k int) bool { return int(in.Offsets[k+1]) > row.Row }); k < len(in.Groups) {
			e.KeyGroup, e.HasGroup = in.Groups[k], true
		}
	}
	return e
}

// keyed places an error of a keyed operator in a key group.
func (p *partition) keyed(op *plan.Op, g topology.KeyGroup, epoch topology.Epoch, err error) error {
	e := p.failure(op, epoch, err)
	e.KeyGroup, e.HasGroup = g, true
	var f *relational.Failure
	if errors.As(err, &f) {
		e.Row, e.Err = f.Where, f.Err
	}
	return e
}

// failed places an error at a row of a key group.
func (p *partition) failed(op *plan.Op, g topology.KeyGroup, epoch topology.Epoch, b *batch.Batch, row int, err error) error {
	e := p.failure(op, epoch, err)
	e.KeyGroup, e.HasGroup, e.Row = g, true, "row "+relational.RowText(b, row)
	return e
}

func (p *partition) failedSource(table, split string, g topology.KeyGroup, epoch topology.Epoch, err error) error {
	e := p.failure(nil, epoch, &SourceError{Table: table, Split: split, Err: err})
	e.KeyGroup, e.HasGroup = g, true
	return e
}

func (p *partition) sinkError(n int, err error) error {
	op := p.spec.Ops[p.sinkOps[n]]
	return p.failure(op, p.next, fmt.Errorf("table %q: %w", p.query.plan.Tables[op.Sink.Table].Name, err))
}

// panicked turns a panic into the query's error; the process goes on.
func (p *partition) panicked(r any) error {
	var limit *state.LimitError
	if err, ok := r.(error); ok && errors.As(err, &limit) {
		return p.failure(nil, p.next, err)
	}
	return p.failure(nil, p.next, fmt.Errorf("panic: %v (this is a bug in seepnode or in a registered function)\n%s", r, debug.Stack()))
}
