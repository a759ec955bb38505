package table

import (
	"errors"
	"testing"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestAReadThatFoundALaneBeforeItGaveKeyGroupsAwayIsToldSo: what the lane shows later is not of them.
func TestAReadThatFoundALaneBeforeItGaveKeyGroupsAwayIsToldSo(t *testing.T) {
	s := NewStore()
	l := openLane(t, s, testAll)
	commit(t, l, 5)
	config := testConfig()
	found, err := s.pieces(name{config.Query, config.Table}, testAll)
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	l.(connector.Narrower).Narrow(topology.Range{To: 4})
	write(t, l, topology.Range{To: 4}, 6)
	commit(t, l, 6)
	if err := found[0].lane.pin(6, found[0].rng); !errors.Is(err, ErrNotHere) {
		t.Errorf("epoch 6 of key groups %v: %v", found[0].rng, err)
	}
	if err := found[0].lane.pin(6, topology.Range{To: 4}); err != nil {
		t.Error(err)
	}
}
