package pool

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// world is a cluster and a provider, one second a step. Machines take a while to join, some never do; refusals, leader changes and losses
// are drawn or scripted.
type world struct {
	config   Config
	machine  *Machine
	now      int64
	wanted   int
	nodes    []Node
	vms      []*vm
	tokens   int
	refuse   []error // answers of the next launches
	never    int     // so many of the next instances never join
	joinS    int64
	drainS   int64 // from the drain to holding nothing
	drained  map[string]int64
	listFail int
	only     map[string]bool // nodes that have the only copies of something
	told     string          // the problems that were told last
	said     []string
	fail     func(format string, args ...any)
	most     int
}

type vm struct {
	provider.Instance
	joins int64 // -1: never
	ended bool
}

func newWorld(config Config, base int, fail func(string, ...any)) *world {
	w := &world{config: config, machine: NewMachine(config), joinS: 5, drainS: 3, wanted: 1, drained: map[string]int64{}, only: map[string]bool{}, fail: fail}
	for i := range base {
		w.nodes = append(w.nodes, Node{Name: fmt.Sprintf("base%d", i), Status: Alive, Takes: true, Works: 1, Holds: true, Voter: true, Leader: i == 0})
	}
	return w
}

func (w *world) say(format string, args ...any) {
	w.said = append(w.said, fmt.Sprintf("%4d s  ", w.now)+fmt.Sprintf(format, args...))
}

// lead makes another leader: the machine's memory is gone.
func (w *world) lead() { w.machine = NewMachine(w.config) }

func (w *world) node(name string) *Node {
	i := slices.IndexFunc(w.nodes, func(n Node) bool { return n.Name == name })
	if i < 0 {
		return nil
	}
	return &w.nodes[i]
}

func (w *world) live() (out []provider.Instance) {
	for _, v := range w.vms {
		if !v.ended {
			out = append(out, v.Instance)
		}
	}
	slices.SortFunc(out, func(a, b provider.Instance) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// step lets a second pass.
func (w *world) step() {
	w.now++
	for _, v := range w.vms {
		if !v.ended && v.State != provider.Stopped && v.joins >= 0 && w.now >= v.joins && w.node(v.ID) == nil {
			v.State = provider.Running
			w.nodes = append(w.nodes, Node{Name: v.ID, Instance: v.Token, Status: Alive, Takes: true})
			w.say("node %s joins", v.ID)
		}
	}
	for i := range w.nodes {
		n := &w.nodes[i]
		if n.Status == Leaving && w.now-w.drained[n.Name] >= w.drainS {
			n.Works, n.Holds, n.Voter = 0, false, false
		}
		gone := slices.ContainsFunc(w.vms, func(v *vm) bool { return v.ID == n.Name && (v.ended || v.State == provider.Stopped) })
		if gone && (n.Status == Alive || n.Status == Leaving) {
			n.Status = Lost
			w.say("node %s is lost", n.Name)
		}
		if n.Status == Lost {
			n.Works, n.Holds, n.Voter = 0, w.only[n.Name], false // recovered elsewhere
		}
	}
	slices.SortFunc(w.nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	w.do(w.machine.Step(Input{AtMs: w.now * 1000, Nodes: slices.Clone(w.nodes), Wanted: w.wanted}))
	if told := strings.Join(w.machine.Standing().Problems, "; "); told != w.told {
		w.told = told
		w.say("told of: %s", cmp.Or(told, "nothing"))
	}
	w.check()
}

func (w *world) do(e Effects) {
	nowMs := w.now * 1000
	for range e.Launch {
		w.tokens++
		token := fmt.Sprintf("t-%03d", w.tokens)
		if len(w.refuse) > 0 {
			err := w.refuse[0]
			if w.refuse = w.refuse[1:]; err != nil {
				w.say("a launch is refused: %v", err)
				w.machine.Launched(nowMs, provider.Instance{}, err)
				continue
			}
		}
		v := &vm{Instance: provider.Instance{ID: fmt.Sprintf("i-%03d", w.tokens), Token: token, State: provider.Pending, LaunchedMs: nowMs}, joins: w.now + w.joinS}
		if w.never > 0 {
			w.never--
			v.joins = -1
		}
		w.vms = append(w.vms, v)
		w.say("instance %s is started", v.ID)
		w.machine.Launched(nowMs, v.Instance, nil)
	}
	for _, t := range e.Terminate {
		if n := w.node(t.ID); n != nil && n.Status != Left && n.Drained == DrainedByPerson {
			w.fail("instance %s is terminated, whose node a person drained: %s", t.ID, t.Why)
		}
		if n := w.node(t.ID); n != nil && (n.Voter || n.Holds) {
			w.fail("instance %s of a node that holds something is terminated: %s", t.ID, t.Why)
		}
		for _, v := range w.vms {
			if v.ID == t.ID && !v.ended {
				v.ended = true
				w.say("instance %s ends: %s", t.ID, t.Why)
			}
		}
	}
	change := func(list []Change, status Status, from ...Status) {
		for _, c := range list {
			n := w.node(c.Node)
			if n != nil && n.Drained == DrainedByPerson && slices.ContainsFunc(w.vms, func(v *vm) bool { return v.ID == n.Name && !v.ended }) {
				w.fail("%s was drained by a person and becomes %s: %s", c.Node, status, c.Why)
			}
			if n != nil && n.Drained == DrainedByNotice && status == Alive {
				w.fail("%s is taken back, whose machine is to be taken away: %s", c.Node, c.Why)
			}
			if strings.HasPrefix(c.Node, "base") {
				w.fail("%s was not started by the provider and becomes %s: %s", c.Node, status, c.Why)
			}
			if n != nil && slices.Contains(from, n.Status) {
				n.Status, n.Drained = status, ""
				if status == Leaving {
					n.Drained = DrainedByPool
				}
				w.drained[c.Node] = w.now
				w.say("node %s becomes %s: %s", c.Node, status, c.Why)
			}
		}
	}
	change(e.Drain, Leaving, Alive)
	change(e.Undrain, Alive, Leaving)
	for _, c := range e.Leave {
		if n := w.node(c.Node); n.Holds || n.Voter {
			w.fail("%s leaves and holds something", c.Node)
		}
	}
	change(e.Leave, Left, Leaving, Lost)
	if e.List {
		if w.listFail > 0 {
			w.listFail--
			w.machine.Listed(nowMs, nil, &provider.Error{Kind: provider.Throttled, Err: errors.New("too many requests")})
			return
		}
		w.machine.Listed(nowMs, w.live(), nil)
	}
}

// check is what holds at any time.
func (w *world) check() {
	total := len(w.live())
	for _, n := range w.nodes {
		if n.Instance == "" && n.Status == Alive {
			total++
		}
	}
	if w.most = max(w.most, total); total > w.config.Max {
		w.fail("%d nodes and instances, %d are allowed", total, w.config.Max)
	}
}

func (w *world) run(seconds int) {
	for range seconds {
		w.step()
	}
}

// count gives the nodes that take work.
func (w *world) count() (n int) {
	for i := range w.nodes {
		if w.nodes[i].Status == Alive {
			n++
		}
	}
	return n
}

func testConfig() Config {
	c := DefaultConfig()
	c.Spares, c.Max = 1, 10
	c.DeadlineMs = 30_000
	return c
}

func TestNothingIsPaidForAndForgotten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := testConfig()
		c.Spares = rapid.IntRange(0, 3).Draw(t, "spares")
		w := newWorld(c, rapid.IntRange(1, 3).Draw(t, "base"), t.Fatalf)
		for range rapid.IntRange(1, 25).Draw(t, "events") {
			switch rapid.SampledFrom([]string{"load", "refuse", "never", "leader", "end", "orphan", "voter", "slow", "list", "work", "person", "notice", "stop"}).Draw(t, "event") {
			case "load":
				w.wanted = rapid.IntRange(0, 12).Draw(t, "wanted")
			case "refuse":
				kind := rapid.SampledFrom([]provider.Kind{provider.Capacity, provider.Quota, provider.Throttled, provider.Denied, provider.Other}).Draw(t, "kind")
				w.refuse = append(w.refuse, &provider.Error{Kind: kind, Err: errors.New(string(kind))})
			case "never":
				w.never++
			case "leader":
				w.lead()
			case "end": // by the provider, or a machine that dies
				if list := w.live(); len(list) > 0 {
					id := rapid.SampledFrom(list).Draw(t, "vm").ID
					for _, v := range w.vms {
						v.ended = v.ended || v.ID == id
					}
				}
			case "stop": // by a person
				if list := w.live(); len(list) > 0 {
					w.stop(rapid.SampledFrom(list).Draw(t, "vm").ID)
				}
			case "orphan": // a leader died between launching and anything else
				if len(w.live())+len(w.nodes) < c.Max {
					w.tokens++
					id := fmt.Sprintf("i-%03d", w.tokens)
					w.vms = append(w.vms, &vm{Instance: provider.Instance{ID: id, Token: fmt.Sprintf("t-%03d", w.tokens), LaunchedMs: w.now * 1000}, joins: -1})
					w.lead()
				}
			case "voter":
				if n := &w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")]; n.Status == Alive {
					n.Voter = true
				}
			case "person":
				if n := &w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")]; n.Instance != "" && n.Status == Alive {
					w.personDrains(n)
				}
			case "notice":
				if n := &w.nodes[rapid.IntRange(0, len(w.nodes)-1).Draw(t, "node")]; n.Instance != "" && (n.Status == Alive || n.Status == Leaving && n.Drained == DrainedByPool) {
					w.notice(n)
				}
			case "slow":
				w.joinS = int64(rapid.IntRange(1, 40).Draw(t, "join"))
			case "list":
				w.listFail = rapid.IntRange(0, 5).Draw(t, "lists")
			case "work":
				for i := range w.nodes {
					if n := &w.nodes[i]; n.Status == Alive && rapid.Bool().Draw(t, "works") {
						n.Works, n.Holds = 1, true
					}
				}
			}
			// Orphans and machines that end of themselves may break the limit for a moment in this world, not by the pool's doing.
			w.run(rapid.IntRange(0, 60).Draw(t, "seconds"))
		}
		w.personUndrains()
		w.wanted, w.refuse, w.never, w.joinS, w.listFail = 3, nil, 0, 5, 0
		w.run(2000)
		want := max(3+c.Spares, base(w))
		if got := w.count(); got != min(want, c.Max) {
			t.Fatalf("%d nodes take work, %d are needed\n%s", got, want, strings.Join(w.said, "\n"))
		}
		w.settled(t)
		w.wanted = 0
		w.run(120)
		if got, want := w.count(), max(1+c.Spares, base(w)); got != want {
			t.Fatalf("without load %d nodes are there, %d are needed\n%s", got, want, strings.Join(w.said, "\n"))
		}
		w.settled(t)
	})
}

func (w *world) personDrains(n *Node) {
	n.Status, n.Drained = Leaving, DrainedByPerson
	w.drained[n.Name] = w.now
	w.say("a person drains node %s", n.Name)
}

// stop has somebody stop an instance, outside of the pool.
func (w *world) stop(id string) {
	for _, v := range w.vms {
		if v.ID == id && !v.ended {
			v.State = provider.Stopped
			w.say("somebody stops instance %s", id)
		}
	}
}

// start has somebody start an instance again.
func (w *world) start(id string) {
	for _, v := range w.vms {
		if n := w.node(id); v.ID == id && !v.ended && n != nil {
			v.State, n.Status = provider.Running, Alive
			w.say("somebody starts instance %s again", id)
		}
	}
}

// notice announces that a node's machine is taken away.
func (w *world) notice(n *Node) {
	n.Status, n.Drained = Leaving, DrainedByNotice
	w.drained[n.Name] = w.now
	w.say("node %s hears that its machine is taken away, and is drained", n.Name)
}

// personUndrains takes all of them back, or, where their machines are gone, has them leave.
func (w *world) personUndrains() {
	for i := range w.nodes {
		if n := &w.nodes[i]; n.Drained == DrainedByPerson {
			n.Drained = ""
			if n.Status == Leaving {
				n.Status = Alive
			}
		}
	}
}

func base(w *world) (n int) {
	for _, x := range w.nodes {
		if x.Instance == "" {
			n++
		}
	}
	return n
}

// settled says that every instance is a node that takes work.
func (w *world) settled(t *rapid.T) {
	for _, i := range w.live() {
		if n := w.node(i.ID); n == nil || n.Status != Alive {
			t.Fatalf("instance %s is paid for and is no node that works: %+v\n%s", i.ID, n, strings.Join(w.said, "\n"))
		}
	}
}
