package agent

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// figures tells of one query what the metadata and the reports say.
type figures struct {
	state  *raftfsm.State
	query  *raftfsm.Query
	plan   *plan.Plan // nil when it cannot be read
	latest func(topology.Process) *coordinator.Report
	heard  func(topology.Process) time.Time
	rates  *rates
	now    time.Time
}

func (b backend) figures(s *raftfsm.State, q *raftfsm.Query) *figures {
	f := &figures{state: s, query: q, latest: b.a.reports.Latest, heard: b.a.reports.Heard, rates: &b.a.rates, now: b.a.clock.now()}
	f.plan = b.a.plans.of(s, q)
	return f
}

// reported is what a process says of an instance, or nil.
func (f *figures) reported(p topology.Process, s topology.StageID, r topology.Range, instance uint64) *coordinator.PartitionReport {
	report := f.latest(p)
	if report == nil {
		return nil
	}
	for i := range report.Queries {
		q := &report.Queries[i]
		if q.ID != f.query.ID {
			continue
		}
		for j := range q.Partitions {
			if x := &q.Partitions[j]; x.Stage == s && x.Instance == instance && x.Range.From <= r.From && x.Range.To >= r.To {
				return x
			}
		}
	}
	return nil
}

// stage is a stage of the plan, or nil.
func (f *figures) stage(s topology.StageID) *plan.Stage {
	if f.plan == nil {
		return nil
	}
	return f.plan.Stages[s]
}

// stageNumber is how messages from below name a stage.
var stageNumber = regexp.MustCompile(`\bstage (\d+)\b`)

// named is a message with the names of the stages that it numbers, as the plan has them.
func (f *figures) named(text string) string {
	return stageNumber.ReplaceAllStringFunc(text, func(stage string) string {
		n, err := strconv.Atoi(stage[len("stage "):])
		if err != nil || f.plan == nil || n >= len(f.plan.Stages) {
			return stage
		}
		return fmt.Sprintf("%s %q", stage, f.plan.Stages[n].Name)
	})
}

func (f *figures) isSource(s topology.StageID) bool { return f.query.Stages[s].Source }

func (f *figures) isSink(s topology.StageID) bool {
	st := f.stage(s)
	return st != nil && slices.ContainsFunc(st.Ops, func(o *plan.Op) bool { return o.Sink != nil })
}

func (f *figures) operators(s topology.StageID) []string {
	names := []string{}
	if st := f.stage(s); st != nil {
		for _, op := range st.Ops {
			names = append(names, op.Name)
		}
	}
	return names
}

// timeOf is the time of an epoch in milliseconds since 1970.
func (f *figures) timeOf(e topology.Epoch) int64 {
	if e > (1<<62)/topology.Epoch(f.query.EpochMs) {
		return f.now.UnixMilli()
	}
	return f.query.T0Ms + int64(e)*f.query.EpochMs
}

// since is how long behind an epoch's time a moment is; ok is false when the query's epochs are not time.
func (f *figures) since(e topology.Epoch, at time.Time) (d time.Duration, ok bool) {
	if f.plan == nil || f.plan.Settings.SealRows > 0 {
		return 0, false
	}
	return max(0, at.Sub(time.UnixMilli(f.timeOf(e)))), true
}

// lag is how far a time is behind now; nothing lags of a query that has ended, or whose epochs are not time.
func (f *figures) lag(ms int64) int64 {
	if f.query.State == raftfsm.Finished || f.plan != nil && f.plan.Settings.SealRows > 0 {
		return 0
	}
	return max(0, f.now.UnixMilli()-ms)
}

// reportAge is how old what a process said is, in milliseconds: what it has done since is not known, and no lag. Of one that says
// nothing any more it is 0.
func (f *figures) reportAge(p topology.Process) int64 {
	age := f.now.Sub(f.heard(p))
	if age > 2*reportEvery {
		return 0
	}
	return max(0, age.Milliseconds())
}

// openTold is how many checkpoints may be under way before that is told: sources stop when three times as many are.
const openTold = 4

// overdue says how many checkpoint epochs all partitions have left behind since the last complete one, when these are openTold or more, and who
// has not saved the first of them. Epochs count, not time: whatever stood still for some time has old ones to make up for.
func (f *figures) overdue() (open int, missing []string) {
	if f.query.State != raftfsm.Running || f.plan == nil || f.plan.Settings.CheckpointEpochs < 1 {
		return 0, nil
	}
	every := topology.Epoch(f.plan.Settings.CheckpointEpochs)
	line, reached := (f.query.Complete/every+1)*every, topology.EpochForever
	for i, st := range f.query.Stages {
		for _, a := range st.Partitions {
			p := f.reported(a.Process, topology.StageID(i), a.Range, a.Instance)
			if p == nil {
				return 0, nil // it is about to be put elsewhere
			}
			if p.Has(line) {
				if p.Ended == 0 {
					reached = min(reached, p.Epoch)
				}
				continue
			}
			reached = min(reached, p.Epoch)
			missing = append(missing, f.named(fmt.Sprintf("stage %d %v on %s", i, a.Range, a.Process.Node)))
		}
	}
	if reached == topology.EpochForever || len(missing) == 0 || (reached-f.query.Complete)/every < openTold {
		return 0, nil
	}
	return int((reached - f.query.Complete) / every), missing
}

// line is the query in one line.
func (f *figures) line() client.Query {
	q := f.query
	out := client.Query{Name: q.Name, State: q.State.String(), Reason: f.named(q.Reason), Resolves: f.named(q.Resolves), Incarnation: q.ID.Incarnation, Generation: q.ID.Generation,
		Added: client.UnixMs(q.AddedMs), EpochMs: q.EpochMs, CompleteEpoch: q.Complete, BlocksBelowK: blocksBelowK(f.state, q),
		Rates: f.rates.query(q.ID, f.isSource, f.isSink)}
	epoch, watermark, sinks := topology.EpochForever, topology.WatermarkEnd, false
	for i, st := range q.Stages {
		for _, a := range st.Partitions {
			out.Partitions++
			p := f.reported(a.Process, topology.StageID(i), a.Range, a.Instance)
			if p != nil && (p.Phase == coordinator.PhaseRunning || p.Phase == coordinator.PhaseEnded) {
				out.PartitionsRunning++
			}
			if !f.isSink(topology.StageID(i)) {
				continue
			}
			sinks = true
			if p == nil {
				epoch = min(epoch, q.Complete)
				continue
			}
			epoch, watermark = min(epoch, p.Epoch), min(watermark, p.WatermarkMs)
			out.EpochLagMs = max(out.EpochLagMs, f.lag(f.timeOf(p.Epoch))-f.reportAge(a.Process))
		}
	}
	if sinks {
		out.Epoch = epoch
	}
	if out.CheckpointAgeMs = f.lag(f.timeOf(q.Complete)); out.PartitionsRunning < out.Partitions {
		out.EpochLagMs = f.lag(f.timeOf(out.Epoch))
	}
	if out.Watermark = client.UnixMs(watermark); !out.Watermark.IsZero() {
		out.WatermarkLagMs = f.lag(watermark)
	}
	return out
}

// detail is all that is said of the query.
func (f *figures) detail() *client.QueryDetail {
	q := f.query
	out := &client.QueryDetail{Query: f.line(), SQL: q.SQL, Fingerprint: string(q.Fingerprint), TrimEpoch: q.TrimPoint()}
	if f.plan != nil {
		out.PlanText = f.plan.Explain()
	}
	for i := range q.Stages {
		id := topology.StageID(i)
		info := f.stageInfo(id)
		out.Stages = append(out.Stages, info)
		if info.Source {
			out.RowsIn += info.RowsIn
		}
		if f.isSink(id) {
			out.RowsOut += info.RowsIn
		}
		out.RowsLate += info.RowsLate
		out.RowsSkipped += info.RowsSkipped
		out.StateBytes += info.StateBytes
		out.LogBytes += info.LogBytes
		out.SpilledBytes += info.SpilledBytes
		out.SealBytes += info.SealBytes
		out.Parts = append(out.Parts, f.partitions(id)...)
		out.Sinks = append(out.Sinks, f.sinks(id)...)
	}
	f.recoveries(out)
	return out
}

// recoveries counts them in the history and tells of the last.
func (f *figures) recoveries(out *client.QueryDetail) {
	for _, e := range f.query.History {
		if e.Kind != "recovered" {
			continue
		}
		out.Recoveries++
		r := &client.Recovery{At: client.UnixMs(e.AtMs), Reason: f.named(e.Text)}
		for _, kv := range e.Figures {
			ms := int64(0)
			if _, err := fmt.Sscanf(kv.Value, "%d", &ms); err != nil {
				ms = 0
			}
			switch kv.Key {
			case "node":
				r.Node = kv.Value
			case "leader":
				r.Leader = kv.Value == "true"
			case "detect_ms":
				r.DetectMs = ms
			case "commit_ms":
				r.CommitMs = ms
			case "restore_ms":
				r.RestoreMs = ms
			case "replay_ms":
				r.ReplayMs = ms
			}
		}
		out.LastRecovery = r
	}
}

func (f *figures) stageInfo(s topology.StageID) client.StageInfo {
	st := f.query.Stages[s]
	info := client.StageInfo{Stage: s, Operators: f.operators(s), Source: st.Source, KeyGroups: st.Groups, Partitions: len(st.Partitions)}
	info.Rates, info.Busy, info.Idle, info.Blocked = f.rates.stage(f.query.ID, s)
	epoch, watermark := topology.EpochForever, topology.WatermarkEnd
	for _, a := range st.Partitions {
		p := f.reported(a.Process, s, a.Range, a.Instance)
		if p == nil {
			epoch = min(epoch, a.Restore)
			continue
		}
		epoch, watermark = min(epoch, p.Epoch), min(watermark, p.WatermarkMs)
		info.RowsIn += p.RowsIn
		info.RowsOut += p.RowsOut
		info.RowsLate += p.Late
		info.RowsSkipped += p.Skipped
		info.StateBytes += p.StateBytes
		info.LogBytes += p.LogBytes
		info.SpilledBytes += p.SpilledBytes
		info.SealBytes += p.SealBytes
	}
	info.Epoch, info.Watermark = epoch, client.UnixMs(watermark)
	return info
}

// sinks are the tables that a stage writes.
func (f *figures) sinks(s topology.StageID) []client.SinkInfo {
	st := f.stage(s)
	if st == nil {
		return nil
	}
	committed := topology.EpochForever
	for _, a := range f.query.Stages[s].Partitions {
		if p := f.reported(a.Process, s, a.Range, a.Instance); p != nil {
			committed = min(committed, p.Durable, p.Epoch)
		} else {
			committed = min(committed, f.query.Complete)
		}
	}
	var list []client.SinkInfo
	for _, op := range st.Ops {
		if op.Sink != nil {
			t := f.plan.Tables[op.Sink.Table]
			list = append(list, client.SinkInfo{Name: t.Name, Connector: t.Connector, Lanes: st.Groups, CommittedEpoch: committed})
		}
	}
	return list
}

// partitions are the instances of a stage: active ones ascending by range, then shadows, then retired ones.
func (f *figures) partitions(s topology.StageID) []client.Partition {
	st := f.query.Stages[s]
	var list []client.Partition
	add := func(r topology.Range, on topology.Process, instance uint64, role string, restore topology.Epoch, deaths int) {
		p := client.Partition{Stage: s, Range: r, Node: string(on.Node), Boot: fmt.Sprintf("%x", uint64(on.Boot)), Instance: instance, Role: role,
			Phase: client.PhasePending, RestoreEpoch: restore, Deaths: deaths}
		if x := f.reported(on, s, r, instance); x != nil {
			p.Phase, p.Epoch, p.Durable, p.RestoredEpoch = x.Phase, x.Epoch, x.Durable, x.Restored
			p.RestoreMs, p.ReplayMs, p.Ended = x.RestoreMs, x.ReplayMs, x.Ended != 0
			p.Busy, p.Idle, p.Blocked = f.rates.partition(instanceKey{f.query.ID, s, instance, on})
			p.RowsIn, p.RowsOut, p.StateBytes, p.LogBytes, p.SpilledBytes = x.RowsIn, x.RowsOut, x.StateBytes, x.LogBytes, x.SpilledBytes
		}
		list = append(list, p)
	}
	for _, a := range st.Partitions {
		add(a.Range, a.Process, a.Instance, client.RoleActive, a.Restore, a.Deaths)
	}
	for _, a := range st.Shadows {
		add(a.Range, a.Process, a.Instance, client.RoleShadow, a.Restore, 0)
	}
	for _, a := range st.Retired {
		add(a.Range, a.Process, a.Instance, client.RoleRetired, 0, 0)
	}
	return list
}

// topology is where everything of the query is.
func (f *figures) topology() *client.Topology {
	q := f.query
	out := &client.Topology{Query: q.Name, Incarnation: q.ID.Incarnation, Generation: q.ID.Generation, Version: q.Version, CompleteEpoch: q.Complete,
		TrimEpoch: q.TrimPoint(), SealSets: []client.SealSet{}}
	for i, st := range q.Stages {
		id := topology.StageID(i)
		out.Stages = append(out.Stages, client.TopologyStage{Stage: id, Operators: f.operators(id), Source: st.Source, KeyGroups: st.Groups,
			Partitions: f.partitions(id), Vaults: f.vaults(st)})
	}
	for _, s := range q.Seals {
		out.SealSets = append(out.SealSets, client.SealSet{Log: s.Log, Owner: s.Owner.String(), Term: s.Term, Version: s.Version, Members: texts(s.Members), Fenced: s.Fenced})
	}
	return out
}

func texts(list []topology.Process) []string {
	out := []string{}
	for _, p := range list {
		out = append(out, p.String())
	}
	return out
}

// vaults joins blocks with the same members, in the order of the first block of each.
func (f *figures) vaults(st *raftfsm.Stage) []client.VaultBlocks {
	list := []client.VaultBlocks{}
	for b, set := range st.Vaults {
		members := texts(set.Members)
		i := slices.IndexFunc(list, func(v client.VaultBlocks) bool { return slices.Equal(v.Members, members) })
		if i < 0 {
			list = append(list, client.VaultBlocks{Members: members, Wanted: wantedCopies(f.state), Full: copies(f.state, set)})
			i = len(list) - 1
		}
		list[i].Blocks = append(list[i].Blocks, topology.BlockID(b))
	}
	return list
}

// copies are the members of a set that are alive.
func copies(s *raftfsm.State, set topology.VaultSet) int {
	n := 0
	for _, m := range set.Members {
		n += count(s.Lives(m))
	}
	return n
}

// wantedCopies is how many copies of a block there should be: k, fewer in a small cluster.
func wantedCopies(s *raftfsm.State) int {
	alive := 0
	for _, n := range s.Nodes {
		alive += count(n.Status == raftfsm.Alive)
	}
	return max(1, min(coordinator.Replicas(s), alive-1))
}

func blocksBelowK(s *raftfsm.State, q *raftfsm.Query) int {
	if !runs(q.State) {
		return 0
	}
	below, want := 0, wantedCopies(s)
	for _, st := range q.Stages {
		for _, set := range st.Vaults {
			below += count(copies(s, set) < want)
		}
	}
	return below
}

func lower(s string) string { return strings.ToLower(s) }
