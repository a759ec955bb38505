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
	q := &queries{machine: m, changed: func() {}, log: slog.New(slog.DiscardHandler), vaults: backup.NewPool(topology.Process{Node: "n1", Boot: 1}, nil, nil)}
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

// TestARestoreOfWhatIsTrimmedBeginsAnewInsteadOfWaiting: no vault that comes back has it.
func TestARestoreOfWhatIsTrimmedBeginsAnewInsteadOfWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := []topology.Process{{Node: "lost", Boot: 7}}
		r := unattended(t, &raftfsm.Query{Name: "q", ID: topology.QueryID{Incarnation: 1, Generation: 1}, Complete: 20,
			Instances: 1,
			Stages:    []*raftfsm.Stage{{Groups: 16, Partitions: []topology.Assignment{{Range: topology.Range{From: 0, To: 16}, Process: gone[0], Instance: 1}}, Vaults: []topology.VaultSet{{Version: 1, Members: gone}}}}})
		defer r.end()
		done := make(chan error, 1)
		go func() {
			_, err := r.restore(r.ctx, 0, topology.Range{From: 0, To: 16}, 10, nil)
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
