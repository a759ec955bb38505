package fleet

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/bench/sample"
)

// instant is the distance of the instants of creation that count as rows.
const instant = time.Millisecond

// clockOf asks for the query's clock.
func clockOf(ctx context.Context, asks *client.Client, epochMs int64) (sample.Clock, error) {
	got, err := asks.ReadTable(ctx, client.TableReadRequest{Query: QueryName, Table: TableName, Key: []string{hotKey}, MinEpoch: 1})
	if err != nil {
		return sample.Clock{}, fmt.Errorf("asking for the query's clock: %w", err)
	}
	return sample.ClockOf(got.Epoch, got.Time, time.Duration(epochMs)*time.Millisecond)
}

// sight is one answer to a reader: at a moment it saw all up to an epoch, and the time before all up to another.
type sight struct {
	at           time.Time
	behind, upTo topology.Epoch
}

// Watch follows the result table from a voter until it is ended.
type Watch struct {
	clock  sample.Clock
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	seen  []sight
	fails int
	last  error
}

const retryEvery = 20 * time.Millisecond

// Watch begins to follow the table.
func (f *Fleet) Watch(ctx context.Context) (*Watch, error) {
	asks, err := f.Poll(0, 1, 2)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{clock: f.Clock, cancel: cancel}
	w.done.Go(func() {
		defer asks.Close()
		w.follow(ctx, asks)
	})
	return w, nil
}

func (w *Watch) follow(ctx context.Context, asks *client.Client) {
	request := client.TableReadRequest{Query: QueryName, Table: TableName, Key: []string{hotKey}}
	for {
		got, err := asks.ReadTable(ctx, request)
		now := time.Now()
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		if err != nil { // somebody that is being replaced; what it keeps back counts as late
			w.fails++
			w.last = err
		} else {
			if request.MinEpoch > 0 {
				w.seen = append(w.seen, sight{at: now, behind: request.MinEpoch - 1, upTo: got.Epoch})
			}
			request.MinEpoch = got.Epoch + 1
		}
		w.mu.Unlock()
		if err != nil && pause(ctx, retryEvery) != nil {
			return
		}
	}
}

// End ends it; twice is fine.
func (w *Watch) End() {
	w.cancel()
	w.done.Wait()
}

// between are the sights at or behind from and before to.
func (w *Watch) between(from, to time.Time) []sight {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []sight
	for _, s := range w.seen {
		if !s.at.Before(from) && s.at.Before(to) {
			out = append(out, s)
		}
	}
	return out
}

// Ages are those of the rows that were seen first between two times.
func (w *Watch) Ages(from, to time.Time) sample.Sample {
	var out sample.Sample
	for _, s := range w.between(from, to) {
		for created := w.clock.Time(s.behind).Add(instant / 2); created.Before(w.clock.Time(s.upTo)); created = created.Add(instant) {
			out = append(out, s.at.Sub(created))
		}
	}
	return out
}

// Silence is the longest time between two times in which nothing new was seen.
func (w *Watch) Silence(from, to time.Time) time.Duration {
	longest, last := time.Duration(0), from
	for _, s := range w.between(from, to) {
		longest, last = max(longest, s.at.Sub(last)), s.at
	}
	return max(longest, to.Sub(last))
}

// Processed is how many rows of a schedule were seen first between two times: with an epoch all rows are seen that were due until its time.
func (w *Watch) Processed(rate Schedule, from, to time.Time) (rows float64) {
	until := func(e topology.Epoch) float64 { return rate.Rows(w.clock.Time(e).Sub(w.clock.Start)) }
	for _, s := range w.between(from, to) {
		rows += until(s.upTo) - until(s.behind)
	}
	return rows
}

// Shows waits until everything that was due at a time has been seen, and says how long after it that was.
func (w *Watch) Shows(ctx context.Context, due time.Time) (time.Duration, error) {
	for {
		w.mu.Lock()
		for _, s := range w.seen {
			if !w.clock.Time(s.upTo).Before(due) {
				w.mu.Unlock()
				return s.at.Sub(due), nil
			}
		}
		w.mu.Unlock()
		if err := pause(ctx, retryEvery); err != nil {
			return 0, fmt.Errorf("waiting for the result table to show all that was due at %s: %w", due.Format("15:04:05.000"), err)
		}
	}
}

// Check fails when nothing at all was seen.
func (w *Watch) Check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.seen) == 0 {
		return fmt.Errorf("the result table was never seen to change; %d reads failed, the last one with: %w", w.fails, w.last)
	}
	return nil
}
