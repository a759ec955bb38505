package coordinator

import (
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// gathered is a query of which a stage of 40 key groups, begun as three partitions, is all on one process but for the last ten key groups: it is cut
// at 5, 14, 27 and 30, and nothing has happened for a while.
func gathered(t *testing.T) *staged {
	x := newStaged(t, 1, 0)
	to, last := x.idle(), x.idle(x.idle())
	for _, p := range []raftfsm.Part{{Range: topology.Range{From: 0, To: 5}, Process: to}, {Range: topology.Range{From: 5, To: 14}, Process: to},
		{Range: topology.Range{From: 14, To: 27}, Process: to}, {Range: topology.Range{From: 27, To: 30}, Process: to}, {Range: topology.Range{From: 30, To: 40}, Process: last}} {
		x.bring(topology.ForChange, p)
		q := x.query()
		k := &raftfsm.Switch{Query: q.ID, Version: q.Version, Stage: 1, Range: p.Range, Parts: []raftfsm.SwitchPart{{Instance: x.shadows()[0].Instance, From: q.Complete}}}
		if out := x.apply(k); out.Code != raftfsm.Applied {
			t.Fatal(out.Text)
		}
	}
	for d := Replicate(x.copied(), x.query(), &x.mem); len(d.Commands) > 0; d = Replicate(x.copied(), x.query(), &x.mem) {
		if out := x.apply(d.Commands[0]); out.Code != raftfsm.Applied {
			t.Fatal(out.Text)
		}
	}
	x.now += 60_000
	return x
}

// copied is look, in which all copies are there.
func (x *staged) copied() *View {
	v := x.look()
	for i := range v.Reports {
		for j := range v.Reports[i].Report.Queries {
			for k := range v.Reports[i].Report.Queries[j].Partitions {
				v.Reports[i].Report.Queries[j].Partitions[k].Copied = x.state.Version
			}
		}
	}
	return v
}

func (x *staged) want(s raftfsm.StageScale) {
	x.t.Helper()
	s.Stage = x.stage
	if !x.asked(&raftfsm.QueryScale{Query: x.query().ID, ScaleVersion: x.query().ScaleVersion, Stages: []raftfsm.StageScale{s}, Text: "wanted"}) {
		x.t.Fatal("what is wanted was refused")
	}
	x.now += 60_000
}

// TestNeighboursOnOneProcessBecomeOneAsFarAsTheyAreMoreThanAreWanted: of partitions [0,5) [5,14) [14,27) [27,30) on one process and [30,40) on
// another one.
func TestNeighboursOnOneProcessBecomeOneAsFarAsTheyAreMoreThanAreWanted(t *testing.T) {
	for _, c := range []struct {
		name string
		want raftfsm.StageScale
		to   topology.Range // the zero one: they stay
	}{
		{"as many as it began with", raftfsm.StageScale{}, topology.Range{From: 0, To: 27}},
		{"two", raftfsm.StageScale{Want: 2}, topology.Range{From: 0, To: 30}},
		{"one, automatic, of which there are to be four", raftfsm.StageScale{Auto: true, Want: 1, Min: 4}, topology.Range{From: 0, To: 14}},
		{"five by a person, on fewer nodes", raftfsm.StageScale{Want: 5}, topology.Range{}},
		{"two, with a border elsewhere", raftfsm.StageScale{Auto: true, Want: 2, Borders: []topology.KeyGroup{30}}, topology.Range{From: 0, To: 30}},
		{"three, with a key group on its own", raftfsm.StageScale{Auto: true, Want: 3, Borders: []topology.KeyGroup{5, 14}}, topology.Range{From: 14, To: 30}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := gathered(t)
			if c.want.Want != 0 {
				x.want(c.want)
			}
			d := Merge(x.copied(), x.query(), &x.mem)
			if c.to.Len() == 0 {
				none(t, d)
				return
			}
			k := only[*raftfsm.ShadowStart](t, d)
			if len(k.Parts) != 1 || k.Parts[0] != (raftfsm.Part{Range: c.to, Process: x.parts()[0].Process}) || k.Purpose != topology.ForChange || k.What != "merge" {
				t.Fatalf("%+v", k)
			}
			if out := x.apply(k); out.Code != raftfsm.Applied {
				t.Fatal(out.Text)
			}
			none(t, Switch(x.copied(), x.query(), &x.mem)) // it is not dropped for being where it is
			none(t, Merge(x.copied(), x.query(), &x.mem))  // one at a time
		})
	}
}

func TestNeighboursBecomeOneOnlyWhileTheQueryIsCalm(t *testing.T) {
	for what, disturb := range map[string]func(x *staged) *View{
		"something happened lately": func(x *staged) *View {
			x.apply(&raftfsm.HistoryAdd{Query: x.query().ID, Entries: []raftfsm.Entry{{AtMs: x.now - 9_000, Kind: "recovered", Text: "it runs again"}}})
			return x.copied()
		},
		"a copy is missing": func(x *staged) *View {
			q, st := x.query(), x.query().Stages[1]
			at := slices.IndexFunc(x.nodes, func(a *agent) bool {
				return !slices.Contains(st.Vaults[0].Members, a.process()) && !slices.ContainsFunc(st.Partitions, func(p topology.Assignment) bool { return p.Process == a.process() })
			})
			if at < 0 {
				at = slices.IndexFunc(x.nodes, func(a *agent) bool { return !slices.Contains(st.Vaults[0].Members, a.process()) })
			}
			x.apply(&raftfsm.VaultsChange{Query: q.ID, Changes: []raftfsm.VaultChange{{Stage: 1, Version: st.Vaults[0].Version, Members: []topology.Process{st.Vaults[0].Members[0], x.nodes[at].process()}}}})
			x.now += 60_000
			return x.look()
		},
		"a partition catches up": func(x *staged) *View {
			x.say(x.query().Stages[2].Partitions[0].Instance, func(p *PartitionReport) { p.Phase = PhaseCatchingUp })
			return x.copied()
		},
		"a partition moves": func(x *staged) *View {
			p := x.query().Stages[0].Partitions[0]
			q := x.query()
			x.apply(&raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Parts: []raftfsm.Part{{Range: p.Range, Process: x.idle(p.Process)}}, Restore: q.Complete})
			x.now += 60_000
			return x.copied()
		},
		"its node is drained": func(x *staged) *View {
			p := x.parts()[0].Process
			x.asked(&raftfsm.NodeDrain{Node: p.Node, Version: x.state.Node(p.Node).Version, Drain: true})
			return x.copied()
		},
		"standbys are kept": func(x *staged) *View {
			q := *x.query()
			q.Standby = 1
			next := *x.state
			next.Queries = []*raftfsm.Query{&q}
			x.state = &next
			return x.copied()
		},
		"one came to nothing just now": func(x *staged) *View {
			x.mem.failed(x.stage, changeMerge, topology.Process{}, x.now)
			return x.copied()
		},
		"it is paused": func(x *staged) *View {
			x.apply(&raftfsm.QueryStateChange{Query: x.query().ID, StateVersion: x.query().StateVersion, State: raftfsm.Paused})
			x.now += 60_000
			return x.copied()
		},
	} {
		t.Run(what, func(t *testing.T) {
			x := gathered(t)
			only[*raftfsm.ShadowStart](t, Merge(x.copied(), x.query(), &x.mem))
			none(t, Merge(disturb(x), x.query(), &x.mem))
		})
	}
}

// TestNeighboursBecomeOneAsFarAsTheNodesMemoryHoldsThemTwice: half of the memory at most is taken by what is known.
func TestNeighboursBecomeOneAsFarAsTheNodesMemoryHoldsThemTwice(t *testing.T) {
	for _, c := range []struct {
		memory int64
		to     topology.KeyGroup // 0: they stay apart
	}{{400, 0}, {1100, 0}, {1200, 14}, {1400, 27}, {100_000, 27}} {
		x := gathered(t)
		p := x.parts()[0].Process
		n := *x.state.Node(p.Node)
		n.MemoryBytes = c.memory
		x.state = withNode(x.state, &n)
		for _, a := range x.parts()[:4] { // 400 in all
			x.say(a.Instance, func(r *PartitionReport) { r.StateBytes, r.TableBytes, r.LogBytes = 60, 30, 10 })
		}
		d := Merge(x.copied(), x.query(), &x.mem)
		if c.to == 0 {
			none(t, d)
		} else if k := only[*raftfsm.ShadowStart](t, d); k.Parts[0].Range != (topology.Range{To: c.to}) {
			t.Errorf("%d bytes of memory: %v", c.memory, k.Parts[0].Range)
		}
	}
}

func withNode(s *raftfsm.State, n *raftfsm.Node) *raftfsm.State {
	next := *s
	next.Nodes = slices.Clone(s.Nodes)
	next.Nodes[slices.IndexFunc(next.Nodes, func(x *raftfsm.Node) bool { return x.ID == n.ID })] = n
	return &next
}

// TestAMergeGivesWayToAnotherLayout: what is wanted does not wait for it.
func TestAMergeGivesWayToAnotherLayout(t *testing.T) {
	x := gathered(t)
	if out := x.apply(only[*raftfsm.ShadowStart](t, Merge(x.copied(), x.query(), &x.mem))); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	if Moving(x.query().Stages[1]) {
		t.Error("key groups are said to be on their way to other processes")
	}
	none(t, Rescale(x.copied(), x.query(), &x.mem))
	x.want(raftfsm.StageScale{Want: 4})
	k := only[*raftfsm.ShadowDrop](t, Rescale(x.copied(), x.query(), &x.mem))
	if k.Range != (topology.Range{To: 27}) || !strings.Contains(k.Why, "layout") {
		t.Fatalf("%+v", k)
	}
	if out := x.apply(k); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	if k := only[*raftfsm.ShadowStart](t, Rescale(x.copied(), x.query(), &x.mem)); k.What != "scale out" {
		t.Fatalf("%+v", k)
	}
}

// TestAMergeGivesWayToPartitionsThatAreBehind: and what is wanted meanwhile does not wait because it came to nothing.
func TestAMergeGivesWayToPartitionsThatAreBehind(t *testing.T) {
	x := gathered(t)
	if out := x.apply(only[*raftfsm.ShadowStart](t, Merge(x.copied(), x.query(), &x.mem))); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	none(t, Switch(x.copied(), x.query(), &x.mem))
	x.mem.Lagging = []Lagging{{x.parts()[4].Instance, x.now}}
	k := only[*raftfsm.ShadowDrop](t, Switch(x.copied(), x.query(), &x.mem))
	if k.Range != (topology.Range{To: 27}) || !strings.Contains(k.Why, "behind") {
		t.Fatalf("%+v", k)
	}
	if out := x.apply(k); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	x.mem.Lagging = nil
	if again, other := x.mem.mayTry(x.stage, changeMerge, x.now), x.mem.mayTry(x.stage, changeLayout, x.now); again || !other {
		t.Errorf("may merge again at once: %v; may be changed otherwise: %v", again, other)
	}
}

// TestAMergeThatGetsNoFurtherIsDroppedSoon: it works where its neighbours do, and while more rows come than they take together no other layout is
// decided on. One that restores, or comes further, is let be.
func TestAMergeThatGetsNoFurtherIsDroppedSoon(t *testing.T) {
	x := gathered(t)
	if out := x.apply(only[*raftfsm.ShadowStart](t, Merge(x.copied(), x.query(), &x.mem))); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	one := x.shadows()[0].Instance
	look := func(ms int64) Decision {
		x.now += ms
		return Switch(x.copied(), x.query(), &x.mem)
	}
	behind := func(epochs int64) {
		x.say(one, func(p *PartitionReport) { p.Phase, p.Epoch = PhaseCatchingUp, p.Epoch-topology.Epoch(epochs) })
	}
	x.say(one, func(p *PartitionReport) { p.Phase, p.RestoredBytes = PhaseRestoring, 1000 })
	none(t, look(0))
	none(t, look(20_000))
	for _, epochs := range []int64{4000, 2000, 1000, 500} {
		behind(epochs)
		none(t, look(2000))
	}
	none(t, look(2000))
	k := only[*raftfsm.ShadowDrop](t, look(1500))
	if k.Instance != one || !strings.Contains(k.Why, "not come further in 3 s") {
		t.Errorf("%+v", k)
	}
	if out := x.apply(k); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	none(t, Merge(x.copied(), x.query(), &x.mem)) // not at once again
}

// TestNeighboursStayApartOnANodeWhoseProcessorsAreUsed: until they are one, their rows cost twice. Those on another node become one.
func TestNeighboursStayApartOnANodeWhoseProcessorsAreUsed(t *testing.T) {
	for _, used := range []float64{0, 0.4, 0.7} { // 0: it does not tell
		x := gathered(t)
		first := x.parts()[0].Process
		began := x.now
		merge := func(looks int) *raftfsm.ShadowStart {
			for range looks {
				x.now += 500
				v := x.copied()
				for i := range v.Reports {
					if r := v.Reports[i].Report; used > 0 {
						share := 0.1
						if r.Process == first {
							share = used
						}
						r.Cores, r.CPUNs = 0.5, 1_000_000+int64(share*0.5*float64(x.now-began)*1e6)
					}
				}
				if d := Merge(v, x.query(), &x.mem); len(d.Commands) > 0 {
					return only[*raftfsm.ShadowStart](t, d)
				}
			}
			return nil
		}
		if k := merge(1); (k != nil) != (used == 0) {
			t.Errorf("%v used: at once %+v", used, k)
		} else if used == 0 {
			continue
		}
		k := merge(9)
		if used <= mergeUse {
			if k == nil || k.Parts[0].Process != first {
				t.Errorf("%v used: %+v", used, k)
			}
			continue
		}
		if k != nil {
			t.Errorf("%v used: %+v", used, k)
		}
		other := x.idle() // gets two of them
		for _, r := range []topology.Range{{From: 30, To: 35}, {From: 35, To: 40}} {
			x.bring(topology.ForChange, raftfsm.Part{Range: r, Process: other})
			q := x.query()
			x.apply(&raftfsm.Switch{Query: q.ID, Version: q.Version, Stage: 1, Range: r, Parts: []raftfsm.SwitchPart{{Instance: x.shadows()[0].Instance, From: q.Complete}}})
		}
		for d := Replicate(x.copied(), x.query(), &x.mem); len(d.Commands) > 0; d = Replicate(x.copied(), x.query(), &x.mem) {
			x.apply(d.Commands[0])
		}
		x.now += 60_000
		began = x.now
		if k := merge(10); k == nil || k.Parts[0] != (raftfsm.Part{Range: topology.Range{From: 30, To: 40}, Process: other}) {
			t.Errorf("%+v, of %+v", k, x.parts())
		}
	}
}

// TestAMergeOfOneStageGivesWayToALayoutOfAnother: it takes from what the query needs.
func TestAMergeOfOneStageGivesWayToALayoutOfAnother(t *testing.T) {
	x := gathered(t)
	if out := x.apply(only[*raftfsm.ShadowStart](t, Merge(x.copied(), x.query(), &x.mem))); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	if !x.asked(&raftfsm.QueryScale{Query: x.query().ID, ScaleVersion: x.query().ScaleVersion, Stages: []raftfsm.StageScale{{Stage: 0, Want: 3}}, Text: "wanted"}) {
		t.Fatal("what is wanted was refused")
	}
	if k := only[*raftfsm.ShadowDrop](t, Rescale(x.copied(), x.query(), &x.mem)); k.Stage != 1 {
		t.Fatalf("%+v", k)
	} else if out := x.apply(k); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	if k := only[*raftfsm.ShadowStart](t, Rescale(x.copied(), x.query(), &x.mem)); k.Stage != 0 {
		t.Fatalf("%+v", k)
	}
}
