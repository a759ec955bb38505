package seepnode

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// display writes for people: columns that line up, units, and colour where it helps and is wanted.
type display struct {
	to     io.Writer
	colour bool
}

// newDisplay colours on terminals, unless NO_COLOR (no-color.org) or TERM=dumb says not to.
func newDisplay(to io.Writer) *display {
	f, ok := to.(*os.File)
	return &display{to, ok && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && terminalWidth(f) > 0}
}

// Colours of a terminal.
const (
	plain  = ""
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
)

// cell is a text with a colour; numbers stand to the right.
type cell struct {
	text   string
	colour string
	right  bool
}

func word(s string) cell          { return cell{text: printable(s)} }
func faint(s string) cell         { return cell{text: printable(s), colour: dim} }
func figure(s string) cell        { return cell{text: s, right: true} }
func count(n int64) cell          { return figure(grouped(n)) }
func size(n int64) cell           { return figure(bytesText(n)) }
func lag(ms int64) cell           { return figure(lagText(ms)) }
func rate(perSecond float64) cell { return figure(grouped(int64(perSecond + 0.5))) }
func share(part float64) cell     { return figure(fmt.Sprintf("%.0f %%", part*100)) }

// alarm is a count that should be 0.
func alarm(n int64, colour string) cell {
	c := count(n)
	if n != 0 {
		c.colour = colour
	}
	return c
}

// printable keeps what an answer holds from steering the terminal.
func printable(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case !unicode.IsPrint(r):
			b.WriteRune('\uFFFD')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func (d *display) paint(c cell) string {
	if !d.colour || c.colour == plain || c.text == "" {
		return c.text
	}
	return "\x1b[" + c.colour + "m" + c.text + "\x1b[0m"
}

// table prints rows below a head; a column without any text is left out, unless all are.
func (d *display) table(head []string, rows [][]cell) error {
	widths, used := make([]int, len(head)), make([]bool, len(head))
	for _, row := range rows {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
			used[i] = used[i] || c.text != ""
		}
	}
	var b strings.Builder
	write := func(row []cell) {
		var text strings.Builder
		for i, c := range row {
			if !used[i] && len(rows) > 0 {
				continue
			}
			if text.Len() > 0 {
				text.WriteString("  ")
			}
			pad := strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(c.text)))
			if c.right {
				text.WriteString(pad + d.paint(c))
			} else {
				text.WriteString(d.paint(c) + pad)
			}
		}
		b.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	titles := make([]cell, len(head))
	for i, h := range head {
		widths[i] = max(widths[i], utf8.RuneCountInString(h))
		titles[i] = cell{text: h, colour: bold, right: len(rows) > 0 && i < len(rows[0]) && rows[0][i].right}
	}
	write(titles)
	for _, row := range rows {
		write(row)
	}
	_, err := io.WriteString(d.to, b.String())
	return err
}

// fact is a line of what is known of one thing.
type fact struct {
	name string
	text string
}

// facts prints names and texts in two columns; those without a text are left out.
func (d *display) facts(list []fact) error {
	width := 0
	for _, f := range list {
		if f.text != "" {
			width = max(width, utf8.RuneCountInString(f.name))
		}
	}
	var b strings.Builder
	for _, f := range list {
		if f.text != "" {
			name := f.name + strings.Repeat(" ", width-utf8.RuneCountInString(f.name))
			b.WriteString("  " + d.paint(cell{text: name, colour: dim}) + "  " + f.text + "\n")
		}
	}
	_, err := io.WriteString(d.to, b.String())
	return err
}

func (d *display) line(format string, args ...any) error {
	_, err := fmt.Fprintf(d.to, format+"\n", args...)
	return err
}

// timeText is an instant in UTC; "" for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// agoText is how long ago something was: "40 ms", "3 min 02 s".
func agoText(d time.Duration) string { return lagText(max(0, d).Milliseconds()) }
