package expr

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/ast"
)

var _ = builtin(
	FunctionDef{Name: "LIKE", hidden: true, Takes: "STRING, STRING[, STRING]", Result: batch.TypeBoolean, Build: likeKernel, MayFail: true},
	FunctionDef{Name: "SIMILAR TO", hidden: true, Takes: "STRING, STRING[, STRING]", Result: batch.TypeBoolean, Build: similarKernel, MayFail: true},
)

func (c *checker) like(e *ast.Like) (*Node, error) {
	list := []ast.Expr{e.X, e.Pattern}
	if e.Escape != nil {
		list = append(list, e.Escape)
	}
	args, err := c.checkAll(list)
	if err != nil {
		return nil, err
	}
	name := "LIKE"
	if e.Similar {
		name = "SIMILAR TO"
	}
	def, ok := lookup(name)
	if !ok {
		return nil, fmt.Errorf("%s is not in the function registry", name)
	}
	n, err := callOf(def, args, e.Pos)
	if err != nil || !e.Not {
		return n, err
	}
	return not(n, e.Pos)
}

// likeMatcher says whether a whole text matches.
type likeMatcher func(s []byte) bool

// likeKernel compiles constant patterns once and others when they change.
func likeKernel(n *Node) (Kernel, error)    { return matcherKernel(n, compileLike) }
func similarKernel(n *Node) (Kernel, error) { return matcherKernel(n, compileSimilar) }

func matcherKernel(n *Node, compile func(pattern, escape []byte, escaped bool) (likeMatcher, error)) (Kernel, error) {
	var fixed, last likeMatcher
	var lastPattern, lastEscape []byte
	constant := true
	for _, a := range n.Args[1:] {
		constant = constant && a.Op == OpLiteral && !a.Literal.Null
	}
	escaped := len(n.Args) > 2
	if constant {
		var escape []byte
		if escaped {
			escape = n.Args[2].Literal.Bytes
		}
		var err error
		if fixed, err = compile(n.Args[1].Literal.Bytes, escape, escaped); err != nil {
			return nil, err
		}
	}
	return func(x *Call, out *batch.Column, rows int) {
		for i := range rows {
			out.Bools[i] = false
			if out.IsNull(i) {
				continue
			}
			m := fixed
			if m == nil {
				pattern, escape := x.Args[1].Text(i), []byte(nil)
				if escaped {
					escape = x.Args[2].Text(i)
				}
				if last == nil || !bytes.Equal(pattern, lastPattern) || !bytes.Equal(escape, lastEscape) {
					var err error
					if last, err = compile(pattern, escape, escaped); err != nil {
						x.Fail(i, "%v", err)
						last = nil
						continue
					}
					lastPattern, lastEscape = bytes.Clone(pattern), bytes.Clone(escape)
				}
				m = last
			}
			out.Bools[i] = m(x.Args[0].Text(i))
		}
	}, nil
}

// likeToken is one element of a LIKE pattern: literal bytes, one character, or any number of them.
type likeToken struct {
	text []byte
	one  bool
	any  bool
}

func likeTokens(pattern, escape []byte, escaped bool) ([]likeToken, error) {
	if escaped && utf8.RuneCount(escape) != 1 {
		return nil, fmt.Errorf("ESCAPE takes one character, not %q", escape)
	}
	var out []likeToken
	literal := func(b []byte) {
		if n := len(out); n > 0 && out[n-1].text != nil {
			out[n-1].text = append(out[n-1].text, b...)
			return
		}
		out = append(out, likeToken{text: bytes.Clone(b)})
	}
	for len(pattern) > 0 {
		_, w := utf8.DecodeRune(pattern)
		c := pattern[:w]
		pattern = pattern[w:]
		switch {
		case escaped && bytes.Equal(c, escape):
			_, w := utf8.DecodeRune(pattern)
			next := pattern[:w]
			if string(next) != "%" && string(next) != "_" && !bytes.Equal(next, escape) || w == 0 {
				return nil, fmt.Errorf("in the pattern, %q must stand before %%, _ or itself", escape)
			}
			literal(next)
			pattern = pattern[w:]
		case c[0] == '%':
			if n := len(out); n == 0 || !out[n-1].any {
				out = append(out, likeToken{any: true})
			}
		case c[0] == '_':
			out = append(out, likeToken{one: true})
		default:
			literal(c)
		}
	}
	return out, nil
}

func compileLike(pattern, escape []byte, escaped bool) (likeMatcher, error) {
	tokens, err := likeTokens(pattern, escape, escaped)
	if err != nil {
		return nil, err
	}
	shape := ""
	var text []byte
	for _, t := range tokens {
		switch {
		case t.any:
			shape += "%"
		case t.one:
			shape += "_"
		default:
			shape += "x"
			text = t.text
		}
	}
	switch shape {
	case "":
		return func(s []byte) bool { return len(s) == 0 }, nil
	case "%":
		return func(s []byte) bool { return true }, nil
	case "x":
		return func(s []byte) bool { return bytes.Equal(s, text) }, nil
	case "x%":
		return func(s []byte) bool { return bytes.HasPrefix(s, text) }, nil
	case "%x":
		return func(s []byte) bool { return bytes.HasSuffix(s, text) }, nil
	case "%x%":
		return func(s []byte) bool { return bytes.Contains(s, text) }, nil
	}
	return func(s []byte) bool { return likeMatch(tokens, s) }, nil
}

// likeMatch is greedy matching with one point to come back to, the last %: linear but for the text after it.
func likeMatch(tokens []likeToken, s []byte) bool {
	t, at := 0, 0
	backT, backAt := -1, 0
	for {
		if t < len(tokens) {
			tok := tokens[t]
			if tok.any {
				backT, backAt = t, at
				t++
				continue
			}
			if tok.one && at < len(s) {
				_, w := utf8.DecodeRune(s[at:])
				at += w
				t++
				continue
			}
			if !tok.one && bytes.HasPrefix(s[at:], tok.text) {
				at += len(tok.text)
				t++
				continue
			}
		} else if at == len(s) {
			return true
		}
		if backT < 0 || backAt >= len(s) {
			return false
		}
		_, w := utf8.DecodeRune(s[backAt:])
		backAt += w
		t, at = backT+1, backAt
	}
}

// compileSimilar turns a SQL regular expression into one of Go's.
func compileSimilar(pattern, escape []byte, escaped bool) (likeMatcher, error) {
	if escaped && utf8.RuneCount(escape) != 1 {
		return nil, fmt.Errorf("ESCAPE takes one character, not %q", escape)
	}
	var b strings.Builder
	b.WriteString(`\A(?s:`)
	inClass := false
	for rest := string(pattern); rest != ""; {
		r, w := utf8.DecodeRuneInString(rest)
		c := rest[:w]
		rest = rest[w:]
		switch {
		case escaped && c == string(escape):
			if rest == "" {
				return nil, fmt.Errorf("the pattern ends in its escape character %q", escape)
			}
			_, w = utf8.DecodeRuneInString(rest)
			b.WriteString(regexp.QuoteMeta(rest[:w]))
			rest = rest[w:]
		case inClass:
			inClass = r != ']'
			if r == '\\' {
				c = `\\`
			}
			b.WriteString(c)
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteString(".")
		case strings.ContainsRune("|*+?{}(),", r):
			b.WriteString(c)
		case r == '[':
			inClass = true
			b.WriteString(c)
		default:
			b.WriteString(regexp.QuoteMeta(c))
		}
	}
	b.WriteString(`)\z`)
	p, err := compilePattern(b.String())
	if err != nil {
		return nil, fmt.Errorf("%q is not a SIMILAR TO pattern: %w", pattern, err)
	}
	return p.re.Match, nil
}
