package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/relational"
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
	if p.query.config.Backup == nil || p.role != Active {
		return nil
	}
	if err := p.saving.failed(); err != nil {
		return err
	}
	again := p.saved == c
	p.saved = c
	to, overtaken := p.saving.take()
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

// errState says that saved state cannot be read.
var errState = errors.New("saved state is damaged or of another plan")

// restore puts the partition, which has just been made, into the state of the checkpoint at epoch c.
func (p *partition) restore(ctx context.Context, c topology.Epoch) error {
	p.stats.epoch.Store(int64(c))
	p.next, p.from, p.asked = c+1, c, c
	x := p.executors[0]
	last := make([]groupHeader, p.rng.Len())
	var taking sync.Mutex // while the next ones are read and unpacked
	err := p.query.config.Restore(ctx, p.spec.ID, p.rng, c, func(chain []backup.GroupDelta) error {
		taking.Lock()
		defer taking.Unlock()
		p.outgrown = append(p.outgrown, outgrown(chain)...)
		return p.applyChain(x, chain, c, last)
	})
	if err != nil {
		return fmt.Errorf("stage %q %v: cannot restore epoch %d: %w", p.spec.Name, p.rng, c, err)
	}
	p.trace("fetched")
	p.restoredKept(last, c)
	p.stand(last)
	p.noteChains(c)
	for op, groups := range p.groups {
		for i := range groups {
			if g := &groups[i]; g.State != nil {
				if err := p.restored(x, op, g, c); err != nil {
					return fmt.Errorf("operator %s, key group %d: %w", p.spec.Ops[op].Name, g.ID, err)
				}
			}
		}
	}
	for _, k := range p.keepers {
		k.Acknowledge(c)
		p.asked = c - 1 // what it kept up to c is to be seen, though nothing was written here
	}
	if p.source != nil {
		p.source.found = p.source.found[:0]
		p.source.skipSeals(c)
		p.watermark, p.idle = p.source.stand()
	}
	if p.over {
		p.stats.final.Store(int64(c))
		p.saved = c
		p.sealed.Store(int64(topology.EpochForever))
		p.setDurable(topology.EpochForever)
	}
	for o, l := range p.logs {
		l.Restart(p.next, dataplane.Stand{Watermark: p.watermark, Idle: p.idle, Range: p.rng, ChainSum: topology.SumChains(p.rng.From, p.chains[o])})
	}
	return nil
}

// chainDeltas is how many deltas behind its base, that change something, a key group is restored from without bringing another base. Vaults ask for
// one behind many more.
const chainDeltas = 8

// outgrown gives the key groups of chains, each oldest first, that have more than chainDeltas. A delta takes a restore as long as a much larger part
// of a base does. Where nodes are lost again and again, partitions live no longer than a checkpoint, and whom a vault asks for a base does not come
// to bring it: chains would grow with each loss, and restores with them. So who was restored from such a chain brings a base unasked.
func outgrown(chains []backup.GroupDelta) (groups []topology.KeyGroup) {
	since := 0
	for i, d := range chains {
		switch {
		case d.Base || i == 0 || chains[i-1].Group != d.Group:
			since = 0
		case len(d.Data) < 2 || d.Data[1]&groupUnchanged == 0:
			since++
		}
		if last := i+1 == len(chains) || chains[i+1].Group != d.Group; last && since > chainDeltas {
			groups = append(groups, d.Group)
		}
	}
	return groups
}

// applyChain makes the state of a key group of all of its deltas. It runs on a goroutine of the one who restores.
func (p *partition) applyChain(x *executor, chain []backup.GroupDelta, c topology.Epoch, last []groupHeader) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = p.panicked(r)
		}
	}()
	bytes := 0
	for _, d := range chain {
		if !p.rng.Contains(d.Group) {
			continue
		}
		h, err := p.applyGroup(x, d.Group, d.Data, c, !last[d.Group-p.rng.From].known)
		if err != nil {
			return fmt.Errorf("key group %d: %w", d.Group, err)
		}
		if d.Ended && d.To < c {
			h.flags |= groupEnded // c is complete, so the partition had ended, too
		}
		last[d.Group-p.rng.From] = h
		bytes += len(d.Data)
	}
	p.stats.restoredBytes.Add(int64(bytes))
	return nil
}

// stand takes over how the stage stood, which is the same in all key groups of an inner stage. A key group that was lost with all its vaults
// says nothing.
func (p *partition) stand(last []groupHeader) {
	known := false
	p.watermark, p.idle, p.over = topology.WatermarkEnd, true, true
	for _, h := range last {
		if h.known {
			known = true
			p.watermark, p.idle, p.over = min(p.watermark, h.watermark), p.idle && h.flags&groupIdle != 0, p.over && h.flags&groupEnded != 0
		}
	}
	if !known {
		p.watermark, p.idle, p.over = topology.WatermarkNone, false, false
	}
}

// restored readies a key group's state for an operator after its deltas have been applied.
func (p *partition) restored(x *executor, op int, g *relational.Group, c topology.Epoch) error {
	g.State.Acknowledge(c)
	if err := x.keyed(op).Restored(g); err != nil {
		return err
	}
	p.stats.stateBytes.Add(p.grown(op, g))
	if !p.query.config.Paranoid {
		return nil
	}
	replica, err := p.addReplica(x.keyed(op), g)
	if err != nil {
		return err
	}
	return replica.Apply(g.State.AppendBase(nil))
}

// groupHeader is what every delta says.
type groupHeader struct {
	known     bool
	flags     byte
	watermark int64
}

// applyGroup adds a delta of key group g to its state; first says that it is the first one.
func (p *partition) applyGroup(x *executor, g topology.KeyGroup, src []byte, c topology.Epoch, first bool) (groupHeader, error) {
	d := decoder{src: src}
	if v := d.byte(); v != groupVersion {
		return groupHeader{}, fmt.Errorf("%w: version %d, this binary reads %d", errState, v, groupVersion)
	}
	h := groupHeader{known: true, flags: d.byte()}
	h.watermark = d.varint()
	if h.flags&groupUnchanged != 0 {
		if d.bad || len(d.src) > 0 {
			return h, fmt.Errorf("%w: cut or too long", errState)
		}
		return h, nil
	}
	i := g - p.rng.From
	if n := d.uvarint(); n != uint64(len(p.chains)) {
		return h, fmt.Errorf("%w: %d chains, the plan has %d", errState, n, len(p.chains))
	}
	for _, c := range p.chains {
		c[i] = d.fixed64()
	}
	if p.source != nil {
		if err := p.restoreKept(&d, g, first); err != nil {
			return h, err
		}
	}
	for op, groups := range p.groups {
		if groups == nil {
			continue
		}
		delta := d.bytes()
		if len(delta) == 0 || d.bad {
			continue
		}
		k := &groups[i]
		if k.State == nil {
			if err := p.openGroup(x.keyed(op), k, g); err != nil {
				return h, err
			}
		}
		if err := k.State.Apply(delta); err != nil {
			return h, fmt.Errorf("operator %s: %w", p.spec.Ops[op].Name, err)
		}
	}
	for _, k := range p.keepers {
		if delta := d.bytes(); !d.bad {
			if err := k.Apply(g, delta, c); err != nil {
				return h, err
			}
		}
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		if p.source == nil {
			return h, fmt.Errorf("%w: splits in a stage that is no source", errState)
		}
		p.source.applySplit(&d, p, g)
	}
	if d.bad || len(d.src) > 0 {
		return h, fmt.Errorf("%w: cut or too long", errState)
	}
	return h, nil
}

func (s *source) applySplit(d *decoder, p *partition, g topology.KeyGroup) {
	place, id := d.uvarint(), string(d.bytes())
	if d.bad {
		return
	}
	sp := s.known[id]
	if sp == nil {
		if sp = s.add(p, id, 0); sp == nil || sp.group != g || uint64(len(s.group(g).splits)-1) != place {
			d.bad = true
			return
		}
	}
	sp.offset, sp.watermark, sp.lastRowMs = d.varint(), d.varint(), d.varint()
	flags := d.byte()
	sp.ended, sp.idle = flags&splitEnded != 0, flags&splitIdle != 0
	s.found = s.found[:0]
}

// group is what the source has of key group g, which must have splits.
func (s *source) group(g topology.KeyGroup) *sourceGroup {
	for i := range s.groups {
		if s.groups[i].group == g {
			return &s.groups[i]
		}
	}
	return nil
}

// decoder takes values off saved state; the first that is not there makes all the rest zero.
type decoder struct {
	src []byte
	bad bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.src)) {
		d.bad, d.src = true, nil
		return nil
	}
	b := d.src[:n]
	d.src = d.src[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) fixed64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.src)
	if n <= 0 {
		n, d.bad = 0, true
	}
	d.take(uint64(n))
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.src)
	if n <= 0 {
		n, d.bad = 0, true
	}
	d.take(uint64(n))
	return v
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }
