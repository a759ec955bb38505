package member

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
)

const (
	// foundEvery is how often founders are counted, and foundSteady how long their number must have stood: a founder that is only
	// just heard of may not have heard of all others.
	foundEvery  = 100 * time.Millisecond
	foundSteady = 500 * time.Millisecond
	// tellEvery is how often a node that is in no cluster says so.
	tellEvery = 10 * time.Second
)

// founding says whether this node founds the group, and with whom.
type founding struct {
	self   Candidate
	joins  []string // what it was told to join
	group  *raftfsm.Group
	others func() []Candidate // living nodes that gossip knows, without this one
	tell   func(text string, args ...any)
}

// run returns when this node has been in a group, is in one now, or has founded one; or when ctx ends.
func (f *founding) run(ctx context.Context) error {
	if f.group.InGroup() {
		return nil
	}
	if f.self.Expect <= 1 && len(f.joins) == 0 {
		return f.bootstrap([]Candidate{f.self})
	}
	var steady []Candidate
	since, told := time.Now(), time.Now()
	for ; !f.group.InGroup(); sleep(ctx, foundEvery) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		founders, ok := founders(f.self, f.others())
		if !slices.Equal(founders, steady) {
			steady, since = founders, time.Now()
		}
		if ok && time.Since(since) >= foundSteady {
			return f.bootstrap(founders)
		}
		if time.Since(told) >= tellEvery {
			told = time.Now()
			f.sayWaiting(founders)
		}
	}
	return nil
}

func (f *founding) sayWaiting(founders []Candidate) {
	if f.self.Expect > 0 {
		f.tell("not in a cluster yet: waiting for the founders", "expected", f.self.Expect, "known", len(founders), "join", strings.Join(f.joins, " "))
		return
	}
	f.tell("not in a cluster yet: still trying to join", "join", strings.Join(f.joins, " "), "nodes_known", len(f.others()))
}

func (f *founding) bootstrap(founders []Candidate) error {
	var servers []raftfsm.Server
	for _, c := range founders {
		servers = append(servers, raftfsm.Server{Node: c.Node, Address: c.Address, Voter: true})
	}
	founded, err := f.group.Bootstrap(servers)
	if founded {
		f.tell("founded a cluster", "voters", len(servers))
	}
	return err
}

// founders are the nodes that found a cluster together, ascending by name: of those that expect as many as this node does the first
// so many, so that a fleet that was started with one command line founds one cluster. ok says that they are complete, this node is one
// of them, and nobody is in a cluster yet, which would be the one to join.
func founders(self Candidate, others []Candidate) (list []Candidate, ok bool) {
	list = []Candidate{self}
	clusters := false
	for _, c := range others {
		clusters = clusters || c.Cluster != 0
		if c.Expect == self.Expect && c.Address != "" {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b Candidate) int { return strings.Compare(string(a.Node), string(b.Node)) })
	list = list[:min(len(list), max(1, self.Expect))]
	return list, self.Expect > 0 && !clusters && len(list) == self.Expect && slices.Contains(list, self)
}
