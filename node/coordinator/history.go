package coordinator

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Recovery is one reassignment from the loss to where its ranges run.
type Recovery struct {
	Lost      []topology.Process
	Version   uint64 // of the topology that it was decided on
	Moves     []raftfsm.Move
	DetectMs  int64
	DecidedMs int64
	CommitMs  int64 // -1 until it was seen committed
}

const (
	maxRecoveries = 16 // under way, of one query
	versionFigure = "topology_version"
	recoveredKind = "recovered"
)

// recovering notes a reassignment that is being proposed.
func (m *QueryMemory) recovering(v *View, q *raftfsm.Query, k *raftfsm.Reassign) {
	m.Recoveries = slices.DeleteFunc(m.Recoveries, func(r Recovery) bool { return r.CommitMs < 0 })
	r := Recovery{Lost: k.Lost, Version: q.Version, Moves: k.Moves, DecidedMs: v.NowMs, CommitMs: -1}
	for _, l := range v.Losses {
		if slices.Contains(k.Lost, l.Process) {
			r.DetectMs = max(r.DetectMs, l.DetectMs)
		}
	}
	m.Recoveries = append(m.Recoveries, r)
	m.Recoveries = m.Recoveries[max(0, len(m.Recoveries)-maxRecoveries):]
}

// Recovered writes a recovery with the times of its phases into the history when all its ranges run. One that the leader who
// decided it does not see to its end is not written.
func Recovered(v *View, q *raftfsm.Query, m *QueryMemory) Decision {
	var d Decision
	var open []Recovery
	for _, r := range m.Recoveries {
		if r.CommitMs < 0 && q.Version > r.Version {
			r.CommitMs = max(0, v.NowMs-r.DecidedMs)
		}
		there, running, restoreMs, replayMs := v.progress(q, &r)
		switch {
		case r.CommitMs < 0:
			open = append(open, r)
		case there == 0 || wrote(q, r.Version):
		case running < there:
			open = append(open, r)
		default:
			open = append(open, r)
			figures := []raftfsm.KV{
				{Key: "detect_ms", Value: fmt.Sprint(r.DetectMs)}, {Key: "commit_ms", Value: fmt.Sprint(r.CommitMs)},
				{Key: "restore_ms", Value: fmt.Sprint(restoreMs)}, {Key: "replay_ms", Value: fmt.Sprint(replayMs)},
				{Key: "ranges", Value: fmt.Sprint(there)}, {Key: versionFigure, Value: fmt.Sprint(r.Version)},
			}
			text := cut(fmt.Sprintf("%d ranges of %s run again", there, nodeNames(r.Lost)))
			d.command(&raftfsm.HistoryAdd{Query: q.ID, Entries: []raftfsm.Entry{{AtMs: v.NowMs, Kind: recoveredKind, Text: text, Figures: figures}}})
			d.Notes = append(d.Notes, Note{Kind: recoveredKind, Query: q.Name, Text: text, Figures: figures})
		}
	}
	m.Recoveries = open
	return d
}

// progress counts the ranges of a recovery that are still where it put them, and those of them that run.
func (v *View) progress(q *raftfsm.Query, r *Recovery) (there, running int, restoreMs, replayMs int64) {
	eachAssignment(q, func(s topology.StageID, a *topology.Assignment) bool {
		moved := slices.ContainsFunc(r.Moves, func(k raftfsm.Move) bool { return k.Stage == s && k.Range == a.Range && k.Process == a.Process })
		if !moved {
			return true
		}
		there++
		if x := v.active(q, s, a); x != nil && (x.Phase == PhaseRunning || x.Phase == PhaseEnded) {
			running++
			restoreMs, replayMs = max(restoreMs, x.RestoreMs), max(replayMs, x.ReplayMs)
		}
		return true
	})
	return there, running, restoreMs, replayMs
}

// wrote says whether the history has the end of the recovery that was decided on a version.
func wrote(q *raftfsm.Query, version uint64) bool {
	at := raftfsm.KV{Key: versionFigure, Value: fmt.Sprint(version)}
	return slices.ContainsFunc(q.History, func(e raftfsm.Entry) bool { return e.Kind == recoveredKind && slices.Contains(e.Figures, at) })
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
			if f.Key == versionFigure {
				h.Write([]byte(f.Value))
			}
		}
	}
	copy(id[:], h.Sum(nil))
	return id
}
