package engine

import (
	"encoding/binary"
	"errors"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// A key group's delta is
//
//	version 1 byte | flags 1 byte | watermark of the stage, varint | unless unchanged: n chains | n x 8 bytes | of a source: see keptSeals
//	| per operator with state: length, its state's delta | per keeper: length, its delta | n splits | per split: see appendSplit
const groupVersion = 3

const (
	groupIdle      = 1
	groupEnded     = 2
	groupUnchanged = 4 // nothing but the watermark may have changed
	groupBase      = 8
)

// wholeBytes is how large a key group's state must be to be saved whole because most of it has changed: deltas of less are read as fast.
const wholeBytes = 4 << 10

// baseBytes is how much state one checkpoint takes whole of key groups whose vaults ask for that; the others' turn comes at the next
// ones. A base that is missing only delays a vault, while copying it delays an epoch.
const baseBytes = 8 << 20

// outgrownBytes is how much of baseBytes goes to bases that nobody asked for: they come with the checkpoints behind a restore, and where that is one
// of a rescale of small computers, copying and coding 8 MiB there is a pause that is felt.
const outgrownBytes = 2 << 20

// checkpoint saves the state after epoch c: it is copied here and encoded elsewhere. All epochs up to c have been taken and none after it.
func (p *partition) checkpoint(c topology.Epoch, ended bool) error {
	return p.checkpointAt(c, ended, true)
}

// checkpointAt is checkpoint; mayAskAgain says that the partition asks again when this one finds no place, as long as it stands there.
func (p *partition) checkpointAt(c topology.Epoch, ended, mayAskAgain bool) error {
	if p.query.config.Backup == nil || p.role != Active {
		return nil
	}
	if err := p.saving.failed(); err != nil {
		return err
	}
	to, overtaken := p.saving.take(c, mayAskAgain)
	if to == nil {
		return nil
	}
	again := p.saved == c
	p.saved = c
	if overtaken != nil {
		p.needBases(overtaken)
	}
	to.checkpoint = backup.Checkpoint{Query: p.query.config.ID, Stage: p.spec.ID, Range: p.rng, Instance: p.instance, From: p.from, Epoch: c, Ended: ended}
	bases := p.takeBases(again)
	if p.from >= c { // all comes whole, see capture, and so what is still asked for
		p.report.Lock()
		clear(p.bases)
		p.report.Unlock()
	}
	p.capture(to, bases)
	err := p.captureStates(to)
	if err == nil {
		p.saving.put(to)
	}
	return err
}

// needBases asks again for the bases that an overtaken checkpoint would have brought.
func (p *partition) needBases(overtaken *capture) {
	var again []topology.KeyGroup
	for i, g := range overtaken.groups {
		if g.base {
			again = append(again, overtaken.checkpoint.Range.From+topology.KeyGroup(i))
		}
	}
	if len(again) > 0 {
		p.needBase(again)
	}
}

// takeBases gives the key groups whose whole state this checkpoint brings: of those asked for as many as baseBytes allows, at least one, and then of
// those that were restored from long chains. Vaults keep the first that they get of an epoch, so that these wait when it is saved again.
func (p *partition) takeBases(again bool) map[topology.KeyGroup]bool {
	take, size := map[topology.KeyGroup]bool{}, 0
	p.report.Lock()
	p.saveMore = false
	for g := p.rng.From; len(p.bases) > 0 && g < p.rng.To && size < baseBytes; g++ {
		if p.bases[g] {
			take[g] = true
			delete(p.bases, g)
			size += p.groupBytes(g)
		}
	}
	p.report.Unlock()
	if again {
		return take
	}
	p.outgrown = slices.DeleteFunc(p.outgrown, func(g topology.KeyGroup) bool {
		if !p.rng.Contains(g) || take[g] {
			return true
		}
		if size >= outgrownBytes {
			return false
		}
		take[g] = true
		size += p.groupBytes(g)
		return true
	})
	return take
}

// mostTouched says that a delta of a key group would be nearly as large as its whole state, which a restore then reads instead of a former
// base and all deltas behind it.
func (p *partition) mostTouched(i int) bool {
	touched, all := 0, 0
	for _, groups := range p.groups {
		if groups != nil && groups[i].State != nil {
			touched, all = touched+groups[i].State.TouchedLen(), all+groups[i].State.Len()
		}
	}
	return all > 0 && 4*touched >= 3*all && p.groupBytes(p.rng.From+topology.KeyGroup(i)) >= wholeBytes
}

// groupBytes is about the size of a key group's state.
func (p *partition) groupBytes(g topology.KeyGroup) (n int) {
	for op := range p.groups {
		n += int(p.memory[op*p.rng.Len()+int(g-p.rng.From)])
	}
	for _, k := range p.keepers {
		n += k.Size(g)
	}
	return n
}

// capture fills to but for the states.
func (p *partition) capture(to *capture, bases map[topology.KeyGroup]bool) {
	to.keepers = p.keepers
	if p.source != nil {
		for i := range p.source.kept {
			p.source.kept[i].close(to.checkpoint.Epoch)
		}
	}
	to.groups, to.bytes = resize(to.groups, p.rng.Len()), to.bytes[:0]
	kept := 0
	for i := range to.groups {
		g := p.rng.From + topology.KeyGroup(i)
		for _, k := range p.keepers {
			kept += k.Size(g)
		}
		// Behind the checkpoint that a partition was restored from at its end there is nothing: when it saves that again, for vaults that lack it,
		// all key groups come whole, since the vaults refuse deltas of no epochs.
		c, from, flags := capturedGroup{base: bases[g] || p.from >= to.checkpoint.Epoch}, p.from, byte(0)
		if p.idle {
			flags |= groupIdle
		}
		if to.checkpoint.Ended {
			flags |= groupEnded
		}
		c.ended = to.checkpoint.Ended || p.source != nil && p.source.endedOf(p, g, to.checkpoint.Epoch)
		if c.unchanged = !c.base && p.changed[i] <= from && !p.keptChanged(g, from); c.unchanged {
			flags |= groupUnchanged
		} else if c.base = c.base || p.mostTouched(i); c.base {
			from = 0
			flags |= groupBase
		}
		to.bytes = binary.AppendVarint(append(to.bytes, groupVersion, flags), p.watermark)
		if !c.unchanged {
			to.bytes = binary.AppendUvarint(to.bytes, uint64(len(p.chains)))
			for _, chain := range p.chains {
				to.bytes = binary.LittleEndian.AppendUint64(to.bytes, chain[i])
			}
			if p.source != nil {
				to.bytes = p.source.kept[i].append(to.bytes, p.keptFrom(c.base))
			}
		}
		c.head = len(to.bytes)
		switch {
		case c.unchanged:
		case p.source == nil:
			to.bytes = binary.AppendUvarint(to.bytes, 0)
		default:
			to.bytes = p.source.appendSplits(to.bytes, g, from)
		}
		c.tail = len(to.bytes)
		to.groups[i] = c
	}
	p.stats.tableBytes.Store(int64(kept))
}

// captureStates copies what has changed of the states, by all workers when that is much.
func (p *partition) captureStates(to *capture) error {
	n := 0
	for _, groups := range p.groups {
		n += len(groups)
	}
	if len(to.states) != n {
		to.states = make([]capturedState, n)
	}
	rows := p.stats.rows.Load()
	parts := p.cut(rows - p.rowsSaved) // about as many entries have changed: none does without a row
	p.rowsSaved = rows
	failed := make([]error, len(parts))
	work := func(k int) {
		p.node.tokens <- struct{}{}
		defer func() { <-p.node.tokens }()
		defer func() {
			if r := recover(); r != nil {
				failed[k] = p.panicked(r)
			}
		}()
		p.captureRange(to, parts[k])
	}
	var wg sync.WaitGroup
	for k := range parts[1:] {
		wg.Go(func() { work(k + 1) })
	}
	work(0)
	wg.Wait()
	return errors.Join(failed...)
}

func (p *partition) captureRange(to *capture, rng topology.Range) {
	at := 0
	for _, groups := range p.groups {
		if groups == nil {
			continue
		}
		for g := rng.From; g < rng.To; g++ {
			i := int(g - p.rng.From)
			from, captured := groups[i].State, &to.states[at+i]
			captured.have = from != nil
			switch {
			case from == nil || to.groups[i].unchanged:
			case to.groups[i].base:
				from.SnapshotBase(&captured.Snapshot)
			default:
				from.Snapshot(&captured.Snapshot, to.checkpoint.From)
			}
		}
		at += len(groups)
	}
}

// saveEnd saves the final state of a partition that has ended: when it became active only then, and again for vaults that have come since.
func (p *partition) saveEnd() error {
	if err := p.saving.failed(); err != nil {
		return err
	}
	if final := topology.Epoch(p.stats.final.Load()); p.saved < final || p.saveWaits() && !p.saving.full() {
		return p.checkpoint(final, true)
	}
	return nil
}

// saveAgain saves the checkpoint that the partition stands at once more, with the bases that were asked for since: while sources stand still
// there is no next one that would bring them. One that came there as a shadow saves it for the first time: sources may stand still until it is
// complete.
func (p *partition) saveAgain() error {
	if at := p.next - 1; p.role == Active && at%p.checkpointEpochs() == 0 && at > max(p.saved, p.from) {
		return p.checkpoint(at, false)
	}
	if p.role != Active || p.saved == 0 || p.saved != p.next-1 || topology.Epoch(p.acked.Load()) >= p.saved || !p.saveWaits() || p.saving.full() {
		return nil
	}
	return p.checkpoint(p.saved, false)
}

// saveWaits says whether the last checkpoint is to be saved once more.
func (p *partition) saveWaits() bool {
	p.report.Lock()
	defer p.report.Unlock()
	return len(p.bases) > 0 || p.saveMore
}

func (p *partition) keptChanged(g topology.KeyGroup, from topology.Epoch) bool {
	for _, k := range p.keepers {
		if k.Changed(g, from) {
			return true
		}
	}
	return false
}

// appendSplits appends the splits of key group g that have changed since the checkpoint from, with their place in the key group's order.
func (s *source) appendSplits(dst []byte, g topology.KeyGroup, from topology.Epoch) []byte {
	for i := range s.groups {
		if s.groups[i].group != g {
			continue
		}
		n := 0
		for _, sp := range s.groups[i].splits {
			if sp.changed > from {
				n++
			}
		}
		dst = binary.AppendUvarint(dst, uint64(n))
		for k, sp := range s.groups[i].splits {
			if sp.changed > from {
				dst = appendSplit(dst, k, sp)
			}
		}
		return dst
	}
	return binary.AppendUvarint(dst, 0)
}

const (
	splitEnded = 1
	splitIdle  = 2
)

func appendSplit(dst []byte, place int, sp *split) []byte {
	dst = binary.AppendUvarint(dst, uint64(place))
	dst = append(binary.AppendUvarint(dst, uint64(len(sp.ID))), sp.ID...)
	dst = binary.AppendVarint(dst, sp.offset)
	dst = binary.AppendVarint(dst, sp.watermark)
	dst = binary.AppendVarint(dst, sp.lastRowMs)
	flags := byte(0)
	if sp.ended {
		flags |= splitEnded
	}
	if sp.idle {
		flags |= splitIdle
	}
	return append(dst, flags)
}

func (p *partition) checkpointEpochs() topology.Epoch {
	return topology.Epoch(p.query.plan.Settings.CheckpointEpochs)
}

// skippedCheckpoint saves the state at the last checkpoint epoch within [p.next, last): all epochs before last are empty, so it is the
// state as it stands.
func (p *partition) skippedCheckpoint(last topology.Epoch) error {
	c := (last - 1) / p.checkpointEpochs() * p.checkpointEpochs()
	if c < p.next {
		return nil
	}
	p.noteChains(c)
	return p.checkpointAt(c, false, false)
}

// acknowledge takes over up to where all vaults have the partition's checkpoints: deltas start there from now on, and what was touched until
// then is to be forgotten. Without a Backup there is nobody to send deltas to, and every checkpoint epoch does that.
func (p *partition) acknowledge(c topology.Epoch) {
	if c <= p.from {
		return
	}
	p.from = c
	p.trimKept(c)
	p.toForget = len(p.groups) * p.rng.Len()
	kept := p.saving.from(c) // deltas of keepers are made behind their epoch
	for _, k := range p.keepers {
		k.Acknowledge(kept)
		if p.query.config.Backup == nil {
			k.Trim(c)
		}
	}
}

const (
	// forgetExtra is how many touched entries every epoch looks at for forgetting, beside two for each of its rows.
	forgetExtra = 1 << 10
	// forgetIdle is how many are looked at before seeing whether an epoch has come in.
	forgetIdle = 1 << 14
	// forgetGroup is what a key group costs beside its entries, in entries.
	forgetGroup = 16
)

// forget lets key groups forget what all vaults have, as many as have some budget touched entries: deleted keys give their memory back
// then. It takes time for each entry, too much to do it for all at once.
func (p *partition) forget(budget int) {
	n := p.rng.Len()
	for ; p.toForget > 0 && budget > 0; p.toForget-- {
		op, i := p.forgetAt/n, p.forgetAt%n
		p.forgetAt = (p.forgetAt + 1) % (len(p.groups) * n)
		if p.groups[op] == nil {
			continue
		}
		if s := p.groups[op][i].State; s != nil {
			budget -= forgetGroup + s.TouchedLen()
			s.Acknowledge(p.from)
		}
	}
}
