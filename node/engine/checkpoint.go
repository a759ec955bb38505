package engine

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Checkpoint is what a partition must remember at a checkpoint epoch: for each of its key groups that changed since From a delta.
type Checkpoint struct {
	Query     topology.QueryID
	Partition topology.Partition
	// From is the last checkpoint that was acknowledged, Epoch this one: the deltas are of (From, Epoch].
	From, Epoch topology.Epoch
	Watermark   int64 // of the stage after Epoch
	Idle        bool
	Ended       bool // the partition has ended at or before Epoch: every later checkpoint has the same state
	Groups      []GroupDelta
}

// GroupDelta is one key group's part of a Checkpoint.
type GroupDelta struct {
	Group topology.KeyGroup
	Data  []byte
}

// Backup takes checkpoints. Save must not block; once all vaults have the checkpoint on disk it is acknowledged with Query.Acknowledge.
type Backup interface {
	Save(c Checkpoint)
}

// A key group's delta is
//
//	version 1 byte | n chains | n x 8 bytes | per operator with state: length, its state's delta | n splits | per split: see appendSplit
const groupVersion = 1

// checkpoint saves the state after epoch c. All epochs up to c have been taken and none after it.
func (p *partition) checkpoint(c topology.Epoch, ended bool) {
	b := p.query.config.Backup
	if b == nil {
		return
	}
	cp := Checkpoint{Query: p.query.config.ID, Partition: topology.Partition{Stage: p.spec.ID, Range: p.rng, Node: p.node.config.ID},
		From: p.from, Epoch: c, Watermark: p.watermark, Idle: p.idle, Ended: ended}
	for g := p.rng.From; g < p.rng.To; g++ {
		if p.changed[g-p.rng.From] > p.from {
			cp.Groups = append(cp.Groups, GroupDelta{g, p.appendGroup(nil, g, p.from)})
		}
	}
	b.Save(cp)
}

// appendGroup appends what changed of key group g since the checkpoint from.
func (p *partition) appendGroup(dst []byte, g topology.KeyGroup, from topology.Epoch) []byte {
	i := g - p.rng.From
	dst = append(dst, groupVersion)
	dst = binary.AppendUvarint(dst, uint64(len(p.chains)))
	for _, c := range p.chains {
		dst = binary.LittleEndian.AppendUint64(dst, c[i])
	}
	for _, groups := range p.groups {
		if groups == nil {
			continue
		}
		if groups[i].State == nil {
			dst = binary.AppendUvarint(dst, 0)
			continue
		}
		delta := groups[i].State.AppendDelta(nil, from)
		dst = append(binary.AppendUvarint(dst, uint64(len(delta))), delta...)
	}
	if p.source == nil {
		return binary.AppendUvarint(dst, 0)
	}
	return p.source.appendSplits(dst, g, from)
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

// Restored is a partition's state at a checkpoint: what a Backup got for it, in order, up to that checkpoint.
type Restored struct {
	Epoch     topology.Epoch
	Watermark int64
	Idle      bool
	Ended     bool
	// Deltas are the key groups' deltas, ascending by epoch within each key group.
	Deltas []GroupDelta
}

// errState says that saved state cannot be read.
var errState = errors.New("saved state is damaged or of another plan")

// restore puts the partition, which has just been made, into the state of a checkpoint.
func (p *partition) restore(r Restored) error {
	p.stats.epoch.Store(int64(r.Epoch))
	p.next, p.from, p.watermark, p.idle, p.over = r.Epoch+1, r.Epoch, r.Watermark, r.Idle, r.Ended
	x := p.executors[0]
	for _, d := range r.Deltas {
		if !p.rng.Contains(d.Group) {
			continue
		}
		if err := p.applyGroup(x, d.Group, d.Data); err != nil {
			return fmt.Errorf("stage %q, key group %d: %w", p.spec.Name, d.Group, err)
		}
	}
	for op, groups := range p.groups {
		for i := range groups {
			g := &groups[i]
			if g.State == nil {
				continue
			}
			g.State.Acknowledge(r.Epoch)
			if err := x.keyed(op).Restored(g); err != nil {
				return fmt.Errorf("operator %s, key group %d: %w", p.spec.Ops[op].Name, g.ID, err)
			}
			p.stats.stateBytes.Add(p.grown(op, g))
			if p.query.config.Paranoid {
				replica, err := p.addReplica(x.keyed(op), g)
				if err == nil {
					err = replica.Apply(g.State.AppendBase(nil))
				}
				if err != nil {
					return fmt.Errorf("operator %s, key group %d: %w", p.spec.Ops[op].Name, g.ID, err)
				}
			}
		}
	}
	if p.source != nil {
		p.watermark, p.idle = p.source.stand()
	}
	for _, l := range p.logs {
		l.Restart(p.next, p.watermark, p.idle)
	}
	return nil
}

func (p *partition) applyGroup(x *executor, g topology.KeyGroup, src []byte) error {
	d := decoder{src: src}
	if v := d.byte(); v != groupVersion {
		return fmt.Errorf("%w: version %d, this binary reads %d", errState, v, groupVersion)
	}
	i := g - p.rng.From
	if n := d.uvarint(); n != uint64(len(p.chains)) {
		return fmt.Errorf("%w: %d chains, the plan has %d", errState, n, len(p.chains))
	}
	for _, c := range p.chains {
		c[i] = d.fixed64()
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
				return err
			}
		}
		if err := k.State.Apply(delta); err != nil {
			return fmt.Errorf("operator %s: %w", p.spec.Ops[op].Name, err)
		}
	}
	for n := d.uvarint(); n > 0 && !d.bad; n-- {
		if p.source == nil {
			return fmt.Errorf("%w: splits in a stage that is no source", errState)
		}
		p.source.applySplit(&d, p, g)
	}
	if d.bad || len(d.src) > 0 {
		return fmt.Errorf("%w: cut or too long", errState)
	}
	return nil
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
