package seepnode

import (
	"io"
	"os"
	"sync"
)

// console keeps the progress line apart from all else that is written to the same terminal: whoever writes clears it first, and
// it is drawn again later.
type console struct {
	terminal bool      // standard error is one
	err, out io.Writer // standard error, and standard output when it may be the same terminal

	mu    sync.Mutex
	line  io.Writer  // where the progress line is drawn; nil without a terminal
	width func() int // of the terminal in columns
	drawn bool

	stop chan struct{} // closed to end drawing; nil when none is going on
	gone chan struct{} // closed when drawing has ended
}

func newConsole(s Streams) *console {
	c := &console{err: s.Err, out: s.Out}
	f, ok := s.Err.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" || terminalWidth(f) <= 0 {
		return c
	}
	c.useLine(f, func() int { return terminalWidth(f) })
	if out, ok := s.Out.(*os.File); ok && terminalWidth(out) > 0 {
		c.out = clearing{c, s.Out}
	}
	return c
}

// useLine makes line a terminal of the given width.
func (c *console) useLine(line io.Writer, width func() int) {
	c.terminal, c.line, c.width = true, line, width
	c.err = clearing{c, line}
}

// clearing writes after clearing the progress line.
type clearing struct {
	console *console
	to      io.Writer
}

func (w clearing) Write(p []byte) (int, error) {
	w.console.mu.Lock()
	defer w.console.mu.Unlock()
	w.console.clear()
	return w.to.Write(p)
}

// eraseLine returns to the line's start and erases it.
const eraseLine = "\r\x1b[K"

// clear is called with mu held.
func (c *console) clear() {
	if c.drawn {
		c.drawn = false
		_, _ = io.WriteString(c.line, eraseLine) // a terminal that is gone has no line to clear
	}
}

// draw shows text in place of the line before, cut to the terminal's width.
func (c *console) draw(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if most := c.width() - 1; most > 0 && len(text) > most {
		text = text[:most]
	}
	c.drawn = true
	_, _ = io.WriteString(c.line, eraseLine+text) // as above
}

// endLine clears a line that was drawn; the next thing written stands in its place.
func (c *console) endLine() {
	if !c.terminal {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
}
