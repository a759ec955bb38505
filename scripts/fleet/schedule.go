package fleet

import (
	"fmt"
	"strings"
	"time"
)

// Schedule is a rate over time since the query's start, as datagen's option has it: it changes steadily between points, two points at one
// time are a step.
type Schedule []RatePoint

// RatePoint is the rate at a time.
type RatePoint struct {
	At   time.Duration
	Rate int // rows per second
}

// At is a point.
func At(at time.Duration, rate int) RatePoint { return RatePoint{At: at, Rate: rate} }

// Steady is one rate for ever.
func Steady(rate int) Schedule { return Schedule{{0, rate}} }

// String is the option's value.
func (s Schedule) String() string {
	var parts []string
	for _, p := range s {
		parts = append(parts, fmt.Sprintf("%d ms: %d", p.At.Milliseconds(), p.Rate))
	}
	return strings.Join(parts, ", ")
}

// After is the schedule that begins after a time in which the rate is that of its begin: while nodes start and the state is filled.
func (s Schedule) After(lead time.Duration) Schedule {
	out := Schedule{{0, s[0].Rate}}
	for _, p := range s {
		out = append(out, RatePoint{p.At + lead, p.Rate})
	}
	return out
}

// End is the time of the last point.
func (s Schedule) End() time.Duration { return s[len(s)-1].At }

// Rate is the rate at a time; at that of a step the one behind it.
func (s Schedule) Rate(at time.Duration) float64 {
	for i := len(s) - 1; i >= 0; i-- {
		if p := s[i]; p.At <= at {
			if i == len(s)-1 {
				return float64(p.Rate)
			}
			next := s[i+1]
			return float64(p.Rate) + float64(next.Rate-p.Rate)*float64(at-p.At)/float64(next.At-p.At)
		}
	}
	return 0
}

// Rows is how many rows are due until a time.
func (s Schedule) Rows(until time.Duration) float64 {
	sum := 0.0
	for i, p := range s {
		end, last := until, float64(p.Rate)
		if i+1 < len(s) && s[i+1].At <= until {
			end, last = s[i+1].At, float64(s[i+1].Rate)
		} else if end > p.At {
			last = s.Rate(until)
		}
		if end > p.At {
			sum += (float64(p.Rate) + last) / 2 * (end - p.At).Seconds()
		}
		if end == until {
			break
		}
	}
	return sum
}

// Peak is the greatest rate.
func (s Schedule) Peak() int {
	most := 0
	for _, p := range s {
		most = max(most, p.Rate)
	}
	return most
}
