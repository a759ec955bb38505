package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// inlet is what a partition knows of one producing instance of a stream.
type inlet struct {
	instance uint64
	producer topology.Partition
	cursor   *dataplane.Cursor // nil while there is no subscription
	front    dataplane.Entry   // the entry holding the next epoch
	have     bool
	begun    bool // watermark, idle and chain are those before front
	known    bool // something has been had of the instance
	ended    bool
	sums     []epochSum // how ChainSum has grown, of the same key groups all along
	dataplane.Stand
}

// close ends the subscription; what was read of the next epoch and not taken is discarded.
func (in *inlet) close() {
	if in.cursor != nil {
		in.cursor.Close()
		in.cursor, in.front, in.have = nil, dataplane.Entry{}, false
	}
}

// standing is the chains of a stream's producers after an epoch: whoever produces next must have the same.
type standing struct {
	known bool
	after topology.Epoch
	parts []chainPart
}

// chainPart is the sum of the chains of a range of key groups.
type chainPart struct {
	groups topology.Range
	sum    uint64
	sums   []epochSum // how it came to sum
}

// differing is the smallest range that begins and ends at bounds of parts in both of a and b, which tile the same key groups, and whose sums are
// not the same; the zero range when there is none.
func differing(a, b []chainPart) (r topology.Range) {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		at := topology.Range{From: a[i].groups.From, To: a[i].groups.To}
		sum, other := a[i].sum, b[j].sum
		for a[i].groups.To != b[j].groups.To {
			if a[i].groups.To < b[j].groups.To {
				i++
				sum += a[i].sum
			} else {
				j++
				other += b[j].sum
			}
			at.To = max(a[i].groups.To, b[j].groups.To)
		}
		if sum != other && (r.Len() == 0 || at.Len() < r.Len()) {
			r = at
		}
		i, j = i+1, j+1
	}
	return r
}

// place is where and what the partition is.
func (p *partition) place() topology.Partition {
	return topology.Partition{Stage: p.spec.ID, Range: p.rng, Node: p.node.config.ID, Boot: p.node.config.Boot}
}

// rewire subscribes the partition to where its producers are now, from the epoch that it needs next: on this node directly, elsewhere over
// the link with their node. Producers that are as they were go on undisturbed; what cannot be had yet is tried again when the partition
// is woken. A *dataplane.TrimmedError says that the partition must restore a later checkpoint.
func (p *partition) rewire() error {
	if p.wired {
		return nil
	}
	p.wired = true
	for s, input := range p.spec.Inputs {
		p.rememberChains(s)
		old := p.inlets[s]
		fresh := make([]*inlet, 0, len(old))
		for i := range p.followed.Stages[input.Stage] {
			pl := &p.followed.Stages[input.Stage][i]
			if pl.Role != Active {
				continue
			}
			in := reuse(old, pl)
			if in == nil {
				in = &inlet{instance: pl.Instance, producer: pl.Partition, Stand: dataplane.Stand{Watermark: topology.WatermarkNone}}
				// One that has given key groups away since is no other instance.
				was := func(x *inlet) bool { return x.instance == pl.Instance }
				in.known = slices.ContainsFunc(old, func(x *inlet) bool { return was(x) && x.known })
				if len(old) > 0 && !slices.ContainsFunc(old, was) {
					p.taking.from(input.Stage, pl.Instance)
				}
			}
			if in.cursor == nil {
				consumed := topology.Epoch(0) // from instances before this one
				if !in.known && int64(p.next-1) > p.stats.restored.Load() {
					consumed = p.next - 1
				}
				in.begun, in.ended = false, false
				c, err := p.connect(input, pl, p.next, consumed, p.role == Active)
				if err != nil {
					return err
				}
				if c == nil {
					p.wired = false
				}
				in.cursor = c
			}
			fresh = append(fresh, in)
		}
		for _, in := range old {
			if !contains(fresh, in) {
				in.close()
			}
		}
		p.inlets[s] = fresh
	}
	return nil
}

// reuse finds the inlet of an instance that is where it was.
func reuse(old []*inlet, pl *Placed) *inlet {
	for _, in := range old {
		if in.instance == pl.Instance && in.producer == pl.Partition {
			return in
		}
	}
	return nil
}

func contains(list []*inlet, in *inlet) bool {
	for _, x := range list {
		if x == in {
			return true
		}
	}
	return false
}

// connect subscribes to an instance from an epoch on; nil when it is not there yet.
func (p *partition) connect(input plan.Input, pl *Placed, from, consumed topology.Epoch, active bool) (*dataplane.Cursor, error) {
	stream := dataplane.Stream{Query: p.query.config.ID, Stage: input.Stage, Output: uint16(input.Output), Instance: pl.Instance}
	if p.query.here(pl.Partition) {
		log := p.query.log(stream)
		if log == nil {
			return nil, nil
		}
		c, err := log.Subscribe(p.instance, from, active, p.notify)
		if err != nil {
			return nil, fmt.Errorf("%v cannot take from %v: %w", p.place(), pl.Partition, err)
		}
		c.Of(pl.Range)
		c.Took(consumed)
		return c, nil
	}
	link := p.node.linkWith(Peer{pl.Node, pl.Boot})
	if link == nil {
		return nil, nil
	}
	edge := dataplane.Edge{Stream: stream, Producer: pl.Range, ConsumerStage: p.spec.ID, Consumer: p.rng, ConsumerInstance: p.instance}
	return link.Subscribe(edge, from, consumed, active, p.query.plan.Stages[input.Stage].Outputs[input.Output].Schema, p.notify), nil
}

// rememberChains notes how a stream stands after the last epoch taken, before its producers change.
func (p *partition) rememberChains(s int) {
	st := &p.standings[s]
	if st.known && st.after == p.next-1 || len(p.inlets[s]) == 0 {
		return
	}
	parts, ok := p.chainParts(s)
	*st = standing{ok, p.next - 1, parts}
}

// chainParts gives the chains of all key groups that produce a stream, as the producers stand. What one of them emitted before it gave
// key groups away is of these too, and what their new owner says of them is left out then. Ok is false when that does not come out.
func (p *partition) chainParts(s int) (parts []chainPart, ok bool) {
	groups := topology.KeyGroup(p.query.plan.Stages[p.spec.Inputs[s].Stage].Groups)
	for next := topology.KeyGroup(0); next < groups; {
		var widest *inlet
		for _, in := range p.inlets[s] {
			if in.begun && in.Range.Len() > 0 && in.Range.From == next && (widest == nil || in.Range.To > widest.Range.To) {
				widest = in
			}
		}
		if widest == nil {
			return nil, false
		}
		parts, next = append(parts, chainPart{widest.Range, widest.ChainSum, widest.sums}), widest.Range.To
	}
	for _, in := range p.inlets[s] {
		if !in.begun {
			return nil, false
		}
	}
	return parts, true
}

// checkChains holds the chains of a stream's producers, all of which have begun, against those before they changed: a producer that was
// restored has computed the same rows as the one before it, or its operators are not deterministic.
func (p *partition) checkChains() error {
	for s := range p.standings {
		st := &p.standings[s]
		if !st.known {
			continue
		}
		st.known = false
		if st.after != p.next-1 {
			continue
		}
		parts, ok := p.chainParts(s)
		if !ok {
			continue
		}
		if r := differing(st.parts, parts); r.Len() > 0 {
			return p.suspect(s, st.after, r, st.parts)
		}
	}
	return nil
}

// ready finds the end of the range of epochs that can be taken now: the smallest end of what the producers' next entries hold.
// Every epoch of the range but the last is empty in all inputs. over: with it every producer has ended.
func (p *partition) ready() (last topology.Epoch, over, ok bool, err error) {
	if p.suspected != nil {
		return 0, false, false, p.examine()
	}
	last, over, ok = topology.EpochForever, true, p.wired
	fresh := false
	for s, stream := range p.inlets {
		for _, in := range stream {
			if in.ended {
				continue
			}
			if in.cursor == nil {
				ok = false
				continue
			}
			if !in.have {
				if in.front, in.have = in.cursor.Next(); !in.have {
					if err := p.missing(in); err != nil {
						return 0, false, false, err
					}
					ok = false
					continue
				}
				if !in.begun {
					before := in.cursor.Before()
					if before.Range != in.Range || before.ChainSum != in.ChainSum {
						in.sums = nil
					}
					in.Stand = before
					in.begun, in.known, fresh = true, true, true
				} else if in.front.Narrowed {
					p.rememberChains(s)
					in.Stand, in.sums = in.front.StandBefore(in.Stand), nil
					fresh = true
				}
			}
			if r := in.front.Range; r.From > in.producer.Range.From || r.To < in.producer.Range.To {
				ok = false // it has given key groups away, and whom to take those from is still to be heard
			}
			last = min(last, in.front.Last)
		}
	}
	if !ok {
		p.fresh = p.fresh || fresh
		return 0, false, false, nil
	}
	if fresh || p.fresh {
		p.fresh = false
		if err := p.checkChains(); err != nil || p.suspected != nil {
			return 0, false, false, err
		}
	}
	for _, stream := range p.inlets {
		for _, in := range stream {
			if !in.ended && !(in.front.Last == last && in.front.End) {
				over = false
			}
		}
	}
	return last, over, true, nil
}

// compareEnd holds producers that changed after the partition's last epoch against those before them: it takes nothing more of them than
// that they have ended. One that goes on where the one before it had ended gives something else.
func (p *partition) compareEnd() error {
	_, _, ok, err := p.ready()
	if !ok || err != nil {
		return err
	}
	for s, stream := range p.inlets {
		for _, in := range stream {
			if !in.have {
				continue
			}
			if !in.front.End {
				return p.mismatch(s, p.next-1, in.producer.Range)
			}
			in.ended, in.have, in.front = true, false, dataplane.Entry{}
		}
	}
	return nil
}

// mismatch says that the producers r of a stream gave other rows than those before them up to an epoch.
func (p *partition) mismatch(s int, epoch topology.Epoch, r topology.Range) *Mismatch {
	input := p.spec.Inputs[s]
	stage := p.query.plan.Stages[input.Stage]
	return &Mismatch{Stage: stage.Name, Operator: ChainOperator(stage, input.Output), Epoch: epoch, KeyGroup: r.From, Last: r.To - 1}
}

// missing looks why a producer gives nothing: one that is gone, or whose connection is, is looked for again.
func (p *partition) missing(in *inlet) error {
	err := in.cursor.Err()
	switch {
	case err == nil:
		return nil
	case lost(err):
		in.close()
		p.wired = false
		p.notify()
		return nil
	}
	if err = p.beyond(err); err == nil {
		return nil
	}
	return fmt.Errorf("%v cannot take from %v: %w", p.place(), in.producer, err)
}

// beyond takes note that the partition has acted on seals that are gone: it goes no further, and the cluster begins a new generation. Any other
// error is given back.
func (p *partition) beyond(err error) error {
	var b *dataplane.BeyondError
	if !errors.As(err, &b) {
		return err
	}
	if p.stats.beyond.Swap(int64(b.End)) == 0 {
		p.query.statusChanged()
	}
	return nil
}
