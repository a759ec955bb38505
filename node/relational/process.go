package relational

import (
	"errors"
	"fmt"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// processKernel runs a custom operator: one object per key group, state and timers scoped by the row's key. A mistake of the
// operator, panics included, becomes an error with operator, key group and row.
type processKernel struct {
	name    string
	spec    *plan.Process
	binding operator.Binding
	seed    uint64 // of the plan and the operator's name

	ctx     operator.Context
	emitter operator.Emitter
	onEnd   func()
	out     *batch.Batch

	// What is being processed.
	group *processGroup
	id    topology.KeyGroup
	key   []byte
	hash  uint64
	inKey bool
	rand  uint64 // numbers given in the key group's epoch
	err   error  // of emitting key columns

	input     *batch.Batch // rows of the Rows call, to name the one that failed
	row       int
	timer     string // what fired, outside of Rows
	timerKey  []byte
	timerName []byte
}

// processGroup is what the kernel has of a key group.
type processGroup struct {
	operator operator.Operator
	timers   timers
}

func (*processKernel) kernel() {}

func newProcess(name string, p *plan.Process, schema *batch.Schema, lookup OperatorLookup, seed uint64) (k *processKernel, err error) {
	var def *operator.Definition
	if lookup != nil {
		def, _ = lookup(p.Operator)
	}
	if def == nil {
		return nil, fmt.Errorf("%s is not registered in this program", p.Operator)
	}
	if p.InputSchema == nil {
		return nil, fmt.Errorf("its input has no schema")
	}
	defer func() {
		if r := recover(); r != nil {
			k, err = nil, fmt.Errorf("Bind of %s: %w", p.Operator, panicError(r))
		}
	}()
	binding, err := def.Bind(operator.Call{Input: p.InputSchema, PartitionBy: p.PartitionBy, Args: p.Args})
	if err != nil {
		return nil, err
	}
	if binding.New == nil || binding.Output == nil {
		return nil, fmt.Errorf("Bind of %s gave no New or no Output", p.Operator)
	}
	var want []batch.Type
	for _, c := range p.PartitionBy {
		if c < 0 || c >= len(p.InputSchema.Fields) {
			return nil, fmt.Errorf("PARTITION BY column %d is not among the %d of the input", c, len(p.InputSchema.Fields))
		}
		want = append(want, p.InputSchema.Fields[c].Type)
	}
	for _, f := range binding.Output.Fields {
		want = append(want, f.Type)
	}
	if err := checkKinds(schema, want); err != nil {
		return nil, err
	}
	k = &processKernel{name: name, spec: p, binding: binding, seed: batch.Mix(seed, batch.HashKey([]byte(name)))}
	k.onEnd = k.emitKey
	k.ctx.Out, k.ctx.Host = &k.emitter, k
	return k, nil
}

// Open makes the key group's operator.
func (k *processKernel) Open(g *Group) (err error) {
	d := &processGroup{}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("Open: %w", panicError(r))
		}
	}()
	if err := d.timers.register(g.State); err != nil {
		return err
	}
	d.operator = k.binding.New()
	if d.operator == nil {
		return fmt.Errorf("New gave nil")
	}
	g.State.ClearKey()
	if err := d.operator.Open(setup{g.State, k.spec}); err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	g.Data, g.Due = d, topology.WatermarkEnd
	return nil
}

// Restored puts the timers in order again.
func (k *processKernel) Restored(g *Group) error {
	d := g.Data.(*processGroup)
	if err := d.timers.restore(); err != nil {
		return err
	}
	g.Due = d.timers.due()
	return nil
}

// setup is what an operator's Open gets.
type setup struct {
	state *state.Group
	spec  *plan.Process
}

func (s setup) State() *state.Group  { return s.state }
func (s setup) Args() []operator.Arg { return s.spec.Args }
func (s setup) Input() *batch.Schema { return s.spec.InputSchema }

func (k *processKernel) enter(ctx *Context, g *Group, out *batch.Batch, watermark int64) *processGroup {
	d := g.Data.(*processGroup)
	k.group, k.id, k.out = d, g.ID, out
	k.ctx.NowMs, k.ctx.WatermarkMs, k.ctx.Epoch = ctx.TimeMs, watermark, int64(ctx.Epoch)
	k.emitter.Reset(out, len(k.spec.PartitionBy), k.onEnd)
	return d
}

// leave ends the current key and makes err, or the panic that is under way, an error with the place where it happened.
func (k *processKernel) leave(g *Group, err error, panicked any) error {
	g.State.ClearKey()
	g.Due = k.group.timers.due()
	k.inKey = false
	if panicked != nil {
		err = panicError(panicked)
	}
	if err != nil {
		err = k.locate(err)
	}
	k.input, k.timer = nil, ""
	return err
}

func (k *processKernel) locate(err error) error {
	where := "timer " + k.timer
	if k.input != nil {
		where = "row " + RowText(k.input, k.row)
	}
	return &Failure{Where: where, Err: err}
}

// Rows gives the operator rows [from, to).
func (k *processKernel) Rows(ctx *Context, g *Group, _ int, b *batch.Batch, from, to int, out *batch.Batch) (err error) {
	d := k.enter(ctx, g, out, ctx.WatermarkBefore)
	k.input, k.row = b, from
	defer func() { err = k.leave(g, err, recover()) }()
	for i := from; i < to; i++ {
		k.row = i
		k.key = batch.AppendKey(k.key[:0], b, k.spec.PartitionBy, i)
		k.hash = batch.HashKey(k.key)
		k.inKey = true
		g.State.SetKey(k.hash, k.key)
		if err := d.operator.Row(&k.ctx, b.Row(i)); err != nil {
			return err
		}
		if err := k.emitted(); err != nil {
			return err
		}
	}
	return nil
}

func (k *processKernel) emitted() error {
	if err := k.emitter.Err(); err != nil {
		return err
	}
	return k.err
}

// emitKey fills the PARTITION BY columns of the row that ends.
func (k *processKernel) emitKey() {
	key := k.key
	var err error
	for i := range k.spec.PartitionBy {
		if key, err = batch.AppendKeyValue(&k.out.Cols[i], key, i == len(k.spec.PartitionBy)-1); err != nil {
			k.err = err
			return
		}
	}
}

// firingsMax is how many timers may fire in a key group's epoch beyond those that were set when its rows had been taken.
const firingsMax = 1 << 20

// Advance fires the timers that are due, in (time, key, name) order, those that fire now included in what they set.
func (k *processKernel) Advance(ctx *Context, g *Group, out *batch.Batch) (err error) {
	d := k.enter(ctx, g, out, ctx.Watermark)
	defer func() { err = k.leave(g, err, recover()) }()
	budget := d.timers.table.Len() + firingsMax
	for ; d.timers.due() <= ctx.Watermark; budget-- {
		atMs, ok, err := k.nextTimer(d)
		if err != nil || !ok {
			return err
		}
		if budget == 0 {
			return fmt.Errorf("%d more timers fired in one epoch than were set before; a timer that sets itself again must stop at the end of input, when ctx.WatermarkMs is the greatest int64", firingsMax)
		}
		g.State.SetKey(k.hash, k.key)
		t, ok := d.operator.(operator.TimerOperator)
		if !ok {
			return errors.New("a timer is due, but the operator has no method Timer")
		}
		if err := t.Timer(&k.ctx, operator.Timer{Name: k.timer, AtMs: atMs}); err != nil {
			return err
		}
		if err := k.emitted(); err != nil {
			return err
		}
	}
	return nil
}

// nextTimer takes the first timer out and makes its key the current one.
func (k *processKernel) nextTimer(d *processGroup) (atMs int64, ok bool, err error) {
	slot, ok := d.timers.order.first(nil)
	if !ok {
		return 0, false, nil
	}
	atMs, k.key, k.timerName, err = cutTimerKey(d.timers.table.Key(slot), k.key[:0], k.timerName[:0])
	if err != nil {
		return 0, false, err
	}
	k.timer = string(k.timerName)
	k.hash, k.inKey = batch.HashKey(k.key), true
	d.timers.clear(k.key, k.timer)
	return atMs, true, nil
}

// End forgets the epoch.
func (k *processKernel) End(_ *Context, _ *Group, _ *batch.Batch) error {
	k.rand = 0
	return nil
}

const timerNameMax = 255

// SetTimer implements operator.Host.
func (k *processKernel) SetTimer(name string, atMs int64) error {
	if !k.inKey {
		return errors.New("a timer was set where there is no current key: set it while a row or a timer is processed")
	}
	if len(name) > timerNameMax {
		return fmt.Errorf("a timer's name has at most %d bytes; this one has %d", timerNameMax, len(name))
	}
	if _, ok := k.group.operator.(operator.TimerOperator); !ok {
		return errors.New("a timer was set, but the operator has no method Timer")
	}
	return k.group.timers.set(k.key, name, atMs)
}

// ClearTimer implements operator.Host.
func (k *processKernel) ClearTimer(name string) {
	if k.inKey {
		k.group.timers.clear(k.key, name)
	}
}

// Rand implements operator.Host.
func (k *processKernel) Rand() uint64 {
	h := batch.Mix(batch.Mix(k.seed, uint64(k.id)), uint64(k.ctx.Epoch))
	k.rand++
	return batch.Mix(batch.Mix(h, k.rand), 0x2545F4914F6CDD1D)
}
