package coordinator

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tickMs  = 20
	lineGap = 16 // epochs of 10 ms between checkpoints
)

// world is a cluster of agents that do what the metadata says, with disks that survive and processes that do not.
type world struct {
	t        testing.TB
	rng      *rand.Rand
	now      int64
	state    *raftfsm.State
	nodes    []*agent
	leader   *agent
	electMs  int64
	nodesMem NodesMemory
	mem      map[uint64]*QueryMemory
	reports  []Received
	lossy    bool // commands and reports get lost
	refused  map[string]int64
	cut      map[[2]int]bool // pairs that do not reach each other
	takers   []int           // how many nodes took vaults, in the last ticks: as long as a checkpoint may be under way
	boots    topology.BootID
	// killAfter kills the leader when so many more commands have been applied; 0 never.
	killAfter int
	kinds     map[raftfsm.Kind]int
	harms     int // kinds of what happens
	moves     int // that were begun
	merges    int // of neighbours, that came about
	// applied counts the commands that changed something, appliedBytes their encoding.
	applied, appliedBytes int
}

type diskKey struct {
	query topology.QueryID
	stage topology.StageID
	group topology.KeyGroup
}

// agent is a node: its disk, and its process while it is up.
type agent struct {
	n          int
	id         topology.NodeID
	boot       topology.BootID
	up, frozen bool
	slow       bool // what runs there falls behind
	reset      bool // while frozen its connections are reset, too
	print      topology.Fingerprint
	view       *raftfsm.State
	seq        uint64
	disk       map[diskKey]map[topology.Epoch]bool
	instances  []*running
	since      map[int]int64 // of complaints
}

func (a *agent) process() topology.Process { return topology.Process{Node: a.id, Boot: a.boot} }
func (a *agent) runs() bool                { return a.up && !a.frozen }

type running struct {
	PartitionReport
	query     topology.QueryID
	restoreAt topology.Epoch
	saved     topology.Epoch
	ready     int64 // when it has caught up
}

func newWorld(t testing.TB, seed uint64, nodes int) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: 1_000_000, state: new(raftfsm.State), mem: map[uint64]*QueryMemory{},
		refused: map[string]int64{}, cut: map[[2]int]bool{}, boots: 100, kinds: map[raftfsm.Kind]int{}}
	w.apply(&raftfsm.ClusterInit{ID: 7})
	for i := range nodes {
		a := &agent{n: i, print: "f", id: topology.NodeID(fmt.Sprintf("n%d", i)), disk: map[diskKey]map[topology.Epoch]bool{}}
		w.nodes = append(w.nodes, a)
		w.start(a)
	}
	w.leader = w.nodes[0]
	w.step()
	return w
}

func (w *world) apply(k raftfsm.Command) raftfsm.Outcome {
	next, out := w.state.Apply(raftfsm.Envelope{ID: CommandIDOf(k), AtMs: w.now, Command: k})
	if out.Code == raftfsm.Refused {
		w.refused[fmt.Sprintf("%T: %s", k, out.Text)] = w.now
	}
	if out.Code == raftfsm.Applied {
		w.kinds[k.Kind()]++
		w.count(k)
		if err := next.Check(); err != nil {
			w.t.Fatalf("%T: %v", k, err)
		}
		switch k := k.(type) {
		case *raftfsm.CheckpointComplete:
			w.checkCopies(next, k)
		case *raftfsm.Switch:
			if w.state.Incarnation(k.Query.Incarnation).Stages[k.Stage].Merges(k.Range, w.processAt(next, k)) {
				w.merges++
			}
		}
		w.checkPrints(next)
	}
	w.state = next
	return out
}

// processAt is who has the first key group of what was switched.
func (w *world) processAt(s *raftfsm.State, k *raftfsm.Switch) topology.Process {
	parts := s.Incarnation(k.Query.Incarnation).Stages[k.Stage].Partitions
	return parts[slices.IndexFunc(parts, func(a topology.Assignment) bool { return a.Range.Contains(k.Range.From) })].Process
}

func (w *world) count(k raftfsm.Command) {
	data, err := raftfsm.EncodeCommand(raftfsm.Envelope{ID: CommandIDOf(k), AtMs: w.now, Command: k})
	if err != nil {
		w.t.Fatal(err)
	}
	w.applied++
	w.appliedBytes += len(data)
}

// checkCopies is invariant 11 for what a simulated vault has.
func (w *world) checkCopies(s *raftfsm.State, c *raftfsm.CheckpointComplete) {
	q := s.Incarnation(c.Query.Incarnation)
	for st, stage := range q.Stages {
		for g := range stage.Groups {
			copies := 0
			for _, a := range w.nodes {
				if a.disk[diskKey{q.ID, topology.StageID(st), topology.KeyGroup(g)}][c.Complete] {
					copies++
				}
			}
			if want := max(1, min(Replicas(s), slices.Min(w.takers)-1)); copies < want {
				w.t.Fatalf("epoch %d is complete, and key group %d of stage %d has %d copies, not %d", c.Complete, g, st, copies, want)
			}
		}
	}
}

// checkPrints is invariant 25.
func (w *world) checkPrints(s *raftfsm.State) {
	for _, q := range s.Queries {
		for st, stage := range q.Stages {
			for _, a := range stage.Partitions {
				w.checkPrint(s, q, st, a.Process)
			}
			for _, a := range stage.Shadows {
				w.checkPrint(s, q, st, a.Process)
			}
		}
	}
}

func (w *world) checkPrint(s *raftfsm.State, q *raftfsm.Query, stage int, p topology.Process) {
	if n := s.Node(p.Node); n != nil && n.Process() == p && n.Fingerprint != q.Fingerprint {
		w.t.Fatalf("query %s has fingerprint %s, and stage %d of it is on %v, which has %s", q.Name, q.Fingerprint, stage, p, n.Fingerprint)
	}
}

func (w *world) start(a *agent) {
	w.boots++
	a.boot, a.up, a.frozen, a.instances, a.since = w.boots, true, false, nil, map[int]int64{}
	w.join(a)
}

func (w *world) join(a *agent) {
	k := &raftfsm.NodeJoin{Node: raftfsm.Node{ID: a.id, Boot: a.boot, Addresses: raftfsm.Addresses{Data: string(a.id)}, Fingerprint: a.print}}
	if have := w.state.Node(a.id); have != nil {
		k.Version = have.Version
	}
	w.apply(k)
	a.view = w.state
}

func (w *world) kill(a *agent) { a.up, a.frozen, a.instances = false, false, nil }

func (w *world) addQuery(name string) *raftfsm.Query { return w.addQueryWith(name, 0) }

// addQueryWith adds a query with so many standby shadows.
func (w *world) addQueryWith(name string, standby int) *raftfsm.Query {
	stages := []PlaceStage{
		{Name: "source", Groups: 16, Source: true, Parallelism: 2},
		{Name: "count", Groups: 40, Parallelism: 3, Inputs: []topology.StageID{0}},
		{Name: "sink", Groups: 1, Inputs: []topology.StageID{1}},
	}
	f, adds, grants, err := Place(w.viewAt(), stages)
	if err != nil {
		w.t.Fatal(err)
	}
	out := w.apply(&raftfsm.QueryAdd{Name: name, Incarnation: w.state.Incarnations + 1, Plan: []byte("p"), Fingerprint: f, EpochMs: 10, Stages: adds, Seals: grants, Standby: standby})
	if out.Code != raftfsm.Applied {
		w.t.Fatal(out)
	}
	return w.state.Query(name)
}

func (w *world) viewAt() *View {
	v := &View{State: w.state, Reports: w.reports, NowMs: w.now, Timing: DefaultTiming(), Losses: w.nodesMem.Losses}
	if w.leader != nil {
		v.Leader = w.leader.process()
	}
	return v
}

// step is one tick of everything.
func (w *world) step() {
	w.now += tickMs
	for _, a := range w.nodes {
		if a.runs() {
			w.agentTick(a)
		}
	}
	w.lead()
	takers := 0
	for _, n := range w.state.Nodes {
		if w.viewAt().takes(n) {
			takers++
		}
	}
	w.takers = append(w.takers[max(0, len(w.takers)-99):], takers)
}

func (w *world) lead() {
	if w.leader == nil || !w.leader.runs() {
		if w.leader != nil {
			w.leader, w.electMs = nil, w.now+int64(100+w.rng.IntN(400))
		}
		if w.now < w.electMs {
			return
		}
		if i := slices.IndexFunc(w.nodes, (*agent).runs); i >= 0 {
			w.elect(w.nodes[i])
		}
		return
	}
	v := w.viewAt()
	w.propose(StepNodes(v, &w.nodesMem))
	for _, q := range v.State.Queries {
		m := w.mem[q.ID.Incarnation]
		if m == nil {
			m = new(QueryMemory)
			w.mem[q.ID.Incarnation] = m
		}
		v.Losses = w.nodesMem.Losses
		w.propose(StepQuery(v, q, m))
	}
}

func (w *world) elect(a *agent) {
	w.leader, w.nodesMem, w.mem, w.reports = a, NodesMemory{}, map[uint64]*QueryMemory{}, nil
}

func (w *world) propose(d Decision) {
	for _, k := range d.Commands {
		if w.leader == nil || !w.leader.up {
			return
		}
		if w.lossy && w.rng.IntN(20) == 0 {
			continue
		}
		w.apply(k)
		if w.lossy && w.rng.IntN(20) == 0 {
			w.apply(k) // it was uncertain, and proposed again
		}
		if w.killAfter > 0 {
			if w.killAfter--; w.killAfter == 0 {
				w.kill(w.leader)
				return
			}
		}
	}
}

func (w *world) agentTick(a *agent) {
	if !w.lossy || w.rng.IntN(5) > 0 {
		a.view = w.state
	}
	if n := a.view.Node(a.id); n == nil || n.Boot == a.boot && n.Status == raftfsm.Lost {
		w.join(a)
	}
	var kept []*running
	for _, q := range a.view.Queries {
		for s, st := range q.Stages {
			for _, x := range st.Partitions {
				if x.Process == a.process() {
					kept = append(kept, w.instance(a, q, topology.StageID(s), x.Range, x.Instance, x.Restore, RoleActive))
				}
			}
			for _, x := range st.Shadows {
				if x.Process == a.process() {
					kept = append(kept, w.instance(a, q, topology.StageID(s), x.Range, x.Instance, x.Restore, RoleShadow))
				}
			}
		}
	}
	a.instances = kept
	for _, x := range kept {
		w.run(a, x)
	}
	w.repairSeals(a)
	w.report(a)
}

func (w *world) instance(a *agent, q *raftfsm.Query, s topology.StageID, r topology.Range, n uint64, restore topology.Epoch, role string) *running {
	for _, x := range a.instances {
		if x.query == q.ID && x.Stage == s && x.Instance == n && x.Range.From <= r.From && x.Range.To >= r.To {
			x.Role, x.Range = role, r // it goes on with what it keeps
			return x
		}
	}
	x := &running{query: q.ID, restoreAt: max(restore, q.Complete)}
	x.Stage, x.Range, x.Instance, x.Role, x.Phase = s, r, n, role, PhaseRestoring
	return x
}

// run lets an instance restore, catch up, and save its checkpoints.
func (w *world) run(a *agent, x *running) {
	q := a.view.Incarnation(x.query.Incarnation)
	st := q.Stages[x.Stage]
	if x.Phase == PhaseRestoring {
		if q.TrimPoint() > x.restoreAt {
			x.restoreAt = q.Complete // what it began with is gone
		}
		if !w.restorable(q, x) || !w.adopts(a, q, x) {
			return
		}
		x.Restored, x.Epoch, x.Phase, x.ready = x.restoreAt, x.restoreAt, PhaseCatchingUp, w.now+int64(20+w.rng.IntN(200))
		return
	}
	if w.now < x.ready {
		return
	}
	x.Phase = PhaseRunning
	if w.stands(q, x) || x.Role == RoleActive && !w.adopts(a, q, x) {
		return
	}
	x.Epoch = w.reaches(a, x)
	x.Durable = x.Epoch
	line := x.Epoch / lineGap * lineGap
	w.showChains(st, x, line)
	if w.copied(q, st, x) {
		x.Copied = a.view.Version
	}
	for len(x.Lines) > 0 && x.Lines[0] <= q.Complete {
		x.Lines, x.LineVersions = x.Lines[1:], x.LineVersions[1:]
	}
	if line <= x.saved || line <= x.Restored || x.Role != RoleActive {
		return
	}
	x.saved = line
	all := true
	eachBlock(st, x.Range, func(b topology.BlockID, set *topology.VaultSet) {
		for _, p := range set.Members {
			m := w.at(p)
			if m == nil || !m.runs() || w.cut[[2]int{a.n, m.n}] {
				all = false
				continue
			}
			for g := x.Range.From; g < x.Range.To; g++ {
				if topology.BlockOf(g) == b {
					m.put(diskKey{q.ID, x.Stage, g}, line)
				}
			}
		}
	})
	if all && len(x.Lines) < MaxReportLines {
		x.Lines, x.LineVersions = append(x.Lines, line), append(x.LineVersions, a.view.Version)
	}
}

// copied says whether every member of an instance's vault sets has its state at the complete checkpoint.
func (w *world) copied(q *raftfsm.Query, st *raftfsm.Stage, x *running) bool {
	all := true
	eachBlock(st, x.Range, func(b topology.BlockID, set *topology.VaultSet) {
		for _, p := range set.Members {
			m := w.at(p)
			for g := x.Range.From; g < x.Range.To; g++ {
				if topology.BlockOf(g) == b && q.Complete > 0 {
					all = all && m != nil && m.disk[diskKey{q.ID, x.Stage, g}][q.Complete]
				}
			}
		}
	})
	return all
}

// stands says that an instance is a shadow of a source, which stays where it was restored and does that anew when the complete checkpoint is far
// ahead.
func (w *world) stands(q *raftfsm.Query, x *running) bool {
	if x.Role != RoleShadow || !q.Stages[x.Stage].Source {
		return false
	}
	if q.Complete-x.Restored >= 8*lineGap {
		x.Phase, x.restoreAt = PhaseRestoring, q.Complete
	}
	x.Epoch = x.Restored
	x.Chains = []ChainSum{chainOf(x.Range, x.Restored)}
	return true
}

// reaches is the epoch that an instance has reached by now.
func (w *world) reaches(a *agent, x *running) topology.Epoch {
	now := topology.Epoch(w.now / 10)
	switch {
	case x.Epoch == x.Restored:
		return now // it has just caught up
	case a.slow:
		return min(now, x.Epoch+tickMs/20)
	}
	return min(now, x.Epoch+50)
}

// chainOf is what everybody computes.
func chainOf(r topology.Range, e topology.Epoch) ChainSum {
	return ChainSum{r, e, uint64(e) * uint64(r.Len())}
}

// showChains reports the chains of what others are to take over, at the last lines.
func (w *world) showChains(st *raftfsm.Stage, x *running, line topology.Epoch) {
	x.Chains = nil
	for _, sh := range st.Shadows {
		part := topology.Range{From: max(sh.Range.From, x.Range.From), To: min(sh.Range.To, x.Range.To)}
		if part.Len() <= 0 || x.Role == RoleShadow && x.Instance != sh.Instance {
			continue
		}
		for e := max(x.Restored, line-63*lineGap); e <= line; e += lineGap {
			x.Chains = append(x.Chains, chainOf(part, e))
		}
	}
}

func (a *agent) put(k diskKey, line topology.Epoch) {
	if a.disk[k] == nil {
		a.disk[k] = map[topology.Epoch]bool{}
	}
	a.disk[k][line] = true
}

// at is the node whose present process is p, or nil.
func (w *world) at(p topology.Process) *agent {
	i := slices.IndexFunc(w.nodes, func(a *agent) bool { return a.process() == p })
	if i < 0 {
		return nil
	}
	return w.nodes[i]
}

func (w *world) restorable(q *raftfsm.Query, x *running) bool {
	if x.restoreAt == 0 {
		return true
	}
	for g := x.Range.From; g < x.Range.To; g++ {
		id := q.ID
		if x.restoreAt == q.Since && q.SinceGeneration != 0 {
			if id.Generation = q.SinceGeneration; slices.Contains(q.Empty, topology.BlockRef{Stage: x.Stage, Block: topology.BlockOf(g)}) {
				continue
			}
		}
		set := q.Stages[x.Stage].Vaults[topology.BlockOf(g)]
		if !slices.ContainsFunc(slices.Concat(set.Members, set.Former), func(p topology.Process) bool {
			i := slices.IndexFunc(w.nodes, func(n *agent) bool { return n.id == p.Node })
			m := w.nodes[i]
			return m.runs() && m.disk[diskKey{id, x.Stage, g}][x.restoreAt]
		}) {
			return false
		}
	}
	return true
}

// lost is what of the state that a's partitions need no running node has.
func (w *world) lost(a *agent, q *raftfsm.Query) *LostReport {
	out := &LostReport{Version: q.Version, Complete: q.Complete}
	eachAssignment(q, func(s topology.StageID, p *topology.Assignment) bool {
		if p.Process != a.process() {
			return true
		}
		eachBlock(q.Stages[s], p.Range, func(b topology.BlockID, _ *topology.VaultSet) {
			x := running{restoreAt: q.Complete}
			x.Stage = s
			for g := range b.Range(q.Stages[s].Groups).Len() {
				at := b.Range(q.Stages[s].Groups).From + topology.KeyGroup(g)
				x.Range = topology.Range{From: at, To: at + 1}
				if ref := (topology.BlockRef{Stage: s, Block: b}); p.Range.Contains(at) && !w.restorable(q, &x) && !slices.Contains(out.Blocks, ref) {
					out.Blocks = append(out.Blocks, ref)
				}
			}
		})
		return true
	})
	return out
}

// adopts fences the former owners' logs: one node of each set must be up.
func (w *world) adopts(a *agent, q *raftfsm.Query, x *running) bool {
	i := slices.IndexFunc(q.Stages[x.Stage].Partitions, func(p topology.Assignment) bool { return p.Instance == x.Instance && p.Range == x.Range })
	if i < 0 || len(q.Stages[x.Stage].Partitions[i].Adopt) == 0 {
		return true
	}
	logs := q.Stages[x.Stage].Partitions[i].Adopt
	for _, log := range logs {
		set := q.SealLog(log)
		if set == nil || !slices.ContainsFunc(set.Members, func(p topology.Process) bool {
			return slices.ContainsFunc(w.nodes, func(n *agent) bool { return n.id == p.Node && n.runs() })
		}) {
			return false
		}
	}
	w.apply(&raftfsm.SealsAdopted{Query: q.ID, Stage: x.Stage, Instance: x.Instance, Logs: logs})
	return true
}

// repairSeals is the owner's replacing of vaults that it cannot write to.
func (w *world) repairSeals(a *agent) {
	for _, q := range a.view.Queries {
		set := q.SealSet(a.process())
		if set == nil {
			continue
		}
		good := slices.DeleteFunc(slices.Clone(set.Members), func(p topology.Process) bool {
			n := a.view.Node(p.Node)
			return n == nil || n.Process() != p || !n.Stays()
		})
		if len(good) == len(set.Members) {
			continue
		}
		v := &View{State: a.view, NowMs: w.now, Timing: DefaultTiming()}
		members := v.vaults(vaultNeed{active: []topology.Process{a.process()}, keep: good, hash: []uint64{uint64(set.Log)}})
		if len(members) > 0 {
			w.apply(&raftfsm.SealSetChange{Query: q.ID, Log: set.Log, Term: set.Term, Version: set.Version, Members: members})
		}
	}
}

func (w *world) report(a *agent) {
	a.seq++
	r := &Report{Process: a.process(), Seq: a.seq, Applied: a.view.Version}
	for _, q := range a.view.Queries {
		qr := QueryReport{ID: q.ID}
		if q.State == raftfsm.Waiting {
			qr.Lost = w.lost(a, q)
		}
		for _, x := range a.instances {
			if x.query == q.ID {
				if x.Phase == PhaseRestoring && !w.restorable(q, x) {
					qr.Waiting = "vaults that have its state"
				}
				p := x.PartitionReport
				p.Lines, p.Chains = slices.Clone(p.Lines), slices.Clone(p.Chains)
				qr.Partitions = append(qr.Partitions, p)
			}
		}
		r.Queries = append(r.Queries, qr)
	}
	slices.SortFunc(r.Queries, func(a, b QueryReport) int { return int(a.ID.Incarnation) - int(b.ID.Incarnation) })
	for i, b := range w.nodes {
		n := a.view.Node(b.id)
		if b == a || n == nil || n.Boot == b.boot && b.runs() && !w.cut[[2]int{a.n, i}] {
			delete(a.since, i)
			continue
		}
		if _, ok := a.since[i]; !ok {
			a.since[i] = w.now
		}
		kind := ComplaintEnded
		if n.Boot == b.boot && b.frozen && !b.reset || w.cut[[2]int{a.n, i}] {
			kind = ComplaintSilent
		}
		r.Complaints = append(r.Complaints, Complaint{n.Process(), kind, w.now - a.since[i]})
	}
	if w.leader == nil || !w.leader.runs() || w.lossy && w.rng.IntN(4) == 0 {
		return
	}
	if err := r.Validate(); err != nil {
		w.t.Fatal(err)
	}
	i, ok := slices.BinarySearchFunc(w.reports, r.Process, func(x Received, p topology.Process) int { return compareProcess(x.Report.Process, p) })
	if ok {
		w.reports = slices.Clone(w.reports)
		w.reports[i] = Received{r, w.now}
	} else {
		w.reports = slices.Insert(slices.Clone(w.reports), i, Received{r, w.now})
	}
}

func (w *world) runFor(ms int64) {
	for end := w.now + ms; w.now < end; {
		w.step()
	}
}

// heal starts what is down and lets everything reach everything.
func (w *world) heal() {
	w.lossy, w.cut, w.killAfter = false, map[[2]int]bool{}, 0
	for _, a := range w.nodes {
		a.slow = false
		w.drain(a, false)
		if !a.up {
			w.start(a)
		}
		a.frozen = false
	}
}

// settled says what is not as it should be, "" for nothing.
func (w *world) settled() string {
	v := w.viewAt()
	for _, q := range w.state.Queries {
		if q.State != raftfsm.Running {
			return fmt.Sprintf("query %s is %v: %s; %s", q.Name, q.State, q.Reason, q.Resolves)
		}
		bad := ""
		eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
			if r := v.active(q, s, a); !v.State.Lives(a.Process) || r == nil || r.Phase != PhaseRunning {
				bad = fmt.Sprintf("stage %d %v on %v does not run: %+v", s, a.Range, a.Process, r)
			}
			return bad == ""
		})
		if bad != "" {
			return bad
		}
		if bad = w.pending(v, q); bad != "" {
			return bad
		}
		if late := topology.Epoch(w.now/10) - q.Complete; late > 4*lineGap {
			return fmt.Sprintf("query %s is %d epochs behind its last complete checkpoint", q.Name, late)
		}
	}
	if n := BlocksBelow(v); n > 0 {
		return fmt.Sprintf("%d blocks lack copies", n)
	}
	return ""
}

// pending says what of a query's layout is not as it is wanted.
func (w *world) pending(v *View, q *raftfsm.Query) string {
	nodes := len(v.newHosts(q.Fingerprint, nil).list)
	for s, st := range q.Stages {
		stage := topology.StageID(s)
		if Changing(st) {
			return fmt.Sprintf("query %s: stage %d has shadows %+v", q.Name, s, st.Shadows)
		}
		if want := min(q.StageScale(stage).Want, nodes); want > 0 && Partitions(st) != want {
			return fmt.Sprintf("query %s: stage %d has %d partitions, %d are wanted: %+v", q.Name, s, Partitions(st), want, st.Partitions)
		}
		wanted := max(1, q.StageScale(stage).Want, q.StageScale(stage).Min)
		if q.StageScale(stage).Want == 0 {
			wanted = max(wanted, st.Parallelism)
		}
		for i, a := range st.Partitions {
			if i > 0 && !st.Source && q.Standby == 0 && a.Process == st.Partitions[i-1].Process && len(st.Partitions) > wanted && !slices.Contains(q.StageScale(stage).Borders, a.Range.From) {
				return fmt.Sprintf("query %s: stage %d: %v and its neighbour are on %s, and %d of %d partitions are wanted", q.Name, s, a.Range, a.Process.Node, wanted, len(st.Partitions))
			}
			if v.goes(a.Process) && nodes > 0 {
				return fmt.Sprintf("query %s: stage %d %v is on %s", q.Name, s, a.Range, a.Process.Node)
			}
			if n, _ := standbys(st, a.Range); !st.Source && n != min(q.Standby, max(0, nodes-1)) {
				return fmt.Sprintf("query %s: stage %d %v has %d standbys, not %d as far as nodes go: %+v", q.Name, s, a.Range, n, q.Standby, st.Shadows)
			}
		}
	}
	return ""
}

// converge waits until everything is as it should be and stays so.
func (w *world) converge(withinMs int64) {
	w.t.Helper()
	var bad string
	for end := w.now + withinMs; w.now < end; {
		w.step()
		if bad = w.settled(); bad == "" {
			break
		}
	}
	if bad != "" {
		w.t.Fatalf("not settled after %d ms: %s", withinMs, bad)
	}
	w.runFor(1500)
	if bad = w.settled(); bad != "" {
		w.t.Fatalf("did not stay settled: %s", bad)
	}
	for text, at := range w.refused {
		if w.now-at < 1000 {
			w.t.Fatalf("refused again and again: %s", text)
		}
	}
}
