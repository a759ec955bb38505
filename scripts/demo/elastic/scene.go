package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/scripts/bench/sample"
	"github.com/seepnode/seepnode/scripts/fleet"
)

// scene is what the screen shows.
type scene struct {
	at    time.Duration // since the query's start
	phase string
	// A value for each second that is over.
	offered, processed, p99, used []float64

	nodes                            []nodeLine // workers, by name
	stages                           int
	nodesFirst, nodesMost, nodesNow  int
	partitions, running, lag, epochs int
	events                           []event
}

// nodeLine is a worker.
type nodeLine struct {
	name   string
	gone   bool
	killed bool
	busy   float64 // share of its processors
	parts  []int   // active ones of each stage
	shadow int
}

func (n *nodeLine) total() (sum int) {
	for _, k := range n.parts {
		sum += k
	}
	return sum
}

// event is something that happened.
type event struct {
	at   time.Duration
	text string
}

func (e event) String() string { return fmt.Sprintf("%6.1f  %s", e.at.Seconds(), e.text) }

func (s *scene) say(at time.Duration, text string) { s.events = append(s.events, event{at, text}) }

// measure adds the seconds that are over by now.
func (s *scene) measure(w *fleet.Watch, clock sample.Clock, rate fleet.Schedule, now time.Time) {
	for {
		at := time.Duration(len(s.offered)) * time.Second
		begin := clock.Start.Add(at)
		end := begin.Add(time.Second)
		if end.After(now) {
			return
		}
		s.offered = append(s.offered, rate.Rows(at+time.Second)-rate.Rows(at))
		s.processed = append(s.processed, w.Processed(rate, begin, end))
		s.p99 = append(s.p99, float64(w.Ages(begin, end).Quantile(0.99).Microseconds())/1000)
		s.used = append(s.used, float64(s.nodesNow))
	}
}

// layout takes in where the query runs.
func (s *scene) layout(q *client.QueryDetail, nodes []client.Node, killed string) {
	s.stages = len(q.Stages)
	s.partitions, s.running, s.lag, s.epochs = q.Partitions, q.PartitionsRunning, int(q.EpochLagMs), int(q.Epoch)
	s.nodes = s.nodes[:0]
	for _, n := range nodes {
		if n.Tags["role"] == "control" {
			continue
		}
		line := nodeLine{name: n.Name, gone: n.Status != client.NodeAlive, killed: n.Name == killed, busy: n.Busy, parts: make([]int, s.stages)}
		for _, p := range q.Parts {
			switch {
			case p.Node != n.Name:
			case p.Role == client.RoleActive:
				line.parts[p.Stage]++
			case p.Role == client.RoleShadow:
				line.shadow++
			}
		}
		s.nodes = append(s.nodes, line)
	}
	slices.SortFunc(s.nodes, func(a, b nodeLine) int { return len(a.name) - len(b.name) + compare(a.name, b.name) })
	s.nodesNow, _ = fleet.Layout(q)
	if s.nodesFirst == 0 {
		s.nodesFirst = s.nodesNow
	}
	s.nodesMost = max(s.nodesMost, s.nodesNow)
}

func compare(a, b string) int {
	switch {
	case len(a) != len(b) || a == b:
		return 0
	case a < b:
		return -1
	}
	return 1
}

// idle says that all nodes that joined have been given back.
func (s *scene) idle() bool {
	return s.nodesNow > 0 && s.nodesNow <= s.nodesFirst && s.running == s.partitions
}
