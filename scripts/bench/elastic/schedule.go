package main

import (
	"fmt"
	"strings"
	"time"
)

// schedule is a rate over time since the query's start, as datagen's option has it: it changes steadily between points, two points at one
// time are a step.
type schedule []ratePoint

type ratePoint struct {
	at   time.Duration
	rate int // rows per second
}

func steady(rate int) schedule { return schedule{{0, rate}} }

// String is the option's value.
func (s schedule) String() string {
	var parts []string
	for _, p := range s {
		parts = append(parts, fmt.Sprintf("%d ms: %d", p.at.Milliseconds(), p.rate))
	}
	return strings.Join(parts, ", ")
}

// from is the schedule that begins after a time in which the rate is that of its begin: while nodes start and the state is filled.
func (s schedule) from(lead time.Duration) schedule {
	out := schedule{{0, s[0].rate}}
	for _, p := range s {
		out = append(out, ratePoint{p.at + lead, p.rate})
	}
	return out
}

// end is the time of the last point.
func (s schedule) end() time.Duration { return s[len(s)-1].at }

// rate is the rate at a time; at that of a step the one behind it.
func (s schedule) rate(at time.Duration) float64 {
	for i := len(s) - 1; i >= 0; i-- {
		if p := s[i]; p.at <= at {
			if i == len(s)-1 {
				return float64(p.rate)
			}
			next := s[i+1]
			return float64(p.rate) + float64(next.rate-p.rate)*float64(at-p.at)/float64(next.at-p.at)
		}
	}
	return 0
}

// rows is how many rows are due until a time.
func (s schedule) rows(until time.Duration) float64 {
	sum := 0.0
	for i, p := range s {
		end, last := until, float64(p.rate)
		if i+1 < len(s) && s[i+1].at <= until {
			end, last = s[i+1].at, float64(s[i+1].rate)
		} else if end > p.at {
			last = s.rate(until)
		}
		if end > p.at {
			sum += (float64(p.rate) + last) / 2 * (end - p.at).Seconds()
		}
		if end == until {
			break
		}
	}
	return sum
}

// peak is the greatest rate.
func (s schedule) peak() int {
	most := 0
	for _, p := range s {
		most = max(most, p.rate)
	}
	return most
}
