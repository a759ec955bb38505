package vault

import (
	"sort"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// BlockGroups is the number of key groups of a block.
const BlockGroups = 16

// BlockID numbers the blocks of a stage: block b holds the key groups [16b, 16b+16).
type BlockID uint16

// BlockOf is the block that a key group is in.
func BlockOf(g topology.KeyGroup) BlockID { return BlockID(g / BlockGroups) }

// Delta is the change of one key group's state over the epochs (From, To], or with Base its whole state at To. The state at
// epoch 0 is empty, so a delta from 0 needs no base.
type Delta struct {
	Query    topology.QueryID
	Stage    topology.StageID
	Block    BlockID // BlockOf(KeyGroup)
	KeyGroup topology.KeyGroup
	From, To topology.Epoch
	Base     bool
	Data     Payload
}

// ChainRequest asks for what leads from the state of key groups at epoch After, 0 for none, to their state at Through.
type ChainRequest struct {
	Query   topology.QueryID
	Stage   topology.StageID
	Range   topology.Range
	After   topology.Epoch
	Through topology.Epoch
	// OrBefore: where no delta of a key group ends at Through, the last state that is held before it will do.
	OrBefore bool
}

// Held is what a vault durably holds of one key group.
type Held struct {
	KeyGroup topology.KeyGroup
	Through  topology.Epoch // the last epoch whose state can be restored
	Floor    topology.Epoch // the first one
	At       topology.Epoch // the last one that is not behind the epoch asked for, 0 for none
	Bytes    int64          // on disk
	Deltas   int
	// WantsBase says that the deltas have outgrown the base: the next delta should be a base, or restores get slow and the
	// vault large.
	WantsBase bool
}

// A chain wants a base when its deltas are more than this, those that change something counted twice, or more than its base and this many bytes: a
// restore reads all of them.
const (
	chainDeltasMax     = 64
	chainDeltaBytesMin = 64 << 10
	// A record of no more bytes says only that nothing has changed.
	chainIdleBytes = 64
)

type chainKey struct {
	stage    topology.StageID
	keyGroup topology.KeyGroup
}

// deltaEntry is one delta in the index. It is pending while ref is none.
type deltaEntry struct {
	from, to topology.Epoch
	ref      ref
	base     bool
}

func (e *deltaEntry) start() bool { return e.base || e.from == 0 }

// chain is what is held of one key group: entries ascending by to. Every entry is reachable: it is a base or starts at 0,
// or an entry before it ends in [from, to).
type chain struct {
	entries []deltaEntry
	pending int
	prunes  bool // the trim point has moved while entries were pending
}

// find is the index of the first entry that ends at or behind e.
func (c *chain) find(e topology.Epoch) int {
	return sort.Search(len(c.entries), func(i int) bool { return c.entries[i].to >= e })
}

// durableUpTo is the index of the last entry that ends in (after, e] and is fsynced; len(c.entries) when there is none.
func (c *chain) durableUpTo(e, after topology.Epoch) int {
	for i := sort.Search(len(c.entries), func(i int) bool { return c.entries[i].to > e }) - 1; i >= 0 && c.entries[i].to > after; i-- {
		if !c.entries[i].ref.none() {
			return i
		}
	}
	return len(c.entries)
}

// follows says whether a delta over (from, to] leads on from an entry, and where the last entry before to ends.
func (c *chain) follows(from, to topology.Epoch) (held topology.Epoch, ok bool) {
	i := c.find(to)
	if i == 0 {
		return 0, from == 0
	}
	held = c.entries[i-1].to
	return held, from == 0 || held >= from
}

func (c *chain) insert(e deltaEntry) {
	i := c.find(e.to)
	c.entries = append(c.entries, deltaEntry{})
	copy(c.entries[i+1:], c.entries[i:])
	c.entries[i] = e
}

func (c *chain) remove(i int) { c.entries = append(c.entries[:i], c.entries[i+1:]...) }

// path calls visit with the indices of the entries, last first, that lead from the state at after to entry i. Of the entries
// that an entry may build on it takes the first, which skips what later deltas cover.
func (c *chain) path(i int, after topology.Epoch, visit func(i int)) {
	for {
		visit(i)
		e := &c.entries[i]
		if e.start() || e.from <= after {
			return
		}
		for i = c.find(e.from); c.entries[i].ref.none(); i++ {
		}
	}
}

// prune removes what no restore to the trim point or later can need and calls dead with it: it keeps the last entry at or
// before the trim point, all behind it, and what these build on. Entries must not be pending.
func (c *chain) prune(trim topology.Epoch, dead func(e *deltaEntry)) {
	if len(c.entries) == 0 {
		return
	}
	first := c.find(trim + 1) // the first one behind the trim point
	keep := make([]bool, len(c.entries))
	for i := len(c.entries) - 1; i >= 0; i-- {
		e := &c.entries[i]
		keep[i] = keep[i] || i >= first-1
		if keep[i] && !e.start() {
			keep[c.find(e.from)] = true
		}
	}
	kept := c.entries[:0]
	for i := range c.entries {
		if keep[i] {
			kept = append(kept, c.entries[i])
		} else {
			dead(&c.entries[i])
		}
	}
	c.entries = kept
}

// recover makes a chain of entries that were read from the log in any order: it sorts them and removes, calling dead, double
// ones and those that build on something a rewrite has left out, as only entries before the trim point may. It returns the
// first other entry that builds on nothing, or nil.
func (c *chain) recover(trim topology.Epoch, dead func(e *deltaEntry)) *deltaEntry {
	sort.SliceStable(c.entries, func(i, j int) bool { return c.entries[i].to < c.entries[j].to })
	kept := c.entries[:0]
	for _, e := range c.entries {
		last := topology.Epoch(-1)
		if len(kept) > 0 {
			last = kept[len(kept)-1].to
		}
		switch {
		case e.to == last:
			dead(&e)
		case e.start() || last >= e.from:
			kept = append(kept, e)
		case e.to < trim:
			dead(&e)
		default:
			return &e
		}
	}
	c.entries = kept
	c.prune(trim, dead)
	return nil
}

// held describes what is durable; ok is false when nothing is.
func (c *chain) held(g topology.KeyGroup) (h Held, ok bool) {
	h.KeyGroup = g
	var base int64
	var since, sinceBytes int64
	for i := range c.entries {
		e := &c.entries[i]
		if e.ref.none() {
			continue
		}
		if h.Deltas == 0 {
			h.Floor = e.to
		}
		h.Through = e.to
		h.Deltas++
		h.Bytes += int64(e.ref.bytes)
		if e.start() {
			base, since, sinceBytes = int64(e.ref.bytes), 0, 0
		} else {
			if since++; e.ref.bytes > chainIdleBytes {
				since++
			}
			sinceBytes += int64(e.ref.bytes)
		}
	}
	h.WantsBase = since > chainDeltasMax || sinceBytes > max(chainDeltaBytesMin, base)
	return h, h.Deltas > 0
}
