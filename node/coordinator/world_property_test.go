package coordinator

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// harm does something bad at random.
func (w *world) harm() {
	a := w.nodes[w.rng.IntN(len(w.nodes))]
	up := 0
	for _, b := range w.nodes {
		if b.runs() {
			up++
		}
	}
	switch w.rng.IntN(w.harms) {
	case 0, 1:
		if a.up && up > 2 {
			w.kill(a)
		}
	case 2, 3:
		if !a.up {
			w.start(a)
		}
	case 4:
		a.frozen = a.up && !a.frozen && up > 2
	case 5:
		b := w.nodes[w.rng.IntN(len(w.nodes))]
		if a != b {
			on := !w.cut[[2]int{a.n, b.n}]
			w.cut[[2]int{a.n, b.n}] = on
			if w.rng.IntN(2) == 0 {
				w.cut[[2]int{b.n, a.n}] = on
			}
		}
	case 6:
		if b := w.nodes[w.rng.IntN(len(w.nodes))]; b.runs() {
			w.elect(b)
		}
	case 7:
		if a.up {
			w.kill(a)
			w.start(a)
		}
	case 8, 9:
		w.scale()
	case 10, 11:
		w.drain(a, w.rng.IntN(2) == 0)
	case 12, 13:
		w.move()
	case 14:
		a.slow = !a.slow
	}
}

const (
	deadly  = 8 // harms that are only bad
	elastic = 15
)

// someStage is a random one.
func (w *world) someStage() (*raftfsm.Query, topology.StageID) {
	q := w.state.Queries[w.rng.IntN(len(w.state.Queries))]
	return q, topology.StageID(w.rng.IntN(len(q.Stages)))
}

// scale wants another layout of a stage, as a person or as a policy.
func (w *world) scale() {
	q, s := w.someStage()
	groups := q.Stages[s].Groups
	x := raftfsm.StageScale{Stage: s, Want: 1 + w.rng.IntN(min(5, groups)), Auto: w.rng.IntN(2) == 0}
	if x.Auto && w.rng.IntN(2) == 0 {
		var cuts []topology.KeyGroup
		for _, g := range w.rng.Perm(groups - 1)[:min(x.Want, groups)-1] {
			cuts = append(cuts, topology.KeyGroup(g+1))
		}
		slices.Sort(cuts)
		x.Borders = cuts
	}
	w.asked(&raftfsm.QueryScale{Query: q.ID, ScaleVersion: q.ScaleVersion, Stages: []raftfsm.StageScale{x}, Text: "wanted"})
}

// drain drains a node, or ends that.
func (w *world) drain(a *agent, on bool) {
	if n := w.state.Node(a.id); n != nil {
		w.asked(&raftfsm.NodeDrain{Node: a.id, Version: n.Version, Drain: on})
	}
}

// move puts a partition on another node, as the policy for busy nodes does.
func (w *world) move() {
	q, s := w.someStage()
	part := q.Stages[s].Partitions[w.rng.IntN(len(q.Stages[s].Partitions))]
	to := w.nodes[w.rng.IntN(len(w.nodes))]
	if w.asked(&raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: s, Restore: q.Complete, What: "move", Parts: []raftfsm.Part{{Range: part.Range, Process: to.process()}}}) {
		w.moves++
	}
}

// asked applies what somebody else than the coordinator asks for, who may be refused.
func (w *world) asked(k raftfsm.Command) bool {
	next, out := w.state.Apply(raftfsm.Envelope{AtMs: w.now, Command: k})
	if err := next.Check(); err != nil {
		w.t.Fatalf("%T: %v", k, err)
	}
	w.state = next
	return out.Code == raftfsm.Applied
}

func TestInvariants11And14And22HoldWhateverDies(t *testing.T) { whateverHappens(t, deadly) }

// TestInvariants11And14And22HoldWhateverDiesWhileStagesAreScaledAndNodesDrained: stages are scaled, nodes are drained, partitions moved, and some fall
// behind so that others are brought up beside them; one query keeps one to three standby shadows. In the end everything is as wanted, and a node that is
// drained is named by nothing.
func TestInvariants11And14And22HoldWhateverDiesWhileStagesAreScaledAndNodesDrained(t *testing.T) {
	whateverHappens(t, elastic)
}

// TestInvariant25NothingIsPlacedWhereTheFingerprintDiffers: nodes come back as other binaries than they were, and stay that or not, while everything else
// happens to them.
func TestInvariant25NothingIsPlacedWhereTheFingerprintDiffers(t *testing.T) {
	others := 0
	for seed := range 20 {
		w := newWorld(t, uint64(seed), 6)
		w.harms = elastic
		w.addQuery("a")
		w.addQueryWith("b", 1+seed%2)
		w.runFor(600)
		for range 15 {
			if a := w.nodes[w.rng.IntN(4)]; w.rng.IntN(3) == 0 { // two stay as they are
				w.kill(a)
				a.print = []topology.Fingerprint{"f", "g"}[w.rng.IntN(2)]
				w.start(a)
			}
			w.harm()
			w.runFor(int64(20 + w.rng.IntN(600)))
			for _, n := range w.state.Nodes {
				if n.Fingerprint == "g" {
					others++
				}
			}
		}
	}
	if others == 0 {
		t.Error("no node had another fingerprint")
	}
}

func whateverHappens(t *testing.T, harms int) {
	schedules := 60
	if testing.Short() {
		schedules = 10
	}
	if n, err := strconv.Atoi(os.Getenv("SEEPNODE_ROUNDS")); err == nil {
		schedules = n
	}
	kinds, deaths, moves, merges := map[raftfsm.Kind]int{}, 0, 0, 0
	for seed := range schedules {
		ok := t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := newWorld(t, uint64(seed), 3+seed%4)
			w.harms = harms
			w.addQuery("a")
			w.addQueryWith("b", harms/elastic*(1+seed/4%3))
			w.runFor(600)
			w.lossy = true
			for range 10 + w.rng.IntN(15) {
				w.harm()
				w.runFor(int64(20 + w.rng.IntN(900)))
			}
			w.heal()
			for _, q := range w.state.Queries {
				if q.State == raftfsm.Failed {
					// So many deaths one after the other in the same epochs look like a row that kills.
					t.Log(q.Reason)
					deaths++
					return
				}
			}
			w.converge(180_000)
			if harms == elastic {
				w.emptied(w.nodes[w.rng.IntN(len(w.nodes))])
			}
			moves, merges = moves+w.moves, merges+w.merges
			for k, n := range w.kinds {
				kinds[k] += n
			}
		})
		if !ok {
			break
		}
	}
	must := []raftfsm.Kind{raftfsm.KindReassign, raftfsm.KindVaultsChange, raftfsm.KindNodeBlame, raftfsm.KindHistoryAdd}
	if harms == elastic {
		must = append(must, raftfsm.KindShadow, raftfsm.KindSwitch, raftfsm.KindShadowDrop)
		if moves == 0 || merges == 0 {
			t.Errorf("%d partitions were moved, and neighbours became one %d times", moves, merges)
		}
	}
	for _, k := range must {
		if kinds[k] == 0 {
			t.Errorf("no command of kind %d was applied: this shows nothing of it", k)
		}
	}
	if deaths > schedules/8 {
		t.Errorf("%d of %d schedules of random kills were taken for queries of death", deaths, schedules)
	}
	t.Log(kinds, merges)
}

// emptied drains a node until nothing names it, and takes it away.
func (w *world) emptied(a *agent) {
	w.drain(a, true)
	for end := w.now + 120_000; len(w.state.NamedBy(a.id, 1)) > 0; w.step() {
		if w.now > end {
			w.t.Fatalf("%s is drained and named by %v", a.id, w.state.NamedBy(a.id, 5))
		}
	}
	before := w.kinds[raftfsm.KindReassign]
	w.kill(a)
	w.runFor(10_000)
	if w.kinds[raftfsm.KindReassign] != before {
		w.t.Fatalf("%s was drained, and its death cost something", a.id)
	}
}

func TestInvariant26TheLeaderMayDieAroundAnyCommand(t *testing.T) {
	for after := 1; after <= 25; after++ {
		t.Run(fmt.Sprint(after), func(t *testing.T) {
			w := newWorld(t, uint64(after), 5)
			w.addQuery("a")
			w.runFor(600)
			w.kill(w.nodes[1+after%4])
			w.killAfter = after
			w.runFor(6000 + DefaultTiming().Returns) // behind which copies are decided on
			w.converge(20_000)
			if !w.nodes[0].up || w.leader != w.nodes[0] {
				// Two nodes are gone, and nobody did anything about it but the coordinator.
				w.heal()
				w.converge(20_000)
			}
		})
	}
}

func TestAWholeClusterThatIsKilledComesBackWithItsDisks(t *testing.T) {
	w := newWorld(t, 1, 5)
	q := w.addQuery("a")
	w.runFor(1000)
	before := w.state.Query("a").Complete
	for _, a := range w.nodes {
		w.kill(a)
	}
	w.runFor(1000)
	for _, a := range w.nodes {
		w.start(a)
		w.runFor(int64(w.rng.IntN(300)))
	}
	w.converge(20_000)
	if got := w.state.Query("a"); before == 0 || got.Complete <= before || got.ID != q.ID {
		t.Fatalf("complete %d before, %d after, %v", before, got.Complete, got.ID)
	}
}

func TestAQueryWaitsForVaultsThatAreGoneAndGoesOnWhenTheyReturn(t *testing.T) {
	w := newWorld(t, 1, 3)
	w.addQuery("a")
	w.runFor(1000)
	// Everybody but one dies at once: with it the active partitions or both copies of some block.
	w.kill(w.nodes[1])
	w.kill(w.nodes[2])
	w.runFor(5000)
	if q := w.state.Query("a"); q.State == raftfsm.Waiting && q.Resolves == "" {
		t.Fatalf("it waits and does not say for what")
	}
	w.heal()
	w.converge(20_000)
}

func TestInvariant22ALeavingNodeHandsEverythingOver(t *testing.T) {
	w := newWorld(t, 4, 5)
	w.addQuery("a")
	w.runFor(1000)
	n := w.state.Node("n1")
	w.apply(&raftfsm.NodeStatus{Process: n.Process(), Version: n.Version, Status: raftfsm.Leaving, Reason: "SIGTERM"})
	var before = w.kinds[raftfsm.KindReassign]
	w.runFor(5000)
	if n := w.state.Node("n1"); n.Status != raftfsm.Left {
		t.Fatalf("n1 is %v; it is named by %v", n.Status, w.state.NamedBy("n1", 5))
	}
	if w.kinds[raftfsm.KindReassign] != before || w.kinds[raftfsm.KindSwitch] == 0 {
		t.Fatal("its partitions were taken, not handed over")
	}
	w.nodes[1].up = false
	w.converge(5000)
}

func TestOfTwoNodesOneLeavesAndTheOtherKeepsEverything(t *testing.T) {
	for _, leaving := range []topology.NodeID{"n0", "n1"} {
		w := newWorld(t, 4, 2)
		w.addQuery("a")
		w.runFor(1000)
		n := w.state.Node(leaving)
		w.apply(&raftfsm.NodeStatus{Process: n.Process(), Version: n.Version, Status: raftfsm.Leaving, Reason: "SIGTERM"})
		w.runFor(3000)
		if named := w.state.NamedBy(leaving, 5); len(named) > 0 {
			t.Fatalf("%s is named by %v", leaving, named)
		}
	}
}

func TestInvariant12StepsAreAFunctionOfViewAndMemory(t *testing.T) {
	w := newWorld(t, 9, 5)
	w.addQuery("a")
	w.runFor(1000)
	w.kill(w.nodes[2])
	w.kill(w.nodes[3])
	for range 100 {
		v := w.viewAt()
		for _, q := range v.State.Queries {
			m := QueryMemory{}
			if have := w.mem[q.ID.Incarnation]; have != nil {
				m = *have
			}
			var texts []string
			for range 2 {
				again := m
				var text string
				for _, k := range StepQuery(v, q, &again).Commands {
					data, err := raftfsm.EncodeCommand(raftfsm.Envelope{Command: k})
					if err != nil {
						t.Fatal(err)
					}
					text += string(data)
				}
				texts = append(texts, text)
			}
			if texts[0] != texts[1] {
				t.Fatalf("decided once\n%s\nand once\n%s", texts[0], texts[1])
			}
		}
		w.step()
	}
}

func TestInvariant23ARowThatKillsItsProcessTakesTwoAtMost(t *testing.T) {
	w := newWorld(t, 3, 6)
	w.addQuery("poisoned")
	w.addQuery("other")
	w.runFor(1000)
	poison := topology.Epoch(0)
	died := 0
	for range 1000 {
		w.step()
		q := w.state.Query("poisoned")
		if q.State == raftfsm.Failed {
			break
		}
		part := q.Stages[2].Partitions[0]
		a := w.at(part.Process)
		if a == nil || !a.up {
			continue
		}
		for _, x := range a.instances {
			if x.query != q.ID || x.Stage != 2 || x.Phase == PhaseRestoring {
				continue
			}
			if poison == 0 {
				poison = x.Epoch
			} else if x.Phase == PhaseRunning {
				t.Fatal("it got beyond the row")
			}
			x.Epoch = poison // as far as it told before it died
			w.report(a)
			w.kill(a)
			died++
			break
		}
	}
	q := w.state.Query("poisoned")
	if q.State != raftfsm.Failed || died != 2 {
		t.Fatalf("%d processes died, the query is %v: %s", died, q.State, q.Reason)
	}
	w.runFor(2000)
	if other := w.state.Query("other"); other.State != raftfsm.Running {
		t.Fatalf("the other query is %v: %s", other.State, other.Reason)
	}
}

// Connections of a process end, and it lives: it joins again when it hears that it was taken for lost, a while later. The next one is lost in the same
// epochs, before or after that.
func TestProcessesThatLiveHaveNotDiedOfARow(t *testing.T) {
	for name, silent := range map[string]int64{"back before the next is lost": 100, "back after the next was lost": 1000} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 3, 6)
			w.addQuery("a")
			w.runFor(1000)
			at, losses := topology.Epoch(0), 0
			back := map[*agent]int64{}
			for end := w.now + 10_000; w.now < end; w.step() {
				for a, ms := range back {
					if w.now >= ms {
						a.frozen = false
						delete(back, a)
					}
				}
				part := w.state.Query("a").Stages[2].Partitions[0]
				a := w.at(part.Process)
				if a == nil || !a.runs() || a == w.leader || losses >= 8 {
					continue
				}
				for _, x := range a.instances {
					if x.Stage != 2 || x.Instance != part.Instance || x.Phase == PhaseRestoring || at > 0 && x.Phase != PhaseCatchingUp {
						continue
					}
					if at == 0 {
						at = x.Epoch
					}
					x.Epoch = at // as far as it told
					w.report(a)
					a.frozen, a.reset, back[a] = true, true, w.now+silent
					losses++
					break
				}
			}
			if q := w.state.Query("a"); w.kinds[raftfsm.KindReassign] < 4 || q.State != raftfsm.Running {
				t.Fatalf("%d connections ended, %d recoveries; the query is %v: %s", losses, w.kinds[raftfsm.KindReassign], q.State, q.Reason)
			}
			w.converge(5000)
		})
	}
}

// TestALossIsForgottenWhenTheProcessIsThereAgain: also when the leader has not seen that it was away.
func TestALossIsForgottenWhenTheProcessIsThereAgain(t *testing.T) {
	w := newWorld(t, 3, 4)
	w.addQuery("a")
	w.runFor(1000)
	n := *w.state.Nodes[slices.IndexFunc(w.state.Nodes, func(n *raftfsm.Node) bool { return n.Process() != w.leader.process() })]
	var m NodesMemory
	v := w.viewAt()
	Nodes(v, &m)
	m.Losses = []Loss{{Process: n.Process(), AtMs: v.NowMs, Died: true}}
	if Nodes(v, &m); len(m.Losses) != 1 {
		t.Fatalf("%+v", m.Losses)
	}
	n.Version += 2 // lost, and joined again
	v.State = withNode(v.State, &n)
	if Nodes(v, &m); len(m.Losses) != 0 {
		t.Errorf("%s lives, and is remembered to have died: %+v", n.ID, m.Losses)
	}
}

// TestWhoDiedBeforeMayLiveToo: the last one is gone for certain, and the connections of the one before it ended just now.
func TestWhoDiedBeforeMayLiveToo(t *testing.T) {
	w := newWorld(t, 3, 4)
	w.addQuery("a")
	w.runFor(1000)
	v := w.viewAt()
	q := *v.State.Query("a")
	st := *q.Stages[1]
	st.Partitions = slices.Clone(st.Partitions)
	a := &st.Partitions[0]
	before := v.State.Nodes[slices.IndexFunc(v.State.Nodes, func(n *raftfsm.Node) bool { return n.Process() != a.Process })].Process()
	a.Deaths, a.Died = 1, before
	q.Stages = slices.Clone(q.Stages)
	q.Stages[1] = &st
	gone := a.Process
	gone.Boot += 1000 // another process has its node's name
	a.Process = gone
	v.Losses = []Loss{{Process: before, AtMs: v.NowMs - 500, Died: true}, {Process: gone, AtMs: v.NowMs, Died: true}}
	lost := []topology.Process{gone}
	if !v.mayLive(append(diedBefore(&q, lost), lost...)) || v.mayLive(lost) {
		t.Errorf("%v may live: %v; one of %v may: %v", before, v.mayLive(append(diedBefore(&q, lost), lost...)), lost, v.mayLive(lost))
	}
	v.NowMs += v.Timing.Silence
	if v.mayLive(append(diedBefore(&q, lost), lost...)) {
		t.Errorf("%v is waited for after %d ms", before, v.Timing.Silence)
	}
}
