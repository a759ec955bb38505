package agent

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestLogsAreLetGoThoughTheProcessHasNoLogOfItsOwnYet: a source that was restored behind its end puts no seals, and may say so first.
func TestLogsAreLetGoThoughTheProcessHasNoLogOfItsOwnYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		let := make(chan topology.SealLog, 2)
		s := newSeals(func(set topology.SealSet) *backup.SealWriter {
			return backup.NewSealWriter(backup.SealConfig{Set: set, Candidates: func() []topology.Process { return nil },
				Adopted: func(_ context.Context, _ topology.StageID, _ uint64, logs []topology.SealLog) error {
					let <- logs[0]
					return nil
				}})
		})
		s.Adopted(0, 7, []topology.SealLog{3}, 0)
		s.follow(&topology.SealSet{Log: 4})
		if log := <-let; log != 3 {
			t.Errorf("log %d was let go", log)
		}
		s.Adopted(0, 8, []topology.SealLog{5}, 0)
		if log := <-let; log != 5 {
			t.Errorf("log %d was let go", log)
		}
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
}
