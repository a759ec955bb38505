package coordinator

import (
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// keepsUp says of standby shadows and of what is active that they are at the same place, with the same chains.
func (x *staged) keepsUp() {
	at := x.query().Complete
	chains := func(p *PartitionReport) {
		p.Epoch = at + 100
		p.Chains = append(p.Chains, chainOf(p.Range, at), chainOf(p.Range, at+16))
	}
	for _, st := range x.query().Stages {
		for _, p := range st.Partitions {
			x.say(p.Instance, chains)
		}
		for _, sh := range st.Shadows {
			x.say(sh.Instance, chains)
		}
	}
}

func TestStandbyShadowsAreKeptUpForEveryStatefulPartitionOnOtherNodes(t *testing.T) {
	for want := 1; want <= 5; want++ {
		x := newStaged(t, 1, want) // of five nodes four at the most have one
		for s, st := range x.query().Stages {
			for _, a := range st.Partitions {
				on := []topology.Process{a.Process}
				for _, sh := range st.Shadows {
					if sh.Range != a.Range {
						continue
					}
					if sh.Purpose != topology.ForStandby || slices.Contains(on, sh.Process) {
						t.Errorf("stage %d %v on %v has %+v", s, a.Range, a.Process, sh)
					}
					on = append(on, sh.Process)
				}
				if n := len(on) - 1; !st.Source && n != min(want, 4) || st.Source && n != 0 {
					t.Errorf("stage %d %v has %d of %d; source: %v", s, a.Range, n, want, st.Source)
				}
			}
		}
	}
	x := newStaged(t, 1, 1)
	x.keepsUp()
	for range 100 {
		none(t, x.after(60_000, Switch)) // it is never taken over by itself, nor dropped
	}
	// What it needs follows the complete checkpoint, or nobody could trim anything.
	q := x.query()
	v := x.look()
	k := &raftfsm.CheckpointComplete{Query: q.ID, Complete: q.Complete + 16, Kept: v.keptUp(q, q.Complete+16)}
	if x.asked(k); x.query().Stages[1].Shadows[0].Restore != q.Complete+16 {
		t.Errorf("it holds %d back, %d is complete", x.query().Stages[1].Shadows[0].Restore, x.query().Complete)
	}
}

func TestALostPartitionIsTakenOverByItsStandby(t *testing.T) {
	x := newStaged(t, 1, 1)
	a := x.parts()[0]
	i := slices.IndexFunc(x.shadows(), func(sh topology.Shadow) bool { return sh.Range == a.Range })
	sh := x.shadows()[i]
	n := x.state.Node(a.Process.Node)
	x.apply(&raftfsm.NodeStatus{Process: a.Process, Version: n.Version, Status: raftfsm.Lost, Reason: "killed"})
	x.keepsUp()
	k := only[*raftfsm.Reassign](t, x.after(0, Recover))
	if out := x.apply(k); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	if got := x.parts()[0]; got.Range != a.Range || got.Process != sh.Process || got.Instance != sh.Instance {
		t.Fatalf("%+v has it, the standby was %+v", got, sh)
	}
	x.runFor(3000)
	if _, ok := x.viewAt().standbyOf(x.query(), 1, a.Range); !ok {
		t.Errorf("there is no other standby: %+v", x.shadows())
	}
}

// TestOfSeveralStandbysTheFarthestTakesOverAndTheOthersStay: also when one of them is lost with what is active, or alone.
func TestOfSeveralStandbysTheFarthestTakesOverAndTheOthersStay(t *testing.T) {
	for _, alsoLost := range []int{-1, 0, 1, 2} { // of three
		for farthest := range 3 {
			x := newStaged(t, 1, 3)
			a := x.parts()[0]
			var list []topology.Shadow
			for _, sh := range x.shadows() {
				if sh.Range == a.Range {
					list = append(list, sh)
				}
			}
			x.keepsUp()
			for i, sh := range list {
				if i == farthest {
					continue
				}
				if i%2 == 0 { // the others run, too, but are behind, or restore
					x.say(sh.Instance, func(p *PartitionReport) { p.Epoch -= 100 })
				} else {
					x.say(sh.Instance, func(p *PartitionReport) { p.Phase, p.RestoredBytes = PhaseRestoring, 1000 })
				}
			}
			lose := func(p topology.Process) {
				if out := x.apply(&raftfsm.NodeStatus{Process: p, Version: x.state.Node(p.Node).Version, Status: raftfsm.Lost, Reason: "killed"}); out.Code != raftfsm.Applied {
					t.Fatal(out.Text)
				}
			}
			lose(a.Process)
			takes := farthest
			if alsoLost >= 0 {
				lose(list[alsoLost].Process)
			}
			if takes == alsoLost {
				takes = 0 // the oldest of those that are as far; the second one restores
				if alsoLost == 0 {
					takes = 2
				}
			}
			k := only[*raftfsm.Reassign](t, x.after(0, Recover))
			if out := x.apply(k); out.Code != raftfsm.Applied {
				t.Fatal(out.Text)
			}
			if got := x.parts()[0]; got.Range != a.Range || got.Instance != list[takes].Instance {
				t.Fatalf("%+v has it; standbys were %+v, %d is the farthest and %d lost", got, list, farthest, alsoLost)
			}
			for i := 0; i < 10; i++ { // one whose node is lost is given up, and no other
				d := x.after(20, Switch)
				if len(d.Commands) == 0 {
					break
				}
				x.apply(d.Commands[0])
			}
			for i, sh := range list {
				stays := slices.ContainsFunc(x.shadows(), func(o topology.Shadow) bool { return o == sh })
				if want := i != takes && i != alsoLost; stays != want {
					t.Errorf("standby %d stays: %v, want %v; %d took over, %d was lost", i, stays, want, takes, alsoLost)
				}
			}
		}
	}
}

// TestADrainUsesStandbys: also one that needs less than it started from by now.
func TestADrainUsesStandbys(t *testing.T) {
	x := newStaged(t, 1, 1)
	a := x.parts()[0]
	i := slices.IndexFunc(x.shadows(), func(sh topology.Shadow) bool { return sh.Range == a.Range })
	sh := x.shadows()[i]
	q := x.query()
	x.asked(&raftfsm.CheckpointComplete{Query: q.ID, Complete: q.Complete + 160, Kept: []uint64{sh.Instance}})
	x.keepsUp()
	none(t, x.after(0, Switch))
	none(t, x.after(10*x.viewAt().Timing.Converge, Switch)) // it has stood by for long
	n := x.state.Node(a.Process.Node)
	x.apply(&raftfsm.NodeDrain{Node: n.ID, Version: n.Version, Drain: true})
	for done := false; !done; {
		k := only[*raftfsm.ShadowStart](t, x.after(20, Drain))
		if done = k.Stage == 1; done && (k.Parts[0] != raftfsm.Part{Range: a.Range, Process: sh.Process}) {
			t.Fatalf("%+v, its standby is %+v", k, sh)
		}
		if out := x.apply(k); out.Code != raftfsm.Applied {
			t.Fatal(out.Text)
		}
	}
	d := x.after(20, Switch)
	for len(d.Commands) == 1 && d.Commands[0].Kind() == raftfsm.KindShadowDrop { // standbys on the node
		x.apply(d.Commands[0])
		d = x.after(20, Switch)
	}
	k := only[*raftfsm.Switch](t, d)
	if len(k.Parts) != 1 || k.Parts[0].Instance != sh.Instance || k.Parts[0].From != q.Complete+160 {
		t.Fatalf("%+v", k)
	}
	if out := x.apply(k); out.Code != raftfsm.Applied || x.parts()[0].Process != sh.Process {
		t.Fatalf("%+v: %+v", out, x.parts()[0])
	}
}

func TestStandbysGiveWayToScalingAndComeBack(t *testing.T) {
	x := newStaged(t, 1, 1)
	for _, want := range []int{1, 4, 2} {
		q := x.query()
		if out := x.apply(&raftfsm.QueryScale{Query: q.ID, ScaleVersion: q.ScaleVersion, Text: "wanted", Stages: []raftfsm.StageScale{{Stage: 1, Want: want}}}); !out.Done() {
			t.Fatal(out.Text)
		}
		x.converge(30_000)
		if n := Partitions(x.query().Stages[1]); n != want {
			t.Errorf("%d partitions, %d are wanted", n, want)
		}
	}
}

// shadowOf is the first shadow of a range, one that is no standby before others; nil for none.
func (x *staged) shadowOf(r topology.Range) (found *topology.Shadow) {
	for i := range x.shadows() {
		if sh := &x.shadows()[i]; sh.Range == r && (found == nil || found.Purpose == topology.ForStandby && sh.Purpose != topology.ForStandby) {
			found = sh
		}
	}
	return found
}

// isBehind says of a partition of the stage that it is so far behind the others.
func (x *staged) isBehind(instance uint64, ms int64) {
	x.say(instance, func(p *PartitionReport) { p.Epoch -= topology.Epoch(ms / 10) })
}

func TestAPartitionThatIsBehindItsPeersForLongGetsAShadowThatTakesOverWhenItIsAhead(t *testing.T) {
	for _, standby := range []int{0, 1, 2} {
		x := newStaged(t, 1, standby)
		slow := x.parts()[1]
		kept, besides := x.shadowOf(slow.Range), max(0, standby-1)
		x.isBehind(slow.Instance, 2000)
		none(t, x.after(0, Stragglers))
		none(t, x.after(3900, Stragglers))
		x.said = map[uint64]func(*PartitionReport){}
		none(t, x.after(0, Stragglers)) // it has caught up
		x.isBehind(slow.Instance, 2000)
		none(t, x.after(100, Stragglers))
		none(t, x.after(3900, Stragglers))
		k := only[*raftfsm.ShadowStart](t, x.after(200, Stragglers))
		if k.Purpose != topology.ForSpeed || len(k.Parts) != 1 || k.Parts[0].Range != slow.Range || k.Parts[0].Process == slow.Process {
			t.Fatalf("%+v", k)
		}
		if kept != nil && k.Parts[0].Process != kept.Process {
			t.Errorf("%+v, and the standby is %+v", k, kept)
		}
		if out := x.apply(k); out.Code != raftfsm.Applied {
			t.Fatal(out.Text)
		}
		none(t, x.after(1000, Stragglers)) // one at a time
		sh := x.shadowOf(slow.Range)
		if n, _ := standbys(x.query().Stages[1], slow.Range); sh.Purpose != topology.ForSpeed || n != besides {
			t.Fatalf("%+v, and %d standbys, want %d", sh, n, besides)
		}
		at := x.query().Complete
		run := func(instance uint64, ms int64) {
			x.say(instance, func(p *PartitionReport) {
				p.Epoch -= topology.Epoch(ms / 10)
				p.Chains = append(p.Chains, chainOf(p.Range, at))
			})
		}
		run(slow.Instance, 2000)
		run(sh.Instance, 1900)
		none(t, x.after(1000, Switch)) // it is no better
		run(sh.Instance, 100)
		s := only[*raftfsm.Switch](t, x.after(1000, Switch))
		if s.Range != slow.Range || s.Parts[0].Instance != sh.Instance {
			t.Errorf("%+v", s)
		}
		run(slow.Instance, 100)
		run(sh.Instance, 0)
		if drop := only[*raftfsm.ShadowDrop](t, x.after(1000, Switch)); drop.Range != slow.Range {
			t.Errorf("%+v", drop) // nobody needs it any more
		}
	}
}

func TestAStragglersShadowThatDoesNotGetAheadIsDropped(t *testing.T) {
	x := newStaged(t, 1, 0)
	slow := x.parts()[1]
	x.bring(topology.ForSpeed, raftfsm.Part{Range: slow.Range, Process: x.idle()})
	x.isBehind(slow.Instance, 2000)
	x.isBehind(x.shadows()[0].Instance, 2000)
	none(t, x.after(0, Switch))
	none(t, x.after(59_000, Switch))
	only[*raftfsm.ShadowDrop](t, x.after(2_000, Switch))
}

func TestAStandbyOfANodeThatIsDrainedIsGivenUpAndNoOther(t *testing.T) {
	x := newStaged(t, 1, 3)
	before := slices.Clone(x.shadows())
	goes := before[1].Process
	x.keepsUp()
	if out := x.apply(&raftfsm.NodeDrain{Node: goes.Node, Version: x.state.Node(goes.Node).Version, Drain: true}); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	for d := x.after(20, Switch); len(d.Commands) > 0; d = x.after(20, Switch) {
		if out := x.apply(only[*raftfsm.ShadowDrop](t, d)); out.Code != raftfsm.Applied {
			t.Fatal(out.Text)
		}
	}
	var want []topology.Shadow
	for _, sh := range before {
		if sh.Process != goes {
			want = append(want, sh)
		}
	}
	if !slices.Equal(x.shadows(), want) {
		t.Errorf("%+v stay, want %+v", x.shadows(), want)
	}
}

// TestAStandbyThatFallsBehindIsGivenUp: what it needs would be kept for ever. Nothing else of its stage waits for another one, which comes on another node
// if there is one.
func TestAStandbyThatFallsBehindIsGivenUp(t *testing.T) {
	x := newStaged(t, 1, 1)
	slow := x.shadows()[0]
	x.keepsUp()
	none(t, x.after(0, Switch))
	x.say(slow.Instance, func(p *PartitionReport) { p.Epoch = slow.Restore + 1 })
	q := x.query()
	x.asked(&raftfsm.CheckpointComplete{Query: q.ID, Complete: q.Complete + 64, Kept: x.look().keptUp(q, q.Complete+64)})
	if trim := x.query().TrimPoint(); trim != slow.Restore {
		t.Fatalf("the trim point is %d, it restored %d", trim, slow.Restore)
	}
	none(t, x.after(0, Switch))
	none(t, x.after(x.viewAt().Timing.Converge, Switch))
	k := only[*raftfsm.ShadowDrop](t, x.after(100, Switch))
	if k.Instance != slow.Instance || !strings.Contains(k.Why, string(slow.Process.Node)) {
		t.Fatalf("%+v, %+v is slow", k, slow)
	}
	if out := x.apply(k); out.Code != raftfsm.Applied || x.query().TrimPoint() == slow.Restore {
		t.Fatalf("%+v, the trim point is %d", out, x.query().TrimPoint())
	}
	if !x.mem.mayTry(1, changeLayout, x.now) || x.mem.mayTry(1, changeStandby, x.now) {
		t.Error("a layout must wait for it, or it is tried again at once")
	}
	start := only[*raftfsm.ShadowStart](t, x.after(triedLeastMs, Standby))
	if p := start.Parts[0]; p.Range != slow.Range || p.Process == slow.Process {
		t.Errorf("%+v is next, %+v was slow", p, slow)
	}
	if out := x.apply(start); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	none(t, x.after(20, Standby))
	if i := x.mem.tried(1, changeStandby); i < 0 || x.mem.Tried[i].PauseMs != triedLeastMs {
		t.Errorf("%+v is remembered before the next one stands by", x.mem.Tried)
	}
	x.said = map[uint64]func(*PartitionReport){}
	x.keepsUp()
	none(t, x.after(20, Standby))
	if len(x.mem.Tried) > 0 {
		t.Errorf("%+v is remembered", x.mem.Tried)
	}
}

func TestAStandbyComesWhereMemoryHoldsIt(t *testing.T) {
	x := newStaged(t, 1, 0)
	q := *x.query()
	q.Standby = 4
	next := *x.state
	next.Queries = []*raftfsm.Query{&q}
	x.state = &next
	for _, st := range q.Stages {
		for _, a := range st.Partitions {
			x.say(a.Instance, func(p *PartitionReport) { p.StateBytes = 1000 })
		}
	}
	large := x.idle()
	for _, a := range x.nodes {
		n := *x.state.Node(a.process().Node)
		if n.MemoryBytes = 1990; a.process() == large {
			n.MemoryBytes = 1 << 30
		}
		x.state = withNode(x.state, &n)
	}
	k := only[*raftfsm.ShadowStart](t, x.after(0, Standby))
	for _, p := range k.Parts {
		if p.Process != large {
			t.Errorf("%+v, and %s alone has memory for it", p, large.Node)
		}
	}
	// What is given counts before it is there.
	n := *x.state.Node(large.Node)
	n.MemoryBytes = 2 * (x.viewAt().held()[large] + 1000)
	x.state = withNode(x.state, &n)
	v := x.look()
	n.MemoryBytes = 2 * (v.held()[large] + 1000)
	x.state = withNode(x.state, &n)
	started := 0
	for d := x.after(20, Standby); len(d.Commands) > 0; d = x.after(20, Standby) {
		k := only[*raftfsm.ShadowStart](t, d)
		started += len(k.Parts)
		if out := x.apply(k); out.Code != raftfsm.Applied {
			t.Fatal(out.Text)
		}
	}
	if started != 1 {
		t.Errorf("%d standbys of 1000 bytes were given to a node with memory for one more", started)
	}
}

func TestPartsOfAChangeTakeOverAtOnceWhateverStandbysThereAre(t *testing.T) {
	shadow := func(from, to topology.KeyGroup, purpose topology.Purpose) topology.Shadow {
		return topology.Shadow{Range: topology.Range{From: from, To: to}, Purpose: purpose}
	}
	list := []topology.Shadow{shadow(0, 4, topology.ForStandby), shadow(0, 4, topology.ForChange), shadow(4, 8, topology.ForStandby), shadow(4, 8, topology.ForStandby),
		shadow(4, 8, topology.ForChange), shadow(9, 12, topology.ForChange), shadow(12, 13, topology.ForSpeed)}
	var runs []int
	for _, run := range atOnce(list) {
		for _, sh := range run {
			if sh.Purpose != run[0].Purpose {
				t.Errorf("%+v is in one with %+v", sh, run[0])
			}
		}
		runs = append(runs, len(run))
	}
	if !slices.Equal(runs, []int{1, 2, 1, 1, 1, 1}) {
		t.Errorf("%v take over at once", runs)
	}
}
