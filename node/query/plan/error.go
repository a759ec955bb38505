package plan

import (
	"fmt"
	"sort"
	"strings"

	"github.com/seepnode/seepnode/node/query/ast"
)

// errorAt is a mistake at pos.
func errorAt(pos ast.Pos, format string, args ...any) *ast.Error {
	return &ast.Error{Pos: pos, Msg: fmt.Sprintf(format, args...)}
}

// hinted is a mistake at pos with what to do about it.
func hinted(pos ast.Pos, hint, format string, args ...any) *ast.Error {
	return &ast.Error{Pos: pos, Msg: fmt.Sprintf(format, args...), Hint: hint}
}

// unsupported refuses by name something that the dialect knows and seepnode does not do.
func unsupported(pos ast.Pos, what, hint string) *ast.Error {
	return &ast.Error{Pos: pos, Msg: what + " not supported", Hint: hint}
}

// didYouMean is a hint naming the candidate nearest to word, or "" when none is near.
func didYouMean(word string, candidates []string) string {
	if best := nearest(word, candidates); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
}

// maxWordLength bounds the words that are compared: nobody mistypes longer ones by a letter.
const maxWordLength = 128

// nearest is the candidate with the smallest edit distance from word, the first in sorted order of several, or "" when more
// than a third of the word would have to change.
func nearest(word string, candidates []string) string {
	if len(word) > maxWordLength {
		return ""
	}
	sorted := append([]string(nil), candidates...)
	sort.Strings(sorted)
	best, limit := "", max(1, len(word)/3)+1
	for _, c := range sorted {
		if len(c) > maxWordLength {
			continue
		}
		if d := editDistance(strings.ToLower(word), strings.ToLower(c)); d < limit {
			best, limit = c, d
		}
	}
	return best
}

// editDistance counts insertions, deletions and replacements of bytes.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}

// quoteList is `"a", "b", "c"`, at most twelve of them.
func quoteList(names []string) string {
	const most = 12
	var b strings.Builder
	for i, n := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", n)
	}
	return b.String()
}
