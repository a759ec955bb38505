package coordinator

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// QueryMemory is what the steps remember of a query. The zero value is a new leader's.
type QueryMemory struct {
	ID topology.QueryID
	// WaitsMs is since when a node says that it waits, 0 when none does.
	WaitsMs int64
	// RecoversMs is since when something is recovered without a break, 0 when nothing is.
	RecoversMs int64
	Commits    []Commit     // of the last reassignments
	Shadows    []ShadowSeen // ascending by instance
	Tried      []Tried
	Lagging    []Lagging
	Used       []Used // by processes whose neighbours may become one
}

// lostOf gives the processes whose partitions of q must go elsewhere: those that do not live, and among the others those that are
// blamed, if somebody else can take theirs.
func (v *View) lostOf(q *raftfsm.Query) (lost, blamed []topology.Process) {
	eachAssignment(q, func(_ topology.StageID, a *topology.Assignment) bool {
		switch {
		case slices.Contains(lost, a.Process) || slices.Contains(blamed, a.Process):
		case !v.State.Lives(a.Process):
			lost = append(lost, a.Process)
		case v.blamed(v.State.Node(a.Process.Node)):
			blamed = append(blamed, a.Process)
		}
		return true
	})
	slices.SortFunc(lost, compareProcess)
	slices.SortFunc(blamed, compareProcess)
	return lost, blamed
}

// Recover puts the ranges of lost processes on others, all of a query at once, or says what the query waits for.
func Recover(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	if !placed(q.State) {
		return d
	}
	lost, blamed := v.lostOf(q)
	if why := v.resolves(q, lost, m); why != "" {
		d.wait(q, why)
		return d
	}
	if len(lost)+len(blamed) == 0 {
		return d.resume(v, q, raftfsm.Waiting)
	}
	h := v.newHosts(q.Fingerprint, nil)
	if h.none() {
		if len(lost) > 0 {
			d.wait(q, fmt.Sprintf("%s lost, and no node takes its partitions; a node with fingerprint %s that joins", nodeNames(lost), q.Fingerprint))
		}
		return d
	}
	k, culprit := v.reassign(h, q, lost, blamed)
	if culprit != "" && canFail(q.State) {
		if v.mayLive(append(diedBefore(q, lost), lost...)) {
			return d // it is known soon
		}
		d.command(&raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Failed, Reason: cut(culprit)})
		return d
	}
	d.command(k)
	m.committing(v, q)
	return d
}

// reassign puts what lost and blamed processes have of a query on hosts; culprit names the query of death.
func (v *View) reassign(h *hosts, q *raftfsm.Query, lost, blamed []topology.Process) (k *raftfsm.Reassign, culprit string) {
	k = &raftfsm.Reassign{Query: q.ID, Version: q.Version, Lost: slices.Concat(lost, blamed)}
	var owners []topology.Process
	for s, st := range q.Stages {
		for i := range st.Partitions {
			a := &st.Partitions[i]
			if !slices.Contains(k.Lost, a.Process) {
				continue
			}
			moves, text := v.moves(h, q, topology.StageID(s), a)
			k.Moves = append(k.Moves, moves...)
			if text != "" && culprit == "" {
				culprit = text
			}
			if st.Source {
				for _, mv := range moves {
					owners = append(owners, mv.Process)
				}
			}
		}
	}
	if q.State != raftfsm.Finished {
		k.Seals = v.sealGrants(q.ID.Incarnation, q, owners)
	}
	k.Why = cut(v.whyLost(lost, blamed))
	k.DetectMs = v.detectMs(k.Lost)
	return k, culprit
}

// moves gives the range of one lost partition to others; text names the query of death.
func (v *View) moves(h *hosts, q *raftfsm.Query, s topology.StageID, a *topology.Assignment) (moves []raftfsm.Move, text string) {
	st := q.Stages[s]
	died, text := v.deaths(q, s, a)
	bytes := int64(-1)
	if r := v.active(q, s, a); r != nil && r.Range.Len() > 0 {
		bytes = r.StateBytes / int64(r.Range.Len()) * int64(a.Range.Len())
	}
	if died.count > 0 {
		on := v.queriesOn(a.Process)
		h = h.apart(slices.Index(on, q), len(on))
	}
	give := func(r topology.Range, p topology.Process) {
		moves = append(moves, raftfsm.Move{Stage: s, Range: r, Process: p, Restore: q.Complete, Deaths: died.count, DiedAt: died.at, Died: died.last})
	}
	rest := a.Range.From // from where on nobody has it yet
	anew := func(to topology.KeyGroup) {
		if rest >= to {
			return
		}
		gap := topology.Range{From: rest, To: to}
		share := func(r topology.Range) int64 {
			if bytes < 0 {
				return bytes
			}
			return bytes * int64(r.Len()) / int64(a.Range.Len())
		}
		for _, r := range h.pieces(gap, share(gap)) {
			give(r, h.choose(st.Source, max(0, share(r)), blockMembers(st, r), q.ID.Incarnation, uint64(s), uint64(r.From)))
		}
	}
	for _, sh := range v.successors(q, s, a.Range, nil) { // what is being brought up takes over
		anew(sh.Range.From)
		give(sh.Range, sh.Process)
		rest = sh.Range.To
	}
	anew(a.Range.To)
	return moves, text
}

// deaths are the processes that died one after the other at the same place of a range.
type deaths struct {
	count int
	at    topology.Epoch // the last that the first of them is known to have done
	last  topology.Process
}

// deaths counts the processes that died of a range, and gives the text of the failure when they are too many. Who had caught up or ended
// got past that place. A process that is only blamed or out of reach, or that this leader never heard of, did not die of its input as far
// as one can tell; nor did one that lives.
func (v *View) deaths(q *raftfsm.Query, s topology.StageID, a *topology.Assignment) (d deaths, text string) {
	before := deaths{a.Deaths, a.DiedAt, a.Died}
	if before.count > 0 && v.State.Lives(a.Died) {
		before.count, before.last = before.count-1, topology.Process{}
	}
	if before.count == 0 {
		before = deaths{}
	}
	if v.State.Lives(a.Process) || v.report(a.Process) == nil || !v.died(a.Process) {
		return before, ""
	}
	r := v.active(q, s, a)
	switch {
	case r != nil && r.Phase == PhaseEnded:
		return deaths{}, ""
	case before.count == 0 && (r == nil || r.Phase == PhaseRestoring):
		return deaths{}, "" // nothing is known of where it was
	case before.count == 0 || r != nil && r.Phase == PhaseRunning:
		return deaths{1, r.Epoch, a.Process}, ""
	}
	d = deaths{before.count + 1, before.at, a.Process}
	enough := suspectDeaths // it may have been killed before it had a row
	if r == nil {
		enough = unheardDeaths // or together with the one before it
	}
	if r != nil && r.Phase == PhaseCatchingUp {
		switch {
		case r.Epoch >= d.at-sameEpochs && r.Epoch <= d.at+sameEpochs:
			if !v.shared(q, a.Process) {
				enough = sameRowDeaths
			}
		case r.Epoch > r.Restored+firstEpochs:
			return deaths{1, r.Epoch, a.Process}, "" // elsewhere
		}
	}
	if d.count >= enough {
		text = deathText(q, s, a, d.at)
	}
	return d, text
}

// died says whether a process that does not live has ended, as far as one can tell: another has its node's name, or its connections
// ended and it did not just fall silent.
func (v *View) died(p topology.Process) bool {
	return v.replaced(p) || slices.ContainsFunc(v.Losses, func(l Loss) bool { return l.Process == p && l.Died })
}

// replaced says that p is gone for certain: another process has its node's name.
func (v *View) replaced(p topology.Process) bool {
	n := v.State.Node(p.Node)
	return n == nil || n.Boot != p.Boot
}

// mayLive says whether one of some processes was found lost so lately that it may come back, and only its connection has ended: a process that
// lives joins again as soon as it hears of its loss.
func (v *View) mayLive(gone []topology.Process) bool {
	return slices.ContainsFunc(v.Losses, func(l Loss) bool {
		return v.NowMs-l.AtMs < v.Timing.Silence && slices.Contains(gone, l.Process) && !v.replaced(l.Process)
	})
}

// diedBefore are those that are taken to have died of ranges before processes that are lost.
func diedBefore(q *raftfsm.Query, lost []topology.Process) (before []topology.Process) {
	eachAssignment(q, func(_ topology.StageID, a *topology.Assignment) bool {
		if a.Deaths > 0 && slices.Contains(lost, a.Process) {
			before = append(before, a.Died)
		}
		return true
	})
	return before
}

// shared says whether another query with a range whose processes die is on p too: then it is not known which of them it was.
func (v *View) shared(q *raftfsm.Query, p topology.Process) bool {
	return slices.ContainsFunc(v.queriesOn(p), func(other *raftfsm.Query) bool {
		died := false
		eachAssignment(other, func(_ topology.StageID, a *topology.Assignment) bool {
			died = a.Process == p && a.Deaths > 0
			return !died
		})
		return died && other.ID != q.ID
	})
}

// queriesOn are the queries with active partitions on p, by name.
func (v *View) queriesOn(p topology.Process) []*raftfsm.Query {
	var out []*raftfsm.Query
	for _, q := range v.State.Queries {
		on := false
		eachAssignment(q, func(_ topology.StageID, a *topology.Assignment) bool {
			on = a.Process == p
			return !on
		})
		if on && placed(q.State) {
			out = append(out, q)
		}
	}
	return out
}

func deathText(q *raftfsm.Query, s topology.StageID, a *topology.Assignment, at topology.Epoch) string {
	return fmt.Sprintf("query of death: processes that ran key groups %v of stage %d died one after the other near epoch %d, the last on %s; "+
		"a row there kills them, and it is not placed again", a.Range, s, at, a.Process.Node)
}

// resolves names what would end the waiting of a query for state or seals that no living node has; "" when nothing is missing.
func (v *View) resolves(q *raftfsm.Query, lost []topology.Process, m *QueryMemory) string {
	var missing []string
	say := func(what string, members []topology.Process) {
		if len(missing) < 8 {
			missing = append(missing, fmt.Sprintf("%s: %s with its disk", what, strings.ReplaceAll(nodeNames(members), ", ", " or ")))
		}
	}
	var waits string
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		gone := slices.Contains(lost, a.Process)
		r := v.active(q, s, a)
		if q.Complete > 0 && (gone || r != nil && r.Phase == PhaseRestoring) {
			eachBlock(q.Stages[s], a.Range, func(b topology.BlockID, set *topology.VaultSet) {
				empty := slices.Contains(q.Empty, topology.BlockRef{Stage: s, Block: b}) && q.Complete == q.Since
				if members := slices.Concat(set.Members, set.Former); !empty && !v.reachable(members) {
					say(fmt.Sprintf("block %d of stage %d", b, s), members)
				}
			})
		}
		if q.Stages[s].Source && q.State != raftfsm.Finished {
			for _, set := range q.Seals {
				owned := gone && set.Owner == a.Process && !set.Fenced
				if (owned || slices.Contains(a.Adopt, set.Log)) && !v.reachable(set.Members) {
					say(fmt.Sprintf("seals of %s", set.Owner.Node), set.Members)
				}
			}
		}
		if qr := v.query(a.Process, q.ID); qr != nil && qr.Waiting != "" && waits == "" && !gone {
			waits = fmt.Sprintf("%s waits for %s", a.Process.Node, qr.Waiting)
		}
		return true
	})
	if waits == "" {
		m.WaitsMs = 0
	} else if m.WaitsMs == 0 {
		m.WaitsMs = v.NowMs
	}
	if len(missing) > 0 {
		return strings.Join(slices.Compact(missing), "; ")
	}
	if waits != "" && (v.NowMs-m.WaitsMs >= v.Timing.Waits || q.State == raftfsm.Waiting) {
		return waits
	}
	return ""
}

// reachable says whether a node of one of the members lives, in whatever life: what a vault has is on its node's disk.
func (v *View) reachable(members []topology.Process) bool {
	return slices.ContainsFunc(members, func(p topology.Process) bool {
		_, ok := v.current(p.Node)
		return ok
	})
}

// wait makes a query wait, unless it does so already; a finished one stays finished and says what its tables wait for.
func (d *Decision) wait(q *raftfsm.Query, resolves string) {
	const reason = "state is out of reach"
	k := &raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Waiting, Reason: reason, Resolves: cut(resolves)}
	if q.State == raftfsm.Finished {
		k.State = raftfsm.Finished
	}
	if q.State == k.State && q.Reason == k.Reason && q.Resolves == k.Resolves {
		return
	}
	d.command(k)
	d.Notes = append(d.Notes, Note{Kind: "waiting", Query: q.Name, Text: resolves})
}

// resume takes a query out of a state that was for a time.
func (d Decision) resume(v *View, q *raftfsm.Query, from raftfsm.QueryState) Decision {
	k := &raftfsm.QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: raftfsm.Running}
	switch {
	case q.State == raftfsm.Finished && q.Reason != "" && from == raftfsm.Waiting:
		k.State = raftfsm.Finished
	case q.State != from:
		return d
	case from == raftfsm.Waiting && !v.allRestored(q):
		return d // a new leader does not know yet who waits, nor a partition that has just been placed whether it has to
	case q.WasPaused:
		k.State = raftfsm.Paused
	}
	d.command(k)
	return d
}

// allReported says whether every process with an active partition of q has told of the query.
func (v *View) allReported(q *raftfsm.Query) bool {
	ok := true
	eachAssignment(q, func(_ topology.StageID, a *topology.Assignment) bool {
		ok = v.query(a.Process, q.ID) != nil
		return ok
	})
	return ok
}

// allRestored says whether every active partition of q reports and has its state.
func (v *View) allRestored(q *raftfsm.Query) bool {
	ok := true
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		r := v.active(q, s, a)
		ok = r != nil && r.Phase != PhaseRestoring
		return ok
	})
	return ok
}

// whyLost says in the history who was lost and why.
func (v *View) whyLost(lost, blamed []topology.Process) string {
	var out []string
	for _, p := range slices.Concat(lost, blamed) {
		n := v.State.Node(p.Node)
		switch {
		case n == nil:
			out = append(out, fmt.Sprintf("%s is not known", p.Node))
		case n.Boot != p.Boot:
			out = append(out, fmt.Sprintf("%s has restarted", p.Node))
		default:
			out = append(out, fmt.Sprintf("%s: %s", p.Node, n.Reason))
		}
	}
	return strings.Join(out, "; ")
}

// canFail says whether a query in that state can be made Failed.
func canFail(s raftfsm.QueryState) bool { return placed(s) && s != raftfsm.Finished }

// nodeNames joins the names of at most eight.
func nodeNames(list []topology.Process) string {
	var out []string
	for i, p := range list {
		if i == 8 {
			out = append(out, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		out = append(out, string(p.Node))
	}
	return strings.Join(out, ", ")
}

// cut keeps a text within what the metadata takes.
func cut(text string) string {
	if len(text) <= raftfsm.MaxTextBytes {
		return text
	}
	return strings.ToValidUTF8(text[:raftfsm.MaxTextBytes-3], "") + "..."
}
