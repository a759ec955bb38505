package topology

import (
	"fmt"
	"math"
)

// Epoch is the number of a slice of time of a query. Epoch 0 is complete by definition, with empty state; the first rows
// are in epoch 1.
type Epoch int64

// EpochForever is the end of the range that follows END: nothing comes any more.
const EpochForever Epoch = math.MaxInt64

// Watermarks in milliseconds.
const (
	// WatermarkNone is the watermark before any was seen.
	WatermarkNone int64 = math.MinInt64
	// WatermarkEnd is the watermark of an ended stream.
	WatermarkEnd int64 = math.MaxInt64
)

// StageID numbers the stages of a plan, upstream before downstream.
type StageID uint16

// KeyGroup numbers the key groups of a stage from 0.
type KeyGroup uint16

// MaxKeyGroups is the most key groups a stage may have.
const MaxKeyGroups = 1 << 15

// Range is the half-open range [From, To) of key groups.
type Range struct {
	From KeyGroup `json:"from"`
	To   KeyGroup `json:"to"`
}

// Len is the number of key groups in r.
func (r Range) Len() int { return int(r.To) - int(r.From) }

// Contains says whether g is in r.
func (r Range) Contains(g KeyGroup) bool { return g >= r.From && g < r.To }

// Overlaps says whether r and s share a key group.
func (r Range) Overlaps(s Range) bool { return r.From < s.To && s.From < r.To }

// String is "[from,to)".
func (r Range) String() string { return fmt.Sprintf("[%d,%d)", r.From, r.To) }

// Split cuts the key groups [0, groups) into n contiguous ranges whose lengths differ by at most one; n is cut to groups.
func Split(groups, n int) []Range {
	n = max(1, min(n, groups))
	out := make([]Range, n)
	for i := range out {
		out[i] = Range{KeyGroup(i * groups / n), KeyGroup((i + 1) * groups / n)}
	}
	return out
}

// GroupOf is the key group of a routing hash among groups.
func GroupOf(hash uint64, groups int) KeyGroup { return KeyGroup(hash % uint64(groups)) }

// NodeID is a node's stable name.
type NodeID string

// BootID tells one process of a node from the next.
type BootID uint64

// QueryID names one life of a query everywhere, on the wire and on disk: two queries of the same name never share an
// Incarnation, and a change of the engine's semantics starts the next Generation from the same state.
type QueryID struct {
	Incarnation uint64 `json:"incarnation"`
	Generation  uint32 `json:"generation"`
}

// Partition is a contiguous range of a stage's key groups on one node.
type Partition struct {
	Stage StageID `json:"stage"`
	Range Range   `json:"range"`
	Node  NodeID  `json:"node"`
	Boot  BootID  `json:"boot,omitempty"` // the process of Node that runs it; another one has lost it
}

// String is "stage 2 [0,128) on n1".
func (p Partition) String() string { return fmt.Sprintf("stage %d %v on %s", p.Stage, p.Range, p.Node) }

// Topology is the placement of a query: for every stage its active partitions, ascending, covering each key group once.
type Topology struct {
	Partitions [][]Partition `json:"partitions"` // by stage
}

// Validate says which stage does not cover its key groups [0, groups[stage]) exactly once.
func (t *Topology) Validate(groups []int) error {
	if len(t.Partitions) != len(groups) {
		return fmt.Errorf("topology has %d stages, plan has %d", len(t.Partitions), len(groups))
	}
	for s, parts := range t.Partitions {
		next := KeyGroup(0)
		for _, p := range parts {
			if p.Range.From != next || p.Range.To <= p.Range.From {
				return fmt.Errorf("stage %d: partition %v does not start at key group %d", s, p.Range, next)
			}
			next = p.Range.To
		}
		if int(next) != groups[s] {
			return fmt.Errorf("stage %d: partitions end at key group %d of %d", s, next, groups[s])
		}
	}
	return nil
}
