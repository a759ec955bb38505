package metrics

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source gives a node's figures, at any time, from any goroutine, quickly.
type Source interface {
	Snapshot() Snapshot
}

// Snapshot are a node's figures at one time. Counters never fall while the process lives; a query that restarts on this node may start
// them anew.
type Snapshot struct {
	Version, Fingerprint string
	Stages               []Stage // of what this node runs; one per query and stage
	Queries              []Query // all of the cluster
	Vault                Vault
	Raft                 Raft
	// Nodes by status, as this node's metadata has it.
	Nodes map[string]int
	// QueriesByState, as this node's metadata has it.
	QueriesByState map[string]int
	LogBytes       int64         // memory that output logs take
	SpilledBytes   int64         // what they take on disk
	SpillFull      bool          // and cannot take more of, though memory is short
	ClockOffset    time.Duration // this node's clock minus the cluster's time
	ControlErrors  int64         // control messages to peers that failed
	ReportsSent    int64
	LinkBytesIn    int64 // dataplane, all peers
	LinkBytesOut   int64
}

// Stage are figures of the active partitions of one stage that this node runs.
type Stage struct {
	Query, Stage      string // name, number
	RowsIn, RowsOut   int64
	Bytes             int64 // encoded for other nodes
	Late, Skipped     int64
	Busy, Idle, Block time.Duration // sums over its partitions
	Epoch             int64         // the lowest
	EpochLag          time.Duration // now minus that epoch's time
	// WatermarkLag is now minus the lowest watermark; HasWatermark false: before the first, or ended.
	WatermarkLag time.Duration
	HasWatermark bool
	Partitions   int
	StateBytes   int64
	LogBytes     int64 // in memory
	SpilledBytes int64
}

// Query are figures of a query that every node knows, or, with Leader, only the leader.
type Query struct {
	Query         string
	CompleteEpoch int64
	// CheckpointAge is now minus the time of the latest complete checkpoint.
	CheckpointAge time.Duration
	// BlocksBelowK and CheckpointBytes, of all deltas of the latest complete checkpoint, are the leader's; Leader false: not known here.
	Leader          bool
	BlocksBelowK    int
	CheckpointBytes int64
}

// Vault are figures of this node's vault.
type Vault struct {
	LiveBytes, DiskBytes int64
	Segments             int
	Commits, CommitBytes int64
	Compactions          int64
	Pending              int
	Full, Failed         bool
}

// Raft are figures of this node's part in the Raft group.
type Raft struct {
	State             string // Leader, Follower, Candidate, Shutdown
	Term              uint64
	LastIndex, Commit uint64
	Applied           uint64
	LeaderKnown       bool
	LeaderSilence     time.Duration
	MetadataVersion   uint64
	Voters, Members   int
}

// Phase is a part of a recovery.
type Phase string

// Phases, in their order.
const (
	Detect  Phase = "detect"  // from the loss to the leader's knowing
	Commit  Phase = "commit"  // to the reassignment in the Raft log
	Restore Phase = "restore" // to the state being there
	Replay  Phase = "replay"  // to having caught up
)

// Phases lists them.
func Phases() []Phase { return []Phase{Detect, Commit, Restore, Replay} }

// raftStates are the states of Raft that are shown, 1 for the present one.
var raftStates = []string{"Candidate", "Follower", "Leader", "Shutdown"}

// definition is one metric that is read from a Snapshot.
type definition struct {
	name, help string
	labels     []string
	kind       prometheus.ValueType
	read       func(s *Snapshot, emit func(value float64, labels ...string))
}

// described is a definition with its descriptor.
type described struct {
	definition
	desc *prometheus.Desc
}

// Metrics are a node's metrics. It is a prometheus.Collector: register it once.
type Metrics struct {
	source     Source
	all        []described
	recovery   *prometheus.HistogramVec
	checkpoint prometheus.Histogram
}

const (
	recoveryName   = "seepnode_recovery_seconds"
	recoveryHelp   = "Time that each phase of the recovery of a lost node took, the slowest partition counting; on the leader."
	checkpointName = "seepnode_checkpoint_seconds"
	checkpointHelp = "Time from a checkpoint's epoch to its being complete, on the leader."
)

// New makes a node's metrics.
func New(source Source) *Metrics {
	m := &Metrics{source: source}
	for _, d := range definitions {
		m.all = append(m.all, described{d, prometheus.NewDesc(d.name, d.help, d.labels, nil)})
	}
	m.recovery = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: recoveryName, Help: recoveryHelp,
		Buckets: []float64{.005, .01, .02, .05, .1, .15, .2, .3, .4, .5, .75, 1, 1.5, 2, 3, 5, 10, 30},
	}, []string{"phase"})
	for _, p := range Phases() {
		m.recovery.WithLabelValues(string(p)) // shown from the start
	}
	m.checkpoint = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: checkpointName, Help: checkpointHelp,
		Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 120},
	})
	return m
}

// ObserveRecovery tells how long a phase of a recovery took.
func (m *Metrics) ObserveRecovery(p Phase, d time.Duration) {
	switch p {
	case Detect, Commit, Restore, Replay:
		m.recovery.WithLabelValues(string(p)).Observe(max(0, d.Seconds()))
	}
}

// ObserveCheckpoint tells how long after its epoch a checkpoint was complete.
func (m *Metrics) ObserveCheckpoint(d time.Duration) { m.checkpoint.Observe(max(0, d.Seconds())) }

// Describe is prometheus.Collector's.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range m.all {
		ch <- d.desc
	}
	m.recovery.Describe(ch)
	m.checkpoint.Describe(ch)
}

// Collect is prometheus.Collector's: it takes one Snapshot.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.source.Snapshot()
	for _, d := range m.all {
		d.read(&s, func(value float64, labels ...string) {
			for i, l := range labels {
				labels[i] = strings.ToValidUTF8(l, "\uFFFD")
			}
			metric, err := prometheus.NewConstMetric(d.desc, d.kind, value, labels...)
			if err != nil {
				metric = prometheus.NewInvalidMetric(d.desc, err)
			}
			ch <- metric
		})
	}
	m.recovery.Collect(ch)
	m.checkpoint.Collect(ch)
}

// Table is the metrics as a Markdown table, for the README.
func Table() string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | what |\n| --- | --- | --- | --- |\n")
	line := func(name, kind string, labels []string, help string) {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, kind, strings.Join(labels, ", "), help)
	}
	line(recoveryName, "histogram", []string{"phase"}, recoveryHelp)
	line(checkpointName, "histogram", nil, checkpointHelp)
	for _, d := range definitions {
		kind := "gauge"
		if d.kind == prometheus.CounterValue {
			kind = "counter"
		}
		line(d.name, kind, d.labels, d.help)
	}
	return b.String()
}
