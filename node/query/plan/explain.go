package plan

import (
	"fmt"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
)

// Explain is the plan as text for people: settings, then stage by stage what comes in, what is done and where it goes.
func (p *Plan) Explain() string {
	var b strings.Builder
	s := p.Settings
	mode := "streaming"
	if s.Batch {
		mode = "batch"
	}
	fmt.Fprintf(&b, "query: %s, epochs of %d ms, checkpoint every %d epochs, seed %d, zone %s, parallelism %d", mode, s.EpochMs,
		s.CheckpointEpochs, s.Seed, s.Zone, s.Parallelism)
	if s.SealRows > 0 {
		fmt.Fprintf(&b, ", sealed every %d rows of a split", s.SealRows)
	}
	if s.KeepSeals {
		b.WriteString(", all seals are kept")
	}
	b.WriteByte('\n')
	for _, stage := range p.Stages {
		p.explainStage(&b, stage)
	}
	return b.String()
}

func (p *Plan) explainStage(b *strings.Builder, s *Stage) {
	groups := "key groups"
	if s.Groups == 1 {
		groups = "key group"
	}
	fmt.Fprintf(b, "\nstage %d: %s, %d %s\n", s.ID, s.Name, s.Groups, groups)
	if s.Source >= 0 {
		t := p.Tables[s.Source]
		fmt.Fprintf(b, "  rows of %s %s%s\n", t.Name, t.Schema, options(t))
	}
	for i, in := range s.Inputs {
		o := p.Stages[in.Stage].Outputs[in.Output]
		fmt.Fprintf(b, "  input %d: stage %d %q %s\n", i, in.Stage, p.Stages[in.Stage].Name, o.how())
	}
	for _, op := range s.Ops {
		fmt.Fprintf(b, "  %s%s: %s\n", op.Name, p.after(s, op), p.explainOp(s, op))
	}
	for _, o := range s.Outputs {
		fmt.Fprintf(b, "  -> stage %d %q: %s of %s, %s\n", o.Consumer, p.Stages[o.Consumer].Name, columnList(o.Schema), s.Ops[o.Op].Name, o.how())
	}
}

// after says what an operator reads when that is not just the operator before it.
func (p *Plan) after(s *Stage, op *Op) string {
	names := make([]string, len(op.Inputs))
	for i, port := range op.Inputs {
		switch {
		case port.Op >= 0:
			names[i] = s.Ops[port.Op].Name
		case s.Source >= 0:
			names[i] = p.Tables[s.Source].Name
		default:
			names[i] = fmt.Sprintf("input %d", port.Stream)
		}
	}
	return " <- " + strings.Join(names, ", ")
}

// how is an output's partitioning.
func (o Output) how() string {
	switch o.Partitioning {
	case ByKey:
		names := make([]string, len(o.Keys))
		for i, k := range o.Keys {
			names[i] = o.Schema.Fields[k].Name
		}
		return "by key (" + strings.Join(names, ", ") + ")"
	case Spread:
		return "spread"
	}
	return "all to key group 0"
}

func (p *Plan) explainOp(s *Stage, op *Op) string {
	in := p.portSchema(s, op.Inputs[0])
	switch {
	case op.Calc != nil:
		text := projection(op.Calc.Project, op.Schema)
		if op.Calc.Filter != nil {
			text += " where " + op.Calc.Filter.String()
		}
		return text
	case op.FlatMap != nil:
		return explainFlatMap(op, in)
	case op.Watermark != nil:
		text := op.Watermark.Expr.String()
		if op.Watermark.IdleMs > 0 {
			text += fmt.Sprintf(", a split is idle after %d ms", op.Watermark.IdleMs)
		}
		return text
	case op.Union != nil:
		return columnList(op.Schema)
	case op.Partial != nil:
		return op.Partial.explain(op.Partial.InputSchema)
	case op.Aggregate != nil:
		return op.Aggregate.explain(op.Aggregate.InputSchema)
	case op.Process != nil:
		return op.Process.explain(op.Schema)
	}
	t := p.Tables[op.Sink.Table]
	text := fmt.Sprintf("into %s %s%s", t.Name, t.Schema, options(t))
	if op.Sink.Fused {
		return text + ", each key group on its own"
	}
	return text + fmt.Sprintf(", %d %s", t.Lanes, plural(t.Lanes, "lane"))
}

func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

func explainFlatMap(op *Op, in *batch.Schema) string {
	f := op.FlatMap
	args, out := make([]string, len(f.Args)), make([]string, 0, len(op.Schema.Fields))
	for i, n := range f.Args {
		args[i] = n.String()
	}
	for _, k := range f.Keep {
		out = append(out, in.Fields[k].Name)
	}
	added := make([]string, 0, len(op.Schema.Fields))
	for _, field := range op.Schema.Fields[len(f.Keep):] {
		added = append(added, field.Name)
	}
	text := fmt.Sprintf("%s(%s) as (%s)", f.Function, strings.Join(args, ", "), strings.Join(added, ", "))
	if len(out) > 0 {
		text += " with " + strings.Join(out, ", ")
	}
	if f.Outer {
		text += ", nulls when there is none"
	}
	return text
}

// projection lists expressions with the names of their columns.
func projection(nodes []*expr.Node, schema *batch.Schema) string {
	parts := make([]string, len(nodes))
	for i, n := range nodes {
		parts[i] = n.String()
		if name := schema.Fields[i].Name; parts[i] != name {
			parts[i] += " as " + name
		}
	}
	return strings.Join(parts, ", ")
}

func columnList(s *batch.Schema) string { return "(" + strings.Join(fieldNames(s.Fields), ", ") + ")" }

func (a *Aggregate) explain(in *batch.Schema) string {
	var b strings.Builder
	for i, c := range a.Calls {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(c.explain(in))
	}
	if len(a.Calls) == 0 {
		b.WriteString("distinct")
	}
	if len(a.Keys) > 0 {
		names := make([]string, len(a.Keys))
		for i, k := range a.Keys {
			names[i] = in.Fields[k].Name
		}
		b.WriteString(" by " + strings.Join(names, ", "))
	}
	switch a.Mode {
	case Running:
		b.WriteString(", running")
	case AtEnd:
		b.WriteString(", at the end")
	case Window:
		fmt.Fprintf(&b, ", when the watermark passes %s", in.Fields[a.Keys[a.WindowEnd]].Name)
	}
	if a.FromPartial {
		b.WriteString(", from partial ones")
	}
	if a.Updating {
		b.WriteString(", of rows that update")
	}
	return b.String()
}

func (c AggregateCall) explain(in *batch.Schema) string {
	arg := "*"
	if c.Arg >= 0 {
		arg = in.Fields[c.Arg].Name
	}
	if c.Distinct {
		arg = "DISTINCT " + arg
	}
	text := c.Func + "(" + arg + ")"
	if c.Filter >= 0 {
		text += " where " + in.Fields[c.Filter].Name
	}
	return text
}

func (p *Process) explain(out *batch.Schema) string {
	args := make([]string, len(p.Args))
	for i, a := range p.Args {
		if args[i] = a.Text; a.Null {
			args[i] = "NULL"
		}
		if a.Name != "" {
			args[i] = a.Name + " => " + args[i]
		}
	}
	text := fmt.Sprintf("%s(%s) over %s", p.Operator, strings.Join(args, ", "), columnList(p.InputSchema))
	if len(p.PartitionBy) > 0 {
		names := make([]string, len(p.PartitionBy))
		for i, k := range p.PartitionBy {
			names[i] = p.InputSchema.Fields[k].Name
		}
		text += " by " + strings.Join(names, ", ")
	}
	return text + " gives " + columnList(out)
}

// options are a table's connector and options, sorted.
func options(t *Table) string {
	parts := []string{t.Connector}
	for _, key := range sortedKeys(t.Options) {
		parts = append(parts, fmt.Sprintf("%s '%s'", key, t.Options[key]))
	}
	return " (" + strings.Join(parts, ", ") + ")"
}
