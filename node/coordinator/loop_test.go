package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
)

func TestOneQuerysTroubleDelaysNoOther(t *testing.T) {
	w := newWorld(t, 1, 5)
	w.addQuery("stuck")
	w.addQuery("well")
	w.runFor(1000)
	if n1 := w.nodes[1].process(); !w.state.Query("stuck").Uses(n1) || !w.state.Query("well").Uses(n1) {
		t.Fatal("n1 does not run both")
	}
	synctest.Test(t, func(t *testing.T) {
		m := raftfsm.NewMachine()
		snapshot, err := raftfsm.EncodeSnapshot(w.state)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Restore(snapshot); err != nil {
			t.Fatal(err)
		}
		table := NewReportTable(time.Now)
		stuck := w.state.Query("stuck").ID
		var mu sync.Mutex
		ctx, cancel := context.WithCancel(t.Context())
		propose := func(ctx context.Context, e raftfsm.Envelope) (raftfsm.Outcome, error) {
			switch k := e.Command.(type) {
			case *raftfsm.Reassign:
				if k.Query == stuck {
					<-ctx.Done()
					return raftfsm.Outcome{}, ctx.Err()
				}
			case *raftfsm.NodeLeave:
				return raftfsm.Outcome{}, errors.New("no")
			}
			mu.Lock()
			defer mu.Unlock()
			data, err := raftfsm.EncodeCommand(e)
			if err != nil {
				return raftfsm.Outcome{}, err
			}
			return m.Apply(data)
		}
		var lost []Note
		done := make(chan struct{})
		go func() {
			defer close(done)
			Loop(ctx, Deps{Machine: m, Propose: propose, Reports: table, Leader: w.nodes[0].process(), Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
				Observe: func(n Note) {
					if n.Kind == "lost" {
						lost = append(lost, n)
					}
				}})
		}()
		synctest.Wait()
		// Everybody reports but n1, of which n2 says that its connection has ended.
		for i, a := range w.nodes {
			r := &Report{Process: a.process(), Seq: 1, Applied: w.state.Version}
			if i == 2 {
				r.Complaints = []Complaint{{w.nodes[1].process(), ComplaintEnded, 5}}
			}
			if i != 1 {
				table.Add(r)
			}
		}
		time.Sleep(50 * time.Millisecond)
		synctest.Wait()
		s := m.View()
		if n := s.Node("n1"); n.Status != raftfsm.Lost {
			t.Errorf("n1 is %v", n.Status)
		}
		if well := s.Query("well"); well.Uses(w.nodes[1].process()) {
			t.Error("the query that is well still uses n1")
		}
		if q := s.Query("stuck"); !q.Uses(w.nodes[1].process()) {
			t.Error("the stuck query was reassigned: this shows nothing")
		}
		cancel()
		<-done
		if len(lost) != 1 {
			t.Errorf("%d losses noted", len(lost))
		}
	})
}
