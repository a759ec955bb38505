package ast

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/seepnode/seepnode/dataplane/batch"
)

const (
	// MaxSource is the longest text that is parsed, in bytes.
	MaxSource = 16 << 20
	// maxDepth bounds how deep expressions, queries and types nest.
	maxDepth = 200
	// maxOperators bounds the infix and postfix operators, joins and set operations of one statement:
	// a chain of them is a tree as deep as the chain is long.
	maxOperators = 20000
)

// Parse reads a whole file. A text without a statement is an empty Script. The error is an *Error.
func Parse(src string) (*Script, error) { return parseAll(src, (*parser).script) }

// ParseExpr reads one scalar expression, which must be the whole text. The error is an *Error.
func ParseExpr(src string) (Expr, error) { return parseAll(src, (*parser).expression) }

// ParseType reads one type, which must be the whole text. The error is an *Error.
func ParseType(src string) (batch.Type, error) { return parseAll(src, (*parser).dataType) }

// parser reads tokens with one token of lookahead. A mistake unwinds it with a bailout, which parseAll turns into the error.
type parser struct {
	lex      lexer
	tok      token // the current token, not yet consumed
	prev     token // the last one consumed
	ahead    token // the one after tok, if hasAhead
	hasAhead bool

	depth     int
	operators int
	aliasAt   int // byte offset of the last word that was taken for an alias without AS, -1 if none was
}

type bailout struct{ err *Error }

func parseAll[T any](src string, parse func(*parser) T) (result T, err error) {
	if len(src) > MaxSource {
		return result, &Error{Pos{1, 1}, fmt.Sprintf("the text has %d bytes, more than the %d that are supported", len(src), MaxSource), ""}
	}
	src = strings.TrimPrefix(src, byteOrderMark)
	if at := invalidAt(src); at >= 0 {
		l := newLexer(src)
		l.skipTo(at)
		return result, &Error{l.pos(), fmt.Sprintf("the byte 0x%02X here is not UTF-8", src[at]), "save the file as UTF-8"}
	}
	defer func() {
		if r := recover(); r != nil {
			b, ok := r.(bailout)
			if !ok {
				panic(r)
			}
			var none T
			result, err = none, b.err
		}
	}()
	p := &parser{lex: newLexer(src), aliasAt: -1}
	p.advance()
	result = parse(p)
	if p.tok.kind != tokenEnd {
		p.unexpected("the end of the text", clauseWords...)
	}
	return result, nil
}

// invalidAt is the offset of the first byte of src that is not UTF-8, or -1.
func invalidAt(src string) int {
	if utf8.ValidString(src) {
		return -1
	}
	for i, r := range src {
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(src[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

func (p *parser) advance() {
	p.prev = p.tok
	if p.hasAhead {
		p.tok, p.hasAhead = p.ahead, false
		return
	}
	if p.tok.kind != tokenError {
		p.tok = p.lex.next()
	}
}

// peek is the token after the current one.
func (p *parser) peek() *token {
	if !p.hasAhead {
		p.ahead, p.hasAhead = p.lex.next(), true
	}
	return &p.ahead
}

func (t *token) isWord(w string) bool { return t.kind == tokenWord && t.upper == w }
func (t *token) isSym(s string) bool  { return t.kind == tokenSymbol && t.text == s }

func (t *token) isWordIn(words ...string) bool {
	return t.kind == tokenWord && slices.Contains(words, t.upper)
}

func (p *parser) isWord(w string) bool { return p.tok.isWord(w) }
func (p *parser) isSym(s string) bool  { return p.tok.isSym(s) }

func (p *parser) acceptWord(w string) bool {
	if p.isWord(w) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) acceptSym(s string) bool {
	if p.isSym(s) {
		p.advance()
		return true
	}
	return false
}

// words consumes the given words, all of which must be there.
func (p *parser) words(ws ...string) {
	for _, w := range ws {
		if !p.acceptWord(w) {
			p.unexpected(w, w)
		}
	}
}

func (p *parser) sym(s string) {
	if !p.acceptSym(s) {
		p.unexpected(`"` + s + `"`)
	}
}

// fail stops parsing with an error at pos.
func (p *parser) fail(pos Pos, hint, format string, args ...any) {
	panic(bailout{&Error{pos, fmt.Sprintf(format, args...), hint}})
}

// refuse stops parsing at a piece of SQL that is known and not supported.
func (p *parser) refuse(pos Pos, r refusal) { p.fail(pos, r.hint, "%s is not supported", r.name) }

// unexpected stops parsing at the current token, with the best hint there is.
// A found word that is close to one of the candidates is taken for its misspelling.
func (p *parser) unexpected(expected string, candidates ...string) {
	p.unexpectedHint("", expected, candidates...)
}

func (p *parser) unexpectedHint(hint, expected string, candidates ...string) {
	if p.tok.kind == tokenError {
		panic(bailout{p.tok.err})
	}
	// "FROM t WHER a = 1": WHER was taken for an alias of t; the mistake shows only now.
	if p.aliasAt >= 0 && p.prev.start == p.aliasAt && p.prev.kind == tokenWord {
		if w := misspelt(p.prev.upper, clauseWords); w != "" {
			p.fail(p.prev.pos, "did you mean "+w+"?", "expected %s, found %s", w, p.prev.describe())
		}
	}
	found := p.tok.describe()
	if p.tok.kind == tokenWord {
		p.refuseClause()
		if w := misspelt(p.tok.upper, candidates); w != "" {
			p.fail(p.tok.pos, "did you mean "+w+"?", "expected %s, found %s", expected, found)
		}
	}
	p.fail(p.tok.pos, hint, "expected %s, found %s", expected, found)
}

// atRefusedClause says whether a clause that is known and not supported begins at the current token.
func (p *parser) atRefusedClause() bool {
	if p.tok.kind != tokenWord {
		return false
	}
	c, ok := refusedClauses[p.tok.upper]
	if !ok || c.then == "" {
		return ok
	}
	next := p.peek()
	for _, t := range strings.Fields(c.then) {
		if next.isWord(t) || next.isSym(t) || t == "#" && next.kind == tokenNumber {
			return true
		}
	}
	return false
}

// refuseClause stops parsing at such a clause.
func (p *parser) refuseClause() {
	if p.atRefusedClause() {
		p.refuse(p.tok.pos, refusedClauses[p.tok.upper].refusal)
	}
}

// misspelt is the keyword among the candidates that word is a misspelling of, or "".
func misspelt(word string, candidates []string) string {
	if reserved[word] || word == "" {
		return ""
	}
	if word == "GROUPBY" || word == "ORDERBY" {
		return word[:5] + " BY"
	}
	return nearest(word, candidates)
}

// listEnd is called where a list must go on with a comma or end; it stops parsing otherwise.
func (p *parser) listEnd(expected string, candidates ...string) {
	hint := ""
	switch {
	case p.tok.kind == tokenWord && !reserved[p.tok.upper], p.tok.kind == tokenQuoted, p.tok.kind == tokenString, p.tok.kind == tokenNumber:
		hint = "is a comma missing before " + p.tok.describe() + "?"
	}
	p.unexpectedHint(hint, `"," or `+expected, candidates...)
}

// enter counts one level of nesting; leave takes it back.
func (p *parser) enter() {
	if p.depth++; p.depth > maxDepth {
		p.fail(p.tok.pos, "cut the query into views", "nested more than %d levels deep, which is not supported", maxDepth)
	}
}

func (p *parser) leave() { p.depth-- }

// operator counts one operator that makes the tree deeper without nesting.
func (p *parser) operator() {
	if p.operators++; p.operators > maxOperators {
		p.fail(p.tok.pos, "use IN (...) for long lists, or cut the query into views", "more than %d operators in one statement are not supported", maxOperators)
	}
}

// isName says whether the current token can be a name: a word that is not reserved, or anything in backquotes.
func (p *parser) isName() bool { return p.tok.isName() }

func (t *token) isName() bool {
	return t.kind == tokenQuoted || t.kind == tokenWord && !reserved[t.upper]
}

// name consumes a name; what says what it names.
func (p *parser) name(what string) Name {
	if !p.isName() {
		hint := ""
		if p.tok.kind == tokenWord {
			hint = p.tok.text + " is a reserved word: put it into backquotes to use it as a name"
		} else if p.tok.kind == tokenString {
			hint = "names take backquotes or none, single quotes make a string"
		}
		p.unexpectedHint(hint, what)
	}
	n := Name{p.tok.pos, p.tok.text}
	p.advance()
	return n
}

// anyName consumes a name where a reserved word is one too: after a dot.
func (p *parser) anyName(what string) Name {
	if p.tok.kind != tokenWord {
		return p.name(what)
	}
	n := Name{p.tok.pos, p.tok.text}
	p.advance()
	return n
}

// tableName consumes the name of a table or view, which has one part.
func (p *parser) tableName(what string) Name {
	n := p.name(what)
	if p.isSym(".") {
		p.fail(p.tok.pos, "name it by its last part alone", "names with a catalog or database, such as %s.table, are not supported", n.Text)
	}
	return n
}

// nameList consumes "(a, b, ...)", at least one.
func (p *parser) nameList(what string) []Name {
	p.sym("(")
	var names []Name
	for {
		names = append(names, p.name(what))
		if p.acceptSym(")") {
			return names
		}
		if !p.acceptSym(",") {
			p.listEnd(`")"`)
		}
	}
}

// str consumes a string literal.
func (p *parser) str(what string) string {
	if p.tok.kind != tokenString {
		hint := ""
		if p.tok.kind == tokenWord || p.tok.kind == tokenNumber || p.tok.kind == tokenQuoted {
			hint = "write it in single quotes: " + quoteString(shorten(p.tok.text))
		}
		p.unexpectedHint(hint, what)
	}
	s := p.tok.text
	p.advance()
	return s
}

// startsQuery says whether t begins a query, an opening parenthesis aside.
func (t *token) startsQuery() bool { return t.isWordIn("SELECT", "WITH", "VALUES") }

// second is the token after peek's.
func (p *parser) second() token {
	p.peek()
	l := p.lex
	return l.next()
}

func (p *parser) ifNotExists() bool {
	if !p.isWord("IF") || !p.peek().isWord("NOT") {
		return false
	}
	p.advance()
	p.words("NOT", "EXISTS")
	return true
}
