package raftfsm

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestALeaderBeatsAtTheSameInstantsForAllFollowers: a leader of any term, and one that has lost it waits no longer than others again.
func TestALeaderBeatsAtTheSameInstantsForAllFollowers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const lasts = 10 * time.Second
		c := newCluster(t, 3, "", nil)
		defer c.close()
		config := DefaultConfig()
		for range 3 {
			id, g := c.leader()
			time.Sleep(time.Second)
			c.net.mu.Lock()
			clear(c.net.beats)
			c.net.mu.Unlock()
			time.Sleep(lasts)
			c.net.mu.Lock()
			for _, other := range c.ids {
				times := c.net.beats[other]
				if want := int(lasts / config.Beat); other != id && (len(times) < want-1 || len(times) > want+1) {
					t.Errorf("%s leads and beats %d times for %s, want %d", id, len(times), other, want)
				}
				for _, at := range times {
					if at.UnixNano()%int64(config.Beat) != 0 {
						t.Fatalf("%s leads and beats at %v", id, at)
					}
				}
			}
			c.net.mu.Unlock()
			if got := g.raft.ReloadableConfig().HeartbeatTimeout; got != 10*config.Beat {
				t.Errorf("%s leads and has a time-out of %v", id, got)
			}
			if err := g.Transfer(t.Context(), ""); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := g.raft.ReloadableConfig(); got.HeartbeatTimeout != config.Heartbeat || got.ElectionTimeout != config.Election {
				t.Errorf("%s no longer leads and has time-outs of %v and %v", id, got.HeartbeatTimeout, got.ElectionTimeout)
			}
		}
	})
}

// TestALeaderStaysOneWhenItsOwnBeatsDoNotCome: the library's come instead.
func TestALeaderStaysOneWhenItsOwnBeatsDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ends := make(chan struct{})
		c := newCluster(t, 3, "", func(c *Config) { c.Now = func() time.Time { <-ends; return time.Now() } })
		defer c.close()
		defer close(ends)
		id, g := c.leader()
		term := g.raft.CurrentTerm()
		time.Sleep(time.Minute)
		if now, g := c.leader(); now != id || g.raft.CurrentTerm() != term {
			t.Fatalf("%s leads in term %d, %s did in term %d", now, g.raft.CurrentTerm(), id, term)
		}
	})
}
