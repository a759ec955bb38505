package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm"
)

// report is what the leader is told of the query's part here.
func (r *running) report() coordinator.QueryReport {
	r.mu.Lock()
	query, copies, lost, err := r.query, r.copies, r.lost, r.err
	var waiting []string
	for _, what := range r.waiting {
		waiting = append(waiting, what)
	}
	r.mu.Unlock()
	out := coordinator.QueryReport{ID: r.id, Lost: lost}
	if w := r.seals.current(); w != nil {
		if what := w.Waiting(); what != "" {
			waiting = append(waiting, what)
		}
	}
	slices.Sort(waiting)
	out.Waiting = short(strings.Join(waiting, "; "))
	if query != nil {
		st := query.Status()
		if err == nil {
			err = st.Err
		}
		out.Blocked = short(st.Blocked)
		groups := r.groupsDue()
		for i := range st.Partitions {
			p := partitionReport(&st.Partitions[i])
			p.Copied = copies.Copied(p.Stage, p.Range, p.Instance)
			if groups {
				p.Groups = st.Partitions[i].Groups
			}
			out.Partitions = append(out.Partitions, p)
		}
	}
	if err != nil {
		out.Error = short(err.Error())
	}
	return out
}

// groupsEvery is how often the rows of key groups are reported: they are long, and matter over seconds.
const groupsEvery = time.Second

// groupsDue says whether this report tells of the rows of key groups.
func (r *running) groupsDue() bool {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.groupsTold) < groupsEvery {
		return false
	}
	r.groupsTold = now
	return true
}

// short holds a text to what a report may carry.
func short(text string) string {
	if len(text) > raftfsm.MaxTextBytes {
		return strings.ToValidUTF8(text[:raftfsm.MaxTextBytes], "")
	}
	return text
}

func partitionReport(p *engine.PartitionStatus) coordinator.PartitionReport {
	out := coordinator.PartitionReport{
		Stage: p.Stage, Range: p.Range, Instance: p.Instance, Role: roleName(p.Role), Phase: p.Phase,
		Epoch: p.Epoch, Durable: p.Durable, Lines: p.Lines, LineBytes: p.LineBytes, LineVersions: p.LineVersions, Ended: p.Ended, EndedVersion: p.EndedVersion, Restored: p.Restored, RestoreMs: p.RestoreMs, ReplayMs: p.ReplayMs,
		StateBytes: p.StateBytes, TableBytes: p.TableBytes, SealBytes: p.SealBytes, LogBytes: p.LogBytes, SpilledBytes: p.SpilledBytes, RowsIn: p.Rows, RowsOut: p.RowsOut, BytesSent: p.SentBytes, Late: p.Late,
		RestoredBytes: p.RestoredBytes, BusyNs: p.BusyNs, IdleNs: p.IdleNs, BlockedNs: p.BlockedNs, WatermarkMs: p.WatermarkMs, Beyond: p.Beyond,
		CutRows: p.CutRows, HotKey: p.HotKey, HotShare: p.HotShare,
	}
	if p.Backlog >= 0 {
		out.Backlog = &p.Backlog
	}
	for _, t := range p.Taken {
		out.Taken = append(out.Taken, coordinator.Taken{Stage: t.Stage, Instance: t.Instance, Epoch: t.Epoch, PauseMs: t.Pause.Milliseconds()})
	}
	for _, c := range p.Chains {
		out.Chains = append(out.Chains, coordinator.ChainSum{Range: c.Range, Epoch: c.Epoch, Sum: c.Sum})
	}
	return out
}

func roleName(r engine.Role) string {
	switch r {
	case engine.Shadow:
		return coordinator.RoleShadow
	case engine.Retired:
		return coordinator.RoleRetired
	}
	return coordinator.RoleActive
}
