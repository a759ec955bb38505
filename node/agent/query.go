package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// fetchAgain is how long a restore waits before it asks vaults again that could not give what it needs.
const fetchAgain = 200 * time.Millisecond

// running is one generation of a query on this process.
type running struct {
	of   *queries
	id   topology.QueryID
	name string
	log  *slog.Logger

	ctx    context.Context
	end    context.CancelFunc
	done   chan struct{} // closed when it has ended here
	latest chan *raftfsm.State
	seals  *seals

	mu      sync.Mutex
	query   *engine.Query // nil before it is made and when that failed
	copies  *backup.Replicator
	whole   bool  // the whole query has finished
	err     error // why it failed here, for good
	waiting map[topology.StageID]string
	// groupsTold is when a report last told of the rows of key groups. One that is lost with its leader is missed for a second.
	groupsTold time.Time
	lost       *coordinator.LostReport // while it waits
}

func newRunning(ctx context.Context, q *queries, w *raftfsm.Query) *running {
	r := &running{of: q, id: w.ID, name: w.Name, log: q.log.With("query", w.Name), done: make(chan struct{}), latest: make(chan *raftfsm.State, 1),
		waiting: map[topology.StageID]string{}}
	// Ended by cancel alone, so that closing in order is up to the agent.
	r.ctx, r.end = context.WithCancel(context.WithoutCancel(ctx))
	r.seals = newSeals(r.sealWriter)
	return r
}

// follow gives the query a version of the metadata that names it; the latest counts.
func (r *running) follow(s *raftfsm.State) {
	for {
		select {
		case r.latest <- s:
			return
		default:
		}
		select {
		case <-r.latest:
		default:
		}
	}
}

// goesOn says whether what runs here may, with the seal log that the metadata grants now.
func (r *running) goesOn(set *topology.SealSet) bool { return set == nil || r.seals.owns(set) }

// cancel ends the query here; whole says that all of it has finished.
func (r *running) cancel(whole bool) {
	r.mu.Lock()
	r.whole = r.whole || whole
	r.mu.Unlock()
	r.end()
}

// run returns when the query has been ended here. What fails is reported until then.
func (r *running) run() {
	var s *raftfsm.State
	select {
	case s = <-r.latest:
	case <-r.ctx.Done():
		return
	}
	w := s.Incarnation(r.id.Incarnation)
	if w == nil || w.ID != r.id {
		return
	}
	if err := r.guarded(func() error { return r.live(w, s) }); err != nil && r.ctx.Err() == nil {
		r.fail(err)
		<-r.ctx.Done()
	}
}

// guarded turns a panic of the query's own wiring into its failure: it must not end other queries.
func (r *running) guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("panic", "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("internal error: %v", p)
		}
	}()
	return f()
}

func (r *running) fail(err error) {
	r.mu.Lock()
	if r.err == nil {
		r.err = err
		r.log.Error("query failed here", "error", err)
	}
	r.mu.Unlock()
	r.of.changed()
}

// live runs the query until ctx ends or it fails.
func (r *running) live(w *raftfsm.Query, s *raftfsm.State) (err error) {
	compiled := new(plan.Plan)
	if err := json.Unmarshal(w.Plan, compiled); err != nil {
		return fmt.Errorf("the plan in the metadata cannot be read: %w", err)
	}
	var query *engine.Query
	needBase := func(stage topology.StageID, instance uint64, g []topology.KeyGroup) {
		query.NeedBase(stage, instance, g)
	}
	copies := backup.NewReplicator(backup.ReplicatorConfig{Vaults: r.of.vaults, NeedBase: needBase, Changed: r.of.changed, Logger: r.log,
		Current: func(n topology.NodeID) (topology.Process, bool) { return currentProcess(r.of.machine.View(), n) }})
	saver := backup.NewSaver(backup.SaverConfig{Query: r.id, Vaults: r.of.vaults, NeedBase: needBase, Replicas: copies, Logger: r.log,
		Acked: func(stage topology.StageID, instance uint64, e topology.Epoch, bytes int64, version uint64) {
			query.Acknowledge(stage, instance, e, bytes, version)
		}})
	defer func() { err = errors.Join(err, saver.Close(), copies.Close(), r.seals.close()) }()
	query, err = r.of.node.NewQuery(engine.QueryConfig{ID: r.id, Name: r.name, Plan: compiled, T0Ms: w.T0Ms, Retain: true, Resealed: w.Resealed,
		Sealer: r.seals, Backup: saver, Restore: r.restore})
	if err != nil {
		return err
	}
	query.OnStatus(r.of.changed)
	r.mu.Lock()
	r.query, r.copies = query, copies
	r.mu.Unlock()
	looking, stopLooking := context.WithCancel(r.ctx)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		r.findLost(looking)
	}()
	defer func() {
		stopLooking()
		<-looked
	}()
	ran := make(chan error, 1)
	go func() { ran <- r.guarded(func() error { return query.Run(r.ctx) }) }()
	for {
		r.update(s, query, saver)
		select {
		case s = <-r.latest:
		case err := <-ran:
			return errors.Join(err, r.close(query))
		case <-r.ctx.Done():
			<-ran
			return r.close(query)
		}
	}
}

// close gives back what the query holds. Who is told nothing any more cannot be told of an error, so it is logged.
func (r *running) close(query *engine.Query) error {
	r.mu.Lock()
	whole := r.whole
	r.mu.Unlock()
	if err := query.Close(whole); err != nil {
		r.log.Warn("closing a query", "error", err)
	}
	return nil
}

// update tells the query, its vaults and its seals how things are.
func (r *running) update(s *raftfsm.State, query *engine.Query, saver *backup.Saver) {
	w := s.Incarnation(r.id.Incarnation)
	if w == nil || w.ID != r.id {
		return // it is about to be ended
	}
	r.log.Debug("the query's metadata has changed", "version", s.Version, "topology", w.Version, "complete", int64(w.Complete))
	saver.SetVaults(s.Version, vaultSets(w))
	r.copies.Update(duty(s, w, r.of.self))
	set := w.SealSet(r.of.self)
	if r.seals.current() == nil {
		r.seals.follow(set) // a source that begins finds its log
	}
	query.Update(placement(w))
	r.seals.follow(set) // to a higher term only behind the sources that are another's by now
	r.seals.trim(w.TrimPoint())
	r.seals.repair()
}

// duty is what the metadata says of what must be in the vaults of the partitions that are active here.
func duty(s *raftfsm.State, w *raftfsm.Query, self topology.Process) backup.Duty {
	d := backup.Duty{Version: s.Version, Complete: w.Complete, Query: savedUnder(w, w.Complete)}
	for i, st := range w.Stages {
		stage := topology.StageID(i)
		d.Stages = append(d.Stages, backup.DutyStage{Groups: st.Groups, Sets: st.Vaults, Empty: emptyBlocks(w, stage, w.Complete)})
		for _, a := range st.Partitions {
			if a.Process == self {
				d.Parts = append(d.Parts, backup.DutyPart{Stage: stage, Range: a.Range, Instance: a.Instance})
			}
		}
	}
	return d
}

// savedUnder is the query in the generation under which vaults have the state at an epoch: where the present one began, one before.
func savedUnder(w *raftfsm.Query, epoch topology.Epoch) topology.QueryID {
	id := w.ID
	if epoch == w.Since && w.SinceGeneration != 0 {
		id.Generation = w.SinceGeneration
	}
	return id
}

// emptyBlocks are the blocks of a stage that have no state at an epoch, since it was lost.
func emptyBlocks(w *raftfsm.Query, stage topology.StageID, epoch topology.Epoch) (list []topology.BlockID) {
	for _, b := range w.Empty {
		if b.Stage == stage && epoch == w.Since {
			list = append(list, b.Block)
		}
	}
	return list
}

// vaultSets are the vaults of a query, by stage and block.
func vaultSets(w *raftfsm.Query) [][]topology.VaultSet {
	sets := make([][]topology.VaultSet, len(w.Stages))
	for i, st := range w.Stages {
		sets[i] = st.Vaults
	}
	return sets
}

// restore fetches the state of a range at a complete checkpoint. While no vault gives all of it, it waits and says for what: the metadata may
// name other vaults, or one comes back with its disk.
func (r *running) restore(ctx context.Context, stage topology.StageID, rng topology.Range, epoch topology.Epoch, take func(chain []backup.GroupDelta) error) error {
	defer r.waitsFor(stage, "")
	has := make([]atomic.Bool, rng.Len())
	taking := func(chain []backup.GroupDelta) error {
		err := take(chain)
		if err == nil {
			has[chain[0].Group-rng.From].Store(true)
		}
		return err
	}
	for first := true; ; {
		s := r.of.machine.View()
		w := s.Incarnation(r.id.Incarnation)
		if w == nil || w.ID != r.id {
			return fmt.Errorf("query %s is gone", r.name)
		}
		request := stateRequest(r.of.machine, w, stage, rng, epoch)
		request.Has = func(g topology.KeyGroup) bool { return has[g-rng.From].Load() }
		awaited := r.awaited(w, stage, rng)
		request.Patient = !awaited
		// Sources, which are small and which all others need, do not wait for others; nor do shadows, which would keep those waiting that are awaited.
		err := r.of.fetch(ctx, request, first && awaited && !w.Stages[stage].Source, taking)
		first = false
		var lost *backup.LostError
		if err == nil || !errors.As(err, &lost) {
			return err
		}
		if w.Complete > epoch {
			// A later one is complete, and the partition begins anew from that: this one may be gone for good. Who became a vault since has the
			// later one alone, whatever is kept for shadows.
			return &dataplane.TrimmedError{From: epoch + 1, Floor: w.Complete + 1}
		}
		r.waitsFor(stage, err.Error())
		if !sleep(ctx, fetchAgain) {
			return context.Cause(ctx)
		}
	}
}

// awaited says whether results wait for the state of a range here: a partition is active with it. For that of a shadow none does.
func (r *running) awaited(w *raftfsm.Query, stage topology.StageID, rng topology.Range) bool {
	st := w.Stages[stage]
	return slices.ContainsFunc(st.Partitions, func(a topology.Assignment) bool {
		return a.Process == r.of.self && a.Range.Overlaps(rng) && !st.Merges(rng, r.of.self)
	})
}

// stateRequest asks for a state as the metadata says where it is. Which process a node has is looked up anew each time: one may come back
// while others are asked, and to wait for its former one takes long.
func stateRequest(machine *raftfsm.Machine, w *raftfsm.Query, stage topology.StageID, rng topology.Range, epoch topology.Epoch) backup.FetchRequest {
	st := w.Stages[stage]
	return backup.FetchRequest{Query: savedUnder(w, epoch), Stage: stage, Range: rng, Epoch: epoch, Groups: st.Groups, Sets: st.Vaults,
		Empty: emptyBlocks(w, stage, epoch), Current: func(n topology.NodeID) (topology.Process, bool) { return currentProcess(machine.View(), n) },
		Lives: func(n topology.NodeID) bool {
			node := machine.View().Node(n)
			return node != nil && (node.Status == raftfsm.Alive || node.Status == raftfsm.Leaving)
		}}
}

// currentProcess is a node's last known process; false when the node has left for good.
func currentProcess(s *raftfsm.State, id topology.NodeID) (topology.Process, bool) {
	n := s.Node(id)
	if n == nil || n.Status == raftfsm.Left {
		return topology.Process{}, false
	}
	return n.Process(), true
}

func (r *running) waitsFor(stage topology.StageID, what string) {
	r.mu.Lock()
	same := r.waiting[stage] == what
	if what == "" {
		delete(r.waiting, stage)
	} else {
		r.waiting[stage] = what
	}
	r.mu.Unlock()
	if !same {
		r.of.changed()
	}
}

// sealsFailed fails the query when its seals can be written no more. That the log was taken over is an order and no failure: what seals to it
// is placed elsewhere by now.
func (r *running) sealsFailed(err error) {
	if errors.Is(err, backup.ErrFenced) {
		r.log.Info("the seal log was taken over", "error", err)
		return
	}
	r.fail(err)
}

// sealWriter keeps the log that the metadata grants this process.
func (r *running) sealWriter(set topology.SealSet) *backup.SealWriter {
	machine := r.of.machine
	return backup.NewSealWriter(backup.SealConfig{
		Query: r.id, Set: set, Self: r.of.self, Copies: coordinator.Replicas(machine.View()), Vaults: r.of.vaults, Logger: r.log, OnFailed: r.sealsFailed,
		ChangeSet: r.changeSet, Adopted: r.adopted,
		Sets: func(log topology.SealLog) (topology.SealSet, bool) {
			if w := machine.View().Incarnation(r.id.Incarnation); w != nil {
				if have := w.SealLog(log); have != nil {
					return *have, true
				}
			}
			return topology.SealSet{}, false
		},
		Alive:   func(p topology.Process) bool { return machine.View().Lives(p) },
		Current: func(n topology.NodeID) (topology.Process, bool) { return currentProcess(machine.View(), n) },
		Candidates: func() (list []topology.Process) {
			for _, n := range machine.View().Nodes {
				if n.Stays() {
					list = append(list, n.Process())
				}
			}
			return list
		},
	})
}

// changeSet proposes other vaults for the log of this process and gives the set that the cluster has then.
func (r *running) changeSet(ctx context.Context, log topology.SealLog, term topology.Term, version uint64, members []topology.Process) (topology.SealSet, error) {
	out, err := r.of.propose(ctx, raftfsm.Envelope{AtMs: r.of.now().UnixMilli(), Command: &raftfsm.SealSetChange{Query: r.id, Log: log, Term: term, Version: version, Members: members}})
	if err != nil {
		return topology.SealSet{}, err
	}
	s, err := r.of.machine.WaitVersion(ctx, out.Version)
	if err != nil {
		return topology.SealSet{}, err
	}
	if w := s.Incarnation(r.id.Incarnation); w != nil {
		if have := w.SealLog(log); have != nil {
			return *have, nil
		}
	}
	return topology.SealSet{}, fmt.Errorf("seal log %d of query %s is no longer known", log, r.name)
}

// adopted tells the cluster that former owners' logs are part of this process's.
func (r *running) adopted(ctx context.Context, stage topology.StageID, instance uint64, logs []topology.SealLog) error {
	out, err := r.of.propose(ctx, raftfsm.Envelope{AtMs: r.of.now().UnixMilli(), Command: &raftfsm.SealsAdopted{Query: r.id, Stage: stage, Instance: instance, Logs: logs}})
	if err != nil {
		return err
	}
	if out.Code == raftfsm.Stale || out.Code == raftfsm.Refused {
		r.log.Info("nobody waits for adopted seals any more", "why", out.Text)
	}
	return nil
}
