package vault

import (
	"context"
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func (d *Delta) check() error {
	switch {
	case d.KeyGroup >= topology.MaxKeyGroups || d.Block != BlockOf(d.KeyGroup):
		return fmt.Errorf("%w: key group %d is said to be in block %d", ErrMalformed, d.KeyGroup, d.Block)
	case d.To < 1 || d.From < 0 || !d.Base && d.From >= d.To:
		return fmt.Errorf("%w: delta of epochs (%d,%d]", ErrMalformed, d.From, d.To)
	}
	return nil
}

// PutDelta adds to the chain of a key group. It is Done when it is fsynced; what is held already, or was trimmed, is done at
// once. A delta may begin before the end of the one before, since a sender counts from the last checkpoint that all vaults
// have. ctx bounds the waiting for room among the deltas that wait for their fsync.
//
// Errors: *NeedBaseError, *DiskFullError, *FailedError, ErrDropped, ErrMalformed.
func (v *Vault) PutDelta(ctx context.Context, d Delta) *Commit {
	c := newCommit()
	v.putDelta(ctx, d, c.waiter())
	return c
}

func (v *Vault) putDelta(ctx context.Context, d Delta, w waiter) {
	if d.Base {
		d.From = 0
	}
	v.run(ctx, &v.deltas, d.Data.StoredLen(), w, func(w waiter) (bool, error) {
		if err := d.check(); err != nil {
			return false, err
		}
		q, err := v.query(d.Query)
		if err != nil {
			return false, err
		}
		c := q.chain(chainKey{d.Stage, d.KeyGroup})
		if i := c.find(d.To); i < len(c.entries) && (c.entries[i].to == d.To || c.entries[i].to <= q.trim) {
			return v.joinPendingDelta(c, &c.entries[i], w), nil
		}
		if held, ok := c.follows(d.From, d.To); !ok && !d.Base {
			return false, &NeedBaseError{d.Query, d.Stage, d.KeyGroup, d.From, held}
		}
		c.insert(deltaEntry{from: d.From, to: d.To, base: d.Base})
		c.pending++
		v.enqueue(&record{typ: recordDelta, query: d.Query, stage: d.Stage, keyGroup: d.KeyGroup, base: d.Base, first: d.From, last: d.To, payload: d.Data}, w,
			&op{chain: c, to: d.To, applied: func(r ref) outcome { return v.deltaWritten(q, c, &d, r) }, undo: func() {
				c.pending--
				c.remove(c.find(d.To))
				if c.prunes && c.pending == 0 {
					v.prune(q, c)
				}
			}})
		d.Data = Payload{} // it was copied, and the caller may reuse its memory
		return true, nil
	})
}

// deltaWritten takes a delta that was fsynced into its chain.
func (v *Vault) deltaWritten(q *queryIndex, c *chain, d *Delta, r ref) outcome {
	if q.dropped {
		return outcome{err: fmt.Errorf("%w: incarnation %016x generation %d", ErrDropped, q.id.Incarnation, q.id.Generation)}
	}
	v.set(&c.entries[c.find(d.To)].ref, r)
	c.pending--
	if c.prunes && c.pending == 0 {
		v.prune(q, c)
	}
	h, _ := c.held(d.KeyGroup)
	return outcome{wantsBase: h.WantsBase}
}

func (v *Vault) joinPendingDelta(c *chain, e *deltaEntry, w waiter) bool {
	if !e.ref.none() {
		return false
	}
	for _, q := range []*queue{&v.moving, &v.deltas} {
		for _, o := range q.ops {
			if o.chain == c && o.to == e.to {
				o.dones = append(o.dones, w.done)
				return true
			}
		}
	}
	return false
}

// part is one record of a chain, to be read.
type part struct {
	keyGroup topology.KeyGroup
	segment  *segment
	ref      ref
}

// Chain calls take with the fsynced deltas that lead to the asked state: key groups ascending, each oldest first, a base
// before all else where the state at After does not do. Take must not keep the delta's bytes. Key groups of which the
// vault does not hold exactly that state, or with OrBefore no state at all up to it, are found before the first call:
// *NoChainError.
//
// Other errors: *CorruptError, those of reading, of take and of ctx.
func (v *Vault) Chain(ctx context.Context, r ChainRequest, take func(d *Delta) error) error {
	parts, err := v.chainParts(&r)
	if err != nil {
		return err
	}
	v.chains.Add(1)
	defer v.chains.Add(-1)
	defer func() {
		for _, p := range parts {
			v.unpin(p.segment)
		}
	}()
	var buf []byte
	for _, p := range parts {
		if err := ctx.Err(); err != nil {
			return err
		}
		var x record
		if buf, x, err = p.segment.read(p.ref, buf); err != nil {
			return err
		}
		d := Delta{Query: r.Query, Stage: x.stage, Block: BlockOf(x.keyGroup), KeyGroup: x.keyGroup, From: x.first, To: x.last, Base: x.base, Data: x.payload}
		if x.typ != recordDelta || x.query != r.Query || x.stage != r.Stage || x.keyGroup != p.keyGroup {
			return &CorruptError{p.segment.path, int64(p.ref.offset), "it holds another record than was written there"}
		}
		if err := take(&d); err != nil {
			return err
		}
	}
	return nil
}

func (v *Vault) unpin(s *segment) {
	if err := s.unpin(); err != nil {
		v.log.Warn("vault cannot close a file", "file", s.path, "error", err)
	}
}

// chainParts finds and pins what Chain reads.
func (v *Vault) chainParts(r *ChainRequest) ([]part, error) {
	if r.Range.To > topology.MaxKeyGroups || r.Range.From >= r.Range.To || r.After < 0 || r.Through < r.After {
		return nil, fmt.Errorf("%w: chain of key groups %v from epoch %d to %d", ErrMalformed, r.Range, r.After, r.Through)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, ErrClosed
	}
	if r.Through == r.After {
		return nil, nil
	}
	q := v.queries[r.Query]
	var parts []part
	for g := r.Range.From; g < r.Range.To; g++ {
		var c *chain
		if q != nil {
			c = q.chains[chainKey{r.Stage, g}]
		}
		if c == nil {
			c = &chain{}
		}
		i := c.find(r.Through)
		if r.OrBefore {
			i = c.durableUpTo(r.Through, r.After)
		}
		if i == len(c.entries) || c.entries[i].to != r.Through && !r.OrBefore || c.entries[i].ref.none() {
			h, _ := c.held(g)
			return nil, &NoChainError{r.Query, r.Stage, g, r.Through, h.Through}
		}
		at := len(parts)
		c.path(i, r.After, func(i int) {
			parts = append(parts, part{g, v.byNumber[c.entries[i].ref.segment], c.entries[i].ref})
		})
		slices.Reverse(parts[at:])
	}
	for _, p := range parts {
		p.segment.pin()
	}
	return parts, nil
}

// Acknowledged says what is durably held of key groups, and of which epoch at or before at; those of which nothing is are left out.
func (v *Vault) Acknowledged(_ context.Context, id topology.QueryID, stage topology.StageID, r topology.Range, at topology.Epoch) ([]Held, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, ErrClosed
	}
	var out []Held
	q := v.queries[id]
	if q == nil {
		return nil, nil
	}
	for g := r.From; g < r.To; g++ {
		if c := q.chains[chainKey{stage, g}]; c != nil {
			if h, ok := c.held(g); ok {
				if i := c.durableUpTo(at, 0); i < len(c.entries) {
					h.At = c.entries[i].to
				}
				out = append(out, h)
			}
		}
	}
	return out, nil
}
