package plan

import (
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// maxStages bounds a plan: each stage costs every node goroutines and memory.
const maxStages = 256

// cutter cuts a graph of relations into stages. It works depth first from the sinks, so that stages and operators come after
// what they read, in an order that only the query decides.
type cutter struct {
	plan   *Plan
	places map[*rel]place
	tables map[*table]int
	passed map[topology.StageID]int // source stages: the operator that passes the rows on as they are
}

// place is where a relation's rows are: operator op of a stage, or (op -1) the stream of a source stage.
type place struct {
	stage *Stage
	op    int
}

func (p place) port() Port { return Port{Op: p.op} }

// cut makes the plan of all sinks.
func (c *compiler) cut() (*Plan, error) {
	roots := make([]*rel, len(c.sinks))
	for i, s := range c.sinks {
		roots[i] = s.rel
	}
	roots = optimize(roots)
	for _, r := range topological(roots) {
		if r.kind == relScan && r.table.sink != nil {
			return nil, errorAt(r.table.sink.pos, "table %q is read and written by the same query", r.table.name)
		}
	}
	k := &cutter{plan: &Plan{Version: Version, Settings: c.settings}, places: map[*rel]place{}, tables: map[*table]int{},
		passed: map[topology.StageID]int{}}
	for _, r := range roots {
		k.sink(r)
	}
	if n := len(k.plan.Stages); n > maxStages {
		return nil, hinted(ast.Pos{Line: 1, Column: 1}, "cut it into several queries", "the query has %d stages; at most %d are supported", n, maxStages)
	}
	k.plan.finish()
	return k.plan, nil
}

// place finds the stage and operator of r, adding what is not there yet.
func (k *cutter) place(r *rel) place {
	if p, ok := k.places[r]; ok {
		return p
	}
	var p place
	switch r.kind {
	case relScan:
		p = k.scan(r)
	case relAggregate:
		p = k.aggregate(r)
	case relProcess:
		p = k.process(r)
	case relUnion:
		p = k.union(r)
	default:
		in := k.place(r.inputs[0])
		op := &Op{Inputs: []Port{in.port()}, Schema: r.schema()}
		switch r.kind {
		case relCalc:
			op.Calc = &Calc{Filter: r.filter, Project: r.project}
		case relFlatMap:
			op.FlatMap = &FlatMap{Function: r.function, Args: r.args, Keep: slices.Clone(r.keep), Outer: r.outer}
			if op.FlatMap.Keep == nil {
				op.FlatMap.Keep = []int{}
			}
		case relWatermark:
			op.Watermark = &Watermark{Expr: r.watermark, IdleMs: r.idleMs}
		}
		p = place{in.stage, in.stage.add(op)}
	}
	k.places[r] = p
	return p
}

func (s *Stage) add(op *Op) int {
	s.Ops = append(s.Ops, op)
	return len(s.Ops) - 1
}

func (k *cutter) newStage(name string, groups int) *Stage {
	s := &Stage{ID: topology.StageID(len(k.plan.Stages)), Name: name, Groups: groups, Source: -1, Ops: []*Op{}}
	k.plan.Stages = append(k.plan.Stages, s)
	return s
}

func (k *cutter) scan(r *rel) place {
	s := k.newStage(r.table.name, k.plan.Settings.KeyGroups)
	s.Source = k.table(r.table)
	return place{s, -1}
}

// table is the index of t in the plan's tables.
func (k *cutter) table(t *table) int {
	if i, ok := k.tables[t]; ok {
		return i
	}
	k.tables[t] = len(k.plan.Tables)
	k.plan.Tables = append(k.plan.Tables, &Table{Name: t.name, Connector: t.connector.Name, Schema: t.physical, Primary: t.primary, Options: t.options})
	return k.tables[t]
}

// gathered are the branches of a relation that are in one stage.
type gathered struct {
	stage *Stage
	rels  []*rel
}

// gather groups the branches of r (its inputs when it is a UNION ALL) by stage, in order of first appearance. The operator of
// a branch that is a calc is not made yet.
func (k *cutter) gather(r *rel) []gathered {
	branches := []*rel{r}
	if r.kind == relUnion {
		branches = r.inputs
	}
	var out []gathered
	for _, b := range branches {
		below := b
		if b.kind == relCalc {
			below = b.inputs[0]
		}
		s := k.place(below).stage
		i := slices.IndexFunc(out, func(g gathered) bool { return g.stage == s })
		if i < 0 {
			i = len(out)
			out = append(out, gathered{stage: s})
		}
		out[i].rels = append(out[i].rels, b)
	}
	return out
}

// ports are the branches' operators.
func (k *cutter) ports(g gathered) []Port {
	ports := make([]Port, len(g.rels))
	for i, r := range g.rels {
		ports[i] = k.place(r).port()
	}
	return ports
}

// single is one operator with the rows of all branches.
func (k *cutter) single(g gathered) int {
	ports := k.ports(g)
	if len(ports) == 1 && ports[0].Op >= 0 {
		return ports[0].Op
	}
	if len(ports) > 1 {
		return g.stage.add(&Op{Inputs: ports, Schema: g.rels[0].schema(), Union: &Union{}})
	}
	// A stream leaves a stage through an operator: one that passes it on.
	op, ok := k.passed[g.stage.ID]
	if !ok {
		op = g.stage.add(&Op{Inputs: ports, Schema: g.rels[0].schema(), Union: &Union{}})
		k.passed[g.stage.ID] = op
	}
	return op
}

// shuffle describes the way into a stage.
type shuffle struct {
	partitioning Partitioning
	keys         []int
}

func byKeys(keys []int) shuffle {
	if len(keys) == 0 {
		return shuffle{partitioning: Single}
	}
	return shuffle{ByKey, keys}
}

func (k *cutter) groups(s shuffle) int {
	if s.partitioning == Single {
		return 1
	}
	return k.plan.Settings.KeyGroups
}

// connect makes the output of operator op of a stage the next input of another and gives the port there.
func connect(from *Stage, op int, to *Stage, s shuffle) Port {
	to.Inputs = append(to.Inputs, Input{Stage: from.ID, Output: len(from.Outputs)})
	from.Outputs = append(from.Outputs, Output{Op: op, Consumer: to.ID, Input: len(to.Inputs) - 1, Partitioning: s.partitioning,
		Keys: slices.Clone(s.keys), Groups: to.Groups, Schema: from.Ops[op].Schema})
	return Port{Op: -1, Stream: len(to.Inputs) - 1}
}

// repartition makes a stage into which the rows of r go, and the ports of its streams.
func (k *cutter) repartition(branches []gathered, name string, groups int, s shuffle) (*Stage, []Port) {
	ops := make([]int, len(branches))
	for i, g := range branches {
		ops[i] = k.single(g)
	}
	stage := k.newStage(name, groups)
	ports := make([]Port, len(branches))
	for i, g := range branches {
		ports[i] = connect(g.stage, ops[i], stage, s)
	}
	return stage, ports
}

// aggregate makes the stage of an aggregate. Where all calls allow it rows are aggregated before they are sent.
func (k *cutter) aggregate(r *rel) place {
	a, in := r.aggregate, r.inputs[0]
	final := &Aggregate{Mode: a.mode, Keys: firstColumns(a.keys), Calls: a.calls, WindowEnd: a.windowEnd, Updating: in.updates != nil,
		InputSchema: in.schema()}
	if final.Calls == nil {
		final.Calls = []AggregateCall{}
	}
	to := byKeys(final.Keys)
	branches := k.gather(in)
	label := aggregateLabel(r)
	partial := partialSchema(final)
	var stage *Stage
	var ports []Port
	if partial == nil {
		stage, ports = k.repartition(branches, label, k.groups(to), to)
	} else {
		final.FromPartial = true
		ops := make([]int, len(branches))
		for i, g := range branches {
			ops[i] = k.partial(g, final, partial)
		}
		stage = k.newStage(label, k.groups(to))
		for i, g := range branches {
			ports = append(ports, connect(g.stage, ops[i], stage, to))
		}
	}
	return place{stage, stage.add(&Op{Inputs: ports, Schema: r.schema(), Aggregate: final})}
}

func firstColumns(n int) []int {
	keys := make([]int, n)
	for i := range keys {
		keys[i] = i
	}
	return keys
}

// partialSchema is what a pre-aggregation for a gives; nil when there can be none. Rows that update are sent as they are: a sum of
// weights per call does not tell whether a key still has rows.
func partialSchema(a *Aggregate) *batch.Schema {
	if a.Updating {
		return nil
	}
	fields := slices.Clone(a.InputSchema.Fields[:len(a.Keys)])
	for i, c := range a.Calls {
		more, ok := c.PartialFields(partialPrefix(i), a.Updating)
		if !ok {
			return nil
		}
		fields = append(fields, more...)
	}
	return batch.NewSchema(fields...)
}

// partial adds the pre-aggregation of the branches in one stage. A calc that only picks columns is not made: keys and arguments
// are picked from what is below it.
func (k *cutter) partial(g gathered, final *Aggregate, schema *batch.Schema) int {
	p := *final
	p.FromPartial, p.Keys, p.Calls = false, slices.Clone(final.Keys), slices.Clone(final.Calls)
	ports := []Port{}
	if in := g.rels[0]; len(g.rels) == 1 && onlyPicks(in, final) {
		pick := func(i int) int { return in.project[i].Column }
		for i := range p.Keys {
			p.Keys[i] = pick(p.Keys[i])
		}
		for i := range p.Calls {
			if c := &p.Calls[i]; c.Arg >= 0 {
				c.Arg = pick(c.Arg)
			}
			if c := &p.Calls[i]; c.Filter >= 0 {
				c.Filter = pick(c.Filter)
			}
		}
		p.InputSchema = in.inputs[0].schema()
		ports = append(ports, k.place(in.inputs[0]).port())
	} else {
		ports = k.ports(g)
	}
	return g.stage.add(&Op{Inputs: ports, Schema: schema, Partial: &p})
}

// onlyPicks says whether r is a calc without filter that only passes on what a needs.
func onlyPicks(r *rel, a *Aggregate) bool {
	if r.kind != relCalc || r.filter != nil {
		return false
	}
	for _, i := range a.Keys {
		if !isColumn(r.project[i]) {
			return false
		}
	}
	for _, c := range a.Calls {
		if c.Arg >= 0 && !isColumn(r.project[c.Arg]) || c.Filter >= 0 && !isColumn(r.project[c.Filter]) {
			return false
		}
	}
	return true
}

// aggregateLabel is how people know an aggregate's stage.
func aggregateLabel(r *rel) string {
	if r.aggregate.keys == 0 {
		return "aggregate"
	}
	names := make([]string, r.aggregate.keys)
	for i := range names {
		names[i] = r.columns[i].name
	}
	return "aggregate by " + strings.Join(names, ", ")
}

// process makes the stage of a custom operator.
func (k *cutter) process(r *rel) place {
	in := r.inputs[0]
	schema := in.schema()
	to := byKeys(r.process.partitionBy)
	stage, ports := k.repartition(k.gather(in), operatorLabel(r.process, schema), k.groups(to), to)
	if len(ports) > 1 {
		ports = []Port{{Op: stage.add(&Op{Inputs: ports, Schema: schema, Union: &Union{}})}}
	}
	op := &Op{Inputs: ports, Schema: r.schema(), Process: &Process{Operator: r.process.name, PartitionBy: r.process.partitionBy,
		Args: r.process.args, InputSchema: schema}}
	return place{stage, stage.add(op)}
}

// union makes one operator of UNION ALL: in its branches' stage when that is one, otherwise in a stage of its own.
func (k *cutter) union(r *rel) place {
	branches := k.gather(r)
	if len(branches) == 1 {
		return place{branches[0].stage, k.single(branches[0])}
	}
	stage, ports := k.repartition(branches, "union", k.plan.Settings.KeyGroups, k.spread(r))
	return place{stage, stage.add(&Op{Inputs: ports, Schema: r.schema(), Union: &Union{}})}
}

// spread distributes rows that have no key: a retraction follows the row that it retracts.
func (k *cutter) spread(r *rel) shuffle {
	switch {
	case r.updates == nil:
		return shuffle{partitioning: Spread}
	case len(r.key) > 0:
		return shuffle{ByKey, r.key}
	}
	return byKeys(firstColumns(len(r.columns)))
}
