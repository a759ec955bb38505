package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// adoptAll adopts seals named by single letters, one per epoch from start on.
func adoptAll(t testing.TB, v *Vault, term uint64, start topology.Epoch, seals ...string) {
	t.Helper()
	if err := v.Adopt(context.Background(), adoption(t, term, start, seals...)).Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func adoption(t testing.TB, term uint64, start topology.Epoch, seals ...string) Adoption {
	a := Adoption{Query: testQuery, Source: "s", Term: term, Start: start, Begin: true, End: true}
	for i, s := range seals {
		a.Seals = append(a.Seals, Seal{start + topology.Epoch(i), start + topology.Epoch(i), pack(t, s)})
	}
	return a
}

func putSeal(t testing.TB, v *Vault, term uint64, e topology.Epoch, data string) error {
	t.Helper()
	ctx := context.Background()
	return v.PutSeal(ctx, SealPut{testQuery, "s", term, Seal{e, e, pack(t, data)}}).Wait(ctx)
}

func mustSeal(t testing.TB, v *Vault, term uint64, e topology.Epoch, data string) {
	t.Helper()
	if err := putSeal(t, v, term, e, data); err != nil {
		t.Fatal(err)
	}
}

func fenceLog(v Access, term uint64) (string, LogState, error) {
	var out []string
	state, err := v.Fence(context.Background(), FenceRequest{testQuery, "s", term}, func(s *Seal) error {
		b, err := s.Data.Append(nil)
		out = append(out, fmt.Sprintf("%d%s", s.First, b))
		return err
	})
	return strings.Join(out, " "), state, err
}

func wantFenced(t testing.TB, v *Vault, term uint64, want string) LogState {
	t.Helper()
	got, state, err := fenceLog(v, term)
	if err != nil || got != want {
		t.Errorf("fence %d: %q, %v; want %q", term, got, err, want)
	}
	return state
}

func TestVaultAcceptsNoTermBelowItsPromiseAcrossRestarts(t *testing.T) {
	m := NewMemory()
	v := open(t, testConfig(m, 1))
	adoptAll(t, v, 5, 1, "a")
	mustSeal(t, v, 5, 2, "b")
	wantFenced(t, v, 7, "1a 2b")
	refused := func(term uint64) {
		t.Helper()
		var fenced *FencedError
		if err := putSeal(t, v, term, 3, "c"); !errors.As(err, &fenced) || fenced.Promise != 7 {
			t.Errorf("put: %v", err)
		}
		if err := v.Adopt(context.Background(), adoption(t, term, 1)).Wait(context.Background()); !errors.As(err, &fenced) {
			t.Errorf("adopt: %v", err)
		}
		if _, _, err := fenceLog(v, term); !errors.As(err, &fenced) {
			t.Errorf("fence: %v", err)
		}
	}
	for boot := range topology.BootID(3) {
		refused(5)
		refused(6)
		v.Close()
		m.Kill()
		v = open(t, testConfig(m, boot+2))
	}
	wantFenced(t, v, 7, "1a 2b")
}

func TestRestartedVaultMustBeJoinedAgain(t *testing.T) {
	m := NewMemory()
	v := open(t, testConfig(m, 1))
	var not *NotJoinedError
	if err := putSeal(t, v, 5, 1, "a"); !errors.As(err, &not) || not.Boot != 1 || not.LogBoot != 0 {
		t.Fatalf("never joined: %v", err)
	}
	adoptAll(t, v, 5, 1, "a")
	mustSeal(t, v, 5, 2, "b")
	if s := wantFenced(t, v, 5, "1a 2b"); !s.Joined || s.LogBoot != 1 || s.Next != 3 || s.JoinTerm != 5 {
		t.Errorf("before: %+v", s)
	}
	v.Close()
	v = open(t, testConfig(m, 2))
	if err := putSeal(t, v, 5, 3, "c"); !errors.As(err, &not) || not.Boot != 2 || not.LogBoot != 1 {
		t.Errorf("after: %v", err)
	}
	if s := wantFenced(t, v, 6, "1a 2b"); s.Joined || s.LogBoot != 1 || s.Next != 3 || s.Boot != 2 {
		t.Errorf("after: %+v", s)
	}
	// A higher term must adopt, too, before it seals.
	adoptAll(t, v, 6, 1, "a", "b")
	if err := putSeal(t, v, 7, 3, "c"); !errors.As(err, &not) || not.JoinTerm != 6 {
		t.Errorf("term without adoption: %v", err)
	}
	mustSeal(t, v, 6, 3, "c")
}

func TestOneTermSealsAnEpochInOneWayOnly(t *testing.T) {
	v := open(t, testConfig(NewMemory(), 1))
	adoptAll(t, v, 5, 1)
	mustSeal(t, v, 5, 1, "a")
	mustSeal(t, v, 5, 2, "b")
	mustSeal(t, v, 5, 1, "a")
	var conflict *SealConflictError
	if err := putSeal(t, v, 5, 1, "x"); !errors.As(err, &conflict) || conflict.Epoch != 1 {
		t.Errorf("other bytes: %v", err)
	}
	if err := v.Adopt(context.Background(), adoption(t, 5, 1, "a", "x")).Wait(context.Background()); !errors.As(err, &conflict) {
		t.Errorf("other bytes adopted: %v", err)
	}
	var gap *SealGapError
	if err := putSeal(t, v, 5, 4, "d"); !errors.As(err, &gap) || gap.Next != 3 {
		t.Errorf("gap: %v", err)
	}
	wantFenced(t, v, 5, "1a 2b")
}

func TestAdoptionReplacesWhatALowerTermNeverReleased(t *testing.T) {
	m := NewMemory()
	v := open(t, testConfig(m, 1))
	adoptAll(t, v, 5, 1, "a", "b")
	mustSeal(t, v, 5, 3, "c")
	mustSeal(t, v, 5, 4, "d")
	// The successor's log, from another vault, ends at 2.
	adoptAll(t, v, 7, 1, "a", "b")
	mustSeal(t, v, 7, 3, "C")
	wantFenced(t, v, 7, "1a 2b 3C")
	// A log that has another seal in the middle cuts all behind it; one that starts later cuts what is before.
	adoptAll(t, v, 8, 2, "B", "E")
	wantFenced(t, v, 8, "2B 3E")
	v.Close()
	v = open(t, testConfig(m, 2))
	wantFenced(t, v, 8, "2B 3E")
	adoptAll(t, v, 9, 2, "B", "E")
	if err := v.Trim(context.Background(), testQuery, 2).Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustSeal(t, v, 9, 3, "E")
		if err := v.Compact(context.Background()); err != nil {
			t.Fatal(err)
		}
		wantFenced(t, v, 9, "3E")
		v.Close()
		v = open(t, testConfig(m, 3))
		wantFenced(t, v, 9, "3E")
		adoptAll(t, v, 9, 2, "B", "E") // the vault has trimmed further than the owner
	}
}

func TestAdoptionInPartsCountsOnlyWithItsEnd(t *testing.T) {
	m := NewMemory()
	v, ctx := open(t, testConfig(m, 1)), context.Background()
	adoptAll(t, v, 5, 1, "a", "b", "c", "d")
	a := adoption(t, 7, 1, "a", "b")
	a.End = false
	if err := v.Adopt(ctx, a).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	var not *NotJoinedError
	if err := putSeal(t, v, 7, 3, "C"); !errors.As(err, &not) {
		t.Errorf("put within an adoption: %v", err)
	}
	v.Close()
	v = open(t, testConfig(m, 2))
	wantFenced(t, v, 7, "1a 2b 3c 4d") // nothing that may have been released is gone
	b := adoption(t, 7, 3, "C")
	b.Begin = false
	var gap *SealGapError
	if err := v.Adopt(ctx, b).Wait(ctx); !errors.As(err, &gap) {
		t.Errorf("part without a beginning: %v", err)
	}
	for _, part := range []Adoption{a, b} {
		if err := v.Adopt(ctx, part).Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	wantFenced(t, v, 7, "1a 2b 3C")
}

// TestAFencedLogEndsBeforeWhatIsNotOnDiskYet: a successor takes the end of a log without seals for where it was trimmed, and waits for a checkpoint
// there, which what was never released cannot bring.
func TestAFencedLogEndsBeforeWhatIsNotOnDiskYet(t *testing.T) {
	v := &Vault{queries: map[topology.QueryID]*queryIndex{}}
	l := &sealLog{entries: []sealEntry{{first: 161, last: 164}, {first: 165, last: 170}}, next: 171}
	if f := v.fenced(l); f.State.Next != 161 || f.State.Seals != 0 {
		t.Errorf("it has %d seals and ends before epoch %d, want 0 and 161", f.State.Seals, f.State.Next)
	}
}
