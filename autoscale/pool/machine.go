package pool

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// Config are the pool's limits. Times are in milliseconds.
type Config struct {
	Spares     int   // joined idle nodes to be kept
	Max        int   // nodes of the cluster, those of other origin included; 0: no nodes are started
	IdleMs     int64 // a node too many is given back after so long
	DeadlineMs int64 // from a launch to the node's joining
	LostMs     int64 // a lost node's instance is ended after so long
	ListMs     int64 // the provider is asked so often
	Batch      int   // launches under way at once
}

// DefaultConfig keeps no spares; Max is to be set.
func DefaultConfig() Config {
	return Config{IdleMs: 20_000, DeadlineMs: 180_000, LostMs: 30_000, ListMs: 5_000, Batch: 8}
}

// Node is a member of the cluster as the metadata has it.
type Node struct {
	Name     string
	Instance string // the provider's id or token of what it runs on, as the node says; "" for one of another origin
	Status   Status
	Drained  Drained
	Takes    bool // it may be given partitions
	Works    int  // partitions and shadows that it runs
	Standby  bool // they are standbys alone
	Holds    bool // anything names it: partitions, copies, logs
	Voter    bool
	Leader   bool
}

// Status is what the cluster holds of a node.
type Status string

const (
	Alive   Status = "alive"
	Leaving Status = "leaving"
	Lost    Status = "lost"
	Left    Status = "left"
)

// Drained says who has a node give everything away; "" when nobody has.
type Drained string

const (
	DrainedByPool   Drained = "pool"
	DrainedByPerson Drained = "person" // it is that person's: left alone until they undrain it, or it leaves
	DrainedByNotice Drained = "notice" // its machine is to be taken away
)

// Input is what a step looks at.
type Input struct {
	AtMs  int64
	Nodes []Node // ascending by name
	// Wanted is how many nodes should work, spares not counted.
	Wanted int
	// Paused: a person stopped it. Nothing is started or given back; orphans are still ended.
	Paused bool
}

// Effects are what a step wants done. All of them may be repeated.
type Effects struct {
	Launch    int         // so many instances, with new tokens
	Terminate []Terminate // instances
	Drain     []Change    // nodes that are to hold nothing
	Undrain   []Change    // nodes that are needed after all
	Leave     []Change    // nodes that hold nothing, or that are gone for good, end their membership
	List      bool        // the provider is to be asked
}

// Change is a node and why.
type Change struct{ Node, Why string }

// Terminate is an instance and why.
type Terminate struct{ ID, Why string }

// Machine is the pool's memory. It belongs to one goroutine.
type Machine struct {
	config Config

	listed   bool
	list     []provider.Instance
	listMs   int64
	asked    bool                // a list is under way
	launches int                 // under way
	started  []provider.Instance // by Launch, not listed yet
	seen     []seen
	ended    []ended // terminated here: lists may show them a while longer
	surplus  int64   // since when there are too many nodes; 0: there are not
	backoff  backoff
	problems []string
	standing Standing
	events   []Event
}

// seen is when an instance or a lost node was first looked at.
type seen struct {
	name string
	atMs int64
}

type ended struct {
	id      string
	againMs int64 // if it is still there
}

// backoff is the pause after refusals.
type backoff struct {
	times   int
	untilMs int64
	err     string
	kind    provider.Kind
	atMs    int64
}

// Event is something that happened, for people.
type Event struct {
	AtMs int64
	Text string
}

const (
	eventsMax = 100
	// endedForMs is how long an instance that was terminated may still be listed before it is terminated again.
	endedForMs = 60_000
	// startedForMs is how long an instance that was started may be missing from lists.
	startedForMs = 30_000
)

// NewMachine makes one that knows nothing.
func NewMachine(c Config) *Machine { return &Machine{config: c} }

// Listed tells what the provider has. An error leaves what was known.
func (m *Machine) Listed(atMs int64, list []provider.Instance, err error) {
	m.asked = false
	m.listMs = atMs
	if err != nil {
		m.refused(atMs, "list instances", err)
		return
	}
	m.list, m.listed = list, true
	m.started = slices.DeleteFunc(m.started, func(s provider.Instance) bool {
		return slices.ContainsFunc(list, func(i provider.Instance) bool { return i.ID == s.ID }) || atMs-s.LaunchedMs > startedForMs
	})
	m.ended = slices.DeleteFunc(m.ended, func(e ended) bool {
		return !slices.ContainsFunc(list, func(i provider.Instance) bool { return i.ID == e.id })
	})
}

// Launched tells what became of a launch.
func (m *Machine) Launched(atMs int64, i provider.Instance, err error) {
	m.launches = max(0, m.launches-1)
	if err != nil {
		m.refused(atMs, "start an instance", err)
		return
	}
	m.backoff = backoff{}
	i.LaunchedMs = atMs
	m.started = append(m.started, i)
	m.event(atMs, "instance %s is started", i.ID)
}

// Terminated tells what became of terminating instances.
func (m *Machine) Terminated(atMs int64, ids []string, err error) {
	if err != nil {
		m.refused(atMs, "terminate instances", err)
		for i := range m.ended {
			if e := &m.ended[i]; slices.Contains(ids, e.id) {
				e.againMs = m.backoff.untilMs
			}
		}
	}
}

// pauses are how long nothing is started after the first refusal and at most.
var pauses = map[provider.Kind][2]int64{
	provider.Throttled: {2_000, 60_000},
	provider.Capacity:  {10_000, 300_000},
	provider.Quota:     {60_000, 900_000},
	provider.Denied:    {60_000, 900_000},
	provider.Other:     {5_000, 300_000},
}

func (m *Machine) refused(atMs int64, doing string, err error) {
	kind := provider.KindOf(err)
	p, ok := pauses[kind]
	if !ok {
		p = pauses[provider.Other]
	}
	pause := min(p[0]<<min(m.backoff.times, 16), p[1])
	m.backoff = backoff{times: m.backoff.times + 1, untilMs: max(m.backoff.untilMs, atMs+pause), err: fmt.Sprintf("%s: %v", doing, err), kind: kind, atMs: atMs}
	m.event(atMs, "%s; nothing is started for %d s", m.backoff.err, (m.backoff.untilMs-atMs+999)/1000)
}

func (m *Machine) event(atMs int64, format string, args ...any) {
	m.events = append(m.events, Event{atMs, fmt.Sprintf(format, args...)})
	if drop := len(m.events) - eventsMax; drop > 0 {
		m.events = slices.Delete(m.events, 0, drop)
	}
}

// Step looks at everything and says what is to be done. It counts the launches that it asks for as under way.
func (m *Machine) Step(in Input) (e Effects) {
	m.problems, m.standing.Waiting = nil, ""
	m.ended = slices.DeleteFunc(m.ended, func(e ended) bool { return in.AtMs >= e.againMs })
	if !m.asked && (!m.listed || in.AtMs-m.listMs >= m.config.ListMs) {
		e.List, m.asked = true, true
	}
	if !m.listed {
		m.standing = Standing{AtMs: in.AtMs, Waiting: "the provider has not answered yet"}
		m.finish(&in)
		return e
	}
	c := m.count(&in)
	m.endOrphans(&in, &c, &e)
	m.letGo(&in, &c, &e)
	m.size(&in, &c, &e)
	m.finish(&in)
	m.forget(&c)
	return e
}

// census is who is there.
type census struct {
	instances []*machine // ascending by id
	ours      []*member  // nodes that run on an instance of the provider
	others    []*member
}

// machine is an instance and the node that runs on it, if any.
type machine struct {
	provider.Instance
	node *Node
	gone bool // it was terminated here
}

// member is a node and the instance that it runs on, nil when the provider has none.
type member struct {
	*Node
	machine *machine
}

// count puts nodes and instances together.
func (m *Machine) count(in *Input) (c census) {
	for _, list := range [][]provider.Instance{m.list, m.started} {
		for _, i := range list {
			if i.State == provider.Stopping || slices.ContainsFunc(c.instances, func(x *machine) bool { return x.ID == i.ID }) {
				continue
			}
			x := &machine{Instance: i, gone: slices.ContainsFunc(m.ended, func(e ended) bool { return e.id == i.ID })}
			c.instances = append(c.instances, x)
		}
	}
	slices.SortFunc(c.instances, func(a, b *machine) int { return strings.Compare(a.ID, b.ID) })
	for i := range in.Nodes {
		n := &member{Node: &in.Nodes[i]}
		if n.Instance == "" {
			c.others = append(c.others, n)
			continue
		}
		for _, x := range c.instances {
			// A name that is used again belongs to the process that lives.
			if (x.ID == n.Instance || x.Token == n.Instance) && (x.node == nil || x.node.Status == Left || x.node.Status == Lost) {
				x.node, n.machine = n.Node, x
			}
		}
		c.ours = append(c.ours, n)
	}
	return c
}

// since is when something was first seen, now if it was not.
func (m *Machine) since(name string, nowMs int64) int64 {
	for _, s := range m.seen {
		if s.name == name {
			return s.atMs
		}
	}
	m.seen = append(m.seen, seen{name, nowMs})
	return nowMs
}

// forget drops what is not there any more.
func (m *Machine) forget(c *census) {
	m.seen = slices.DeleteFunc(m.seen, func(s seen) bool {
		kind, name, _ := strings.Cut(s.name, " ")
		switch kind {
		case "instance":
			return !slices.ContainsFunc(c.instances, func(x *machine) bool { return x.ID == name })
		case "lost":
			return !slices.ContainsFunc(c.ours, func(n *member) bool { return n.Name == name && n.Status == Lost })
		case "missing":
			return !slices.ContainsFunc(c.ours, func(n *member) bool { return n.Name == name && n.machine == nil })
		}
		return true
	})
}

// terminate ends an instance, once.
func (m *Machine) terminate(e *Effects, x *machine, nowMs int64, format string, args ...any) {
	if x.gone {
		return
	}
	x.gone = true
	m.ended = append(m.ended, ended{x.ID, nowMs + endedForMs})
	m.started = slices.DeleteFunc(m.started, func(s provider.Instance) bool { return s.ID == x.ID })
	t := Terminate{x.ID, fmt.Sprintf(format, args...)}
	e.Terminate = append(e.Terminate, t)
	m.event(nowMs, "instance %s is terminated: %s", t.ID, t.Why)
}

// endOrphans ends instances that are no node, or of which the node has left or is lost.
func (m *Machine) endOrphans(in *Input, c *census, e *Effects) {
	for _, x := range c.instances {
		seenMs := m.since("instance "+x.ID, in.AtMs)
		switch {
		case x.node == nil:
			// The machine's clock and this one may differ: what this leader saw itself bounds it too.
			age := min(in.AtMs-x.LaunchedMs, in.AtMs-seenMs+m.config.DeadlineMs/2)
			if x.LaunchedMs <= 0 {
				age = in.AtMs - seenMs
			}
			switch {
			case age <= m.config.DeadlineMs:
			case x.State == provider.Stopped:
				m.terminate(e, x, in.AtMs, "it is stopped and no node's")
			default:
				if !x.gone {
					m.failedLaunch(in.AtMs, x)
				}
				m.terminate(e, x, in.AtMs, "it did not join within %d s", m.config.DeadlineMs/1000)
			}
		case x.node.Status == Left:
			m.terminate(e, x, in.AtMs, "its node %s has left", x.node.Name)
		case x.node.Status == Lost && in.AtMs-m.since("lost "+x.node.Name, in.AtMs) > m.config.LostMs && !x.node.Voter:
			if x.node.Drained == DrainedByPerson {
				m.problems = append(m.problems, fmt.Sprintf("node %s was drained by a person and is lost: instance %s is kept until the node is undrained or the instance is ended", x.node.Name, x.ID))
				continue
			}
			if x.node.Holds { // its disk may be the only one with some state: a query waits for it
				text := fmt.Sprintf("node %s is lost and instance %s is kept: copies, partitions or seals are still there", x.node.Name, x.ID)
				if x.State == provider.Stopped {
					text += "; it is stopped: start it again"
				}
				m.problems = append(m.problems, text)
				continue
			}
			m.terminate(e, x, in.AtMs, "its node %s is lost", x.node.Name)
		}
		if x.State == provider.Stopped && !x.gone && (x.node == nil || x.node.Status != Alive) {
			const text = "instance %s%s is stopped, which the pool does not do: start it again if it is to stay; it is terminated when nothing needs it"
			m.problems = append(m.problems, fmt.Sprintf(text, x.ID, ofNode(x.node)))
		}
	}
}

func ofNode(n *Node) string {
	if n == nil {
		return ""
	}
	return " of node " + n.Name
}

// failedLaunch makes the next launch wait: what does not join once may not join again.
func (m *Machine) failedLaunch(nowMs int64, x *machine) {
	p := pauses[provider.Other]
	pause := min(p[0]<<min(m.backoff.times, 16), p[1])
	m.backoff = backoff{times: m.backoff.times + 1, untilMs: max(m.backoff.untilMs, nowMs+pause), kind: provider.Other, atMs: nowMs,
		err: fmt.Sprintf("instance %s did not join within %d s: look at its log, and whether it reaches the cluster", x.ID, m.config.DeadlineMs/1000)}
}

// letGo ends the membership of drained nodes and of those that can never return, and tells what is odd.
func (m *Machine) letGo(in *Input, c *census, e *Effects) {
	for _, n := range c.ours {
		if n.machine != nil && !n.machine.gone {
			if n.Status == Leaving && n.Drained != DrainedByPerson && !n.Holds && !n.Voter && !n.Leader && !in.Paused {
				e.Leave = append(e.Leave, Change{n.Name, "it is drained"})
			}
			continue
		}
		gone := in.AtMs-m.since("missing "+n.Name, in.AtMs) > m.config.LostMs
		switch {
		case n.Status == Lost && gone && !n.Holds && !n.Voter:
			e.Leave = append(e.Leave, Change{n.Name, "its instance " + n.Instance + " is gone"})
		case n.Status == Alive && gone:
			m.problems = append(m.problems, fmt.Sprintf("node %s says that it runs on instance %s, which the provider does not know: it is left alone", n.Name, n.Instance))
		}
	}
}

// size starts nodes that are missing and gives back those that are too many.
func (m *Machine) size(in *Input, c *census, e *Effects) {
	have, total, starting := 0, m.launches, m.launches
	var pool, draining []*member
	for _, list := range [][]*member{c.others, c.ours} {
		for _, n := range list {
			// A lost node's instance is there, and may be so again in a moment; one that is stopped only when somebody wants it to.
			back := n.Status == Lost && n.machine != nil && !n.machine.gone
			if n.Status == Alive || n.Status == Leaving || back {
				total++
			}
			if back && n.machine.State != provider.Stopped && in.AtMs-m.since("lost "+n.Name, in.AtMs) <= m.config.LostMs {
				starting++
			}
			if n.Status == Alive && n.Takes {
				have++
				if n.machine != nil && !n.machine.gone {
					pool = append(pool, n)
				}
			}
			if n.Status == Leaving && n.machine != nil && !n.machine.gone && n.Drained == DrainedByPool {
				draining = append(draining, n)
			}
		}
	}
	for _, x := range c.instances {
		if x.node == nil && !x.gone {
			total++
			if x.State != provider.Stopped {
				starting++
			}
		}
	}
	need := max(1, in.Wanted) + m.config.Spares
	m.standing.Have, m.standing.Starting, m.standing.Needed, m.standing.Pool = have, starting, need, len(pool)
	missing := need - have - starting
	if in.Paused {
		m.surplus, m.standing.Waiting = 0, "autoscale is paused"
		return
	}
	if missing > 0 {
		m.surplus = 0
		for _, n := range draining {
			if missing > 0 && (n.Holds || n.Voter) {
				e.Undrain = append(e.Undrain, Change{n.Name, "it is needed again"})
				missing--
			}
		}
		m.launch(in, missing, total, e)
		return
	}
	m.giveBack(in, have-need, pool, e)
}

// launch starts instances within the limits.
func (m *Machine) launch(in *Input, missing, total int, e *Effects) {
	n := min(missing, m.config.Batch-m.launches)
	if room := m.config.Max - total; n > room {
		if m.config.Max > 0 && room < missing {
			m.standing.Waiting = fmt.Sprintf("%d more nodes are needed; %d are the most that are allowed", missing, m.config.Max)
		}
		n = room
	}
	if n <= 0 {
		return
	}
	if in.AtMs < m.backoff.untilMs {
		m.standing.Waiting = fmt.Sprintf("%s; the next try is in %d s", m.backoff.err, (m.backoff.untilMs-in.AtMs+999)/1000)
		return
	}
	if m.backoff.times > 0 {
		n = 1 // to see whether it goes again
	}
	e.Launch = n
	m.launches += n
	m.event(in.AtMs, "%d instances are started: %d nodes are needed, %d of them as spares", n, m.standing.Needed, m.config.Spares)
}

// giveBack drains the nodes that are too many, after a time: those without work first, no voters and not the leader.
func (m *Machine) giveBack(in *Input, over int, pool []*member, e *Effects) {
	pool = slices.DeleteFunc(pool, func(n *member) bool { return n.Leader })
	if over = min(over, len(pool)); over <= 0 {
		m.surplus = 0
		return
	}
	if m.surplus == 0 {
		m.surplus = in.AtMs
	}
	if in.AtMs-m.surplus < m.config.IdleMs {
		m.standing.Waiting = fmt.Sprintf("%d nodes too many are given back in %d s", over, (m.config.IdleMs-in.AtMs+m.surplus+999)/1000)
		return
	}
	rank := func(n *member) int {
		r := n.Works
		if !n.Standby && r > 0 {
			r += 1 << 20 // what works is moved last
		}
		if n.Voter {
			r += 1 << 21
		}
		return r
	}
	slices.SortStableFunc(pool, func(a, b *member) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(b.machine.LaunchedMs, a.machine.LaunchedMs), strings.Compare(a.Name, b.Name))
	})
	for _, n := range pool[:over] {
		c := Change{n.Name, fmt.Sprintf("%d nodes are needed and %d are there", m.standing.Needed, m.standing.Have)}
		e.Drain = append(e.Drain, c)
		m.event(in.AtMs, "node %s is given back: %s", n.Name, c.Why)
	}
}

// Standing is what the pool looks like, for people.
type Standing struct {
	AtMs                           int64
	Have, Starting, Needed, Spares int // nodes that take work; launches and instances that have not joined; Have that there should be; of them spares
	Pool                           int // of Have, those that may be given back
	Instances                      []provider.Instance
	Waiting                        string // why nothing is done; "" nothing is to be done, or it is being done
	Error                          string // the last refusal that was not followed by a success
	ErrorKind                      provider.Kind
	ErrorMs                        int64
	RetryMs                        int64 // when it is tried again
	Problems                       []string
	Events                         []Event // the latest last
}

func (m *Machine) finish(in *Input) {
	m.standing.AtMs, m.standing.Spares, m.standing.Problems = in.AtMs, m.config.Spares, m.problems
	m.standing.Instances, m.standing.Events = m.list, slices.Clone(m.events)
	m.standing.Error, m.standing.ErrorKind, m.standing.ErrorMs, m.standing.RetryMs = m.backoff.err, m.backoff.kind, m.backoff.atMs, m.backoff.untilMs
}

// Standing gives what the last step saw.
func (m *Machine) Standing() Standing { return m.standing }
