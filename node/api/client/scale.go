package client

import "time"

// ScaleRequest says how many partitions some stages of a query are to have.
type ScaleRequest struct {
	Stages []ScaleStage `json:"stages"` // none: those that are automatic stay so and get the limits; one that is 0 is as before
	// Min and Max bound those of Stages that are automatic; Max 0: no limit.
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
	State    string    `json:"state"` // pending, running, stopping (it ends), stopped (by somebody: its disk is there)
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
