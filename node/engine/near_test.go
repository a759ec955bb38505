package engine

import (
	"testing"
	"testing/synctest"
	"time"
)

// A shadow that was restored just now has nothing to take because its epochs are on their way, not because it has them all.
func TestAShadowHasCaughtUpWithWhatSourcesHaveReleased(t *testing.T) {
	for name, c := range map[string]struct {
		role  Role
		heard int64
		after time.Duration
		want  bool
	}{
		"nothing has arrived yet":              {Shadow, 0, 10 * time.Millisecond, false},
		"nothing comes of any source":          {Shadow, 0, heardWithin, true},
		"a checkpoint's epochs are on the way": {Shadow, 228, 10 * time.Millisecond, false},
		"a few epochs are":                     {Shadow, 106, 10 * time.Millisecond, true},
		"it takes too long":                    {Shadow, 228, nearWithin, true},
		"it is active":                         {Active, 228, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &partition{role: c.role, query: new(Query), next: 100, stateAt: time.Now()}
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
