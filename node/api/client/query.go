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
	// Busy, Idle and Blocked are the shares of the last seconds in which it worked, waited for input and waited for room in its output logs.
	Busy         float64 `json:"busy"`
	Idle         float64 `json:"idle"`
	Blocked      float64 `json:"blocked"`
	StateBytes   int64   `json:"state_bytes"`
	LogBytes     int64   `json:"log_bytes"`
	SpilledBytes int64   `json:"spilled_bytes"`
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

// UnixMs is the time of ms milliseconds since 1970 as the API writes it: UTC, and zero, which most keys leave out, outside of the years
// 1 to 9999, as watermarks before the first row and after the end are.
func UnixMs(ms int64) time.Time {
	const first, last = -62135596800000, 253402300799999
	if ms <= first || ms > last {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
