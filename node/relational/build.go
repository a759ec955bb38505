package relational

import (
	"fmt"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
)

// OperatorLookup finds a custom operator by name, such as operator.Registry.Lookup.
type OperatorLookup func(name string) (*operator.Definition, bool)

// Build makes the kernel of op, a Stateless or a Keyed with its own scratch memory: one per worker. seed is the plan's. lookup
// may be nil when the plan has no custom operators. Unions, watermarks and sinks have no kernel. Errors name the operator.
func Build(op *plan.Op, lookup OperatorLookup, seed uint64) (Kernel, error) {
	k, err := build(op, lookup, seed)
	if err != nil {
		return nil, fmt.Errorf("operator %s: %w", op.Name, err)
	}
	return k, nil
}

func build(op *plan.Op, lookup OperatorLookup, seed uint64) (Kernel, error) {
	if op.Schema == nil {
		return nil, fmt.Errorf("its output has no schema")
	}
	switch {
	case op.Calc != nil:
		return newCalc(op.Name, op.Calc, op.Schema)
	case op.FlatMap != nil:
		return newFlatMap(op.Name, op.FlatMap, op.Schema)
	case op.Partial != nil:
		if err := checkOutput(op.Partial, op.Schema, true); err != nil {
			return nil, err
		}
		return newPartial(op.Name, op.Partial)
	case op.Aggregate != nil:
		if err := checkOutput(op.Aggregate, op.Schema, false); err != nil {
			return nil, err
		}
		return newAggregate(op.Name, op.Aggregate)
	case op.Process != nil:
		return newProcess(op.Name, op.Process, op.Schema, lookup, seed)
	}
	return nil, fmt.Errorf("it has no kernel")
}

// checkOutput compares an aggregate's schema with what its kernel emits, so that a plan that does not fit fails here and not
// at a row.
func checkOutput(a *plan.Aggregate, schema *batch.Schema, partial bool) error {
	if a.InputSchema == nil {
		return fmt.Errorf("its input has no schema")
	}
	var want []batch.Type
	for _, col := range a.Keys {
		if col < 0 || col >= len(a.InputSchema.Fields) {
			return fmt.Errorf("key column %d is not among the %d of the input", col, len(a.InputSchema.Fields))
		}
		want = append(want, a.InputSchema.Fields[col].Type)
	}
	for _, c := range a.Calls {
		if !partial {
			want = append(want, c.Type)
			continue
		}
		fields, _ := c.PartialFields("", a.Updating)
		for _, f := range fields {
			want = append(want, f.Type)
		}
	}
	return checkKinds(schema, want)
}

func checkKinds(schema *batch.Schema, want []batch.Type) error {
	if len(want) != len(schema.Fields) {
		return fmt.Errorf("it emits %d columns, its schema has %d", len(want), len(schema.Fields))
	}
	for i, t := range want {
		f := schema.Fields[i]
		if t.ID == batch.Invalid || f.Type.ID == batch.Invalid || t.Kind() != f.Type.Kind() {
			return fmt.Errorf("it emits %v for column %s, which its schema says is %v", t, f.Name, f.Type)
		}
	}
	return nil
}
