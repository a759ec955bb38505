package plan

import "slices"

// KeyColumns finds, among some columns of what an operator of s gives, those that hold the key by which all rows are distributed to the key
// groups of s, in the key's order: a row with such values comes from the key group of their hash, and from no other. nil when they are not
// all there, or when rows of s are distributed otherwise.
func (p *Plan) KeyColumns(s *Stage, op int, among []int) []int {
	var by []int
	for _, col := range among {
		at, of := p.keyOf(s, Port{Op: op}, col)
		if at < 0 {
			continue
		}
		if by == nil {
			by = slices.Repeat([]int{-1}, of)
		}
		if len(by) == of && by[at] < 0 {
			by[at] = col
		}
	}
	if slices.Contains(by, -1) {
		return nil
	}
	return by
}

// keyOf says which column of the key a column of a port is, of how many; -1 when it is none, or not in all of what comes together there.
func (p *Plan) keyOf(s *Stage, port Port, col int) (at, of int) {
	if port.Op < 0 {
		return p.keyOfStream(s, port.Stream, col)
	}
	op := s.Ops[port.Op]
	switch {
	case op.Calc != nil:
		n := op.Calc.Project[col]
		if !isColumn(n) {
			return -1, 0
		}
		col = n.Column
	case op.Aggregate != nil:
		if col >= len(op.Aggregate.Keys) {
			return -1, 0
		}
		col = op.Aggregate.Keys[col]
	case op.FlatMap != nil: // it keeps these in front of what the function gives
		if col >= len(op.FlatMap.Keep) {
			return -1, 0
		}
		col = op.FlatMap.Keep[col]
	case op.Process != nil: // the SDK puts what it partitions by in front of what the operator gives
		if col >= len(op.Process.PartitionBy) {
			return -1, 0
		}
		col = op.Process.PartitionBy[col]
	case op.Watermark != nil, op.Union != nil, op.Sink != nil:
	default:
		return -1, 0
	}
	at = -1
	for i, in := range op.Inputs {
		a, n := p.keyOf(s, in, col)
		if i > 0 && (a != at || n != of) {
			return -1, 0
		}
		at, of = a, n
	}
	return at, of
}

func (p *Plan) keyOfStream(s *Stage, stream, col int) (at, of int) {
	if stream >= len(s.Inputs) {
		return -1, 0 // a source stage
	}
	in := s.Inputs[stream]
	out := p.Stages[in.Stage].Outputs[in.Output]
	if out.Partitioning != ByKey {
		return -1, 0
	}
	return slices.Index(out.Keys, col), len(out.Keys)
}
