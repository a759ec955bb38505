package engine

import (
	"fmt"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// checkState is paranoid mode: after every epoch each touched key group is encoded, dropped and decoded, and what the deltas so far
// give is compared with it. What is not in the encoded state cannot influence the next epoch then.
func (p *partition) checkState(last topology.Epoch) error {
	for i := range p.tasks {
		x := p.tasks[i].x
		for _, t := range x.touch {
			op := p.spec.Ops[t.op]
			if err := p.roundTrip(x.keyed(t.op), t.group, last); err != nil {
				return p.keyed(op, t.group.ID, last, fmt.Errorf("paranoid mode: %w", err))
			}
		}
	}
	return nil
}

// addReplica makes the empty state that a key group's deltas will be applied to.
func (p *partition) addReplica(k relational.Keyed, g *relational.Group) (*state.Group, error) {
	fresh := relational.Group{ID: g.ID, State: state.NewGroup(), Due: noTimer}
	if err := k.Open(&fresh); err != nil {
		return nil, err
	}
	p.replicas[g] = fresh.State
	return fresh.State, nil
}

func (p *partition) roundTrip(k relational.Keyed, g *relational.Group, last topology.Epoch) error {
	replica := p.replicas[g]
	if replica == nil {
		var err error
		if replica, err = p.addReplica(k, g); err != nil {
			return err
		}
	}
	if err := replica.Apply(g.State.AppendDelta(nil, last-1)); err != nil {
		return fmt.Errorf("delta of epoch %d: %w", last, err)
	}
	want := g.State.Hash()
	if got := replica.Hash(); got != want {
		return fmt.Errorf("base and deltas give hash %016x, live state has %016x", got, want)
	}
	decoded := relational.Group{ID: g.ID, State: state.NewGroup(), Due: noTimer}
	if err := k.Open(&decoded); err != nil {
		return err
	}
	if err := decoded.State.Apply(g.State.AppendBase(nil)); err != nil {
		return fmt.Errorf("base at epoch %d: %w", last, err)
	}
	if got := decoded.State.Hash(); got != want {
		return fmt.Errorf("decoded state has hash %016x, live state %016x", got, want)
	}
	if err := k.Restored(&decoded); err != nil {
		return err
	}
	*g = decoded
	return nil
}
