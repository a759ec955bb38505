package table

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// tailing is what a lane does for those that follow it. All of it is of the goroutine that writes.
type tailing struct {
	part    *tail.Part
	pending []pendingChange
}

// pendingChange is an entry that was written in an epoch and not shown yet.
type pendingChange struct {
	epoch topology.Epoch
	entry uint32
	group topology.KeyGroup
}

func (t *tailing) add(epoch topology.Epoch, group topology.KeyGroup, entry uint32) {
	t.pending = append(t.pending, pendingChange{epoch, entry, group})
}

// giveAway says that all but keep has left: what was not shown of it yet is another's to show.
func (t *tailing) giveAway(keep topology.Range) {
	t.pending = slices.DeleteFunc(t.pending, func(p pendingChange) bool { return !keep.Contains(p.group) })
	t.part.Narrow(keep)
}

// publish tells followers of the changes up to epoch through, and that they were the last when ended.
func (l *lane) publish(through topology.Epoch, ended bool) error {
	t := &l.tailing
	if !t.part.Followed() {
		t.pending = nil
		return nil
	}
	done := 0
	for done < len(t.pending) && t.pending[done].epoch <= through {
		epoch, rows := t.pending[done].epoch, t.part.NewRows()
		for ; done < len(t.pending) && t.pending[done].epoch == epoch; done++ {
			if err := l.addChange(rows, t.pending[done]); err != nil {
				return fmt.Errorf("table %s: showing a change: %w", l.sink.config.Table, err)
			}
		}
		t.part.Send(epoch, rows)
	}
	t.pending = append(t.pending[:0], t.pending[done:]...)
	if ended {
		t.part.End()
	}
	return nil
}

// addChange compares the version of an epoch with the one before it.
func (l *lane) addChange(rows *tail.Rows, p pendingChange) error {
	g := l.group(p.group)
	for at := g.head[p.entry]; at != none; {
		epoch, older, row, dead := versionIn(g.data, at)
		if epoch != p.epoch {
			at = older
			continue
		}
		var before []byte
		had := false
		if older != none {
			var gone bool
			_, _, before, gone = versionIn(g.data, older)
			had = !gone
		}
		if had {
			op := tail.UpdateBefore
			if dead {
				op = tail.Delete
			}
			if err := l.addRow(rows, op, p, before); err != nil {
				return err
			}
		}
		if dead {
			return nil
		}
		op := tail.Insert
		if had {
			op = tail.UpdateAfter
		}
		return l.addRow(rows, op, p, row)
	}
	return nil
}

func (l *lane) addRow(rows *tail.Rows, op tail.Op, p pendingChange, row []byte) error {
	rows.Mark(op, p.group)
	return l.layout.decode(rows.Batch, l.group(p.group).key(p.entry), row)
}
