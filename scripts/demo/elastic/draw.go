package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Colours of the screen.
const (
	plain  = "\x1b[0m"
	bold   = "\x1b[1m"
	dim    = "\x1b[2m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	cyan   = "\x1b[36m"
)

// lines draws a scene into so many columns and lines.
func (s *scene) lines(width, height int) []string {
	out := []string{
		fmt.Sprintf("%sseepnode%s  a query under a load that rises and falls: %s%s%s", bold, plain, cyan, s.phase, plain),
		fmt.Sprintf("%s  epoch %d, %d ms behind, %d of %d partitions run", clockText(s.at), s.epochs, s.lag, s.running, s.partitions),
		"",
		s.curve("rows/s offered", s.offered, width, "%.0f", ""),
		s.curve("rows/s processed", s.processed, width, "%.0f", green),
		s.curve("latency p99, ms", s.p99, width, "%.0f", yellow),
		s.curve("nodes joined", s.members, width, "%.0f", cyan),
		s.curve("of them in use", s.workers, width, "%.0f", cyan),
		"",
		s.legend(),
	}
	var gone []string
	for i := range s.nodes {
		if s.nodes[i].state == left {
			gone = append(gone, s.nodes[i].name)
			continue
		}
		out = append(out, s.nodes[i].line())
	}
	if len(gone) > 0 {
		out = append(out, fmt.Sprintf("%sleft: %s%s", dim, strings.Join(gone, " "), plain))
	}
	out = append(out, "")
	room := max(0, height-len(out)-1)
	for _, e := range s.events[max(0, len(s.events)-room):] {
		out = append(out, e.String())
	}
	for i := range out {
		out[i] = cut(out[i], width)
	}
	return out[:min(len(out), height)]
}

func clockText(at time.Duration) string {
	return fmt.Sprintf("%d:%02d", int(at.Minutes()), int(at.Seconds())%60)
}

var bars = []rune("▁▂▃▄▅▆▇█")

// curve is a name, the last seconds as bars, and the last value.
func (s *scene) curve(name string, values []float64, width int, format, colour string) string {
	const around = 18 + 9 // name and value
	if len(values) == 0 {
		return fmt.Sprintf("%-18s", name)
	}
	shown := values[max(0, len(values)-max(1, width-around)):]
	most := 0.0
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range shown {
		k := 0
		if most > 0 {
			k = min(len(bars)-1, int(v/most*float64(len(bars)-1)+0.5))
		}
		b.WriteRune(bars[k])
	}
	return fmt.Sprintf("%-18s%s%s%s %8s", name, colour, b.String(), plain, fmt.Sprintf(format, values[len(values)-1]))
}

// marks are how the partitions of each stage are shown.
var marks = []rune("ABCDEFGH")

func mark(stage int) string { return string(marks[min(stage, len(marks)-1)]) }

func (s *scene) legend() string {
	text := dim + "node   processor               partitions: "
	for i := range s.stages {
		what := "source"
		if i == s.stages-1 {
			what = "keyed count with its table"
		}
		text += fmt.Sprintf("%s %s  ", mark(i), what)
	}
	return text + "~ on its way" + plain
}

// line shows a worker. One that joined and runs something shows what.
func (n *nodeLine) line() string {
	const length = 12
	full := min(length, int(n.busy*length+0.5))
	bar := fmt.Sprintf("%s%s %3.0f %%", strings.Repeat("█", full), strings.Repeat("░", length-full), 100*n.busy)
	var parts strings.Builder
	for stage, k := range n.parts {
		for range k {
			parts.WriteString(" " + mark(stage))
		}
	}
	parts.WriteString(strings.Repeat(" ~", n.shadow))
	switch {
	case n.state == killed:
		return fmt.Sprintf("%s%-6s %s  killed%s", red, n.name, strings.Repeat(" ", length+6), plain)
	case n.state == lost || n.state == starting:
		return fmt.Sprintf("%s%-6s %s  %s%s", dim, n.name, strings.Repeat(" ", length+6), n.state, plain)
	case n.state == draining:
		return fmt.Sprintf("%-6s %s  %sdraining%s%s", n.name, bar, yellow, parts.String(), plain)
	case n.total()+n.shadow == 0:
		return fmt.Sprintf("%s%-6s %s  spare%s", dim, n.name, bar, plain)
	}
	return fmt.Sprintf("%-6s %s  %s%s%s", n.name, bar, green, strings.TrimPrefix(parts.String(), " "), plain)
}

// cut shortens a line to so many columns, colours not counted.
func cut(line string, width int) string {
	columns := 0
	for i := 0; i < len(line); {
		if line[i] == '\x1b' {
			if end := strings.IndexByte(line[i:], 'm'); end >= 0 {
				i += end + 1
				continue
			}
		}
		_, size := utf8.DecodeRuneInString(line[i:])
		if columns == width {
			return line[:i] + plain
		}
		columns++
		i += size
	}
	return line
}

// figures is a scene in one line.
func (s *scene) figures() string {
	last := func(values []float64) float64 {
		if len(values) == 0 {
			return 0
		}
		return values[len(values)-1]
	}
	return fmt.Sprintf("%6.1f  %-15s %6.0f rows/s offered %6.0f processed, p99 %4.0f ms, %d nodes joined, %d in use, %d partitions", s.at.Seconds(), s.phase+",",
		last(s.offered), last(s.processed), last(s.p99), s.cluster.now, s.use.now, s.partitions)
}
