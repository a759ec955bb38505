package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/autoscale"
	"github.com/seepnode/seepnode/autoscale/pool"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// AutoscaleOff is the policy of an agent that decides nothing by itself.
const AutoscaleOff = "off"

const (
	scaleEvery   = time.Second
	scalePropose = 2 * time.Second
)

// scaler looks once a second, while this node leads, how the queries and the nodes are loaded, and proposes what the policies decide:
// what is wanted of a stage, moves off nodes that are too busy, and to the pool how many nodes should work. It carries nothing out itself.
type scaler struct {
	a *Agent

	meter   autoscale.Meter
	queries []*scaledQuery // ascending by incarnation
	fleet   autoscale.Fleet

	mu       sync.Mutex
	standing scaling
}

// scaledQuery is a query that is scaled.
type scaledQuery struct {
	id      topology.QueryID
	machine *autoscale.Machine
	plan    autoscale.Query
	last    *autoscale.Decision
	lastAt  time.Time
	hot     []string
	why     string // it is not looked at
}

// scaling is how it stood at the last look, for people.
type scaling struct {
	at      time.Time
	queries []queryScaling
	nodes   int // that should work
	text    string
	loads   []autoscale.NodeLoad
	pool    *pool.Standing
}

type queryScaling struct {
	id       topology.QueryID
	plan     autoscale.Query
	standing autoscale.Standing
	last     *autoscale.Decision
	lastAt   time.Time
	hot      []string
	why      string
}

// run looks until ctx ends.
func (x *scaler) run(ctx context.Context) {
	// What was known in an earlier reign is of another time.
	x.meter, x.queries, x.fleet = autoscale.Meter{}, nil, autoscale.Fleet{}
	if config, err := x.a.config.policy(); err == nil {
		x.fleet = autoscale.NewFleet(&config)
	}
	for sleep(ctx, scaleEvery) {
		x.look(ctx)
	}
	x.mu.Lock()
	x.standing = scaling{}
	x.mu.Unlock()
}

// look is one step.
func (x *scaler) look(ctx context.Context) {
	s := x.a.Machine().View()
	now := x.a.clock.now()
	x.meter.Add(x.reading(s, now))
	x.keep(s)
	paused := coordinator.AutoscalePaused(s)
	var needs []autoscale.Need
	var present []topology.Process // that run queries of which nothing is decided
	for _, q := range x.queries {
		record := s.Incarnation(q.id.Incarnation)
		if q.why = x.unscaled(s, record); q.why != "" {
			if record.State != raftfsm.Finished {
				present = processesOf(record, present)
			}
			continue
		}
		sample, ok := x.meter.Query(q.id, len(record.Stages))
		if !ok {
			q.why = "not all partitions have reported yet"
			present = processesOf(record, present)
			continue
		}
		sample.Slots = x.slots(s, record)
		q.plan = asPeopleWant(q.plan, record)
		q.machine.SetQuery(q.plan)
		effects := q.machine.Step(sample)
		if q.machine.Known() {
			needs = append(needs, q.machine.Needs()...)
		} else {
			present = processesOf(record, present)
		}
		for _, h := range effects.Hot {
			x.tellHot(ctx, record, q, &h)
		}
		if effects.Decision != nil {
			q.last, q.lastAt = effects.Decision, now
			if !paused {
				x.propose(ctx, record.Name, scaleCommand(record, effects.Decision))
			}
		}
	}
	sample := x.fleetSample(s, now)
	sample.Needs, sample.Present = needs, len(present)
	fleet := x.fleet.Step(sample)
	if fleet.Move != nil && !paused {
		if q := s.Incarnation(fleet.Move.Query.Incarnation); q != nil {
			x.propose(ctx, q.Name, moveCommand(q, fleet.Move))
		}
	}
	x.tell(now, fleet.Nodes, fleet.Text)
}

// processesOf adds the processes that run partitions of a query to those seen.
func processesOf(q *raftfsm.Query, seen []topology.Process) []topology.Process {
	for _, st := range q.Stages {
		for _, a := range st.Partitions {
			if !slices.Contains(seen, a.Process) {
				seen = append(seen, a.Process)
			}
		}
	}
	return seen
}

// reading puts the latest reports together.
func (x *scaler) reading(s *raftfsm.State, now time.Time) *autoscale.Reading {
	out := &autoscale.Reading{AtMs: now.UnixMilli()}
	reports := x.a.reports
	shadows := map[topology.Process]bool{}
	for _, q := range s.Queries {
		for _, st := range q.Stages {
			for _, sh := range st.Shadows {
				shadows[sh.Process] = true
			}
		}
	}
	for _, n := range s.Nodes {
		r := reports.Latest(n.Process())
		if r == nil || n.Status != raftfsm.Alive && n.Status != raftfsm.Leaving {
			continue
		}
		out.Nodes = append(out.Nodes, autoscale.NodeCounters{Process: n.Process(), AtMs: reports.Heard(n.Process()).UnixMilli(), CPUNs: r.CPUNs, Cores: r.Cores,
			Shadows: shadows[n.Process()]})
	}
	for _, q := range s.Queries {
		if c, ok := x.counters(s, q, now); ok {
			out.Queries = append(out.Queries, c)
		}
	}
	return out
}

// counters are those of a query's active partitions; ok is false when one has not said anything.
func (x *scaler) counters(s *raftfsm.State, q *raftfsm.Query, now time.Time) (c autoscale.QueryCounters, ok bool) {
	f := figures{state: s, query: q, latest: x.a.reports.Latest, heard: x.a.reports.Heard, now: now, plan: x.a.plans.of(s, q)}
	c = autoscale.QueryCounters{ID: q.ID, Pending: slices.ContainsFunc(q.Stages, coordinator.Moving), Merging: slices.ContainsFunc(q.Stages, coordinator.Merging)}
	for i, st := range q.Stages {
		for _, a := range st.Partitions {
			p := f.reported(a.Process, topology.StageID(i), a.Range, a.Instance)
			if p == nil {
				return c, false
			}
			one := autoscale.Counters{Stage: topology.StageID(i), Range: a.Range, Process: a.Process, Instance: a.Instance, BusyNs: p.BusyNs, IdleNs: p.IdleNs,
				BlockedNs: p.BlockedNs, RowsIn: p.RowsIn, RowsOut: p.RowsOut, CutRows: p.CutRows, Backlog: -1, Groups: groupRows(p, a.Range), HotKey: p.HotKey, HotShare: p.HotShare}
			one.LagMs = max(0, f.lag(f.timeOf(p.Epoch))-f.reportAge(a.Process))
			if p.Backlog != nil {
				one.Backlog = *p.Backlog
			}
			c.Partitions = append(c.Partitions, one)
		}
	}
	return c, true
}

// changing says that a query's layout is not what is wanted as far as so many nodes can have it, or that parts of it are on their way.
func changing(q *raftfsm.Query, nodes int) bool {
	for i, st := range q.Stages {
		if coordinator.Moving(st) || !hasWanted(st, q.StageScale(topology.StageID(i)), nodes) {
			return true
		}
	}
	return false
}

// hasWanted says that a stage is cut as it is wanted, or into as many partitions as there are nodes where that is fewer. Neighbours on one
// process are as good as one partition.
func hasWanted(st *raftfsm.Stage, w raftfsm.StageScale, nodes int) bool {
	var borders []topology.KeyGroup
	for i := 1; i < len(st.Partitions); i++ {
		if st.Partitions[i].Process != st.Partitions[i-1].Process {
			borders = append(borders, st.Partitions[i].Range.From)
		}
	}
	if w.Want > nodes {
		return len(borders)+1 == nodes || nodes == 0
	}
	return w.Want == 0 || w.Want == len(borders)+1 && (len(w.Borders) == 0 || slices.Equal(borders, w.Borders))
}

// keep makes machines for new queries and drops those of queries that are gone or have another generation.
func (x *scaler) keep(s *raftfsm.State) {
	x.queries = slices.DeleteFunc(x.queries, func(q *scaledQuery) bool {
		record := s.Incarnation(q.id.Incarnation)
		return record == nil || record.ID != q.id || record.State == raftfsm.Removing
	})
	for _, q := range s.Queries {
		compiled := x.a.plans.of(s, q)
		if compiled == nil || q.State == raftfsm.Removing || slices.ContainsFunc(x.queries, func(h *scaledQuery) bool { return h.id == q.ID }) {
			continue
		}
		config, err := x.a.config.policy()
		if err != nil {
			x.a.log.Error("autoscale: the policy's numbers are wrong, those that it has by itself count", "error", err) // they were checked at the start
		}
		plan := planned(q, compiled)
		x.queries = append(x.queries, &scaledQuery{id: q.ID, plan: plan, machine: autoscale.NewMachine(plan, config)})
	}
	slices.SortFunc(x.queries, func(a, b *scaledQuery) int { return int(a.id.Incarnation) - int(b.id.Incarnation) })
}

// planned is what a plan says of a query's stages.
func planned(q *raftfsm.Query, p *plan.Plan) autoscale.Query {
	out := autoscale.Query{Name: q.Name}
	for i, st := range p.Stages {
		one := autoscale.Stage{Name: st.Name, Groups: q.Stages[i].Groups, Source: q.Stages[i].Source}
		for _, in := range st.Inputs {
			one.Inputs = append(one.Inputs, in.Stage)
		}
		out.Stages = append(out.Stages, one)
	}
	return out
}

// asPeopleWant adds what people have said of the stages.
func asPeopleWant(q autoscale.Query, record *raftfsm.Query) autoscale.Query {
	q.Stages = slices.Clone(q.Stages)
	for i := range q.Stages {
		w, st := record.StageScale(topology.StageID(i)), &q.Stages[i]
		st.Fixed, st.Min, st.Max = 0, w.Min, w.Max
		if !w.Auto {
			st.Fixed = w.Want
		}
	}
	return q
}

// unscaled says why nothing is decided of a query; "" when it is looked at.
func (x *scaler) unscaled(s *raftfsm.State, q *raftfsm.Query) string {
	p := x.a.plans.of(s, q)
	switch {
	case q.State != raftfsm.Running:
		return "the query is " + q.State.String()
	case p == nil:
		return "its plan cannot be read by this node"
	case p.Settings.SealRows > 0:
		return "its epochs are cut by rows, not by the clock"
	}
	return ""
}

// takers are the nodes that may be given partitions of a query, nil: of any.
func takers(s *raftfsm.State, q *raftfsm.Query, nowMs int64) (list []*raftfsm.Node) {
	for _, n := range s.Nodes {
		if n.Status == raftfsm.Alive && !n.Drain && n.Role() != raftfsm.RoleControl && n.BlamedUntilMs <= nowMs && (q == nil || n.Fingerprint == q.Fingerprint) {
			list = append(list, n)
		}
	}
	return list
}

// slots is how many partitions of a stage the nodes can run: one each, the leader's node the last.
func (x *scaler) slots(s *raftfsm.State, q *raftfsm.Query) int {
	return max(1, len(takers(s, q, x.a.clock.now().UnixMilli())))
}

// fleetSample is the cluster for the fleet's machine.
func (x *scaler) fleetSample(s *raftfsm.State, now time.Time) *autoscale.FleetSample {
	out := &autoscale.FleetSample{AtMs: now.UnixMilli()}
	loads := x.meter.Nodes()
	for _, n := range takers(s, nil, now.UnixMilli()) {
		i := slices.IndexFunc(loads, func(l autoscale.NodeLoad) bool { return l.Process == n.Process() })
		if i < 0 {
			continue
		}
		out.Nodes = append(out.Nodes, autoscale.FleetNode{NodeLoad: loads[i], Leader: n.Process() == x.a.self})
	}
	for _, q := range s.Queries {
		sample, ok := x.meter.Query(q.ID, len(q.Stages))
		if !ok || q.State != raftfsm.Running {
			continue
		}
		pinned := changing(q, len(takers(s, q, now.UnixMilli())))
		for i, st := range sample.Stages {
			for _, p := range st.Partitions {
				process := runsAt(q.Stages[i], p.Range.From)
				k := slices.IndexFunc(out.Nodes, func(n autoscale.FleetNode) bool { return n.Process == process })
				if k < 0 {
					continue
				}
				out.Nodes[k].Partitions = append(out.Nodes[k].Partitions, autoscale.FleetPartition{Query: q.ID, Stage: topology.StageID(i), Range: p.Range, Use: p.Use,
					Pinned: pinned, Display: fmt.Sprintf("stage %d %v of query %s", i, p.Range, q.Name)})
			}
		}
	}
	return out
}

// runsAt is the process that runs a key group of a stage.
func runsAt(st *raftfsm.Stage, g topology.KeyGroup) topology.Process {
	i := slices.IndexFunc(st.Partitions, func(a topology.Assignment) bool { return a.Range.Contains(g) })
	return st.Partitions[i].Process
}

// scaleCommand says what a decision wants.
func scaleCommand(q *raftfsm.Query, d *autoscale.Decision) raftfsm.Command {
	k := &raftfsm.QueryScale{Query: q.ID, ScaleVersion: q.ScaleVersion, Text: short("policy " + d.Policy + ": " + d.Text)}
	for _, t := range d.Targets {
		w := q.StageScale(t.Stage)
		w.Want, w.Borders = len(t.Ranges), nil
		for _, r := range t.Ranges[1:] {
			w.Borders = append(w.Borders, r.From)
		}
		k.Stages = append(k.Stages, w)
	}
	for _, f := range d.Figures {
		k.Figures = append(k.Figures, raftfsm.KV{Key: f.Name, Value: f.Value})
	}
	k.Figures = k.Figures[:min(len(k.Figures), raftfsm.MaxSettings)]
	return k
}

// moveCommand begins to put a partition on another node.
func moveCommand(q *raftfsm.Query, m *autoscale.Move) raftfsm.Command {
	return &raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: m.Stage, Parts: []raftfsm.Part{{Range: m.Range, Process: m.To}}, Restore: q.Complete, What: "move", Why: short(m.Text)}
}

// propose has a command applied. When it is not, the next look decides anew.
func (x *scaler) propose(ctx context.Context, query string, k raftfsm.Command) {
	limited, cancel := context.WithTimeout(ctx, scalePropose)
	defer cancel()
	out, err := x.a.member.Group().Propose(limited, raftfsm.Envelope{AtMs: x.a.clock.now().UnixMilli(), Command: k})
	switch {
	case err != nil && ctx.Err() == nil:
		x.a.log.Warn("autoscale: cannot propose what was decided", "query", query, "error", err)
	case err == nil && !out.Done():
		x.a.log.Info("autoscale: a decision was not taken", "query", query, "why", out.Text)
	case err == nil:
		x.a.log.Info("autoscale", "query", query, "command", strings.TrimPrefix(fmt.Sprintf("%T", k), "*raftfsm."))
	}
}

// tellHot writes of a key group that no node is enough for into the query's history.
func (x *scaler) tellHot(ctx context.Context, record *raftfsm.Query, q *scaledQuery, h *autoscale.Hot) {
	text := h.Text(&q.plan)
	q.hot = append(q.hot, text)
	if drop := len(q.hot) - 8; drop > 0 {
		q.hot = q.hot[drop:]
	}
	entry := raftfsm.Entry{AtMs: x.a.clock.now().UnixMilli(), Kind: "hot", Text: short(text)}
	id, err := x.a.world.chance()
	if err != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, scalePropose)
	defer cancel()
	k := raftfsm.Envelope{AtMs: entry.AtMs, Command: &raftfsm.HistoryAdd{Query: record.ID, Entries: []raftfsm.Entry{entry}}}
	for i := range 8 {
		k.ID[i] = byte(id >> (8 * i))
	}
	if _, err := x.a.member.Group().Propose(limited, k); err != nil && ctx.Err() == nil {
		x.a.log.Warn("autoscale: writing to the history", "query", record.Name, "error", err)
	}
}

// tell keeps how it stands.
func (x *scaler) tell(now time.Time, nodes int, text string) {
	next := scaling{at: now, nodes: nodes, text: text, loads: x.meter.Nodes()}
	for _, q := range x.queries {
		next.queries = append(next.queries, queryScaling{q.id, q.plan, q.machine.Standing(), q.last, q.lastAt, slices.Clone(q.hot), q.why})
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	next.pool = x.standing.pool
	x.standing = next
}

// stands is how it stood at the last look.
func (x *scaler) stands() scaling {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.standing
}

// wantedNodes is how many nodes should work; 0 before the first look.
func (x *scaler) wantedNodes() int { return x.stands().nodes }

// poolStands keeps how the pool stands.
func (x *scaler) poolStands(p pool.Standing) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.standing.pool = &p
}

// groupRows are the rows that each key group of a range took, nil when that is not reported.
func groupRows(p *coordinator.PartitionReport, r topology.Range) []int64 {
	if len(p.Groups) != p.Range.Len() {
		return nil
	}
	return p.Groups[r.From-p.Range.From : r.To-p.Range.From]
}
