package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seepnode/seepnode/node/api"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// awaitEvery is how often a query that is waited for is looked at.
	awaitEvery = 50 * time.Millisecond
	// addTries is how often an addition is placed anew because another query or a change of nodes came between.
	addTries = 20
	// recoverWait bounds how long it is waited until it is known what is lost.
	recoverWait = 15 * time.Second
)

func (b backend) Queries(context.Context) ([]client.Query, error) {
	s, err := b.state()
	if err != nil {
		return nil, err
	}
	var list []client.Query
	for _, q := range s.Queries {
		list = append(list, b.figures(s, q).line())
	}
	return list, nil
}

func (b backend) Query(_ context.Context, name string) (*client.QueryDetail, error) {
	s, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	return b.figures(s, q).detail(), nil
}

func (b backend) AwaitQuery(ctx context.Context, name, until string) (*client.QueryDetail, error) {
	return await(ctx, until, awaitEvery, func(ctx context.Context) (*client.QueryDetail, error) { return b.Query(ctx, name) })
}

// await looks until the query is there or ctx ends, and gives what was seen last.
func await(ctx context.Context, until string, every time.Duration, look func(context.Context) (*client.QueryDetail, error)) (*client.QueryDetail, error) {
	var last *client.QueryDetail
	for {
		q, err := look(ctx)
		switch {
		case err != nil && (last == nil || ctx.Err() == nil):
			return nil, err
		case err != nil:
			return last, nil
		case q.Reached(until):
			return q, nil
		}
		last = q
		if !sleep(ctx, every) {
			return last, nil
		}
	}
}

// compile plans a query's text.
func (b backend) compile(sql string, set map[string]string) (*plan.Plan, error) {
	return plan.Compile(sql, b.a.binary, plan.Options{Set: set})
}

// mistake makes an error of compile one for people.
func mistake(err error) *client.Error {
	var at *ast.Error
	if errors.As(err, &at) {
		return api.InvalidAt(at.Pos.Line, at.Pos.Column, at.Msg, at.Hint)
	}
	var e *client.Error
	if errors.As(err, &e) {
		return e
	}
	return api.Invalid("%v", err)
}

func (b backend) AddQuery(ctx context.Context, id client.RequestID, r client.AddQueryRequest) (*client.Query, error) {
	compiled, err := b.compile(r.SQL, r.Set)
	if err != nil {
		return nil, mistake(err)
	}
	encoded, err := json.Marshal(compiled)
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	for range addTries {
		s, err := b.state()
		if err != nil {
			return nil, err
		}
		add, err := b.placed(s, compiled)
		var nowhere *coordinator.PlaceError
		if errors.As(err, &nowhere) {
			return nil, api.Conflict("query %s cannot be placed: %v", r.Name, nowhere)
		}
		if err != nil {
			return nil, err
		}
		add.Name, add.SQL, add.Plan = r.Name, r.SQL, encoded
		out, err := b.propose(ctx, id, add)
		if err != nil {
			return nil, err
		}
		if again, err := added(out); err != nil || !again {
			if err != nil {
				return nil, err
			}
			return b.addedLine(r.Name, out.Value)
		}
		// The metadata here may be behind what the command met.
		if !sleep(ctx, awaitEvery) {
			break
		}
	}
	return nil, api.Unavailable("query %s could not be added: the cluster changed each time it was tried", r.Name)
}

// addedLine is the query that was added, also when it was removed since.
func (b backend) addedLine(name string, incarnation uint64) (*client.Query, error) {
	s, err := b.state()
	if err != nil {
		return nil, err
	}
	if q := s.Incarnation(incarnation); q != nil {
		line := b.figures(s, q).line()
		return &line, nil
	}
	return &client.Query{Name: name, Incarnation: incarnation, State: client.StateRemoving}, nil
}

// added says what became of an addition: again when it was decided on what has changed since.
func added(out raftfsm.Outcome) (again bool, err error) {
	switch {
	case out.Done():
		return false, nil
	case out.Reason == raftfsm.NameTaken:
		return false, api.Conflict("%s", out.Text)
	case out.Code == raftfsm.Stale, out.Reason == raftfsm.ProcessGone, out.Reason == raftfsm.BadVaults, out.Reason == raftfsm.NoSeals, out.Reason == raftfsm.NoCluster:
		return true, nil
	}
	return false, api.Invalid("%s", out.Text)
}

// placed is the command that adds a plan, on the nodes as they are.
func (b backend) placed(s *raftfsm.State, p *plan.Plan) (*raftfsm.QueryAdd, error) {
	now := b.a.clock.now().UnixMilli()
	v := &coordinator.View{State: s, NowMs: now, Leader: b.leader(s), Timing: coordinator.DefaultTiming()}
	if w := b.a.working(); w != nil {
		v.Reports = w.peers.clocks(s)
	}
	var stages []coordinator.PlaceStage
	for _, st := range p.Stages {
		stage := coordinator.PlaceStage{Name: st.Name, Groups: st.Groups, Source: st.Source >= 0, Parallelism: p.Settings.Parallelism}
		for _, in := range st.Inputs {
			stage.Inputs = append(stage.Inputs, in.Stage)
		}
		for _, op := range st.Ops {
			if op.Process != nil {
				stage.Operators = append(stage.Operators, b.operatorName(op.Process.Operator))
			}
		}
		stages = append(stages, stage)
	}
	print, adds, seals, err := coordinator.Place(v, stages)
	if err != nil {
		return nil, err
	}
	add := &raftfsm.QueryAdd{Incarnation: s.Incarnations + 1, Fingerprint: print, EpochMs: p.Settings.EpochMs, Stages: adds, Seals: seals, Standby: p.Settings.Standby}
	if p.Settings.SealRows == 0 {
		add = add.Begun(now) // the leader says it again, by its time
	}
	return add, nil
}

// operatorName is an operator's name as it was registered, which records of nodes have.
func (b backend) operatorName(name string) string {
	if d, ok := b.a.binary.operators.Lookup(name); ok {
		return d.Name
	}
	return name
}

func (b backend) lineOf(name string) (*client.Query, error) {
	s, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	line := b.figures(s, q).line()
	return &line, nil
}

// change puts a query into a state, from any that allow it.
func (b backend) change(ctx context.Context, id client.RequestID, name string, to raftfsm.QueryState, from ...raftfsm.QueryState) (*client.Query, error) {
	for range addTries {
		s, q, err := b.query(name)
		if err != nil {
			if to == raftfsm.Removing && s != nil && slices.ContainsFunc(s.Receipts, func(r raftfsm.Receipt) bool { return r.ID == raftfsm.CommandID(id) }) {
				return &client.Query{Name: name, State: client.StateRemoving}, nil // by this very request, whose answer was lost
			}
			return nil, err
		}
		allowed := len(from) == 0
		for _, f := range from {
			allowed = allowed || q.State == f
		}
		if q.State == to || !allowed {
			if q.State == to {
				line := b.figures(s, q).line()
				return &line, nil
			}
			return nil, api.Conflict("query %s is %v and cannot become %v", name, q.State, to)
		}
		out, err := b.propose(ctx, id, &raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: to})
		switch {
		case err != nil:
			return nil, err
		case out.Done():
			line, err := b.lineOf(name)
			if err != nil && to == raftfsm.Removing {
				// It is gone already: it is told as it was.
				was := b.figures(s, q).line()
				was.State = to.String()
				return &was, nil
			}
			return line, err
		case out.Code == raftfsm.Refused && out.Reason != raftfsm.NoSuchQuery:
			return nil, api.Conflict("%s", out.Text)
		}
		if !sleep(ctx, awaitEvery) {
			break
		}
	}
	return nil, api.Unavailable("query %s could not be changed: it changed each time it was tried", name)
}

func (b backend) RemoveQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error) {
	return b.change(ctx, id, name, raftfsm.Removing)
}

func (b backend) PauseQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error) {
	return b.change(ctx, id, name, raftfsm.Paused, raftfsm.Running, raftfsm.Waiting, raftfsm.Blocked)
}

func (b backend) ResumeQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error) {
	return b.change(ctx, id, name, raftfsm.Running, raftfsm.Paused)
}

// RecoverQuery has the leader answer: it alone hears what is lost.
func (f front) RecoverQuery(ctx context.Context, id client.RequestID, name string) (*client.Recovered, error) {
	return asLeader(ctx, f, func(b backend) (*client.Recovered, error) { return b.RecoverQuery(ctx, id, name) },
		func(c *client.Client) (*client.Recovered, error) {
			return c.RecoverQuery(client.WithRequestID(ctx, id), name, client.RecoverRequest{AcceptLoss: true})
		})
}

// RecoverQuery lets a WAITING query go on without what is lost. What is lost its processes find out while it waits: it is waited for.
func (b backend) RecoverQuery(ctx context.Context, id client.RequestID, name string) (*client.Recovered, error) {
	if _, leads := b.a.member.Group().Leads(); !leads {
		return nil, api.NoLeader("the leader cannot be asked what query %s has lost: try again", name)
	}
	ctx, cancel := context.WithTimeout(ctx, recoverWait)
	defer cancel()
	for {
		s, q, err := b.query(name)
		if err != nil {
			return nil, err
		}
		if done := recoveredBy(s, q, id); done != nil {
			done.Query = b.figures(s, q).line()
			return done, nil // by this very request, whose answer was lost
		}
		k, missing, err := coordinator.AcceptLoss(b.a.reports.View(s, b.a.self), q)
		if err != nil {
			return nil, api.Conflict("%v", err)
		}
		if k != nil {
			change, last := k.(*raftfsm.GenerationChange)
			request := client.RequestID{}
			if last {
				request = id
			}
			out, err := b.propose(ctx, request, k)
			switch {
			case err != nil:
				return nil, err
			case out.Code == raftfsm.Refused:
				return nil, api.Conflict("%s", out.Text)
			case out.Done() && last:
				line, err := b.lineOf(name)
				if err != nil {
					return nil, err
				}
				return &client.Recovered{Query: *line, From: change.Complete, Missing: named(b.figures(s, q), missing)}, nil
			}
		}
		if !sleep(ctx, awaitEvery) {
			return nil, api.Unavailable("what query %s has lost is not known yet: its processes ask the vaults; try again", name)
		}
	}
}

// named are messages with the names of stages.
func named(f *figures, list []string) (out []string) {
	for _, text := range list {
		out = append(out, f.named(text))
	}
	return out
}

// recoveredBy is what a request has done already, nil when it has done nothing.
func recoveredBy(s *raftfsm.State, q *raftfsm.Query, id client.RequestID) *client.Recovered {
	if raftfsm.CommandID(id).IsZero() || !slices.ContainsFunc(s.Receipts, func(r raftfsm.Receipt) bool { return r.ID == raftfsm.CommandID(id) }) {
		return nil
	}
	out := &client.Recovered{From: q.Since}
	for _, e := range q.History {
		if e.Kind == "generation" {
			out.Missing = []string{e.Text} // the last
		}
	}
	return out
}

func (b backend) Plan(_ context.Context, name string) (*client.Plan, error) {
	s, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	out := &client.Plan{Query: name, Plan: q.Plan, Fingerprint: string(q.Fingerprint)}
	if f := b.figures(s, q); f.plan != nil {
		out.Text = f.plan.Explain()
	}
	return out, nil
}

func (b backend) Validate(_ context.Context, r client.ValidateRequest) (*client.Validation, error) {
	compiled, err := b.compile(r.SQL, r.Set)
	if err != nil {
		return &client.Validation{Error: mistake(err)}, nil
	}
	encoded, err := json.Marshal(compiled)
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	return &client.Validation{Valid: true, Plan: &client.Plan{Text: compiled.Explain(), Plan: encoded, Fingerprint: string(b.a.record.Fingerprint)}}, nil
}

func (b backend) Topology(_ context.Context, name string) (*client.Topology, error) {
	s, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	return b.figures(s, q).topology(), nil
}

func (b backend) History(_ context.Context, name string, r client.HistoryRequest) ([]client.HistoryEntry, error) {
	s, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	f := b.figures(s, q)
	var list []client.HistoryEntry
	for _, e := range q.History {
		if e.Seq <= r.After {
			continue
		}
		entry := client.HistoryEntry{Seq: e.Seq, Time: client.UnixMs(e.AtMs), Kind: e.Kind, Text: f.named(e.Text)}
		for _, kv := range e.Figures {
			if entry.Figures == nil {
				entry.Figures = map[string]string{}
			}
			entry.Figures[kv.Key] = kv.Value
		}
		list = append(list, entry)
	}
	return list[max(0, len(list)-r.Limit):], nil
}

// Checkpoints tells of the complete one and of those that some partition has at its vaults and others have not.
func (b backend) Checkpoints(_ context.Context, name string) (*client.Checkpoints, error) {
	s, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	f := b.figures(s, q)
	out := &client.Checkpoints{CompleteEpoch: q.Complete, TrimEpoch: q.TrimPoint(), AgeMs: f.lag(f.timeOf(q.Complete)), Checkpoints: []client.Checkpoint{}}
	if q.Complete > 0 {
		c := client.Checkpoint{Epoch: q.Complete, Time: client.UnixMs(f.timeOf(q.Complete)), Complete: true}
		if made, ok := b.a.latest(q); ok {
			took, _ := f.since(q.Complete, made.at)
			c.Completed, c.DurationMs, c.Bytes = made.at.UTC(), took.Milliseconds(), made.bytes
		}
		out.Checkpoints = append(out.Checkpoints, c)
	}
	out.Checkpoints = append(out.Checkpoints, f.open()...)
	return out, nil
}

// open are the checkpoints behind the complete one that some partition has, ascending.
func (f *figures) open() []client.Checkpoint {
	missing := map[topology.Epoch][]string{}
	var parts []client.Partition
	lines := map[uint64]map[topology.Epoch]bool{}
	ended := map[uint64]topology.Epoch{}
	for i, st := range f.query.Stages {
		parts = append(parts, f.partitions(topology.StageID(i))...)
		for _, a := range st.Partitions {
			p := f.reported(a.Process, topology.StageID(i), a.Range, a.Instance)
			if p == nil {
				continue
			}
			lines[a.Instance] = map[topology.Epoch]bool{}
			ended[a.Instance] = p.Ended
			for _, l := range p.Lines {
				if l > f.query.Complete {
					missing[l] = nil
					lines[a.Instance][l] = true
				}
			}
		}
	}
	for _, p := range parts {
		for l := range missing {
			if p.Role == client.RoleActive && !lines[p.Instance][l] && (ended[p.Instance] == 0 || ended[p.Instance] > l) {
				missing[l] = append(missing[l], f.named(fmt.Sprintf("stage %d %v on %s", p.Stage, p.Range, p.Node)))
			}
		}
	}
	var list []client.Checkpoint
	for l, m := range missing {
		list = append(list, client.Checkpoint{Epoch: l, Time: client.UnixMs(f.timeOf(l)), Missing: m})
	}
	slices.SortFunc(list, func(a, b client.Checkpoint) int { return cmp.Compare(a.Epoch, b.Epoch) })
	return list
}
