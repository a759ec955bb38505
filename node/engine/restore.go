package engine

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

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
		begun := time.Now()
		p.outgrown = append(p.outgrown, outgrown(chain)...)
		if err := p.applyChain(x, chain, c, last); err != nil {
			return err
		}
		return p.giveWay(ctx, time.Since(begun))
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

const (
	// shadowShare: a shadow's taking of state gets about one shadowShare-th of its node's workers while other partitions are active there.
	shadowShare = 8
	// restMost bounds the rest after the state of one key group; restStep is how long a rest goes on after nobody needs it any more.
	restMost, restStep = time.Second, 20 * time.Millisecond
)

// giveWay rests after worked time of a shadow's restore, for which no result waits, as long as it would else take from what is active on its
// node: on a small computer that fell behind by 175 ms while the state of a partition of 50 MB came. The caller keeps others from taking more of
// the state meanwhile.
func (p *partition) giveWay(ctx context.Context, worked time.Duration) error {
	rest := min(restMost, worked*time.Duration(max(0, shadowShare-p.node.config.Workers))/time.Duration(p.node.config.Workers))
	for rest > 0 && p.placement.Load().roleOf(p.spec.ID, p.instance) == Shadow && p.node.hasActive() {
		if err := sleep(ctx, min(rest, restStep)); err != nil {
			return err
		}
		rest -= restStep
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
