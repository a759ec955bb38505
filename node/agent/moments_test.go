package agent

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// moment is a point in the protocol that faults are placed at.
type moment struct {
	name string
	// first is the kind of a fault without which there is no such moment; -1: none is needed.
	first int
	// command is what is about to be committed then; 0: it is seen in what processes and the metadata say.
	command raftfsm.Kind
	// seen gives the node that it is about once it has come.
	seen func(w *trial) (string, bool)
	// chase is what finds it in a change; nil: it is no moment of one.
	chase *chase
}

// moments are where the faults of a system like this one hide.
var moments = []moment{
	{name: "third seal of source 2", first: -1, seen: func(w *trial) (string, bool) { return w.sealing(1, 3) }},
	{name: "shadow caught up", first: faultLeave, seen: func(w *trial) (string, bool) {
		return w.instance(func(p coordinator.PartitionReport) bool {
			return p.Role == coordinator.RoleShadow && p.Phase == coordinator.PhaseRunning
		})
	}},
	{name: "before a switch", first: faultLeave, command: raftfsm.KindSwitch},
	{name: "before a checkpoint is complete", first: -1, command: raftfsm.KindCheckpoint},
	{name: "during another recovery", first: faultKill, seen: func(w *trial) (string, bool) {
		return w.instance(func(p coordinator.PartitionReport) bool {
			return p.Role == coordinator.RoleActive && (p.Phase == coordinator.PhaseRestoring || p.Phase == coordinator.PhaseCatchingUp)
		})
	}},
	{name: "before a reassignment", first: faultKill, command: raftfsm.KindReassign},
	{name: "during a vault's replacement", first: faultKill, seen: (*trial).replacing},
	{name: "before seals are adopted", first: faultKillSource, command: raftfsm.KindSealsAdopted},
	{name: "during a hand-over of seals", first: faultKillSource, seen: (*trial).handingOver},
}

// momentKinds are the faults that are placed at moments.
var momentKinds = []int{faultKill, faultPowerLoss, faultFreeze, faultIsolate, faultSlow, faultOneWay, faultStep}

var kindNames = [faultKinds]string{"kill", "kill of the leader", "kill of two", "power loss", "freeze", "network loss", "one-way partition", "cut between two", "delay",
	"reset", "clock step", "kill of all", "power loss of all", "leave", "kill of a source"}

// drawAtMoment draws a schedule with a fault at a moment: each pair of both comes as n counts up. Others may follow.
func drawAtMoment(n int, r *rand.Rand, names []string) (list []fault) {
	others := drawFaults(r, names)
	m := &moments[n%len(moments)]
	if m.first >= 0 {
		f := others[0]
		f.kind, f.event, f.after, f.lasts = m.first, "", time.Duration(100+r.IntN(400))*time.Millisecond, time.Duration(200+r.IntN(1000))*time.Millisecond
		list = append(list, f)
	}
	f := others[1]
	f.kind, f.event, f.after, f.moment = momentKinds[n/len(moments)%len(momentKinds)], "", time.Second, m
	if m.command != 0 {
		f.event, f.nth = commandEvent(m.command), 1+r.IntN(2)
		if m.first >= 0 {
			f.nth = 1
		}
	}
	f.seconds, f.restarts = []int64{-600, 600}[r.IntN(2)], true
	return append(append(list, f), others[2:min(len(others), 2+r.IntN(3))]...)
}

// instance finds an instance of the query, and the node that it is on.
func (w *trial) instance(is func(p coordinator.PartitionReport) bool) (string, bool) {
	for _, a := range w.running() {
		work := a.working()
		if work == nil {
			continue
		}
		for _, r := range work.queries.all() {
			if slices.ContainsFunc(r.report().Partitions, is) {
				return a.config.Name, true
			}
		}
	}
	return "", false
}

// sealing finds the node of the n-th source partition when that is about to seal an epoch.
func (w *trial) sealing(n int, e topology.Epoch) (string, bool) {
	q := w.latest().Query("q")
	if q == nil {
		return "", false
	}
	for s, st := range q.Stages {
		for _, a := range st.Partitions {
			if !st.Source {
				continue
			}
			if n--; n < 0 {
				return w.instance(func(p coordinator.PartitionReport) bool {
					return p.Stage == topology.StageID(s) && p.Instance == a.Instance && p.Epoch >= e-1 && p.Epoch < e+5
				})
			}
		}
	}
	return "", false
}

// replacing finds a node that was made a vault of state that it does not have yet.
func (w *trial) replacing() (string, bool) {
	if q := w.latest().Query("q"); q != nil {
		for _, st := range q.Stages {
			for _, v := range st.Vaults {
				if len(v.Former) > 0 && len(v.Members) > 0 {
					return string(v.Members[len(v.Members)-1].Node), true
				}
			}
		}
	}
	return "", false
}

// handingOver finds a node that has a source and not yet adopted what its predecessor sealed.
func (w *trial) handingOver() (string, bool) {
	if q := w.latest().Query("q"); q != nil && q.Terms > 0 {
		for s, st := range q.Stages {
			for _, a := range st.Partitions {
				if !st.Source || len(a.Adopt) == 0 {
					continue
				}
				return w.instance(func(p coordinator.PartitionReport) bool {
					return p.Stage == topology.StageID(s) && p.Instance == a.Instance
				})
			}
		}
	}
	return "", false
}

// source is a node that seals, or any.
func (w *trial) source(or string) string {
	if q := w.latest().Query("q"); q != nil {
		for _, st := range q.Stages {
			if st.Source {
				return string(st.Partitions[w.r.IntN(len(st.Partitions))].Process.Node)
			}
		}
	}
	return or
}

// leave asks a node to stop; it is started again some time after it has handed over.
func (w *trial) leave(name string, lasts time.Duration) {
	w.mu.Lock()
	a := w.agents[name]
	w.mu.Unlock()
	if a == nil {
		return
	}
	w.note("%s is asked to stop", name)
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	w.leaving[name] = cancel
	w.leavers.Go(func() {
		defer close(done)
		a.Leave(ctx)
	})
	var look func()
	look = func() {
		select {
		case <-done:
		default:
			if w.is(name, a) {
				w.later(10*time.Millisecond, look)
			}
			return
		}
		if w.is(name, a) {
			w.down(false, name)
			w.later(lasts, func() { w.up(name) })
		}
	}
	w.later(10*time.Millisecond, look)
}

// is says whether the process of a node is still the same.
func (w *trial) is(name string, a *Agent) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.agents[name] == a
}

// tally counts over all schedules what happened.
type tally struct {
	mu     sync.Mutex
	counts map[string]int
}

func (y *tally) count(format string, args ...any) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.counts[fmt.Sprintf(format, args...)]++
}

func (y *tally) of(name string) int {
	y.mu.Lock()
	defer y.mu.Unlock()
	return y.counts[name]
}

// check holds the default schedules to what they are for: each kind of fault and each moment comes, and nearly each pair of both.
func (y *tally) check(t *testing.T) {
	if testing.Short() || os.Getenv("SEEPNODE_ROUNDS") != "" || os.Getenv("SEEPNODE_SEED") != "" || t.Failed() {
		return
	}
	for _, kind := range kindNames {
		if y.of(kind) < 2 {
			t.Errorf("%q happened %d times", kind, y.of(kind))
		}
	}
	pairs := 0
	for _, m := range moments {
		if y.of(m.name) < len(momentKinds)/2 { // whether one comes in time is not part of a seed
			t.Errorf("%q was met %d times", m.name, y.of(m.name))
		}
		for _, kind := range momentKinds {
			if y.of(m.name+", "+kindNames[kind]) > 0 {
				pairs++
			} else {
				t.Logf("%q was not met by %q", m.name, kindNames[kind])
			}
		}
	}
	if all := len(moments) * len(momentKinds); pairs < all*8/10 {
		t.Errorf("%d of %d pairs of a moment and a fault happened", pairs, all)
	}
	for _, name := range slices.Sorted(maps.Keys(y.counts)) {
		t.Logf("%4d %s", y.counts[name], name)
	}
}
