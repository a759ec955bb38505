package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// A shadow that was restored just now has nothing to take because its epochs are on their way, not because it has them all.
func TestAShadowHasCaughtUpWithWhatSourcesHaveReleased(t *testing.T) {
	for name, c := range map[string]struct {
		role          Role
		before, heard int64 // when it was made, and now
		after         time.Duration
		want          bool
	}{
		"nothing has arrived yet":              {Shadow, 0, 0, 10 * time.Millisecond, false},
		"nothing comes of any source":          {Shadow, 0, 0, heardWithin, true},
		"a checkpoint's epochs are on the way": {Shadow, 0, 228, 10 * time.Millisecond, false},
		"a few epochs are":                     {Shadow, 0, 106, 10 * time.Millisecond, true},
		"it takes too long":                    {Shadow, 0, 228, nearWithin, true},
		"what was heard is old":                {Shadow, 50, 50, 10 * time.Millisecond, false},
		"nothing comes any more":               {Shadow, 50, 50, heardWithin, true},
		"it is active":                         {Active, 0, 228, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &partition{role: c.role, query: new(Query), next: 100, stateAt: time.Now(), heardBefore: topology.Epoch(c.before)}
				p.stats.phase.Store(int32(catchingUp))
				p.query.heard.Store(c.heard)
				time.Sleep(c.after)
				if p.near() != c.want {
					t.Errorf("after %s at epoch 99, of which sources have released %d: near is %v", c.after, c.heard, !c.want)
				}
			})
		})
	}
}

// For a shadow's state no result waits, while what is active beside it on a small computer would fall behind.
func TestAShadowsRestoreGivesWayToWhatIsActiveOnItsNode(t *testing.T) {
	for name, c := range map[string]struct {
		workers     int
		role, other Role
		ended       bool
		want        time.Duration
	}{
		"beside an active one":        {workers: 2, role: Shadow, other: Active, want: 30 * time.Millisecond},
		"on a large computer":         {workers: 8, role: Shadow, other: Active},
		"beside another shadow":       {workers: 2, role: Shadow, other: Shadow},
		"beside one that has ended":   {workers: 2, role: Shadow, other: Active, ended: true},
		"it has become active itself": {workers: 2, role: Active, other: Active},
		"it is not placed any more":   {workers: 2, other: Active},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				other := &partition{}
				other.stats.role.Store(int32(c.other))
				other.stats.phase.Store(int32(running))
				if c.ended {
					other.stats.phase.Store(int32(ended))
				}
				node := NewNode(NodeConfig{Workers: c.workers})
				p := &partition{node: node, query: &Query{}, spec: &plan.Stage{}, instance: 7}
				p.stats.role.Store(int32(Shadow))
				p.stats.phase.Store(int32(restoring))
				p.query.parts = []*partition{other, p}
				if err := node.add(p.query); err != nil {
					t.Fatal(err)
				}
				placed := Placement{Stages: make([][]Placed, 1)}
				if c.role != 0 {
					placed.Stages[0] = []Placed{{Instance: 6, Role: c.other}, {Instance: 7, Role: c.role}}
				}
				p.placement.Store(&placed)
				begun := time.Now()
				if err := p.giveWay(t.Context(), 10*time.Millisecond); err != nil {
					t.Fatal(err)
				}
				if rested := time.Since(begun); rested != c.want {
					t.Errorf("it rested %s after 10 ms of work, want %s", rested, c.want)
				}
			})
		})
	}
}
