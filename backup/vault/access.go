package vault

import (
	"context"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Access is a vault as its users see it: a Vault on this node, a Client of one on another.
type Access interface {
	// PutDelta, PutSeal, Adopt, Trim and Drop never wait for the disk: the commits they give do. Many may be under way. Bytes of
	// payloads must not change before the commit is Held or Done.
	PutDelta(ctx context.Context, d Delta) *Commit
	PutSeal(ctx context.Context, p SealPut) *Commit
	Adopt(ctx context.Context, a Adoption) *Commit
	Trim(ctx context.Context, id topology.QueryID, through topology.Epoch) *Commit
	Drop(ctx context.Context, id topology.QueryID) *Commit
	// Fence calls take with every seal of the log once the promise is durable. Take must not keep the seal's bytes.
	Fence(ctx context.Context, r FenceRequest, take func(s *Seal) error) (LogState, error)
	// Chain calls take with what leads to a state. Take must not keep the delta's bytes.
	Chain(ctx context.Context, r ChainRequest, take func(d *Delta) error) error
	// Acknowledged says what is durably held of key groups, and of which epoch at or before at.
	Acknowledged(ctx context.Context, id topology.QueryID, stage topology.StageID, r topology.Range, at topology.Epoch) ([]Held, error)
	// Node and Boot say whose vault it is and in which life.
	Node() topology.NodeID
	Boot() topology.BootID
}

var (
	_ Access = (*Vault)(nil)
	_ Access = (*Client)(nil)
)

// adoptPartBytes is about how much one part of an adoption holds.
const adoptPartBytes = 8 << 20

// AdoptLog puts a whole log in parts of a size that any connection takes; Begin and End of a are not looked at. The commit is
// the last part's, which is refused when an earlier one was.
func AdoptLog(ctx context.Context, to Access, a Adoption) *Commit {
	rest := a.Seals
	a.Begin = true
	for {
		n, bytes := 0, 0
		for n < min(len(rest), AdoptSealsMax) && (n == 0 || bytes+rest[n].Data.StoredLen() <= adoptPartBytes) {
			bytes += rest[n].Data.StoredLen()
			n++
		}
		a.Seals, rest = rest[:n], rest[n:]
		a.End = len(rest) == 0
		c := to.Adopt(ctx, a)
		if a.End {
			return c
		}
		a.Begin = false
		a.Start = rest[0].First
	}
}
