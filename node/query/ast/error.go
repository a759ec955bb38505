package ast

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/seepnode/seepnode/node/query/spelling"
)

// Error is a mistake in the query text.
type Error struct {
	Pos  Pos
	Msg  string // what was expected and what was found
	Hint string // what to do, "" if there is nothing to add
}

// Error is "line 3, column 7: expected ..., found ...; hint".
func (e *Error) Error() string {
	s := fmt.Sprintf("line %d, column %d: %s", e.Pos.Line, e.Pos.Column, e.Msg)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// caretWidth is how many characters of a long line Caret shows on each side of the column.
const caretWidth = 60

// Caret renders the line of src at which e stands, and below it a caret under the column.
// src is the text that was parsed. Of a long line only the surroundings of the column are shown. "" if src has no such line.
func (e *Error) Caret(src string) string {
	src = strings.TrimPrefix(src, byteOrderMark)
	for line := 1; line < e.Pos.Line; line++ {
		i := strings.IndexByte(src, '\n')
		if i < 0 {
			return ""
		}
		src = src[i+1:]
	}
	if e.Pos.Line < 1 || e.Pos.Column < 1 {
		return ""
	}
	if i := strings.IndexByte(src, '\n'); i >= 0 {
		src = src[:i]
	}
	line := []rune(strings.TrimSuffix(src, "\r"))
	at := min(e.Pos.Column-1, len(line))
	from, to := max(0, at-caretWidth), min(len(line), at+caretWidth)
	var text, pad strings.Builder
	if from > 0 {
		text.WriteString("...")
		pad.WriteString("   ")
	}
	for i := from; i < to; i++ {
		r := line[i]
		if r != '\t' && !unicode.IsPrint(r) {
			r = ' '
		}
		text.WriteRune(r)
		if i < at {
			// A tab stays a tab, so that the caret stands right at any tab width.
			if r != '\t' {
				r = ' '
			}
			pad.WriteRune(r)
		}
	}
	if to < len(line) {
		text.WriteString("...")
	}
	return text.String() + "\n" + pad.String() + "^"
}

// nearest is the candidate that word (in capitals) is most likely a misspelling of, or "".
func nearest(word string, candidates []string) string {
	if len(word) > 64 {
		return ""
	}
	best, bestDistance := "", 3
	for _, c := range candidates {
		limit := 1
		if min(len(c), len(word)) >= 6 {
			limit = 2
		}
		if min(len(c), len(word)) < 3 {
			continue
		}
		if d := spelling.Distance(word, c); d <= limit && d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}
