package agent

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// rateEvery is how often figures are looked at, rateSamples over how many looks rates are.
	rateEvery   = time.Second
	rateSamples = 5
)

// rates are how fast the counters of reports grow. Only a leader has reports.
type rates struct {
	mu      sync.Mutex
	samples []sample // oldest first
	seen    map[topology.Process]seen
}

// seen is when the last new report of a process was noticed.
type seen struct {
	seq uint64
	at  time.Time
}

// sample are the counters of all instances at one time.
type sample struct {
	at       time.Time
	counters map[instanceKey]counters
}

type instanceKey struct {
	query    topology.QueryID
	stage    topology.StageID
	instance uint64
	process  topology.Process
}

type counters struct{ in, out, bytes, busy, idle, blocked int64 }

func (c counters) minus(d counters) counters {
	return counters{c.in - d.in, c.out - d.out, c.bytes - d.bytes, c.busy - d.busy, c.idle - d.idle, c.blocked - d.blocked}
}

// since is how much they have grown. Those that have begun anew count from there.
func (c counters) since(before counters) counters {
	if before.in <= c.in && before.busy <= c.busy {
		return c.minus(before)
	}
	return c
}

func (c counters) plus(d counters) counters {
	return counters{c.in + d.in, c.out + d.out, c.bytes + d.bytes, c.busy + d.busy, c.idle + d.idle, c.blocked + d.blocked}
}

// run looks at the reports until ctx ends.
func (r *rates) run(ctx context.Context, table *coordinator.ReportTable, now func() time.Time) {
	for sleep(ctx, rateEvery) {
		r.look(table.All(), now())
	}
}

func (r *rates) look(reports []*coordinator.Report, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(reports) == 0 && len(r.samples) == 0 {
		return // not the leader
	}
	s := sample{now, map[instanceKey]counters{}}
	before := r.seen
	r.seen = map[topology.Process]seen{}
	for _, report := range reports {
		if old, ok := before[report.Process]; ok && old.seq == report.Seq {
			r.seen[report.Process] = old
		} else {
			r.seen[report.Process] = seen{report.Seq, now}
		}
		for i := range report.Queries {
			q := &report.Queries[i]
			for j := range q.Partitions {
				p := &q.Partitions[j]
				s.counters[instanceKey{q.ID, p.Stage, p.Instance, report.Process}] = counters{p.RowsIn, p.RowsOut, p.BytesSent, p.BusyNs, p.IdleNs, p.BlockedNs}
			}
		}
	}
	r.samples = append(r.samples, s)
	if len(r.samples) > rateSamples+1 {
		r.samples = append(r.samples[:0], r.samples[1:]...)
	}
	if len(reports) == 0 {
		r.samples = nil
	}
}

// age is how long ago the last report of a process was noticed, in milliseconds, to about a second; -1: never.
func (r *rates) age(p topology.Process, now time.Time) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.seen[p]
	if !ok {
		return -1
	}
	return max(0, now.Sub(s.at).Milliseconds())
}

// grown is how much the counters that match have grown, and in how many seconds.
func (r *rates) grown(match func(instanceKey) bool) (counters, float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var total counters
	if len(r.samples) < 2 {
		return total, 0
	}
	first, last := &r.samples[0], &r.samples[len(r.samples)-1]
	for k, c := range last.counters {
		if match(k) {
			total = total.plus(c.since(first.counters[k]))
		}
	}
	return total, last.at.Sub(first.at).Seconds()
}

func perSecond(c counters, seconds float64) client.Rates {
	if seconds <= 0 {
		return client.Rates{}
	}
	per := func(n int64) float64 { return float64(max(0, n)) / seconds }
	return client.Rates{RowsInPerS: per(c.in), RowsOutPerS: per(c.out), BytesPerS: per(c.bytes)}
}

// node are the rates of a process, and the share of its cores that its partitions use.
func (r *rates) node(report *coordinator.Report, cores int) (client.Rates, float64) {
	c, seconds := r.grown(func(k instanceKey) bool { return k.process == report.Process })
	if seconds <= 0 {
		return client.Rates{}, 0
	}
	return perSecond(c, seconds), min(1, float64(c.busy)/1e9/seconds/float64(max(1, cores)))
}

// query are the rates of a query's stages in or out of which rows come, as source and sink say.
func (r *rates) query(id topology.QueryID, source, sink func(topology.StageID) bool) client.Rates {
	in, seconds := r.grown(func(k instanceKey) bool { return k.query == id && source(k.stage) })
	out, _ := r.grown(func(k instanceKey) bool { return k.query == id && sink(k.stage) })
	all, _ := r.grown(func(k instanceKey) bool { return k.query == id })
	rates := perSecond(in, seconds)
	rates.RowsOutPerS, rates.BytesPerS = perSecond(out, seconds).RowsInPerS, perSecond(all, seconds).BytesPerS
	return rates
}

// stage are a stage's rates and the shares of time that its partitions worked, waited for input and waited for credit.
func (r *rates) stage(id topology.QueryID, stage topology.StageID) (rates client.Rates, busy, idle, blocked float64) {
	c, seconds := r.grown(func(k instanceKey) bool { return k.query == id && k.stage == stage })
	busy, idle, blocked = c.shares()
	return perSecond(c, seconds), busy, idle, blocked
}

// partition are those shares of one instance.
func (r *rates) partition(k instanceKey) (busy, idle, blocked float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.samples) < 2 {
		return 0, 0, 0
	}
	return r.samples[len(r.samples)-1].counters[k].since(r.samples[0].counters[k]).shares()
}

func (c counters) shares() (busy, idle, blocked float64) {
	all := float64(cmp.Or(max(0, c.busy)+max(0, c.idle)+max(0, c.blocked), 1))
	return float64(max(0, c.busy)) / all, float64(max(0, c.idle)) / all, float64(max(0, c.blocked)) / all
}
