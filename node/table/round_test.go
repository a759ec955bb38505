package table

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestReadsThatWaitTogetherAskTogether: what many clients ask for during a recovery must not take the time that the recovery needs.
func TestReadsThatWaitTogetherAskTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		c.place(part(0, 4, "n1"), part(4, testGroups, "n2"))
		one, two := openLane(t, c.stores["n1"], topology.Range{To: 4}), openLane(t, c.stores["n2"], topology.Range{From: 4, To: testGroups})
		commit(t, one, 10)
		reader := c.reader("n1")
		const readers = 100
		var read sync.WaitGroup
		for i := range readers {
			read.Go(func() {
				time.Sleep(time.Duration(i) * time.Millisecond)
				if got, err := reader.Read(context.Background(), scanAll); err != nil || got.Epoch != 10 {
					t.Error(got, err)
				}
			})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.mu.Lock()
		waiting := c.asked["n2"]
		c.mu.Unlock()
		if most := int(time.Second/peekWait) + 1; waiting > most {
			t.Errorf("%d reads that wait for a second asked %d times, of %d", readers, waiting, most)
		}
		begun := time.Now()
		if err := two.Write(1, 12, nil); err != nil {
			t.Fatal(err)
		}
		commit(t, two, 12)
		read.Wait()
		if waited := time.Since(begun); waited != 0 {
			t.Errorf("reads were answered %v after what they waited for", waited)
		}
	})
}

// TestAReadLetsGoOfAProcessThatIsReplaced: one that is frozen holds the question for ever.
func TestAReadLetsGoOfAProcessThatIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(3)
		c.place(part(0, testGroups, "n2"))
		commit(t, openLane(t, c.stores["n3"], testAll), 7)
		reader := c.reader("n1")
		ask := reader.Ask
		reader.Ask = func(ctx context.Context, to topology.Process, r Request) (Response, error) {
			if to.Node == "n2" {
				<-ctx.Done()
				return Response{}, ctx.Err()
			}
			return ask(ctx, to, r)
		}
		var mu sync.Mutex
		changed := make(chan struct{})
		reader.Changed = func() <-chan struct{} {
			mu.Lock()
			defer mu.Unlock()
			return changed
		}
		change := func() {
			mu.Lock()
			defer mu.Unlock()
			close(changed)
			changed = make(chan struct{})
		}
		go func() {
			time.Sleep(time.Second)
			change() // of something else
			time.Sleep(time.Second)
			c.place(part(0, testGroups, "n3"))
			change()
		}()
		begun := time.Now()
		got, err := reader.Read(context.Background(), scanAll)
		if waited := time.Since(begun); err != nil || got.Epoch != 7 || waited > 2*time.Second+retryLast {
			t.Fatal(got, err, waited)
		}
	})
}

// TestAReadIsBasedOnARoundThatBeganBehindIt: what was under way when it came may know less than others have read by then.
func TestAReadIsBasedOnARoundThatBeganBehindIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		c.place(part(0, testGroups, "n2"))
		lane := openLane(t, c.stores["n2"], testAll)
		commit(t, lane, 5)
		slow, other := c.reader("n1"), c.reader("n1")
		ask := slow.Ask
		slow.Ask = func(ctx context.Context, to topology.Process, r Request) (Response, error) {
			got, err := ask(ctx, to, r)
			time.Sleep(time.Second)
			return got, err
		}
		var read sync.WaitGroup
		read.Go(func() {
			if got, err := slow.Read(context.Background(), scanAll); err != nil || got.Epoch != 5 {
				t.Error(got, err)
			}
		})
		synctest.Wait()
		commit(t, lane, 9)
		if got, err := other.Read(context.Background(), scanAll); err != nil || got.Epoch != 9 {
			t.Fatal(got, err)
		}
		if got, err := slow.Read(context.Background(), scanAll); err != nil || got.Epoch != 9 {
			t.Fatalf("epoch %d (%v) after somebody else has read 9", got.Epoch, err)
		}
		read.Wait()
	})
}

// TestARoundWhoseLeaderGivesUpIsLedByAnother: that one reader has no time is nothing to the others.
func TestARoundWhoseLeaderGivesUpIsLedByAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		c.place(part(0, testGroups, "n2"))
		lane := openLane(t, c.stores["n2"], testAll)
		reader := c.reader("n1")
		var read sync.WaitGroup
		for i := range 10 {
			read.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i+1)*30*time.Millisecond)
				defer cancel()
				_, err := reader.Read(ctx, scanAll)
				if visible := i >= 5; (err == nil) != visible {
					t.Errorf("%d: %v", i, err)
				}
			})
		}
		time.Sleep(160 * time.Millisecond)
		commit(t, lane, 1)
		read.Wait()
	})
}

// TestAReadThatWaitsForAnEpochIsAnsweredWhenItComesAndHoldsUpNobody: it asks no more often than parts hold their answers back.
func TestAReadThatWaitsForAnEpochIsAnsweredWhenItComesAndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(2)
		c.place(part(0, testGroups, "n2"))
		lane := openLane(t, c.stores["n2"], testAll)
		commit(t, lane, 5)
		reader := c.reader("n1")
		begun := time.Now()
		var read sync.WaitGroup
		read.Go(func() {
			waits := scanAll
			waits.AtLeast = 6
			got, err := reader.Read(context.Background(), waits)
			if took := time.Since(begun); err != nil || got.Epoch != 6 || took != 3*time.Second {
				t.Error(got, err, took)
			}
		})
		time.Sleep(time.Second)
		if got, err := reader.Read(context.Background(), scanAll); err != nil || got.Epoch != 5 || time.Since(begun) != time.Second {
			t.Error(got, err, time.Since(begun))
		}
		time.Sleep(2 * time.Second)
		c.mu.Lock()
		asked := c.asked["n2"]
		c.mu.Unlock()
		if most := int(3*time.Second/peekWait) + 4; asked > most {
			t.Errorf("asked %d times in 3 s, of %d", asked, most)
		}
		write(t, lane, testAll, 6)
		commit(t, lane, 6)
		read.Wait()
	})
}
