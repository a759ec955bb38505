package autoscale

import (
	"slices"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Sample is what a query did lately. There is one a second.
type Sample struct {
	AtMs int64
	// Pending says that a change of the layout is under way.
	Pending bool
	// Merging says that neighbouring partitions on a node are being made one, which uses the node for what are no rows of it.
	Merging bool
	// Slots is how many partitions of one stage the nodes of the cluster can run side by side; 0: not known, no bound.
	Slots  int
	Stages []StageLoad
}

// StageLoad is a stage's part of a sample. Rates are rows per second.
type StageLoad struct {
	Partitions []PartitionLoad // ascending by range
	// LagS is how far its slowest partition is behind the clock, LagGrowth how many seconds it falls behind in each.
	LagS, LagGrowth float64
	// Backlog are rows that are due and that the source has not read, BacklogGrowth how fast they become more; Backlog -1: not known.
	Backlog, BacklogGrowth float64
	// Endless says that the source always had more to give than it was let: what would come is not known.
	Endless bool
	// Groups are the rows of each key group lately, for their proportions alone; nil: not known.
	Groups []float64
	// HotKey is the most frequent key of the busiest key group, HotShare its share of the group's rows; "" not known.
	HotKey   string
	HotShare float64
}

// PartitionLoad is an active partition. Shares are of time, from 0 to 1.
type PartitionLoad struct {
	Range   topology.Range
	Node    topology.NodeID
	Busy    float64 // worked
	Idle    float64 // waited for input
	Blocked float64 // waited for credit of its consumers
	// Use is how much it used of what its node has for partitions: the share of time that it worked or, where that is more, its part of
	// the processors' time. What the agent of a node takes that runs nothing is left out of both.
	Use float64
	// NodeUse is how much all of its node used, -1 not known; Part its part of the time that partitions worked there.
	NodeUse, Part float64
	RowsIn        float64
	RowsOut       float64
}

func (s *StageLoad) rowsIn() (n float64) {
	for i := range s.Partitions {
		n += s.Partitions[i].RowsIn
	}
	return n
}

func (s *StageLoad) rowsOut() (n float64) {
	for i := range s.Partitions {
		n += s.Partitions[i].RowsOut
	}
	return n
}

// saturated says that some partition of the stage can do no more, or waits for others.
func (s *StageLoad) saturated() bool {
	for i := range s.Partitions {
		if p := &s.Partitions[i]; p.Use > saturatedUse || p.Blocked > saturatedBlocked {
			return true
		}
	}
	return false
}

// blocked says that some partition waits for its consumers.
func (s *StageLoad) blocked() bool {
	return slices.ContainsFunc(s.Partitions, func(p PartitionLoad) bool { return p.Blocked > saturatedBlocked })
}

// falling says that a source falls behind what is due, or has more than a second's rows waiting.
func (s *StageLoad) falling() bool {
	const growth, waits = 0.02, 1.0
	rows := s.rowsIn()
	if s.Backlog >= 0 {
		return s.Backlog > 0 && (s.BacklogGrowth > growth*rows || s.Backlog > waits*rows)
	}
	return rows > 0 && s.LagGrowth > growth && s.LagS > waits
}

const (
	saturatedUse     = 0.9
	saturatedBlocked = 0.1
)
