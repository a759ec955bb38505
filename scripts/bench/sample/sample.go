package sample

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Sample is a number of measured times.
type Sample []time.Duration

// Quantile is the smallest value that at least the share p of the values does not exceed (nearest rank); 0 of none.
func (s Sample) Quantile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	rank := int(math.Ceil(float64(p * float64(len(sorted)))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Max is the greatest value, 0 of none.
func (s Sample) Max() time.Duration { return s.Quantile(1) }

// Ms is a duration in milliseconds as tables show it.
func Ms(d time.Duration) string {
	if d < 100*time.Millisecond {
		return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000)
	}
	return fmt.Sprintf("%d", d.Milliseconds())
}

// Clock is the time of a query's epochs.
type Clock struct {
	Start  time.Time // of epoch 0
	Length time.Duration
}

// ClockOf derives a query's clock from the time that is told of one epoch.
func ClockOf(epoch topology.Epoch, at time.Time, length time.Duration) (Clock, error) {
	if epoch < 1 || length <= 0 || at.IsZero() {
		return Clock{}, errors.New("the query has no clock: no epoch, or no time of it, is known")
	}
	return Clock{Start: at.Add(-time.Duration(epoch) * length), Length: length}, nil
}

// Time is when an epoch is due.
func (c Clock) Time(e topology.Epoch) time.Time { return c.Start.Add(time.Duration(e) * c.Length) }

// Created is when a row of datagen was due whose generated timestamp, which counts from 1970, is ts.
func (c Clock) Created(ts time.Time) time.Time { return c.Start.Add(ts.Sub(time.Unix(0, 0))) }
