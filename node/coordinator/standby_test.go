package coordinator

import (
	"slices"
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

func TestAStandbyShadowIsKeptUpForEveryStatefulPartitionOnAnotherNode(t *testing.T) {
	x := newStaged(t, 1, 1)
	for s, st := range x.query().Stages {
		for _, a := range st.Partitions {
			sh := slices.IndexFunc(st.Shadows, func(sh topology.Shadow) bool { return sh.Range == a.Range })
			switch {
			case st.Source && sh >= 0:
				t.Errorf("stage %d %v is a source and has a standby", s, a.Range)
			case st.Source:
			case sh < 0:
				t.Errorf("stage %d %v has none", s, a.Range)
			case st.Shadows[sh].Process == a.Process || st.Shadows[sh].Purpose != topology.ForStandby:
				t.Errorf("stage %d %v on %v has %+v", s, a.Range, a.Process, st.Shadows[sh])
			}
		}
	}
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
	if _, ok := x.viewAt().standbyOf(x.query().Stages[1], a.Range); !ok {
		t.Errorf("there is no other standby: %+v", x.shadows())
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

// isBehind says of a partition of the stage that it is so far behind the others.
func (x *staged) isBehind(instance uint64, ms int64) {
	x.say(instance, func(p *PartitionReport) { p.Epoch -= topology.Epoch(ms / 10) })
}

func TestAPartitionThatIsBehindItsPeersForLongGetsAShadowThatTakesOverWhenItIsAhead(t *testing.T) {
	for _, standby := range []int{0, 1} {
		x := newStaged(t, 1, standby)
		slow := x.parts()[1]
		var kept *topology.Shadow
		for i := range x.shadows() {
			if x.shadows()[i].Range == slow.Range {
				kept = &x.shadows()[i]
			}
		}
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
		i := slices.IndexFunc(x.shadows(), func(sh topology.Shadow) bool { return sh.Range == slow.Range })
		sh := x.shadows()[i]
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
