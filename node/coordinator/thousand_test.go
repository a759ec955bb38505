package coordinator

import (
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestAThousandNodes lets many nodes join, runs one query over three tenths of them, kills a hundredth at once and drains a twentieth. It is the
// metadata, the coordinator's decisions and agents that do what they say: no engine, no network, no Raft. What it prints of control traffic
// is what those would carry: reports to the leader and commands to everybody. SEEPNODE_NODES=1000 makes it a thousand, in a minute.
func TestAThousandNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds: nothing else shows this; it runs without -short")
	}
	nodes := 200 // so that it is quick
	if text := os.Getenv("SEEPNODE_NODES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 20 {
			t.Fatalf("SEEPNODE_NODES=%q is no number of nodes", text)
		}
		nodes = n
	}
	spread, kills, drains := 3*nodes/10, nodes/100, nodes/20
	w := newWorld(t, 1, nodes)
	phase := newPhases(t, w)
	phase.end("%d nodes have joined", nodes)
	q := w.addWide("wide", spread)
	w.until("the query runs and a checkpoint is complete", 20_000, func() bool { return w.state.Query("wide").Complete > 0 })
	on := w.running(q.Name)
	if len(on) != spread {
		t.Errorf("the query is on %d nodes, not %d", len(on), spread)
	}
	phase.end("one query runs on %d of them", len(on))
	for _, a := range on[:kills] {
		if a != w.leader {
			w.kill(a)
		}
	}
	complete := w.state.Query("wide").Complete
	w.until("what ran on them runs again, and a checkpoint behind that is complete", 60_000, func() bool {
		now := w.state.Query("wide")
		return now.Complete > complete+100 && !slices.ContainsFunc(w.placedOn(now), func(p topology.Process) bool { return !w.state.Lives(p) })
	})
	phase.end("%d of these were killed and are recovered", kills)
	leaving := w.running(q.Name)[:drains]
	for _, a := range leaving {
		if n := w.state.Node(a.id); a != w.leader {
			w.apply(&raftfsm.NodeStatus{Process: n.Process(), Version: n.Version, Status: raftfsm.Leaving, Reason: "drained"})
		}
	}
	w.until("nothing is on them", 300_000, func() bool {
		return !slices.ContainsFunc(leaving, func(a *agent) bool { return a != w.leader && len(w.state.NamedBy(a.id, 1)) > 0 })
	})
	phase.end("%d were drained", drains)
	idle, busy := w.reportBytes()
	t.Logf("a report has %d bytes from an idle node and %d from one that runs a partition; every node sends at least one a second", idle, busy)
	t.Logf("the metadata takes %d KiB as JSON and %d KiB of each node's memory", len(mustJSON(t, w.state))>>10, heapOf(t, w.state)>>10)
}

// phases print what each phase of the test cost.
type phases struct {
	t     *testing.T
	w     *world
	now   int64
	bytes int
	count int
}

func newPhases(t *testing.T, w *world) *phases { return &phases{t: t, w: w, now: w.now} }

func (p *phases) end(format string, args ...any) {
	p.t.Helper()
	w := p.w
	p.t.Logf(format+": %d commands of %d bytes to every node, in %d ms of the cluster's time", append(args, w.applied-p.count, w.appliedBytes-p.bytes, w.now-p.now)...)
	p.now, p.bytes, p.count = w.now, w.appliedBytes, w.applied
}

// addWide adds a query of so many partitions in all.
func (w *world) addWide(name string, partitions int) *raftfsm.Query {
	stages := []PlaceStage{
		{Name: "source", Groups: 256, Source: true, Parallelism: partitions / 4},
		{Name: "count", Groups: 1024, Parallelism: partitions - partitions/4 - 1, Inputs: []topology.StageID{0}},
		{Name: "sink", Groups: 1, Inputs: []topology.StageID{1}},
	}
	f, adds, grants, err := Place(w.viewAt(), stages)
	if err != nil {
		w.t.Fatal(err)
	}
	out := w.apply(&raftfsm.QueryAdd{Name: name, Incarnation: w.state.Incarnations + 1, Plan: []byte("p"), Fingerprint: f, EpochMs: 10, Stages: adds, Seals: grants})
	if out.Code != raftfsm.Applied {
		w.t.Fatal(out)
	}
	return w.state.Query(name)
}

// placedOn are the processes of a query's partitions.
func (w *world) placedOn(q *raftfsm.Query) (list []topology.Process) {
	eachAssignment(q, func(_ topology.StageID, a *topology.Assignment) bool {
		list = append(list, a.Process)
		return true
	})
	return list
}

// running are the agents that run partitions of a query.
func (w *world) running(name string) (list []*agent) {
	on := w.placedOn(w.state.Query(name))
	for _, a := range w.nodes {
		if a.runs() && slices.Contains(on, a.process()) {
			list = append(list, a)
		}
	}
	return list
}

// until steps until it is so, at most so many milliseconds of the world's time.
func (w *world) until(what string, withinMs int64, good func() bool) {
	w.t.Helper()
	for end := w.now + withinMs; !good(); {
		if w.now >= end {
			w.t.Fatalf("not within %d ms: %s", withinMs, what)
		}
		w.step()
	}
}

// reportBytes are the mean sizes of the reports of nodes without and with partitions.
func (w *world) reportBytes() (idle, busy int) {
	var sums, counts [2]int
	for _, r := range w.reports {
		kind := 0
		if len(r.Report.Queries) > 0 && len(r.Report.Queries[0].Partitions) > 0 {
			kind = 1
		}
		data, err := json.Marshal(r.Report)
		if err != nil {
			w.t.Fatal(err)
		}
		sums[kind] += len(data)
		counts[kind]++
	}
	return sums[0] / max(1, counts[0]), sums[1] / max(1, counts[1])
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// heapOf is what another copy of the metadata takes in memory.
func heapOf(t *testing.T, s *raftfsm.State) uint64 {
	t.Helper()
	const copies = 16
	data := mustJSON(t, s)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.GC() // what the first one only marked as free in pools
	runtime.ReadMemStats(&before)
	others := make([]*raftfsm.State, copies)
	for i := range others {
		others[i] = new(raftfsm.State)
		if err := json.Unmarshal(data, others[i]); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(others)
	return (after.HeapAlloc - min(after.HeapAlloc, before.HeapAlloc)) / copies
}
