package engine

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// instantSealer releases and fsyncs what is put a while later.
type instantSealer struct {
	records  []backup.SealRecord
	putAt    []time.Time
	takes    time.Duration
	released topology.Epoch
	onMarks  func()
}

func (s *instantSealer) Put(r backup.SealRecord) {
	s.records, s.putAt = append(s.records, r), append(s.putAt, time.Now())
	time.AfterFunc(s.takes, func() {
		s.released = r.Last
		s.onMarks()
	})
}
func (s *instantSealer) Marks() (released, durable topology.Epoch) { return s.released, s.released }
func (s *instantSealer) OnMarks(f func())                          { s.onMarks = f }
func (s *instantSealer) Adopt(context.Context, []topology.SealLog) ([]backup.AdoptedLog, error) {
	return nil, nil
}
func (s *instantSealer) Adopted(topology.StageID, uint64, []topology.SealLog, topology.Epoch) {}

// sealingOf is the sealing of a node with n source partitions.
func sealingOf(n int, sealer *instantSealer) (*sealing, []*partition) {
	p := &plan.Plan{}
	p.Settings.EpochMs = 10
	q := &Query{plan: p, placement: &Placement{}}
	s := &sealing{query: q, sealer: sealer}
	sealer.OnMarks(s.marks)
	for range n {
		part := &partition{query: q, spec: &plan.Stage{}, wake: make(chan struct{}, 1)}
		part.stats.role.Store(int32(Active))
		part.stats.phase.Store(int32(running))
		q.parts = append(q.parts, part)
	}
	return s, q.parts
}

func TestAllSourcesOfATickShareARecordAndOneThatIsLateWaitsForNoTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sealer := &instantSealer{takes: 200 * time.Microsecond}
		s, parts := sealingOf(3, sealer)
		late := 0
		for e := topology.Epoch(1); e <= 200; e++ {
			tick := time.Now()
			var last *submission
			for i, p := range parts {
				if i == 2 && e%10 == 0 { // too late for the others
					time.Sleep(5 * time.Millisecond)
					late++
				} else {
					time.Sleep(100 * time.Microsecond)
				}
				last = s.submit(p, nil, e)
			}
			submitted := time.Now()
			for !s.isReleased(last) {
				time.Sleep(50 * time.Microsecond)
			}
			if wait := time.Since(submitted); wait > sealer.takes+gatherFor+50*time.Microsecond {
				t.Fatalf("epoch %d was released %v after the last of its sources sealed it", e, wait)
			}
			time.Sleep(time.Until(tick.Add(10 * time.Millisecond)))
		}
		if n := len(sealer.records); n != 200+late {
			t.Errorf("%d records for 200 ticks, in %d of which a source was late", n, late)
		}
		for _, r := range sealer.records {
			if r.Last < r.First {
				t.Errorf("record %d to %d", r.First, r.Last)
			}
		}
	})
}

func TestNumbersOfRecordsDoNotRunAwayFromTheEpochsInThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sealer := &instantSealer{takes: 200 * time.Microsecond}
		s, parts := sealingOf(2, sealer)
		for e := topology.Epoch(1); e <= 500; e++ {
			tick := time.Now()
			for _, p := range parts {
				s.submit(p, nil, e)
				time.Sleep(gatherFor + time.Millisecond) // each seals for itself
				if last, _ := s.numbered(); last > e+aheadMax {
					t.Fatalf("at epoch %d record %d was put", e, last)
				}
			}
			time.Sleep(time.Until(tick.Add(10 * time.Millisecond)))
		}
		time.Sleep(time.Second)
		if last, waiting := s.numbered(); last < 500 || waiting > 0 {
			t.Errorf("record %d is the last, %d seals wait", last, waiting)
		}
	})
}

// numbered is the last record's number, and how many seals wait for one.
func (s *sealing) numbered() (last topology.Epoch, waiting int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last, len(s.queue)
}

// formerSealer has logs of former owners as well.
type formerSealer struct {
	instantSealer
	logs []backup.AdoptedLog
}

func (s *formerSealer) Adopt(context.Context, []topology.SealLog) ([]backup.AdoptedLog, error) {
	return s.logs, nil
}

// TestWhatASourceAdoptsIsDurableOnlyAsFarAsAllItsKeyGroupsAreSealed is invariant 4 where a source takes over from two, one of which was further
// than the other: what the other's key groups have behind that is still to be sealed.
func TestWhatASourceAdoptsIsDurableOnlyAsFarAsAllItsKeyGroupsAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sealer := &formerSealer{instantSealer: instantSealer{takes: time.Millisecond}}
		for i, rng := range []topology.Range{{From: 0, To: 128}, {From: 128, To: 256}} {
			seal := Seal{Range: rng, First: 1, Last: topology.Epoch(45 + 5*i)}
			sealer.logs = append(sealer.logs, backup.AdoptedLog{Log: topology.SealLog(i + 1), Records: []backup.SealRecord{{First: 1, Last: seal.Last, Data: appendSeal(nil, &seal)}}})
		}
		s, parts := sealingOf(1, &sealer.instantSealer)
		p := parts[0]
		s.sealer, p.query.sealing, p.query.config.Sealer = sealer, s, sealer
		p.query.placement.Stages = [][]Placed{{{Instance: 7, Role: Active}}}
		p.node, p.instance, p.role, p.next, p.source = &Node{config: NodeConfig{Logger: slog.New(slog.DiscardHandler)}}, 7, Active, 1, &source{}
		p.spec.Groups, p.rng, p.placed = 256, topology.Range{From: 0, To: 256}, &Placed{Adopt: []topology.SealLog{1, 2}}
		if err := p.beginSource(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if durable := p.sealed.Load(); durable != 45 {
			t.Errorf("durable up to %d, and half of its key groups are sealed up to 45", durable)
		}
		if r := sealer.records; len(r) != 1 || r[0].Last < 50 {
			t.Errorf("records %+v: trimming up to 45 drops what is sealed up to 50", r)
		}
		if p.source.put != 45 {
			t.Errorf("it goes on sealing behind %d", p.source.put)
		}
	})
}
