package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Seals are part of the checkpoints of the source key groups that they are about, so that a run can be repeated from a checkpoint (query
// verify): a delta over (from, to] brings the seals of these epochs, a base those behind the last acknowledged checkpoint, or all from
// the query's start with 'seal.retention' = 'all'. They go wherever the state goes: to every vault, owner and generation.
//
// What a delta says of seals is
//
//	since, uvarint | n chunks, uvarint | per chunk: to, uvarint | length, uvarint | items
//
// which are all seals of the key group in the epochs behind since. An item of a chunk is
//
//	epoch less the item's before, uvarint | flags 1 byte | name index, uvarint | a name that is new in the chunk: length, name
//	| unless found: from, varint | to - from | rows | check 8 bytes
const (
	keptFound = 1 // the split was found in the epoch
	keptEnd   = 2
	keptIdle  = 4
)

// keptSeals are the seals of one source key group. Nothing in them points to a seal.
type keptSeals struct {
	since  topology.Epoch // every seal behind it is here
	items  []byte
	chunks []keptChunk    // ascending; what is behind the last one's end is of no checkpoint yet
	last   topology.Epoch // of the last item behind the chunks
	names  uint64         // splits named behind the chunks
	serial uint64         // of what is behind the chunks: a split's name counts in one chunk only
}

// keptChunk are the items of the epochs up to a checkpoint, behind those of the chunk before.
type keptChunk struct {
	to  topology.Epoch
	end int // in items
}

// closed is where the items begin that are in no chunk yet.
func (k *keptSeals) closed() int {
	if n := len(k.chunks); n > 0 {
		return k.chunks[n-1].end
	}
	return 0
}

// put adds an item, of a split that was found or of what was sealed of it.
func (k *keptSeals) put(e topology.Epoch, sp *split, sealed *SplitSeal) {
	k.items = binary.AppendUvarint(k.items, uint64(e-k.last))
	k.last = e
	flags := byte(keptFound)
	if sealed != nil {
		flags = 0
		if sealed.End {
			flags |= keptEnd
		}
		if sealed.Idle {
			flags |= keptIdle
		}
	}
	k.items = append(k.items, flags)
	if sp.keptIn != k.serial+1 {
		sp.keptIn, sp.keptAs = k.serial+1, k.names
		k.names++
		k.items = binary.AppendUvarint(k.items, sp.keptAs)
		k.items = append(binary.AppendUvarint(k.items, uint64(len(sp.ID))), sp.ID...)
	} else {
		k.items = binary.AppendUvarint(k.items, sp.keptAs)
	}
	if sealed == nil {
		return
	}
	k.items = binary.AppendVarint(k.items, sealed.From)
	k.items = binary.AppendVarint(k.items, sealed.To-sealed.From)
	k.items = binary.AppendUvarint(k.items, uint64(sealed.Rows))
	k.items = binary.LittleEndian.AppendUint64(k.items, sealed.Check)
}

// close ends the chunk of the checkpoint c.
func (k *keptSeals) close(c topology.Epoch) {
	if len(k.items) == k.closed() {
		return
	}
	k.chunks = append(k.chunks, keptChunk{c, len(k.items)})
	k.last, k.names = 0, 0
	k.serial++
}

// trim lets go of what is of epochs up to checkpoint c.
func (k *keptSeals) trim(c topology.Epoch) (freed int) {
	k.since = max(k.since, c)
	n := 0
	for n < len(k.chunks) && k.chunks[n].to <= c {
		n++
	}
	if n == 0 {
		return 0
	}
	freed = k.chunks[n-1].end
	k.items = k.items[:copy(k.items, k.items[freed:])]
	k.chunks = k.chunks[:copy(k.chunks, k.chunks[n:])]
	for i := range k.chunks {
		k.chunks[i].end -= freed
	}
	return freed
}

// append appends the chunks behind a checkpoint.
func (k *keptSeals) append(dst []byte, from topology.Epoch) []byte {
	n, start := 0, 0
	for n < len(k.chunks) && k.chunks[n].to <= from {
		start = k.chunks[n].end
		n++
	}
	dst = binary.AppendUvarint(dst, uint64(max(from, k.since)))
	dst = binary.AppendUvarint(dst, uint64(len(k.chunks)-n))
	for _, c := range k.chunks[n:] {
		dst = binary.AppendUvarint(dst, uint64(c.to))
		dst = append(binary.AppendUvarint(dst, uint64(c.end-start)), k.items[start:c.end]...)
		start = c.end
	}
	return dst
}

// chunkReader is called with what a delta says of seals.
type chunkReader func(to topology.Epoch, items []byte) error

// readKept takes what a delta says of seals off d.
func readKept(d *decoder, chunk chunkReader) (since topology.Epoch, err error) {
	since = topology.Epoch(d.uvarint())
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		to := topology.Epoch(d.uvarint())
		items := d.bytes()
		if d.bad {
			break
		}
		if err := chunk(to, items); err != nil {
			return 0, err
		}
	}
	if d.bad || since < 0 {
		return 0, fmt.Errorf("%w: what it says of seals is cut", errState)
	}
	return since, nil
}

// restore takes over what a delta says of seals, in the order of deltas. They are in the vaults: with first this is the first delta.
func (k *keptSeals) restore(d *decoder, first bool) (grown int, err error) {
	before := len(k.items)
	since, err := readKept(d, func(to topology.Epoch, items []byte) error {
		if n := len(k.chunks); n > 0 && k.chunks[n-1].to >= to {
			return nil // the deltas overlap
		}
		k.items = append(k.items, items...)
		k.chunks = append(k.chunks, keptChunk{to, len(k.items)})
		return nil
	})
	if first {
		k.since = since
	}
	return len(k.items) - before, err
}

// decodeKept reads a chunk's items as seals of one key group, ascending by epoch.
func decodeKept(stage topology.StageID, g topology.KeyGroup, items []byte) (seals []Seal, err error) {
	d := decoder{src: items}
	var names []string
	epoch := topology.Epoch(0)
	for len(d.src) > 0 && !d.bad {
		ahead, flags, name := d.uvarint(), d.byte(), d.uvarint()
		if ahead > math.MaxInt64-uint64(epoch) || flags&^(keptFound|keptEnd|keptIdle) != 0 || name > uint64(len(names)) {
			return nil, errSeal
		}
		epoch += topology.Epoch(ahead)
		if name == uint64(len(names)) {
			names = append(names, string(d.bytes()))
		}
		if n := len(seals); n == 0 || seals[n-1].Last != epoch {
			seals = append(seals, Seal{Stage: stage, Range: topology.Range{From: g, To: g + 1}, First: epoch, Last: epoch})
		}
		s := &seals[len(seals)-1]
		if flags&keptFound != 0 {
			s.Found = append(s.Found, names[name])
			continue
		}
		sp := SplitSeal{ID: names[name], From: d.varint(), End: flags&keptEnd != 0, Idle: flags&keptIdle != 0}
		sp.To = sp.From + d.varint()
		rows := d.uvarint()
		if rows > math.MaxInt32 {
			return nil, errSeal
		}
		sp.Rows, sp.Check = int(rows), d.fixed64()
		s.Splits = append(s.Splits, sp)
	}
	if d.bad {
		return nil, errSeal
	}
	return seals, nil
}

// keepSeal keeps what the partition has sealed for its next checkpoint.
func (p *partition) keepSeal(seal *Seal) {
	s := p.source
	if s.kept == nil {
		return
	}
	before, after := 0, 0
	put := func(id string, sealed *SplitSeal) {
		sp := s.known[id]
		if sp == nil {
			return // its key group was given away within the epoch
		}
		k := &s.kept[sp.group-p.rng.From]
		before += len(k.items)
		k.put(seal.Last, sp, sealed)
		after += len(k.items)
	}
	for _, id := range seal.Found {
		put(id, nil)
	}
	for i := range seal.Splits {
		put(seal.Splits[i].ID, &seal.Splits[i])
	}
	p.stats.sealBytes.Add(int64(after - before))
}

// restoreKept takes over what a delta of key group g says of seals.
func (p *partition) restoreKept(d *decoder, g topology.KeyGroup, first bool) error {
	if p.source.kept == nil {
		_, err := readKept(d, func(topology.Epoch, []byte) error { return nil })
		return err
	}
	grown, err := p.source.kept[g-p.rng.From].restore(d, first)
	p.stats.sealBytes.Add(int64(grown))
	return err
}

// restoredKept ends restoring at checkpoint c: of a key group that was lost nothing is known of before.
func (p *partition) restoredKept(last []groupHeader, c topology.Epoch) {
	if p.source == nil {
		return
	}
	for i := range p.source.kept {
		if !last[i].known {
			p.source.kept[i].since = c
		}
	}
	p.trimKept(c)
}

// narrowKept forgets the seals of key groups that are given away, which their new owner has from the vaults.
func (p *partition) narrowKept(to topology.Range) {
	s := p.source
	if s.kept == nil {
		return
	}
	for i := range s.kept {
		if !to.Contains(p.rng.From + topology.KeyGroup(i)) {
			p.stats.sealBytes.Add(-int64(len(s.kept[i].items)))
			s.kept[i] = keptSeals{}
		}
	}
	at, end := to.From-p.rng.From, to.To-p.rng.From
	s.kept = s.kept[at:end:end]
}

// trimKept lets go of seals that all vaults have, unless they are to be kept: then a vault may ask for them again.
func (p *partition) trimKept(c topology.Epoch) {
	if p.source == nil || p.query.plan.Settings.KeepSeals {
		return
	}
	for i := range p.source.kept {
		p.stats.sealBytes.Add(-int64(p.source.kept[i].trim(c)))
	}
}

// keptFrom is the checkpoint behind which a delta brings seals.
func (p *partition) keptFrom(base bool) topology.Epoch {
	if base && p.query.plan.Settings.KeepSeals {
		return 0
	}
	return p.from
}

// SavedGroup is what a key group's delta says of itself, beside its state.
type SavedGroup struct {
	// Unchanged: nothing but the watermark may have changed since the delta before; the rest is not said.
	Unchanged bool
	// Chains are those of the stage's outputs and then of its sinks.
	Chains []uint64
	// Seals of a source's key group are all behind Since, ascending.
	Since topology.Epoch
	Seals []Seal
}

// ReadSavedGroup reads the delta of a key group; source says that its stage is one.
func ReadSavedGroup(src []byte, source bool, stage topology.StageID, g topology.KeyGroup) (s SavedGroup, err error) {
	d := decoder{src: src}
	if v := d.byte(); v != groupVersion {
		return s, fmt.Errorf("%w: version %d, this binary reads %d", errState, v, groupVersion)
	}
	flags := d.byte()
	d.varint()
	s.Unchanged = flags&groupUnchanged != 0
	if s.Unchanged {
		if d.bad {
			return s, fmt.Errorf("%w: cut", errState)
		}
		return s, nil
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		s.Chains = append(s.Chains, d.fixed64())
	}
	if source && !d.bad {
		s.Since, err = readKept(&d, func(_ topology.Epoch, items []byte) error {
			seals, err := decodeKept(stage, g, items)
			s.Seals = append(s.Seals, seals...)
			return err
		})
	}
	if d.bad && err == nil {
		err = fmt.Errorf("%w: cut", errState)
	}
	return s, err
}
