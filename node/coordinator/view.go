package coordinator

import (
	"cmp"
	"slices"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Timing says how long the steps wait for what, in milliseconds.
type Timing struct {
	SilentPair int64 // keep-alives missing at two reporters
	SilentOne  int64 // keep-alives missing at one reporter
	Serf       int64 // from when the membership protocol's verdict is certain
	Silence    int64 // no report at all; a new leader waits as long before it judges by that
	Fresh      int64 // who lives and is not starved has reported within so long
	Slack      int64 // a report is newer than a complaint only when it came so much later than that began
	Pair       int64 // two that both report do not reach each other
	Blame      int64 // how long the one to blame gets no partitions
	Waits      int64 // a node says that it waits for vaults
	Copies     int64 // lost copies wait so long for lost partitions
	Returns    int64 // and so long for a process that has ended: it may be started again
	Converge   int64 // a shadow that has not come further for so long is dropped
	ClockOff   int64 // a node whose clock is so wrong gets no source partitions
	Calm       int64 // nothing has happened to a query for so long before its neighbouring partitions become one
	Stall      int64 // the leader itself stood still
}

// DefaultTiming is the design's.
func DefaultTiming() Timing {
	return Timing{SilentPair: 400, SilentOne: 1000, Serf: 3000, Silence: 3000, Fresh: 1200, Slack: 100, Pair: 1000, Blame: 60_000,
		Waits: 3000, Copies: 5000, Returns: 2000, Converge: 60_000, ClockOff: 1000, Calm: 10_000, Stall: 1000}
}

// Limits of the decisions.
const (
	// A process that dies within sameEpochs of where its predecessor did probably died of the same row; within firstEpochs of where it
	// began, perhaps.
	sameEpochs, firstEpochs = 4, 8
	// sameRowDeaths processes that died of the same epochs fail the query; suspectDeaths when that is only likely, because the
	// leader does not know how far they got; unheardDeaths when it never heard that they had the range at all.
	sameRowDeaths, suspectDeaths, unheardDeaths = 2, 3, 6
	// takeOverMs is how far a shadow may be behind what is active when it takes over, by reports that may be a second apart.
	takeOverMs = 2500
	// nearerEpochs is how many epochs nearer to what is active a shadow comes at least while it makes progress.
	nearerEpochs = 4
	// restorePieceBytes are restored in 200 ms at 200 MB/s.
	restorePieceBytes = 40 << 20
	// leaderHandicap is how many partitions more others must have before the leader's node gets one.
	leaderHandicap = 8
	// vaultBatch is how many blocks one command gives new vaults.
	vaultBatch = 256
)

// Received is the latest report of a process and when it came.
type Received struct {
	Report *Report
	AtMs   int64
}

// Sign is when a process showed that it lives without saying anything that could be read.
type Sign struct {
	Process topology.Process
	AtMs    int64
}

// View is what a step decides on. It does not change.
type View struct {
	State *raftfsm.State
	// Reports are the latest of each process, ascending by node, then boot id.
	Reports []Received
	// Unread are the processes whose last report could not be read, ascending by process.
	Unread []Sign
	// NowMs is the leader's time: milliseconds since 1970 when it began to lead and its monotonic clock since then.
	NowMs int64
	// Leader is the process that leads.
	Leader topology.Process
	Timing Timing
	// Settled: this leader has led for so long that every process that works has reported to it.
	Settled bool
	// Losses are the processes found lost by this leader, the latest last; recover writes them to histories.
	Losses []Loss
}

// Loss is a process that was found lost.
type Loss struct {
	Process topology.Process
	AtMs    int64
	// DetectMs is how long nobody knew, as far as the complaints tell.
	DetectMs int64
	Why      string
	Died     bool // its connections ended: it was not only out of reach
}

// Note is what a step has to say to people and metrics beside its commands.
type Note struct {
	Kind    string // "lost", "blamed", "recovered", "no vault", ...
	Query   string
	Text    string
	Figures []raftfsm.KV
}

// Decision is what a step gives. Commands are proposed in order; when one is not applied the rest is decided anew.
type Decision struct {
	Commands []raftfsm.Command
	Notes    []Note
}

func (d *Decision) command(k raftfsm.Command) { d.Commands = append(d.Commands, k) }

func (d *Decision) add(more Decision) {
	d.Commands = append(d.Commands, more.Commands...)
	d.Notes = append(d.Notes, more.Notes...)
}

// report is the latest report of p, or nil.
func (v *View) report(p topology.Process) *Report {
	if i, ok := v.reportIndex(p); ok {
		return v.Reports[i].Report
	}
	return nil
}

// reportedMs is when p last reported, 0 when it never did.
func (v *View) reportedMs(p topology.Process) int64 {
	if i, ok := v.reportIndex(p); ok {
		return v.Reports[i].AtMs
	}
	return 0
}

// unreadMs is when a report of p came that could not be read, 0 when none did.
func (v *View) unreadMs(p topology.Process) int64 {
	i, ok := slices.BinarySearchFunc(v.Unread, p, func(s Sign, p topology.Process) int { return compareProcess(s.Process, p) })
	if !ok {
		return 0
	}
	return v.Unread[i].AtMs
}

func (v *View) reportIndex(p topology.Process) (int, bool) {
	return slices.BinarySearchFunc(v.Reports, p, func(r Received, p topology.Process) int { return compareProcess(r.Report.Process, p) })
}

func compareProcess(a, b topology.Process) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot))
}

// query is what p reports of a query, or nil.
func (v *View) query(p topology.Process, id topology.QueryID) *QueryReport {
	r := v.report(p)
	if r == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(r.Queries, id, func(q QueryReport, id topology.QueryID) int {
		return cmp.Or(cmp.Compare(q.ID.Incarnation, id.Incarnation), cmp.Compare(q.ID.Generation, id.Generation))
	})
	if !ok {
		return nil
	}
	return &r.Queries[i]
}

// instance is what p reports of an instance of q. After a part of it was given away the range differs until p has seen that.
func (v *View) instance(q *raftfsm.Query, p topology.Process, s topology.StageID, r topology.Range, instance uint64) *PartitionReport {
	qr := v.query(p, q.ID)
	if qr == nil {
		return nil
	}
	i := slices.IndexFunc(qr.Partitions, func(x PartitionReport) bool {
		return x.Stage == s && x.Instance == instance && x.Range.From <= r.From && x.Range.To >= r.To
	})
	if i < 0 {
		return nil
	}
	return &qr.Partitions[i]
}

// active is what is reported of an active partition, or nil. A report of before a shadow was switched to will do.
func (v *View) active(q *raftfsm.Query, s topology.StageID, a *topology.Assignment) *PartitionReport {
	return v.instance(q, a.Process, s, a.Range, a.Instance)
}

// blamed says whether a node gets no partitions for now. A blame that ends later than any given would is one of another clock.
func (v *View) blamed(n *raftfsm.Node) bool {
	return n.BlamedUntilMs > v.NowMs && n.BlamedUntilMs-v.NowMs <= 2*v.Timing.Blame
}

// takes says whether a node gets partitions.
func (v *View) takes(n *raftfsm.Node) bool {
	return n.Stays() && !v.blamed(n) && n.Role() != raftfsm.RoleControl
}

// current is the living process of a node, of whatever life; ok is false when there is none.
func (v *View) current(id topology.NodeID) (topology.Process, bool) {
	n := v.State.Node(id)
	if n == nil || n.Status != raftfsm.Alive && n.Status != raftfsm.Leaving {
		return topology.Process{}, false
	}
	return n.Process(), true
}

// fullDisk says whether p's vault takes nothing.
func (v *View) fullDisk(p topology.Process) bool {
	r := v.report(p)
	return r != nil && r.DiskFull != ""
}

// clockOff says whether p's clock is too wrong for sources, or may be.
func (v *View) clockOff(p topology.Process) bool {
	r := v.report(p)
	return r != nil && r.clockWrong(v.Timing.ClockOff) != ""
}

// eachAssignment calls do with every active partition of q until it gives false.
func eachAssignment(q *raftfsm.Query, do func(s topology.StageID, a *topology.Assignment) bool) {
	for s, st := range q.Stages {
		for i := range st.Partitions {
			if !do(topology.StageID(s), &st.Partitions[i]) {
				return
			}
		}
	}
}

// placed says whether partitions of a query in that state are still placed.
func placed(s raftfsm.QueryState) bool { return s != raftfsm.Failed && s != raftfsm.Removing }
