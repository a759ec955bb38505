package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// sealOf is what a log says of an epoch: of some bytes, or of many.
func sealOf(log topology.SealLog, first, last topology.Epoch) SealRecord {
	data := fmt.Appendf(nil, "log %d seals [%d,%d] ", log, first, last)
	return SealRecord{First: first, Last: last, Data: bytes.Repeat(data, 1+int(first)%40)}
}

// owner puts records to a writer and remembers them.
type owner struct {
	log  topology.SealLog
	w    *SealWriter
	put  []SealRecord
	next topology.Epoch
}

func (o *owner) seal(length topology.Epoch) {
	r := sealOf(o.log, o.next, o.next+length-1)
	o.put = append(o.put, r)
	o.w.Put(r)
	o.next = r.Last + 1
}

// isPrefix says what is wrong with records as a part of what o put that begins at or before trim+1 and ends where it likes.
func (o *owner) isPrefix(records []SealRecord, trim topology.Epoch) string {
	if len(records) == 0 {
		return ""
	}
	at := slices.IndexFunc(o.put, func(r SealRecord) bool { return r.First == records[0].First })
	if at < 0 || records[0].First > max(trim+1, o.put[0].First) {
		return fmt.Sprintf("it begins at %d, trimmed through %d", records[0].First, trim)
	}
	for i, r := range records {
		if at+i >= len(o.put) || o.put[at+i].First != r.First || o.put[at+i].Last != r.Last || !bytes.Equal(o.put[at+i].Data, r.Data) {
			return fmt.Sprintf("[%d,%d] is not what was put", r.First, r.Last)
		}
	}
	return ""
}

func endOf(records []SealRecord) topology.Epoch {
	if len(records) == 0 {
		return 0
	}
	return records[len(records)-1].Last
}

func settle(d time.Duration) { time.Sleep(d); synctest.Wait() }

func TestASealIsReleasedOnlyWhenEveryVaultOfTheSetHoldsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3")
		o := &owner{log: 1, next: 5, w: c.writer("n3", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(1)
		settle(100 * time.Millisecond)
		if r, d := o.w.Marks(); r != 5 || d != 5 {
			t.Fatalf("released %d durable %d", r, d)
		}
		c.net.SetHeld("n3", "n2", true)
		o.seal(4)
		settle(time.Second)
		if r, d := o.w.Marks(); r != 5 || d != 5 {
			t.Fatalf("one vault hears nothing, but released %d durable %d", r, d)
		}
		c.net.SetHeld("n3", "n2", false)
		settle(time.Second)
		if r, d := o.w.Marks(); r != 9 || d != 9 {
			t.Fatalf("released %d durable %d", r, d)
		}
	})
}

func TestASealIsReleasedOnlyWhenEveryVaultOfTheCurrentAndTheNextSetHoldsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "n4")
		o := &owner{log: 1, next: 1, w: c.writer("n4", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		for range 20 {
			o.seal(1)
		}
		settle(100 * time.Millisecond)
		o.w.Trim(7)
		c.net.SetHeld("n4", "n3", true) // the copy stands still
		c.node("n2").kill()
		c.node("n2").tell()
		o.w.Repair()
		o.seal(1)
		settle(time.Second)
		if r, _ := o.w.Marks(); r != 20 {
			t.Fatalf("released %d without the next set", r)
		}
		if set, _ := c.set(1); set.Version != 1 {
			t.Fatalf("set %+v before the copy was complete", set)
		}
		c.net.SetHeld("n4", "n3", false)
		settle(3 * time.Second)
		set, _ := c.set(1)
		if r, d := o.w.Marks(); r != 21 || d != 21 || !slices.Equal(set.Members, []topology.Process{c.node("n1").process, c.node("n3").process}) {
			t.Fatalf("released %d durable %d, set %+v", r, d, set)
		}
		for _, n := range []topology.NodeID{"n1", "n3"} {
			if state, _ := c.node(n).v.Log(testQuery, SourceOf(1)); !state.Joined || state.Next != 22 {
				t.Errorf("%s: %+v", n, state)
			}
		}
	})
}

func TestAProposalWhoseAnswerWasLostCountsUntilTheSetHasALaterVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(1)
		settle(time.Second)
		// Also the naming of the present set is lost until the late one is made.
		c.script = append([]int{fateLate}, slices.Repeat([]int{fateLost}, 30)...)
		c.mu.Lock()
		c.leaving = "n2" // it works on until n3 has its place
		c.mu.Unlock()
		o.w.Repair()
		settle(50 * time.Millisecond)
		if c.proposals() == 0 {
			t.Fatal("nothing was proposed")
		}
		c.net.SetHeld("own", "n3", true)
		c.node("n3").tell() // n3 will not do any more, but the proposal may still be accepted
		c.mu.Lock()
		c.leaving = ""
		c.mu.Unlock()
		o.w.Repair()
		o.seal(1)
		version := uint64(1)
		for range 500 {
			settle(10 * time.Millisecond)
			checkHeld(t, c, o)
			set, _ := c.set(1)
			version = set.Version
			if r, _ := o.w.Marks(); r != 1 && version == 1 {
				t.Fatalf("released %d while n3 may become a vault at any time", r)
			}
		}
		if r, _ := o.w.Marks(); r != 2 || version != 3 {
			t.Errorf("released %d with version %d of the set", r, version)
		}
	})
}

// TestAProposedVaultThatDiesHoldsNothingBackWhenTheOldSetIsGoodAgain: nobody knows whether the proposal is made later, so the present set is
// named anew.
func TestAProposedVaultThatDiesHoldsNothingBackWhenTheOldSetIsGoodAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "own")
		c.honest = true
		o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(1)
		settle(time.Second)
		c.mu.Lock()
		c.script = slices.Repeat([]int{fateLost}, 30)
		c.leaving = "n2" // it works on until n3 has its place
		c.mu.Unlock()
		o.w.Repair()
		settle(repairRetry / 2)
		if c.proposals() == 0 {
			t.Fatal("nothing was proposed")
		}
		c.mu.Lock()
		c.leaving, c.script = "", nil
		c.mu.Unlock()
		c.node("n3").kill()
		c.node("n3").tell()
		o.seal(1)
		settle(3 * time.Second)
		if r, d := o.w.Marks(); r != 2 || d != 2 {
			t.Fatalf("released %d durable %d: a vault that was only proposed holds them back", r, d)
		}
		if set, _ := c.set(1); set.Version != 2 || !slices.Equal(set.Members, []topology.Process{c.node("n1").process, c.node("n2").process}) {
			t.Fatalf("set %+v", set)
		}
	})
}

func TestASetIsProposedOnlyWhenItsMembersHaveFsyncedWhatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n4")
		slow := &testNode{c: c, id: "n3", fs: vault.NewMemory(), delay: 5 * time.Second}
		o := &owner{log: 1, next: 1, w: c.writer("n4", 1, 2, "n1", "n2")}
		defer func() { c.stop(o.w) }()
		o.seal(1)
		settle(time.Second)
		slow.start()
		c.mu.Lock()
		c.nodes = append(c.nodes, slow)
		c.mu.Unlock()
		c.node("n2").kill()
		c.node("n2").tell()
		o.w.Repair()
		settle(4 * time.Second)
		state, _ := slow.v.Log(testQuery, SourceOf(1))
		if set, _ := c.set(1); !state.Joined || set.Version != 1 || c.proposals() != 0 {
			t.Fatalf("%+v: proposed %d times, %+v", state, c.proposals(), set)
		}
		settle(4 * time.Second)
		if set, _ := c.set(1); set.Version != 2 || !slices.Contains(set.Members, slow.process) {
			t.Fatalf("%+v", set)
		}
	})
}

func TestARestartedVaultJoinsAgainBeforeItCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "n4")
		o := &owner{log: 1, next: 1, w: c.writer("n4", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(3)
		settle(100 * time.Millisecond)
		c.node("n2").losePower()
		c.node("n2").start()
		o.seal(1)
		settle(3 * time.Second)
		set, _ := c.set(1)
		if r, d := o.w.Marks(); r != 4 || d != 4 || !slices.Equal(set.Members, []topology.Process{c.node("n1").process, c.node("n2").process}) {
			t.Fatalf("released %d durable %d, set %+v", r, d, set)
		}
		// Alone it is its own vault, and gives that up when others come.
		for _, n := range []topology.NodeID{"n1", "n2", "n3"} {
			c.node(n).kill()
			c.node(n).tell()
		}
		o.seal(1)
		settle(5 * time.Second)
		set, _ = c.set(1)
		if r, _ := o.w.Marks(); r != 5 || !slices.Equal(set.Members, []topology.Process{c.node("n4").process}) {
			t.Fatalf("alone: released %d, set %+v", r, set)
		}
		c.node("n1").start()
		c.node("n3").start()
		settle(5 * time.Second)
		if set, _ = c.set(1); len(set.Members) != 2 || slices.Contains(set.Members, c.node("n4").process) {
			t.Fatalf("set %+v", set)
		}
	})
}

func TestAFullVaultGivesItsPlaceToAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "n4")
		o := &owner{log: 1, next: 1, w: c.writer("n4", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(1)
		settle(time.Second)
		c.node("n2").fs.SetCapacity(c.node("n2").fs.Used())
		for range 400 {
			o.seal(1)
			settle(10 * time.Millisecond)
		}
		settle(5 * time.Second)
		set, _ := c.set(1)
		if r, d := o.w.Marks(); r != 401 || d != 401 || slices.Contains(set.Members, c.node("n2").process) || len(set.Members) != 2 {
			t.Fatalf("released %d durable %d, set %+v", r, d, set)
		}
	})
}

func TestAFullVaultWithoutASubstituteIsLeftAndComesBackWhenItHasRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3")
		o := &owner{log: 1, next: 1, w: c.writer("n3", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(1)
		settle(time.Second)
		full := c.node("n2")
		full.fs.SetCapacity(full.fs.Used())
		for range 400 {
			o.seal(1)
			settle(10 * time.Millisecond)
		}
		settle(5 * time.Second)
		set, _ := c.set(1)
		if r, d := o.w.Marks(); r != 401 || d != 401 || !slices.Equal(set.Members, []topology.Process{c.node("n1").process}) {
			t.Fatalf("released %d durable %d, set %+v", r, d, set)
		}
		settle(2 * shunTime) // it is tried, and is full still
		o.seal(1)
		settle(time.Second)
		if r, d := o.w.Marks(); r != 402 || d != 402 {
			t.Fatalf("released %d durable %d while the other vault is full", r, d)
		}
		full.fs.SetCapacity(0)
		settle(2 * shunTime)
		if set, _ = c.set(1); len(set.Members) != 2 || !slices.Contains(set.Members, full.process) {
			t.Fatalf("set %+v when there is room again", set)
		}
	})
}

func TestTheSetOfALogThatTheClusterNoLongerKnowsIsNotChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "n4")
		o := &owner{log: 1, next: 1, w: c.writer("n4", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(1)
		settle(time.Second)
		c.mu.Lock()
		delete(c.sets, 1)
		c.mu.Unlock()
		c.node("n2").kill()
		c.node("n2").tell()
		settle(10 * time.Second)
		if n := c.proposals(); n != 0 {
			t.Fatalf("%d proposals for a log that nobody knows", n)
		}
	})
}

func TestAFencedOwnerReleasesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "n4")
		o := &owner{log: 1, next: 1, w: c.writer("n3", 1, 2, "n1", "n2")}
		s := c.writer("n4", 2, 2, "n1", "n2")
		defer c.stop(o.w, s)
		o.seal(3)
		o.seal(2)
		settle(time.Second)
		c.fence(1)
		logs, err := s.Adopt(context.Background(), []topology.SealLog{1})
		if err != nil || len(logs) != 1 || endOf(logs[0].Records) != 5 || o.isPrefix(logs[0].Records, 0) != "" {
			t.Fatalf("%+v, %v", logs, err)
		}
		o.seal(1)
		settle(time.Second)
		if r, _ := o.w.Marks(); r != 5 || !errors.Is(o.w.Err(), ErrFenced) {
			t.Errorf("released %d after the fence; %v", r, o.w.Err())
		}
	})
}

func TestAdoptedIsToldOnceWhatWasTakenOverIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3")
		w := c.writer("n3", 2, 2, "n1", "n2")
		defer c.stop(w)
		var told []topology.SealLog
		tries := 0
		w.config.Adopted = func(_ context.Context, stage topology.StageID, instance uint64, logs []topology.SealLog) error {
			if tries++; tries < 3 {
				return errAnswerLost
			}
			if stage != 0 || instance != 9 {
				t.Errorf("stage %d instance %d", stage, instance)
			}
			told = logs
			return nil
		}
		w.Adopted(0, 9, []topology.SealLog{1}, 4)
		w.Put(sealOf(2, 1, 3))
		settle(time.Second)
		if tries != 0 {
			t.Fatal("told before it was durable")
		}
		w.Put(sealOf(2, 4, 4))
		settle(time.Second)
		if !slices.Equal(told, []topology.SealLog{1}) || tries != 3 {
			t.Errorf("told %v after %d tries", told, tries)
		}
	})
}

func TestAdoptWaitsUntilEveryRestartedVaultHasAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "n3", "n4")
		o := &owner{log: 1, next: 1, w: c.writer("n3", 1, 2, "n1", "n2")}
		s := c.writer("n4", 2, 1, "n3")
		defer c.stop(o.w, s)
		o.seal(2)
		o.seal(2)
		settle(time.Second)
		o.w.Close()
		for _, n := range []topology.NodeID{"n1", "n2"} {
			c.node(n).losePower()
			c.node(n).tell()
		}
		c.fence(1)
		type answer struct {
			logs []AdoptedLog
			err  error
		}
		got := make(chan answer, 1)
		go func() {
			logs, err := s.Adopt(context.Background(), []topology.SealLog{1})
			got <- answer{logs, err}
		}()
		c.node("n1").start()
		settle(5 * time.Second)
		if text := s.Waiting(); !strings.Contains(text, "n2/") || strings.Contains(text, "n1/") || len(got) != 0 {
			t.Fatalf("waits for %q", text)
		}
		c.node("n2").start()
		a := <-got
		if a.err != nil || endOf(a.logs[0].Records) != 4 || o.isPrefix(a.logs[0].Records, 0) != "" || s.Waiting() != "" {
			t.Fatalf("%+v, %v; waits for %q", a.logs, a.err, s.Waiting())
		}
		if _, err := s.Adopt(context.Background(), []topology.SealLog{77}); !errors.As(err, new(*GoneLogError)) {
			t.Errorf("unknown log: %v", err)
		}
	})
}

// TestASuccessorsLogHasEveryReleasedSealAsAPrefix runs random schedules: vaults die, restart and lose power, the network breaks,
// answers about sets get lost, the old owner goes on as a zombie, and two successors adopt its log for different ranges.
func TestASuccessorsLogHasEveryReleasedSealAsAPrefix(t *testing.T) {
	rounds := uint64(60)
	if testing.Short() {
		rounds = 15
	}
	for seed := range rounds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomHandover(t, seed) })
		})
	}
}

func randomHandover(t *testing.T, seed uint64) {
	c := newTestCluster(t, seed, "n1", "n2", "n3", "n4", "own", "s1", "s2")
	c.honest = seed%3 == 0
	r := rand.New(rand.NewPCG(seed, 3))
	o := &owner{log: 1, next: 1 + topology.Epoch(r.IntN(3)), w: c.writer("own", 1, 2, "n1", "n2")}
	successors := []*SealWriter{c.writer("s1", 2, 2, "n3", "n4"), c.writer("s2", 3, 2, "n1", "n4")}
	defer func() { c.stop(o.w, successors[0], successors[1]) }()
	c.changed = o.w.Repair
	trim := topology.Epoch(0)
	vaults := c.nodes[:4]
	chaos := func(steps int) {
		for range steps {
			n := vaults[r.IntN(len(vaults))]
			switch k := r.IntN(20); {
			case k == 0 && n.up:
				n.kill()
			case k == 1 && n.up && r.IntN(3) == 0:
				n.losePower()
			case k <= 3 && !n.up:
				n.start()
			case k == 4 && !n.up:
				n.tell()
			case k == 5:
				c.net.Disconnect("own", string(n.id))
			case k == 6:
				c.net.SetDelay("own", string(n.id), time.Duration(r.IntN(30))*time.Millisecond)
			case k == 7:
				_, d := o.w.Marks()
				if e := d - topology.Epoch(r.IntN(20)); e > trim {
					trim = e
					o.w.Trim(trim)
					for _, n := range vaults {
						if n.up {
							n.v.Trim(context.Background(), testQuery, trim)
						}
					}
				}
			case k < 16:
				o.seal(1 + topology.Epoch(r.IntN(3)))
			}
			time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond)
			checkHeld(t, c, o)
		}
	}
	chaos(100 + r.IntN(200))
	set := c.fence(1)
	releasedThen, durableThen := o.w.Marks()
	if r.IntN(2) == 0 {
		o.w.Close()
	}
	survivors := map[topology.Process]bool{}
	for _, p := range set.Members {
		n := c.node(p.Node)
		survivors[p] = n.up && n.process == p
	}
	if r.IntN(3) == 0 { // everything loses power
		for _, n := range vaults {
			n.losePower()
		}
	}
	results := make([][]SealRecord, 2)
	var adopting sync.WaitGroup
	for i, s := range successors {
		adopting.Go(func() {
			logs, err := s.Adopt(context.Background(), []topology.SealLog{1})
			if err != nil {
				t.Errorf("successor %d: %v", i, err)
				return
			}
			results[i] = logs[0].Records
		})
	}
	chaos(60)
	for _, n := range vaults {
		if !n.up {
			n.start()
		}
	}
	adopting.Wait()
	survived := false // one process of the set from before the fence to the end
	for p := range survivors {
		survived = survived || survivors[p] && c.node(p.Node).process == p
	}
	released, _ := o.w.Marks()
	for i, records := range results {
		if wrong := o.isPrefix(records, trim); wrong != "" {
			t.Errorf("successor %d: %s", i, wrong)
		}
		end := max(endOf(records), trim)
		if end < durableThen {
			t.Errorf("successor %d ends at %d, durable was %d", i, end, durableThen)
		}
		if survived && (end < released || end < releasedThen) {
			t.Errorf("successor %d ends at %d; released %d, and %d when it was fenced; a vault of %v lived on", i, end, released, releasedThen, set.Members)
		}
	}
	if err := o.w.Err(); err != nil && !errors.Is(err, ErrFenced) {
		t.Error(err)
	}
}

// checkHeld is invariant 2 at a moment: what is released is held by every process of the cluster's set that still is its node's.
func checkHeld(t *testing.T, c *testCluster, o *owner) {
	t.Helper()
	c.mu.Lock()
	set := c.sets[o.log]
	c.mu.Unlock()
	released, durable := o.w.Marks()
	if durable > released {
		t.Fatalf("durable %d is above released %d", durable, released)
	}
	if released == 0 {
		return
	}
	for _, p := range set.Members {
		n := c.node(p.Node)
		if n.process != p || !n.up {
			continue
		}
		state, _ := n.v.Log(testQuery, SourceOf(o.log))
		if !state.Joined || state.Next <= released {
			t.Fatalf("released %d, %v of the current set %v version %d holds up to %d, joined %v", released, p, set.Members, set.Version, state.Next-1, state.Joined)
		}
	}
}

func TestDurableIsOnlyWhatEveryVaultOfTheSetHasFsynced(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, seed, "n1", "n2", "n3", "n4")
				r := rand.New(rand.NewPCG(seed, 3))
				o := &owner{log: 1, next: 1, w: c.writer("n4", 1, 2, "n1", "n2")}
				defer func() { c.stop(o.w) }()
				for range 20 + r.IntN(100) {
					o.seal(1)
					time.Sleep(time.Duration(r.IntN(8)) * time.Millisecond)
					if n := c.nodes[r.IntN(3)]; r.IntN(25) == 0 && n.up {
						n.losePower()
						n.start()
						o.w.Repair()
					}
				}
				_, durable := o.w.Marks()
				set, _ := c.set(1)
				for _, n := range c.nodes[:3] {
					n.losePower()
				}
				for _, n := range c.nodes[:3] {
					n.start()
				}
				for _, p := range set.Members {
					if state, _ := c.node(p.Node).v.Log(testQuery, SourceOf(1)); state.Next <= durable {
						t.Errorf("durable %d, %v of %v had fsynced up to %d", durable, p, set.Members, state.Next-1)
					}
				}
			})
		})
	}
}

// TestAProcessThatDoesNotTakeTheLogKeepsNobodyWaitingWhereAnotherDoes: one that has just started lives before its vault answers.
func TestAProcessThatDoesNotTakeTheLogKeepsNobodyWaitingWhereAnotherDoes(t *testing.T) {
	for _, silent := range []topology.NodeID{"n3", "n4"} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestCluster(t, 1, "n1", "n2", "n3", "n4", "own")
			o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
			defer c.stop(o.w)
			o.seal(1)
			settle(time.Second)
			c.node(silent).kill() // and the cluster thinks that it lives
			c.node("n2").kill()
			c.node("n2").tell()
			o.w.Repair()
			o.seal(1)
			settle(repairInterval / 2)
			if r, _ := o.w.Marks(); r != 2 {
				set, _ := c.set(1)
				t.Errorf("without %s released %d, set %+v", silent, r, set)
			}
		})
	}
}
