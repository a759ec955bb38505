package engine

import (
	"errors"
	"fmt"
	"math/bits"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// executor runs the operators of a stage over one epoch of a sub-range of a partition's key groups. Everything it allocates is
// kept and used again; one goroutine uses it at a time. What operators produce lives until the executor's next run.
type executor struct {
	part    *partition
	kernels []relational.Kernel // by op; nil for union, watermark and sink
	ctx     relational.Context
	rng     topology.Range

	values  [][]*relational.Grouped // by op: its output pieces in this run, in canonical order
	owned   [][]*relational.Grouped // by op: pieces to use again; values[op] of own pieces is a prefix of it
	streams [][]*relational.Grouped // by stage input: the pieces restricted to rng
	views   []*relational.Grouped   // headers for streams, used again
	nviews  int
	source  []*relational.Grouped // pieces read by a source stage, used again
	spans   []splitSpan           // which rows of the source pieces come from which split
	touched []uint64              // bitmap over rng, scratch of keyed operators
	cursors []pieceCursor
	cut     *relational.Grouped // the rows of a piece that is not whole, until the operator has taken them
	counts  []uint32            // per key group of rng, scratch for Base
	mixed   []uint64            // scratch of chains
	shuffler
	outputs []([]*dataplane.Rows) // by stage output: what this run gives
	rows    int64                 // rows taken by this run
	emitted int64                 // rows given by it
	cutRows int64                 // of reads that a limit of bytes ended
	late    int64
	// watermark computes the watermark column of a source stage that has one; nil otherwise.
	watermark *expr.Program
	touch     []touchedGroup // key groups whose state this run may have changed, for paranoid mode and state size
}

type touchedGroup struct {
	op    int
	group *relational.Group
}

type pieceCursor struct {
	input int
	piece *relational.Grouped
	at    int // index in piece.Groups
}

func newExecutor(p *partition) (*executor, error) {
	x := &executor{part: p, kernels: make([]relational.Kernel, len(p.spec.Ops)), values: make([][]*relational.Grouped, len(p.spec.Ops)),
		owned: make([][]*relational.Grouped, len(p.spec.Ops)), streams: make([][]*relational.Grouped, max(1, len(p.spec.Inputs))),
		outputs: make([][]*dataplane.Rows, len(p.spec.Outputs))}
	x.runs = p.query.spread.Load()
	for i, op := range p.spec.Ops {
		if op.Watermark != nil {
			w, err := expr.Compile(op.Watermark.Expr)
			if err != nil {
				return nil, fmt.Errorf("watermark of %s: %w", p.spec.Name, err)
			}
			x.watermark = w
		}
		if op.Union != nil || op.Sink != nil || op.Watermark != nil {
			continue
		}
		k, err := p.query.buildKernel(op)
		if err != nil {
			return nil, err
		}
		x.kernels[i] = k
	}
	return x, nil
}

// keyed is the kernel of an operator that has state.
func (x *executor) keyed(op int) relational.Keyed { return x.kernels[op].(relational.Keyed) }

// begin readies the executor for epoch range [.., last] of the key groups in rng.
func (x *executor) begin(rng topology.Range, last topology.Epoch, before, watermark int64) {
	x.rng, x.rows, x.emitted, x.late, x.cutRows, x.nviews = rng, 0, 0, 0, 0, 0
	x.touch = x.touch[:0]
	for i := range x.values {
		x.values[i] = nil
	}
	for i := range x.streams {
		x.streams[i] = x.streams[i][:0]
	}
	for i := range x.outputs {
		x.outputs[i] = x.outputs[i][:0]
	}
	q := x.part.query
	x.ctx = relational.Context{Epoch: last, TimeMs: q.timeMs(last), WatermarkBefore: before, Watermark: watermark,
		Env: expr.Env{TimeMs: q.timeMs(last), Epoch: int64(last), Seed: q.plan.Settings.Seed, Zone: q.zone}}
}

// addStream restricts a piece of stage input stream to the executor's key groups.
func (x *executor) addStream(stream int, r *dataplane.Rows) {
	lo, hi, from, to := r.Span(x.rng)
	if lo == hi {
		return
	}
	if x.nviews == len(x.views) {
		x.views = append(x.views, &relational.Grouped{})
	}
	v := x.views[x.nviews]
	x.nviews++
	v.Batch, v.Groups, v.Offsets, v.Base = r.Batch, r.Groups[lo:hi], r.Offsets[lo:hi+1], nil
	x.streams[stream] = append(x.streams[stream], v)
	x.rows += int64(to - from)
	load, first := x.part.load, x.part.rng.From
	for i := lo; i < hi; i++ {
		load[r.Groups[i]-first] += int64(r.Offsets[i+1] - r.Offsets[i])
	}
	if h := &x.part.hot; h.on {
		h.sample(x, stream, r, lo, hi)
	}
}

// runOps runs every operator in plan order, each over the whole epoch: data of all its inputs, the watermark, due timers.
func (x *executor) runOps() error {
	for i, op := range x.part.spec.Ops {
		var err error
		switch k := x.kernels[i].(type) {
		case relational.Stateless:
			err = x.runStateless(i, op, k)
		case relational.Keyed:
			err = x.runKeyed(i, op, k)
		default:
			err = x.pass(i, op)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (x *executor) input(p plan.Port) []*relational.Grouped {
	if p.Op < 0 {
		return x.streams[p.Stream]
	}
	return x.values[p.Op]
}

// pass gives on the pieces of all inputs, input after input: UNION ALL, watermarks and sinks.
func (x *executor) pass(i int, op *plan.Op) error {
	if len(op.Inputs) == 1 {
		x.values[i] = x.input(op.Inputs[0])
		if op.Watermark != nil {
			return x.trackWatermark(op, x.values[i])
		}
		return nil
	}
	out := x.owned[i][:0]
	for _, in := range op.Inputs {
		out = append(out, x.input(in)...)
	}
	x.owned[i], x.values[i] = out, out
	return nil
}

// own is the n-th piece that op i writes itself.
func (x *executor) own(i, n int) *relational.Grouped {
	if n == len(x.owned[i]) {
		x.owned[i] = append(x.owned[i], &relational.Grouped{Batch: batch.New(x.part.spec.Ops[i].Schema)})
	}
	g := x.owned[i][n]
	g.Reset()
	return g
}

func (x *executor) runStateless(i int, op *plan.Op, k relational.Stateless) error {
	n := 0
	if x.part.needsBase {
		x.countBase(op)
	}
	for _, port := range op.Inputs {
		for _, in := range x.input(port) {
			whole := x.whole(in)
			out := x.own(i, n)
			if err := k.Apply(&x.ctx, whole, out); err != nil {
				return x.part.stateless(op, whole, x.ctx.Epoch, err)
			}
			if out.Batch.Len() > 0 {
				n++
			}
		}
	}
	x.values[i] = x.owned[i][:n]
	return nil
}

// whole gives a piece whose batch holds nothing but the piece's rows: a stateless operator works on whole batches.
func (x *executor) whole(in *relational.Grouped) *relational.Grouped {
	from, to := in.Offsets[0], in.Offsets[len(in.Offsets)-1]
	if from == 0 && int(to) == in.Batch.Len() {
		return in
	}
	if x.cut == nil || x.cut.Batch.Schema != in.Batch.Schema {
		x.cut = &relational.Grouped{Batch: batch.New(in.Batch.Schema)}
	}
	cut := x.cut
	cut.Batch.Reset()
	cut.Groups, cut.Base, cut.Offsets = in.Groups, in.Base, cut.Offsets[:0]
	cut.Batch.AppendRange(in.Batch, int(from), int(to))
	for _, o := range in.Offsets {
		cut.Offsets = append(cut.Offsets, o-from)
	}
	return cut
}

// countBase gives every input piece of op the number of rows of its key groups in earlier pieces.
func (x *executor) countBase(op *plan.Op) {
	x.counts = resize(x.counts, x.rng.Len())
	clear(x.counts)
	for _, port := range op.Inputs {
		for _, in := range x.input(port) {
			in.Base = in.Base[:0]
			for j, g := range in.Groups {
				c := &x.counts[g-x.rng.From]
				in.Base = append(in.Base, *c)
				*c += in.Offsets[j+1] - in.Offsets[j]
			}
		}
	}
}

// runKeyed takes the touched and the due key groups in ascending order, each through data, watermark and end.
func (x *executor) runKeyed(i int, op *plan.Op, k relational.Keyed) error {
	groups := x.part.groups[i]
	x.touched = resize(x.touched, (x.rng.Len()+63)/64)
	clear(x.touched)
	x.cursors = x.cursors[:0]
	for input, port := range op.Inputs {
		for _, in := range x.input(port) {
			x.cursors = append(x.cursors, pieceCursor{input, in, 0})
			for _, g := range in.Groups {
				x.mark(g)
			}
		}
	}
	if x.ctx.Watermark > x.ctx.WatermarkBefore {
		x.markDue(groups)
	}
	if x.ctx.Watermark == topology.WatermarkEnd && x.part.spec.Groups == 1 {
		x.mark(x.rng.From) // a global aggregate has a result over no rows at all
	}
	out := x.own(i, 0)
	for w, word := range x.touched {
		for ; word != 0; word &= word - 1 {
			g := x.rng.From + topology.KeyGroup(w*64+bits.TrailingZeros64(word))
			if err := x.runGroup(op, i, k, g, out); err != nil {
				return err
			}
			x.closeGroup(out, g)
		}
	}
	x.values[i] = nil
	if out.Batch.Len() > 0 {
		x.values[i] = x.owned[i][:1]
	}
	return nil
}

func (x *executor) mark(g topology.KeyGroup) {
	n := g - x.rng.From
	x.touched[n/64] |= 1 << (n % 64)
}

func (x *executor) markDue(groups []relational.Group) {
	for g := x.rng.From; g < x.rng.To; g++ {
		if s := &groups[g-x.part.rng.From]; s.State != nil && s.Due <= x.ctx.Watermark {
			x.mark(g)
		}
	}
}

// closeGroup records the rows appended to out since the last group as g's.
func (x *executor) closeGroup(out *relational.Grouped, g topology.KeyGroup) {
	n := uint32(out.Batch.Len())
	last := uint32(0)
	if len(out.Offsets) > 0 {
		last = out.Offsets[len(out.Offsets)-1]
	}
	if n == last {
		return
	}
	if len(out.Offsets) == 0 {
		out.Offsets = append(out.Offsets, 0)
	}
	out.Groups, out.Offsets = append(out.Groups, g), append(out.Offsets, n)
}

func (x *executor) runGroup(op *plan.Op, i int, k relational.Keyed, kg topology.KeyGroup, out *relational.Grouped) (err error) {
	p := x.part
	g := &p.groups[i][kg-p.rng.From]
	if g.State == nil {
		if err := p.openGroup(k, g, kg); err != nil {
			return p.keyed(op, kg, x.ctx.Epoch, err)
		}
	}
	g.State.Begin(x.ctx.Epoch)
	x.touch = append(x.touch, touchedGroup{i, g})
	for c := range x.cursors {
		cur := &x.cursors[c]
		if cur.at == len(cur.piece.Groups) || cur.piece.Groups[cur.at] != kg {
			continue
		}
		from, to := int(cur.piece.Offsets[cur.at]), int(cur.piece.Offsets[cur.at+1])
		cur.at++
		if err := k.Rows(&x.ctx, g, cur.input, cur.piece.Batch, from, to, out.Batch); err != nil {
			var row *expr.RowError
			if errors.As(err, &row) {
				return p.failed(op, kg, x.ctx.Epoch, cur.piece.Batch, row.Row, row.Err)
			}
			return p.keyed(op, kg, x.ctx.Epoch, err)
		}
	}
	if g.Due <= x.ctx.Watermark {
		if err := k.Advance(&x.ctx, g, out.Batch); err != nil {
			return p.keyed(op, kg, x.ctx.Epoch, err)
		}
	}
	if err := k.End(&x.ctx, g, out.Batch); err != nil {
		return p.keyed(op, kg, x.ctx.Epoch, err)
	}
	return nil
}

// emit folds the outputs' rows into their chains and sorts them by consumer key group.
func (x *executor) emit() error {
	for o := range x.part.spec.Outputs {
		out := &x.part.spec.Outputs[o]
		pieces := x.values[out.Op]
		x.chain(x.part.chains[o], pieces)
		x.emitted += rowsOf(pieces)
		rows, err := x.shuffle(out, pieces, x.ctx.Epoch, x.part.pools[o], x.outputs[o])
		if err != nil {
			return err
		}
		x.outputs[o] = rows
	}
	for n, op := range x.part.sinkOps {
		x.chain(x.part.chains[len(x.part.spec.Outputs)+n], x.values[op])
		x.emitted += rowsOf(x.values[op])
	}
	x.late += x.ctx.Late
	return nil
}

func rowsOf(pieces []*relational.Grouped) (n int64) {
	for _, g := range pieces {
		n += int64(g.Offsets[len(g.Offsets)-1] - g.Offsets[0])
	}
	return n
}

// chain folds the rows of pieces into the chain of each key group that has any: chain = H(chain, epoch, rows in emission order).
func (x *executor) chain(chains []uint64, pieces []*relational.Grouped) {
	if len(pieces) == 0 {
		return
	}
	x.touched = resize(x.touched, (x.rng.Len()+63)/64)
	clear(x.touched)
	for _, in := range pieces {
		for j, g := range in.Groups {
			c := &chains[g-x.part.rng.From]
			x.part.changed[g-x.part.rng.From] = x.ctx.Epoch
			if n := g - x.rng.From; x.touched[n/64]>>(n%64)&1 == 0 {
				x.touched[n/64] |= 1 << (n % 64)
				*c = batch.Mix(*c, uint64(x.ctx.Epoch))
			}
			*c, x.mixed = in.Batch.Chain(*c, int(in.Offsets[j]), int(in.Offsets[j+1]), x.mixed)
		}
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
