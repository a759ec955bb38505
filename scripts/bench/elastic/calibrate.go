package main

import (
	"context"
	"fmt"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/host"
	"github.com/seepnode/seepnode/scripts/fleet"
)

// capacity is what a small computer does for the workload, measured before an experiment that depends on it.
type capacity struct {
	cores  float64 // of the computer
	idle   float64 // cores that its agent uses while the keyed stage gets hardly any row
	perRow float64 // core seconds
}

// rate is how many rows a second bring a computer to a share of its cores.
func (c capacity) rate(utilisation float64) int {
	return max(1, int((utilisation*c.cores-c.idle)/c.perRow))
}

func (c capacity) String() string {
	return fmt.Sprintf("a worker of %g cores uses %.0f %% of them while hardly a row comes and %.0f µs for each row, so that %d rows/s are all that it can take",
		c.cores, 100*c.idle/c.cores, 1e6*c.perRow, c.rate(1))
}

// calibrate measures the processor time of the node of the keyed stage at two rates, with all of the workload's keys: in a large state a row costs
// more.
func (b *bench) calibrate(ctx context.Context, load fleet.Workload, cores float64) (c capacity, err error) {
	const low = 20
	// The higher rate is about half of what a computer takes: at a fifth of that what a row costs came out as anything from 80 to 430 µs.
	high := max(5*low, int(7000*cores)/max(1, load.Work))
	lasts, lead := pick(b, 12*time.Second, 8*time.Second), 8*time.Second+time.Duration(load.Keys)*fleet.FilledIn
	f, err := b.newRig(ctx, 3, cores)
	if err != nil {
		return c, err
	}
	defer func() { err = f.Close(err) }()
	load.Rate = fleet.Schedule{fleet.At(0, low), fleet.At(lead+lasts, low), fleet.At(lead+lasts, high)}
	if err := f.addApart(ctx, load); err != nil {
		return c, err
	}
	pid := f.PID(f.Find(f.agentOf(ctx, false)))
	var used [2]float64
	for i, from := range []time.Duration{lead, lead + lasts + 2*time.Second} {
		if err := pause(ctx, time.Until(f.Clock.Start.Add(from))); err != nil {
			return c, err
		}
		began := time.Now()
		before, err := host.CPU(pid)
		if err != nil {
			return c, err
		}
		if err := pause(ctx, lasts-500*time.Millisecond); err != nil {
			return c, err
		}
		after, err := host.CPU(pid)
		if err != nil {
			return c, err
		}
		used[i] = (after - before).Seconds() / time.Since(began).Seconds()
	}
	c = capacity{cores: cores, perRow: (used[1] - used[0]) / float64(high-low)}
	c.idle = used[0] - low*c.perRow
	if c.perRow <= 0 || c.idle < 0 || c.rate(1) < 2 {
		return c, fmt.Errorf("the capacity of a computer was measured as nonsense: %.3f cores at %d rows/s, %.3f at %d", used[0], low, used[1], high)
	}
	say("%s", c)
	if used[1] > 0.9*cores {
		return c, fmt.Errorf("%d rows/s are too many to measure what a row costs: they use %.2f of %g cores", high, used[1], cores)
	}
	return c, nil
}
