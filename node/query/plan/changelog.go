package plan

import (
	"fmt"

	"github.com/seepnode/seepnode/node/query/ast"
)

// batchOrWindow is what to do where updates do not go.
const batchOrWindow = "use SET 'execution.runtime-mode' = 'batch' over input that ends, or aggregate over a window"

// aggregateMode decides when an aggregate over in emits, and whether its result updates.
func (c *compiler) aggregateMode(in *rel, windowed bool, calls int, what string, pos ast.Pos) (AggregateMode, *updating) {
	switch {
	case c.settings.Batch:
		return AtEnd, nil // also windows: in batch mode no row is late
	case windowed:
		return Window, nil
	case calls == 0 && in.updates == nil:
		return Running, nil // distinct rows of rows that are never retracted: a key that is there stays as it is
	}
	return Running, &updating{what, pos}
}

// refuseUpdates refuses an updating relation where only inserts go.
func refuseUpdates(r *rel, pos ast.Pos, taker string) error {
	if r.updates == nil {
		return nil
	}
	return hinted(pos, batchOrWindow, "%s takes only inserts, but the query updates its results because of %s at line %d", taker,
		r.updates.what, r.updates.pos.Line)
}

// refuseSinkUpdates is refuseUpdates for a sink; the place is what updates.
func refuseSinkUpdates(r *rel, t *table) error {
	if r.updates == nil || t.connector.Updates {
		return nil
	}
	return refuseUpdates(r, r.updates.pos, fmt.Sprintf("sink %q (%s)", t.name, t.connector.Name))
}
