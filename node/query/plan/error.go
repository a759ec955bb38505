package plan

import (
	"fmt"
	"strings"

	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/spelling"
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
	if best := spelling.Nearest(word, candidates); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return ""
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
