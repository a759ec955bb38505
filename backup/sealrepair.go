package backup

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// repairInterval is how often members are looked at without a wake-up.
	repairInterval = time.Second
	// repairRetry is the wait after a proposal that failed.
	repairRetry = 100 * time.Millisecond
	// changeTimeout is how long the cluster may take to agree on a change. A later agreement does no harm.
	changeTimeout = 5 * time.Second
	// shunTime is how long a process is not chosen after it turned out to be of no use.
	shunTime = 30 * time.Second
)

func containsProcess(all []topology.Process, p topology.Process) bool { return slices.Contains(all, p) }

// repairLoop keeps the set as it should be until the writer ends.
func (w *SealWriter) repairLoop() {
	shunned := map[topology.Process]time.Time{}
	timer := time.NewTimer(repairInterval)
	defer timer.Stop()
	for {
		select {
		case <-w.wake:
		case <-timer.C:
		case <-w.ctx.Done():
			return
		}
		timer.Reset(w.repair(shunned))
	}
}

// repair takes the next step towards a set of vaults that work: it starts copies, or proposes a set when they are complete. It
// returns when to look again.
func (w *SealWriter) repair(shunned map[topology.Process]time.Time) time.Duration {
	set, known := w.config.Sets(w.config.Set.Log)
	if !known { // the query has ended, or its log is not seen here yet: there is no set to change
		return repairInterval
	}
	w.take(set, false)
	candidates := w.config.Candidates()
	w.mu.Lock()
	if w.err != nil || w.closed || w.promised > w.term { // a change is proposed under the log's term only
		w.mu.Unlock()
		return repairInterval
	}
	w.shun(shunned)
	want := w.choose(candidates, shunned)
	w.leave(want...)
	// While another set is proposed whose answer was lost its members count too, also one that has died since: to name the present set anew
	// makes that proposal one for a version that is past.
	renews := slices.Equal(want, w.set.Members)
	if renews && len(w.proposed) == 0 {
		raised := w.raise() // somebody may have been left
		w.mu.Unlock()
		raised()
		return repairInterval
	}
	for _, p := range want {
		w.follow(p)
	}
	set, term, ready := w.set, w.term, renews || w.copied(want)
	if ready && !renews {
		for _, p := range want {
			w.proposed[p] = true
		}
	}
	raised := w.raise()
	w.mu.Unlock()
	raised()
	if !ready {
		return repairInterval
	}
	ctx, cancel := context.WithTimeout(w.ctx, changeTimeout)
	defer cancel()
	got, err := w.config.ChangeSet(ctx, set.Log, term, set.Version, want)
	if err != nil {
		if _, known = w.config.Sets(set.Log); !known { // it has ended meanwhile
			return repairInterval
		}
		if w.ctx.Err() == nil {
			w.log.Warn("new vaults of a seal log are not agreed on yet", "query", w.config.Query, "log", set.Log, "vaults", want, "error", err)
		}
		return repairRetry
	}
	w.take(got, false)
	return repairRetry
}

// shun notes processes that turned out to be of no use, so that they are not chosen again at once; w.mu is held.
func (w *SealWriter) shun(shunned map[topology.Process]time.Time) {
	now := time.Now()
	for p, m := range w.members {
		if m.ails(now) {
			shunned[p] = now.Add(shunTime)
			if !containsProcess(w.set.Members, p) && !w.proposed[p] {
				m.cancel()
				delete(w.members, p)
			}
		}
	}
	for p, until := range shunned {
		if !now.Before(until) {
			delete(shunned, p)
		}
	}
}

// choose gives the members that the log should have, in a stable order: the present ones that work in their places, others in
// those of the rest. A member without room goes without a substitute too, as long as one that works remains: nothing would be durable
// otherwise. It is a candidate again after shunTime. It gives the present set when nothing better is to be had. w.mu is held.
func (w *SealWriter) choose(candidates []topology.Process, shunned map[topology.Process]time.Time) []topology.Process {
	var fresh []topology.Process // that may take a place
	for _, p := range candidates {
		if _, bad := shunned[p]; !bad && p != w.config.Self && w.config.Alive(p) && !containsProcess(w.set.Members, p) {
			fresh = append(fresh, p)
		}
	}
	slices.SortFunc(fresh, func(a, b topology.Process) int { return w.compareFresh(a, b) })
	var want []topology.Process
	take := func(ok func(p topology.Process) bool) bool {
		i := slices.IndexFunc(fresh, func(p topology.Process) bool {
			return ok(p) && !slices.ContainsFunc(want, func(q topology.Process) bool { return q.Node == p.Node })
		})
		if i >= 0 {
			want = append(want, fresh[i])
			fresh = slices.Delete(fresh, i, i+1)
		}
		return i >= 0
	}
	var spare []topology.Process // members that work but should go when there are others
	places, now := 0, time.Now()
	for _, p := range w.set.Members {
		m := w.members[p]
		switch lives := w.config.Alive(p) && m != nil && !m.broken; {
		case !lives:
			places++
		case p == w.config.Self || !slices.Contains(candidates, p) || m.ails(now):
			places++
			spare = append(spare, p)
		default:
			want = append(want, p)
		}
	}
	places = max(places, w.config.Copies-len(want))
	// A node that has restarted is the first choice for its former place: it has most of the log on disk.
	for _, p := range w.set.Members {
		if places > 0 && !w.config.Alive(p) && take(func(q topology.Process) bool { return q.Node == p.Node && w.standing(q) < standingFails }) {
			places--
		}
	}
	for places > 0 && take(func(topology.Process) bool { return true }) {
		places--
	}
	// A member that leaves has to be let go, also when only this process can take its place.
	selfTakes := w.config.Alive(w.config.Self) && slices.Contains(candidates, w.config.Self)
	works := len(want) > 0
	for _, p := range spare {
		if m := w.members[p]; works && m.full() {
			continue
		}
		if leaves := p != w.config.Self && !slices.Contains(candidates, p); leaves && (len(want) > 0 || selfTakes) {
			continue
		}
		if places > 0 && !slices.ContainsFunc(want, func(q topology.Process) bool { return q.Node == p.Node }) && (p != w.config.Self || len(want) == 0) {
			want = append(want, p)
			places--
		}
	}
	if len(want) == 0 && w.config.Alive(w.config.Self) && slices.Contains(candidates, w.config.Self) {
		want = append(want, w.config.Self)
	}
	if len(want) == 0 || w.sameMembers(want) {
		return w.set.Members
	}
	return want
}

func (w *SealWriter) sameMembers(want []topology.Process) bool {
	return len(want) == len(w.set.Members) && !slices.ContainsFunc(want, func(p topology.Process) bool { return !containsProcess(w.set.Members, p) })
}

// Standings of a process that may take a place, the best first.
const (
	standingCopies = iota // it is being brought up
	standingUntried
	standingFails // it is alive and does not take the log: one that has just started, say, and reads its disk
)

// standing of a process that is no member yet; w.mu is held.
func (w *SealWriter) standing(p topology.Process) int {
	switch m := w.members[p]; {
	case m == nil:
		return standingUntried
	case !m.joined && m.err != nil:
		return standingFails
	}
	return standingCopies
}

// compareFresh puts those that are being brought up first and those that do not take the log last, then orders by rendezvous hash: seals are
// not released before the place is taken, so nobody is waited for where another one can have it.
func (w *SealWriter) compareFresh(a, b topology.Process) int {
	if x, y := w.standing(a), w.standing(b); x != y {
		return x - y
	}
	if x, y := w.weight(a), w.weight(b); x != y {
		if x > y {
			return -1
		}
		return 1
	}
	return compareProcesses(a, b)
}

func (w *SealWriter) weight(p topology.Process) uint64 {
	b := binary.LittleEndian.AppendUint64(nil, w.config.Query.Incarnation)
	b = binary.LittleEndian.AppendUint64(b, uint64(w.config.Set.Log))
	return xxh3.Hash(append(b, p.Node...))
}

// copied says whether all of want hold what is released and have fsynced what is durable, so that the promises of the marks hold
// for want alone. w.mu is held.
func (w *SealWriter) copied(want []topology.Process) bool {
	for _, p := range want {
		m := w.members[p]
		if m == nil || m.broken || w.start != 0 && (!m.joined || m.held < w.released || m.done < w.durable) {
			return false
		}
	}
	return true
}
