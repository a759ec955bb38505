package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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
	offered, processed, p99, members, workers []float64

	nodes                            []nodeLine // workers, by name
	stages                           int
	cluster, use                     span // nodes that are in the cluster, and of them those that run something of the query
	joins, leaves                    int
	partitions, running, lag, epochs int
	events                           []event
	told                             map[string]bool // events of the pool
}

// span is a number over the time of the show.
type span struct{ first, most, now int }

func (s *span) is(n int) {
	if s.most == 0 {
		s.first = n
	}
	s.most, s.now = max(s.most, n), n
}

func (s span) String() string {
	return fmt.Sprintf("%d at first, %d at the most, %d in the end", s.first, s.most, s.now)
}

// state is what a worker is to the cluster.
type state string

const (
	starting state = "starting" // its process runs, and it has not joined
	joined   state = "joined"
	draining state = "draining" // it gives everything away, to be given back
	left     state = "left"
	lost     state = "lost"
	killed   state = "killed" // by the show
)

// nodeLine is a worker.
type nodeLine struct {
	name   string
	state  state
	holds  []string // what a draining one still has
	busy   float64  // share of its processors
	parts  []int    // active ones of each stage
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
		s.members = append(s.members, float64(s.cluster.now))
		s.workers = append(s.workers, float64(s.use.now))
	}
}

// meet takes in who is in the cluster, the processes that run and the node that was killed.
func (s *scene) meet(at time.Duration, nodes []client.Node, running []string, gone string) {
	before := map[string]state{}
	for _, n := range s.nodes {
		before[n.name] = n.state
	}
	s.nodes = s.nodes[:0]
	members := 0
	for _, n := range nodes {
		now := stateOf(&n, gone)
		if now == joined || now == draining {
			members++
		}
		if n.Tags["role"] == "control" {
			continue
		}
		s.nodes = append(s.nodes, nodeLine{name: n.Name, state: now, holds: n.Holds, busy: n.Busy})
		s.tell(at, n.Name, before[n.Name], now)
	}
	for _, name := range running {
		if !slices.ContainsFunc(nodes, func(n client.Node) bool { return n.Name == name }) {
			s.nodes = append(s.nodes, nodeLine{name: name, state: starting})
		}
	}
	slices.SortFunc(s.nodes, func(a, b nodeLine) int {
		return cmp.Or(cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	s.cluster.is(members)
}

func stateOf(n *client.Node, gone string) state {
	switch {
	case n.Name == gone:
		return killed
	case n.Status == client.NodeLeft:
		return left
	case n.Status == client.NodeLost:
		return lost
	case n.Status == client.NodeLeaving || n.Drain != "":
		return draining
	}
	return joined
}

// tell says what has become of a worker; why one is drained is the pool's to say.
func (s *scene) tell(at time.Duration, name string, before, now state) {
	switch {
	case before == now:
	case now == joined && before == draining:
		s.say(at, name+" stays")
	case now == joined && before == lost:
		s.say(at, name+" is back")
	case now == joined:
		s.joins++
		s.say(at, name+" joins")
	case now == left:
		s.leaves++
		s.say(at, name+" leaves")
	case now == lost:
		s.say(at, name+" is lost")
	}
}

// pool takes in what the pool did, as far as that is not seen in the nodes.
func (s *scene) pool(start time.Time, p *client.AutoscalePool) {
	for _, e := range p.Events {
		key := e.Time.String() + e.Text
		if s.told[key] {
			continue
		}
		if s.told == nil {
			s.told = map[string]bool{}
		}
		s.told[key] = true
		if strings.HasPrefix(e.Text, "instance ") && (strings.HasSuffix(e.Text, " is started") || strings.HasSuffix(e.Text, " has left")) {
			continue
		}
		s.say(e.Time.Sub(start), "pool: "+e.Text)
	}
}

// layout takes in where the query runs.
func (s *scene) layout(q *client.QueryDetail) {
	s.stages = len(q.Stages)
	s.partitions, s.running, s.lag, s.epochs = q.Partitions, q.PartitionsRunning, int(q.EpochLagMs), int(q.Epoch)
	for i := range s.nodes {
		n := &s.nodes[i]
		n.parts, n.shadow = make([]int, s.stages), 0
		for _, p := range q.Parts {
			switch {
			case p.Node != n.name:
			case p.Role == client.RoleActive:
				n.parts[p.Stage]++
			case p.Role == client.RoleShadow:
				n.shadow++
			}
		}
	}
	nodes, _ := fleet.Layout(q)
	s.use.is(nodes)
}

// restless are the workers that start or are drained, with what they hold.
func (s *scene) restless() (list []string) {
	for _, n := range s.nodes {
		switch {
		case n.state == draining && len(n.holds) > 0:
			list = append(list, fmt.Sprintf("%s is draining and holds %s", n.name, strings.Join(n.holds, ", ")))
		case n.state == draining || n.state == starting:
			list = append(list, fmt.Sprintf("%s is %s", n.name, n.state))
		}
	}
	return list
}
