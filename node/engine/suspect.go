package engine

import (
	"cmp"
	"errors"
	"slices"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// epochSum is a sum of chains after an epoch.
type epochSum struct {
	epoch topology.Epoch
	sum   uint64
}

// sumsMax is how many epochs' sums a partition remembers of each producer; of those up to the latest complete checkpoint only the last is needed.
const sumsMax = 1 << 12

// noteSum remembers the sum of the entry at the front, of epoch last, before it is taken; after is the epoch taken before.
func (in *inlet) noteSum(after, last, complete topology.Epoch) {
	if in.front.Range != in.Range {
		in.sums = nil
		return
	}
	if len(in.sums) == 0 {
		in.sums = append(in.sums, epochSum{after, in.ChainSum})
	}
	if in.front.ChainSum == in.sums[len(in.sums)-1].sum {
		return
	}
	n := max(0, len(in.sums)-sumsMax)
	for n+1 < len(in.sums) && in.sums[n+1].epoch <= complete {
		n++
	}
	in.sums = append(slices.Delete(in.sums, 0, n), epochSum{last, in.front.ChainSum})
}

// sumAt is the sum after an epoch that is not before the first.
func sumAt(sums []epochSum, e topology.Epoch) uint64 {
	i, found := slices.BinarySearchFunc(sums, e, func(x epochSum, e topology.Epoch) int { return int(x.epoch - e) })
	if found {
		return sums[i].sum
	}
	return sums[i-1].sum
}

// suspicion is that the producers r of a stream gave other rows up to an epoch than those before them, which may be gone for good. Their sums are
// remembered, epoch by epoch, and the present ones keep theirs in their logs: an epoch in which only one key group made a further difference tells
// which it is. Nothing is taken meanwhile.
type suspicion struct {
	stream int
	epoch  topology.Epoch
	rng    topology.Range
	old    []chainPart
	probes []*probe
	none   bool // what is needed is not there: all that is known is the range
}

// probe reads again what one of the present producers gave.
type probe struct {
	placed *Placed
	cursor *dataplane.Cursor
	from   topology.Epoch
	groups topology.Range
	sums   []epochSum // the first is how it stood before from
	done   bool
}

func (x *suspicion) close() {
	if x == nil {
		return
	}
	for _, pr := range x.probes {
		if pr.cursor != nil {
			pr.cursor.Close()
			pr.cursor = nil
		}
	}
}

// suspect begins to find out which key group it is of which other rows were given.
func (p *partition) suspect(s int, epoch topology.Epoch, r topology.Range, old []chainPart) error {
	x := &suspicion{stream: s, epoch: epoch, rng: r}
	from := topology.Epoch(0)
	for _, part := range old {
		if !part.groups.Overlaps(r) {
			continue
		}
		x.old = append(x.old, part)
		if x.none = x.none || len(part.sums) == 0; !x.none {
			from = max(from, part.sums[0].epoch+1)
		}
	}
	for _, in := range p.inlets[s] {
		i := slices.IndexFunc(p.followed.Stages[p.spec.Inputs[s].Stage], func(pl Placed) bool { return pl.Instance == in.instance && pl.Role == Active })
		if i >= 0 && in.Range.Overlaps(r) {
			x.probes = append(x.probes, &probe{placed: &p.followed.Stages[p.spec.Inputs[s].Stage][i], from: from, groups: in.Range})
		}
	}
	p.suspected = x
	return p.examine()
}

// examine goes on with finding out. The *Mismatch comes when that is done.
func (p *partition) examine() error {
	x := p.suspected
	for _, pr := range x.probes {
		for !x.none && !pr.done {
			waits, err := p.read(x, pr)
			if x.none = err != nil; waits {
				return nil
			}
		}
	}
	x.close()
	return p.named(x)
}

// read reads an entry, or says that there is none yet.
func (p *partition) read(x *suspicion, pr *probe) (waits bool, err error) {
	if pr.from > x.epoch {
		return false, errors.New("its log begins behind the epoch")
	}
	if pr.cursor == nil {
		if pr.cursor, err = p.connect(p.spec.Inputs[x.stream], pr.placed, pr.from, 0, false); err != nil {
			return false, pr.beginAgain(err)
		}
		if pr.cursor == nil {
			return false, dataplane.ErrLost
		}
	}
	e, ok := pr.cursor.Next()
	if !ok {
		if err := pr.cursor.Err(); err != nil {
			return false, pr.beginAgain(err)
		}
		return true, nil
	}
	if len(pr.sums) == 0 {
		pr.sums = append(pr.sums, epochSum{pr.from - 1, pr.cursor.Before().ChainSum})
	}
	pr.cursor.Ack(e.Last)
	if e.Range != pr.groups || e.Narrowed {
		return false, errors.New("it gave key groups away meanwhile")
	}
	if e.Last <= x.epoch {
		pr.sums = append(pr.sums, epochSum{e.Last, e.ChainSum})
	}
	pr.done = e.Last >= x.epoch
	return false, nil
}

// beginAgain reads from where the log begins, when that is why it could not be read.
func (pr *probe) beginAgain(err error) error {
	var trimmed *dataplane.TrimmedError
	if !errors.As(err, &trimmed) || trimmed.Floor <= pr.from {
		return err
	}
	if pr.cursor != nil {
		pr.cursor.Close()
	}
	pr.cursor, pr.from, pr.sums = nil, trimmed.Floor, nil
	return nil
}

// named says what was found out.
func (p *partition) named(x *suspicion) *Mismatch {
	if x.none {
		return p.mismatch(x.stream, x.epoch, x.rng)
	}
	start := topology.Epoch(0)
	var epochs []topology.Epoch
	note := func(sums []epochSum) {
		start = max(start, sums[0].epoch)
		for _, s := range sums {
			epochs = append(epochs, s.epoch)
		}
	}
	for _, part := range x.old {
		note(part.sums)
	}
	for _, pr := range x.probes {
		note(pr.sums)
	}
	slices.Sort(epochs)
	first, before := topology.Epoch(0), x.difference(start)
	if g, ok := topology.DifferingGroup(x.rng, before); ok {
		return p.mismatch(x.stream, start, topology.Range{From: g, To: g + 1})
	}
	for _, e := range slices.Compact(epochs) {
		if e <= start || e > x.epoch {
			continue
		}
		now := x.difference(e)
		if g, ok := topology.DifferingGroup(x.rng, now-before); ok {
			return p.mismatch(x.stream, e, topology.Range{From: g, To: g + 1})
		}
		if now != before && first == 0 {
			first = e
		}
		before = now
	}
	return p.mismatch(x.stream, cmp.Or(first, x.epoch), x.rng)
}

// difference is by how much the sums differ after an epoch.
func (x *suspicion) difference(e topology.Epoch) (d uint64) {
	for _, part := range x.old {
		d += sumAt(part.sums, e)
	}
	for _, pr := range x.probes {
		d -= sumAt(pr.sums, e)
	}
	return d
}
