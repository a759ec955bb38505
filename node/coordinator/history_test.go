package coordinator

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
)

// recoveredLines are those of a query's history.
func recoveredLines(q *raftfsm.Query) (lines []raftfsm.Entry) {
	for _, e := range q.History {
		if e.Kind == recoveredKind {
			lines = append(lines, e)
		}
	}
	return lines
}

func TestARecoveryThatSpansALeaderChangeIsWrittenOnceByTheNewLeader(t *testing.T) {
	for _, elections := range []int{0, 1, 2} {
		w := newWorld(t, 5, 5)
		w.addQuery("a")
		w.runFor(1000)
		victim := w.at(w.state.Query("a").Stages[1].Partitions[0].Process)
		w.kill(victim)
		for before := w.kinds[raftfsm.KindReassign]; w.kinds[raftfsm.KindReassign] == before; {
			w.step()
		}
		if got := recoveredLines(w.state.Query("a")); len(got) > 0 {
			t.Fatalf("it is written before the ranges run: %+v", got)
		}
		others := slices.DeleteFunc(slices.Clone(w.nodes), func(a *agent) bool { return !a.runs() || a == w.leader })
		for _, a := range others[:elections] {
			w.elect(a)
			w.step()
		}
		w.converge(10_000)
		w.elect(w.nodes[slices.IndexFunc(w.nodes, (*agent).runs)]) // who has seen nothing of it writes nothing again
		w.runFor(1000)
		lines := recoveredLines(w.state.Query("a"))
		if len(lines) != 1 {
			t.Fatalf("%d elections: %d lines: %+v", elections, len(lines), lines)
		}
		e := &lines[0]
		if node := figure(e, raftfsm.FigureNode); node != string(victim.id) || !strings.Contains(e.Text, string(victim.id)) {
			t.Errorf("%q, node %q, want %s", e.Text, node, victim.id)
		}
		for _, key := range []string{"restore_ms", "replay_ms", "pause_ms", "bytes_moved"} {
			if n, err := strconv.ParseInt(figure(e, key), 10, 64); err != nil || n < 0 {
				t.Errorf("%s is %q", key, figure(e, key))
			}
		}
		if commit := figure(e, "commit_ms"); (commit != "") != (elections == 0) {
			t.Errorf("%d elections: commit_ms is %q", elections, commit)
		}
	}
}

func TestALineThatDoesNotTellOfInstancesIsNoRecovery(t *testing.T) {
	for _, text := range []string{"", "3", "a-b", "1-2,", "1-2;3-4x"} {
		e := raftfsm.Entry{Kind: raftfsm.KindReassigned, Figures: []raftfsm.KV{{Key: raftfsm.FigureVersion, Value: "7"}, {Key: raftfsm.FigureInstances, Value: text}}}
		if r, ok := recoveryOf(&e); ok {
			t.Errorf("%q is read as %+v", text, r)
		}
	}
}
