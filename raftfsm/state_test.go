package raftfsm

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is the first life of node n.
func process(n int) topology.Process {
	return topology.Process{Node: topology.NodeID(fmt.Sprintf("n%d", n)), Boot: topology.BootID(100 * n)}
}

func processes(ns ...int) []topology.Process {
	var out []topology.Process
	for _, n := range ns {
		out = append(out, process(n))
	}
	return out
}

func keyRange(from, to int) topology.Range {
	return topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(to)}
}

func join(n int) *NodeJoin {
	p := process(n)
	return &NodeJoin{Node: Node{ID: p.Node, Boot: p.Boot, Addresses: Addresses{Data: string(p.Node)}, Fingerprint: "f1"}}
}

// add is a query of a source stage, an inner stage of 64 key groups on two nodes, and a sink.
func add(name string, incarnation uint64) *QueryAdd {
	vaults := func(blocks int) (out [][]topology.Process) {
		for range blocks {
			out = append(out, processes(3, 4))
		}
		return out
	}
	return &QueryAdd{
		Name: name, Incarnation: incarnation, SQL: "INSERT INTO t SELECT * FROM s WHERE a < 3;", Plan: []byte("plan"), Fingerprint: "f1",
		T0Ms: 1000, EpochMs: 10,
		Stages: []StageAdd{
			{Groups: 32, Source: true, Parts: []Part{{keyRange(0, 32), process(1)}}, Vaults: vaults(2)},
			{Groups: 64, Parts: []Part{{keyRange(0, 32), process(1)}, {keyRange(32, 64), process(2)}}, Vaults: vaults(4)},
			{Groups: 1, Parts: []Part{{keyRange(0, 1), process(2)}}, Vaults: vaults(1)},
		},
		Seals: []SealGrant{{process(1), processes(3, 4)}},
	}
}

// must applies commands that have to be applied.
func must(t testing.TB, s *State, commands ...Command) *State {
	t.Helper()
	for _, k := range commands {
		next, out := s.Apply(Envelope{AtMs: 7, Command: k})
		if out.Code != Applied {
			t.Fatalf("%T: %v %v: %s", k, out.Code, out.Reason, out.Text)
		}
		if err := next.Check(); err != nil {
			t.Fatalf("%T: %v", k, err)
		}
		s = next
	}
	return s
}

// want applies a command that must not be applied.
func want(t testing.TB, s *State, k Command, code Code, reason Reason) {
	t.Helper()
	next, out := s.Apply(Envelope{Command: k})
	if out.Code != code || out.Reason != reason || next != s {
		t.Fatalf("%T: %v %v (%s), want %v %v and the same state", k, out.Code, out.Reason, out.Text, code, reason)
	}
}

// founded is a cluster of five nodes with one query "q" that is complete up to 128.
func founded(t testing.TB) *State {
	t.Helper()
	s := must(t, new(State), &ClusterInit{ID: 42})
	for n := 1; n <= 5; n++ {
		s = must(t, s, join(n))
	}
	return must(t, s, add("q", 1), &CheckpointComplete{Query: queryID(1, 1), Complete: 128})
}

func queryID(incarnation uint64, generation uint32) topology.QueryID {
	return topology.QueryID{Incarnation: incarnation, Generation: generation}
}

func bytesOf(t interface {
	Helper()
	Fatal(...any)
}, s *State) []byte {
	t.Helper()
	data, err := EncodeSnapshot(s)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestReassignPutsAllLostRangesOnOthersAtOnce(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	k := &Reassign{
		Query: q.ID, Version: q.Version, Lost: processes(1), Why: "n1 died",
		Moves: []Move{
			{Stage: 0, Range: keyRange(0, 16), Process: process(2), Restore: 128},
			{Stage: 0, Range: keyRange(16, 32), Process: process(3), Restore: 128},
			{Stage: 1, Range: keyRange(0, 32), Process: process(3), Restore: 128, Deaths: 1},
		},
		Seals: []SealGrant{{process(2), processes(4, 5)}, {process(3), processes(4, 5)}},
	}
	short := *k
	short.Moves = k.Moves[:2]
	want(t, s, &short, Refused, BadCoverage)
	unsealed := *k
	unsealed.Seals = nil
	want(t, s, &unsealed, Refused, NoSeals)
	early := *k
	early.Moves = append([]Move(nil), k.Moves...)
	early.Moves[2].Restore = 0
	want(t, s, &early, Stale, BadEpoch)

	before := bytesOf(t, s)
	next := must(t, s, k)
	if !bytes.Equal(before, bytesOf(t, s)) {
		t.Fatal("the earlier view changed")
	}
	want(t, next, k, Stale, OldVersion)
	q = next.Query("q")
	old := q.SealLog(1)
	if old == nil || !old.Fenced || old.Term <= s.Query("q").SealLog(1).Term {
		t.Fatalf("seal log of the lost process is %+v, want it fenced under a higher term", old)
	}
	for _, a := range q.Stages[0].Partitions {
		if len(a.Adopt) != 1 || a.Adopt[0] != 1 {
			t.Fatalf("%+v adopts not the lost process's log", a)
		}
	}
	// Both successors have copied the log: it goes.
	for _, a := range q.Stages[0].Partitions {
		if next.Query("q").SealLog(1) == nil {
			t.Fatal("the log went before every successor adopted it")
		}
		next = must(t, next, &SealsAdopted{q.ID, 0, a.Instance, a.Adopt})
	}
	if next.Query("q").SealLog(1) != nil {
		t.Fatal("the log of the lost process is kept though all have adopted it")
	}
}

func TestASecondSuccessorAdoptsWhatTheFirstHadNotAdopted(t *testing.T) {
	s := founded(t)
	move := func(s *State, from, to int) *State {
		q := s.Query("q")
		k := &Reassign{Query: q.ID, Version: q.Version, Lost: processes(from), Seals: []SealGrant{{process(to), processes(4)}}}
		for st, stage := range q.Stages {
			for _, a := range stage.Partitions {
				if a.Process == process(from) {
					k.Moves = append(k.Moves, Move{Stage: topology.StageID(st), Range: a.Range, Process: process(to), Restore: q.Complete})
				}
			}
		}
		return must(t, s, k)
	}
	s = move(move(s, 1, 3), 3, 5)
	q := s.Query("q")
	if got := q.Stages[0].Partitions[0].Adopt; len(got) != 2 || got[0] != 1 || got[1] != 2 {
		t.Fatalf("adopts %v, want logs 1 and 2, the older first", got)
	}
	if got := q.SealSet(process(5)); got == nil || got.Log != 3 {
		t.Fatalf("own log is %+v", got)
	}
}

func TestSwitchTakesAllPartsOfARangeAtOnce(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	start := &ShadowStart{Query: q.ID, Version: q.Version, Stage: 1, Restore: 128,
		Parts: []Part{{keyRange(16, 32), process(3)}, {keyRange(32, 48), process(4)}}}
	s = must(t, s, start)
	q = s.Query("q")
	want(t, s, &ShadowStart{Query: q.ID, Version: q.Version, Stage: 1, Restore: 128, Parts: []Part{{keyRange(40, 50), process(5)}}}, Refused, ChangePending)
	s = must(t, s, &CheckpointComplete{Query: q.ID, Complete: 256})
	if got := s.Query("q").TrimPoint(); got != 128 {
		t.Fatalf("trim point is %d though a shadow restores 128", got)
	}
	a, b := q.Stages[1].Shadows[0].Instance, q.Stages[1].Shadows[1].Instance
	half := &Switch{Query: q.ID, Version: q.Version, Stage: 1, Range: keyRange(16, 48), Parts: []SwitchPart{{a, 128}}, AtEpoch: 300}
	want(t, s, half, Refused, NoSuchShadow)
	whole := *half
	whole.Parts = []SwitchPart{{a, 128}, {b, 256}}
	s = must(t, s, &whole)
	q = s.Query("q")
	var got []string
	for _, p := range q.Stages[1].Partitions {
		got = append(got, fmt.Sprintf("%v %s", p.Range, p.Process.Node))
	}
	if text := fmt.Sprint(got); text != "[[0,16) n1 [16,32) n3 [32,48) n4 [48,64) n2]" {
		t.Fatalf("active: %s", text)
	}
	if q.TrimPoint() != 256 || len(q.Stages[1].Shadows) != 0 || len(q.Stages[1].Retired) != 0 {
		t.Fatalf("trim %d, shadows %v, retired %v", q.TrimPoint(), q.Stages[1].Shadows, q.Stages[1].Retired)
	}
}

// TestAStandbyShadowGivesWayToAChangeAndGoesOnInItsRange: with the state that it has, when the change is to just where it is.
func TestAStandbyShadowGivesWayToAChangeAndGoesOnInItsRange(t *testing.T) {
	founded := founded(t)
	q := founded.Query("q")
	kept := &ShadowStart{Query: q.ID, Version: q.Version, Stage: 1, Restore: 128, Purpose: topology.ForStandby, Parts: []Part{{keyRange(0, 32), process(3)}}}
	founded = must(t, founded, kept)
	q = founded.Query("q")
	standby := q.Stages[1].Shadows[0]
	founded = must(t, founded, &CheckpointComplete{Query: q.ID, Complete: 256})
	start := func(purpose topology.Purpose, parts ...Part) *ShadowStart {
		return &ShadowStart{Query: q.ID, Version: q.Version, Stage: 1, Restore: 256, Purpose: purpose, Parts: parts}
	}
	want(t, founded, start(topology.ForStandby, Part{keyRange(0, 32), process(3)}), Refused, ChangePending)
	want(t, founded, start(topology.ForStandby, Part{keyRange(0, 16), process(4)}), Refused, ChangePending)
	for _, purpose := range []topology.Purpose{topology.ForChange, topology.ForSpeed} {
		s := must(t, founded, start(purpose, Part{keyRange(0, 32), process(3)}))
		wants := topology.Shadow{Range: keyRange(0, 32), Process: process(3), Instance: standby.Instance, Restore: 128, Purpose: purpose}
		if got := s.Query("q").Stages[1].Shadows; len(got) != 1 || got[0] != wants {
			t.Errorf("%+v", got)
		}
		s = must(t, founded, start(purpose, Part{keyRange(16, 32), process(3)}))
		wants = topology.Shadow{Range: keyRange(16, 32), Process: process(3), Instance: standby.Instance + 1, Restore: 256, Purpose: purpose}
		if got := s.Query("q").Stages[1].Shadows; len(got) != 1 || got[0] != wants {
			t.Errorf("%+v", got)
		}
		q := s.Query("q")
		again := start(topology.ForChange, Part{keyRange(0, 20), process(4)})
		again.Version = q.Version
		want(t, s, again, Refused, ChangePending) // only a standby gives way
	}
}

// TestOneOfSeveralStandbysTakesOverAndTheOthersStay: whether it is made to, or what is active is lost; those of other ranges go.
func TestOneOfSeveralStandbysTakesOverAndTheOthersStay(t *testing.T) {
	s := founded(t)
	whole := keyRange(0, 32)
	query := func() *Query { return s.Query("q") }
	start := func(purpose topology.Purpose, parts ...Part) *ShadowStart {
		return &ShadowStart{Query: query().ID, Version: query().Version, Stage: 1, Restore: 128, Purpose: purpose, Parts: parts}
	}
	kept := func(want ...topology.Process) {
		t.Helper()
		var got []topology.Process
		for _, sh := range query().Stages[1].Shadows {
			if sh.Purpose != topology.ForStandby || sh.Range != whole {
				t.Errorf("%+v", sh)
			}
			got = append(got, sh.Process)
		}
		if !slices.Equal(got, want) {
			t.Errorf("standbys on %v, want %v", got, want)
		}
	}
	s = must(t, s, start(topology.ForStandby, Part{whole, process(3)}, Part{whole, process(4)}))
	s = must(t, s, start(topology.ForStandby, Part{whole, process(5)}))
	kept(process(3), process(4), process(5))
	three := query().Stages[1].Shadows[0].Instance
	s = must(t, s, &ShadowDrop{Query: query().ID, Version: query().Version, Stage: 1, Range: whole, Instance: query().Stages[1].Shadows[1].Instance})
	kept(process(3), process(5))

	s = must(t, s, start(topology.ForChange, Part{whole, process(3)})) // it becomes the change's shadow, and n5 stays a standby
	want(t, s, start(topology.ForChange, Part{whole, process(4)}), Refused, ChangePending)
	want(t, s, start(topology.ForStandby, Part{whole, process(4)}), Refused, ChangePending)
	all := &Switch{Query: query().ID, Version: query().Version, Stage: 1, Range: whole, Parts: []SwitchPart{{three, 128}}}
	wrong := *all
	wrong.Parts = append(wrong.Parts, SwitchPart{query().Stages[1].Shadows[1].Instance, 128})
	want(t, s, &wrong, Refused, NoSuchShadow)
	s = must(t, s, all)
	if a := query().Stages[1].Partitions[0]; a.Process != process(3) || a.Instance != three {
		t.Fatalf("%+v is active", a)
	}
	kept(process(5))

	s = must(t, s, start(topology.ForStandby, Part{whole, process(4)}))
	five := query().Stages[1].Shadows[0].Instance
	s = must(t, s, &NodeStatus{process(3), s.Node("n3").Version, Lost, "killed"})
	moves := func(parts ...Part) *Reassign {
		k := &Reassign{Query: query().ID, Version: query().Version, Lost: processes(3)}
		for _, p := range parts {
			k.Moves = append(k.Moves, Move{Stage: 1, Range: p.Range, Process: p.Process, Restore: 128})
		}
		return k
	}
	before := s
	s = must(t, s, moves(Part{whole, process(5)}))
	if a := query().Stages[1].Partitions[0]; a.Process != process(5) || a.Instance != five {
		t.Fatalf("%+v is active", a)
	}
	kept(process(4))
	s = must(t, s, start(topology.ForChange, Part{keyRange(0, 16), process(2)}))
	if list := query().Stages[1].Shadows; len(list) != 1 || list[0].Range != keyRange(0, 16) {
		t.Errorf("%+v", list) // a part of the range is to move: the standby of all of it goes
	}
	s = before
	s = must(t, s, moves(Part{keyRange(0, 16), process(5)}, Part{keyRange(16, 32), process(4)}))
	kept()
}

// TestNeighboursOfAProcessBecomeOneThroughAShadowOfAllOfThem: and a process gets no other shadow of what it runs.
func TestNeighboursOfAProcessBecomeOneThroughAShadowOfAllOfThem(t *testing.T) {
	s := founded(t)
	start := func(stage topology.StageID, purpose topology.Purpose, part Part) *ShadowStart {
		return &ShadowStart{Query: s.Query("q").ID, Version: s.Query("q").Version, Stage: stage, Restore: 128, Purpose: purpose, Parts: []Part{part}}
	}
	whole := Part{keyRange(0, 64), process(1)}
	want(t, s, start(1, topology.ForChange, whole), Refused, BadCoverage) // a part is n2's
	s = must(t, s, start(1, topology.ForChange, Part{keyRange(48, 64), process(1)}))
	switchTo := func(r topology.Range) *Switch {
		q := s.Query("q")
		return &Switch{Query: q.ID, Version: q.Version, Stage: 1, Range: r, Parts: []SwitchPart{{q.Stages[1].Shadows[0].Instance, 128}}, AtEpoch: 300}
	}
	s = must(t, s, switchTo(keyRange(48, 64)))
	s = must(t, s, start(1, topology.ForChange, Part{keyRange(32, 48), process(1)}))
	s = must(t, s, switchTo(keyRange(32, 48))) // [0,32), [32,48) and [48,64) are n1's
	for name, k := range map[string]*ShadowStart{
		"one of them":              start(1, topology.ForChange, Part{keyRange(0, 32), process(1)}),
		"one and a part of one":    start(1, topology.ForChange, Part{keyRange(0, 40), process(1)}),
		"for when it is lost":      start(1, topology.ForStandby, whole),
		"to be faster than itself": start(1, topology.ForSpeed, whole),
	} {
		if _, out := s.Apply(Envelope{Command: k}); out.Code != Refused || out.Reason != BadCoverage {
			t.Errorf("%s: %+v", name, out)
		}
	}
	s = must(t, s, start(1, topology.ForStandby, Part{keyRange(0, 32), process(3)}))
	s = must(t, s, start(1, topology.ForChange, Part{keyRange(0, 48), process(1)}))
	q := s.Query("q")
	if got := q.Stages[1].Shadows; len(got) != 1 || got[0].Range != keyRange(0, 48) {
		t.Fatalf("shadows %+v", got)
	}
	one := q.Stages[1].Shadows[0].Instance
	s = must(t, s, switchTo(keyRange(0, 48)))
	if got := s.Query("q").Stages[1].Partitions; len(got) != 2 || got[0].Range != keyRange(0, 48) || got[0].Instance != one || got[1].Range != keyRange(48, 64) {
		t.Fatalf("%+v", got)
	}
	// Of a source they stay apart.
	source := *s.Query("q").Stages[1]
	source.Source = true
	if st := s.Query("q").Stages[1]; !st.Merges(keyRange(0, 64), process(1)) || source.Merges(keyRange(0, 64), process(1)) {
		t.Errorf("%+v", st.Partitions)
	}
}

func TestARetiredPartitionServesUntilTheTrimPointIsAtItsSuccessorsEpoch(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	s = must(t, s, &ShadowStart{Query: q.ID, Version: 1, Stage: 1, Restore: 128, Parts: []Part{{keyRange(0, 16), process(5)}}},
		&CheckpointComplete{Query: q.ID, Complete: 256},
		&ShadowStart{Query: q.ID, Version: 2, Stage: 2, Restore: 256, Parts: []Part{{keyRange(0, 1), process(5)}}})
	q = s.Query("q")
	sink := q.Stages[2].Shadows[0]
	s = must(t, s, &Switch{Query: q.ID, Version: 3, Stage: 2, Range: sink.Range, Parts: []SwitchPart{{sink.Instance, 256}}})
	if got := s.Query("q").Stages[2].Retired; len(got) != 1 || got[0].Until != 256 {
		t.Fatalf("retired %v, want the old sink until 256: a shadow pins 128", got)
	}
	s = must(t, s, &NodeStatus{process(2), 1, Leaving, "drain"})
	if named := s.NamedBy("n2", 100); len(named) != 2 {
		t.Fatalf("n2 is named by %v", named)
	}
	s = must(t, s, &ShadowDrop{Query: q.ID, Version: 4, Stage: 1, Range: keyRange(0, 16)})
	if got := s.Query("q").Stages[2].Retired; len(got) != 0 {
		t.Fatalf("retired %v though nothing pins the trim point", got)
	}
}

func TestAMovedSourceFencesTheFormerOwnersLog(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	s = must(t, s, &ShadowStart{Query: q.ID, Version: 1, Stage: 0, Restore: 128, Parts: []Part{{keyRange(0, 16), process(2)}}})
	sh := s.Query("q").Stages[0].Shadows[0]
	k := &Switch{Query: q.ID, Version: 2, Stage: 0, Range: sh.Range, Parts: []SwitchPart{{sh.Instance, 128}}, Seals: []SealGrant{{process(2), processes(4, 5)}}}
	s = must(t, s, k)
	q = s.Query("q")
	former := q.SealSet(process(1))
	if former == nil || former.Term <= 1 {
		t.Fatalf("the former owner, which keeps key groups, has %+v; want its log under a higher term", former)
	}
	want(t, s, &SealSetChange{Query: q.ID, Log: 1, Term: 1, Version: 1, Members: processes(3, 5)}, Stale, OldVersion)
	s = must(t, s, &SealSetChange{Query: q.ID, Log: 1, Term: former.Term, Version: 1, Members: processes(3, 5)})
	want(t, s, &SealSetChange{Query: q.ID, Log: 1, Term: former.Term, Version: 1, Members: processes(4, 5)}, Stale, OldVersion)
}

func TestAcceptedLossStartsTheNextGenerationFromTheCompleteEpoch(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	s = must(t, s, &QueryStateChange{Query: q.ID, StateVersion: 1, State: Waiting, Reason: "seals of n1 are lost", Resolves: "n3 or n4 coming back"})
	k := &GenerationChange{Query: q.ID, Complete: 128, Empty: []topology.BlockRef{{Stage: 1, Block: 2}},
		Seals: []SealGrant{{process(1), processes(5)}}, Why: "seals behind epoch 128 may be missing"}
	s = must(t, s, k)
	want(t, s, k, Already, NoReason)
	q2 := s.Query("q")
	if q2.ID.Generation != 2 || q2.Since != 128 || q2.State != Running || q2.Stages[1].Partitions[0].Restore != 128 {
		t.Fatalf("%+v", q2)
	}
	if q2.SealSet(process(1)).Term <= q.SealSet(process(1)).Term {
		t.Fatal("the new generation's term is not higher")
	}
	want(t, s, &CheckpointComplete{Query: q.ID, Complete: 256}, Stale, OldGeneration)
}

func TestAGenerationThatKeepsItsSealsAdoptsThemAnew(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	k := &GenerationChange{Query: q.ID, Complete: 128, Keep: true, Why: "n2 acted on more than was kept"}
	want(t, s, k, Refused, NoSeals)
	k.Seals = []SealGrant{{process(1), processes(3, 5)}}
	s = must(t, s, k)
	q = s.Query("q")
	old, own := q.SealLog(1), q.SealSet(process(1))
	if a := q.Stages[0].Partitions[0]; len(a.Adopt) != 1 || a.Adopt[0] != 1 || a.Restore != 128 {
		t.Fatalf("the source is %+v, want it to adopt its own log 1", a)
	}
	if !old.Fenced || old.Generation != 1 || own.Log != 2 || own.Generation != 2 || old.Term <= 1 {
		t.Fatalf("logs %+v and %+v", old, own)
	}
	if q.Since != 128 || q.SinceGeneration != 1 {
		t.Fatalf("the state at 128 is said to be kept by generation %d at %d", q.SinceGeneration, q.Since)
	}
	// Once more before anything was complete: the state is still where the first generation left it.
	s = must(t, s, &GenerationChange{Query: q.ID, Complete: 128, Empty: []topology.BlockRef{{Stage: 1}}, Seals: k.Seals})
	if q = s.Query("q"); q.Since != 128 || q.SinceGeneration != 1 || len(q.Empty) != 1 {
		t.Fatalf("since %d of generation %d, empty %v", q.Since, q.SinceGeneration, q.Empty)
	}
	s = must(t, s, &CheckpointComplete{Query: q.ID, Complete: 256}, &GenerationChange{Query: q.ID, Complete: 256, Seals: k.Seals})
	if q = s.Query("q"); q.Since != 256 || q.SinceGeneration != 3 || len(q.Empty) != 0 {
		t.Fatalf("since %d of generation %d, empty %v", q.Since, q.SinceGeneration, q.Empty)
	}
}

func TestAFinishedQueryMovesItsTablesAndKeepsNoSeals(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	s = must(t, s, &QueryStateChange{Query: q.ID, StateVersion: 1, State: Finished})
	if q = s.Query("q"); len(q.Seals) != 0 {
		t.Fatalf("seals %v", q.Seals)
	}
	s = must(t, s,
		&Reassign{Query: q.ID, Version: 1, Lost: processes(1), Moves: []Move{
			{Stage: 0, Range: keyRange(0, 32), Process: process(2), Restore: 128}, {Stage: 1, Range: keyRange(0, 32), Process: process(3), Restore: 128}}},
		&VaultsChange{Query: q.ID, Changes: []VaultChange{{Stage: 1, Block: 0, Version: 1, Members: processes(4, 5)}}},
		&ShadowStart{Query: q.ID, Version: 2, Stage: 1, Restore: 128, Parts: []Part{{keyRange(0, 32), process(4)}}},
		&QueryStateChange{Query: q.ID, StateVersion: 2, State: Finished, Reason: "waits for n3"})
	if q = s.Query("q"); len(q.Seals) != 0 || len(q.Stages[0].Partitions[0].Adopt) != 0 {
		t.Fatalf("seals %v, adopts %v", q.Seals, q.Stages[0].Partitions[0].Adopt)
	}
	want(t, s, &QueryStateChange{Query: q.ID, StateVersion: 3, State: Running}, Refused, BadTransition)
}

func TestAQueryThatWaitsOrIsBlockedKnowsThatItWasPaused(t *testing.T) {
	s := founded(t)
	id := s.Query("q").ID
	s = must(t, s, &QueryStateChange{Query: id, StateVersion: 1, State: Paused}, &QueryStateChange{Query: id, StateVersion: 2, State: Waiting, Reason: "r"})
	if !s.Query("q").WasPaused {
		t.Fatal("the pause is forgotten")
	}
	s = must(t, s, &QueryStateChange{Query: id, StateVersion: 3, State: Waiting, Reason: "another"})
	if !s.Query("q").WasPaused {
		t.Fatal("the pause is forgotten with another reason")
	}
	if s = must(t, s, &QueryStateChange{Query: id, StateVersion: 4, State: Running}); s.Query("q").WasPaused {
		t.Fatal("it runs and is paused")
	}
}

func TestAVaultSetRemembersWhenANodeWasAdded(t *testing.T) {
	s := founded(t)
	id := s.Query("q").ID
	again := join(3)
	again.Version, again.Node.Boot = 1, 301
	back := []topology.Process{{Node: "n3", Boot: 301}, process(4)}
	s = must(t, s, again, &VaultsChange{Query: id, Changes: []VaultChange{{Stage: 1, Version: 1, Members: back}}})
	if got := s.Query("q").Stages[1].Vaults[0]; got.Changed != 0 || got.Version != 2 {
		t.Fatalf("%+v: n3 came back with its disk", got)
	}
	s = must(t, s, &VaultsChange{Query: id, Changes: []VaultChange{{Stage: 1, Version: 2, Members: append(back, process(5))}}})
	if got := s.Query("q").Stages[1].Vaults[0]; got.Changed != s.Version || len(got.Former) != 0 {
		t.Fatalf("%+v: n5 was added in version %d", got, s.Version)
	}
	s = must(t, s, &VaultsChange{Query: id, Changes: []VaultChange{{Stage: 1, Version: 3, Members: processes(5)}}})
	if got := s.Query("q").Stages[1].Vaults[0]; !slices.Equal(got.Former, back) || !slices.Contains(s.NamedBy("n3", 100), "query q: vault of block 0 of stage 1") {
		t.Fatalf("%+v: n3 and n4 may have the only copies; n3 is named by %v", got, s.NamedBy("n3", 100))
	}
	s = must(t, s, &CheckpointComplete{Query: id, Complete: s.Query("q").Complete + 128})
	for b, got := range s.Query("q").Stages[1].Vaults {
		if former := len(got.Former) > 0; former != (got.Completed == s.Version) {
			t.Fatalf("block %d, %+v: former members may be those who acknowledged what version %d completed", b, got, s.Version)
		}
	}
	s = must(t, s, &VaultsChange{Query: id, Changes: []VaultChange{{Stage: 1, Version: 4, Members: processes(5), Forget: true}}})
	if got := s.Query("q").Stages[1].Vaults[0]; len(got.Former) != 0 {
		t.Fatalf("%+v", got)
	}
}

func TestAQueryThatFailedOrIsRemovedKeepsNoNodeFromLeaving(t *testing.T) {
	s := founded(t)
	if len(s.NamedBy("n3", 100)) == 0 {
		t.Fatal("n3 has nothing")
	}
	for _, state := range []QueryState{Failed, Removing} {
		q := s.Query("q")
		s = must(t, s, &QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: state, Reason: "a row"})
		if named := s.NamedBy("n3", 100); len(named) > 0 {
			t.Fatalf("n3 is named by %v", named)
		}
	}
}

func TestALogIsAdoptedOnceByAProcessThatGetsItsKeyGroupsBack(t *testing.T) {
	s := founded(t)
	id := s.Query("q").ID
	shadow := func(s *State, r topology.Range, to int) *State {
		q := s.Query("q")
		s = must(t, s, &ShadowStart{Query: id, Version: q.Version, Stage: 0, Restore: 128, Parts: []Part{{r, process(to)}}})
		q = s.Query("q")
		return must(t, s, &Switch{Query: id, Version: q.Version, Stage: 0, Range: r,
			Parts: []SwitchPart{{q.Stages[0].Shadows[0].Instance, 128}}, Seals: []SealGrant{{process(to), processes(4, 5)}}})
	}
	s = shadow(shadow(s, keyRange(0, 16), 2), keyRange(0, 16), 1)
	s = shadow(s, keyRange(0, 16), 3)
	q := s.Query("q")
	if a := q.Stages[0].Partitions[0].Adopt; len(a) != 2 || a[0] != 2 || a[1] != 1 {
		t.Fatalf("adopts %v, want logs 2 and 1, each once", a)
	}
}

func TestAQueryInAnyStateCanBeRemoved(t *testing.T) {
	for _, state := range []QueryState{Running, Paused, Waiting, Blocked, Failed, Finished} {
		s := founded(t)
		q := s.Query("q")
		version := uint64(1)
		if state != Running {
			s = must(t, s, &QueryStateChange{Query: q.ID, StateVersion: version, State: state})
			version++
		}
		s = must(t, s, &QueryStateChange{Query: q.ID, StateVersion: version, State: Removing})
		if err := s.Check(); err != nil {
			t.Errorf("%v: %v", state, err)
		}
		if s = must(t, s, &QueryErase{q.ID}); s.Query("q") != nil {
			t.Errorf("a query that was %v is still there", state)
		}
	}
}

func TestAcceptingALossDoesNotHitAQueryThatGoesOn(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	s = must(t, s, &QueryStateChange{Query: q.ID, StateVersion: 1, State: Waiting, Resolves: "n3"})
	k := &GenerationChange{Query: q.ID, Complete: 128, StateVersion: 2, Seals: []SealGrant{{process(1), processes(2, 3)}}, Why: "n3 is gone"}
	on := must(t, s, &QueryStateChange{Query: q.ID, StateVersion: 2, State: Running})
	want(t, on, k, Stale, OldVersion)
	s = must(t, s, k)
	if n := s.Query("q"); n.State != Running || n.Resealed != 2 {
		t.Fatalf("%v, resealed by generation %d", n.State, n.Resealed)
	}
	n := s.Query("q")
	s = must(t, s, &CheckpointComplete{Query: n.ID, Complete: 256}, &GenerationChange{Query: n.ID, Complete: 256, Keep: true, Seals: k.Seals, Why: "n2 acted on more than was kept"})
	if n := s.Query("q"); n.ID.Generation != 3 || n.Resealed != 2 {
		t.Fatalf("generation %d, resealed by %d", n.ID.Generation, n.Resealed)
	}
}

func TestAJoinWithANewBootIDVoidsTheOldProcess(t *testing.T) {
	s := founded(t)
	again := join(1)
	again.Version, again.Node.Boot = 1, 101
	s = must(t, s, again)
	if s.Lives(process(1)) {
		t.Fatal("the old process still counts")
	}
	want(t, s, join(1), Stale, OldVersion)
	q := s.Query("q")
	want(t, s, &ShadowStart{Query: q.ID, Version: 1, Stage: 1, Restore: 128, Parts: []Part{{keyRange(32, 64), process(1)}}}, Refused, ProcessGone)
	want(t, s, &NodeLeave{topology.Process{Node: "n1", Boot: 101}, 2}, Refused, StillNamed)
}

func TestAPartitionGoesOnlyWhereTheFingerprintIsTheGenerations(t *testing.T) {
	s := founded(t)
	other := join(6)
	other.Node.Fingerprint = "f2"
	s = must(t, s, other)
	q := s.Query("q")
	want(t, s, &ShadowStart{Query: q.ID, Version: 1, Stage: 1, Restore: 128, Parts: []Part{{keyRange(0, 32), process(6)}}}, Refused, OtherFingerprint)
}

func TestARequestRepeatedByItsIDIsAnsweredAsTheFirstTime(t *testing.T) {
	s := founded(t)
	e := Envelope{ID: CommandID{1}, Command: add("r", 2)}
	s, first := s.Apply(e)
	s = must(t, s, &QueryStateChange{Query: queryID(2, 1), StateVersion: 1, State: Removing}, &QueryErase{queryID(2, 1)})
	next, again := s.Apply(e)
	if next != s || again.Code != Applied || again.Value != first.Value {
		t.Fatalf("%+v, then %+v", first, again)
	}
	e.Command = add("r", 3)
	if next, _ := s.Apply(e); next != s {
		t.Fatal("the same request with a later incarnation was applied again")
	}
}

func TestHistoryKeepsTheLastThousandEntries(t *testing.T) {
	s := founded(t)
	for i := range 30 {
		e := Envelope{ID: CommandID{byte(i + 1)}, Command: &HistoryAdd{queryID(1, 1), make([]Entry, 100)}}
		s, _ = s.Apply(e)
	}
	q := s.Query("q")
	if len(q.History) != MaxHistory || q.History[MaxHistory-1].Seq != q.Entries || q.Entries != 3001 {
		t.Fatalf("%d entries, %d written", len(q.History), q.Entries)
	}
}

func TestCommandsThatMakeNoSenseAreRefused(t *testing.T) {
	s := founded(t)
	q := s.Query("q")
	for _, c := range []struct {
		name    string
		command Command
		code    Code
		reason  Reason
	}{
		{"second cluster id", &ClusterInit{ID: 7}, Refused, OtherCluster},
		{"old settings", &ClusterSet{Version: 9, Set: []KV{{"a", "b"}}}, Stale, OldVersion},
		{"node name", &NodeJoin{Node: Node{ID: "a b", Boot: 1, Addresses: Addresses{Data: "x"}, Fingerprint: "f"}}, Refused, Malformed},
		{"no boot id", &NodeJoin{Node: Node{ID: "x", Addresses: Addresses{Data: "x"}, Fingerprint: "f"}}, Refused, Malformed},
		{"unknown node lost", &NodeStatus{process(9), 1, Lost, ""}, Stale, NoSuchNode},
		{"old record", &NodeStatus{process(1), 9, Lost, ""}, Stale, OldVersion},
		{"name taken", add("q", 2), Refused, NameTaken},
		{"old incarnation", add("r", 1), Stale, OldVersion},
		{"unknown query", &CheckpointComplete{Query: queryID(9, 1), Complete: 5}, Stale, NoSuchQuery},
		{"complete falls", &CheckpointComplete{Query: q.ID, Complete: 64}, Stale, OldVersion},
		{"erase a running one", &QueryErase{q.ID}, Refused, BadTransition},
		{"old state", &QueryStateChange{Query: q.ID, StateVersion: 5, State: Paused}, Stale, OldVersion},
		{"unknown state", &QueryStateChange{Query: q.ID, StateVersion: 1, State: 99}, Refused, BadTransition},
		{"no such stage", &ShadowDrop{Query: q.ID, Version: 1, Stage: 9}, Refused, Malformed},
		{"shadow beyond complete", &ShadowStart{Query: q.ID, Version: 1, Stage: 1, Restore: 256, Parts: []Part{{keyRange(0, 32), process(3)}}}, Stale, BadEpoch},
		{"shadow outside", &ShadowStart{Query: q.ID, Version: 1, Stage: 1, Restore: 128, Parts: []Part{{keyRange(60, 70), process(3)}}}, Refused, BadCoverage},
		{"shadow where it runs", &ShadowStart{Query: q.ID, Version: 1, Stage: 1, Restore: 128, Parts: []Part{{keyRange(0, 32), process(1)}}}, Refused, BadCoverage},
		{"empty vaults", &VaultsChange{Query: q.ID, Changes: []VaultChange{{Stage: 1, Version: 1}}}, Refused, BadVaults},
		{"vault twice", &VaultsChange{Query: q.ID, Changes: []VaultChange{{Stage: 1, Version: 1, Members: processes(3, 3)}}}, Refused, BadVaults},
		{"vault gone", &VaultsChange{Query: q.ID, Changes: []VaultChange{{Stage: 1, Version: 1, Members: processes(9)}}}, Refused, BadVaults},
		{"no such block", &VaultsChange{Query: q.ID, Changes: []VaultChange{{Stage: 1, Block: 4, Version: 1, Members: processes(3)}}}, Refused, Malformed},
		{"no such instance", &SealsAdopted{Query: q.ID, Instance: 99, Logs: []topology.SealLog{1}}, Stale, OldVersion},
		{"history without id", &HistoryAdd{q.ID, []Entry{{Text: "x"}}}, Refused, Malformed},
	} {
		t.Run(c.name, func(t *testing.T) { want(t, s, c.command, c.code, c.reason) })
	}
}
