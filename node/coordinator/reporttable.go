package coordinator

import (
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Times after which reports count no more.
const (
	keptBeforeReign = time.Second      // a new leader takes what came so shortly before
	keptOfOthers    = 10 * time.Second // of a process that is no node's current one
)

// ReportTable holds the latest report of each process, with the time when it came. Safe for concurrent use.
type ReportTable struct {
	clock   func() time.Time
	mu      sync.Mutex
	reports []arrival // ascending by process
	unread  []unread  // ascending by process
	changed chan struct{}
}

// unread is when a report came that could not be read.
type unread struct {
	process topology.Process
	at      time.Time
}

type arrival struct {
	report *Report
	at     time.Time
}

// NewReportTable makes an empty table; clock is time.Now, or a test's.
func NewReportTable(clock func() time.Time) *ReportTable {
	return &ReportTable{clock: clock, changed: make(chan struct{}, 1)}
}

// Add takes a report, which must be valid and not change any more but here, unless it is older than the one there. It does not block.
func (t *ReportTable) Add(r *Report) {
	if !t.put(r) {
		return
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
}

func (t *ReportTable) put(r *Report) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := t.index(r.Process)
	switch {
	case ok && t.reports[i].report.Seq >= r.Seq:
		return false
	case ok:
		r.keepGroups(t.reports[i].report)
		t.reports[i] = arrival{r, t.clock()}
	case len(t.reports) >= 2*raftfsm.MaxNodes:
		return false // more lives than nodes: room comes when the dead are forgotten, and the process reports again
	default:
		t.reports = slices.Insert(t.reports, i, arrival{r, t.clock()})
	}
	return true
}

// keepGroups takes over what the report before said of key groups where this one leaves it out.
func (r *Report) keepGroups(before *Report) {
	for i := range r.Queries {
		q := &r.Queries[i]
		k := slices.IndexFunc(before.Queries, func(x QueryReport) bool { return x.ID == q.ID })
		for j := 0; k >= 0 && j < len(q.Partitions); j++ {
			p := &q.Partitions[j]
			at := slices.IndexFunc(before.Queries[k].Partitions, func(x PartitionReport) bool {
				return x.Stage == p.Stage && x.Instance == p.Instance && x.Range == p.Range
			})
			if p.Groups == nil && at >= 0 {
				p.Groups = before.Queries[k].Partitions[at].Groups
			}
		}
	}
}

// Unread notes that a report of a process came that could not be read: it lives.
func (t *ReportTable) Unread(p topology.Process) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, ok := slices.BinarySearchFunc(t.unread, p, func(u unread, p topology.Process) int { return compareProcess(u.process, p) })
	switch {
	case ok:
		t.unread[i].at = t.clock()
	case len(t.unread) < 2*raftfsm.MaxNodes:
		t.unread = slices.Insert(t.unread, i, unread{p, t.clock()})
	}
}

// Changed gives something after reports came. One at a time may wait on it.
func (t *ReportTable) Changed() <-chan struct{} { return t.changed }

// Latest is the latest report of a process, nil without one. It must not be changed.
func (t *ReportTable) Latest(p topology.Process) *Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.index(p); ok {
		return t.reports[i].report
	}
	return nil
}

// Heard is when the latest report of a process came, the zero time without one.
func (t *ReportTable) Heard(p topology.Process) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := t.index(p); ok {
		return t.reports[i].at
	}
	return time.Time{}
}

// All gives the latest reports, ascending by process. They must not be changed.
func (t *ReportTable) All() []*Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make([]*Report, len(t.reports))
	for i := range t.reports {
		out[i] = t.reports[i].report
	}
	return out
}

// begin forgets what came before a reign.
func (t *ReportTable) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	t.reports = slices.DeleteFunc(t.reports, func(a arrival) bool { return now.Sub(a.at) > keptBeforeReign })
}

// View is what is known now: for decisions that a person asks for, beside those of Loop.
func (t *ReportTable) View(s *raftfsm.State, leader topology.Process) *View {
	now := t.clock()
	reports, unread := t.received(s, now, now.UnixMilli())
	return &View{State: s, Reports: reports, Unread: unread, NowMs: now.UnixMilli(), Leader: leader, Timing: DefaultTiming()}
}

// received gives all reports and signs of life with the milliseconds from start to their arrival added to startMs, and forgets those
// of processes that are gone.
func (t *ReportTable) received(s *raftfsm.State, start time.Time, startMs int64) ([]Received, []Sign) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	t.reports = slices.DeleteFunc(t.reports, func(a arrival) bool {
		n := s.Node(a.report.Process.Node)
		return (n == nil || n.Boot != a.report.Process.Boot) && now.Sub(a.at) > keptOfOthers
	})
	t.unread = slices.DeleteFunc(t.unread, func(u unread) bool { return now.Sub(u.at) > keptOfOthers })
	out := make([]Received, len(t.reports))
	for i, a := range t.reports {
		out[i] = Received{a.report, startMs + a.at.Sub(start).Milliseconds()}
	}
	signs := make([]Sign, len(t.unread))
	for i, u := range t.unread {
		signs[i] = Sign{u.process, startMs + u.at.Sub(start).Milliseconds()}
	}
	return out, signs
}

func (t *ReportTable) index(p topology.Process) (int, bool) {
	return slices.BinarySearchFunc(t.reports, p, func(a arrival, p topology.Process) int { return compareProcess(a.report.Process, p) })
}
