package metrics

import (
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

var (
	perStage = []string{"query", "stage"}
	perQuery = []string{"query"}
)

type emitFunc = func(value float64, labels ...string)

// ofStages reads a figure of each stage.
func ofStages(read func(*Stage) float64) func(*Snapshot, emitFunc) {
	return func(s *Snapshot, emit emitFunc) {
		for i := range s.Stages {
			st := &s.Stages[i]
			emit(read(st), st.Query, st.Stage)
		}
	}
}

// ofQueries reads a figure of each query; leader: only where this node leads.
func ofQueries(leader bool, read func(*Query) float64) func(*Snapshot, emitFunc) {
	return func(s *Snapshot, emit emitFunc) {
		for i := range s.Queries {
			if q := &s.Queries[i]; q.Leader || !leader {
				emit(read(q), q.Query)
			}
		}
	}
}

// ofNode reads a figure of the node.
func ofNode(read func(*Snapshot) float64) func(*Snapshot, emitFunc) {
	return func(s *Snapshot, emit emitFunc) { emit(read(s)) }
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func ofCounts(counts func(*Snapshot) map[string]int) func(*Snapshot, emitFunc) {
	return func(s *Snapshot, emit emitFunc) {
		m := counts(s)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			emit(float64(m[k]), k)
		}
	}
}

// definitions are all metrics that are read from a Snapshot, in the order of Table.
var definitions = []definition{
	{"seepnode_rows_in_total", "Rows that partitions on this node took in.", perStage, counter,
		ofStages(func(s *Stage) float64 { return float64(s.RowsIn) })},
	{"seepnode_rows_out_total", "Rows that partitions on this node emitted.", perStage, counter,
		ofStages(func(s *Stage) float64 { return float64(s.RowsOut) })},
	{"seepnode_bytes_total", "Bytes that partitions on this node emitted, as encoded for other nodes.", perStage, counter,
		ofStages(func(s *Stage) float64 { return float64(s.Bytes) })},
	{"seepnode_rows_late_total", "Rows dropped because they came behind the watermark.", perStage, counter,
		ofStages(func(s *Stage) float64 { return float64(s.Late) })},
	{"seepnode_rows_skipped_total", "Input rows skipped because they could not be read (ignore-parse-errors).", perStage, counter,
		ofStages(func(s *Stage) float64 { return float64(s.Skipped) })},
	{"seepnode_busy_seconds_total", "Time that partitions on this node worked.", perStage, counter,
		ofStages(func(s *Stage) float64 { return s.Busy.Seconds() })},
	{"seepnode_idle_seconds_total", "Time that partitions on this node waited for input.", perStage, counter,
		ofStages(func(s *Stage) float64 { return s.Idle.Seconds() })},
	{"seepnode_blocked_seconds_total", "Time that partitions on this node waited for credit of their consumers.", perStage, counter,
		ofStages(func(s *Stage) float64 { return s.Block.Seconds() })},
	{"seepnode_epoch", "Epoch that all active partitions on this node have finished.", perStage, gauge,
		ofStages(func(s *Stage) float64 { return float64(s.Epoch) })},
	{"seepnode_epoch_lag_seconds", "Now minus the time of that epoch.", perStage, gauge,
		ofStages(func(s *Stage) float64 { return s.EpochLag.Seconds() })},
	{"seepnode_watermark_lag_seconds", "Now minus the lowest watermark; absent without one.", perStage, gauge,
		func(s *Snapshot, emit emitFunc) {
			for i := range s.Stages {
				if st := &s.Stages[i]; st.HasWatermark {
					emit(st.WatermarkLag.Seconds(), st.Query, st.Stage)
				}
			}
		}},
	{"seepnode_partitions", "Active partitions on this node.", perStage, gauge,
		ofStages(func(s *Stage) float64 { return float64(s.Partitions) })},
	{"seepnode_state_bytes", "Keyed state of the active partitions on this node.", perStage, gauge,
		ofStages(func(s *Stage) float64 { return float64(s.StateBytes) })},
	{"seepnode_stage_log_bytes", "Output logs of the partitions on this node, in memory.", perStage, gauge,
		ofStages(func(s *Stage) float64 { return float64(s.LogBytes) })},
	{"seepnode_stage_spilled_bytes", "Output logs of the partitions on this node, on disk.", perStage, gauge,
		ofStages(func(s *Stage) float64 { return float64(s.SpilledBytes) })},

	{"seepnode_complete_epoch", "Latest complete checkpoint.", perQuery, gauge,
		ofQueries(false, func(q *Query) float64 { return float64(q.CompleteEpoch) })},
	{"seepnode_checkpoint_age_seconds", "Now minus the time of the latest complete checkpoint.", perQuery, gauge,
		ofQueries(false, func(q *Query) float64 { return q.CheckpointAge.Seconds() })},
	{"seepnode_checkpoint_bytes", "Bytes of the latest complete checkpoint, one copy; on the leader.", perQuery, gauge,
		ofQueries(true, func(q *Query) float64 { return float64(q.CheckpointBytes) })},
	{"seepnode_blocks_below_k", "Blocks of state with fewer full copies than there should be; on the leader.", perQuery, gauge,
		ofQueries(true, func(q *Query) float64 { return float64(q.BlocksBelowK) })},

	{"seepnode_log_bytes", "Memory that output logs take.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.LogBytes) })},
	{"seepnode_spilled_bytes", "What output logs take on disk.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.SpilledBytes) })},
	{"seepnode_spill_full", "1 while output logs do not go to disk though memory is short.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return oneIf(s.SpillFull) })},
	{"seepnode_link_received_bytes_total", "Bytes received from other nodes on the dataplane.", nil, counter,
		ofNode(func(s *Snapshot) float64 { return float64(s.LinkBytesIn) })},
	{"seepnode_link_sent_bytes_total", "Bytes sent to other nodes on the dataplane.", nil, counter,
		ofNode(func(s *Snapshot) float64 { return float64(s.LinkBytesOut) })},
	{"seepnode_clock_offset_seconds", "This node's clock minus the cluster's time.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return s.ClockOffset.Seconds() })},
	{"seepnode_reports_total", "Reports sent to the leader.", nil, counter,
		ofNode(func(s *Snapshot) float64 { return float64(s.ReportsSent) })},
	{"seepnode_control_errors_total", "Control messages to other nodes that failed.", nil, counter,
		ofNode(func(s *Snapshot) float64 { return float64(s.ControlErrors) })},

	{"seepnode_vault_live_bytes", "Bytes in this node's vault that are needed.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Vault.LiveBytes) })},
	{"seepnode_vault_disk_bytes", "Bytes that this node's vault takes on disk.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Vault.DiskBytes) })},
	{"seepnode_vault_segments", "Segments of this node's vault.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Vault.Segments) })},
	{"seepnode_vault_commits_total", "Fsyncs of this node's vault.", nil, counter,
		ofNode(func(s *Snapshot) float64 { return float64(s.Vault.Commits) })},
	{"seepnode_vault_commit_bytes_total", "Bytes written by these.", nil, counter,
		ofNode(func(s *Snapshot) float64 { return float64(s.Vault.CommitBytes) })},
	{"seepnode_vault_compactions_total", "Compactions of this node's vault.", nil, counter,
		ofNode(func(s *Snapshot) float64 { return float64(s.Vault.Compactions) })},
	{"seepnode_vault_pending", "Operations that wait for their fsync.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Vault.Pending) })},
	{"seepnode_vault_full", "1 while the vault has no room and takes nothing.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return oneIf(s.Vault.Full) })},
	{"seepnode_vault_failed", "1 when the vault could not write for another reason.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return oneIf(s.Vault.Failed) })},

	{"seepnode_raft_state", "1 for this node's state in the Raft group, 0 for the others.", []string{"state"}, gauge,
		func(s *Snapshot, emit emitFunc) {
			for _, state := range raftStates {
				emit(oneIf(s.Raft.State == state), state)
			}
		}},
	{"seepnode_raft_term", "Raft's term.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Raft.Term) })},
	{"seepnode_raft_last_index", "Last entry in this node's Raft log.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Raft.LastIndex) })},
	{"seepnode_raft_commit_index", "Last entry that this node knows to be committed.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Raft.Commit) })},
	{"seepnode_raft_applied_index", "Last entry that this node has applied.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Raft.Applied) })},
	{"seepnode_raft_leader_known", "1 when this node knows a leader.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return oneIf(s.Raft.LeaderKnown) })},
	{"seepnode_raft_leader_silence_seconds", "Time since a leader was last heard.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return s.Raft.LeaderSilence.Seconds() })},
	{"seepnode_raft_voters", "Voters of the Raft group.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Raft.Voters) })},
	{"seepnode_raft_members", "Members of the Raft group.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Raft.Members) })},
	{"seepnode_metadata_version", "Version of this node's copy of the metadata.", nil, gauge,
		ofNode(func(s *Snapshot) float64 { return float64(s.Raft.MetadataVersion) })},

	{"seepnode_nodes", "Nodes of the cluster.", []string{"status"}, gauge,
		ofCounts(func(s *Snapshot) map[string]int { return s.Nodes })},
	{"seepnode_queries", "Queries of the cluster.", []string{"state"}, gauge,
		ofCounts(func(s *Snapshot) map[string]int { return s.QueriesByState })},
	{"seepnode_info", "1, with the program's version and fingerprint.", []string{"version", "fingerprint"}, gauge,
		func(s *Snapshot, emit emitFunc) { emit(1, s.Version, s.Fingerprint) }},
}
