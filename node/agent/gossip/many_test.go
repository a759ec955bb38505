package gossip

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"
)

// TestManyMembers lets many processes join through three of them, cuts a hundredth off at once and lets a twentieth leave; all others must
// hear of it. It prints what that costs each of them in packets and memory. SEEPNODE_NODES=200 takes two minutes,
// and what it takes grows with the square of that.
func TestManyMembers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: without it nothing shows that sixty members hear of failures and leaving, and what that costs; it runs without -short, in make test")
	}
	nodes := 60 // so that it is quick
	if text := os.Getenv("SEEPNODE_NODES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 20 {
			t.Fatalf("SEEPNODE_NODES=%q is no number of nodes", text)
		}
		nodes = n
	}
	failures, leavers := max(1, nodes/100), nodes/20
	onLAN(t, func(t *testing.T, l *lan, open opener, log *lockedBuffer) {
		before := heapBytes()
		costs := newGossipCosts(t, l, nodes)
		all := make([]*Serf, nodes)
		for i := range all {
			all[i] = open(t, 1+i, nil)
			if i > 0 {
				join(t, all[i], address(1), address(min(2, i)), address(min(3, i)))
			}
		}
		// counted waits until each of those that are still there counts so many of every status.
		counted := func(what string, there []*Serf, want map[Status]int) {
			t.Helper()
			const patience = 2 * time.Minute
			for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
				wrong, example := 0, ""
				for _, s := range there {
					if got := counts(s); fmt.Sprint(got) != fmt.Sprint(want) {
						wrong, example = wrong+1, fmt.Sprint(got)
					}
				}
				if wrong == 0 {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("%s: %d of %d members count something else than %v after %v, %s for one", what, wrong, len(there), want, patience, example)
				}
			}
			costs.end(what)
		}
		counted(fmt.Sprintf("the last of %d joined", nodes), all, map[Status]int{Alive: nodes})
		t.Logf("%d KiB of memory for each member", (heapBytes()-before)/uint64(nodes)>>10)
		time.Sleep(10 * time.Second)
		costs.end("nothing happens")

		for i := range failures {
			l.setCut(address(nodes-i), true)
		}
		there := all[:nodes-failures]
		counted(fmt.Sprintf("%d were cut off", failures), there, map[Status]int{Alive: nodes - failures, Failed: failures})

		gone := there[len(there)-leavers:]
		there = there[:len(there)-leavers]
		for _, s := range gone {
			if err := s.Leave(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.Close()
		}
		counted(fmt.Sprintf("%d left one after the other", leavers), there, map[Status]int{Alive: len(there), Failed: failures, Left: leavers})
	})
}

func counts(s *Serf) map[Status]int {
	c := map[Status]int{}
	for _, m := range s.Members() {
		c[m.Status]++
	}
	return c
}

// gossipCosts print what each phase took.
type gossipCosts struct {
	t              *testing.T
	l              *lan
	nodes          int
	at             time.Time
	packets, bytes int
}

func newGossipCosts(t *testing.T, l *lan, nodes int) *gossipCosts {
	c := &gossipCosts{t: t, l: l, nodes: nodes, at: time.Now()}
	c.packets, c.bytes = l.sent()
	return c
}

func (c *gossipCosts) end(what string) {
	now := time.Now()
	packets, bytes := c.l.sent()
	took := now.Sub(c.at)
	perNode := max(took, time.Millisecond).Seconds() * float64(c.nodes)
	c.t.Logf("%s: %v until all knew; each member sent %.1f packets/s, %.0f B/s", what, took.Round(time.Millisecond), float64(packets-c.packets)/perNode, float64(bytes-c.bytes)/perNode)
	c.at, c.packets, c.bytes = now, packets, bytes
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
