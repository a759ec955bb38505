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
	changed chan struct{}
}

type arrival struct {
	report *Report
	at     time.Time
}

// NewReportTable makes an empty table; clock is time.Now, or a test's.
func NewReportTable(clock func() time.Time) *ReportTable {
	return &ReportTable{clock: clock, changed: make(chan struct{}, 1)}
}

// Add takes a report, which must be valid and not change any more, unless it is older than the one there. It does not block.
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
		t.reports[i] = arrival{r, t.clock()}
	case len(t.reports) >= 2*raftfsm.MaxNodes:
		return false // more lives than nodes: room comes when the dead are forgotten, and the process reports again
	default:
		t.reports = slices.Insert(t.reports, i, arrival{r, t.clock()})
	}
	return true
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

// received gives all reports with the milliseconds from start to their arrival added to startMs, and forgets those of processes
// that are gone.
func (t *ReportTable) received(s *raftfsm.State, start time.Time, startMs int64) []Received {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	t.reports = slices.DeleteFunc(t.reports, func(a arrival) bool {
		n := s.Node(a.report.Process.Node)
		return (n == nil || n.Boot != a.report.Process.Boot) && now.Sub(a.at) > keptOfOthers
	})
	out := make([]Received, len(t.reports))
	for i, a := range t.reports {
		out[i] = Received{a.report, startMs + a.at.Sub(start).Milliseconds()}
	}
	return out
}

func (t *ReportTable) index(p topology.Process) (int, bool) {
	return slices.BinarySearchFunc(t.reports, p, func(a arrival, p topology.Process) int { return compareProcess(a.report.Process, p) })
}
