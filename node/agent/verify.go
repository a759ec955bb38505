package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/api"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/node/verify"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// verifyShare is the share of a core that a verification takes at most, verifyMemoryShare the part of the process's memory limit.
	verifyShare       = 0.5
	verifyMemoryShare = 4
	// verifyFetchGroups is how many key groups are fetched at a time: what they hold is not kept.
	verifyFetchGroups = 4 * topology.BlockGroups
	// verifyWaitIntervals is how many checkpoint intervals are waited for a checkpoint behind the first that is held, and at least verifyWaitLeast.
	verifyWaitIntervals = 3
	verifyWaitLeast     = 5 * time.Second
	// verifyTries is how often what is needed may be trimmed while it is gathered.
	verifyTries = 10
)

// verifying is one verification on this node.
type verifying struct {
	a        *Agent
	work     *work
	name     string
	id       uint64 // incarnation
	plan     *plan.Plan
	progress func(client.VerifyProgress)
}

// VerifyQuery runs the query again on this node.
func (b backend) VerifyQuery(ctx context.Context, name string, progress func(client.VerifyProgress)) (*client.Verification, error) {
	begun := b.a.world.now()
	s, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	v, err := b.verifiable(s, q)
	if err != nil {
		return nil, err
	}
	if !b.a.verifying.TryLock() {
		return nil, hinted(api.Conflict("node %s verifies a query already", b.a.self.Node), "wait for it to end, or ask another node")
	}
	defer b.a.verifying.Unlock()
	v.progress = progress
	result, err := v.run(ctx)
	if err != nil {
		return nil, v.explain(ctx, err)
	}
	out := &client.Verification{Query: name, Equal: result.Equal(), Node: string(b.a.self.Node), From: result.From + 1, To: result.Through, Seals: result.Seals,
		SealBytes: result.SealBytes, Rows: result.Rows, Checkpoints: result.Checkpoints, KeyGroups: result.KeyGroups, Chains: result.Chains, Files: result.Files,
		FileBytes: result.FileBytes, Tables: result.Tables, TableRows: result.TableRows, NotCompared: result.NotCompared, ElapsedMs: b.a.world.now().Sub(begun).Milliseconds()}
	for i := range result.Differences {
		d := &result.Differences[i]
		out.Differences = append(out.Differences, client.Difference{Kind: d.Kind, Text: d.String(), After: d.After, Epoch: d.Epoch, Stage: d.Stage, StageName: d.StageName,
			Operator: d.Operator, KeyGroup: d.KeyGroup, Table: d.Table, File: d.File, Offset: d.Offset, Key: d.Key})
	}
	return out, nil
}

func hinted(e *client.Error, hint string) *client.Error {
	e.Hint = hint
	return e
}

// verifiable says why a query cannot be run again on this node, if it cannot.
func (b backend) verifiable(s *raftfsm.State, q *raftfsm.Query) (*verifying, error) {
	f := b.figures(s, q)
	switch work := b.a.working(); {
	case work == nil:
		return nil, api.Unavailable("this node is starting its work")
	case q.State == raftfsm.Removing:
		return nil, api.Conflict("query %s is being removed", q.Name)
	case f.plan == nil:
		return nil, api.NotSupported("the plan of query %s cannot be read by this version", q.Name)
	case q.Fingerprint != b.a.record.Fingerprint:
		var same []string
		for _, n := range s.Nodes {
			if n.Fingerprint == q.Fingerprint && n.Status == raftfsm.Alive {
				same = append(same, string(n.ID))
			}
		}
		e := api.Conflict("node %s has another fingerprint (%s) than query %s (%s), and could give other results for the same input", b.a.self.Node, b.a.record.Fingerprint, q.Name, q.Fingerprint)
		e.Hint = "no node that lives has the query's fingerprint"
		if len(same) > 0 {
			e.Hint = "ask one of " + strings.Join(same, ", ")
		}
		return nil, e
	default:
		return &verifying{a: b.a, work: work, name: q.Name, id: q.ID.Incarnation, plan: f.plan}, nil
	}
}

// run gathers and runs, again when what is needed was trimmed meanwhile.
func (v *verifying) run(ctx context.Context) (result *verify.Result, err error) {
	behind := topology.Epoch(0) // a checkpoint behind this one is needed
	var trimmed *verify.TrimmedError
	for range verifyTries {
		q, err := v.checkpoint(ctx, behind)
		if err != nil {
			if trimmed != nil && errors.Is(err, context.DeadlineExceeded) {
				return nil, trimmed
			}
			return nil, err
		}
		result, err = v.at(ctx, q)
		var lost *backup.LostError
		var table *table.TrimmedError
		switch {
		case errors.As(err, &trimmed):
			if behind = q.Complete; q.State == raftfsm.Finished {
				return nil, err
			}
		case errors.As(err, &lost), errors.As(err, &table):
			now := v.query()
			if now == nil || now.Complete == q.Complete {
				return nil, err
			}
		default:
			return result, err
		}
	}
	return nil, api.Unavailable("the checkpoints of query %s are trimmed faster than they can be read: a longer 'checkpoint.epochs' helps", v.name)
}

func (v *verifying) query() *raftfsm.Query {
	return v.a.Machine().View().Incarnation(v.id)
}

// checkpoint waits for a complete checkpoint behind an epoch.
func (v *verifying) checkpoint(ctx context.Context, behind topology.Epoch) (*raftfsm.Query, error) {
	interval := time.Duration(int64(v.plan.Settings.CheckpointEpochs)*v.plan.Settings.EpochMs) * time.Millisecond
	waiting, cancel := context.WithTimeout(ctx, max(verifyWaitLeast, verifyWaitIntervals*interval))
	defer cancel()
	s, err := v.a.Machine().Wait(waiting, func(s *raftfsm.State) bool {
		q := s.Incarnation(v.id)
		return q == nil || q.State == raftfsm.Removing || q.Complete > behind
	})
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil && behind == 0:
		return nil, hinted(api.Conflict("no checkpoint of query %s is complete yet", v.name), "\"seepnode query show\" says how it is doing; try again when it has one")
	case err != nil:
		return nil, err
	}
	q := s.Incarnation(v.id)
	if q == nil || q.State == raftfsm.Removing {
		return nil, api.NotFound("query %s was removed", v.name)
	}
	return q, nil
}

// at runs the query again up to its latest complete checkpoint.
func (v *verifying) at(ctx context.Context, q *raftfsm.Query) (*verify.Result, error) {
	through := q.Complete
	v.progress(client.VerifyProgress{Doing: "reading checkpoints", To: through})
	tables, err := v.tables(ctx, q, through)
	if err != nil {
		return nil, err
	}
	past := verify.NewPast(v.plan, through)
	for i, st := range q.Stages {
		for from := 0; from < st.Groups; from += verifyFetchGroups {
			rng := topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(min(from+verifyFetchGroups, st.Groups))}
			if err := v.fetch(ctx, q, topology.StageID(i), rng, through, adding(past, topology.StageID(i))); err != nil {
				return nil, err
			}
		}
	}
	c := verify.Config{Plan: v.plan, T0Ms: q.T0Ms, Incarnation: q.ID.Incarnation, Resealed: q.Resealed, Past: past, Tables: tables, Connectors: v.a.binary.connectors,
		Operators: v.a.binary.operators, MemoryBytes: memoryLimit(v.a.config.MemoryLimit) / verifyMemoryShare, Share: verifyShare, Logger: v.a.log,
		Restore: func(ctx context.Context, stage topology.StageID, rng topology.Range, epoch topology.Epoch, take func([]backup.GroupDelta) error) error {
			return v.fetch(ctx, q, stage, rng, epoch, take)
		},
		Progress: func(p verify.Progress) {
			v.progress(client.VerifyProgress{Doing: "running", From: p.From + 1, Epoch: p.Epoch, To: p.Through, Rows: p.Rows, StateBytes: p.StateBytes})
		}}
	if v.a.config.RestrictsPaths() {
		c.AllowPaths = append([]string{}, v.a.config.AllowPaths...)
	}
	if len(q.Empty) > 0 {
		c.Floor = q.Since
	}
	return verify.Run(ctx, c)
}

// fetch asks the vaults for a state.
func (v *verifying) fetch(ctx context.Context, q *raftfsm.Query, stage topology.StageID, rng topology.Range, epoch topology.Epoch, take func(chain []backup.GroupDelta) error) error {
	return backup.Fetch(ctx, v.work.pool, stateRequest(v.a.Machine(), q, stage, rng, epoch), take)
}

// adding gives what adds chains, which come from several goroutines, to the past.
func adding(past *verify.Past, stage topology.StageID) func(chain []backup.GroupDelta) error {
	var mu sync.Mutex
	return func(chain []backup.GroupDelta) error {
		mu.Lock()
		defer mu.Unlock()
		return past.Add(stage, chain)
	}
}

// tables reads the materialized tables as anybody would, at the checkpoint.
func (v *verifying) tables(ctx context.Context, q *raftfsm.Query, epoch topology.Epoch) (map[string]*verify.Rows, error) {
	out := map[string]*verify.Rows{}
	if !runs(q.State) {
		return out, nil // nobody holds them any more
	}
	for _, st := range v.plan.Stages {
		for _, op := range st.Ops {
			if op.Sink == nil || v.plan.Tables[op.Sink.Table].Connector != v.a.tables.Definition().Name {
				continue
			}
			name := v.plan.Tables[op.Sink.Table].Name
			rows, err := verify.ReadTable(st.Groups, func(r topology.Range) ([]table.Row, error) {
				ctx, cancel := context.WithTimeout(ctx, tableWait)
				defer cancel()
				response, err := v.a.reader.Read(ctx, table.Request{Query: q.ID, Table: name, Range: r, Epoch: epoch})
				return response.Rows, err
			})
			var trimmed *table.TrimmedError
			if err != nil && !errors.As(err, &trimmed) {
				return nil, tableError(client.TableReadRequest{Query: v.name, Table: name}, err)
			}
			if err != nil {
				return nil, err
			}
			out[name] = rows
		}
	}
	return out, nil
}

// explain makes an error of a verification one for people.
func (v *verifying) explain(ctx context.Context, err error) error {
	var (
		told    *client.Error
		trimmed *verify.TrimmedError
		memory  *verify.MemoryError
		source  *engine.SourceError
		lost    *backup.LostError
	)
	switch {
	case errors.As(err, &told), ctx.Err() != nil:
		return err
	case errors.As(err, &trimmed) && trimmed.Floor > 0:
		return hinted(api.Conflict("query %s cannot be verified: %v", v.name, err), "try again when there have been more checkpoints")
	case errors.As(err, &trimmed) && trimmed.All:
		return api.Conflict("query %s cannot be verified although it keeps all seals: %v", v.name, err)
	case errors.As(err, &trimmed):
		return hinted(api.Conflict("query %s cannot be verified: %v, and no later one became complete", v.name, err),
			"SET 'seal.retention' = 'all' before it is added makes checkpoints keep all seals from its start")
	case errors.As(err, &memory):
		return hinted(api.Conflict("query %s cannot be verified on node %s: %v", v.name, v.a.self.Node, err), "ask a node that has more memory; a verification takes a quarter of --memory-limit")
	case errors.As(err, &source):
		return hinted(api.Conflict("query %s cannot be verified: its input is not what it was: %v", v.name, err), "what was read must stay as it was for as long as it is to be read again")
	case errors.As(err, &lost) && !lost.Reachable:
		return api.Unavailable("query %s cannot be verified now: a vault is out of reach: %v", v.name, err)
	case errors.As(err, &lost):
		return api.Conflict("query %s cannot be verified: %v", v.name, err)
	}
	return api.Conflict("query %s cannot be verified: %v", v.name, fmt.Errorf("running it again failed: %w", err))
}
