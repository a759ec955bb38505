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
		"it comes no nearer":                   {Shadow, 0, 228, nearWithin, true},
		"what was heard is old":                {Shadow, 50, 50, 10 * time.Millisecond, false},
		"nothing comes any more":               {Shadow, 50, 50, heardWithin, true},
		"it is active":                         {Active, 0, 228, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &partition{role: c.role, query: new(Query), next: 100, stateAt: time.Now(), heardBefore: topology.Epoch(c.before)}
				p.stats.phase.Store(int32(catchingUp))
				p.query.heard.Store(c.heard)
				p.near()
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
		worked      time.Duration
		promoted    time.Duration // after that
		want        time.Duration
	}{
		"beside an active one":           {workers: 2, role: Shadow, other: Active, worked: 10 * time.Millisecond, want: 30 * time.Millisecond},
		"after much work":                {workers: 2, role: Shadow, other: Active, worked: time.Minute, want: restMost},
		"until it is awaited":            {workers: 2, role: Shadow, other: Active, worked: time.Minute, promoted: 110 * time.Millisecond, want: 120 * time.Millisecond},
		"on a large computer":            {workers: 8, role: Shadow, other: Active, worked: time.Minute},
		"beside another shadow":          {workers: 2, role: Shadow, other: Shadow, worked: time.Minute},
		"beside one that has ended":      {workers: 2, role: Shadow, other: Active, ended: true, worked: time.Minute},
		"when it is active itself":       {workers: 2, role: Active, other: Active, worked: time.Minute},
		"when it is not placed any more": {workers: 2, other: Active, worked: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node, spec := NewNode(NodeConfig{Workers: c.workers}), &plan.Stage{}
				other, p := &partition{spec: spec, instance: 6}, &partition{node: node, query: &Query{}, spec: spec, instance: 7}
				if c.ended {
					other.stats.phase.Store(int32(ended))
				}
				p.query.parts = []*partition{other, p, {spec: spec, instance: 8}} // the last one has not begun
				if err := node.add(p.query); err != nil {
					t.Fatal(err)
				}
				placed := Placement{Stages: make([][]Placed, 1)}
				if c.role != 0 {
					placed.Stages[0] = []Placed{{Instance: 6, Role: c.other}, {Instance: 7, Role: c.role}}
				}
				p.placement.Store(&placed)
				other.placement.Store(&placed)
				if c.promoted > 0 {
					time.AfterFunc(c.promoted, func() {
						p.placement.Store(&Placement{Stages: [][]Placed{{{Instance: 7, Role: Active}}}})
					})
				}
				begun := time.Now()
				if err := p.giveWay(t.Context(), c.worked); err != nil {
					t.Fatal(err)
				}
				if rested := time.Since(begun); rested != c.want {
					t.Errorf("it rested %s after %s of work, want %s", rested, c.worked, c.want)
				}
			})
		})
	}
}
