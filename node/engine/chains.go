package engine

import (
	"fmt"

	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Mismatch says where two runs of the same seals gave different rows: an operator that is not deterministic.
type Mismatch struct {
	Stage    string
	Operator string
	KeyGroup topology.KeyGroup
	// Last, when it is not KeyGroup, ends the range from there on of which several differ, in every epoch of which it is known: there a sum does
	// not tell which.
	Last  topology.KeyGroup
	Epoch topology.Epoch // 0 when only the final chains were compared
}

func (m *Mismatch) Error() string {
	at := ""
	if m.Epoch > 0 {
		at = fmt.Sprintf(" up to epoch %d", m.Epoch)
	}
	groups := fmt.Sprintf("key group %d", m.KeyGroup)
	if m.Last > m.KeyGroup {
		groups = fmt.Sprintf("several of the key groups %d to %d", m.KeyGroup, m.Last)
	}
	return fmt.Sprintf("chain mismatch: operator %s (stage %q) gave other rows for %s%s; it or an operator before it in the stage is not deterministic",
		m.Operator, m.Stage, groups, at)
}

// CompareChains gives the first difference, upstream first, between the final chains of two runs of p; nil when there is none.
func CompareChains(p *plan.Plan, a, b [][][]uint64) *Mismatch {
	for s, stage := range p.Stages {
		for o := range a[s] {
			for g := range a[s][o] {
				if a[s][o][g] != b[s][o][g] {
					return &Mismatch{Stage: stage.Name, Operator: ChainOperator(stage, o), KeyGroup: topology.KeyGroup(g), Last: topology.KeyGroup(g)}
				}
			}
		}
	}
	return nil
}

// ChainOperator names the operator whose rows the n-th chain of a stage is about: its outputs', then its sinks'.
func ChainOperator(s *plan.Stage, n int) string {
	if n < len(s.Outputs) {
		return culprit(s, s.Outputs[n].Op)
	}
	n -= len(s.Outputs)
	for i, op := range s.Ops {
		if op.Sink != nil {
			if n == 0 {
				return culprit(s, i)
			}
			n--
		}
	}
	return s.Name
}

// culprit looks upstream from an operator of a stage for the nearest one that runs a user's code.
func culprit(s *plan.Stage, op int) string {
	for i := op; i >= 0; {
		o := s.Ops[i]
		if o.Process != nil {
			return o.Name
		}
		if len(o.Inputs) != 1 {
			break
		}
		i = o.Inputs[0].Op
	}
	if op < 0 {
		return s.Name
	}
	return s.Ops[op].Name
}
