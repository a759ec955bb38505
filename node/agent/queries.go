package agent

import (
	"context"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// proposeFunc has the leader apply a command, wherever it is.
type proposeFunc func(ctx context.Context, e raftfsm.Envelope) (raftfsm.Outcome, error)

// queries runs what the metadata puts on this process: it compares that with what runs, again with every version.
type queries struct {
	self    topology.Process
	machine *raftfsm.Machine
	node    *engine.Node
	vaults  backup.Vaults
	quiet   func() (end func()) // has the own vault give way
	propose proposeFunc
	changed func() // what is reported has changed; must not block
	log     *slog.Logger
	now     func() time.Time

	ended chan struct{} // some query has ended here, and may begin anew
	turns chan struct{} // holds one element for each state of an active partition that is being fetched in turn

	mu      sync.Mutex
	running map[topology.QueryID]*running
}

func newQueries(self topology.Process, machine *raftfsm.Machine, node *engine.Node, vaults backup.Vaults, quiet func() (end func()), propose proposeFunc, changed func(), log *slog.Logger, now func() time.Time) *queries {
	return &queries{self: self, machine: machine, node: node, vaults: vaults, quiet: quiet, propose: propose, changed: changed, log: log, now: now,
		ended: make(chan struct{}, 1), turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), running: map[topology.QueryID]*running{}}
}

// turnMost is how long a state waits for its turn: those before it may ask a vault that does not answer.
const turnMost = 300 * time.Millisecond

// fetch asks vaults for a state once. In turn, the states of a few active partitions are fetched at a time, one after the other, rather than all at
// once: the first are there earlier, and the last not later.
func (q *queries) fetch(ctx context.Context, r backup.FetchRequest, inTurn bool, take func(chain []backup.GroupDelta) error) error {
	defer q.quiet()()
	if !inTurn {
		return backup.Fetch(ctx, q.vaults, r, take)
	}
	patience := time.NewTimer(turnMost)
	defer patience.Stop()
	select {
	case q.turns <- struct{}{}:
		defer func() { <-q.turns }()
	case <-patience.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return backup.Fetch(ctx, q.vaults, r, take)
}

// run follows the metadata until ctx ends, and returns when all queries have ended here.
func (q *queries) run(ctx context.Context) {
	for ctx.Err() == nil {
		changed := q.machine.Changed()
		q.reconcile(ctx, q.machine.View())
		select {
		case <-changed:
		case <-q.ended:
		case <-ctx.Done():
		}
	}
	q.stop()
}

// reconcile begins what is to run here and does not, ends what is not to, and tells all that goes on how things are.
func (q *queries) reconcile(ctx context.Context, s *raftfsm.State) {
	want := wanted(s, q.self)
	q.mu.Lock()
	defer q.mu.Unlock()
	for id, r := range q.running {
		i := slices.IndexFunc(want, func(w *raftfsm.Query) bool { return w.ID == id })
		if i < 0 || !r.goesOn(want[i].SealSet(q.self)) {
			r.cancel(finished(s, id))
		}
	}
	for _, w := range want {
		r := q.running[w.ID]
		if r == nil {
			r = q.begin(ctx, w)
			q.running[w.ID] = r
		}
		r.follow(s)
	}
	q.changed()
}

// finished says whether the whole query had come to its end.
func finished(s *raftfsm.State, id topology.QueryID) bool {
	query := s.Incarnation(id.Incarnation)
	return query != nil && query.State == raftfsm.Finished
}

func (q *queries) begin(ctx context.Context, w *raftfsm.Query) *running {
	r := newRunning(ctx, q, w)
	go func() {
		r.run()
		q.mu.Lock()
		delete(q.running, w.ID)
		q.mu.Unlock()
		close(r.done)
		select {
		case q.ended <- struct{}{}:
		default:
		}
		q.changed()
	}()
	return r
}

// all are the queries that run here, ascending by id.
func (q *queries) all() []*running {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := make([]*running, 0, len(q.running))
	for _, r := range q.running {
		list = append(list, r)
	}
	slices.SortFunc(list, func(a, b *running) int { return compareQueries(a.id, b.id) })
	return list
}

func compareQueries(a, b topology.QueryID) int {
	switch {
	case a.Incarnation != b.Incarnation && a.Incarnation < b.Incarnation, a.Incarnation == b.Incarnation && a.Generation < b.Generation:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// stop ends all and waits.
func (q *queries) stop() {
	for _, r := range q.all() {
		r.cancel(finished(q.machine.View(), r.id))
		<-r.done
	}
}

// report tells the leader of all that runs here.
func (q *queries) report() []coordinator.QueryReport {
	var list []coordinator.QueryReport
	for _, r := range q.all() {
		list = append(list, r.report())
	}
	return list
}
