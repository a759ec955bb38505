package seepnode

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/engine"
)

// drawInterval is the time between two progress lines.
const drawInterval = 250 * time.Millisecond

// showProgress draws a line again and again until endProgress. Without a terminal it does nothing.
func (c *console) showProgress(progress func() engine.Progress) {
	if !c.terminal {
		return
	}
	stop, gone := make(chan struct{}), make(chan struct{})
	c.mu.Lock()
	c.stop, c.gone = stop, gone
	c.mu.Unlock()
	go func() {
		defer close(gone)
		ticks := time.NewTicker(drawInterval)
		defer ticks.Stop()
		var meter meter
		for {
			select {
			case <-stop:
				return
			case <-ticks.C:
				c.draw(meter.line(progress()))
			}
		}
	}()
}

// endProgress ends drawing and clears the line. Calling it again does nothing.
func (c *console) endProgress() {
	c.mu.Lock()
	stop, gone := c.stop, c.gone
	c.stop = nil
	c.mu.Unlock()
	if stop == nil {
		return
	}
	close(stop)
	<-gone
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
}

// meter turns how far a query is into how fast it goes.
type meter struct {
	seen []sample // of the last windowSamples lines, oldest first
}

// windowSamples is over how many lines the rate is taken: steady, yet soon right.
const windowSamples = 8

type sample struct {
	rows int64
	at   time.Duration
}

// line is "epoch 1,234  12,345,678 rows  1,234,567 rows/s  lag 40 ms  state 12.3 MB  10 s", and what was skipped or late if any.
func (m *meter) line(p engine.Progress) string {
	m.seen = append(m.seen, sample{p.RowsIn, p.Elapsed})
	if len(m.seen) > windowSamples {
		m.seen = m.seen[1:]
	}
	first := sample{}
	if len(m.seen) == windowSamples {
		first = m.seen[0]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "epoch %s  %s  %s rows/s  lag %s  state %s  %s", grouped(int64(p.Epoch)), counted(int(p.RowsIn), "row"),
		grouped(perSecond(p.RowsIn-first.rows, p.Elapsed-first.at)), lagText(p.LagMs), bytesText(p.StateBytes), secondsText(p.Elapsed))
	if p.RowsSkipped > 0 {
		fmt.Fprintf(&b, "  %s skipped", grouped(p.RowsSkipped))
	}
	if p.RowsLate > 0 {
		fmt.Fprintf(&b, "  %s late", grouped(p.RowsLate))
	}
	return b.String()
}

func perSecond(n int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64(float64(n) / d.Seconds())
}

func lagText(ms int64) string {
	if ms < 10_000 {
		return fmt.Sprintf("%d ms", ms)
	}
	return secondsText(time.Duration(ms) * time.Millisecond)
}

func secondsText(d time.Duration) string {
	s := int64(d / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %02d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %02d min", s/3600, s%3600/60)
}

// bytesText is a size in units of 1000, as disks and networks count.
func bytesText(n int64) string {
	units := []string{"kB", "MB", "GB", "TB", "PB"}
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range units {
		if v /= 1000; v < 999.95 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// grouped writes n with a comma before every three digits.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}
