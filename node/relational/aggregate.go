package relational

import (
	"encoding/binary"
	"fmt"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// aggregateKernel is plan.Aggregate in its three modes. Per key group it keeps a table of accumulators by key, and one of
// counted values for calls that cannot do with an accumulator (DISTINCT; MIN and MAX of an updating input).
type aggregateKernel struct {
	name   string
	spec   *plan.Aggregate
	calls  []*call
	plain  []*call // fed by column loops
	valued []*call // fed value by value

	// keyCols are the input's key columns in the order they have in state keys, and keyOut where each goes in the output:
	// as in the plan, but with Window the window's end first, so that the order of state keys is the order of output.
	keyCols, keyOut []int
	types           []batch.Type // of the accumulator table: words, then byte stores
	words           int
	width           int  // columns that the input must have
	rowCount        int  // word that counts a key's rows, -1 when keys do not end
	countsRows      bool // rowCount is a word of its own, no call's

	// What follows is scratch memory, of one piece or, up to End, of one key group and epoch.
	found     state.Upserts
	raw       rawScratch
	acc       accumulators
	stores    []stateStore
	key       []byte
	ends      []uint32
	hashes    []uint64
	valueKey  []byte
	touched   touchedKeys
	onTime    *batch.Batch
	rows      []uint32
	live      []uint32
	emitSlots []uint32
}

// aggregateGroup is what the kernel has of a key group. All but the tables is derived from them.
type aggregateGroup struct {
	table   *state.Table
	values  *state.Table // nil without valued calls
	order   *ordered     // of values that belong to multiset calls; nil without
	windows windowSlots
}

const (
	tableAccumulators = "accumulators"
	tableValues       = "values"
)

func (*aggregateKernel) kernel() {}

func newAggregate(name string, a *plan.Aggregate) (*aggregateKernel, error) {
	k := &aggregateKernel{name: name, spec: a, rowCount: -1}
	var stores int
	var err error
	if k.calls, k.words, stores, err = newCalls(a); err != nil {
		return nil, err
	}
	for _, c := range k.calls {
		if !a.FromPartial {
			if err := c.inputs(a.InputSchema.Fields); err != nil {
				return nil, err
			}
		}
		if c.distinct || c.multiset {
			k.valued = append(k.valued, c)
		} else {
			k.plain = append(k.plain, c)
		}
		if a.Updating && c.isRowCount() && k.rowCount < 0 {
			k.rowCount = c.at
		}
	}
	if a.Updating && k.rowCount < 0 {
		if a.FromPartial {
			return nil, fmt.Errorf("partial aggregates of an updating input need a COUNT(*) without FILTER: it tells when a key ends")
		}
		k.rowCount, k.countsRows = k.words, true
		k.words++
	}
	k.width = len(a.InputSchema.Fields)
	if a.FromPartial {
		k.width = len(a.Keys)
		for _, c := range a.Calls {
			fields, _ := c.PartialFields("", a.Updating)
			k.width += len(fields)
		}
	}
	if err := k.orderKeys(); err != nil {
		return nil, err
	}
	for range k.words {
		k.types = append(k.types, batch.TypeBigInt)
	}
	k.acc.cols = make([][]int64, k.words)
	k.stores = make([]stateStore, stores)
	for i := range k.stores {
		k.types = append(k.types, batch.TypeBytes)
		k.stores[i].col = k.words + i
		k.acc.stores = append(k.acc.stores, &k.stores[i])
	}
	k.touched.init(k.calls)
	return k, nil
}

func (k *aggregateKernel) orderKeys() error {
	a := k.spec
	for i, col := range a.Keys {
		if a.FromPartial {
			col = i
		}
		k.keyCols, k.keyOut = append(k.keyCols, col), append(k.keyOut, i)
	}
	switch a.Mode {
	case plan.Running, plan.AtEnd:
		return nil
	case plan.Window:
	default:
		return fmt.Errorf("aggregate mode %d is not supported", a.Mode)
	}
	w := a.WindowEnd
	if w < 0 || w >= len(a.Keys) {
		return fmt.Errorf("window_end is not among the keys")
	}
	col := k.keyCols[w]
	copy(k.keyCols[1:], k.keyCols[:w])
	copy(k.keyOut[1:], k.keyOut[:w])
	k.keyCols[0], k.keyOut[0] = col, w
	return nil
}

func (k *aggregateKernel) Open(g *Group) error {
	d := &aggregateGroup{}
	var err error
	if d.table, err = g.State.Register(tableAccumulators, k.types); err != nil {
		return err
	}
	if len(k.valued) > 0 {
		if d.values, err = g.State.Register(tableValues, countType); err != nil {
			return err
		}
	}
	g.Data = d
	return k.Restored(g)
}

func (k *aggregateKernel) Restored(g *Group) error {
	d := g.Data.(*aggregateGroup)
	g.Due = topology.WatermarkEnd
	d.order = nil
	for _, c := range k.valued {
		if d.order == nil && (c.multiset || k.spec.Mode == plan.Window) {
			d.order = newOrdered(d.values)
		}
	}
	if d.order != nil {
		if err := k.restoreOrder(d); err != nil {
			return err
		}
	}
	if k.spec.Mode == plan.Window {
		if err := d.windows.restore(d.table); err != nil {
			return err
		}
		g.Due = d.windows.due()
	}
	return nil
}

// Rows accumulates. Before a key's accumulators change for the first time in the epoch its result is put aside.
func (k *aggregateKernel) Rows(ctx *Context, g *Group, _ int, b *batch.Batch, from, to int, _ *batch.Batch) (err error) {
	d := g.Data.(*aggregateGroup)
	if err := checkWidth(b, k.width); err != nil {
		return err
	}
	defer k.catchLimit(g, &err)
	if b.Weights != nil && !k.spec.Updating {
		for i := from; i < to; i++ {
			if b.Weights[i] != batch.Insert {
				return fmt.Errorf("a retraction came in an input that the plan says only grows")
			}
		}
	}
	for ; from < to && err == nil; from += pieceRows {
		last := min(to, from+pieceRows)
		if k.spec.Mode == plan.Window {
			err = k.windowPiece(ctx, g, d, b, from, last)
		} else {
			err = k.piece(d, b, from, last)
		}
	}
	if k.spec.Mode == plan.Window {
		g.Due = d.windows.due()
	}
	return err
}

// catchLimit makes an error of a state table that is full.
func (k *aggregateKernel) catchLimit(g *Group, err *error) {
	switch p := recover().(type) {
	case nil:
	case *state.LimitError:
		*err = p
	default:
		panic(p)
	}
}

func (k *aggregateKernel) piece(d *aggregateGroup, b *batch.Batch, from, to int) error {
	k.assign(d, b, from, to)
	slots := k.found.Slots
	k.touch(d)
	k.point(d)
	if k.spec.Mode == plan.Running {
		if err := k.saveOld(d); err != nil {
			return err
		}
	}
	if k.countsRows {
		var w []int8
		if b.Weights != nil {
			w = b.Weights[from:to]
		}
		addOnes(k.acc.cols[k.rowCount], slots, w)
	}
	for _, c := range k.plain {
		if k.spec.FromPartial {
			c.feedPartial(&k.acc, slots, b, from, to, &k.raw)
		} else {
			c.feed(&k.acc, slots, b, from, to, &k.raw)
		}
	}
	for _, c := range k.valued {
		k.feedValues(d, c, slots, b, from, to)
	}
	return nil
}

// point makes the accumulators those of d. They hold until the next Upsert in its table.
func (k *aggregateKernel) point(d *aggregateGroup) {
	for i := range k.acc.cols {
		k.acc.cols[i] = d.table.Int64s(i)
	}
	for i := range k.stores {
		k.stores[i].table = d.table
	}
}

// assign finds or makes the slots of the keys of rows [from, to), in k.found.
func (k *aggregateKernel) assign(d *aggregateGroup, b *batch.Batch, from, to int) {
	if len(k.keyCols) == 0 {
		slot, created := d.table.Upsert(batch.HashKey(nil), nil)
		k.found.Slots, k.found.Created = grown(k.found.Slots, to-from), k.found.Created[:0]
		for i := range k.found.Slots {
			k.found.Slots[i] = slot
		}
		if created {
			k.found.Created = append(k.found.Created, 0)
		}
		return
	}
	if len(k.keyCols) == 1 && b.Cols[k.keyCols[0]].Kind() == batch.KindInt64 && !b.Cols[k.keyCols[0]].HasNulls() {
		k.hashes, k.key = batch.AppendKeyHashes(k.hashes[:0], b, k.keyCols, from, to, k.key)
		d.table.UpsertInt64s(&k.found, k.hashes, b.Cols[k.keyCols[0]].Int64s[from:to])
		return
	}
	k.key, k.ends, k.hashes = k.key[:0], k.ends[:0], k.hashes[:0]
	for i := from; i < to; i++ {
		at := len(k.key)
		k.key = batch.AppendKey(k.key, b, k.keyCols, i)
		k.ends = append(k.ends, uint32(len(k.key)))
		k.hashes = append(k.hashes, batch.HashKey(k.key[at:]))
	}
	d.table.UpsertKeys(&k.found, k.hashes, k.key, k.ends)
}

// touch notes what must be known of the keys that have a row in k.found.
func (k *aggregateKernel) touch(d *aggregateGroup) {
	switch {
	case k.spec.Mode == plan.Window:
		for _, row := range k.found.Created {
			slot := k.found.Slots[row]
			d.windows.add(windowEndOfKey(d.table.Key(slot)), slot)
		}
	case k.spec.Mode == plan.Running || k.rowCount >= 0:
		k.touched.add(k.found.Slots, k.found.Created)
	}
}

// exists says whether the key in slot has a row.
func (k *aggregateKernel) exists(slot uint32) bool {
	return k.rowCount < 0 || k.acc.cols[k.rowCount][slot] > 0
}

// appendResults appends the results of one call for the keys in slots.
func (k *aggregateKernel) appendResults(out *batch.Column, d *aggregateGroup, c *call, slots []uint32) error {
	if c.multiset {
		return k.appendExtremes(out, d, c, slots)
	}
	c.appendResults(out, &k.acc, slots)
	return nil
}

// appendKeys appends the keys in slots to the key columns of out.
func (k *aggregateKernel) appendKeys(out *batch.Batch, d *aggregateGroup, slots []uint32) error {
	if len(k.keyOut) == 1 && out.Cols[0].Kind() == batch.KindInt64 {
		c := &out.Cols[0]
		for _, s := range slots {
			if key := d.table.Key(s); len(key) == 9 {
				c.Int64s = append(c.Int64s, int64(binary.BigEndian.Uint64(key[1:])^1<<63))
			} else {
				c.AppendNull()
			}
		}
		return nil
	}
	for _, s := range slots {
		key := d.table.Key(s)
		for i, col := range k.keyOut {
			var err error
			if key, err = batch.AppendKeyValue(&out.Cols[col], key, i == len(k.keyOut)-1); err != nil {
				return fmt.Errorf("key in state: %w", err)
			}
		}
	}
	return nil
}

// End emits what changed in the epoch (Running) and forgets keys without rows.
func (k *aggregateKernel) End(_ *Context, g *Group, out *batch.Batch) error {
	if len(k.touched.slots) == 0 {
		return nil
	}
	d := g.Data.(*aggregateGroup)
	k.point(d)
	defer k.touched.reset()
	if k.spec.Mode == plan.Running {
		if err := k.emitChanges(d, out); err != nil {
			return err
		}
	}
	if k.rowCount >= 0 {
		for _, s := range k.touched.slots {
			if k.acc.cols[k.rowCount][s] == 0 {
				d.table.Delete(s)
			}
		}
	}
	return nil
}

// Advance emits final rows: of all keys at the end of input, or of the windows that the watermark has passed.
func (k *aggregateKernel) Advance(ctx *Context, g *Group, out *batch.Batch) error {
	d := g.Data.(*aggregateGroup)
	switch k.spec.Mode {
	case plan.AtEnd:
		if ctx.Watermark != topology.WatermarkEnd || ctx.WatermarkBefore == topology.WatermarkEnd {
			return nil
		}
		global := len(k.keyCols) == 0 && g.ID == 0
		if global { // there is a row even of no input
			d.table.Upsert(batch.HashKey(nil), nil)
		}
		k.rows = d.table.Sorted(k.rows[:0], nil)
		if err := k.emitFinal(d, out, k.rows, global); err != nil {
			return err
		}
	case plan.Window:
		for d.windows.due() <= ctx.Watermark && !d.windows.empty() {
			slots := d.windows.take(d.table)
			if err := k.emitFinal(d, out, slots, false); err != nil {
				return err
			}
		}
		g.Due = d.windows.due()
	}
	return nil
}

// emitFinal emits the results of the keys in slots, in that order, and deletes them. Keys without rows are left out unless
// all is true.
func (k *aggregateKernel) emitFinal(d *aggregateGroup, out *batch.Batch, slots []uint32, all bool) error {
	k.point(d)
	live := slots
	if k.rowCount >= 0 && !all {
		live = k.live[:0]
		for _, s := range slots {
			if k.exists(s) {
				live = append(live, s)
			}
		}
		k.live = live
	}
	if err := k.appendKeys(out, d, live); err != nil {
		return err
	}
	for i, c := range k.calls {
		if err := k.appendResults(&out.Cols[len(k.keyOut)+i], d, c, live); err != nil {
			return err
		}
	}
	growRows(out, len(live))
	k.dropValues(d, slots)
	for _, s := range slots {
		d.table.Delete(s)
	}
	return nil
}

// stateStore is a column of byte strings of a state table.
type stateStore struct {
	table *state.Table
	col   int
}

func (s *stateStore) get(slot uint32) []byte    { return s.table.Bytes(s.col, slot) }
func (s *stateStore) put(slot uint32, v []byte) { s.table.SetBytes(s.col, slot, v) }
