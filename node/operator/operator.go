package operator

import (
	"fmt"
	"sort"
	"strings"
	"sync"

	"github.com/seepnode/seepnode/backup/state"
	"github.com/seepnode/seepnode/dataplane/batch"
)

// Definition declares an operator.
type Definition struct {
	Name string // as SQL calls it; case does not matter
	Doc  string
	// Bind looks at one call while planning: it checks input and arguments, and says what comes out.
	Bind func(Call) (Binding, error)
}

// Call is a use of the operator in a query.
type Call struct {
	Input       *batch.Schema // columns of the TABLE argument
	PartitionBy []int         // columns of Input; empty: one key group runs it all
	Args        []Arg         // scalar arguments, constants, in order
}

// Arg is a constant argument. Text is its SQL text form (CAST AS STRING); Null that it is NULL.
type Arg struct {
	Name string // of name => value, "" otherwise
	Type batch.Type
	Text string
	Null bool
}

// Binding is what Bind answers.
type Binding struct {
	// Output are the operator's own columns. The PARTITION BY columns come before them in the resulting table, as in Flink.
	Output *batch.Schema
	// New makes the object of one key group.
	New func() Operator
	// AcceptsUpdates says that Row can take retractions (row.Weight() == batch.Retract). Without it an updating input is refused.
	AcceptsUpdates bool
}

// Operator is the object of one key group. Its methods are called by one goroutine at a time. An error or panic fails the
// query, naming operator, key group and row.
type Operator interface {
	// Open declares state. It is called once, before any row, also after the state was restored.
	Open(s Setup) error
	// Row takes one row. State is that of the row's key. row is valid during the call.
	Row(ctx *Context, row batch.Row) error
}

// TimerOperator is an Operator that sets timers.
type TimerOperator interface {
	Operator
	// Timer is called when the watermark reaches a timer's time; state is that of the timer's key. Timers fire in (time, key,
	// name) order.
	Timer(ctx *Context, t Timer) error
}

// Timer is a named point in event time of a key. A key has at most one timer of a name.
type Timer struct {
	Name string
	AtMs int64
}

// Setup is what Open gets; it is a state.Registrar.
type Setup interface {
	state.Registrar
	// Args are the call's constant arguments.
	Args() []Arg
	// Input is the schema of the rows.
	Input() *batch.Schema
}

// Host is what the engine gives a Context; authors do not use it.
type Host interface {
	SetTimer(name string, atMs int64) error
	ClearTimer(name string)
	Rand() uint64
}

// Context is passed to Row and Timer and valid during the call.
type Context struct {
	NowMs       int64 // time(e) of the epoch
	WatermarkMs int64 // before the epoch's rows in Row; after them in Timer
	Epoch       int64
	Out         *Emitter
	Host        Host
}

// SetTimer sets the current key's timer of that name, replacing an earlier one. A time at or before the watermark fires in
// this epoch.
func (c *Context) SetTimer(name string, atMs int64) error { return c.Host.SetTimer(name, atMs) }

// ClearTimer removes the current key's timer of that name, if it is set.
func (c *Context) ClearTimer(name string) { c.Host.ClearTimer(name) }

// Now is time(e) in milliseconds: the operator's only clock.
func (c *Context) Now() int64 { return c.NowMs }

// Rand is the next random number of (seed, operator, key group, epoch, count): the same in every replay.
func (c *Context) Rand() uint64 { return c.Host.Rand() }

// Emitter appends rows of the operator's own columns: one value per column in order, then End.
type Emitter struct {
	batch *batch.Batch
	skip  int // key columns before the operator's own
	next  int
	err   error
	onEnd func()
}

// Reset points the emitter at out, whose first skip columns are filled by onEnd when a row ends. For the engine.
func (e *Emitter) Reset(out *batch.Batch, skip int, onEnd func()) {
	*e = Emitter{batch: out, skip: skip, onEnd: onEnd}
}

// Err is the first mistake made in emitting, such as a wrong type or a missing column.
func (e *Emitter) Err() error {
	if e.err == nil && e.next != 0 {
		e.err = fmt.Errorf("a row was begun and not ended: %d of %d columns emitted; call End after the last", e.next, len(e.batch.Cols)-e.skip)
	}
	return e.err
}

func (e *Emitter) column(k batch.Kind) *batch.Column {
	if e.err != nil {
		return nil
	}
	if e.skip+e.next >= len(e.batch.Cols) {
		e.err = fmt.Errorf("more values emitted than the %d output columns; call End after each row", len(e.batch.Cols)-e.skip)
		return nil
	}
	c := &e.batch.Cols[e.skip+e.next]
	if k != 0 && c.Kind() != k {
		f := e.batch.Schema.Fields[e.skip+e.next]
		e.err = fmt.Errorf("output column %q is %v; a value of another type was emitted", f.Name, f.Type)
		return nil
	}
	e.next++
	return c
}

// Int64 emits a value of an integer, date, time or timestamp column.
func (e *Emitter) Int64(v int64) *Emitter {
	if c := e.column(batch.KindInt64); c != nil {
		c.AppendInt64(v)
	}
	return e
}

// Float64 emits a value of a FLOAT or DOUBLE column.
func (e *Emitter) Float64(v float64) *Emitter {
	if c := e.column(batch.KindFloat64); c != nil {
		c.AppendFloat64(v)
	}
	return e
}

// Bool emits a value of a BOOLEAN column.
func (e *Emitter) Bool(v bool) *Emitter {
	if c := e.column(batch.KindBool); c != nil {
		c.AppendBool(v)
	}
	return e
}

// Text emits a value of a string column.
func (e *Emitter) Text(v string) *Emitter {
	if c := e.column(batch.KindBytes); c != nil {
		c.AppendString(v)
	}
	return e
}

// Bytes emits a copy of v.
func (e *Emitter) Bytes(v []byte) *Emitter {
	if c := e.column(batch.KindBytes); c != nil {
		c.AppendBytes(v)
	}
	return e
}

// Dec emits an unscaled value of a DECIMAL column.
func (e *Emitter) Dec(v batch.Dec) *Emitter {
	if c := e.column(batch.KindDecimal); c != nil {
		c.AppendDec(v)
	}
	return e
}

// Null emits a null.
func (e *Emitter) Null() *Emitter {
	if c := e.column(0); c != nil {
		c.AppendNull()
	}
	return e
}

// Copy emits the value of column col of row, whatever its type.
func (e *Emitter) Copy(row batch.Row, col int) *Emitter {
	if c := e.column(row.Batch.Cols[col].Kind()); c != nil {
		c.AppendFrom(&row.Batch.Cols[col], row.Index)
	}
	return e
}

// End ends an inserted row.
func (e *Emitter) End() { e.end(batch.Insert) }

func (e *Emitter) end(w int8) {
	if e.err != nil {
		return
	}
	if e.skip+e.next != len(e.batch.Cols) {
		e.err = fmt.Errorf("a row of %d values was ended; the output has %d columns", e.next, len(e.batch.Cols)-e.skip)
		return
	}
	if e.onEnd != nil {
		e.onEnd()
	}
	e.next = 0
	e.batch.EndRow(w)
}

// Registry holds operators by name. The zero value is empty and ready; safe for concurrent use.
type Registry struct {
	mu   sync.RWMutex
	defs map[string]*Definition
}

// Register adds an operator; a name can be taken once.
func (r *Registry) Register(d *Definition) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := strings.ToLower(d.Name)
	if _, ok := r.defs[key]; ok {
		return fmt.Errorf("operator %q is registered twice", d.Name)
	}
	if r.defs == nil {
		r.defs = map[string]*Definition{}
	}
	r.defs[key] = d
	return nil
}

// Lookup finds an operator.
func (r *Registry) Lookup(name string) (*Definition, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	d, ok := r.defs[strings.ToLower(name)]
	return d, ok
}

// Names lists the operators, sorted.
func (r *Registry) Names() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	names := make([]string, 0, len(r.defs))
	for n := range r.defs {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
