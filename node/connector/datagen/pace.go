package datagen

import (
	"fmt"
	"math/bits"
	"sort"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/node/connector"
)

// Bounds of a schedule. They keep halfMillis within 64 bits.
const (
	schedulePointsMax = 1000
	scheduleRateMax   = 1_000_000_000
	scheduleMsMax     = 1_000_000_000 // 11 days
)

// halfMillis is the unit in which rows are summed up: a rate of one row a second, kept for a millisecond, is two of them. The area below a
// ramp is whole in it, so that no row is lost or doubled where ramps meet.
const halfMillis = 2000

// pace is how many rows of the whole table are due after how long: a rate that changes linearly from each point to the next and stays as it
// is behind the last one. It is arithmetic in whole numbers and depends on nothing else.
type pace []point

type point struct {
	ms   uint64 // since epoch 0
	rate uint64 // rows per second
	sum  uint64 // of what is due until then, in 1/halfMillis of a row
}

// steady is the pace of one rate for ever.
func steady(rate uint64) pace { return pace{{rate: rate}} }

// parseSchedule reads '0 s: 1000, 30 s: 10000'.
func parseSchedule(text string) (pace, error) {
	var p pace
	some := false
	parts := strings.Split(text, ",")
	if len(parts) > schedulePointsMax {
		return nil, fmt.Errorf("it has %d points, at most %d are allowed", len(parts), schedulePointsMax)
	}
	for _, part := range parts {
		time, rate, ok := strings.Cut(part, ":")
		if !ok {
			return nil, fmt.Errorf("%q is not a time and a rate such as '30 s: 1000'", strings.TrimSpace(part))
		}
		at, err := connector.ParseDuration(strings.TrimSpace(time))
		if err != nil {
			return nil, err
		}
		rows, err := strconv.ParseUint(strings.TrimSpace(rate), 10, 64)
		if err != nil || rows > scheduleRateMax {
			return nil, fmt.Errorf("%q is not a number of rows per second from 0 to %d", strings.TrimSpace(rate), scheduleRateMax)
		}
		next := point{ms: uint64(at.Milliseconds()), rate: rows}
		switch {
		case next.ms > scheduleMsMax:
			return nil, fmt.Errorf("%q is too late, the last point may lie at %d ms", strings.TrimSpace(time), scheduleMsMax)
		case len(p) == 0 && at != 0:
			return nil, fmt.Errorf("it begins at %q; the first point must lie at 0 s", strings.TrimSpace(time))
		case len(p) > 0 && next.ms < p[len(p)-1].ms:
			return nil, fmt.Errorf("%q lies before the point in front of it", strings.TrimSpace(part))
		case len(p) > 0:
			last := p[len(p)-1]
			next.sum = last.sum + (last.rate+rows)*(next.ms-last.ms)
		}
		some = some || rows > 0
		p = append(p, next)
	}
	if !some {
		return nil, fmt.Errorf("%q never makes a row", text)
	}
	return p, nil
}

// rows is how many rows are due after ms milliseconds.
func (p pace) rows(ms uint64) uint64 {
	i := sort.Search(len(p), func(i int) bool { return p[i].ms > ms }) - 1
	dt := ms - p[i].ms
	if i < len(p)-1 {
		return p.within(i, dt, false) / halfMillis
	}
	hi, lo := bits.Mul64(2*p[i].rate, dt)
	lo, carry := bits.Add64(lo, p[i].sum, 0)
	if hi += carry; hi >= halfMillis {
		return rowsMax
	}
	n, _ := bits.Div64(hi, lo, halfMillis)
	return min(n, rowsMax)
}

// within is the sum dt milliseconds behind point i, which is not the last one, rounded up or down.
func (p pace) within(i int, dt uint64, up bool) uint64 {
	from, to := p[i], p[i+1]
	sum := from.sum + 2*from.rate*dt
	if to.rate == from.rate {
		return sum
	}
	length, rises := to.ms-from.ms, to.rate > from.rate
	change := from.rate - to.rate
	if rises {
		change = to.rate - from.rate
	}
	hi, lo := bits.Mul64(change, dt*dt)
	part, rest := bits.Div64(hi, lo, length) // dt is less than length
	if rest > 0 && up == rises {
		part++
	}
	if rises {
		return sum + part
	}
	return sum - part
}

// time is the millisecond in which a row comes, the last one at whose begin no more rows than those before it are due.
func (p pace) time(row uint64) uint64 {
	sum := row * halfMillis // rowsMax keeps the product in range
	i := 0
	if len(p) > 1 {
		i = sort.Search(len(p), func(i int) bool { return p[i].sum > sum }) - 1
	}
	from := p[i]
	switch {
	case i == len(p)-1 && from.rate == 0:
		return from.ms // behind the schedule's last row: read at full speed
	case i == len(p)-1 || p[i+1].rate == from.rate:
		return from.ms + (sum-from.sum)/(2*from.rate)
	}
	length := int(p[i+1].ms - from.ms)
	return from.ms + uint64(sort.Search(length, func(dt int) bool { return p.within(i, uint64(dt), true) > sum })) - 1
}
