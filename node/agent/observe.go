package agent

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/seepnode/seepnode/node/api/metrics"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// registry holds this node's metrics.
func (a *Agent) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	a.metrics = metrics.New(a)
	r.MustRegister(a.metrics, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// observe is told of what the coordinator of this node has decided.
func (a *Agent) observe(n coordinator.Note) {
	if n.IsCheckpoint() {
		a.observeCheckpoint(&n)
		return
	}
	if n.Kind != "recovered" || a.metrics == nil {
		return
	}
	for _, kv := range n.Figures {
		ms, err := strconv.ParseInt(kv.Value, 10, 64)
		if err != nil {
			continue
		}
		for _, p := range metrics.Phases() {
			if kv.Key == string(p)+"_ms" {
				a.metrics.ObserveRecovery(p, time.Duration(ms)*time.Millisecond)
			}
		}
	}
}

// completed is a complete checkpoint, as its leader saw it.
type completed struct {
	epoch topology.Epoch
	at    time.Time
	bytes int64 // of one copy
}

func (a *Agent) observeCheckpoint(n *coordinator.Note) {
	c := completed{at: a.clock.now()}
	for _, kv := range n.Figures {
		figure, err := strconv.ParseInt(kv.Value, 10, 64)
		switch {
		case err != nil:
			return
		case kv.Key == coordinator.FigureEpoch:
			c.epoch = topology.Epoch(figure)
		case kv.Key == coordinator.FigureBytes:
			c.bytes = figure
		}
	}
	s := a.Machine().View()
	q := s.Query(n.Query)
	if q == nil {
		return
	}
	if took, ok := (backend{a}).figures(s, q).since(c.epoch, c.at); ok && a.metrics != nil {
		a.metrics.ObserveCheckpoint(took)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.completed == nil {
		a.completed = map[string]completed{}
	}
	for name := range a.completed {
		if s.Query(name) == nil {
			delete(a.completed, name)
		}
	}
	a.completed[n.Query] = c
}

// latest is what is known of a query's latest complete checkpoint; ok is false on a node that did not lead when it was committed.
func (a *Agent) latest(q *raftfsm.Query) (c completed, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok = a.completed[q.Name]
	return c, ok && c.epoch == q.Complete
}

// Snapshot implements metrics.Source.
func (a *Agent) Snapshot() metrics.Snapshot {
	s, group := a.Machine().View(), a.member.Group()
	now := a.clock.now()
	raft := group.Status()
	_, known := group.Leader()
	_, leads := group.Leads()
	out := metrics.Snapshot{Version: a.config.Version, Fingerprint: string(a.record.Fingerprint), Nodes: map[string]int{}, QueriesByState: map[string]int{}}
	out.Raft = metrics.Raft{State: raft.State, Term: raft.Term, LastIndex: raft.LastIndex, Commit: raft.CommitIndex, Applied: raft.AppliedIndex,
		LeaderKnown: known, LeaderSilence: raft.LeaderSilence, MetadataVersion: s.Version}
	for _, votes := range (backend{a}).voters() {
		out.Raft.Members++
		out.Raft.Voters += count(votes)
	}
	for _, n := range s.Nodes {
		out.Nodes[n.Status.String()]++
	}
	for _, q := range s.Queries {
		out.QueriesByState[q.State.String()]++
		f := (backend{a}).figures(s, q)
		latest, _ := a.latest(q)
		out.Queries = append(out.Queries, metrics.Query{Query: q.Name, CompleteEpoch: int64(q.Complete), Leader: leads, BlocksBelowK: blocksBelowK(s, q),
			CheckpointAge: time.Duration(f.lag(f.timeOf(q.Complete))) * time.Millisecond, CheckpointBytes: latest.bytes})
	}
	w := a.working()
	if w == nil {
		return out
	}
	st := w.vault.Stats()
	out.Vault = metrics.Vault{LiveBytes: st.LiveBytes, DiskBytes: st.DiskBytes, Segments: st.Segments, Commits: st.Commits, CommitBytes: st.CommitBytes,
		Compactions: st.Compactions, Pending: st.Pending, Full: st.Full != nil, Failed: st.Failed != nil}
	out.LinkBytesIn, out.LinkBytesOut = a.meter.Bytes()
	out.ReportsSent, out.ControlErrors = w.reporter.sent.Load(), w.reporter.lost.Load()
	ahead, _ := a.clock.offset()
	out.ClockOffset = -ahead
	for _, r := range w.queries.all() {
		out.Stages = append(out.Stages, a.stagesOf(r, now)...)
	}
	logs := w.spill.Stats()
	out.LogBytes, out.SpilledBytes, out.SpillFull = logs.MemoryBytes, logs.DiskBytes, logs.Full != nil
	return out
}

// stagesOf are the figures of a query's stages on this node, ascending.
func (a *Agent) stagesOf(r *running, now time.Time) []metrics.Stage {
	s := a.Machine().View()
	q := s.Incarnation(r.id.Incarnation)
	if q == nil {
		return nil
	}
	f := (backend{a}).figures(s, q)
	byStage := make([]*metrics.Stage, len(q.Stages))
	low := make([]int64, len(q.Stages))
	report := r.report()
	for i := range report.Partitions {
		p := &report.Partitions[i]
		if int(p.Stage) >= len(byStage) {
			continue
		}
		st := byStage[p.Stage]
		if st == nil {
			st = &metrics.Stage{Query: r.name, Stage: strconv.Itoa(int(p.Stage)), Epoch: int64(p.Epoch)}
			byStage[p.Stage], low[p.Stage] = st, topology.WatermarkEnd
		}
		st.RowsIn, st.RowsOut, st.Late, st.Skipped = st.RowsIn+p.RowsIn, st.RowsOut+p.RowsOut, st.Late+p.Late, st.Skipped+p.Skipped
		st.Busy, st.Idle, st.Block = st.Busy+time.Duration(p.BusyNs), st.Idle+time.Duration(p.IdleNs), st.Block+time.Duration(p.BlockedNs)
		st.Epoch = min(st.Epoch, int64(p.Epoch))
		st.Partitions++
		st.Bytes += p.BytesSent
		st.StateBytes += p.StateBytes
		st.LogBytes += p.LogBytes
		st.SpilledBytes += p.SpilledBytes
		low[p.Stage] = min(low[p.Stage], p.WatermarkMs)
	}
	var list []metrics.Stage
	for i, st := range byStage {
		if st == nil {
			continue
		}
		st.EpochLag = time.Duration(f.lag(f.timeOf(topology.Epoch(st.Epoch)))) * time.Millisecond
		if low[i] != topology.WatermarkNone && low[i] != topology.WatermarkEnd {
			st.HasWatermark, st.WatermarkLag = true, time.Duration(f.lag(low[i]))*time.Millisecond
		}
		list = append(list, *st)
	}
	return list
}
