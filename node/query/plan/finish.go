package plan

import (
	"fmt"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

func partialPrefix(call int) string { return fmt.Sprintf("p%d_", call) }

// finish numbers operators and the call sites of random functions in plan order, and calls the columns in expressions as the
// operators before call them.
func (p *Plan) finish() {
	number, site := 0, 0
	for _, s := range p.Stages {
		for _, op := range s.Ops {
			number++
			op.Name = fmt.Sprintf("%s#%d", op.kind(), number)
			in := p.portSchema(s, op.Inputs[0])
			settle := func(n *expr.Node) *expr.Node { return settled(folded(n), in, &site) }
			switch {
			case op.Calc != nil:
				op.Calc.Filter = settle(op.Calc.Filter)
				op.Calc.Project = settledAll(op.Calc.Project, settle)
			case op.FlatMap != nil:
				op.FlatMap.Args = settledAll(op.FlatMap.Args, settle)
			case op.Watermark != nil:
				op.Watermark.Expr = settle(op.Watermark.Expr)
			}
		}
	}
}

// portSchema is the schema of the rows at a port of s.
func (p *Plan) portSchema(s *Stage, port Port) *batch.Schema {
	if port.Op >= 0 {
		return s.Ops[port.Op].Schema
	}
	if s.Source >= 0 {
		return p.Tables[s.Source].Schema
	}
	in := s.Inputs[port.Stream]
	return p.Stages[in.Stage].Outputs[in.Output].Schema
}

func settledAll(nodes []*expr.Node, settle func(*expr.Node) *expr.Node) []*expr.Node {
	out := make([]*expr.Node, len(nodes))
	for i, n := range nodes {
		out[i] = settle(n)
	}
	return out
}

// folded computes what became constant when calcs were merged. What cannot be computed fails when its row comes.
func folded(n *expr.Node) *expr.Node {
	if n == nil {
		return nil
	}
	if f, err := expr.Fold(n); err == nil {
		return f
	}
	return n
}

func settled(n *expr.Node, in *batch.Schema, site *int) *expr.Node {
	if n == nil {
		return nil
	}
	c := *n
	if n.Op == expr.OpColumn {
		c.Name = in.Fields[n.Column].Name
	}
	if n.IsRandom() {
		*site++
		c.Site = *site
	}
	if v := n.Literal; v != nil && len(v.Bytes) == 0 && v.Bytes != nil {
		empty := *v
		empty.Bytes = nil // as JSON reads it back
		c.Literal = &empty
	}
	c.Args = nil
	for _, a := range n.Args {
		c.Args = append(c.Args, settled(a, in, site))
	}
	return &c
}

// kind names an operator for people.
func (op *Op) kind() string {
	switch {
	case op.Calc != nil && op.Calc.Filter != nil && onlyColumns(op.Calc.Project):
		return "filter"
	case op.Calc != nil:
		return "calc"
	case op.FlatMap != nil:
		first, _, _ := strings.Cut(op.FlatMap.Function, " ")
		return strings.ToLower(strings.TrimPrefix(first, internalPrefix))
	case op.Watermark != nil:
		return "watermark"
	case op.Union != nil:
		return "union"
	case op.Partial != nil:
		return "partial"
	case op.Aggregate != nil:
		return "aggregate"
	case op.Process != nil:
		return op.Process.Operator
	}
	return "sink"
}

func onlyColumns(nodes []*expr.Node) bool {
	for _, n := range nodes {
		if !isColumn(n) {
			return false
		}
	}
	return true
}
