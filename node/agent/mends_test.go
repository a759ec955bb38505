package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// unattended is a query as it stands in the metadata, of which nothing runs.
func unattended(t *testing.T, w *raftfsm.Query) *running {
	t.Helper()
	data, err := raftfsm.EncodeSnapshot(&raftfsm.State{Version: 3, Incarnations: w.ID.Incarnation, Cluster: raftfsm.Cluster{ID: 1}, Queries: []*raftfsm.Query{w}})
	if err != nil {
		t.Fatal(err)
	}
	m := raftfsm.NewMachine()
	if err := m.Restore(data); err != nil {
		t.Fatal(err)
	}
	q := &queries{machine: m, changed: func() {}, quiet: func() func() { return func() {} }, log: slog.New(slog.DiscardHandler), vaults: backup.NewPool(topology.Process{Node: "n1", Boot: 1}, nil, nil)}
	return newRunning(t.Context(), q, w)
}

// TestALogThatWasTakenOverIsNoFailureOfItsQuery: what sealed to it is another's.
func TestALogThatWasTakenOverIsNoFailureOfItsQuery(t *testing.T) {
	r := unattended(t, &raftfsm.Query{Name: "q", ID: topology.QueryID{Incarnation: 1, Generation: 1}})
	defer r.end()
	r.sealsFailed(fmt.Errorf("log 1: %w", backup.ErrFenced))
	if r.err != nil {
		t.Errorf("the query failed: %v", r.err)
	}
	if r.sealsFailed(errors.New("the disk is broken")); r.err == nil {
		t.Error("a failure is not told")
	}
}

// TestARestoreOfWhatIsGoneBeginsAnewFromALaterCheckpointInsteadOfWaiting: no vault that comes back has what is trimmed, nor what is kept for a shadow
// when all vaults were replaced since.
func TestARestoreOfWhatIsGoneBeginsAnewFromALaterCheckpointInsteadOfWaiting(t *testing.T) {
	for _, kept := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			gone := []topology.Process{{Node: "lost", Boot: 7}}
			all := topology.Range{From: 0, To: 16}
			st := &raftfsm.Stage{Groups: 16, Partitions: []topology.Assignment{{Range: all, Process: gone[0], Instance: 1}}, Vaults: []topology.VaultSet{{Version: 1, Members: gone}}}
			if kept {
				st.Shadows = []topology.Shadow{{Range: all, Process: gone[0], Instance: 2, Restore: 10}}
			}
			r := unattended(t, &raftfsm.Query{Name: "q", ID: topology.QueryID{Incarnation: 1, Generation: 1}, Complete: 20, Instances: 2, Stages: []*raftfsm.Stage{st}})
			defer r.end()
			done := make(chan error, 1)
			go func() {
				err := r.restore(r.ctx, 0, all, 10, nil)
				done <- err
			}()
			select {
			case err := <-done:
				var trimmed *dataplane.TrimmedError
				if !errors.As(err, &trimmed) || trimmed.Floor != 21 {
					t.Errorf("%v", err)
				}
			case <-time.After(time.Minute):
				t.Error("it waits")
				r.end()
				<-done
			}
		})
	}
}
