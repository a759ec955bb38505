package agent

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestNodesReportAtRoundInstantsAndNotAllAtTheSame: what they report wakes nobody up alone, and never all nodes' reports come together.
func TestNodesReportAtRoundInstantsAndNotAllAtTheSame(t *testing.T) {
	now := time.Unix(1000, 123456789)
	at := map[time.Time]int{}
	for n := range 1000 {
		look := lookAt(topology.NodeID(fmt.Sprintf("n%d", n)), func() time.Time { return now })
		first := now.Add(look())
		if first.UnixNano()%int64(reportEvery/10) != 0 || first.Sub(now) > reportEvery {
			t.Fatalf("n%d reports after %v", n, first.Sub(now))
		}
		now = first
		if d := look(); d != reportEvery {
			t.Fatalf("n%d reports again after %v", n, d)
		}
		now = time.Unix(1000, 123456789)
		at[first]++
	}
	for x, n := range at {
		if n > 150 {
			t.Errorf("%d of 1000 nodes report at %v", n, x)
		}
	}
}

func TestOnlyAReportThatIsUrgentComesSoonAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReporter(nil, nil, nil, nil, nil, nil)
		began := time.Now()
		if !r.rest(t.Context(), -time.Second) || r.rest(t.Context(), reportApart) {
			t.Error("a report does not know whether it had to wait")
		}
		if d := time.Since(began); d != reportApart {
			t.Errorf("a report waited for %v", d)
		}
		go func() {
			time.Sleep(reportApart / 2)
			r.urgent()
		}()
		if !r.rest(t.Context(), time.Hour) || time.Since(began) != reportApart*3/2 {
			t.Errorf("an urgent report waited until %v", time.Since(began))
		}
	})
}
