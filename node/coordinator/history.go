package coordinator

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Recovery is one reassignment from the loss to where its ranges run, as the history tells of it.
type Recovery struct {
	Node      string // whose ranges these were
	Version   uint64 // of the topology that it was decided on
	Instances []instances
	DetectMs  int64
	DecidedMs int64 // by the clock of the leader that decided it
}

// instances are those from First to Last.
type instances struct{ First, Last uint64 }

// Commit is how long a reassignment took to be committed, as far as the leader that decided it saw.
type Commit struct {
	Version  uint64 // of the topology that it was decided on
	AtMs     int64  // when it was decided
	CommitMs int64  // -1 until it was seen committed
}

const (
	maxRecoveries = 16 // that are looked at, of one query: the last ones
	recoveredKind = "recovered"
)

// committing notes a reassignment that is being proposed.
func (m *QueryMemory) committing(v *View, q *raftfsm.Query) {
	m.Commits = slices.DeleteFunc(m.Commits, func(c Commit) bool { return c.CommitMs < 0 })
	m.Commits = append(m.Commits, Commit{Version: q.Version, AtMs: v.NowMs, CommitMs: -1})
	m.Commits = m.Commits[max(0, len(m.Commits)-maxRecoveries):]
}

// detectMs is how long nobody knew that these were lost.
func (v *View) detectMs(lost []topology.Process) (ms int64) {
	for _, l := range v.Losses {
		if slices.Contains(lost, l.Process) {
			ms = max(ms, l.DetectMs)
		}
	}
	return ms
}

// Recovered writes a recovery with the times of its phases into the history when all its ranges run. What it is about stands in the
// history too, so any leader sees it to its end; how long it took to commit only the leader knows that decided it. Its pause are all its
// phases together, or how long nothing new came to who takes from the ranges if somebody has said so by then and that was longer.
func Recovered(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	for i, c := range m.Commits {
		if c.CommitMs < 0 && q.Version > c.Version {
			m.Commits[i].CommitMs = max(0, v.NowMs-c.AtMs)
		}
	}
	for _, r := range recoveries(q) {
		x := v.progress(q, &r)
		if x.there == 0 || x.running < x.there {
			continue
		}
		figures := []raftfsm.KV{{Key: raftfsm.FigureNode, Value: r.Node}, {Key: raftfsm.FigureDetect, Value: fmt.Sprint(r.DetectMs)}}
		pauseMs := r.DetectMs + x.restoreMs + x.replayMs
		if i := slices.IndexFunc(m.Commits, func(c Commit) bool { return c.Version == r.Version && c.CommitMs >= 0 }); i >= 0 {
			figures = append(figures, raftfsm.KV{Key: "commit_ms", Value: fmt.Sprint(m.Commits[i].CommitMs)})
			pauseMs += m.Commits[i].CommitMs
		}
		pauseMs = max(pauseMs, x.pauseMs)
		figures = append(figures, raftfsm.KV{Key: "restore_ms", Value: fmt.Sprint(x.restoreMs)}, raftfsm.KV{Key: "replay_ms", Value: fmt.Sprint(x.replayMs)},
			raftfsm.KV{Key: "pause_ms", Value: fmt.Sprint(pauseMs)}, raftfsm.KV{Key: "bytes_moved", Value: fmt.Sprint(x.bytes)},
			raftfsm.KV{Key: "ranges", Value: fmt.Sprint(x.there)}, raftfsm.KV{Key: raftfsm.FigureVersion, Value: fmt.Sprint(r.Version)})
		text := cut(fmt.Sprintf("%d ranges of %s run again", x.there, r.Node))
		if x.there == 1 {
			text = cut(fmt.Sprintf("1 range of %s runs again", r.Node))
		}
		d.command(&raftfsm.HistoryAdd{Query: q.ID, Entries: []raftfsm.Entry{{AtMs: v.NowMs, Kind: recoveredKind, Text: text, Figures: figures}}})
		d.Notes = append(d.Notes, Note{Kind: recoveredKind, Query: q.Name, Text: text, Figures: figures})
	}
	return d
}

// recoveries are the last reassignments in the history of q whose end is not written there, the earliest first.
func recoveries(q *raftfsm.Query) (open []Recovery) {
	var ended []string
	looked := 0
	for i := len(q.History) - 1; i >= 0 && looked < maxRecoveries; i-- {
		e := &q.History[i]
		switch e.Kind {
		case recoveredKind:
			ended = append(ended, figure(e, raftfsm.FigureVersion))
		case raftfsm.KindReassigned:
			looked++
			if r, ok := recoveryOf(e); ok && !slices.Contains(ended, figure(e, raftfsm.FigureVersion)) {
				open = append(open, r)
			}
		}
	}
	slices.Reverse(open)
	return open
}

// recoveryOf reads a line of a history; ok is false when it does not say enough.
func recoveryOf(e *raftfsm.Entry) (r Recovery, ok bool) {
	var err error
	r = Recovery{Node: figure(e, raftfsm.FigureNode), DecidedMs: e.AtMs}
	if r.Version, err = strconv.ParseUint(figure(e, raftfsm.FigureVersion), 10, 64); err != nil {
		return r, false
	}
	r.DetectMs, _ = strconv.ParseInt(figure(e, raftfsm.FigureDetect), 10, 64) // 0 when it is not told
	r.Instances, ok = parseInstances(figure(e, raftfsm.FigureInstances))
	return r, ok
}

func figure(e *raftfsm.Entry, key string) string {
	for _, f := range e.Figures {
		if f.Key == key {
			return f.Value
		}
	}
	return ""
}

// progress is how far a recovery is.
type progress struct {
	there, running      int // ranges that are still where it put them, and those of them that run
	bytes               int64
	restoreMs, replayMs int64
	pauseMs             int64 // -1: nobody says
}

func (v *View) progress(q *raftfsm.Query, r *Recovery) progress {
	out := progress{pauseMs: -1}
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		x := v.active(q, s, a)
		if contains(r.Instances, a.Instance) {
			out.there++
			if x != nil && (x.Phase == PhaseRunning || x.Phase == PhaseEnded) {
				out.running++
				out.bytes, out.restoreMs, out.replayMs = out.bytes+x.RestoredBytes, max(out.restoreMs, x.RestoreMs), max(out.replayMs, x.ReplayMs)
			}
		}
		if x != nil {
			for _, t := range x.Taken {
				if contains(r.Instances, t.Instance) {
					out.pauseMs = max(out.pauseMs, t.PauseMs)
				}
			}
		}
		return true
	})
	return out
}

const (
	switchedKind = "switched"
	// settleMs is how long a switch has to show in reports before the history tells of it, settleMostMs at most; maxSwitches are looked at.
	settleMs, settleMostMs, maxSwitches = 1500, 15_000, 16
)

// Switched writes into the history what a switch came to: how long nothing new came to who takes from its key groups, how much state was
// moved, how long it took. What it is about stands in the history, so any leader does it.
func Switched(v *View, q *raftfsm.Query) Decision {
	var d Decision
	var ended []string
	looked := 0
	for i := len(q.History) - 1; i >= 0 && looked < maxSwitches; i-- {
		e := &q.History[i]
		switch {
		case e.Kind == switchedKind:
			ended = append(ended, figure(e, raftfsm.FigureVersion))
		case e.Kind == raftfsm.KindSwitched:
			looked++
			if age := v.NowMs - e.AtMs; slices.Contains(ended, figure(e, raftfsm.FigureVersion)) || age < settleMs {
				continue
			}
			if entry, ok := v.switched(q, e); ok {
				d.command(&raftfsm.HistoryAdd{Query: q.ID, Entries: []raftfsm.Entry{entry}})
				d.Notes = append(d.Notes, Note{Kind: switchedKind, Query: q.Name, Text: entry.Text, Figures: entry.Figures})
			}
		}
	}
	return d
}

// switched tells of a switch; ok is false while too little is known.
func (v *View) switched(q *raftfsm.Query, e *raftfsm.Entry) (raftfsm.Entry, bool) {
	what, began := "move", e.AtMs
	if start := startOf(q, e); start != nil {
		what, began = figure(start, raftfsm.FigureWhat), start.AtMs
	}
	there, running, bytes, restoreMs, replayMs, pauseMs := 0, 0, int64(0), int64(0), int64(0), int64(-1)
	stage := figure(e, raftfsm.FigureStage)
	list := instancesIn(e)
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		r := v.active(q, s, a)
		if fmt.Sprint(s) == stage && contains(list, a.Instance) {
			there++
			if r != nil {
				running++
				bytes, restoreMs, replayMs = bytes+r.RestoredBytes, max(restoreMs, r.RestoreMs), max(replayMs, r.ReplayMs)
			}
		}
		if r == nil {
			return true
		}
		for _, t := range r.Taken {
			if fmt.Sprint(t.Stage) == stage && contains(list, t.Instance) {
				pauseMs = max(pauseMs, t.PauseMs)
			}
		}
		return true
	})
	if age := v.NowMs - e.AtMs; (running < there || pauseMs < 0) && age < settleMostMs && there > 0 {
		return raftfsm.Entry{}, false
	}
	pause := "a pause that is not known, since no epoch has come"
	figures := []raftfsm.KV{{Key: raftfsm.FigureWhat, Value: what}, {Key: raftfsm.FigureStage, Value: stage}}
	if pauseMs >= 0 {
		pause = fmt.Sprintf("a pause of %d ms", pauseMs)
		figures = append(figures, raftfsm.KV{Key: "pause_ms", Value: fmt.Sprint(pauseMs)})
	}
	figures = append(figures, raftfsm.KV{Key: "bytes_moved", Value: fmt.Sprint(bytes)}, raftfsm.KV{Key: "restore_ms", Value: fmt.Sprint(restoreMs)},
		raftfsm.KV{Key: "catch_up_ms", Value: fmt.Sprint(replayMs)}, raftfsm.KV{Key: "took_ms", Value: fmt.Sprint(e.AtMs - began)},
		raftfsm.KV{Key: raftfsm.FigureVersion, Value: figure(e, raftfsm.FigureVersion)})
	text, _, _ := strings.Cut(e.Text, " at epoch ")
	text = cut(fmt.Sprintf("%s: %s after %d ms, with %s and %d bytes of state moved", what, text, e.AtMs-began, pause, bytes))
	return raftfsm.Entry{AtMs: v.NowMs, Kind: switchedKind, Text: text, Figures: figures}, true
}

// startOf is the line of a history that tells of the start of the shadows which a switch made active, nil when it is gone.
func startOf(q *raftfsm.Query, e *raftfsm.Entry) *raftfsm.Entry {
	list := instancesIn(e)
	for i := len(q.History) - 1; i >= 0; i-- {
		if x := &q.History[i]; x.Kind == raftfsm.KindShadowed && len(list) > 0 && contains(instancesIn(x), list[0].First) {
			return x
		}
	}
	return nil
}

func instancesIn(e *raftfsm.Entry) []instances {
	list, _ := parseInstances(figure(e, raftfsm.FigureInstances))
	return list
}

func contains(list []instances, x uint64) bool {
	return slices.ContainsFunc(list, func(i instances) bool { return i.First <= x && x <= i.Last })
}

// parseInstances reads what FigureInstances says.
func parseInstances(text string) (out []instances, ok bool) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, _ := strings.Cut(part, "-")
		x, err := strconv.ParseUint(first, 10, 64)
		y, err2 := strconv.ParseUint(last, 10, 64)
		if err != nil || err2 != nil {
			return nil, false
		}
		out = append(out, instances{x, y})
	}
	return out, true
}

// CommandIDOf is the id that a command of a step is proposed with. Only lines of a history have one: it names what they are about,
// so that writing one twice, also by another leader, is writing it once.
func CommandIDOf(k raftfsm.Command) (id raftfsm.CommandID) {
	add, ok := k.(*raftfsm.HistoryAdd)
	if !ok {
		return id
	}
	h := fnv.New128a()
	var b [8]byte
	for _, x := range []uint64{add.Query.Incarnation, uint64(add.Query.Generation)} {
		binary.BigEndian.PutUint64(b[:], x)
		h.Write(b[:])
	}
	for _, e := range add.Entries {
		h.Write([]byte(e.Kind))
		for _, f := range e.Figures {
			if f.Key == raftfsm.FigureVersion {
				h.Write([]byte(f.Value))
			}
		}
	}
	copy(id[:], h.Sum(nil))
	return id
}
