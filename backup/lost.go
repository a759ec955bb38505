package backup

import (
	"context"
	"slices"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Lost gives the blocks of r.Range, ascending, of which no vault that lives has the state at r.Epoch: those that Fetch would not give as
// long as no other node comes back. A vault that lives and does not answer may have it. Alive says whether a node lives; r.Current is
// needed. It reads hardly any state. The error is ctx's.
func Lost(ctx context.Context, vaults Vaults, r FetchRequest, alive func(topology.NodeID) bool) ([]topology.BlockID, error) {
	var lost []topology.BlockID
	if r.Epoch == 0 {
		return nil, nil
	}
	for b := topology.BlockOf(r.Range.From); b <= topology.BlockOf(r.Range.To-1); b++ {
		if slices.Contains(r.Empty, b) {
			continue
		}
		f := fetcher{vaults: vaults, request: &r, block: b, ended: flagEnded | flagGroupEnded, take: func([]GroupDelta) error { return nil }}
		held := f.held(ctx, alive)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if !held {
			lost = append(lost, b)
		}
	}
	return lost, nil
}

// held says whether vaults that live have all key groups of the block, or may have them.
func (f *fetcher) held(ctx context.Context, alive func(topology.NodeID) bool) bool {
	r := f.request
	groups := f.groups()
	has := make([]bool, groups.Len())
	for _, m := range f.members() {
		if !alive(m.Node) {
			continue
		}
		access, _, err := diskOf(ctx, f.vaults, r.Current, m)
		var held []vault.Held
		if err == nil {
			held, err = access.Acknowledged(ctx, r.Query, r.Stage, groups, r.Epoch)
		}
		if err != nil && !lacks(err) {
			return true
		}
		for _, h := range held {
			if i := int(h.KeyGroup - groups.From); h.At == r.Epoch {
				has[i] = true
			} else if h.At != 0 && !has[i] {
				// It is the state at the epoch too if it had ended.
				f.next = h.KeyGroup
				has[i] = f.ask(ctx, []topology.Process{m}, topology.Range{From: h.KeyGroup, To: h.KeyGroup + 1}) == nil
			}
		}
		if !slices.Contains(has, false) {
			return true
		}
	}
	return false
}
