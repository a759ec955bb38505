package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeebo/xxh3"

	"github.com/seepnode/seepnode/node/agent/member"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	pathReport = "/v1/internal/report"

	// reportApart is the least time between two reports, reportEvery the most.
	reportApart = 20 * time.Millisecond
	reportEvery = time.Second
	// reportWait bounds the sending of one: a leader that has vanished must not hold back the report to the next.
	reportWait = 500 * time.Millisecond
)

// reporter tells the leader how this process is doing: soon after something has changed, at once when another leads, and now and then.
type reporter struct {
	group   *raftfsm.Group
	control *member.Control
	table   *coordinator.ReportTable // of reports to this node, when it leads
	collect func() *coordinator.Report
	look    func() time.Duration // until the next report without a change
	log     *slog.Logger

	wake  chan struct{}
	hurry chan struct{} // the wake-up is not to wait for reportApart
	seq   uint64
	sent  atomic.Int64
	lost  atomic.Int64 // could not be sent
}

func newReporter(group *raftfsm.Group, control *member.Control, table *coordinator.ReportTable, collect func() *coordinator.Report, look func() time.Duration, log *slog.Logger) *reporter {
	return &reporter{group: group, control: control, table: table, collect: collect, look: look, log: log, wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
}

// lookAt gives how long it is until a node reports although nothing has changed: at one of ten instants of each reportEvery, when keep-alives are
// due, too, so that a process that is idle does not wake up for it alone; and not all nodes at the same one, which would keep the leader busy.
func lookAt(node topology.NodeID, now func() time.Time) func() time.Duration {
	phase := time.Duration(xxh3.HashString(string(node))%10) * reportEvery / 10
	return func() time.Duration {
		return reportEvery - (time.Duration(now().UnixNano())-phase)%reportEvery
	}
}

// urgent is changed, for what others wait for: a process is gone.
func (r *reporter) urgent() {
	select {
	case r.hurry <- struct{}{}:
	default:
	}
	r.changed()
}

// changed says that something in the report has changed. It does not block.
func (r *reporter) changed() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run reports until ctx ends.
func (r *reporter) run(ctx context.Context) {
	look := time.NewTimer(r.look())
	defer look.Stop()
	var to leadership // who had the last report
	var last time.Time
	due := true
	for ctx.Err() == nil {
		changed := r.group.LeaderChanged()
		if now := r.leadership(); now.node != "" && (now != to || due) {
			if due = true; !r.rest(ctx, reportApart-time.Since(last)) {
				continue
			}
			// What changes from here on is for the next one.
			select {
			case <-r.wake:
			default:
			}
			select {
			case <-r.hurry:
			default:
			}
			due, last = false, time.Now()
			if err := r.report(ctx, now, changed); err != nil && ctx.Err() == nil {
				r.lost.Add(1)
				level := slog.LevelDebug // it is on its way to another, or a connection is gone
				if errors.Is(err, errRefused) {
					level = slog.LevelError
				}
				r.log.Log(ctx, level, "reporting to the leader", "leader", now.node, "error", err)
				now = leadership{}
			}
			to = now
			continue
		}
		select {
		case <-r.wake:
			due = true
		case <-changed:
		case <-look.C:
			due = true
			look.Reset(r.look())
		case <-ctx.Done():
			return
		}
	}
}

// rest lets time pass between two reports. It gives false when it has passed, and who leads may have changed meanwhile; true when none has to, or
// no more because the report is urgent.
func (r *reporter) rest(ctx context.Context, d time.Duration) (now bool) {
	if d <= 0 {
		return true
	}
	apart := time.NewTimer(d)
	defer apart.Stop()
	select {
	case <-apart.C:
	case <-r.hurry:
		return true
	case <-ctx.Done():
	}
	return false
}

// leadership is who leads and since when: another term of the same node has forgotten what it was told.
type leadership struct {
	node    topology.NodeID
	address string // "" for this node
	term    uint64
}

func (r *reporter) leadership() leadership {
	if term, ok := r.group.Leads(); ok {
		return leadership{node: "this node", term: term}
	}
	if s, ok := r.group.Leader(); ok {
		return leadership{s.Node, s.Address, r.group.Status().Term}
	}
	return leadership{}
}

// report collects and sends one, unless another leads meanwhile.
func (r *reporter) report(ctx context.Context, to leadership, changed <-chan struct{}) error {
	report := r.collect()
	r.seq++
	report.Seq = r.seq
	if to.address == "" {
		r.table.Add(report)
		r.sent.Add(1)
		return nil
	}
	body, err := json.Marshal(report)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportWait)
	var watched sync.WaitGroup
	defer watched.Wait()
	defer cancel()
	watched.Go(func() {
		select {
		case <-changed:
			cancel()
		case <-ctx.Done():
		}
	})
	status, answer, err := r.control.Post(ctx, to.address, pathReport, "application/json", body, recordBytesMax)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("status %d: %s", status, answer)
		if status == http.StatusBadRequest {
			err = fmt.Errorf("%w: %s", errRefused, answer)
		}
	}
	if err == nil {
		r.sent.Add(1)
	}
	return err
}

// errRefused says that the leader cannot read a report: a defect, after which this process would be taken for dead.
var errRefused = errors.New("the leader refuses the report")

// recordBytesMax bounds answers that are read for their errors.
const recordBytesMax = 64 << 10
