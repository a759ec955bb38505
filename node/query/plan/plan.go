package plan

import (
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Plan is a compiled query: plain data, what runs and what the cluster keeps. Nothing at run time may shape output that is
// not in it or in the seals.
type Plan struct {
	Version  int      `json:"version"`
	Settings Settings `json:"settings"`
	Tables   []*Table `json:"tables"`
	Stages   []*Stage `json:"stages"` // upstream before downstream; Stages[i].ID == i
}

// Settings are the query-wide constants.
type Settings struct {
	EpochMs          int64  `json:"epoch_ms"`          // 'epoch.length', default 10
	CheckpointEpochs int    `json:"checkpoint_epochs"` // a power of two, default 128
	KeyGroups        int    `json:"key_groups"`        // 'key-groups', default 256
	Seed             uint64 `json:"seed"`              // 'seed', default 0
	Zone             string `json:"zone"`              // 'table.local-time-zone', default UTC
	Batch            bool   `json:"batch"`             // 'execution.runtime-mode' = 'batch'
	SealRows         int    `json:"seal_rows"`         // 'seal' = 'rows:N': epoch e is rows [(e-1)N, eN) of each split; 0: by the clock
	Parallelism      int    `json:"parallelism"`       // 'parallelism.default', default 1
	Standby          int    `json:"standby,omitempty"` // 'standby', default 0: shadows kept up for each stateful partition
	// KeepSeals is 'seal.retention' = 'all': checkpoints keep what sources sealed from the query's start on, so that query verify can run it all
	// again; otherwise only as far back as the copies of state reach.
	KeepSeals bool `json:"keep_seals,omitempty"`
}

// Table is a declared table that the query reads or writes.
type Table struct {
	Name      string            `json:"name"`
	Connector string            `json:"connector"`
	Schema    *batch.Schema     `json:"schema"` // physical columns
	Primary   []int             `json:"primary,omitempty"`
	Options   map[string]string `json:"options"`
	Lanes     int               `json:"lanes,omitempty"`
	// UpsertKey are the columns by which a sink can pair a retraction with its insert; nil: unknown or append-only; empty: there is
	// one row at a time.
	UpsertKey []int `json:"upsert_key"`
}

// Stage is a run of operators between repartitionings.
type Stage struct {
	ID     topology.StageID `json:"id"`
	Name   string           `json:"name"`   // for people: "files", "aggregate by word", "sink counts"
	Groups int              `json:"groups"` // key groups; a sink stage's are its lanes
	// Source is the index in Plan.Tables of the table that a source stage reads; -1 for other stages.
	Source int `json:"source"`
	// Inputs are the streams of an inner stage in plan order. A source stage has none: its stream 0 are the table's rows.
	Inputs  []Input  `json:"inputs,omitempty"`
	Ops     []*Op    `json:"ops"` // in topological order
	Outputs []Output `json:"outputs,omitempty"`
}

// Input is a stream that a stage takes: an output of another stage.
type Input struct {
	Stage  topology.StageID `json:"stage"`
	Output int              `json:"output"`
}

// Partitioning tells how a stream's rows find their consumer's key group.
type Partitioning uint8

const (
	// ByKey sends a row to GroupOf(hash of Keys).
	ByKey Partitioning = 1
	// Spread sends a row to hash(producing key group, epoch, index) mod groups.
	Spread Partitioning = 2
	// Single sends all rows to key group 0.
	Single Partitioning = 3
)

// Output is a stream that a stage gives to one consumer stage.
type Output struct {
	Op           int              `json:"op"` // index in Ops whose rows these are
	Consumer     topology.StageID `json:"consumer"`
	Input        int              `json:"input"` // its index among the consumer's Inputs
	Partitioning Partitioning     `json:"partitioning"`
	Keys         []int            `json:"keys,omitempty"` // ByKey: columns
	Groups       int              `json:"groups"`         // of the consumer
	Schema       *batch.Schema    `json:"schema"`
}

// Port is where an operator's rows come from: another operator of the stage, or (Op < 0) a stream of the stage.
type Port struct {
	Op     int `json:"op"` // -1: stage input
	Stream int `json:"stream,omitempty"`
}

// Op is one operator. Exactly one of the specifications is set. Several Inputs of an operator other than Process are read one after the other
// (UNION ALL): all rows of the first, then of the second.
type Op struct {
	Name   string        `json:"name"` // unique in the plan, for people and errors: "filter#3", "toll_calculator#5"
	Inputs []Port        `json:"inputs"`
	Schema *batch.Schema `json:"schema"` // of its output; of the rows written for a Sink

	Calc      *Calc      `json:"calc,omitempty"`
	FlatMap   *FlatMap   `json:"flat_map,omitempty"`
	Watermark *Watermark `json:"watermark,omitempty"`
	Union     *Union     `json:"union,omitempty"`
	Partial   *Aggregate `json:"partial,omitempty"` // pre-aggregation, before a shuffle
	Aggregate *Aggregate `json:"aggregate,omitempty"`
	Process   *Process   `json:"process,omitempty"`
	Sink      *Sink      `json:"sink,omitempty"`
}

// Calc filters, then projects. Filter and Project are over the input's columns.
type Calc struct {
	Filter  *expr.Node   `json:"filter,omitempty"`
	Project []*expr.Node `json:"project"` // one per output column
}

// FlatMap joins each row with the rows a table function gives for it: Keep columns of the input, then the function's.
type FlatMap struct {
	Function string       `json:"function"`
	Args     []*expr.Node `json:"args"`
	Keep     []int        `json:"keep"`
	Outer    bool         `json:"outer,omitempty"` // LEFT JOIN ... ON TRUE: a row without results gives one with nulls
}

// Watermark passes rows on and gives, per source key group, the watermark max(Expr) over the rows so far. Rows with a null Expr are ignored.
type Watermark struct {
	Expr *expr.Node `json:"expr"` // milliseconds, over the input's columns
	// IdleMs is 'scan.watermark.idle-timeout': a split without a row for so long does not hold the watermark back; 0 never.
	IdleMs int64 `json:"idle_ms,omitempty"`
}

// Union passes the rows of all its inputs on, input after input.
type Union struct{}

// AggregateMode tells when an aggregate emits.
type AggregateMode uint8

const (
	// Running emits at the end of each epoch the net change of every touched key.
	Running AggregateMode = 1
	// AtEnd emits final rows in key order when the input has ended ('execution.runtime-mode' = 'batch').
	AtEnd AggregateMode = 2
	// Window emits a window's rows in key order when the watermark passes its end; late rows are dropped and counted.
	Window AggregateMode = 3
)

// Aggregate groups rows. Its output columns are Keys in order, then Calls in order.
//
// As Op.Partial it aggregates the rows of one (producing key group, epoch, stream) and emits per key, in order of first touch,
// the keys and each call's partial columns (AggregateCall.PartialFields). As Op.Aggregate with FromPartial its input columns are
// exactly those, so its Keys are 0..k-1.
type Aggregate struct {
	Mode  AggregateMode   `json:"mode"`
	Keys  []int           `json:"keys"` // input columns; with Window they include WindowEnd
	Calls []AggregateCall `json:"calls"`
	// WindowEnd is the index in Keys of the window_end column (timestamp, ms); the window's rows are late and dropped when the
	// watermark before the epoch is >= window_end - 1. Window only.
	WindowEnd int `json:"window_end,omitempty"`
	// FromPartial: input rows are partial aggregates.
	FromPartial bool `json:"from_partial,omitempty"`
	// Updating: the input holds retractions.
	Updating bool `json:"updating,omitempty"`
	// InputSchema is what Keys and Calls refer to (before pre-aggregation when FromPartial: the original input's types are in Calls).
	InputSchema *batch.Schema `json:"input_schema"`
}

// AggregateCall is one aggregate function.
type AggregateCall struct {
	Func     string     `json:"func"`     // "COUNT", "SUM", "MIN", "MAX", "AVG"
	Arg      int        `json:"arg"`      // input column; -1 for COUNT(*). Meaningless with FromPartial
	ArgType  batch.Type `json:"arg_type"` // of the argument; zero for COUNT(*)
	Distinct bool       `json:"distinct,omitempty"`
	Filter   int        `json:"filter"` // BOOLEAN input column, rows without TRUE do not count; -1 none. Meaningless with FromPartial
	Type     batch.Type `json:"type"`   // of the result
}

// Process runs a custom operator. Output columns: PartitionBy columns, then the operator's own.
type Process struct {
	Operator    string         `json:"operator"`
	PartitionBy []int          `json:"partition_by"`
	Args        []operator.Arg `json:"args,omitempty"`
	InputSchema *batch.Schema  `json:"input_schema"`
}

// Sink writes rows to a table.
type Sink struct {
	Table int  `json:"table"` // index in Plan.Tables
	Fused bool `json:"fused"` // lanes are the stage's key groups
}

// PartialFields are the columns that carry call c of a pre-aggregation, named after prefix. ok is false when the call
// cannot be pre-aggregated (DISTINCT).
//
//	COUNT  n BIGINT                      signed sum of weights
//	SUM    s of the result's type, n BIGINT   signed sum, signed count of non-null values
//	AVG    s of SumType, n BIGINT
//	MIN, MAX  v of the argument's type   only when the input does not update
func (c AggregateCall) PartialFields(prefix string, updating bool) (fields []batch.Field, ok bool) {
	if c.Distinct {
		return nil, false
	}
	switch c.Func {
	case "COUNT":
		return []batch.Field{{Name: prefix + "n", Type: batch.TypeBigInt}}, true
	case "SUM", "AVG":
		return []batch.Field{{Name: prefix + "s", Type: SumType(c.ArgType)}, {Name: prefix + "n", Type: batch.TypeBigInt}}, true
	case "MIN", "MAX":
		return []batch.Field{{Name: prefix + "v", Type: c.ArgType.Nullable()}}, !updating
	}
	return nil, false
}

// SumType is the type that sums of t are kept in: BIGINT for integers, DOUBLE for floats, DECIMAL(38, s) for decimals. A SUM of
// a narrower result type wraps when it is emitted, as in Flink.
func SumType(t batch.Type) batch.Type {
	switch {
	case t.IsInteger():
		return batch.TypeBigInt
	case t.ID == batch.Decimal:
		return batch.DecimalOf(38, t.Scale)
	}
	return batch.TypeDouble
}
