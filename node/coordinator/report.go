package coordinator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Limits on what a report may hold.
const (
	MaxReportBytes      = 16 << 20
	MaxReportPartitions = 1 << 16 // of all its queries
	MaxReportLines      = 1024    // of one partition; a dozen checkpoints are open at most in a cluster that has a leader
)

// Report is what a node tells the leader of itself: when something in it has changed (at most every 20 ms) and at least once a
// second. Only the latest of a process counts, so each one is whole.
type Report struct {
	Process topology.Process `json:"process"`
	// Seq grows with each report of the process, so that a late one is told from a new one.
	Seq uint64 `json:"seq"`
	// Applied is the version of the metadata that the process had applied and acts on.
	Applied    uint64        `json:"applied"`
	Queries    []QueryReport `json:"queries,omitempty"`    // of which something runs here; by ID, each once
	Complaints []Complaint   `json:"complaints,omitempty"` // of other processes, each with a kind once
	// ClockOffsetMs is what the cluster's time, which is handed on from leader to leader, is ahead of this node's clock.
	ClockOffsetMs int64 `json:"clock_offset_ms,omitempty"`
	// ClockUnknown says that nobody has told this node the cluster's time yet.
	ClockUnknown bool `json:"clock_unknown,omitempty"`
	// CPUNs is the processor time of the process so far, Cores how many processors it may use; 0: not known, or not its alone.
	CPUNs int64   `json:"cpu_ns,omitempty"`
	Cores float64 `json:"cores,omitempty"`
	// DiskFull says that the vault here takes nothing new, and why; "" that it does.
	DiskFull string `json:"disk_full,omitempty"`
	// LogBytes are what output logs keep in memory, SpilledBytes what they take on disk; SpillFull says why memory that is short is not
	// relieved by the disk, "" that it is.
	LogBytes     int64  `json:"log_bytes,omitempty"`
	SpilledBytes int64  `json:"spilled_bytes,omitempty"`
	SpillFull    string `json:"spill_full,omitempty"`
}

// ClockWrong is why the process gets no partitions of sources, as far as its clock goes; "" when it is right.
func (r *Report) ClockWrong() string { return r.clockWrong(DefaultTiming().ClockOff) }

func (r *Report) clockWrong(most int64) string {
	switch ahead := r.ClockOffsetMs; {
	case r.ClockUnknown:
		return "it has not heard the cluster's time yet"
	case ahead > most:
		return fmt.Sprintf("its clock is %v behind the cluster's time", time.Duration(ahead)*time.Millisecond)
	case ahead < -most:
		return fmt.Sprintf("its clock is %v ahead of the cluster's time", time.Duration(-ahead)*time.Millisecond)
	}
	return ""
}

// QueryReport is a query's part on one process.
type QueryReport struct {
	ID topology.QueryID `json:"id"`
	// Error is why the query failed here, for good.
	Error string `json:"error,omitempty"`
	// Blocked is what outside stops it here, a full disk for one.
	Blocked string `json:"blocked,omitempty"`
	// Waiting is what it waits for here: vaults of seals or deltas that cannot be reached.
	Waiting string `json:"waiting,omitempty"`
	// Lost is, while the query is WAITING, what of its partitions' state no vault has; nil when it is not known.
	Lost       *LostReport       `json:"lost,omitempty"`
	Partitions []PartitionReport `json:"partitions,omitempty"` // each Instance and Range once
}

// LostReport is what a process found out about the state that its active partitions need.
type LostReport struct {
	Version  uint64              `json:"version"`  // of the query's topology then
	Complete topology.Epoch      `json:"complete"` // the checkpoint that it is about
	Blocks   []topology.BlockRef `json:"blocks,omitempty"`
}

// Roles of an instance, as node/engine has them.
const (
	RoleActive  = "active"
	RoleShadow  = "shadow"
	RoleRetired = "retired"
)

// Phases of an instance.
const (
	PhaseRestoring  = "restoring"
	PhaseCatchingUp = "catching up"
	PhaseRunning    = "running"
	PhaseEnded      = "ended"
)

// PartitionReport is one instance of a partition.
type PartitionReport struct {
	Stage    topology.StageID `json:"stage"`
	Range    topology.Range   `json:"range"`
	Instance uint64           `json:"instance"`
	Role     string           `json:"role"`
	Phase    string           `json:"phase"`

	Epoch   topology.Epoch `json:"epoch"`   // the last that it has done
	Durable topology.Epoch `json:"durable"` // the last of which all seals are on disk at every vault
	// Lines are the checkpoints beyond the complete one that all vaults of all its blocks, in the sets of the metadata that this
	// process has applied, have fsynced and, of a sink, whose epochs are all committed outside; ascending.
	Lines []topology.Epoch `json:"lines,omitempty"`
	// LineBytes is what each of the lines takes at one vault.
	LineBytes []int64 `json:"line_bytes,omitempty"`
	// LineVersions are those of the metadata whose vaults have each of the lines, EndedVersion that of Ended.
	LineVersions []uint64 `json:"line_versions,omitempty"`
	EndedVersion uint64   `json:"ended_version,omitempty"`
	// Copied is the greatest version of the metadata known such that every member of the vault sets that it has for this range holds
	// the state at the complete checkpoint, or later ones of which one is complete by now, acknowledged by the member itself; 0 when
	// none is. For that a node that was added to a set is sent a base; also by a partition that has ended, or of which no checkpoint
	// is due.
	Copied uint64 `json:"copied,omitempty"`
	// Ended, when not 0, is the checkpoint that holds its final state, acknowledged and committed like a line; it counts for all
	// later ones.
	Ended topology.Epoch `json:"ended,omitempty"`

	Restored  topology.Epoch `json:"restored,omitempty"` // the checkpoint it really started from
	RestoreMs int64          `json:"restore_ms,omitempty"`
	ReplayMs  int64          `json:"replay_ms,omitempty"`
	// Beyond, when not 0, says that it had consumed epochs of a source that are behind this one, where the log ends that the
	// source's present owner adopted: those seals are gone, and what was made of them must go.
	Beyond topology.Epoch `json:"beyond,omitempty"`
	// Chains are for comparing shadows with what is active, at the latest few checkpoint epochs, ascending by range, then epoch.
	// Without a shadow there need be none.
	Chains []ChainSum `json:"chains,omitempty"`

	// RestoredBytes are what it was given of its state so far.
	RestoredBytes int64 `json:"restored_bytes,omitempty"`
	// Groups are the rows taken by each key group of Range since the instance began; nil in reports that leave them out to be short, when
	// those of the report before stand.
	Groups []int64 `json:"groups,omitempty"`
	// HotKey is the most frequent key of the busiest of them and HotShare its part of that one's rows; "" when none stands out.
	HotKey   string  `json:"hot_key,omitempty"`
	HotShare float64 `json:"hot_share,omitempty"`
	// Taken are the last changes of producers that it saw, or of itself, the latest last.
	Taken []Taken `json:"taken,omitempty"`

	StateBytes   int64 `json:"state_bytes,omitempty"`
	TableBytes   int64 `json:"table_bytes,omitempty"` // of what sinks keep, as of the last checkpoint
	SealBytes    int64 `json:"seal_bytes,omitempty"`  // of a source: seals kept for its checkpoints
	LogBytes     int64 `json:"log_bytes,omitempty"`   // in memory
	SpilledBytes int64 `json:"spilled_bytes,omitempty"`
	RowsIn       int64 `json:"rows_in,omitempty"`
	RowsOut      int64 `json:"rows_out,omitempty"`
	BytesSent    int64 `json:"bytes_sent,omitempty"` // of these, as encoded for other nodes
	Late         int64 `json:"late,omitempty"`
	Skipped      int64 `json:"skipped,omitempty"`
	BusyNs       int64 `json:"busy_ns,omitempty"`
	IdleNs       int64 `json:"idle_ns,omitempty"`
	BlockedNs    int64 `json:"blocked_ns,omitempty"`
	WatermarkMs  int64 `json:"watermark_ms,omitempty"`
	// Backlog are rows that are due and that a source has not read; nil where that is not known. CutRows are those of RowsIn that were
	// read until a limit ended it: there were more.
	Backlog *int64 `json:"backlog,omitempty"`
	CutRows int64  `json:"cut_rows,omitempty"`
}

// Taken is how a partition came from a former instance of a producer to its successor, or, when Instance is its own, how it took over.
type Taken struct {
	Stage    topology.StageID `json:"stage"` // of the instance
	Instance uint64           `json:"instance"`
	Epoch    topology.Epoch   `json:"epoch"` // the first one from the new instance
	// PauseMs is the time from the end of the last epoch before to the end of Epoch, less the epochs' own time where a clock gives them one.
	PauseMs int64 `json:"pause_ms"`
}

// ChainSum is the sum of the chains of a range's key groups after an epoch: see topology.SumChains. A shadow gives them for its range, an
// active partition for the part of each shadow's range that lies in its own: sums of parts that tile a range add up to its.
type ChainSum struct {
	Range topology.Range `json:"range"`
	Epoch topology.Epoch `json:"epoch"`
	Sum   uint64         `json:"sum"`
}

// Kinds of complaints.
const (
	// ComplaintEnded: its connection ended without goodbye, or it refuses connections. One reporter is enough.
	ComplaintEnded = "ended"
	// ComplaintSilent: keep-alives have been missing for 400 ms or more. Two reporters, or one for a second.
	ComplaintSilent = "silent"
	// ComplaintSerf: the membership protocol has it failed: slow, certain.
	ComplaintSerf = "serf"
)

// Complaint is that another process cannot be reached. It is repeated in every report until the process is reached again.
type Complaint struct {
	Process topology.Process `json:"process"`
	Kind    string           `json:"kind"`
	// SinceMs is how long it has been so, by the reporter's own clock.
	SinceMs int64 `json:"since_ms"`
}

// UnreadError is a report that cannot be read, of a process that can: it lives.
type UnreadError struct {
	Process topology.Process
	Err     error
}

func (e *UnreadError) Error() string { return e.Err.Error() }

func (e *UnreadError) Unwrap() error { return e.Err }

// DecodeReport reads a report from JSON and validates it. Fields that it does not know are skipped: a newer node may send them.
// The error is an *UnreadError when it is known whose report it is.
func DecodeReport(r io.Reader) (*Report, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxReportBytes+1))
	if err != nil {
		err = fmt.Errorf("read report: %w", err)
	} else {
		var report *Report
		if report, err = decodeReport(data); err == nil {
			return report, nil
		}
	}
	if p, ok := reporterOf(data); ok {
		err = &UnreadError{p, err}
	}
	return nil, err
}

// reporterOf is whose report begins with data, however it goes on: the process comes first.
func reporterOf(data []byte) (p topology.Process, ok bool) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return p, false
	}
	if t, err := dec.Token(); err != nil || t != "process" {
		return p, false
	}
	return p, dec.Decode(&p) == nil && validProcess(p) == nil
}

func decodeReport(data []byte) (*Report, error) {
	if len(data) > MaxReportBytes {
		return nil, fmt.Errorf("report has more than %d bytes", MaxReportBytes)
	}
	out := new(Report)
	dec := json.NewDecoder(bytes.NewReader(data))
	if err := dec.Decode(out); err != nil {
		return nil, fmt.Errorf("report is not valid: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("report is not valid: bytes after it")
	}
	if err := out.Validate(); err != nil {
		return nil, err
	}
	return out, nil
}

// Validate says what of a report is over a limit or makes no sense.
func (r *Report) Validate() error {
	if err := validProcess(r.Process); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	if len(r.Queries) > raftfsm.MaxQueries || len(r.Complaints) > 4*raftfsm.MaxNodes {
		return fmt.Errorf("report of %s has %d queries and %d complaints, more than %d or %d", r.Process.Node,
			len(r.Queries), len(r.Complaints), raftfsm.MaxQueries, 4*raftfsm.MaxNodes)
	}
	if n := max(len(r.DiskFull), len(r.SpillFull)); n > raftfsm.MaxTextBytes {
		return fmt.Errorf("report of %s: disk_full or spill_full has %d bytes, more than %d", r.Process.Node, n, raftfsm.MaxTextBytes)
	}
	for _, c := range r.Complaints {
		if err := c.validate(); err != nil {
			return fmt.Errorf("report of %s: complaint: %w", r.Process.Node, err)
		}
	}
	partitions := 0
	for i := range r.Queries {
		q := &r.Queries[i]
		if partitions += len(q.Partitions); partitions > MaxReportPartitions {
			return fmt.Errorf("report of %s has more than %d partitions", r.Process.Node, MaxReportPartitions)
		}
		if i > 0 && !earlierID(r.Queries[i-1].ID, q.ID) {
			return fmt.Errorf("report of %s: queries are not ascending by id", r.Process.Node)
		}
		if err := q.validate(); err != nil {
			return fmt.Errorf("report of %s: query %d/%d: %w", r.Process.Node, q.ID.Incarnation, q.ID.Generation, err)
		}
	}
	return nil
}

func earlierID(a, b topology.QueryID) bool {
	return a.Incarnation < b.Incarnation || a.Incarnation == b.Incarnation && a.Generation < b.Generation
}

func validProcess(p topology.Process) error {
	if p.Node == "" || len(p.Node) > raftfsm.MaxNameBytes || p.Boot == 0 {
		return fmt.Errorf("%.40q with boot id %x is no process", p.Node, uint64(p.Boot))
	}
	return nil
}

func (c *Complaint) validate() error {
	if err := validProcess(c.Process); err != nil {
		return err
	}
	if c.Kind != ComplaintEnded && c.Kind != ComplaintSilent && c.Kind != ComplaintSerf {
		return fmt.Errorf("kind %.40q is not known", c.Kind)
	}
	if c.SinceMs < 0 {
		return fmt.Errorf("since_ms %d is negative", c.SinceMs)
	}
	return nil
}

func (q *QueryReport) validate() error {
	for _, text := range []string{q.Error, q.Blocked, q.Waiting} {
		if len(text) > raftfsm.MaxTextBytes {
			return fmt.Errorf("error, blocked or waiting has %d bytes, more than %d", len(text), raftfsm.MaxTextBytes)
		}
	}
	if q.Lost != nil && (len(q.Lost.Blocks) > MaxReportPartitions || q.Lost.Complete < 0) {
		return fmt.Errorf("%d blocks are lost at epoch %d", len(q.Lost.Blocks), q.Lost.Complete)
	}
	for i := range q.Partitions {
		if err := q.Partitions[i].validate(); err != nil {
			return fmt.Errorf("partition %v of stage %d: %w", q.Partitions[i].Range, q.Partitions[i].Stage, err)
		}
	}
	return nil
}

func (p *PartitionReport) validate() error {
	switch {
	case p.Stage >= raftfsm.MaxStages:
		return fmt.Errorf("a stage is below %d", raftfsm.MaxStages)
	case p.Range.Len() <= 0 || p.Range.To > topology.MaxKeyGroups:
		return fmt.Errorf("the range is empty or beyond %d key groups", topology.MaxKeyGroups)
	case p.Role != RoleActive && p.Role != RoleShadow && p.Role != RoleRetired:
		return fmt.Errorf("role %.40q is not known", p.Role)
	case p.Phase != PhaseRestoring && p.Phase != PhaseCatchingUp && p.Phase != PhaseRunning && p.Phase != PhaseEnded:
		return fmt.Errorf("phase %.40q is not known", p.Phase)
	case p.Epoch < 0 || p.Durable < 0 || p.Ended < 0 || p.Restored < 0 || p.Beyond < 0:
		return errors.New("an epoch is negative")
	case len(p.Groups) != 0 && len(p.Groups) != p.Range.Len():
		return fmt.Errorf("rows of %d key groups, it has %d", len(p.Groups), p.Range.Len())
	case len(p.HotKey) > raftfsm.MaxNameBytes:
		return fmt.Errorf("its hottest key has %d bytes, more than %d", len(p.HotKey), raftfsm.MaxNameBytes)
	case len(p.Taken) > MaxReportLines:
		return fmt.Errorf("%d changes of producers are more than %d", len(p.Taken), MaxReportLines)
	case len(p.Lines) > MaxReportLines || len(p.Chains) > MaxReportLines:
		return fmt.Errorf("%d lines and %d chains; at most %d", len(p.Lines), len(p.Chains), MaxReportLines)
	}
	if len(p.LineBytes) > len(p.Lines) || len(p.LineVersions) > len(p.Lines) {
		return fmt.Errorf("sizes of %d lines and versions of %d, and there are %d", len(p.LineBytes), len(p.LineVersions), len(p.Lines))
	}
	for i, l := range p.Lines {
		if l <= 0 || l == topology.EpochForever || i > 0 && l <= p.Lines[i-1] {
			return errors.New("its lines do not ascend from 1")
		}
	}
	for _, c := range p.Chains {
		if c.Range.Len() <= 0 || c.Range.To > topology.MaxKeyGroups || c.Epoch < 0 {
			return errors.New("a chain's range or epoch makes no sense")
		}
	}
	return nil
}
