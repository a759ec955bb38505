package coordinator

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// commandsOf names the kinds of a decision.
func commandsOf(d Decision) (out []raftfsm.Kind) {
	for _, k := range d.Commands {
		out = append(out, k.Kind())
	}
	return out
}

// eachReported changes what is reported of each partition, in reports of the view's own; i is the report's number.
func eachReported(v *View, change func(i int, p *PartitionReport)) {
	for i := range v.Reports {
		r := *v.Reports[i].Report
		r.Queries = slices.Clone(r.Queries)
		for j := range r.Queries {
			r.Queries[j].Partitions = slices.Clone(r.Queries[j].Partitions)
			for k := range r.Queries[j].Partitions {
				change(i, &r.Queries[j].Partitions[k])
			}
		}
		v.Reports[i].Report = &r
	}
}

func TestWhoIsTakenForLost(t *testing.T) {
	const now = 100_000
	at := func(kind string, by int, since int64) func(*View, []topology.Process) {
		return func(v *View, p []topology.Process) {
			r := v.Reports[by].Report
			r.Complaints = append(r.Complaints, Complaint{p[3], kind, since})
		}
	}
	heard := func(ms int64) func(*View, []topology.Process) {
		return func(v *View, _ []topology.Process) { v.Reports[3].AtMs = now - ms }
	}
	// The leader complains of a process.
	silent := func(of int, since int64) func(*View, []topology.Process) {
		return func(v *View, p []topology.Process) {
			v.Reports[of].AtMs = now - since - 100
			r := v.Reports[0].Report
			r.Complaints = append(r.Complaints, Complaint{p[of], ComplaintSilent, since})
		}
	}
	for _, c := range []struct {
		name string
		want raftfsm.Kind
		with []func(*View, []topology.Process)
	}{
		{"nobody complains", 0, nil},
		{"one saw its connection end", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(500), at(ComplaintEnded, 1, 20)}},
		{"both tell that the connection between them ended", 0, []func(*View, []topology.Process){heard(20), at(ComplaintEnded, 1, 20), func(v *View, p []topology.Process) {
			r := v.Reports[3].Report
			r.Complaints = append(r.Complaints, Complaint{p[1], ComplaintEnded, 20})
		}}},
		{"both told, and one has told nothing since", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(1500), at(ComplaintEnded, 1, 1500), func(v *View, p []topology.Process) {
			r := v.Reports[3].Report
			r.Complaints = append(r.Complaints, Complaint{p[1], ComplaintEnded, 20})
		}}},
		{"it reported after that", 0, []func(*View, []topology.Process){heard(0), at(ComplaintEnded, 1, 500)}},
		{"one has heard nothing for 500 ms", 0, []func(*View, []topology.Process){heard(600), at(ComplaintSilent, 1, 500)}},
		{"two have", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(600), at(ComplaintSilent, 1, 500), at(ComplaintSilent, 2, 450)}},
		{"one has for a second", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(1100), at(ComplaintSilent, 1, 1000)}},
		{"serf says so since a moment", 0, []func(*View, []topology.Process){heard(2000), at(ComplaintSerf, 1, 1000)}},
		{"serf is certain", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(2900), at(ComplaintSerf, 1, 3000)}},
		{"serf is certain and wrong", 0, []func(*View, []topology.Process){heard(100), at(ComplaintSerf, 1, 5000)}},
		{"it does not report, and one complains", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(3100), at(ComplaintSilent, 1, 10)}},
		{"it does not report, and nobody complains", 0, []func(*View, []topology.Process){heard(3100)}},
		{"it does not report for long", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(6100)}},
		{"nobody can read its reports", 0, []func(*View, []topology.Process){heard(9000), at(ComplaintSilent, 1, 1000), func(v *View, p []topology.Process) {
			v.Unread = []Sign{{p[3], now - 200}}
		}}},
		{"who has heard nothing of it does not report either", 0, []func(*View, []topology.Process){heard(2000), at(ComplaintSilent, 1, 300), func(v *View, _ []topology.Process) {
			v.Reports[1].AtMs = now - 1500
		}}},
		{"the leader hears nothing of most", 0, []func(*View, []topology.Process){heard(1600), at(ComplaintSilent, 0, 1500), silent(1, 1500), silent(2, 1500)}},
		{"the leader hears nothing of most for 3 s", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(2990), at(ComplaintSilent, 0, 3000), silent(1, 1500), silent(2, 1500)}},
		{"the leader hears nothing of half", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(1600), at(ComplaintSilent, 0, 1500), silent(1, 900)}},
		{"the leader hears nothing of most, and a connection ended", raftfsm.KindNodeStatus, []func(*View, []topology.Process){heard(1600), at(ComplaintEnded, 0, 20), silent(1, 900), silent(2, 900)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, p := fiveNodes(t, now)
			for _, change := range c.with {
				change(v, p)
			}
			m := NodesMemory{BeganMs: now - 10_000, LastMs: now - 100}
			for _, x := range p {
				m.Lives = append(m.Lives, Life{Process: x})
			}
			d := Nodes(v, &m)
			if got := commandsOf(d); c.want == 0 && len(got) > 0 || c.want != 0 && !slices.Equal(got, []raftfsm.Kind{c.want}) {
				t.Fatalf("commands %v", got)
			}
			if c.want != 0 && d.Commands[0].(*raftfsm.NodeStatus).Process != p[3] {
				t.Fatalf("%+v", d.Commands[0])
			}
		})
	}
}

// fiveNodes is a view of n0 to n4, which have all reported now.
func fiveNodes(t *testing.T, now int64) (*View, []topology.Process) {
	w := newWorld(t, 1, 5)
	v := &View{State: w.state, NowMs: now, Leader: w.nodes[0].process(), Timing: DefaultTiming()}
	var p []topology.Process
	for _, a := range w.nodes {
		p = append(p, a.process())
		v.Reports = append(v.Reports, Received{&Report{Process: a.process(), Seq: 1}, now})
	}
	return v, p
}

func TestANewLeaderTakesNobodyForLostForWantOfReports(t *testing.T) {
	v, _ := fiveNodes(t, 100_000)
	v.Reports = nil
	var m NodesMemory
	for ; v.NowMs <= 103_000; v.NowMs += 100 {
		if d := Nodes(v, &m); len(d.Commands) > 0 {
			t.Fatalf("after %d ms: %v", v.NowMs-100_000, d.Commands)
		}
	}
	v.NowMs = 103_050
	if d := Nodes(v, &m); len(d.Commands) != 4 {
		t.Fatalf("%d lost, want all but the leader", len(d.Commands))
	}
	// A leader that was frozen itself has lost nobody.
	m = NodesMemory{BeganMs: 1, LastMs: 103_000}
	v.NowMs = 110_000
	if d := Nodes(v, &m); len(d.Commands) > 0 {
		t.Fatalf("after it stood still: %v", d.Commands)
	}
}

func TestOfTwoThatDoNotReachEachOtherTheOneWithMoreComplaintsIsBlamed(t *testing.T) {
	v, p := fiveNodes(t, 100_000)
	var m NodesMemory
	var d Decision
	for range 15 {
		for i := range v.Reports {
			v.Reports[i].AtMs = v.NowMs
			v.Reports[i].Report.Complaints = nil
		}
		for _, pair := range [][2]int{{1, 2}, {2, 1}, {3, 2}} {
			r := v.Reports[pair[0]].Report
			r.Complaints = append(r.Complaints, Complaint{p[pair[1]], ComplaintSilent, 500 + v.NowMs - 100_000})
		}
		if d = Nodes(v, &m); len(d.Commands) > 0 {
			break
		}
		v.NowMs += 100
	}
	if len(d.Commands) != 1 || v.NowMs-100_000 != 1000 {
		t.Fatalf("after %d ms: %v", v.NowMs-100_000, d.Commands)
	}
	if k, ok := d.Commands[0].(*raftfsm.NodeBlame); !ok || k.Process != p[2] || k.UntilMs != v.NowMs+60_000 {
		t.Fatalf("%+v", d.Commands[0])
	}
}

func TestPlaceNamesTheOperatorThatIsMissing(t *testing.T) {
	v, p := fiveNodes(t, 100_000)
	stages := []PlaceStage{{Name: "tolls", Groups: 256, Source: true, Parallelism: 4, Operators: []string{"toll_calculator"}}}
	_, _, _, err := Place(v, stages)
	var missing *PlaceError
	if !errors.As(err, &missing) || !strings.Contains(missing.Text, "toll_calculator on n0") {
		t.Fatalf("error %v", err)
	}
	stages[0].Operators = nil
	_, adds, grants, err := Place(v, stages)
	if err != nil {
		t.Fatal(err)
	}
	if len(adds[0].Parts) != 4 || len(adds[0].Vaults) != 16 || len(grants) != 4 {
		t.Fatalf("%d parts, %d vault sets, %d seal logs", len(adds[0].Parts), len(adds[0].Vaults), len(grants))
	}
	for _, part := range adds[0].Parts {
		if part.Process == p[0] {
			t.Fatal("a partition on the leader's node though others have room")
		}
	}
	for b, members := range adds[0].Vaults {
		for _, part := range adds[0].Parts {
			if part.Range.Overlaps(topology.BlockID(b).Range(256)) && slices.Contains(members, part.Process) || len(members) != 2 {
				t.Fatalf("block %d: vaults %v, active %v", b, members, part.Process)
			}
		}
	}
}

func TestNodesOfRoleControlGetNoPartitionsAndKeepCopies(t *testing.T) {
	v, p := fiveNodes(t, 100_000)
	control := []topology.Process{p[0], p[1], p[2]}
	for _, x := range control {
		v.State.Node(x.Node).Tags = []raftfsm.KV{{Key: raftfsm.RoleTag, Value: raftfsm.RoleControl}}
	}
	stages := []PlaceStage{{Name: "s", Groups: 256, Source: true, Parallelism: 8}}
	_, adds, _, err := Place(v, stages)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range adds[0].Parts {
		if slices.Contains(control, part.Process) {
			t.Fatalf("a partition on %v", part.Process)
		}
	}
	if !slices.ContainsFunc(adds[0].Vaults, func(m []topology.Process) bool { return slices.Contains(m, p[1]) }) {
		t.Fatal("no copy on a node of role control")
	}
	for _, x := range p[3:] {
		v.State.Node(x.Node).Tags = v.State.Node(p[0].Node).Tags
	}
	var none *PlaceError
	if _, _, _, err := Place(v, stages); !errors.As(err, &none) || !strings.Contains(none.Text, "role control") {
		t.Fatalf("error %v", err)
	}
}

func TestAClusterOfOneIsItsOwnVault(t *testing.T) {
	w := newWorld(t, 1, 1)
	q := w.addQuery("a")
	if got := q.Stages[1].Vaults[0].Members; len(got) != 1 || got[0] != w.nodes[0].process() {
		t.Fatalf("vaults %v", got)
	}
	w.runFor(1000)
	w.kill(w.nodes[0])
	w.runFor(500)
	w.start(w.nodes[0])
	w.converge(5000)
	if BlocksBelow(w.viewAt()) != 0 {
		t.Fatal("blocks lack copies")
	}
}

// A checkpoint that vaults acknowledged before they were replaced may be complete later, and then only they have it.
func TestFormerVaultsAreKeptWhileOnlyTheyMayHaveWhatIsToBeComplete(t *testing.T) {
	for _, c := range []struct {
		name            string
		say             func(p *PartitionReport, complete topology.Epoch)
		completed, kept bool
	}{
		{"the present ones hold all", func(*PartitionReport, topology.Epoch) {}, false, false},
		{"a line of before", func(p *PartitionReport, c topology.Epoch) {
			p.Lines, p.LineVersions = []topology.Epoch{c + 16}, []uint64{3}
		}, false, true},
		{"a line of now", func(p *PartitionReport, c topology.Epoch) {
			p.Lines, p.LineVersions = []topology.Epoch{c + 16}, []uint64{7}
		}, false, false},
		{"an end of before", func(p *PartitionReport, c topology.Epoch) { p.Ended, p.EndedVersion = c+16, 3 }, false, true},
		{"an end of now", func(p *PartitionReport, c topology.Epoch) { p.Ended, p.EndedVersion = c+16, 7 }, false, false},
		{"complete since they said so", func(*PartitionReport, topology.Epoch) {}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1, 4)
			w.addQuery("a")
			w.runFor(2000)
			v := w.viewAt()
			q := v.State.Query("a")
			eachReported(v, func(i int, p *PartitionReport) {
				p.Copied, p.Lines, p.LineVersions, p.Ended = 9, nil, nil, 0
				c.say(p, q.Complete)
			})
			for s := range q.Stages {
				for b := range q.Stages[s].Vaults {
					set := &q.Stages[s].Vaults[b]
					set.Changed, set.Former = 5, []topology.Process{{Node: "gone", Boot: 1}}
					if c.completed {
						set.Completed = 10
					}
				}
			}
			forgets := 0
			for _, k := range Replicate(v, q, new(QueryMemory)).Commands {
				for _, ch := range k.(*raftfsm.VaultsChange).Changes {
					if ch.Forget {
						forgets++
					}
				}
			}
			if (forgets == 0) != c.kept {
				t.Errorf("%d blocks forget who had them", forgets)
			}
		})
	}
}

// Nodes flap: each in turn falls silent and comes back, before what the ones before it had runs again.
func TestCopiesDoNotWaitForRecoveriesThatFollowEachOtherWithoutABreak(t *testing.T) {
	w := newWorld(t, 1, 7)
	q := w.addQuery("a")
	w.runFor(2000)
	i := slices.IndexFunc(q.Stages[1].Vaults[0].Members, func(p topology.Process) bool { return p != w.leader.process() })
	gone := w.at(q.Stages[1].Vaults[0].Members[i])
	w.kill(gone)
	var flapping *agent
	for end, next := w.now+2*w.viewAt().Timing.Copies, w.now; w.now < end; w.step() {
		for _, a := range w.nodes {
			for _, x := range a.instances {
				if x.Phase == PhaseCatchingUp {
					x.ready = w.now + 1000 // it takes for ever
				}
			}
		}
		if w.now < next {
			continue
		}
		next = w.now + 2000
		if flapping != nil {
			flapping.frozen = false
		}
		i := slices.IndexFunc(w.nodes, func(a *agent) bool { return a != w.leader && a != flapping && a.runs() && len(a.instances) > 0 })
		flapping = w.nodes[i]
		flapping.frozen = true
	}
	v := w.viewAt()
	q = v.State.Query("a")
	if q.State != raftfsm.Running || !v.recovering(q) {
		t.Fatalf("the query is %v, something is recovered: %v", q.State, v.recovering(q))
	}
	for s, st := range q.Stages {
		for b := range st.Vaults {
			if slices.ContainsFunc(st.Vaults[b].Members, func(p topology.Process) bool { return p.Node == gone.id }) {
				t.Errorf("block %d of stage %d is to have a copy on the node that is gone", b, s)
			}
		}
	}
}

func TestNothingIsCopiedWhereAProcessIsOnlyRestarted(t *testing.T) {
	for _, test := range []struct {
		after  int64
		copied bool
	}{{500, false}, {1500, false}, {10_000, true}} {
		w := newWorld(t, 1, 7)
		q := w.addQuery("a")
		w.runFor(2000)
		i := slices.IndexFunc(q.Stages[1].Vaults[0].Members, func(p topology.Process) bool { return p != w.leader.process() })
		gone := w.at(q.Stages[1].Vaults[0].Members[i])
		before := map[[2]int][]topology.NodeID{}
		nodes := func(members []topology.Process) (list []topology.NodeID) {
			for _, p := range members {
				list = append(list, p.Node)
			}
			slices.Sort(list)
			return list
		}
		each := func(f func(at [2]int, members []topology.NodeID)) {
			for s, st := range w.state.Query("a").Stages {
				for b := range st.Vaults {
					f([2]int{s, b}, nodes(st.Vaults[b].Members))
				}
			}
		}
		each(func(at [2]int, members []topology.NodeID) {
			if slices.Contains(members, gone.id) {
				before[at] = members
			}
		})
		w.kill(gone)
		w.runFor(test.after)
		copied := false
		each(func(at [2]int, members []topology.NodeID) {
			copied = copied || before[at] != nil && !slices.Contains(members, gone.id)
		})
		if copied != test.copied {
			t.Errorf("%d ms behind its end some of %d blocks have left the node: %v", test.after, len(before), copied)
		}
		w.start(gone)
		w.converge(20_000)
	}
}

func TestABlockLeavesAFullVaultAndTakesItBackWhenItHasRoom(t *testing.T) {
	for _, nodes := range []int{3, 4} {
		w := newWorld(t, 1, nodes)
		q := w.addQuery("a")
		w.runFor(2000)
		full := w.nodes[1].process()
		reports := w.reports
		replicate := func() (on, shortest int) {
			for range 10 {
				for _, k := range Replicate(w.viewAt(), w.state.Query("a"), new(QueryMemory)).Commands {
					w.apply(k)
				}
			}
			shortest = raftfsm.MaxVaults
			for _, st := range w.state.Query(q.Name).Stages {
				for b := range st.Vaults {
					if slices.Contains(st.Vaults[b].Members, full) {
						on++
					}
					shortest = min(shortest, len(st.Vaults[b].Members))
				}
			}
			return on, shortest
		}
		if on, shortest := replicate(); on == 0 || shortest != 2 {
			t.Fatalf("%d nodes: %d blocks on the vault, %d members at least", nodes, on, shortest)
		}
		w.reports = slices.Clone(reports)
		for i, r := range w.reports {
			if r.Report.Process == full {
				say := *r.Report
				say.DiskFull = "no room"
				w.reports[i].Report = &say
			}
		}
		if on, shortest := replicate(); on != 0 || shortest != nodes-2 {
			t.Fatalf("%d nodes: %d blocks on a full vault, %d members at least", nodes, on, shortest)
		}
		if below := BlocksBelow(w.viewAt()); nodes == 3 && below == 0 {
			t.Fatal("no block counts as below k")
		}
		w.reports = reports
		if on, shortest := replicate(); on == 0 && nodes == 3 || shortest != 2 {
			t.Fatalf("%d nodes: %d blocks on the vault that has room again, %d members at least", nodes, on, shortest)
		}
	}
}

func TestUnequalChainsFailTheQueryAndNameWhere(t *testing.T) {
	w := newWorld(t, 2, 4)
	w.addQuery("a")
	w.runFor(1000)
	q := w.state.Query("a")
	r := q.Stages[1].Partitions[0].Range
	to := slices.IndexFunc(w.nodes, func(a *agent) bool { return a.process() != q.Stages[1].Partitions[0].Process })
	w.apply(&raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: 1, Restore: q.Complete, Parts: []raftfsm.Part{{Range: r, Process: w.nodes[to].process()}}})
	q = w.state.Query("a")
	sh := q.Stages[1].Shadows[0]
	report := func(p topology.Process, instance uint64, role string, sum uint64) Received {
		return Received{&Report{Process: p, Seq: 1, Queries: []QueryReport{{ID: q.ID, Partitions: []PartitionReport{{
			Stage: 1, Range: r, Instance: instance, Role: role, Phase: PhaseRunning, Epoch: q.Complete + 16, Restored: q.Complete, Chains: []ChainSum{{r, q.Complete + 16, sum}},
		}}}}}, w.now}
	}
	view := func(sum uint64) *View {
		v := w.viewAt()
		v.Reports = []Received{report(q.Stages[1].Partitions[0].Process, q.Stages[1].Partitions[0].Instance, RoleActive, 7), report(sh.Process, sh.Instance, RoleShadow, sum)}
		slices.SortFunc(v.Reports, func(a, b Received) int { return compareProcess(a.Report.Process, b.Report.Process) })
		return v
	}
	d := Switch(view(8), q, new(QueryMemory))
	if k, ok := d.Commands[0].(*raftfsm.QueryStateChange); !ok || k.State != raftfsm.Failed || !strings.Contains(k.Reason, "stage 1 (count) gave other rows for several of the key groups 0 to") {
		t.Fatalf("%+v", d.Commands)
	}
	d = Switch(view(7), q, new(QueryMemory))
	if k, ok := d.Commands[0].(*raftfsm.Switch); !ok || k.AtEpoch != q.Complete+16 {
		t.Fatalf("%+v", d.Commands)
	}
}

func TestAQueryFinishesWhenAllHaveEndedAndTheLastCheckpointIsComplete(t *testing.T) {
	w := newWorld(t, 2, 4)
	w.addQuery("a")
	w.runFor(1000)
	q := w.state.Query("a")
	v := w.viewAt()
	n := topology.Epoch(0)
	eachReported(v, func(i int, p *PartitionReport) {
		n++
		p.Phase, p.Lines, p.Ended = PhaseEnded, nil, q.Complete+n*16
	})
	d := Checkpoint(v, q)
	if k, ok := d.Commands[0].(*raftfsm.CheckpointComplete); !ok || k.Complete != q.Complete+n*16 || len(d.Commands) != 1 {
		t.Fatalf("%+v", d.Commands)
	}
	v.State, _ = w.state.Apply(raftfsm.Envelope{Command: d.Commands[0]})
	d = Checkpoint(v, v.State.Query("a"))
	if k, ok := d.Commands[0].(*raftfsm.QueryStateChange); !ok || k.State != raftfsm.Finished {
		t.Fatalf("%+v", d.Commands)
	}
}

func TestStateIsRestoredBySoManyProcessesAsItTakes(t *testing.T) {
	v, _ := fiveNodes(t, 100_000)
	h := v.newHosts("f", nil)
	r := topology.Range{From: 10, To: 138}
	for _, c := range []struct {
		bytes int64
		want  int
	}{{-1, 1}, {1 << 20, 1}, {100 << 20, 3}, {10 << 30, 5}} {
		got := h.pieces(r, c.bytes)
		if len(got) != c.want || got[0].From != r.From || got[len(got)-1].To != r.To {
			t.Errorf("%d bytes: %v", c.bytes, got)
		}
		for i := 1; i < len(got); i++ {
			if got[i].From != got[i-1].To || got[i].From%topology.BlockGroups != 0 {
				t.Errorf("%d bytes: %v", c.bytes, got)
			}
		}
	}
}

func TestAProcessThatActedBeyondTheLogBeginsAGenerationThatKeepsTheSeals(t *testing.T) {
	w := newWorld(t, 2, 4)
	w.addQuery("a")
	w.runFor(1000)
	q := w.state.Query("a")
	v := w.viewAt()
	for i := range v.Reports {
		for j := range v.Reports[i].Report.Queries {
			for k := range v.Reports[i].Report.Queries[j].Partitions {
				v.Reports[i].Report.Queries[j].Partitions[k].Beyond = 77
			}
		}
	}
	d := Beyond(v, q)
	k, ok := d.Commands[0].(*raftfsm.GenerationChange)
	if !ok || !k.Keep {
		t.Fatalf("%+v", d.Commands)
	}
	if out := w.apply(k); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	if a := w.state.Query("a").Stages[0].Partitions[0]; len(a.Adopt) != 1 {
		t.Fatalf("%+v", a)
	}
	if d := Beyond(v, w.state.Query("a")); len(d.Commands) > 0 {
		t.Fatalf("reports of the former generation begin another one: %+v", d.Commands)
	}
}

// TestAProcessThatHasJoinedAndDoesNotWorkYetGetsNothingLost: it has the fewest partitions, and opens its vault for as long as that takes. A leader
// that has just begun knows of nobody whether they work.
func TestAProcessThatHasJoinedAndDoesNotWorkYetGetsNothingLost(t *testing.T) {
	v, _ := fiveNodes(t, 100_000)
	all := v.newHosts("f", nil)
	fresh := all.list[len(all.list)-1].process
	if fresh == v.Leader {
		t.Fatal("the last node leads")
	}
	v.Reports = slices.DeleteFunc(slices.Clone(v.Reports), func(r Received) bool { return r.Report.Process == fresh })
	for _, settled := range []bool{false, true} {
		v.Settled = settled
		h := v.newHosts("f", nil)
		got := 0
		for i := range 20 {
			if h.choose(i%2 == 0, 0, nil, uint64(i)) == fresh {
				got++
			}
		}
		if (got == 0) != settled {
			t.Errorf("settled %v: %d of 20 ranges go to who has not reported", settled, got)
		}
	}
}

func TestLargeStateOfOneDecisionGoesToManyAlsoWhenOneHasFewerPartitions(t *testing.T) {
	v, nodes := fiveNodes(t, 100_000)
	for _, c := range []struct {
		bytes int64
		most  int
	}{{0, 8}, {1 << 20, 8}, {30 << 20, 2}} {
		h := v.newHosts("f", nil)
		for _, x := range h.list {
			if x.process != nodes[4] {
				x.load += 20
			}
		}
		got := map[topology.Process]int{}
		for i := range 8 {
			got[h.choose(false, c.bytes, nil, uint64(i))]++
		}
		if got[nodes[4]] != c.most {
			t.Errorf("%d bytes each: %d of 8 go to the one with few partitions, want %d", c.bytes, got[nodes[4]], c.most)
		}
	}
}

// TestAStageWantedForMoreNodesThanThereAreComesToRest: what a policy cut for more nodes is cut for fewer once, and then left alone.
func TestAStageWantedForMoreNodesThanThereAreComesToRest(t *testing.T) {
	w := newWorld(t, 3, 4)
	w.addQuery("a")
	w.runFor(1000)
	q := w.state.Query("a")
	k := &raftfsm.QueryScale{Query: q.ID, ScaleVersion: q.ScaleVersion, Text: "policy"}
	const stage, want = 1, 8
	scale := raftfsm.StageScale{Stage: stage, Auto: true, Want: want}
	for i := 1; i < want; i++ {
		scale.Borders = append(scale.Borders, topology.KeyGroup(i*q.Stages[stage].Groups/want))
	}
	k.Stages = append(k.Stages, scale)
	if out := w.apply(k); !out.Done() {
		t.Fatalf("%+v", out)
	}
	w.runFor(60_000)
	q = w.state.Query("a")
	if n := Partitions(q.Stages[stage]); n != 4 {
		t.Errorf("it has %d partitions on 4 nodes", n)
	}
	// Rows are counted since instances began: what has moved says little at first.
	v := w.viewAt()
	eachReported(v, func(i int, p *PartitionReport) {
		p.Groups = make([]int64, p.Range.Len())
		p.Groups[0] = int64(1 + 1000*i)
	})
	if d := Rescale(v, q, new(QueryMemory)); len(d.Commands) > 0 {
		t.Errorf("it is cut anew: %+v", d.Commands[0])
	}
}
