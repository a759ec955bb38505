package pool

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/autoscale/provider"
)

var update = flag.Bool("update", false, "write the golden scripts anew")

// scripts are stories of the pool: what happens at which second; testdata has what it does.
var scripts = map[string]struct {
	seconds int
	base    int
	at      func(w *world)
}{
	"load comes and goes": {160, 2, func(w *world) {
		switch w.now {
		case 20:
			w.say("the load needs 5 nodes")
			w.wanted = 5
		case 60:
			w.say("the load ends")
			w.wanted = 1
		}
	}},
	"no capacity at first": {120, 1, func(w *world) {
		switch w.now {
		case 0:
			full := &provider.Error{Kind: provider.Capacity, Err: errors.New("InsufficientInstanceCapacity"), Do: "more subnets help"}
			w.refuse = []error{full, full, full}
		}
	}},
	"an instance never joins": {100, 1, func(w *world) {
		if w.now == 0 {
			w.never = 1
		}
	}},
	"a new leader finds an orphan": {80, 2, func(w *world) {
		if w.now == 10 {
			w.say("the leader starts i-900 and dies")
			w.vms = append(w.vms, &vm{Instance: provider.Instance{ID: "i-900", Token: "t-900", LaunchedMs: 10_000}, joins: -1})
			w.lead()
		}
	}},
	"needed again while it drains": {90, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted, w.drainS = 3, 15
		case 15:
			for i := range w.nodes {
				w.nodes[i].Works, w.nodes[i].Holds = 1, true
			}
			w.wanted = 1
		case 40:
			w.say("the load comes back")
			w.wanted = 3
		}
	}},
	"a person drains a node of the pool": {180, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted = 3
		case 20:
			w.personDrains(w.node("i-001"))
		case 60:
			w.say("another node leads")
			w.lead()
		case 100:
			w.say("the person undrains it")
			w.personUndrains()
		}
	}},
	"another leader goes on to give back": {60, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted, w.drainS = 3, 15
		case 15:
			for i := range w.nodes {
				w.nodes[i].Works, w.nodes[i].Holds = 1, true
			}
			w.wanted = 1
		case 40:
			w.say("another node leads, and the load comes back")
			w.lead()
			w.wanted = 3
		}
	}},
	"what a notice drains is only given back": {90, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted, w.drainS = 2, 20
		case 15:
			for i := range w.nodes {
				w.nodes[i].Works, w.nodes[i].Holds = 1, true
			}
			w.notice(w.node("i-001"))
		case 25:
			w.say("the load rises while it drains")
			w.wanted = 4
		case 30:
			w.say("another node leads")
			w.lead()
		}
	}},
	"a notice comes while the pool gives back": {90, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted, w.drainS = 2, 20
		case 15:
			for i := range w.nodes {
				w.nodes[i].Works, w.nodes[i].Holds = 1, true
			}
			w.wanted = 1
		case 40:
			w.notice(w.node("i-001"))
		case 45:
			w.say("the load comes back")
			w.wanted = 2
		}
	}},
	"somebody stops an instance": {90, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted = 2
		case 15:
			w.stop("i-001")
		}
	}},
	"somebody stops an instance with the only copies": {150, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted = 2
		case 15:
			w.only["i-001"] = true
			w.stop("i-001")
		case 60:
			w.say("another node leads")
			w.lead()
		case 110:
			w.say("the query is removed")
			w.only["i-001"] = false
		}
	}},
	"somebody stops an instance and starts it again": {120, 1, func(w *world) {
		switch w.now {
		case 0:
			w.wanted = 2
		case 15:
			w.only["i-001"] = true
			w.stop("i-001")
		case 70:
			w.start("i-001")
			w.only["i-001"] = false
		}
	}},
	"a spot instance is taken away": {80, 1, func(w *world) {
		if w.now == 20 {
			w.say("i-001 is taken away by its owner")
			w.vms[0].ended = true
		}
	}},
}

func TestScripts(t *testing.T) {
	for name, s := range scripts {
		t.Run(name, func(t *testing.T) {
			w := newWorld(testConfig(), s.base, t.Errorf)
			for range s.seconds {
				s.at(w)
				w.step()
			}
			got := strings.Join(w.said, "\n") + "\n"
			path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
			if *update {
				if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil || got != string(want) {
				t.Errorf("%s has (%v)\n%s\nit is\n%s", path, err, want, got)
			}
		})
	}
}

func TestTheWorkingAndTheVotersAreGivenBackLast(t *testing.T) {
	c := testConfig()
	c.Spares, c.IdleMs = 0, 0
	m := NewMachine(c)
	m.Listed(0, []provider.Instance{{ID: "a", LaunchedMs: 1, State: provider.Running}, {ID: "b", LaunchedMs: 2, State: provider.Running}, {ID: "c", LaunchedMs: 3, State: provider.Running},
		{ID: "d", LaunchedMs: 4, State: provider.Running}}, nil)
	e := m.Step(Input{AtMs: 1000, Wanted: 3, Nodes: []Node{
		{Name: "na", Instance: "a", Status: Alive, Takes: true, Works: 2, Holds: true}, {Name: "nb", Instance: "b", Status: Alive, Takes: true, Voter: true},
		{Name: "nc", Instance: "c", Status: Alive, Takes: true, Leader: true}, {Name: "nd", Instance: "d", Status: Alive, Takes: true, Holds: true}}})
	if len(e.Drain) != 1 || e.Drain[0].Node != "nd" {
		t.Errorf("of a working node, a voter, the leader and one with copies alone %v is given back", e.Drain)
	}
}

func TestANodeWithStandbysAloneIsGivenBackBeforeOneThatWorks(t *testing.T) {
	c := testConfig()
	c.Spares, c.IdleMs = 0, 0
	m := NewMachine(c)
	m.Listed(0, []provider.Instance{{ID: "a", LaunchedMs: 1, State: provider.Running}, {ID: "b", LaunchedMs: 2, State: provider.Running}}, nil)
	e := m.Step(Input{AtMs: 1000, Wanted: 1, Nodes: []Node{
		{Name: "na", Instance: "a", Status: Alive, Takes: true, Works: 9, Standby: true, Holds: true}, {Name: "nb", Instance: "b", Status: Alive, Takes: true, Works: 1, Holds: true}}})
	if len(e.Drain) != 1 || e.Drain[0].Node != "na" {
		t.Errorf("of one with a partition and one with nine standbys %v is given back", e.Drain)
	}
}

func TestANodeThatIsLostForAMomentIsNotReplacedAndCountsToTheLimit(t *testing.T) {
	c := testConfig()
	c.Spares, c.Max = 0, 2
	m := NewMachine(c)
	nodes := []Node{{Name: "base", Status: Alive, Takes: true}, {Name: "na", Instance: "a", Status: Lost, Holds: true}}
	list := []provider.Instance{{ID: "a", LaunchedMs: 1, State: provider.Running}}
	for second := range int64(120) {
		m.Listed(second*1000, list, nil)
		if e := m.Step(Input{AtMs: second * 1000, Wanted: 2, Nodes: nodes}); e.Launch > 0 {
			t.Fatalf("after %d s %d are started: the lost one is paid for, and two are the most", second, e.Launch)
		}
	}
	c.Max = 3
	m = NewMachine(c)
	for second := range int64(60) {
		m.Listed(second*1000, list, nil)
		if e := m.Step(Input{AtMs: second * 1000, Wanted: 2, Nodes: nodes}); e.Launch > 0 && second*1000 <= c.LostMs {
			t.Fatalf("after %d s it is replaced", second)
		} else if e.Launch > 0 {
			return
		}
	}
	t.Error("it is never replaced")
}

func TestWhatHasNotJoinedIsNoReasonToGiveBack(t *testing.T) {
	c := testConfig()
	c.Spares, c.IdleMs = 0, 0
	m := NewMachine(c)
	m.Listed(0, []provider.Instance{{ID: "a", LaunchedMs: 1, State: provider.Running}, {ID: "b", LaunchedMs: 2, State: provider.Pending}}, nil)
	for second := range int64(5) {
		e := m.Step(Input{AtMs: 1000 * (second + 1), Wanted: 2, Nodes: []Node{{Name: "base", Status: Alive, Takes: true}, {Name: "na", Instance: "a", Status: Alive, Takes: true}}})
		if len(e.Drain) > 0 {
			t.Fatalf("%v is given back while another has not joined", e.Drain)
		}
	}
}

func TestWhatOthersDrainIsNotTakenBack(t *testing.T) {
	m := NewMachine(testConfig())
	m.Listed(0, []provider.Instance{{ID: "a", LaunchedMs: 1, State: provider.Running}}, nil)
	e := m.Step(Input{AtMs: 1000, Wanted: 2, Nodes: []Node{{Name: "base", Status: Alive, Takes: true}, {Name: "na", Instance: "a", Status: Leaving, Works: 1, Holds: true}}})
	if len(e.Undrain) != 0 || e.Launch != 2 {
		t.Errorf("a node that leaves is taken back, %v, or not replaced: %d are started for two that lack", e.Undrain, e.Launch)
	}
}

func TestANodeOfWhichTheProviderKnowsNothingIsToldAndLeftAlone(t *testing.T) {
	m := NewMachine(testConfig())
	nodes := []Node{{Name: "base", Status: Alive, Takes: true}, {Name: "odd", Instance: "i-odd", Status: Alive, Takes: true}}
	for second := range int64(120) {
		m.Listed(second*1000, nil, nil)
		if e := m.Step(Input{AtMs: second * 1000, Nodes: nodes, Wanted: 1}); len(e.Drain)+len(e.Leave)+len(e.Terminate) > 0 {
			t.Fatalf("it is touched: %+v", e)
		}
	}
	if p := m.Standing().Problems; len(p) != 1 || !strings.Contains(p[0], "node odd says that it runs on instance i-odd") {
		t.Errorf("problems are %q", p)
	}
}

func TestWhilePausedNothingIsStartedOrGivenBackButOrphansEnd(t *testing.T) {
	m := NewMachine(testConfig())
	m.Listed(0, []provider.Instance{{ID: "i-1", LaunchedMs: 1}}, nil)
	var ended []Terminate
	for second := range int64(60) {
		e := m.Step(Input{AtMs: second * 1000, Nodes: []Node{{Name: "base", Status: Alive, Takes: true}}, Wanted: 9, Paused: true})
		if e.Launch+len(e.Drain) > 0 {
			t.Fatalf("while paused: %+v", e)
		}
		ended = append(ended, e.Terminate...)
		if e.List {
			m.Listed(second*1000, []provider.Instance{{ID: "i-1", LaunchedMs: 1}}, nil)
		}
	}
	if len(ended) != 1 {
		t.Errorf("of the orphan: %v", ended)
	}
}
