package client

import "time"

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
