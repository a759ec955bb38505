package backup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestAnOwnerThatKeepsSomeSourcesWritesOnUnderTheNewTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own", "s1")
		o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
		s := c.writer("s1", 2, 2, "n1", "n2")
		defer c.stop(o.w, s)
		o.seal(3)
		settle(time.Second)
		o.w.Trim(2)
		set := c.share(1)
		logs, err := s.Adopt(context.Background(), []topology.SealLog{1})
		if err != nil || endOf(logs[0].Records) != 3 || o.isPrefix(logs[0].Records, 0) != "" {
			t.Fatalf("%+v, %v", logs, err)
		}
		o.seal(2)
		settle(10 * time.Second) // the view of the metadata has the new term, but the sources have not stopped yet
		if r, d := o.w.Marks(); r != 3 || d != 3 || o.w.Err() != nil {
			t.Fatalf("released %d durable %d under the old term, %v", r, d, o.w.Err())
		}
		o.w.Follow(set)
		settle(100 * time.Millisecond)
		if r, d := o.w.Marks(); r != 5 || d != 5 || o.w.Err() != nil {
			t.Fatalf("released %d durable %d under the new term, %v", r, d, o.w.Err())
		}
		for _, n := range []topology.NodeID{"n1", "n2"} {
			if state, promise := c.node(n).v.Log(testQuery, SourceOf(1)); !state.Joined || state.JoinTerm != uint64(set.Term) || promise != uint64(set.Term) {
				t.Errorf("%s: %+v, promise %d", n, state, promise)
			}
		}
		o.w.Follow(topology.SealSet{Log: 1, Term: 1, Version: 9}) // of long ago
		c.node("n2").kill()
		c.node("n2").tell()
		o.w.Repair()
		o.seal(1)
		settle(5 * time.Second) // own proposes other vaults under the new term
		if r, _ := o.w.Marks(); r != 6 || o.w.Err() != nil {
			t.Errorf("released %d, %v", r, o.w.Err())
		}
	})
}

// TestASuccessorHearsOfEveryTrimmingOfItsLog: an owner that goes on under a higher term writes what it has not trimmed to all vaults anew. What it
// has trimmed is gone then, also where a vault was not told of that yet: a successor that stands before it must not take the rest for all.
func TestASuccessorHearsOfEveryTrimmingOfItsLog(t *testing.T) {
	for _, all := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newTestCluster(t, 1, "n1", "n2", "own", "s1")
			o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
			s := c.writer("s1", 2, 2, "n1", "n2")
			defer c.stop(o.w, s)
			o.seal(3)
			o.seal(3)
			settle(time.Second)
			trim := topology.Epoch(3)
			if all {
				trim = 6
			}
			set := c.share(1)
			o.w.Trim(trim)
			o.w.Follow(set)
			settle(time.Second)
			logs, err := s.Adopt(context.Background(), []topology.SealLog{1})
			if err != nil {
				t.Fatal(err)
			}
			held := topology.Epoch(7)
			if len(logs[0].Records) > 0 {
				held = logs[0].Records[0].First
			}
			if logs[0].Trim != trim || held != trim+1 {
				t.Errorf("it is said to be trimmed up to %d, holds epochs from %d on, and was trimmed up to %d", logs[0].Trim, held, trim)
			}
		})
	}
}

func TestMarksRiseUnderANewTermOnlyByWhatWasAcknowledgedUnderIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own", "s1")
		o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
		s := c.writer("s1", 2, 2, "n1", "n2")
		defer c.stop(o.w, s)
		o.seal(1)
		settle(time.Second)
		c.net.SetHeld("own", "n2", true)
		o.seal(1) // n1 alone holds it under the old term
		settle(time.Second)
		set := c.share(1)
		if logs, err := s.Adopt(context.Background(), []topology.SealLog{1}); err != nil || endOf(logs[0].Records) < 1 {
			t.Fatalf("%+v, %v", logs, err)
		}
		c.net.SetHeld("own", "n1", true)
		o.w.Follow(set)
		c.net.SetHeld("own", "n2", false)
		settle(time.Second)
		if r, d := o.w.Marks(); r != 1 || d != 1 {
			t.Fatalf("released %d durable %d: n1 has said nothing under the new term", r, d)
		}
		c.net.SetHeld("own", "n1", false)
		settle(time.Second)
		if r, d := o.w.Marks(); r != 2 || d != 2 {
			t.Fatalf("released %d durable %d", r, d)
		}
	})
}

func TestTwoSuccessorsOfALivingOwnerBothGetItsLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own", "s1", "s2")
		o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
		s1, s2 := c.writer("s1", 2, 2, "n1", "n2"), c.writer("s2", 3, 2, "n1", "n2")
		defer c.stop(o.w, s1, s2)
		o.seal(4)
		settle(time.Second)
		early := c.share(1)
		s1.config.Sets = func(log topology.SealLog) (topology.SealSet, bool) { // its view of the metadata is behind
			if s, ok := c.set(log); log != 1 || s.Members == nil || c.proposals() > 0 {
				return s, ok
			}
			return early, true
		}
		c.share(1)
		for _, other := range []string{"n1", "n2"} { // both promise the later term
			c.net.SetHeld("s2", other, true)
			if logs, err := s2.Adopt(context.Background(), []topology.SealLog{1}); err != nil || endOf(logs[0].Records) != 4 {
				t.Fatalf("%+v, %v", logs, err)
			}
			c.net.SetHeld("s2", other, false)
		}
		got := make(chan error, 1)
		go func() {
			logs, err := s1.Adopt(context.Background(), []topology.SealLog{1})
			if err == nil && endOf(logs[0].Records) != 4 {
				err = fmt.Errorf("%+v", logs)
			}
			got <- err
		}()
		settle(time.Second)
		if len(got) != 0 || s1.Waiting() == "" {
			t.Fatal("it does not wait for a later view of the metadata")
		}
		c.mu.Lock()
		c.proposed++
		c.mu.Unlock()
		if err := <-got; err != nil {
			t.Fatal(err)
		}
	})
}

// TestASharedLogLosesNothingThatWasReleased runs random schedules in which sources are taken from an owner twice, while it goes on with
// the rest, and the rest when it dies: each successor's log has all that its former owner can have acted on.
func TestASharedLogLosesNothingThatWasReleased(t *testing.T) {
	rounds := uint64(60)
	if testing.Short() {
		rounds = 15
	}
	for seed := range rounds {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { randomSharing(t, seed) })
		})
	}
}

func randomSharing(t *testing.T, seed uint64) {
	c := newTestCluster(t, seed, "n1", "n2", "n3", "n4", "own", "s1", "s2", "s3")
	c.honest = seed%3 == 0
	r := rand.New(rand.NewPCG(seed, 3))
	o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
	successors := []*SealWriter{c.writer("s1", 2, 2, "n3", "n4"), c.writer("s2", 3, 2, "n1", "n4"), c.writer("s3", 4, 2, "n2", "n3")}
	defer func() { c.stop(o.w, successors[0], successors[1], successors[2]) }()
	c.changed = o.w.Repair
	vaults := c.nodes[:4]
	deaths := map[topology.Process]bool{}
	chaos := func(steps int) {
		for range steps {
			n := vaults[r.IntN(len(vaults))]
			switch k := r.IntN(24); {
			case k == 0 && n.up:
				deaths[n.process] = true
				n.losePower()
			case k <= 3 && !n.up:
				n.start()
			case k == 4 && !n.up:
				n.tell()
			case k == 5:
				c.net.Disconnect("own", string(n.id))
			case k == 6:
				c.net.SetDelay("own", string(n.id), time.Duration(r.IntN(30))*time.Millisecond)
			case k < 20:
				o.seal(1 + topology.Epoch(r.IntN(3)))
			}
			time.Sleep(time.Duration(r.IntN(15)) * time.Millisecond)
			checkHeld(t, c, o)
		}
	}
	for i, s := range successors {
		chaos(50 + r.IntN(100))
		last := i == len(successors)-1
		var set topology.SealSet
		if last {
			set = c.fence(1)
		} else {
			set = c.share(1)
		}
		var records []SealRecord
		var err error
		var adopting sync.WaitGroup
		adopting.Go(func() {
			var logs []AdoptedLog
			if logs, err = s.Adopt(context.Background(), []topology.SealLog{1}); err == nil {
				records = logs[0].Records
			}
		})
		chaos(r.IntN(20))
		acted, durable := o.w.Marks() // what the sources that are another's now were seen released at most: they stop here
		if !last {
			o.w.Follow(set)
		}
		chaos(40)
		for _, n := range vaults {
			if !n.up {
				n.start()
			}
		}
		o.w.Repair()
		adopting.Wait()
		if err != nil {
			t.Fatalf("successor %d: %v", i, err)
		}
		if wrong := o.isPrefix(records, 0); wrong != "" {
			t.Errorf("successor %d: %s", i, wrong)
		}
		survived := false
		for _, p := range set.Members {
			survived = survived || !deaths[p]
		}
		if end := endOf(records); end < durable || survived && end < acted {
			t.Errorf("successor %d ends at %d; released %d durable %d when its sources stopped, of vaults %v one lived on: %v", i, end, acted, durable, set.Members, survived)
		}
		if last {
			break
		}
		for range 300 {
			settle(20 * time.Millisecond)
			checkHeld(t, c, o)
		}
		if released, _ := o.w.Marks(); o.w.Err() != nil || len(o.put) > 0 && released != o.next-1 {
			t.Fatalf("after share %d the owner has released %d of %d; %v; %+v", i, released, o.next-1, o.w.Err(), o.w.Stats())
		}
	}
	settle(3 * time.Second)
	if err := o.w.Err(); !errors.Is(err, ErrFenced) {
		t.Errorf("after the fence: %v", err)
	}
}

// TestWhatIsReleasedUnderOneTermBecomesDurableUnderTheNext: a source that ends with its last seal puts nothing more that would bring the mark on.
func TestWhatIsReleasedUnderOneTermBecomesDurableUnderTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own")
		c.node("n2").commitsAfter(10 * time.Second)
		o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		o.seal(3)
		settle(time.Second)
		if r, d := o.w.Marks(); r != 3 || d != 0 {
			t.Fatalf("released %d durable %d before n2 has fsynced", r, d)
		}
		o.w.Follow(c.share(1))
		settle(time.Minute)
		if r, d := o.w.Marks(); r != 3 || d != 3 || o.w.Err() != nil {
			t.Fatalf("released %d durable %d under the new term, %v", r, d, o.w.Err())
		}
	})
}

// TestWhatACompleteCheckpointCoversIsDurableThoughTheVaultsAnswerIsLost: it is dropped then, and is not put again.
func TestWhatACompleteCheckpointCoversIsDurableThoughTheVaultsAnswerIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1, "n1", "n2", "own")
		c.node("n2").commitsAfter(10 * time.Second)
		o := &owner{log: 1, next: 1, w: c.writer("own", 1, 2, "n1", "n2")}
		defer c.stop(o.w)
		told := 0
		o.w.OnMarks(func() { told++ })
		o.seal(3)
		settle(time.Second)
		before := told
		o.w.Trim(3)
		c.net.Disconnect("own", "n2")
		settle(time.Minute)
		if r, d := o.w.Marks(); r != 3 || d != 3 || told == before {
			t.Fatalf("released %d durable %d", r, d)
		}
		o.seal(1)
		settle(time.Minute)
		if r, d := o.w.Marks(); r != 4 || d != 4 || o.w.Err() != nil {
			t.Fatalf("released %d durable %d, %v", r, d, o.w.Err())
		}
	})
}
