package raftfsm

import (
	"fmt"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// QueryState is what a query is doing as a whole. Numbers are on disk.
type QueryState uint8

const (
	// Running: its partitions run.
	Running QueryState = 1
	// Paused by a user: sources stand still.
	Paused QueryState = 2
	// Waiting for what was lost to come back; Resolves says what.
	Waiting QueryState = 3
	// Blocked by something outside, a full disk for one; Reason says what.
	Blocked QueryState = 4
	// Failed for good; Reason is the error. Only removing is left.
	Failed QueryState = 5
	// Finished: all sources ended, everything is committed. Its tables stay, and are moved and restored like anything else; seal
	// logs and what is to be adopted of them go.
	Finished QueryState = 6
	// Removing: agents stop it and drop what they keep of it.
	Removing QueryState = 7
)

// String is the state as the command line shows it.
func (s QueryState) String() string {
	switch s {
	case Running:
		return "RUNNING"
	case Paused:
		return "PAUSED"
	case Waiting:
		return "WAITING"
	case Blocked:
		return "BLOCKED"
	case Failed:
		return "FAILED"
	case Finished:
		return "FINISHED"
	case Removing:
		return "REMOVING"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// transitions are the states that follow a state.
var transitions = map[QueryState][]QueryState{
	Running:  {Paused, Waiting, Blocked, Failed, Finished, Removing},
	Paused:   {Running, Waiting, Failed, Removing},
	Waiting:  {Running, Paused, Failed, Removing},
	Blocked:  {Running, Paused, Waiting, Failed, Removing},
	Failed:   {Removing},
	Finished: {Removing},
	Removing: nil,
}

// stopped says that a query in this state gets no partitions any more. A finished one does: its tables stay.
func (s QueryState) stopped() bool { return s == Failed || s == Removing }

// Query is all that the cluster keeps of a query.
type Query struct {
	Name        string               `json:"name"`
	ID          topology.QueryID     `json:"id"`
	SQL         string               `json:"sql"`
	Plan        []byte               `json:"plan"` // compiled; bytes to the FSM
	Fingerprint topology.Fingerprint `json:"fingerprint"`
	T0Ms        int64                `json:"t0_ms"`    // time(e) = T0 + e*epoch
	EpochMs     int64                `json:"epoch_ms"` // L
	AddedMs     int64                `json:"added_ms"` // the leader's time

	State        QueryState `json:"state"`
	Reason       string     `json:"reason,omitempty"`
	Resolves     string     `json:"resolves,omitempty"` // Waiting: what would end it
	StateVersion uint64     `json:"state_version"`
	// WasPaused: a Waiting or Blocked query goes back to Paused.
	WasPaused bool `json:"was_paused,omitempty"`

	// Version grows with each change of the topology; every command on partitions and shadows names it.
	Version uint64 `json:"version"`
	// Complete is the latest complete checkpoint; 0 is complete by definition.
	Complete topology.Epoch `json:"complete"`
	// Since is the complete epoch that this generation started from.
	Since topology.Epoch `json:"since,omitempty"`
	// SinceGeneration is the generation under which the vaults have the state at Since; 0 in the first.
	SinceGeneration uint32 `json:"since_generation,omitempty"`
	// Resealed is the last generation that gave up the seals behind its Since, 0 when none did: epochs behind that may hold other rows
	// than earlier generations put there.
	Resealed uint32 `json:"resealed,omitempty"`
	// Empty are the blocks that start this generation without state, because all their vaults were lost.
	Empty  []topology.BlockRef `json:"empty,omitempty"`
	Stages []*Stage            `json:"stages"`
	Seals  []topology.SealSet  `json:"seals,omitempty"` // ascending by Log

	// ScaleVersion grows with each change of Scale.
	ScaleVersion uint64       `json:"scale_version,omitempty"`
	Scale        []StageScale `json:"scale,omitempty"` // ascending by stage
	// Standby is how many shadows of each stateful partition are kept up for when it is lost, as far as there are other processes: 0 to
	// topology.MaxStandby.
	Standby int `json:"standby,omitempty"`

	Instances uint64           `json:"instances"` // the last given to a partition or shadow
	Terms     topology.Term    `json:"terms"`     // the last given to a seal log
	Logs      topology.SealLog `json:"logs"`      // the last given

	Entries uint64  `json:"entries"` // ever written to History
	History []Entry `json:"history,omitempty"`
}

// Stage is the placement of one stage.
type Stage struct {
	Name   string `json:"name,omitempty"` // for people
	Groups int    `json:"groups"`
	Source bool   `json:"source,omitempty"`
	// Partitions are active: ascending, covering every key group exactly once.
	Partitions []topology.Assignment `json:"partitions"`
	Shadows    []topology.Shadow     `json:"shadows,omitempty"` // ascending, then by instance; of one range one at most that is no standby
	Retired    []topology.Retired    `json:"retired,omitempty"` // in the order they retired
	Vaults     []topology.VaultSet   `json:"vaults,omitempty"`  // by block
	// Parallelism is how many partitions it began with, where that was more than one: as many are wanted until something else is said.
	Parallelism int `json:"parallelism,omitempty"`
}

// Merges says whether a shadow of r on p would make one of neighbours: r is two or more whole partitions, all of p. Those of a source stay apart:
// what each of them has sealed and is on its way to the vaults would be sealed once more by their successor.
func (st *Stage) Merges(r topology.Range, p topology.Process) bool {
	n := 0
	for _, a := range st.Partitions {
		if !a.Range.Overlaps(r) {
			continue
		}
		if a.Process != p || a.Range.From < r.From || a.Range.To > r.To {
			return false
		}
		n++
	}
	return n > 1 && !st.Source
}

// Entry is one line of a query's history.
type Entry struct {
	Seq     uint64 `json:"seq"`   // counts from 1
	AtMs    int64  `json:"at_ms"` // the leader's time
	Kind    string `json:"kind"`
	Text    string `json:"text"`
	Figures []KV   `json:"figures,omitempty"`
}

// TrimPoint is the epoch up to which nobody needs logs, seals or older deltas any more: the latest complete one or the lowest
// that a shadow restores.
func (q *Query) TrimPoint() topology.Epoch {
	trim := q.Complete
	for _, st := range q.Stages {
		for _, s := range st.Shadows {
			trim = min(trim, s.Restore)
		}
	}
	return trim
}

// Topology is where the active partitions are.
func (q *Query) Topology() topology.Topology {
	t := topology.Topology{Partitions: make([][]topology.Partition, len(q.Stages))}
	for s, st := range q.Stages {
		for _, a := range st.Partitions {
			t.Partitions[s] = append(t.Partitions[s], topology.Partition{Stage: topology.StageID(s), Range: a.Range, Node: a.Process.Node, Boot: a.Process.Boot})
		}
	}
	return t
}

// StageName is how people are told of a stage: by what it does and by its number in the plan.
func (q *Query) StageName(s topology.StageID) string {
	if name := q.Stages[s].Name; name != "" {
		return fmt.Sprintf("stage %d (%s)", s, name)
	}
	return fmt.Sprintf("stage %d", s)
}

// SealSet is the set that a process writes its seals to, or nil.
func (q *Query) SealSet(owner topology.Process) *topology.SealSet {
	for i := range q.Seals {
		if q.Seals[i].Owner == owner && !q.Seals[i].Fenced {
			return &q.Seals[i]
		}
	}
	return nil
}

// SealLog is the set of that log, or nil.
func (q *Query) SealLog(log topology.SealLog) *topology.SealSet {
	i := slices.IndexFunc(q.Seals, func(s topology.SealSet) bool { return s.Log == log })
	if i < 0 {
		return nil
	}
	return &q.Seals[i]
}

// Uses says whether p runs an active partition or a shadow of q.
func (q *Query) Uses(p topology.Process) bool {
	for _, st := range q.Stages {
		if slices.ContainsFunc(st.Partitions, func(a topology.Assignment) bool { return a.Process == p }) ||
			slices.ContainsFunc(st.Shadows, func(a topology.Shadow) bool { return a.Process == p }) {
			return true
		}
	}
	return false
}

func (q *Query) editStage(s topology.StageID) *Stage {
	n := *q.Stages[s]
	q.Stages = slices.Clone(q.Stages)
	q.Stages[s] = &n
	return &n
}

// note adds a line to the history.
func (q *Query) note(c *change, kind, why, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if why != "" {
		text += ": " + why
	}
	q.Entries++
	q.History = appendBounded(q.History, MaxHistory, Entry{Seq: q.Entries, AtMs: c.at, Kind: kind, Text: text})
}

// QueryAdd starts a query. Based on Incarnation being the next one: State.Incarnations + 1. Proposed with an ID, so that a request
// that is repeated is told from another one for the same name.
type QueryAdd struct {
	Name        string               `json:"name"`
	Incarnation uint64               `json:"incarnation"`
	SQL         string               `json:"sql"`
	Plan        []byte               `json:"plan"`
	Fingerprint topology.Fingerprint `json:"fingerprint"`
	T0Ms        int64                `json:"t0_ms"`
	EpochMs     int64                `json:"epoch_ms"`
	Stages      []StageAdd           `json:"stages"`
	// Standby: see Query.
	Standby int         `json:"standby,omitempty"`
	Seals   []SealGrant `json:"seals,omitempty"`
}

// StageAdd is a stage and its first placement.
type StageAdd struct {
	Name   string `json:"name,omitempty"`
	Groups int    `json:"groups"`
	Source bool   `json:"source,omitempty"`
	Parts  []Part `json:"parts"` // ascending, covering every key group once
	// Vaults are the members of each block's set, by block.
	Vaults [][]topology.Process `json:"vaults"`
}

// Part is a range and the process it goes to.
type Part struct {
	Range   topology.Range   `json:"range"`
	Process topology.Process `json:"process"`
}

// SealGrant gives a source process the vaults of its seals, if it has none yet.
type SealGrant struct {
	Owner   topology.Process   `json:"owner"`
	Members []topology.Process `json:"members"`
}

func (*QueryAdd) Kind() Kind { return KindQueryAdd }

// Begun is the command with epoch 1 beginning at a time: a whole number of epochs since 1970, so that logs of several queries can be read
// side by side.
func (k *QueryAdd) Begun(atMs int64) *QueryAdd {
	begun := *k
	begun.T0Ms = atMs / k.EpochMs * k.EpochMs
	return &begun
}

func (k *QueryAdd) apply(c *change) Outcome {
	s := c.state
	if k.Incarnation != s.Incarnations+1 {
		return stale(OldVersion, "the next query has incarnation %d, not %d", s.Incarnations+1, k.Incarnation)
	}
	if s.Query(k.Name) != nil {
		return refused(NameTaken, "there is a query %s already", k.Name)
	}
	if out := k.validate(s); out.Code != 0 {
		return out
	}
	q := &Query{
		Name: k.Name, ID: topology.QueryID{Incarnation: k.Incarnation, Generation: 1},
		SQL: k.SQL, Plan: k.Plan, Fingerprint: k.Fingerprint, T0Ms: k.T0Ms, EpochMs: k.EpochMs, AddedMs: c.at,
		State: Running, StateVersion: 1, Version: 1, Standby: k.Standby,
	}
	for i, add := range k.Stages {
		st := &Stage{Name: add.Name, Groups: add.Groups, Source: add.Source}
		for _, p := range add.Parts {
			if r, text := c.runs(q, p.Process); r != NoReason {
				return refused(r, "stage %d: %s", i, text)
			}
			q.Instances++
			st.Partitions = append(st.Partitions, topology.Assignment{Range: p.Range, Process: p.Process, Instance: q.Instances})
		}
		if n := len(st.Partitions); n > 1 {
			st.Parallelism = n
		}
		if len(add.Vaults) != topology.Blocks(add.Groups) {
			return refused(BadVaults, "stage %d has %d blocks, vaults for %d", i, topology.Blocks(add.Groups), len(add.Vaults))
		}
		for b, members := range add.Vaults {
			if out := c.validMembers(nil, members); out.Code != 0 {
				out.Text = fmt.Sprintf("stage %d block %d: %s", i, b, out.Text)
				return out
			}
			st.Vaults = append(st.Vaults, topology.VaultSet{Version: 1, Members: members})
		}
		q.Stages = append(q.Stages, st)
	}
	if out := c.grant(q, k.Seals); out.Code != 0 {
		return out
	}
	q.note(c, "added", "", "query added, incarnation %d", k.Incarnation)
	c.ownQueries()
	i, _ := s.queryIndex(k.Name)
	s.Queries = slices.Insert(s.Queries, i, q)
	c.edited = append(c.edited, q)
	s.Incarnations = k.Incarnation
	return applied(k.Incarnation)
}

func (k *QueryAdd) validate(s *State) Outcome {
	if out := validName("query", k.Name); out.Code != 0 {
		return out
	}
	switch {
	case s.Cluster.ID == 0:
		return refused(NoCluster, "the cluster has no id yet")
	case len(s.Queries) >= MaxQueries:
		return refused(OverLimit, "there are %d queries, the most a cluster takes", len(s.Queries))
	case len(k.SQL) > MaxSQLBytes:
		return refused(OverLimit, "the SQL text has %d bytes, more than %d", len(k.SQL), MaxSQLBytes)
	case len(k.Plan) == 0 || len(k.Plan) > MaxPlanBytes:
		return refused(OverLimit, "the plan has %d bytes; it must have 1 to %d", len(k.Plan), MaxPlanBytes)
	case k.Standby < 0 || k.Standby > topology.MaxStandby:
		return refused(Malformed, "%d shadows kept for each partition; there must be 0 to %d", k.Standby, topology.MaxStandby)
	case k.EpochMs <= 0:
		return refused(Malformed, "epochs of %d ms", k.EpochMs)
	case len(k.Stages) == 0 || len(k.Stages) > MaxStages:
		return refused(OverLimit, "the plan has %d stages; it must have 1 to %d", len(k.Stages), MaxStages)
	}
	for i, st := range k.Stages {
		if len(st.Name) > MaxTextBytes {
			return refused(OverLimit, "the name of stage %d has %d bytes, more than %d", i, len(st.Name), MaxTextBytes)
		}
		if st.Groups < 1 || st.Groups > topology.MaxKeyGroups {
			return refused(OverLimit, "stage %d has %d key groups; it must have 1 to %d", i, st.Groups, topology.MaxKeyGroups)
		}
	}
	return Outcome{}
}

// QueryStateChange puts a query into a state. Based on StateVersion.
type QueryStateChange struct {
	Query        topology.QueryID `json:"query"`
	StateVersion uint64           `json:"state_version"`
	State        QueryState       `json:"state"`
	Reason       string           `json:"reason,omitempty"`
	Resolves     string           `json:"resolves,omitempty"`
	// Version, when not 0, is that of the topology which the change is based on, too: that all partitions have ended says nothing of those
	// that take over from them meanwhile.
	Version uint64 `json:"version,omitempty"`
}

func (*QueryStateChange) Kind() Kind { return KindQueryState }

func (k *QueryStateChange) apply(c *change) Outcome {
	q, out := c.find(k.Query)
	if q == nil {
		return out
	}
	if len(k.Reason) > MaxTextBytes || len(k.Resolves) > MaxTextBytes {
		return refused(OverLimit, "query %s: the reason has more than %d bytes", q.Name, MaxTextBytes)
	}
	same := q.State == k.State
	if same && q.Reason == k.Reason && q.Resolves == k.Resolves {
		return already(q.StateVersion)
	}
	if q.StateVersion != k.StateVersion {
		return stale(OldVersion, "query %s is %v (version %d) by now", q.Name, q.State, q.StateVersion)
	}
	if k.Version != 0 && k.Version != q.Version {
		return stale(OldVersion, "query %s has topology version %d, not %d", q.Name, q.Version, k.Version)
	}
	if !same && !slices.Contains(transitions[q.State], k.State) || same && q.State.stopped() {
		return refused(BadTransition, "query %s is %v and cannot become %v", q.Name, q.State, k.State)
	}
	n := c.edit(q)
	halted := func(s QueryState) bool { return s == Waiting || s == Blocked }
	n.State, n.Reason, n.Resolves = k.State, k.Reason, k.Resolves
	n.WasPaused = halted(k.State) && (q.State == Paused || q.WasPaused)
	n.StateVersion++
	why := strings.TrimSuffix(k.Reason+"; "+k.Resolves, "; ")
	n.note(c, "state", why, "%v -> %v", q.State, k.State)
	return applied(n.StateVersion)
}

// QueryErase forgets a query that is Removing; its name is free again.
type QueryErase struct {
	Query topology.QueryID `json:"query"`
}

func (*QueryErase) Kind() Kind { return KindQueryErase }

func (k *QueryErase) apply(c *change) Outcome {
	if k.Query.Incarnation <= c.state.Incarnations && c.state.Incarnation(k.Query.Incarnation) == nil {
		return already(0)
	}
	q, out := c.find(k.Query)
	if q == nil {
		return out
	}
	if q.State != Removing {
		return refused(BadTransition, "query %s is %v; only one that is %v is erased", q.Name, q.State, Removing)
	}
	c.ownQueries()
	i, _ := c.state.queryIndex(q.Name)
	c.state.Queries = slices.Delete(c.state.Queries, i, i+1)
	return applied(0)
}

// HistoryAdd writes lines to a query's history. It must be proposed with an ID, by which repeating it is noticed; the entries'
// Seq is given here.
type HistoryAdd struct {
	Query   topology.QueryID `json:"query"`
	Entries []Entry          `json:"entries"`
}

func (*HistoryAdd) Kind() Kind { return KindHistoryAdd }

func (k *HistoryAdd) apply(c *change) Outcome {
	q := c.state.Incarnation(k.Query.Incarnation)
	if q == nil {
		return stale(NoSuchQuery, "query incarnation %d does not exist (any more)", k.Query.Incarnation)
	}
	if c.id.IsZero() {
		return refused(Malformed, "history entries without a command id")
	}
	if len(k.Entries) == 0 || len(k.Entries) > MaxHistory {
		return refused(OverLimit, "%d entries; there must be 1 to %d", len(k.Entries), MaxHistory)
	}
	n := c.edit(q)
	entries := slices.Clone(k.Entries)
	for i := range entries {
		e := &entries[i]
		if len(e.Text) > MaxTextBytes || len(e.Kind) > MaxNameBytes || len(e.Figures) > MaxSettings {
			return refused(OverLimit, "query %s: a history entry is too long", q.Name)
		}
		n.Entries++
		e.Seq = n.Entries
	}
	n.History = appendBounded(q.History, MaxHistory, entries...)
	return applied(n.Entries)
}

// keepUp lets go of what shadows needed that have got beyond the complete epoch.
func (q *Query) keepUp(instances []uint64) {
	kept := func(s topology.Shadow) bool {
		return s.Restore < q.Complete && slices.Contains(instances, s.Instance)
	}
	for s, st := range q.Stages {
		if !slices.ContainsFunc(st.Shadows, kept) {
			continue
		}
		n := q.editStage(topology.StageID(s))
		n.Shadows = slices.Clone(st.Shadows)
		for i := range n.Shadows {
			if kept(n.Shadows[i]) {
				n.Shadows[i].Restore = q.Complete
			}
		}
	}
}

// CheckpointComplete says that every key group of every stage has epoch Complete at all its vaults and every sink has committed
// it. Based on it being later than the one known.
type CheckpointComplete struct {
	Query    topology.QueryID `json:"query"`
	Complete topology.Epoch   `json:"complete"`
	// Kept are the instances of shadows that have got beyond Complete: they need nothing before it any more.
	Kept []uint64 `json:"kept,omitempty"`
}

func (*CheckpointComplete) Kind() Kind { return KindCheckpoint }

func (k *CheckpointComplete) apply(c *change) Outcome {
	q, out := c.find(k.Query)
	if q == nil {
		return out
	}
	switch {
	case k.Complete == q.Complete:
		return already(0)
	case k.Complete < q.Complete:
		return stale(OldVersion, "query %s is complete up to epoch %d, beyond %d", q.Name, q.Complete, k.Complete)
	case q.State == Removing:
		return refused(BadTransition, "query %s is being removed", q.Name)
	}
	n := c.edit(q)
	n.Complete = k.Complete
	n.keepUp(k.Kept)
	n.holdFormer(c.state.Version + 1)
	return applied(0)
}

// holdFormer has it said anew, of sets with former members, that the present ones hold the complete checkpoint: those that acknowledged it may
// have been the former ones.
func (q *Query) holdFormer(version uint64) {
	for s := range q.Stages {
		if !slices.ContainsFunc(q.Stages[s].Vaults, func(v topology.VaultSet) bool { return len(v.Former) > 0 }) {
			continue
		}
		st := q.editStage(topology.StageID(s))
		st.Vaults = slices.Clone(st.Vaults)
		for b := range st.Vaults {
			if set := &st.Vaults[b]; len(set.Former) > 0 {
				set.Completed = version
			}
		}
	}
}
