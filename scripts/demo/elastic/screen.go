package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// screen shows scenes.
type screen interface {
	draw(s *scene)
	close() // twice is fine
}

// newScreen is a terminal's whole screen, or lines.
func newScreen(out *os.File, lines bool) screen {
	if _, _, ok := size(out); !ok || lines {
		return &written{out: out}
	}
	t := &terminal{out: out, size: func() (int, int, bool) { return size(out) }}
	t.open()
	return t
}

const (
	alternate = "\x1b[?1049h\x1b[?25l" // a screen of its own, without a cursor
	normal    = "\x1b[?25h\x1b[?1049l"
	home      = "\x1b[H"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

// terminal draws on a screen of its own, behind which the terminal's contents come back.
type terminal struct {
	out    io.Writer
	size   func() (columns, lines int, ok bool)
	opened bool
}

func (t *terminal) open() {
	t.opened = true
	fmt.Fprint(t.out, alternate)
}

func (t *terminal) draw(s *scene) {
	columns, lines, ok := t.size()
	if !ok {
		return
	}
	var b strings.Builder
	b.WriteString(home)
	for i, line := range s.lines(columns, lines) {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(line + clearLine)
	}
	b.WriteString(clearRest)
	fmt.Fprint(t.out, b.String())
}

func (t *terminal) close() {
	if t.opened {
		t.opened = false
		fmt.Fprint(t.out, normal)
	}
}

// lineEvery is how often figures are written where there is no screen.
const lineEvery = 2 * time.Second

// written writes what happens, and figures now and then.
type written struct {
	out    io.Writer
	events int
	next   time.Duration
}

func (w *written) draw(s *scene) {
	for ; w.events < len(s.events); w.events++ {
		fmt.Fprintf(w.out, "%s\n", s.events[w.events])
	}
	if s.at >= w.next {
		w.next = s.at + lineEvery
		fmt.Fprintf(w.out, "%s\n", s.figures())
	}
}

func (w *written) close() {}
