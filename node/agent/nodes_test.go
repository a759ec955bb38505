package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestEachNodeTellsItsOwnAgeWhoeverIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		time.Sleep(2 * time.Second)
		for _, a := range agents {
			nodes, err := c.api(a).Nodes(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range nodes {
				if n.UptimeMs < 2000 || n.Started.IsZero() {
					t.Errorf("%s says that %s has been up for %d ms, since %v", a.config.Name, n.Name, n.UptimeMs, n.Started)
				}
				one, err := c.api(a).Node(t.Context(), n.Name)
				if err != nil || one.UptimeMs < 2000 {
					t.Errorf("%s says of %s: %+v, %v", a.config.Name, n.Name, one, err)
				}
			}
		}
	})
}
