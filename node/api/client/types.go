package client

import (
	"encoding/json"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// States of a query.
const (
	StateRunning  = "RUNNING"  // its partitions run, or are being brought back after a failure
	StatePaused   = "PAUSED"   // by a user: its sources stand still
	StateWaiting  = "WAITING"  // for what was lost to come back; Query.Resolves says for what
	StateBlocked  = "BLOCKED"  // by something outside, a full disk for one; it goes on by itself
	StateFailed   = "FAILED"   // for good; only removing is left
	StateFinished = "FINISHED" // all sources ended and everything is committed; its tables stay
	StateRemoving = "REMOVING" // agents drop what they keep of it
)

// Statuses of a node.
const (
	NodeAlive   = "alive"
	NodeLost    = "lost"
	NodeLeaving = "leaving"
	NodeLeft    = "left"
)

// How far the draining of a node is.
const (
	DrainRunning = "draining"
	DrainDone    = "drained"
)

// Roles and phases of a partition.
const (
	RoleActive  = "active"
	RoleShadow  = "shadow"
	RoleRetired = "retired"

	PhasePending    = "pending" // its node has not said anything of it yet
	PhaseRestoring  = "restoring"
	PhaseCatchingUp = "catching up"
	PhaseRunning    = "running"
	PhaseEnded      = "ended"
)

// What AwaitQuery and AddQueryRequest.Wait wait for.
const (
	UntilRunning  = "running"  // all partitions run, or it is in a state that does not lead there by itself
	UntilFinished = "finished" // FINISHED, FAILED or REMOVING
)

// Limits of the API.
const (
	MaxSQLBytes      = 1 << 20   // of a query's text
	MaxSettings      = 256       // of a query
	MaxTableRows     = 100_000   // of one answer
	DefaultTableRows = 1_000     // when a read sets no limit
	MaxHistory       = 1_000     // entries of one answer
	MaxWaitMs        = 60_000    // of one request that waits
	MaxScaleStages   = 1024      // named in one request
	MaxScaleName     = 4096      // bytes of a stage's name
	MaxPartitions    = 1 << 15   // of a stage
	MaxKeyColumns    = 64        // of a primary key in a read
	MaxTextBytes     = 64 << 10  // of a condition or another text in a URL
	MaxBodyBytes     = 2 << 20   // of a request's body, the SQL escaped as JSON
	MaxAnswerBytes   = 256 << 20 // of an answer that a Client takes
)

// Rates are the means of the last seconds.
type Rates struct {
	RowsInPerS  float64 `json:"rows_in_per_s"`
	RowsOutPerS float64 `json:"rows_out_per_s"`
	BytesPerS   float64 `json:"bytes_per_s"` // sent to other nodes
}

// Query is a query in one line.
type Query struct {
	Name  string `json:"name"`
	State string `json:"state"`
	// Reason is why it is in this state, Resolves what would end it; "" when there is nothing to say.
	Reason      string    `json:"reason,omitempty"`
	Resolves    string    `json:"resolves,omitempty"`
	Incarnation uint64    `json:"incarnation"`
	Generation  uint32    `json:"generation"`
	Added       time.Time `json:"added"`
	EpochMs     int64     `json:"epoch_ms"`
	// Epoch is the last one that every sink's partition has finished; CompleteEpoch the latest complete checkpoint.
	Epoch         topology.Epoch `json:"epoch"`
	CompleteEpoch topology.Epoch `json:"complete_epoch"`
	// EpochLagMs is now minus the time of Epoch; WatermarkLagMs now minus Watermark (0 without one); CheckpointAgeMs now minus the time
	// of CompleteEpoch. Nothing lags once all sources have ended.
	EpochLagMs      int64     `json:"epoch_lag_ms"`
	WatermarkLagMs  int64     `json:"watermark_lag_ms"`
	CheckpointAgeMs int64     `json:"checkpoint_age_ms"`
	Watermark       time.Time `json:"watermark,omitzero"` // the lowest; left out before the first and after the end
	// Partitions are the active ones, PartitionsRunning those of them that run or have ended.
	Partitions        int   `json:"partitions"`
	PartitionsRunning int   `json:"partitions_running"`
	BlocksBelowK      int   `json:"blocks_below_k"` // blocks with fewer full copies of their state than there should be
	Rates             Rates `json:"rates"`
}

// Reached says whether q is where a wait for until (UntilRunning, UntilFinished) ends.
func (q *Query) Reached(until string) bool {
	switch q.State {
	case StateFailed, StateFinished, StateRemoving:
		return true
	case StatePaused:
		return until == UntilRunning
	case StateRunning:
		return until == UntilRunning && q.Partitions > 0 && q.PartitionsRunning == q.Partitions
	}
	return false
}

// QueryList is the answer of GET /v1/queries, ascending by name.
type QueryList struct {
	Queries []Query `json:"queries"`
}

// QueryDetail is all that is said of a query in one answer.
type QueryDetail struct {
	Query
	SQL         string            `json:"sql"`
	Set         map[string]string `json:"set,omitempty"` // settings that came with the request
	PlanText    string            `json:"plan_text"`
	Fingerprint string            `json:"fingerprint"`
	// TrimEpoch: logs, seals and older deltas up to it are no longer needed.
	TrimEpoch    topology.Epoch `json:"trim_epoch"`
	RowsIn       int64          `json:"rows_in"`  // of source stages
	RowsOut      int64          `json:"rows_out"` // into sinks
	RowsLate     int64          `json:"rows_late"`
	RowsSkipped  int64          `json:"rows_skipped"`
	StateBytes   int64          `json:"state_bytes"`
	LogBytes     int64          `json:"log_bytes"`     // of output logs, in memory
	SpilledBytes int64          `json:"spilled_bytes"` // and on disk
	SealBytes    int64          `json:"seal_bytes"`    // of the seals that checkpoints keep, one copy
	Recoveries   int            `json:"recoveries"`    // since it was added
	LastRecovery *Recovery      `json:"last_recovery,omitempty"`
	Stages       []StageInfo    `json:"stages"`
	Parts        []Partition    `json:"parts"` // as in Topology, of all stages
	Sinks        []SinkInfo     `json:"sinks,omitempty"`
}

// SinkInfo is a sink of a query; `tail` takes its name.
type SinkInfo struct {
	Name           string         `json:"name"`
	Connector      string         `json:"connector"`
	Lanes          int            `json:"lanes"`
	CommittedEpoch topology.Epoch `json:"committed_epoch"` // the lowest of its lanes
}

// Recovery is one recovery with the time each phase took.
type Recovery struct {
	At        time.Time `json:"at"`
	Node      string    `json:"node"` // the one that was lost
	Reason    string    `json:"reason"`
	Leader    bool      `json:"leader"` // it was the leader's node
	DetectMs  int64     `json:"detect_ms"`
	CommitMs  int64     `json:"commit_ms"`
	RestoreMs int64     `json:"restore_ms"`
	ReplayMs  int64     `json:"replay_ms"`
}

// StageInfo are the figures of a stage, summed over its active partitions.
type StageInfo struct {
	Stage        topology.StageID `json:"stage"`
	Operators    []string         `json:"operators"` // in plan order
	Source       bool             `json:"source"`
	KeyGroups    int              `json:"key_groups"`
	Partitions   int              `json:"partitions"`
	Epoch        topology.Epoch   `json:"epoch"` // the lowest
	Watermark    time.Time        `json:"watermark,omitzero"`
	RowsIn       int64            `json:"rows_in"`
	RowsOut      int64            `json:"rows_out"`
	RowsLate     int64            `json:"rows_late"`
	RowsSkipped  int64            `json:"rows_skipped"`
	StateBytes   int64            `json:"state_bytes"`
	LogBytes     int64            `json:"log_bytes"`
	SpilledBytes int64            `json:"spilled_bytes"`
	SealBytes    int64            `json:"seal_bytes"`
	Rates        Rates            `json:"rates"`
	// Shares of the last seconds, 0 to 1, that its partitions worked, waited for input, waited for credit.
	Busy    float64 `json:"busy"`
	Idle    float64 `json:"idle"`
	Blocked float64 `json:"blocked"`
}

// Partition is one instance of a range of a stage's key groups.
type Partition struct {
	Stage    topology.StageID `json:"stage"`
	Range    topology.Range   `json:"range"`
	Node     string           `json:"node"`
	Boot     string           `json:"boot"` // hexadecimal
	Instance uint64           `json:"instance"`
	Role     string           `json:"role"`
	Phase    string           `json:"phase"`
	Epoch    topology.Epoch   `json:"epoch"`         // the last it has finished
	Durable  topology.Epoch   `json:"durable_epoch"` // up to here its effects may leave the cluster
	// RestoreEpoch is the checkpoint it was told to start from, RestoredEpoch the one it did start from.
	RestoreEpoch  topology.Epoch `json:"restore_epoch"`
	RestoredEpoch topology.Epoch `json:"restored_epoch"`
	RestoreMs     int64          `json:"restore_ms"`
	ReplayMs      int64          `json:"replay_ms"`
	Ended         bool           `json:"ended"`
	Deaths        int            `json:"deaths,omitempty"` // processes that died one after the other in its first epochs
	RowsIn        int64          `json:"rows_in"`
	RowsOut       int64          `json:"rows_out"`
	StateBytes    int64          `json:"state_bytes"`
	LogBytes      int64          `json:"log_bytes"`
	SpilledBytes  int64          `json:"spilled_bytes"`
}

// Topology is where everything of a query is.
type Topology struct {
	Query         string          `json:"query"`
	Incarnation   uint64          `json:"incarnation"`
	Generation    uint32          `json:"generation"`
	Version       uint64          `json:"version"` // grows with each change
	CompleteEpoch topology.Epoch  `json:"complete_epoch"`
	TrimEpoch     topology.Epoch  `json:"trim_epoch"`
	Stages        []TopologyStage `json:"stages"`
	SealSets      []SealSet       `json:"seal_sets"` // ascending by log
}

// TopologyStage is the placement of one stage: active partitions ascending by range, then shadows, then retired ones.
type TopologyStage struct {
	Stage      topology.StageID `json:"stage"`
	Operators  []string         `json:"operators"`
	Source     bool             `json:"source"`
	KeyGroups  int              `json:"key_groups"`
	Partitions []Partition      `json:"partitions"`
	Vaults     []VaultBlocks    `json:"vaults"`
}

// VaultBlocks are blocks of a stage with the same vaults, ascending by the first block.
type VaultBlocks struct {
	Blocks  []topology.BlockID `json:"blocks"`
	Members []string           `json:"members"` // processes, "n1/2a"
	Wanted  int                `json:"wanted"`  // full copies there should be
	Full    int                `json:"full"`    // full copies there are, of the block with the fewest
}

// SealSet is where a source process's seals are kept.
type SealSet struct {
	Log     topology.SealLog `json:"log"`
	Owner   string           `json:"owner"` // process
	Term    topology.Term    `json:"term"`
	Version uint64           `json:"version"`
	Members []string         `json:"members"` // processes
	Fenced  bool             `json:"fenced"`  // its owner is gone; kept until successors have adopted it
}

// Plan is a compiled query.
type Plan struct {
	Query       string          `json:"query,omitempty"`
	Text        string          `json:"text"`           // for people
	Plan        json.RawMessage `json:"plan,omitempty"` // the compiled plan
	Fingerprint string          `json:"fingerprint,omitempty"`
}

// HistoryEntry is one line of what happened to a query.
type HistoryEntry struct {
	Seq     uint64            `json:"seq"` // counts from 1
	Time    time.Time         `json:"time"`
	Kind    string            `json:"kind"`
	Text    string            `json:"text"`
	Figures map[string]string `json:"figures,omitempty"`
}

// History is the answer of GET /v1/queries/{name}/history, ascending by Seq.
type History struct {
	Entries []HistoryEntry `json:"entries"`
}

// HistoryRequest chooses entries.
type HistoryRequest struct {
	After uint64 // entries with a greater Seq
	Limit int    // the last so many of these; 0: MaxHistory
}

// Checkpoint is one checkpoint of a query.
type Checkpoint struct {
	Epoch      topology.Epoch `json:"epoch"`
	Time       time.Time      `json:"time"` // of the epoch
	Complete   bool           `json:"complete"`
	Completed  time.Time      `json:"completed,omitzero"` // when the leader committed it
	DurationMs int64          `json:"duration_ms"`        // from the epoch's time to then
	Bytes      int64          `json:"bytes"`              // of its deltas, one copy
	// Missing says, of an open one, which partitions have not got it to their vaults yet.
	Missing []string `json:"missing,omitempty"`
}

// Checkpoints is the answer of GET /v1/queries/{name}/checkpoints: the latest and the open ones, ascending by epoch.
type Checkpoints struct {
	CompleteEpoch topology.Epoch `json:"complete_epoch"`
	TrimEpoch     topology.Epoch `json:"trim_epoch"`
	AgeMs         int64          `json:"age_ms"`
	Checkpoints   []Checkpoint   `json:"checkpoints"`
}

// AddQueryRequest is the body of POST /v1/queries.
type AddQueryRequest struct {
	Name string            `json:"name"`
	SQL  string            `json:"sql"`
	Set  map[string]string `json:"set,omitempty"` // as --set: a setting of SET, or TABLE.option
	// Wait ("", UntilRunning, UntilFinished) holds the answer back until then, at most WaitMs (0: 10 s); the answer says how far it is.
	Wait   string `json:"wait,omitempty"`
	WaitMs int64  `json:"wait_ms,omitempty"`
}

// ValidateRequest is the body of POST /v1/validate.
type ValidateRequest struct {
	SQL string            `json:"sql"`
	Set map[string]string `json:"set,omitempty"`
}

// Validation is the answer of POST /v1/validate. Error says what is wrong, and where, when the text is not Valid.
type Validation struct {
	Valid bool   `json:"valid"`
	Plan  *Plan  `json:"plan,omitempty"`
	Error *Error `json:"error,omitempty"`
}

// RecoverRequest is the body of POST /v1/queries/{name}/recover.
type RecoverRequest struct {
	// AcceptLoss must be true: the query goes on from its latest complete checkpoint without what cannot be had.
	AcceptLoss bool `json:"accept_loss"`
}

// Recovered is the answer of POST /v1/queries/{name}/recover.
type Recovered struct {
	Query   Query          `json:"query"`
	From    topology.Epoch `json:"from_epoch"` // the new generation goes on behind it
	Missing []string       `json:"missing"`    // what may be missing from the results
}

// VerifyLine is a line of the answer of POST /v1/queries/{name}/verify: progress now and then, the verification last. An answer that ends
// without one has an Error as its last line.
type VerifyLine struct {
	Progress     *VerifyProgress `json:"progress,omitempty"`
	Verification *Verification   `json:"verification,omitempty"`
}

// VerifyProgress is how far a verification is.
type VerifyProgress struct {
	Doing      string         `json:"doing"` // "reading checkpoints", "running"
	From       topology.Epoch `json:"from_epoch"`
	Epoch      topology.Epoch `json:"epoch"` // up to here it was run again
	To         topology.Epoch `json:"to_epoch"`
	Rows       int64          `json:"rows"`
	StateBytes int64          `json:"state_bytes"`
}

// Verification is what came of running again on one node what a query's sources have sealed.
type Verification struct {
	Query       string         `json:"query"`
	Equal       bool           `json:"equal"`
	Node        string         `json:"node"`       // where it was run
	From        topology.Epoch `json:"from_epoch"` // the first that was run again
	To          topology.Epoch `json:"to_epoch"`   // the last: the latest complete checkpoint
	Seals       int            `json:"seals"`
	SealBytes   int64          `json:"seal_bytes"` // in memory
	Rows        int64          `json:"rows"`       // read again from the sources
	Checkpoints int            `json:"checkpoints"`
	KeyGroups   int            `json:"key_groups"`
	Chains      int            `json:"chains"` // compared: (output or sink, key group, checkpoint)
	Files       int            `json:"files"`
	FileBytes   int64          `json:"file_bytes"`
	Tables      int            `json:"tables"`
	TableRows   int64          `json:"table_rows"`
	NotCompared []string       `json:"not_compared,omitempty"` // sinks of which nothing outside can be compared: of their rows the chains are
	ElapsedMs   int64          `json:"elapsed_ms"`
	Differences []Difference   `json:"differences,omitempty"` // the first is the cause, as far as can be told
}

// Kinds of a Difference.
const (
	DifferenceChain = "chain"
	DifferenceFile  = "file"
	DifferenceTable = "table"
)

// Difference is a place at which the run that was repeated gives something else.
type Difference struct {
	Kind  string         `json:"kind"`
	Text  string         `json:"text"`        // all of it, for people
	After topology.Epoch `json:"after_epoch"` // what differs belongs to epochs behind it
	Epoch topology.Epoch `json:"epoch"`       // and to this one or ones before: the checkpoint, or the end of the file
	// Of a chain.
	Stage     topology.StageID  `json:"stage,omitempty"`
	StageName string            `json:"stage_name,omitempty"`
	Operator  string            `json:"operator,omitempty"`
	KeyGroup  topology.KeyGroup `json:"key_group,omitempty"`
	// Of a file or table.
	Table  string `json:"table,omitempty"`
	File   string `json:"file,omitempty"`
	Offset int64  `json:"offset,omitempty"` // of the first byte
	Key    string `json:"key,omitempty"`    // primary key of the row, as JSON
}

// Column is a column of a table or sink.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // as in SQL: "BIGINT", "TIMESTAMP(3)"
}

// TableInfo is a materialized table.
type TableInfo struct {
	Query      string   `json:"query"`
	Name       string   `json:"name"`
	Columns    []Column `json:"columns"`
	PrimaryKey []string `json:"primary_key,omitempty"`
	// Epoch is the latest that can be read, OldestEpoch the earliest.
	Epoch       topology.Epoch `json:"epoch"`
	OldestEpoch topology.Epoch `json:"oldest_epoch"`
	Rows        int64          `json:"rows"`
	Bytes       int64          `json:"bytes"`
	Partitions  int            `json:"partitions"`
}

// TableList is the answer of GET /v1/tables, ascending by query and name.
type TableList struct {
	Tables []TableInfo `json:"tables"`
}

// Row is one row as a JSON object, its keys in the order of the columns. Numbers are exact: DECIMAL and BIGINT have all their digits.
type Row = json.RawMessage

// TableReadRequest reads a table by key or scans it. The epoch is a consistent cut of the whole table.
type TableReadRequest struct {
	Query, Table string
	// Key is a value for each column of the primary key, as text; empty: scan.
	Key []string
	// Where is an SQL condition over the table's columns, OrderBy a column. Both only for a scan.
	Where   string
	OrderBy string
	Desc    bool
	Limit   int // 0: DefaultTableRows
	// Epoch to read at; 0: the latest. MinEpoch waits until that one can be read: who passes the Epoch of an earlier answer never
	// sees an older state, whichever peer answers.
	Epoch, MinEpoch topology.Epoch
}

// TableRead is the answer of GET /v1/tables/{query}/{table}.
type TableRead struct {
	Query       string         `json:"query"`
	Table       string         `json:"table"`
	Incarnation uint64         `json:"incarnation"`
	Epoch       topology.Epoch `json:"epoch"`
	Time        time.Time      `json:"time"` // of the epoch
	Columns     []Column       `json:"columns"`
	Rows        []Row          `json:"rows"`
	Truncated   bool           `json:"truncated"` // Limit left rows out
}

// TailRequest follows what a sink of a query gets.
type TailRequest struct {
	Sink  string // "" when the query has one
	Limit int64  // ends after so many rows; 0: never
}

// Ops of a TailRow.
const (
	OpInsert       = "+I"
	OpUpdateBefore = "-U"
	OpUpdateAfter  = "+U"
	OpDelete       = "-D"
)

// TailRow is one line of GET /v1/queries/{name}/tail.
type TailRow struct {
	Sink     string            `json:"sink"`
	Op       string            `json:"op"`
	Epoch    topology.Epoch    `json:"epoch"`
	KeyGroup topology.KeyGroup `json:"key_group"` // that produced it
	Index    int64             `json:"index"`     // of the row among those of its epoch and key group
	Row      Row               `json:"row"`
	Dropped  int64             `json:"dropped,omitempty"` // rows left out before this one, for a reader that is too slow
}

// Node is a node of the cluster.
type Node struct {
	Name        string            `json:"name"`
	Boot        string            `json:"boot"` // hexadecimal; another one with each start
	Status      string            `json:"status"`
	Reason      string            `json:"reason,omitempty"` // why it is lost or gets no partitions
	Addresses   Addresses         `json:"addresses"`
	Zone        string            `json:"zone,omitempty"`
	Spot        bool              `json:"spot,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Operators   []string          `json:"operators,omitempty"` // registered in its binary beyond the built-in ones
	Cores       int               `json:"cores"`
	MemoryBytes int64             `json:"memory_bytes"`
	Version     string            `json:"version,omitempty"` // of its program, "" when it has not said
	Fingerprint string            `json:"fingerprint"`
	Voter       bool              `json:"voter"`
	Leader      bool              `json:"leader"`
	// Partitions are the active ones it runs, Shadows those it brings up.
	Partitions    int       `json:"partitions"`
	Shadows       int       `json:"shadows"`
	VaultBlocks   int       `json:"vault_blocks"` // blocks of state it keeps copies of
	VaultBytes    int64     `json:"vault_bytes"`
	VaultFull     string    `json:"vault_full,omitempty"` // why its vault takes nothing
	LogBytes      int64     `json:"log_bytes"`            // of output logs, in memory
	SpilledBytes  int64     `json:"spilled_bytes"`        // that they take on disk
	SpillFull     string    `json:"spill_full,omitempty"` // why they do not go to disk when memory is short
	Started       time.Time `json:"started,omitzero"`
	UptimeMs      int64     `json:"uptime_ms"`
	LastReportMs  int64     `json:"last_report_ms"` // since the leader last heard its report; -1: never
	ClockOffsetMs float64   `json:"clock_offset_ms"`
	BlamedUntil   time.Time `json:"blamed_until,omitzero"` // gets no partitions before
	// Drain is DrainRunning while the node gives everything away, DrainDone when it holds nothing any more; "" when it is not drained.
	Drain string `json:"drain,omitempty"`
	// Holds is, while it is drained or leaves, some of what it still holds.
	Holds []string `json:"holds,omitempty"`
	Rates Rates    `json:"rates"`
	Busy  float64  `json:"busy"` // share of its cores that partitions use, 0 to 1
}

// ScaleRequest says how many partitions some stages of a query are to have.
type ScaleRequest struct {
	Stages []ScaleStage `json:"stages"` // at least one
	// Min and Max bound those that are automatic; Max 0: no limit.
	Min int `json:"min,omitempty"`
	Max int `json:"max,omitempty"`
}

// ScaleStage is what is wanted of a stage.
type ScaleStage struct {
	Stage      string `json:"stage"`      // its number in the plan, its name, or a part of its name that no other stage has; "*": all
	Partitions int    `json:"partitions"` // 0: found automatically
}

// Scale is how many partitions the stages of a query have and are to have.
type Scale struct {
	Query  string       `json:"query"`
	Stages []StageScale `json:"stages"`
}

// StageScale is a stage's part of a Scale.
type StageScale struct {
	Stage      int    `json:"stage"`
	Name       string `json:"name"`
	KeyGroups  int    `json:"key_groups"` // the most partitions that it can have
	Partitions int    `json:"partitions"` // now: neighbours on one node are one
	Wanted     int    `json:"wanted"`     // 0: as many as there are
	Auto       bool   `json:"auto"`
	Min        int    `json:"min,omitempty"`
	Max        int    `json:"max,omitempty"`
	Changing   bool   `json:"changing"` // some of its key groups are on their way to other nodes
}

// Autoscale is what the cluster's automatic scaling is doing.
type Autoscale struct {
	Paused  bool    `json:"paused"` // it changes nothing; what people ask for is still done
	Queries []Scale `json:"queries"`
	// What the leader sees, wants and does.
	Policy      string           `json:"policy"` // of the leader: rate, threshold, off
	Leader      string           `json:"leader"`
	WantedNodes int              `json:"wanted_nodes"` // that should work; 0 when the leader has not looked yet
	Why         string           `json:"why"`          // so many
	Loads       []AutoscaleQuery `json:"loads"`
	Nodes       []AutoscaleNode  `json:"nodes"`
	Pool        *AutoscalePool   `json:"pool,omitempty"` // absent without a provider
}

// AutoscaleQuery is a query as the policy sees it.
type AutoscaleQuery struct {
	Name    string           `json:"name"`
	Stages  []AutoscaleStage `json:"stages"`
	Waiting string           `json:"waiting"`          // why nothing is decided just now
	Decided time.Time        `json:"decided,omitzero"` // when the last decision was made
	Text    string           `json:"text"`             // what it was and why
	Hot     []string         `json:"hot"`              // key groups that more nodes do not help
}

// AutoscaleStage is a stage as the policy sees it.
type AutoscaleStage struct {
	Stage            int     `json:"stage"`
	Name             string  `json:"name"`
	Partitions       int     `json:"partitions"`
	Fixed            int     `json:"fixed"` // that a person wants; 0: it is automatic
	Min              int     `json:"min"`
	Max              int     `json:"max"` // 0: none
	RowsInPerS       float64 `json:"rows_in_per_s"`
	DemandRowsPerS   float64 `json:"demand_rows_per_s"`    // to be taken, with what is to be made up for
	TrueRateRowsPerS float64 `json:"true_rate_rows_per_s"` // that one node's worth takes
	FixedUse         float64 `json:"fixed_use"`            // of a node, by a partition, whatever comes
	UsedNodes        float64 `json:"used_nodes"`
	NeededNodes      float64 `json:"needed_nodes"` // for the demand, used wholly
	HottestUse       float64 `json:"hottest_use"`  // of its node, by the heaviest partition if the demand came
	LagMs            int64   `json:"lag_ms"`
}

// AutoscaleNode is how busy a node is.
type AutoscaleNode struct {
	Name  string  `json:"name"`
	Use   float64 `json:"use"`   // of its processors, 0 to 1; -1 not known
	Cores float64 `json:"cores"` // that it may use
}

// AutoscalePool is the pool of nodes that a provider starts.
type AutoscalePool struct {
	Provider   string              `json:"provider"`
	Spares     int                 `json:"spares"`
	MaxNodes   int                 `json:"max_nodes"`
	Nodes      int                 `json:"nodes"`          // that take work, of whatever origin
	Needed     int                 `json:"needed"`         // that there should be, spares among them
	Starting   int                 `json:"starting"`       // that have not joined yet
	Returnable int                 `json:"returnable"`     // of nodes, those that the provider started
	Waiting    string              `json:"waiting"`        // what it waits for
	Error      string              `json:"error"`          // the last refusal that no success has followed
	ErrorKind  string              `json:"error_kind"`     // capacity, quota, throttled, denied, other
	Retry      time.Time           `json:"retry,omitzero"` // when it is tried again
	Problems   []string            `json:"problems"`
	Instances  []AutoscaleInstance `json:"instances"`
	Events     []AutoscaleEvent    `json:"events"` // the latest last
}

// AutoscaleInstance is a machine or process as its provider lists it.
type AutoscaleInstance struct {
	ID       string    `json:"id"`
	Token    string    `json:"token"`
	State    string    `json:"state"` // pending, running, stopping
	Node     string    `json:"node"`  // that runs on it; "" none has joined
	Launched time.Time `json:"launched"`
	Zone     string    `json:"zone"`
	Spot     bool      `json:"spot"`
	Address  string    `json:"address"`
}

// AutoscaleEvent is something that the pool did or met.
type AutoscaleEvent struct {
	Time time.Time `json:"time"`
	Text string    `json:"text"`
}

// Addresses are where a node is reached, host:port each.
type Addresses struct {
	Data   string `json:"data"`
	Gossip string `json:"gossip,omitempty"`
	HTTP   string `json:"http,omitempty"`
}

// NodeList is the answer of GET /v1/nodes, ascending by name.
type NodeList struct {
	Nodes []Node `json:"nodes"`
}

// Status is how the cluster is doing, as the answering node knows it.
type Status struct {
	Cluster         string         `json:"cluster"` // 16 hexadecimal digits, "" before there is one
	Node            string         `json:"node"`    // that answers
	Leader          string         `json:"leader"`  // "" when there is none
	Term            uint64         `json:"term"`
	Version         string         `json:"version"` // of the answering program
	Commit          string         `json:"commit,omitempty"`
	MetadataVersion uint64         `json:"metadata_version"`
	Time            time.Time      `json:"time"` // of the answering node
	NodesAlive      int            `json:"nodes_alive"`
	NodesLost       int            `json:"nodes_lost"`
	NodesLeaving    int            `json:"nodes_leaving"`
	Voters          int            `json:"voters"`
	Queries         map[string]int `json:"queries"` // by state
	BlocksBelowK    int            `json:"blocks_below_k"`
	Rates           Rates          `json:"rates"`
	Alerts          []Alert        `json:"alerts"`
}

// Alert is something a person should look at.
type Alert struct {
	Kind  string `json:"kind"` // one word per cause: "blocks_below_k", "vault_full", "spill_full", "query_waiting", ...
	Text  string `json:"text"`
	Hint  string `json:"hint,omitempty"`
	Query string `json:"query,omitempty"`
	Node  string `json:"node,omitempty"`
}

// RaftPeer is a member of the Raft group.
type RaftPeer struct {
	Node    string `json:"node"`
	Address string `json:"address"` // data address
	Voter   bool   `json:"voter"`
	Leader  bool   `json:"leader"`
	Status  string `json:"status"` // of the node, "" when it has no record
}

// RaftPeers is the answer of GET /v1/raft/peers, ascending by node.
type RaftPeers struct {
	Peers []RaftPeer `json:"peers"`
	// Of the answering node's part in the group.
	Node            string `json:"node"`
	State           string `json:"state"` // Leader, Follower, Candidate, Shutdown
	Term            uint64 `json:"term"`
	LastIndex       uint64 `json:"last_index"`
	CommitIndex     uint64 `json:"commit_index"`
	AppliedIndex    uint64 `json:"applied_index"`
	LeaderSilenceMs int64  `json:"leader_silence_ms"`
}

// TransferRequest is the body of POST /v1/raft/transfer.
type TransferRequest struct {
	To string `json:"to,omitempty"` // a voter; "": the one that is most up to date
}

// Transferred is the answer of POST /v1/raft/transfer.
type Transferred struct {
	Leader string `json:"leader"`
}

// Health is the answer of GET /healthz and /readyz.
type Health struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not
}

// UnixMs is the time of ms milliseconds since 1970 as the API writes it: UTC, and zero, which most keys leave out, outside of the years
// 1 to 9999, as watermarks before the first row and after the end are.
func UnixMs(ms int64) time.Time {
	const first, last = -62135596800000, 253402300799999
	if ms <= first || ms > last {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
