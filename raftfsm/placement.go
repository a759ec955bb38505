package raftfsm

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Reassign puts all ranges of processes that are lost, or that lost the leader's confidence, on others at once. Based on the
// topology's Version and on the epochs restored being neither trimmed nor incomplete. Shadows of these ranges are promoted where a
// move names their range and process, and dropped otherwise, but for standbys of just what moves; so are all shadows on the lost
// processes. A successor of a source adopts the lost process's seal log and those which that had not adopted yet.
type Reassign struct {
	Query   topology.QueryID   `json:"query"`
	Version uint64             `json:"version"`
	Lost    []topology.Process `json:"lost"`
	// Moves tile exactly what the lost processes have; none reaches over two of their partitions.
	Moves []Move      `json:"moves"`
	Seals []SealGrant `json:"seals,omitempty"` // for source processes that have none yet
	Why   string      `json:"why,omitempty"`
	// DetectMs is how long nobody knew of the loss, for the history.
	DetectMs int64 `json:"detect_ms,omitempty"`
}

// What a history's line of a reassignment says of it, for whoever sees its end.
const (
	KindReassigned  = "reassign"       // the line's Kind
	KindShadowed    = "shadow"         // of a ShadowStart
	KindSwitched    = "switch"         // of a Switch
	KindDropped     = "shadow dropped" // of a ShadowDrop
	FigureWhat      = "what"           // a shadow is for: "scale out", "drain", ...
	FigureStage     = "stage"
	whatMove        = "move"
	FigureNode      = "node"             // the nodes whose ranges went to others
	FigureVersion   = "topology_version" // that it was decided on: no two of a query have the same
	FigureInstances = "instances"        // the partitions that it made, as FIRST-LAST, and shadows that it promoted, with commas between
	FigureDetect    = "detect_ms"
)

// Move is a range that another process restores and goes on with.
type Move struct {
	Stage   topology.StageID `json:"stage"`
	Range   topology.Range   `json:"range"`
	Process topology.Process `json:"process"`
	Restore topology.Epoch   `json:"restore"`
	Deaths  int              `json:"deaths,omitempty"`  // see topology.Assignment
	DiedAt  topology.Epoch   `json:"died_at,omitempty"` // see topology.Assignment
	Died    topology.Process `json:"died,omitzero"`     // see topology.Assignment
}

func (*Reassign) Kind() Kind { return KindReassign }

func (k *Reassign) apply(c *change) Outcome {
	q, out := c.openAt(k.Query, k.Version, k.Why)
	if q == nil {
		return out
	}
	if len(k.Lost) == 0 || len(k.Moves) == 0 {
		return refused(Malformed, "query %s: nothing to reassign", q.Name)
	}
	lost := func(p topology.Process) bool { return slices.Contains(k.Lost, p) }
	n := c.edit(q)
	first := n.Instances + 1
	moves := 0
	var promoted []uint64
	for s := range n.Stages {
		st := n.editStage(topology.StageID(s))
		var parts []topology.Assignment
		for _, a := range st.Partitions {
			before := len(parts)
			if !lost(a.Process) {
				parts = append(parts, a)
				continue
			}
			inherit := a.Adopt
			if st.Source && n.seals() {
				inherit = n.fence(a, true)
			}
			at := a.Range.From
			for at < a.Range.To {
				m := k.moveAt(topology.StageID(s), at)
				if m == nil || m.Range.To > a.Range.To || m.Range.Len() <= 0 {
					return refused(BadCoverage, "query %s: stage %d: moves do not tile %v of %v at key group %d", q.Name, s, a.Range, a.Process, at)
				}
				if r, text := c.runs(q, m.Process); r != NoReason {
					return refused(r, "query %s: stage %d %v: %s", q.Name, s, m.Range, text)
				}
				to, out := n.start(st, m)
				if out.Code != 0 {
					return out
				}
				to.Adopt = inherit
				if to.Instance < first {
					promoted = append(promoted, to.Instance)
				}
				parts = append(parts, to)
				at = m.Range.To
				moves++
			}
			st.Shadows = without(st.Shadows, func(sh topology.Shadow) bool { return sh.Range.Overlaps(a.Range) && !sh.StaysBeside(parts[before:]) })
		}
		st.Partitions = parts
		st.Shadows = without(st.Shadows, func(sh topology.Shadow) bool { return lost(sh.Process) })
		st.Retired = without(st.Retired, func(r topology.Retired) bool { return lost(r.Process) })
	}
	if moves == 0 || moves != len(k.Moves) {
		return refused(BadCoverage, "query %s: %d of %d moves are of key groups that %v has", q.Name, moves, len(k.Moves), k.Lost)
	}
	if out := c.grant(n, k.Seals); out.Code != 0 {
		return out
	}
	n.Version++
	n.note(c, KindReassigned, k.Why, "%d ranges of %s to %s", moves, processNames(k.Lost), moveNames(k.Moves))
	n.History[len(n.History)-1].Figures = []KV{{FigureNode, processNames(k.Lost)}, {FigureVersion, strconv.FormatUint(k.Version, 10)},
		{FigureInstances, instanceNames(first, n.Instances, promoted)}, {FigureDetect, strconv.FormatInt(k.DetectMs, 10)}}
	return applied(first)
}

// instanceList names the instances of partitions.
func instanceList(list []topology.Assignment) string {
	var others []uint64
	for _, a := range list {
		others = append(others, a.Instance)
	}
	return instanceNames(1, 0, others)
}

// instanceNames names the instances from first to last, if there are any, and some of the others.
func instanceNames(first, last uint64, others []uint64) string {
	const most = 64
	var parts []string
	if first <= last {
		parts = append(parts, fmt.Sprintf("%d-%d", first, last))
	}
	for _, x := range others[:min(most, len(others))] {
		parts = append(parts, fmt.Sprintf("%d-%d", x, x))
	}
	return strings.Join(parts, ",")
}

// moveAt is the move of stage s that begins at key group g, or nil.
func (k *Reassign) moveAt(s topology.StageID, g topology.KeyGroup) *Move {
	i := slices.IndexFunc(k.Moves, func(m Move) bool { return m.Stage == s && m.Range.From == g })
	if i < 0 {
		return nil
	}
	return &k.Moves[i]
}

// start gives the active partition that a move makes: a shadow of the same range and process goes on as it.
func (q *Query) start(st *Stage, m *Move) (topology.Assignment, Outcome) {
	lowest, instance := q.TrimPoint(), uint64(0)
	for _, sh := range st.Shadows {
		if sh.Range == m.Range && sh.Process == m.Process {
			lowest, instance = sh.Restore, sh.Instance
		}
	}
	if m.Restore < lowest || m.Restore > q.Complete {
		return topology.Assignment{}, stale(BadEpoch, "query %s: %v restores epoch %d; epochs %d to %d are kept and complete",
			q.Name, m.Range, m.Restore, lowest, q.Complete)
	}
	if instance == 0 {
		q.Instances++
		instance = q.Instances
	}
	return topology.Assignment{Range: m.Range, Process: m.Process, Instance: instance, Restore: m.Restore, Deaths: max(0, m.Deaths), DiedAt: max(0, m.DiedAt), Died: m.Died}, Outcome{}
}

// fence raises the term of the seal log of a's process, so that a successor can fence it, and gives the logs that the successor
// adopts: those that a was to adopt and this one. With all set the process writes no more to it.
func (q *Query) fence(a topology.Assignment, all bool) []topology.SealLog {
	// A process that is to adopt its own log, because it had given key groups away and got them back, has it in both.
	plus := func(log topology.SealLog) []topology.SealLog {
		return append(without(a.Adopt, func(l topology.SealLog) bool { return l == log }), log)
	}
	i := slices.IndexFunc(q.Seals, func(s topology.SealSet) bool { return s.Owner == a.Process && !s.Fenced })
	if i >= 0 {
		q.Seals = slices.Clone(q.Seals)
		q.Terms++
		q.Seals[i].Term = q.Terms
		q.Seals[i].Fenced = all
		return plus(q.Seals[i].Log)
	}
	// It was fenced before in this command, for another of the process's partitions: its last log is the one.
	for j := len(q.Seals) - 1; j >= 0; j-- {
		if q.Seals[j].Owner == a.Process {
			return plus(q.Seals[j].Log)
		}
	}
	return slices.Clone(a.Adopt)
}

// ShadowStart begins to bring up other processes for ranges of a stage. Based on the topology's Version and on the epoch
// restored. Standby shadows of key groups of a range give way to any other, but for those of just that range: one on that process goes on as the
// other, with what it has, and those on other processes stay. A process that runs key groups of a range is refused, unless its neighbouring
// partitions become one: see Stage.Merges.
type ShadowStart struct {
	Query   topology.QueryID `json:"query"`
	Version uint64           `json:"version"`
	Stage   topology.StageID `json:"stage"`
	Parts   []Part           `json:"parts"`
	Restore topology.Epoch   `json:"restore"`
	Purpose topology.Purpose `json:"purpose,omitempty"`
	// What the change is, in a word or two, for the history; Why and Figures say the reason.
	What    string `json:"what,omitempty"`
	Why     string `json:"why,omitempty"`
	Figures []KV   `json:"figures,omitempty"`
}

func (*ShadowStart) Kind() Kind { return KindShadow }

func (k *ShadowStart) apply(c *change) Outcome {
	q, out := c.openStage(k.Query, k.Version, k.Stage, k.Why)
	if q == nil {
		return out
	}
	if len(k.Parts) == 0 || len(k.What) > MaxNameBytes || len(k.Figures) > MaxSettings || k.Purpose > topology.ForSpeed {
		return refused(Malformed, "query %s: no ranges to shadow, or too much said of them", q.Name)
	}
	if trim := q.TrimPoint(); k.Restore < trim || k.Restore > q.Complete {
		return stale(BadEpoch, "query %s: restore epoch %d; epochs %d to %d are kept and complete", q.Name, k.Restore, trim, q.Complete)
	}
	n := c.edit(q)
	st := n.editStage(k.Stage)
	first := n.Instances + 1
	var goOn []uint64 // instances of standby shadows
	for _, p := range k.Parts {
		if r, text := c.runs(q, p.Process); r != NoReason {
			return refused(r, "query %s: stage %d %v: %s", q.Name, k.Stage, p.Range, text)
		}
		merges := k.Purpose == topology.ForChange && st.Merges(p.Range, p.Process)
		for _, a := range st.Partitions {
			if a.Process == p.Process && a.Range.Overlaps(p.Range) && !merges {
				return refused(BadCoverage, "query %s: stage %d: %v already runs key groups of %v", q.Name, k.Stage, p.Process, p.Range)
			}
		}
		fresh := topology.Shadow{Range: p.Range, Process: p.Process, Restore: k.Restore, Purpose: k.Purpose}
		var rest []topology.Shadow
		for _, s := range st.Shadows {
			switch {
			case !s.Range.Overlaps(p.Range), s.Purpose == topology.ForStandby && s.GoesWith(&fresh):
				rest = append(rest, s)
			case s.Purpose != topology.ForStandby || k.Purpose == topology.ForStandby:
				return refused(ChangePending, "query %s: stage %d: key groups of %v have a pending change already", q.Name, k.Stage, p.Range)
			case s.Range == p.Range && s.Process == p.Process:
				fresh.Instance, fresh.Restore = s.Instance, s.Restore
				goOn = append(goOn, s.Instance)
			}
		}
		if fresh.Instance == 0 {
			n.Instances++
			fresh.Instance = n.Instances
		}
		st.Shadows = append(rest, fresh)
	}
	slices.SortFunc(st.Shadows, func(a, b topology.Shadow) int {
		return cmp.Or(cmp.Compare(a.Range.From, b.Range.From), cmp.Compare(a.Instance, b.Instance))
	})
	n.Version++
	n.note(c, KindShadowed, k.Why, "%s: %s to be brought up, from epoch %d", n.StageName(k.Stage), partNames(k.Parts), k.Restore)
	e := &n.History[len(n.History)-1]
	e.Figures = append([]KV{{FigureWhat, cmp.Or(k.What, whatMove)}, {FigureInstances, instanceNames(first, n.Instances, goOn)}}, k.Figures...)
	return applied(first)
}

// ShadowDrop gives up the shadow of an instance, or all within a range. Based on the topology's Version; with none there it is so Already.
type ShadowDrop struct {
	Query   topology.QueryID `json:"query"`
	Version uint64           `json:"version"`
	Stage   topology.StageID `json:"stage"`
	Range   topology.Range   `json:"range"`
	// Instance is the one within the range that is given up; 0: all.
	Instance uint64 `json:"instance,omitempty"`
	Why      string `json:"why,omitempty"`
}

func (*ShadowDrop) Kind() Kind { return KindShadowDrop }

func (k *ShadowDrop) apply(c *change) Outcome {
	q, out := c.openStage(k.Query, k.Version, k.Stage, k.Why)
	if q == nil {
		return out
	}
	within := func(s topology.Shadow) bool {
		return s.Range.From >= k.Range.From && s.Range.To <= k.Range.To && (k.Instance == 0 || s.Instance == k.Instance)
	}
	if !slices.ContainsFunc(q.Stages[k.Stage].Shadows, within) {
		return already(q.Version)
	}
	n := c.edit(q)
	st := n.editStage(k.Stage)
	st.Shadows = without(st.Shadows, within)
	n.Version++
	n.note(c, KindDropped, k.Why, "%s %v", n.StageName(k.Stage), k.Range)
	return applied(n.Version)
}

// Switch makes the shadows of a range its active partitions, all at once; standbys of just the same ranges stay what they are. Based on the
// topology's Version and on the shadows being exactly Parts; that their chains equal the old ones' at AtEpoch is for the proposer to have
// seen. Partitions that reach beyond the range keep the rest, undisturbed.
type Switch struct {
	Query   topology.QueryID `json:"query"`
	Version uint64           `json:"version"`
	Stage   topology.StageID `json:"stage"`
	Range   topology.Range   `json:"range"`
	Parts   []SwitchPart     `json:"parts"` // ascending; they tile Range
	AtEpoch topology.Epoch   `json:"at_epoch"`
	Seals   []SealGrant      `json:"seals,omitempty"`
	Why     string           `json:"why,omitempty"`
}

// SwitchPart is a shadow and the complete epoch it really started from: deltas may have brought it beyond its Restore.
type SwitchPart struct {
	Instance uint64         `json:"instance"`
	From     topology.Epoch `json:"from"`
}

func (*Switch) Kind() Kind { return KindSwitch }

func (k *Switch) apply(c *change) Outcome {
	q, out := c.openStage(k.Query, k.Version, k.Stage, k.Why)
	if q == nil {
		return out
	}
	n := c.edit(q)
	st := n.editStage(k.Stage)
	fresh, out := k.promote(c, q)
	if out.Code != 0 {
		return out
	}
	rest, cut := carve(st.Partitions, k.Range)
	st.Shadows = without(st.Shadows, func(s topology.Shadow) bool { return s.Range.Overlaps(k.Range) && !s.StaysBeside(fresh) })
	if st.Source && n.seals() {
		for i := range fresh {
			if fresh[i].Adopt, out = n.adopt(st, fresh[i].Range, cut, rest); out.Code != 0 {
				return out
			}
		}
	}
	st.Retired = slices.Clone(st.Retired)
	for _, a := range cut {
		var until topology.Epoch
		for _, f := range fresh {
			if f.Range.Overlaps(a.Range) {
				until = max(until, f.Restore)
			}
		}
		if c.state.Lives(a.Process) {
			st.Retired = append(st.Retired, topology.Retired{Range: a.Range, Process: a.Process, Instance: a.Instance, Until: until})
		}
	}
	st.Partitions = append(rest, fresh...)
	sortAssignments(st.Partitions)
	if out := c.grant(n, k.Seals); out.Code != 0 {
		return out
	}
	n.Version++
	n.note(c, KindSwitched, k.Why, "%s %v to %s at epoch %d", n.StageName(k.Stage), k.Range, assignmentNames(fresh), k.AtEpoch)
	e := &n.History[len(n.History)-1]
	e.Figures = []KV{{FigureStage, strconv.Itoa(int(k.Stage))}, {FigureInstances, instanceList(fresh)}, {FigureVersion, strconv.FormatUint(k.Version, 10)}}
	return applied(n.Version)
}

// promote gives the active partitions that the shadows of q become.
func (k *Switch) promote(c *change, q *Query) ([]topology.Assignment, Outcome) {
	var fresh []topology.Assignment
	next := k.Range.From
	for _, s := range q.Stages[k.Stage].Shadows {
		if !s.Range.Overlaps(k.Range) || s.Purpose == topology.ForStandby {
			continue
		}
		i := len(fresh)
		if i >= len(k.Parts) || k.Parts[i].Instance != s.Instance || s.Range.From != next || s.Range.To > k.Range.To {
			return nil, refused(NoSuchShadow, "query %s: stage %d: the shadows within %v are not those named", q.Name, k.Stage, k.Range)
		}
		from := k.Parts[i].From
		if from < s.Restore || from > q.Complete {
			return nil, refused(BadEpoch, "query %s: stage %d: shadow %v started from epoch %d, outside %d to %d", q.Name, k.Stage, s.Range, from, s.Restore, q.Complete)
		}
		if r, text := c.runs(q, s.Process); r != NoReason {
			return nil, refused(r, "query %s: stage %d %v: %s", q.Name, k.Stage, s.Range, text)
		}
		fresh = append(fresh, topology.Assignment{Range: s.Range, Process: s.Process, Instance: s.Instance, Restore: from})
		next = s.Range.To
	}
	if len(fresh) == 0 || len(fresh) != len(k.Parts) || next != k.Range.To {
		return nil, refused(NoSuchShadow, "query %s: stage %d: shadows do not tile %v", q.Name, k.Stage, k.Range)
	}
	return fresh, Outcome{}
}

// adopt fences the logs of the former owners of a source range and gives what its new owner adopts. An owner that keeps other
// key groups goes on writing under the new term.
func (q *Query) adopt(st *Stage, r topology.Range, cut, rest []topology.Assignment) ([]topology.SealLog, Outcome) {
	var logs []topology.SealLog
	for _, a := range cut {
		if !a.Range.Overlaps(r) {
			continue
		}
		if logs != nil {
			return nil, refused(NoSeals, "query %s: source range %v has several owners: move each of them", q.Name, r)
		}
		logs = q.fence(a, !q.owns(st, a.Process, rest))
	}
	return logs, Outcome{}
}

// owns says whether p has source key groups among rest or in another stage than st.
func (q *Query) owns(st *Stage, p topology.Process, rest []topology.Assignment) bool {
	has := func(a topology.Assignment) bool { return a.Process == p }
	if slices.ContainsFunc(rest, has) {
		return true
	}
	for _, other := range q.Stages {
		if other != st && other.Source && slices.ContainsFunc(other.Partitions, has) {
			return true
		}
	}
	return false
}

// open gives a query that still gets partitions for reading, or what to answer.
func (c *change) open(id topology.QueryID, why string) (*Query, Outcome) {
	q, out := c.find(id)
	switch {
	case q == nil:
		return nil, out
	case q.State.stopped():
		return nil, refused(BadTransition, "query %s is %v", q.Name, q.State)
	case len(why) > MaxTextBytes:
		return nil, refused(OverLimit, "the reason has %d bytes, more than %d", len(why), MaxTextBytes)
	}
	return q, Outcome{}
}

// openAt is open for a command that is based on a version of the topology.
func (c *change) openAt(id topology.QueryID, version uint64, why string) (*Query, Outcome) {
	q, out := c.open(id, why)
	if q != nil && q.Version != version {
		return nil, stale(OldVersion, "query %s has topology version %d, not %d", q.Name, q.Version, version)
	}
	return q, out
}

func (c *change) openStage(id topology.QueryID, version uint64, s topology.StageID, why string) (*Query, Outcome) {
	q, out := c.openAt(id, version, why)
	if q != nil && int(s) >= len(q.Stages) {
		return nil, refused(Malformed, "query %s has %d stages, none %d", q.Name, len(q.Stages), s)
	}
	return q, out
}

// carve takes the range r out of parts: what is left of them, and what was cut out, both ascending.
func carve(parts []topology.Assignment, r topology.Range) (rest, cut []topology.Assignment) {
	for _, a := range parts {
		if !a.Range.Overlaps(r) {
			rest = append(rest, a)
			continue
		}
		if a.Range.From < r.From {
			left := a
			left.Range.To = r.From
			rest = append(rest, left)
		}
		mid := a
		mid.Range = topology.Range{From: max(a.Range.From, r.From), To: min(a.Range.To, r.To)}
		cut = append(cut, mid)
		if a.Range.To > r.To {
			right := a
			right.Range.From = r.To
			rest = append(rest, right)
		}
	}
	return rest, cut
}

func sortAssignments(list []topology.Assignment) {
	slices.SortFunc(list, func(a, b topology.Assignment) int { return int(a.Range.From) - int(b.Range.From) })
}

// named joins at most eight names.
func named[T any](list []T, name func(T) string) string {
	var b strings.Builder
	for i, x := range list {
		if i == 8 {
			fmt.Fprintf(&b, " and %d more", len(list)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name(x))
	}
	return b.String()
}

func processNames(list []topology.Process) string {
	return named(list, func(p topology.Process) string { return string(p.Node) })
}

func moveNames(list []Move) string {
	return named(list, func(m Move) string { return fmt.Sprintf("%s (stage %d %v)", m.Process.Node, m.Stage, m.Range) })
}

func partNames(list []Part) string {
	return named(list, func(p Part) string { return fmt.Sprintf("%v on %s", p.Range, p.Process.Node) })
}

func assignmentNames(list []topology.Assignment) string {
	return named(list, func(a topology.Assignment) string { return fmt.Sprintf("%v on %s", a.Range, a.Process.Node) })
}
