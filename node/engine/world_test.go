package engine_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// world is a cluster's engines in one process under virtual time: the test plays leader, vaults of state and vaults of seals, all of
// which are slow at random, and lose what a vault may lose.
type world struct {
	t       *testing.T
	r       *rand.Rand // what happens
	chance  *rand.Rand // how long things take, drawn by many goroutines at once, so that no seed says it
	catalog *catalog
	plan    *plan.Plan
	limits  engine.Limits
	spill   dataplane.SpillConfig // of every process, each in a directory of its own below Dir; no Dir: logs stay in memory
	hang    chan struct{}         // until it is closed no vault takes a checkpoint of a stage behind the sources; nil: all do
	spilled atomic.Int64          // entries that were read back from disk
	workers int
	ahead   map[topology.NodeID]time.Duration // what nodes' clocks are ahead
	backup  *memoryBackup
	memory  *transport.Memory
	wg      sync.WaitGroup
	steps   atomic.Int64
	t0Ms    int64

	mu        sync.Mutex
	nodes     map[topology.NodeID]*worldNode
	boots     topology.BootID
	instances uint64
	logs      map[topology.SealLog]*worldLog
	placement engine.Placement
	zombies   []*worldNode
	sealed    map[sealedKey]sealedRows // what is released
	onDisk    map[sealedKey]bool
	// took is the last epoch that a process has taken of a stage, gave the first by which it had given rows.
	took, gave map[tracedKey]topology.Epoch
	terms      map[topology.SealLog]int // as the cluster says; a log that is not here has the first one
	killed     int
	adoptions  int
	switches   int
	merges     int // of them, of neighbours on one node
	narrowed   int // partitions that gave a part away
	failed     error
}

// newWorld makes a world for a query whose tables write to dirs, and what chance decides in it.
func newWorld(t *testing.T, c *catalog, sql string, dirs map[string]string, seed uint64, t0Ms int64) *world {
	set := map[string]string{}
	for table, dir := range dirs {
		set[table+".path"] = dir
	}
	r := rand.New(rand.NewPCG(seed, 2))
	p := c.compile(t, sql, set)
	v := variant{nodes: 4, workers: 1 + r.IntN(3), batchRows: 1 + r.IntN(100), forkRows: int64(r.IntN(200))}
	spill := dataplane.SpillConfig{Dir: t.TempDir(), MemoryBytes: []int64{1, 16 << 10}[seed/2%2], DiskBytes: 1 << 30, SegmentBytes: 64 << 10}
	if seed%2 == 0 {
		spill = dataplane.SpillConfig{}
	}
	return &world{spill: spill, t: t, r: r, chance: rand.New(rand.NewPCG(seed, 3)), catalog: c, plan: p, t0Ms: t0Ms, limits: v.options(c).Limits, workers: v.workers, backup: newMemoryBackup(p),
		memory: transport.NewMemory(transport.Options{}), nodes: map[topology.NodeID]*worldNode{}, logs: map[topology.SealLog]*worldLog{},
		sealed: map[sealedKey]sealedRows{}, onDisk: map[sealedKey]bool{}, terms: map[topology.SealLog]int{},
		took: map[tracedKey]topology.Epoch{}, gave: map[tracedKey]topology.Epoch{}}
}

type tracedKey struct {
	node  topology.NodeID
	stage topology.StageID
}

// sealedKey names what a split has in an epoch, sealedRows says what that is.
type sealedKey struct {
	stage topology.StageID
	split string
	epoch topology.Epoch
}

type sealedRows struct {
	from, to int64
	check    uint64
}

// release is invariant 1: what is released of a split's epoch is never anything else. What an owner that gave key groups away says of them
// under its next term counts for nothing. The caller holds the lock.
func (w *world) release(l *worldLog, records []backup.SealRecord) {
	for _, r := range records {
		seals, err := engine.DecodeSeals(r.Data)
		if err != nil {
			w.t.Error(err)
		}
		for _, s := range seals {
			for _, sp := range s.Splits {
				if l.promise > 0 && !w.owns(l.owner, s.Stage, engine.SplitHash(sp.ID)) {
					continue
				}
				key, rows := sealedKey{s.Stage, sp.ID, s.Last}, sealedRows{sp.From, sp.To, sp.Check}
				if have, ok := w.sealed[key]; ok && have != rows {
					w.t.Errorf("epoch %d of split %s of stage %d is released as %+v, before as %+v", s.Last, sp.ID, s.Stage, rows, have)
				}
				w.sealed[key] = rows
			}
		}
	}
}

// forget says that records which were released are on no disk and in no process any more: their epochs are sealed anew. The caller holds
// the lock.
func (w *world) forget(records []backup.SealRecord) {
	w.eachSealed(records, func(k sealedKey) { delete(w.sealed, k) })
}

// write notes what is on disk, where it stays: whoever adopts it has a copy before it goes. The caller holds the lock.
func (w *world) write(records []backup.SealRecord) {
	w.eachSealed(records, func(k sealedKey) { w.onDisk[k] = true })
}

// eachSealed names what records have of splits.
func (w *world) eachSealed(records []backup.SealRecord, f func(sealedKey)) {
	for _, r := range records {
		seals, err := engine.DecodeSeals(r.Data)
		if err != nil {
			w.t.Error(err)
		}
		for _, s := range seals {
			for _, sp := range s.Splits {
				f(sealedKey{s.Stage, sp.ID, s.Last})
			}
		}
	}
}

// owns says whether a process is the one that is to seal a split. The caller holds the lock.
func (w *world) owns(n *worldNode, stage topology.StageID, hash uint64) bool {
	g := topology.GroupOf(hash, w.plan.Stages[stage].Groups)
	return slices.ContainsFunc(w.placement.Stages[stage], func(pl engine.Placed) bool {
		return pl.Role == engine.Active && pl.Range.Contains(g) && pl.Node == n.place.Node && pl.Boot == n.place.Boot
	})
}

// worldNode is one process.
type worldNode struct {
	w     *world
	place topology.Partition // Node and Boot
	node  *engine.Node
	query *engine.Query
	spill *dataplane.Spill
	log   *worldLog
	ctx   context.Context
	stop  context.CancelFunc
	wg    sync.WaitGroup
	news  chan news
	// behind is what it hears news later than most.
	behind time.Duration
}

// news is what a process is told: where everything is, and the term of its own log.
type news struct {
	placement engine.Placement
	term      int
}

// worldLog is one process's seal log as its vaults have it.
type worldLog struct {
	id                topology.SealLog
	records           []backup.SealRecord
	released, durable int // of records
	onMarks           func()
	fenced            bool
	owner             *worldNode
	// term is the owner's, promise what a vault has promised to a successor: nothing is released below it.
	term, promise int
}

// delay is a while, mostly short.
func (w *world) delay() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.chance.IntN(20) == 0 {
		return time.Duration(w.chance.IntN(30_000)) * time.Microsecond
	}
	return time.Duration(w.chance.IntN(700)) * time.Microsecond
}

func (w *world) intN(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.r.IntN(n)
}

// later does f after a while, unless the process has ended.
func (n *worldNode) later(f func()) {
	d := n.w.delay()
	n.wg.Go(func() {
		select {
		case <-time.After(d):
			f()
		case <-n.ctx.Done():
		}
	})
}

// Save puts a checkpoint into the vaults, which takes a while.
func (n *worldNode) Save(c backup.Checkpoint) {
	if hang := n.w.hang; hang != nil && c.Stage > 0 {
		n.wg.Go(func() {
			select {
			case <-hang:
				n.save(c)
			case <-n.ctx.Done():
			}
		})
		return
	}
	n.save(c)
}

func (n *worldNode) save(c backup.Checkpoint) {
	n.madeOfDurable(c)
	n.later(func() {
		n.w.backup.Save(c)
		n.query.Acknowledge(c.Stage, c.Instance, c.Epoch, 0, 0)
	})
}

// madeOfDurable is part of invariant 24: no vault gets what is made of seals that a loss of power may still take away. It keeps the first that it gets
// of an epoch, and what is lost is sealed anew.
func (n *worldNode) madeOfDurable(c backup.Checkpoint) {
	w := n.w
	w.mu.Lock()
	defer w.mu.Unlock()
	reads, source := w.sources(c.Stage), w.plan.Stages[c.Stage].Source >= 0
	for _, other := range w.alive() {
		l := other.log
		if source && other != n {
			continue
		}
		for _, r := range l.records[min(l.durable, l.released):l.released] {
			seals, err := engine.DecodeSeals(r.Data)
			if err != nil {
				w.t.Error(err)
			}
			for _, s := range seals {
				for _, sp := range s.Splits {
					g := topology.GroupOf(engine.SplitHash(sp.ID), w.plan.Stages[s.Stage].Groups)
					if s.First > c.Epoch || !slices.Contains(reads, s.Stage) || source && !c.Range.Contains(g) || w.onDisk[sealedKey{s.Stage, sp.ID, s.Last}] {
						continue
					}
					w.t.Errorf("%s saves epoch %d of stage %d %v, and what %s has sealed of %s in %d to %d is on no disk yet", n.place.Node, c.Epoch, c.Stage, c.Range, other.place.Node, sp.ID, s.First, s.Last)
				}
			}
		}
	}
}

// sources are the source stages that a stage has its rows from, itself if it is one.
func (w *world) sources(stage topology.StageID) (out []topology.StageID) {
	if w.plan.Stages[stage].Source >= 0 {
		return []topology.StageID{stage}
	}
	for _, in := range w.plan.Stages[stage].Inputs {
		out = append(out, w.sources(in.Stage)...)
	}
	return out
}

// Put, Marks and OnMarks are the sealer's.
func (n *worldNode) Put(r backup.SealRecord) {
	l := n.log
	n.w.mu.Lock()
	if l.fenced {
		n.w.mu.Unlock()
		return
	}
	if k := len(l.records); k > 0 && l.records[k-1].Last+1 != r.First || r.Last < r.First {
		n.w.t.Errorf("record [%d,%d] does not follow", r.First, r.Last)
	}
	l.records = append(l.records, r)
	at := len(l.records)
	n.w.mu.Unlock()
	n.write(at)
}

// write brings the log's records up to the at-th to all vaults. What is released already, under a lower term, may still have to become durable.
func (n *worldNode) write(at int) {
	l := n.log
	n.later(func() {
		if l.raise(n.w, &l.released, at) {
			l.onMarks()
		}
		n.later(func() {
			if l.raise(n.w, &l.durable, at) {
				l.onMarks()
			}
		})
	})
}

// raise raises a mark of the log, unless it has been fenced.
func (l *worldLog) raise(w *world, mark *int, to int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mark == &l.durable {
		to = min(to, l.released) // a record that was refused under a lower term is still to be written again
	}
	if l.fenced || l.term < l.promise || to <= *mark {
		return false
	}
	if mark == &l.released {
		w.release(l, l.records[*mark:to])
	} else {
		w.write(l.records[*mark:to])
	}
	*mark = to
	return true
}

func (n *worldNode) Marks() (released, durable topology.Epoch) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	at := func(k int) topology.Epoch {
		if k == 0 {
			return 0
		}
		return n.log.records[k-1].Last
	}
	// What is durable at all vaults is held by all.
	return at(max(n.log.released, n.log.durable)), at(n.log.durable)
}

func (n *worldNode) OnMarks(f func()) { n.log.onMarks = f }

// follow takes a higher term over: what no successor's vault took before is written to all of them again.
func (n *worldNode) follow(term int) {
	n.w.mu.Lock()
	at := len(n.log.records)
	higher := term > n.log.term
	n.log.term = max(n.log.term, term)
	n.w.mu.Unlock()
	if higher && at > 0 {
		n.write(at)
	}
}

// Adopt fences the logs: what was released is there, of the rest any beginning. The owner of a log that it goes on with has its copy of the
// rest still, and writes it again under its next term.
func (n *worldNode) Adopt(ctx context.Context, logs []topology.SealLog) (out []backup.AdoptedLog, err error) {
	select {
	case <-time.After(n.w.delay()):
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.adoptions++
	for _, id := range logs {
		l := n.w.logs[id]
		kept := l.released + n.w.chance.IntN(len(l.records)-l.released+1)
		switch goesOn := n.w.nodes[l.owner.place.Node] == l.owner; {
		case l.fenced:
			kept = len(l.records)
		case goesOn:
			l.promise = max(l.promise, n.w.terms[id])
		default:
			l.fenced, l.records = true, l.records[:kept]
		}
		out = append(out, backup.AdoptedLog{Log: id, Records: slices.Clone(l.records[:kept])})
	}
	return out, nil
}

// Adopted lets the logs go once the adopting record is durable.
func (n *worldNode) Adopted(stage topology.StageID, instance uint64, logs []topology.SealLog, through topology.Epoch) {
	n.wg.Go(func() {
		for {
			if _, durable := n.Marks(); durable >= through {
				break
			}
			select {
			case <-time.After(time.Millisecond):
			case <-n.ctx.Done():
				return
			}
		}
		n.w.change(func(p *engine.Placement) {
			for i := range p.Stages[stage] {
				if p.Stages[stage][i].Instance == instance {
					p.Stages[stage][i].Adopt = nil
				}
			}
		})
	})
}

// change changes the placement and tells every node, each after a while of its own.
func (w *world) change(f func(p *engine.Placement)) {
	w.mu.Lock()
	next := engine.Placement{Complete: w.placement.Complete, Trim: w.placement.Trim, Paused: w.placement.Paused}
	for _, s := range w.placement.Stages {
		next.Stages = append(next.Stages, slices.Clone(s))
	}
	f(&next)
	w.placement = next
	nodes := w.alive()
	said := make([]news, len(nodes))
	for i, n := range nodes {
		said[i] = news{next, w.terms[n.log.id]}
	}
	w.mu.Unlock()
	for i, n := range nodes {
		n.tell(said[i])
	}
}

func (n *worldNode) tell(x news) {
	select {
	case n.news <- x:
	case <-n.ctx.Done():
	}
}

// alive are the nodes by name. The caller holds the lock.
func (w *world) alive() (out []*worldNode) {
	for i := range 20 {
		if n := w.nodes[engine.NodeName(i)]; n != nil {
			out = append(out, n)
		}
	}
	return out
}

// start starts a process and joins it with all others.
func (w *world) start(name topology.NodeID) {
	w.mu.Lock()
	w.boots++
	n := &worldNode{w: w, place: topology.Partition{Node: name, Boot: w.boots}, news: make(chan news, 1000)}
	if w.chance.IntN(4) == 0 {
		n.behind = time.Duration(w.chance.IntN(30)) * time.Millisecond
	}
	n.log = &worldLog{id: topology.SealLog(w.boots), owner: n}
	w.logs[n.log.id] = n.log
	others := w.alive()
	w.mu.Unlock()
	n.ctx, n.stop = context.WithCancel(context.Background())
	config := w.spill
	if config.Dir != "" {
		config.Dir = filepath.Join(config.Dir, fmt.Sprint(n.place.Boot))
	}
	var err error
	if n.spill, err = dataplane.NewSpill(config); err != nil {
		w.t.Fatal(err)
	}
	n.node = engine.NewNode(engine.NodeConfig{ID: name, Boot: n.place.Boot, Workers: w.workers, Limits: w.limits, Spill: n.spill,
		Connectors: w.catalog.connectors, Operators: w.catalog.operators, Clock: func() time.Time { return time.Now().Add(w.ahead[name]) }})
	l, err := w.memory.Node(string(name)).Listen("")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, other := range others {
		accepted := make(chan transport.Conn, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				w.t.Error(err)
			}
			accepted <- conn
		}()
		conn, err := w.memory.Node(string(other.place.Node)).Dial(context.Background(), l.Addr())
		if err != nil {
			w.t.Fatal(err)
		}
		n.join(other, <-accepted)
		other.join(n, conn)
	}
	if err := l.Close(); err != nil {
		w.t.Fatal(err)
	}
	n.query, err = n.node.NewQuery(engine.QueryConfig{ID: topology.QueryID{Incarnation: 7, Generation: 1}, Name: "q", Plan: w.plan, Retain: true,
		T0Ms: w.t0Ms, Sealer: n, Backup: n, Restore: w.restore,
		TraceChains: func(stage topology.StageID, rng topology.Range, epoch topology.Epoch, chains [][]uint64) {
			w.trace(name, stage, epoch, chains)
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	n.wg.Go(func() {
		if err := n.query.Run(n.ctx); !errors.Is(err, context.Canceled) {
			w.mu.Lock()
			w.failed = errors.Join(w.failed, fmt.Errorf("%s: %w", name, err))
			w.mu.Unlock()
		}
	})
	n.wg.Go(func() {
		for {
			select {
			case x := <-n.news:
				time.Sleep(w.delay() + n.behind)
				n.query.Update(x.placement)
				n.follow(x.term) // behind what is another's by now
			case <-n.ctx.Done():
				return
			}
		}
	})
	w.mu.Lock()
	w.nodes[name] = n
	p := w.placement
	w.mu.Unlock()
	if p.Stages != nil {
		n.tell(news{placement: p})
	}
}

// trace notes that a process has taken epochs of a stage up to epoch.
func (w *world) trace(node topology.NodeID, stage topology.StageID, epoch topology.Epoch, chains [][]uint64) {
	rows := false
	for _, groups := range chains {
		rows = rows || slices.ContainsFunc(groups, func(c uint64) bool { return c != 0 })
	}
	w.mu.Lock()
	k := tracedKey{node, stage}
	if _, ok := w.gave[k]; !ok && rows {
		w.gave[k] = epoch
	}
	w.took[k] = max(w.took[k], epoch)
	w.mu.Unlock()
	w.steps.Add(1)
}

// restore reads a range's state from the vaults, which takes a while.
func (w *world) restore(ctx context.Context, stage topology.StageID, r topology.Range, c topology.Epoch, take func([]backup.GroupDelta) error) error {
	select {
	case <-time.After(w.delay()):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return w.backup.restore(ctx, stage, r, c, take)
}

func (n *worldNode) join(peer *worldNode, conn transport.Conn) {
	n.wg.Go(func() {
		_ = n.node.Join(n.ctx, engine.Peer{Node: peer.place.Node, Boot: peer.place.Boot}, conn) // it ends when either of them does
	})
}

// kill ends a process without a word.
func (w *world) kill(name topology.NodeID) {
	w.mu.Lock()
	n := w.nodes[name]
	delete(w.nodes, name)
	n.log.fenced = true
	w.mu.Unlock()
	n.end()
}

// end ends the process, whose files go with it.
func (n *worldNode) end() {
	n.stop()
	n.wg.Wait()
	n.w.spilled.Add(n.spill.Stats().ReadBack)
	if err := errors.Join(n.query.Close(false), n.spill.Close()); err != nil {
		n.w.t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(n.w.spill.Dir, fmt.Sprint(n.place.Boot), "*")); n.w.spill.Dir != "" && (err != nil || len(left) > 0) {
		n.w.t.Errorf("%s/%d left files: %v %v", n.place.Node, n.place.Boot, left, err)
	}
}

// place lays the query out for the first time.
func (w *world) place(nodes int) {
	w.change(func(p *engine.Placement) {
		for _, s := range w.plan.Stages {
			var stage []engine.Placed
			for _, place := range engine.EvenLayout(s, nodes) {
				w.instances++
				place.Boot = w.nodes[place.Node].place.Boot
				stage = append(stage, engine.Placed{Partition: place, Instance: w.instances, Role: engine.Active})
			}
			p.Stages = append(p.Stages, stage)
		}
	})
}

// reassign puts what dead processes had on others, each range split over up to three of them.
func (w *world) reassign() {
	w.change(func(p *engine.Placement) {
		alive := w.alive()
		for s, stage := range p.Stages {
			var out []engine.Placed
			var lost []topology.Range
			for _, pl := range stage {
				if n := w.nodes[pl.Node]; n != nil && n.place.Boot == pl.Boot {
					out = append(out, pl)
					continue
				}
				if pl.Role != engine.Active {
					continue
				}
				lost = append(lost, pl.Range)
				adopt := pl.Adopt
				if w.plan.Stages[s].Source >= 0 {
					adopt = append(slices.Clone(adopt), topology.SealLog(pl.Boot))
				}
				for _, part := range topology.Split(pl.Range.Len(), 1+w.r.IntN(3)) {
					to := alive[w.r.IntN(len(alive))]
					w.instances++
					place := topology.Partition{Stage: pl.Stage, Node: to.place.Node, Boot: to.place.Boot,
						Range: topology.Range{From: pl.Range.From + part.From, To: pl.Range.From + part.To}}
					out = append(out, engine.Placed{Partition: place, Instance: w.instances, Role: engine.Active, Restore: p.Complete, Adopt: adopt})
				}
			}
			// What was to take over a lost range is given up.
			p.Stages[s] = slices.DeleteFunc(out, func(pl engine.Placed) bool {
				return pl.Role == engine.Shadow && slices.ContainsFunc(lost, pl.Range.Overlaps)
			})
		}
	})
}

// everything kills every process at once, together with all vaults: of each log stays what is on disk, and maybe more.
func (w *world) everything() {
	w.mu.Lock()
	for _, n := range w.alive() {
		l := n.log
		l.fenced = true
		kept := max(l.durable, w.r.IntN(len(l.records)+1))
		w.forget(l.records[min(kept, l.released):l.released])
		l.records, l.released = l.records[:kept], kept
	}
	nodes := w.alive()
	w.mu.Unlock()
	for _, n := range nodes {
		w.kill(n.place.Node)
		w.killed++
	}
}

// lose takes a process for dead that is not: it goes on with what it last heard until it is killed, a while later.
func (w *world) lose(name topology.NodeID) {
	w.mu.Lock()
	n := w.nodes[name]
	delete(w.nodes, name)
	w.zombies = append(w.zombies, n)
	w.mu.Unlock()
	w.killed++
}

// bury kills the processes that were taken for dead.
func (w *world) bury() {
	w.mu.Lock()
	for _, n := range w.zombies {
		n.log.fenced = true
	}
	w.mu.Unlock()
	for _, n := range w.zombies {
		n.end()
	}
	w.zombies = nil
}

// lead looks at all nodes once and completes the latest checkpoint that all have. It says whether the query has finished.
func (w *world) lead() bool {
	w.mu.Lock()
	nodes, placement := w.alive(), w.placement
	w.mu.Unlock()
	have := map[uint64]engine.PartitionStatus{}
	for _, n := range nodes {
		for _, p := range n.query.Status().Partitions {
			have[p.Instance] = p
		}
	}
	var lines []topology.Epoch
	for _, p := range have {
		lines = append(lines, append(p.Lines, p.Ended)...)
	}
	slices.Sort(lines)
	over := true
	complete := placement.Complete
	for _, c := range slices.Compact(lines) {
		all := c > complete
		for _, stage := range placement.Stages {
			for _, pl := range stage {
				if pl.Role != engine.Active {
					continue
				}
				p := have[pl.Instance]
				all = all && (slices.Contains(p.Lines, c) || p.Ended > 0 && p.Ended <= c)
			}
		}
		if all {
			complete = c
		}
	}
	for _, stage := range placement.Stages {
		for _, pl := range stage {
			if pl.Role != engine.Active {
				continue
			}
			p := have[pl.Instance]
			over = over && p.Ended > 0 && p.Ended <= complete
		}
	}
	if complete > placement.Complete {
		w.change(func(p *engine.Placement) {
			p.Complete, p.Trim = complete, complete
			for s := range p.Stages {
				for _, pl := range p.Stages[s] {
					if pl.Role == engine.Shadow {
						p.Trim = min(p.Trim, pl.Restore)
					}
				}
				p.Stages[s] = slices.DeleteFunc(p.Stages[s], func(pl engine.Placed) bool { return pl.Role == engine.Retired && w.r.IntN(2) == 0 })
			}
			p.Trim = max(p.Trim, w.placement.Trim)
		})
	}
	w.switchOver(have)
	return over
}

// failure is why the query failed on some node, or nil.
func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed
}

// dump is what all partitions are doing.
func (w *world) dump() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Logf("complete %d, %d killed", w.placement.Complete, w.killed)
	for _, n := range w.alive() {
		for _, p := range n.query.Status().Partitions {
			w.t.Logf("%s/%d %+v", n.place.Node, n.place.Boot, p)
		}
	}
}

func (w *world) end() {
	w.bury()
	for _, n := range func() []*worldNode { w.mu.Lock(); defer w.mu.Unlock(); return w.alive() }() {
		w.kill(n.place.Node)
	}
}
