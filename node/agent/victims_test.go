package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// victims are those who take part in a change, each of whom may be lost in the middle of it.
var victims = []string{"the shadow's node", "the old partition's node", "the leader", "a vault of the range"}

const (
	victimShadow = iota
	victimOld
	victimLeader
	victimVault
)

// points are what a change comes to, one after the other.
var points = []string{"a shadow restores", "a shadow has caught up", "before the switch", "just switched"}

const (
	pointRestores = iota
	pointCaughtUp
	pointSwitch
	pointSwitched
)

// lossKinds are how victims are lost. Who is cut off lives on, and works with what it has.
var lossKinds = []int{faultKill, faultPowerLoss, faultIsolate}

// change is a range of a stage on its way to another process.
type change struct {
	stage  topology.StageID
	shadow topology.Shadow
	old    topology.Process // of a part of the range
}

// chase follows the changes of a query until one comes to a point, for a fault that is about somebody who takes part in it.
type chase struct {
	point, victim int
	late          time.Duration // how long behind the point the fault comes

	under []change  // those that were under way at the last look
	of    change    // the one that has come to the point
	since time.Time // when it had
	whom  string    // its victim
	at    time.Time // of the last look that found it there
}

// drawInChange draws a schedule with the loss of somebody in the middle of a change of the layout: each victim at each point, in each way, as n counts
// up. Other faults may come before and behind it.
func drawInChange(n int, r *rand.Rand, names []string) []fault {
	list := drawFaults(r, names)
	at := r.IntN(2)
	c := &chase{victim: n % len(victims), point: n / len(victims) % len(points)}
	f := &list[at]
	f.kind, f.event, f.after = lossKinds[n/len(victims)/len(points)%len(lossKinds)], "", 3*time.Second
	f.moment, f.pick[4] = &moment{name: points[c.point], first: -1, seen: c.seen, chase: c}, 1
	if c.point == pointSwitch {
		f.event, f.nth = commandEvent(raftfsm.KindSwitch), 1
	} else {
		c.late = time.Duration(r.IntN(4)*r.IntN(4)) * time.Millisecond
	}
	return list[:min(len(list), at+1+r.IntN(3))]
}

// seen is the victim in a change that has come to the point. One that was found just now still counts: a command that the fault waits for ends it.
func (c *chase) seen(w *trial) (string, bool) {
	if q := w.latest().Query("q"); q != nil {
		c.look(w, q)
	}
	if c.whom == "" || time.Since(c.at) > 2*time.Millisecond {
		return "", false
	}
	return c.whom, time.Since(c.since) >= c.late
}

// look finds a change that has come to the point and whose victim runs.
func (c *chase) look(w *trial, q *raftfsm.Query) {
	before := c.under
	c.under = changesOf(q)
	candidates := c.under
	if c.point == pointSwitched {
		candidates = before
	}
	for _, x := range candidates {
		whom := ""
		if c.has(w, q, x) {
			whom = c.who(w, q, x)
		}
		if whom == "" {
			continue
		}
		if x.shadow.Instance != c.of.shadow.Instance {
			c.of, c.since = x, time.Now()
		}
		c.whom, c.at = whom, time.Now()
		return
	}
	if c.point == pointSwitched && c.whom != "" && time.Since(c.since) <= c.late { // it is under way no more, and has switched all the same
		c.at = time.Now()
	}
}

// changesOf are the changes of a query, but for neighbours on one node that become one, and shadows that wait for a loss.
func changesOf(q *raftfsm.Query) (list []change) {
	for s, st := range q.Stages {
		for _, sh := range st.Shadows {
			if sh.Purpose == topology.ForChange && !st.Merges(sh.Range, sh.Process) {
				i := slices.IndexFunc(st.Partitions, func(a topology.Assignment) bool { return a.Range.Overlaps(sh.Range) })
				list = append(list, change{topology.StageID(s), sh, st.Partitions[i].Process})
			}
		}
	}
	return list
}

// has says whether a change has come to the point. Before the switch it has caught up.
func (c *chase) has(w *trial, q *raftfsm.Query, x change) bool {
	if c.point == pointSwitched {
		return slices.ContainsFunc(q.Stages[x.stage].Partitions, func(a topology.Assignment) bool { return a.Instance == x.shadow.Instance })
	}
	_, caught := w.instance(func(r coordinator.PartitionReport) bool {
		return r.Stage == x.stage && r.Instance == x.shadow.Instance && r.Role == coordinator.RoleShadow && r.Phase == coordinator.PhaseRunning
	})
	return caught == (c.point != pointRestores)
}

// who is the victim in a change, "" when nobody that runs is.
func (c *chase) who(w *trial, q *raftfsm.Query, x change) string {
	var names []topology.NodeID
	switch c.victim {
	case victimShadow:
		names = append(names, x.shadow.Process.Node)
	case victimOld:
		names = append(names, x.old.Node)
	case victimLeader:
		for _, a := range w.running() {
			if _, ok := a.member.Group().Leads(); ok {
				names = append(names, topology.NodeID(a.config.Name))
			}
		}
	case victimVault:
		st := q.Stages[x.stage]
		for b, v := range st.Vaults {
			for _, p := range v.Members {
				if topology.BlockID(b).Range(st.Groups).Overlaps(x.shadow.Range) && p.Node != x.shadow.Process.Node && p.Node != x.old.Node {
					names = append(names, p.Node)
				}
			}
		}
	}
	for _, n := range names {
		if w.runs(string(n)) {
			return string(n)
		}
	}
	return ""
}

// count counts the loss of a victim, just before it happens.
func (c *chase) count(w *trial, f fault) {
	if c.whom == "" || f.victim != c.whom || !w.runs(f.victim) || time.Since(c.at) > 3*time.Millisecond {
		return
	}
	what := ""
	if q := w.latest().Query("q"); q != nil {
		for i := range q.History {
			if h := &q.History[i]; h.Kind == raftfsm.KindShadowed && amongInstances(figureOf(h, raftfsm.FigureInstances), c.of.shadow.Instance) {
				what = figureOf(h, raftfsm.FigureWhat)
			}
		}
	}
	w.note("%s, %s, in a change of stage %d: %s", f.victim, victims[c.victim], c.of.stage, what)
	how := "was cut off"
	if f.kind != faultIsolate {
		how = "died"
	}
	w.tally.count("%s %s", victims[c.victim], how)
	w.tally.count("%s %s: %s", victims[c.victim], how, points[c.point])
	w.tally.count("somebody of a %s %s", what, how)
}

// checkLosses holds the default schedules to what they are for.
func (y *tally) checkLosses(t *testing.T) {
	for _, v := range victims {
		for _, how := range []string{"died", "was cut off"} {
			if y.of(v+" "+how) == 0 {
				t.Errorf("in no change of all schedules %s %s", v, how)
			}
		}
	}
	for _, p := range points {
		if y.of(p) == 0 {
			t.Errorf("never in all schedules: a fault when %s", p)
		}
	}
	for _, what := range []string{"scale out", "scale in", "drain", "move"} {
		if y.of("somebody of a "+what+" died") == 0 {
			t.Errorf("in no %s of all schedules somebody died", what)
		}
	}
}

// figureOf is a figure of an entry of a history, "" when it has none.
func figureOf(h *raftfsm.Entry, key string) string {
	i := slices.IndexFunc(h.Figures, func(f raftfsm.KV) bool { return f.Key == key })
	if i < 0 {
		return ""
	}
	return h.Figures[i].Value
}

// amongInstances says whether one is among instances as a history writes them, in ranges.
func amongInstances(list string, one uint64) bool {
	for part := range strings.SplitSeq(list, ",") {
		var from, to uint64
		if _, err := fmt.Sscanf(part, "%d-%d", &from, &to); err == nil && from <= one && one <= to {
			return true
		}
	}
	return false
}
