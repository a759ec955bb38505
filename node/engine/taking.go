package engine

import (
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Taken is how a partition came from a former instance of a producer to its successor, or, when Instance is its own, how it took over.
type Taken struct {
	Stage    topology.StageID // of the instance
	Instance uint64
	Epoch    topology.Epoch // the first from the new instance
	// Pause is the time from the end of the last epoch before to the end of Epoch, less the epochs' own time where a clock gives them one.
	// Of the instance itself it is from when it heard of the switch until it first showed something outside.
	Pause time.Duration
}

// takenMax is how many are remembered.
const takenMax = 8

// taking waits for the first epoch from new instances.
type taking struct {
	news  []Taken // instances that nothing was taken from yet
	last  topology.Epoch
	ended time.Time // when the epoch last was taken
	since time.Time // when the instance became active in place of another one; zero when it did not, or has shown something since
}

// from notes that epochs will come from another instance than before.
func (t *taking) from(stage topology.StageID, instance uint64) {
	t.news = append(t.news, Taken{Stage: stage, Instance: instance})
}

// taken notes that the partition has taken all epochs up to last.
func (t *taking) taken(p *partition, last topology.Epoch) {
	now := time.Now()
	for i := range t.news {
		x := &t.news[i]
		x.Epoch = last
		if !t.ended.IsZero() {
			x.Pause = now.Sub(t.ended)
			if p.query.clocked() {
				x.Pause -= time.Duration(int64(last-t.last)*p.query.plan.Settings.EpochMs) * time.Millisecond
			}
		}
		p.noteTaken(*x)
	}
	t.news = t.news[:0]
	t.last, t.ended = last, now
}

// tookOver notes that the instance becomes active in place of another one.
func (t *taking) tookOver(p *partition, role Role) {
	if p.role == Shadow && role == Active && len(p.lanes) > 0 {
		t.since = time.Now()
	}
}

// shown notes that the lanes show the epochs up to through.
func (t *taking) shown(p *partition, through topology.Epoch) {
	if t.since.IsZero() {
		return
	}
	p.noteTaken(Taken{Stage: p.spec.ID, Instance: p.instance, Epoch: through, Pause: time.Since(t.since)})
	t.since = time.Time{}
}

func (p *partition) noteTaken(x Taken) {
	x.Pause = max(0, x.Pause)
	p.report.Lock()
	if len(p.taken) == takenMax {
		p.taken = append(p.taken[:0], p.taken[1:]...)
	}
	p.taken = append(p.taken, x)
	p.report.Unlock()
	p.query.statusChanged()
}

// showLoadEvery is how often the rows of key groups are shown to who asks.
const showLoadEvery = time.Second

func (p *partition) showLoad() {
	if p.begun.Sub(p.loadAt) < showLoadEvery {
		return
	}
	p.loadAt = p.begun
	key, share := p.hot.look(p.load, p.rng.From)
	p.report.Lock()
	p.loadShown = append(p.loadShown[:0], p.load...)
	p.hotShown, p.hotShare = key, share
	p.report.Unlock()
}
