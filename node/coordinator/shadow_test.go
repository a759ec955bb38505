package coordinator

import (
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// staged is a world with a query that runs on five nodes, and a stage of it.
type staged struct {
	*world
	t     *testing.T
	stage topology.StageID
	mem   QueryMemory
	// said changes what is reported of instances.
	said map[uint64]func(*PartitionReport)
}

func newStaged(t *testing.T, stage topology.StageID, standby int) *staged {
	w := newWorld(t, 2, 5)
	w.addQueryWith("a", standby)
	w.runFor(2000)
	return &staged{world: w, t: t, stage: stage, said: map[uint64]func(*PartitionReport){}}
}

func (x *staged) query() *raftfsm.Query                  { return x.state.Query("a") }
func (x *staged) parts() []topology.Assignment           { return x.query().Stages[x.stage].Partitions }
func (x *staged) shadows() []topology.Shadow             { return x.query().Stages[x.stage].Shadows }
func (x *staged) say(i uint64, f func(*PartitionReport)) { x.said[i] = f }

// idle is a node that has nothing of the stage.
func (x *staged) idle(but ...topology.Process) topology.Process {
	for _, a := range x.nodes {
		if p := a.process(); !runsAny(x.query().Stages[x.stage], p, topology.Range{To: topology.KeyGroup(x.query().Stages[x.stage].Groups)}) && !slices.Contains(but, p) {
			return p
		}
	}
	x.t.Fatal("every node has something of the stage")
	return topology.Process{}
}

// bring begins to bring ranges up.
func (x *staged) bring(purpose topology.Purpose, parts ...raftfsm.Part) {
	x.t.Helper()
	q := x.query()
	if out := x.apply(&raftfsm.ShadowStart{Query: q.ID, Version: q.Version, Stage: x.stage, Parts: parts, Restore: q.Complete, Purpose: purpose}); out.Code != raftfsm.Applied {
		x.t.Fatal(out.Text)
	}
}

// look is a view in which all active instances run, shadows are known when something is said of them, and what is said counts.
func (x *staged) look() *View {
	v := x.viewAt()
	v.Reports = nil
	q := x.query()
	for _, a := range x.nodes {
		r := &Report{Process: a.process(), Seq: 1}
		qr := QueryReport{ID: q.ID}
		for s, st := range q.Stages {
			add := func(rng topology.Range, instance uint64, role string) {
				p := PartitionReport{Stage: topology.StageID(s), Range: rng, Instance: instance, Role: role, Phase: PhaseRunning, Epoch: topology.Epoch(x.now / 10)}
				if f := x.said[instance]; f != nil {
					f(&p)
				} else if role == RoleShadow {
					return
				}
				qr.Partitions = append(qr.Partitions, p)
			}
			for _, p := range st.Partitions {
				if p.Process == a.process() {
					add(p.Range, p.Instance, RoleActive)
				}
			}
			for _, p := range st.Shadows {
				if p.Process == a.process() {
					add(p.Range, p.Instance, RoleShadow)
				}
			}
		}
		r.Queries = []QueryReport{qr}
		v.Reports = append(v.Reports, Received{r, x.now})
	}
	slices.SortFunc(v.Reports, func(a, b Received) int { return compareProcess(a.Report.Process, b.Report.Process) })
	return v
}

// after lets time pass and gives what a step decides then.
func (x *staged) after(ms int64, step func(*View, *raftfsm.Query, *QueryMemory) Decision) Decision {
	x.now += ms
	return step(x.look(), x.query(), &x.mem)
}

// only is the one command of a decision, which must be of a kind.
func only[T raftfsm.Command](t *testing.T, d Decision) T {
	t.Helper()
	if len(d.Commands) != 1 {
		t.Fatalf("commands %+v, want one", d.Commands)
	}
	k, ok := d.Commands[0].(T)
	if !ok {
		t.Fatalf("command %T %+v", d.Commands[0], d.Commands[0])
	}
	return k
}

func none(t *testing.T, d Decision) {
	t.Helper()
	if len(d.Commands) > 0 {
		t.Fatalf("command %T %+v, want none", d.Commands[0], d.Commands[0])
	}
}

func TestAShadowIsDroppedWhenItComesNoFurtherAndNotForBeingSlow(t *testing.T) {
	phases := []struct {
		name string
		// say is what is reported of it when it has made so many steps.
		say func(x *staged, step int64) func(*PartitionReport)
	}{
		{"restores", func(_ *staged, step int64) func(*PartitionReport) {
			return func(p *PartitionReport) { p.Phase, p.RestoredBytes, p.Epoch = PhaseRestoring, step<<20, 0 }
		}},
		{"catches up", func(x *staged, step int64) func(*PartitionReport) {
			return func(p *PartitionReport) {
				p.Phase, p.Epoch = PhaseCatchingUp, topology.Epoch(x.now/10-100_000+step*8000)
			}
		}},
	}
	for _, c := range phases {
		t.Run(c.name, func(t *testing.T) {
			x := newStaged(t, 1, 0)
			x.bring(topology.ForChange, raftfsm.Part{Range: x.parts()[0].Range, Process: x.idle()})
			id := x.shadows()[0].Instance
			x.say(id, c.say(x, 0))
			none(t, x.after(0, Switch))
			for step := range int64(10) {
				x.say(id, c.say(x, step))
				for range 5 {
					none(t, x.after(10_000, Switch))
				}
			}
			none(t, x.after(15_000, Switch)) // a minute less than 5 s without a step
			k := only[*raftfsm.ShadowDrop](t, x.after(5_100, Switch))
			if k.Range != x.parts()[0].Range || !strings.Contains(k.Why, "has not come further in 60 s") {
				t.Errorf("%+v", k)
			}
			if x.mem.mayTry(1, changeLayout, x.now) {
				t.Error("it is tried again at once")
			}
		})
	}
}

// TestAShadowThatNeverTakesOverIsDropped: one of which nothing is heard, and one without an epoch at which it could be compared.
func TestAShadowThatNeverTakesOverIsDropped(t *testing.T) {
	for _, what := range []string{"nothing is known of it", "it is running"} {
		x := newStaged(t, 1, 0)
		x.bring(topology.ForChange, raftfsm.Part{Range: x.parts()[0].Range, Process: x.idle()})
		if what != "nothing is known of it" {
			x.say(x.shadows()[0].Instance, func(*PartitionReport) {}) // it runs, and no chains are known
		}
		none(t, x.after(0, Switch))
		none(t, x.after(59_000, Switch))
		if k := only[*raftfsm.ShadowDrop](t, x.after(2_000, Switch)); !strings.Contains(k.Why, what) {
			t.Errorf("%+v", k)
		}
	}
}

func TestAShadowThatIsReadyWaitsForItsNeighboursThatComeFurther(t *testing.T) {
	x := newStaged(t, 1, 0)
	whole := topology.Range{To: topology.KeyGroup(x.query().Stages[1].Groups)}
	a, b := x.idle(), topology.Process{}
	b = x.idle(a)
	half := topology.Range{From: 0, To: whole.To / 2}
	x.bring(topology.ForChange, raftfsm.Part{Range: half, Process: a}, raftfsm.Part{Range: topology.Range{From: half.To, To: whole.To}, Process: b})
	ready, slow := x.shadows()[0], x.shadows()[1]
	at := x.query().Complete + 16
	chains := func(r topology.Range) func(*PartitionReport) {
		return func(p *PartitionReport) {
			p.Restored = x.query().Complete
			for _, part := range []topology.Range{ready.Range, slow.Range} {
				if part = (topology.Range{From: max(part.From, p.Range.From), To: min(part.To, p.Range.To)}); part.Len() > 0 {
					p.Chains = append(p.Chains, chainOf(part, at))
				}
			}
		}
	}
	for _, p := range x.parts() {
		x.say(p.Instance, chains(p.Range))
	}
	x.say(ready.Instance, chains(ready.Range))
	for step := range int64(10) {
		x.say(slow.Instance, func(p *PartitionReport) { p.Phase, p.RestoredBytes = PhaseRestoring, step })
		none(t, x.after(50_000, Switch))
	}
	x.say(slow.Instance, chains(slow.Range))
	k := only[*raftfsm.Switch](t, x.after(50_000, Switch))
	if k.Range != whole || len(k.Parts) != 2 || k.AtEpoch != at {
		t.Fatalf("%+v", k)
	}
	if out := x.apply(k); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
}

// TestAShadowThatHasFallenBehindDoesNotTakeOver: its consumers would wait for it.
func TestAShadowThatHasFallenBehindDoesNotTakeOver(t *testing.T) {
	x := newStaged(t, 1, 0)
	x.bring(topology.ForChange, raftfsm.Part{Range: x.parts()[0].Range, Process: x.idle()})
	at := x.query().Complete
	say := func(behind topology.Epoch) func(*PartitionReport) {
		return func(p *PartitionReport) {
			p.Epoch -= behind
			p.Chains = append(p.Chains, chainOf(p.Range, at))
		}
	}
	x.say(x.parts()[0].Instance, say(0))
	x.say(x.shadows()[0].Instance, say(300))
	none(t, x.after(100, Switch))
	x.say(x.shadows()[0].Instance, say(20))
	only[*raftfsm.Switch](t, x.after(100, Switch))
}

// TestAShadowThatLacksEpochsOfTheCompleteCheckpointDoesNotTakeOver: they are trimmed where it would take them from, so that it would be restored once
// more, with everybody waiting for it.
func TestAShadowThatLacksEpochsOfTheCompleteCheckpointDoesNotTakeOver(t *testing.T) {
	x := newStaged(t, 1, 0)
	x.bring(topology.ForChange, raftfsm.Part{Range: x.parts()[0].Range, Process: x.idle()})
	at := x.query().Complete
	say := func(epoch topology.Epoch) func(*PartitionReport) {
		return func(p *PartitionReport) {
			p.Epoch = epoch
			p.Chains = append(p.Chains, chainOf(p.Range, at))
		}
	}
	x.say(x.parts()[0].Instance, say(at+20))
	x.say(x.shadows()[0].Instance, say(at-1))
	none(t, x.after(100, Switch))
	x.say(x.shadows()[0].Instance, say(at))
	only[*raftfsm.Switch](t, x.after(100, Switch))
}

// TestNoShadowTakesOverInTheStepInWhichACheckpointBecomesComplete: it may lack epochs of that one.
func TestNoShadowTakesOverInTheStepInWhichACheckpointBecomesComplete(t *testing.T) {
	x := newStaged(t, 1, 0)
	x.bring(topology.ForChange, raftfsm.Part{Range: x.parts()[0].Range, Process: x.idle()})
	at := x.query().Complete
	saved := []topology.Epoch{at + 16}
	for _, st := range x.query().Stages {
		for _, a := range st.Partitions {
			x.say(a.Instance, func(p *PartitionReport) {
				p.Lines = saved
				p.Chains = append(p.Chains, chainOf(p.Range, at))
			})
		}
	}
	x.say(x.shadows()[0].Instance, func(p *PartitionReport) {
		p.Epoch = at + 10
		p.Chains = append(p.Chains, chainOf(p.Range, at))
	})
	d := x.after(100, StepQuery)
	if !slices.ContainsFunc(d.Commands, isA[*raftfsm.CheckpointComplete]) || slices.ContainsFunc(d.Commands, isA[*raftfsm.Switch]) {
		t.Fatalf("when a checkpoint becomes complete: %+v", d.Commands)
	}
	saved = nil
	if d := x.after(100, StepQuery); !slices.ContainsFunc(d.Commands, isA[*raftfsm.Switch]) {
		t.Fatalf("when none does: %+v", d.Commands)
	}
}

// TestSourcesThatChangePlacesAdoptEachOthersLogs: both logs are fenced by the switch, and both processes need another one.
func TestSourcesThatChangePlacesAdoptEachOthersLogs(t *testing.T) {
	x := newStaged(t, 0, 0)
	before, at := x.parts(), x.query().Complete
	x.bring(topology.ForChange, raftfsm.Part{Range: before[0].Range, Process: before[1].Process}, raftfsm.Part{Range: before[1].Range, Process: before[0].Process})
	for _, p := range x.parts() {
		x.say(p.Instance, func(p *PartitionReport) { p.Chains = append(p.Chains, chainOf(p.Range, at)) })
	}
	for _, p := range x.shadows() {
		x.say(p.Instance, func(p *PartitionReport) { p.Restored, p.Chains = at, append(p.Chains, chainOf(p.Range, at)) })
	}
	logs := []topology.SealLog{x.query().SealSet(before[0].Process).Log, x.query().SealSet(before[1].Process).Log}
	if out := x.apply(only[*raftfsm.Switch](t, x.after(100, Switch))); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	for i, p := range x.parts() {
		set := x.query().SealSet(p.Process)
		if p.Process != before[1-i].Process || !slices.Equal(p.Adopt, logs[i:i+1]) || set == nil || slices.Contains(logs, set.Log) {
			t.Errorf("%+v, which seals to %+v, in place of %+v with logs %v", p, set, before[i], logs)
		}
	}
}

// TestAQueryDoesNotFinishOnReportsOfPartitionsThatWereTakenOver: that all have ended is no longer said of all.
func TestAQueryDoesNotFinishOnReportsOfPartitionsThatWereTakenOver(t *testing.T) {
	x := newStaged(t, 0, 0)
	q := x.query()
	for _, st := range q.Stages {
		for _, p := range st.Partitions {
			x.say(p.Instance, func(p *PartitionReport) {
				p.Phase, p.Ended = PhaseEnded, q.Complete
				p.Chains = append(p.Chains, chainOf(p.Range, q.Complete))
			})
		}
	}
	x.bring(topology.ForChange, raftfsm.Part{Range: x.parts()[0].Range, Process: x.idle()})
	x.say(x.shadows()[0].Instance, func(p *PartitionReport) {
		p.Epoch, p.Restored = q.Complete, q.Complete
		p.Chains = append(p.Chains, chainOf(p.Range, q.Complete))
	})
	d := x.after(100, StepQuery)
	var switched, finished raftfsm.Command
	for _, k := range d.Commands {
		switch k := k.(type) {
		case *raftfsm.Switch:
			switched = k
		case *raftfsm.QueryStateChange:
			finished = k
		}
	}
	if switched == nil || finished == nil {
		t.Fatalf("%+v", d.Commands)
	}
	if out := x.apply(switched); out.Code != raftfsm.Applied {
		t.Fatal(out.Text)
	}
	if out := x.apply(finished); out.Code != raftfsm.Stale {
		t.Fatalf("it has finished while %v has its end to reach: %+v", x.parts()[0], out)
	}
}

// TestAShadowOfASourceOfAFinishedQueryTakesOverAtItsEnd: nobody has the seals up to there any more.
func TestAShadowOfASourceOfAFinishedQueryTakesOverAtItsEnd(t *testing.T) {
	x := newStaged(t, 0, 0)
	q := x.query()
	x.apply(&raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Finished})
	x.bring(topology.ForChange, raftfsm.Part{Range: x.parts()[0].Range, Process: x.idle()})
	say := func(phase string) func(*PartitionReport) {
		return func(p *PartitionReport) {
			p.Phase, p.Restored = phase, q.Complete
			p.Chains = append(p.Chains, chainOf(p.Range, q.Complete))
		}
	}
	x.say(x.parts()[0].Instance, say(PhaseEnded))
	x.say(x.shadows()[0].Instance, say(PhaseRunning))
	none(t, x.after(100, Switch))
	x.say(x.shadows()[0].Instance, say(PhaseEnded))
	if k := only[*raftfsm.Switch](t, x.after(100, Switch)); len(k.Seals) > 0 {
		t.Errorf("it is given seals: %+v", k)
	}
}

// TestInvariant15AMismatchNamesStageKeyGroupAndEpoch: at a switch, of a range that two partitions have, by the checkpoint at which one key group alone
// made a difference.
func TestInvariant15AMismatchNamesStageKeyGroupAndEpoch(t *testing.T) {
	for _, c := range []struct {
		differ map[topology.Epoch][]topology.KeyGroup
		want   string
	}{
		{map[topology.Epoch][]topology.KeyGroup{3: {13}}, "stage 1 (count) gave other rows for key group 13 up to epoch 3;"},
		{map[topology.Epoch][]topology.KeyGroup{2: {5, 7, 21}, 3: {21}}, "stage 1 (count) gave other rows for key group 21 up to epoch 3;"},
		{map[topology.Epoch][]topology.KeyGroup{2: {5, 7, 21}, 4: {5, 21}}, "stage 1 (count) gave other rows for several of the key groups 0 to 25 up to epoch 2;"},
	} {
		x := newStaged(t, 1, 0)
		parts := x.parts()
		rng := topology.Range{From: 0, To: parts[1].Range.To}
		x.bring(topology.ForChange, raftfsm.Part{Range: rng, Process: x.idle()})
		mine, theirs := make([]uint64, rng.Len()), make([]uint64, rng.Len())
		seed := uint64(1)
		next := func() uint64 {
			seed = seed*6364136223846793005 + 1442695040888963407
			return seed ^ seed<<32
		}
		sums := map[uint64][]ChainSum{}
		for e := topology.Epoch(1); e <= 5; e++ {
			for g := range mine { // what has no rows stays as it is
				if n := next(); g%2 == 0 {
					theirs[g] += n - mine[g]
					mine[g] = n
				}
				if slices.Contains(c.differ[e], topology.KeyGroup(g)) {
					theirs[g] = next()
				}
			}
			for _, a := range parts[:2] {
				sums[a.Instance] = append(sums[a.Instance], ChainSum{a.Range, e, topology.SumChains(a.Range.From, mine[a.Range.From:a.Range.To])})
			}
			id := x.shadows()[0].Instance
			sums[id] = append(sums[id], ChainSum{rng, e, topology.SumChains(0, theirs)})
		}
		for id, list := range sums {
			x.say(id, func(p *PartitionReport) { p.Chains = list })
		}
		k := only[*raftfsm.QueryStateChange](t, x.after(0, Switch))
		if k.State != raftfsm.Failed || !strings.Contains(k.Reason, c.want) {
			t.Errorf("%v: %s\nwant %s", k.State, k.Reason, c.want)
		}
	}
}
