package ast

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

const byteOrderMark = "\ufeff"

type tokenKind uint8

const (
	tokenEnd    tokenKind = iota
	tokenWord             // an identifier or keyword without quotes
	tokenQuoted           // `an identifier`
	tokenString
	tokenNumber
	tokenHex
	tokenSymbol
	tokenError // what cannot be a token; err says why
)

// token is one word of the text.
type token struct {
	kind  tokenKind
	text  string // the identifier, the string without quotes, the digits, the symbol
	upper string // tokenWord of ASCII letters: text in capitals
	pos   Pos
	start int // byte offsets in the text
	end   int
	err   *Error
}

// describe is how an error message calls the token.
func (t *token) describe() string {
	switch t.kind {
	case tokenEnd:
		return "the end of the text"
	case tokenQuoted:
		return quoteName(shorten(t.text))
	case tokenString:
		return quoteString(shorten(t.text))
	case tokenHex:
		return "X" + quoteString(shorten(t.text))
	case tokenSymbol:
		return `"` + t.text + `"`
	}
	return shorten(t.text)
}

func shorten(s string) string {
	const keep = 40
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		s = s[:i] + "..."
	}
	if utf8.RuneCountInString(s) > keep {
		s = string([]rune(s)[:keep]) + "..."
	}
	return s
}

// lexer cuts valid UTF-8 text into tokens, on demand.
type lexer struct {
	src       string
	off       int
	line, col int
}

func newLexer(src string) lexer { return lexer{src: src, line: 1, col: 1} }

func (l *lexer) pos() Pos { return Pos{Line: l.line, Column: l.col} }

// byteAt is the byte i places on, 0 beyond the end.
func (l *lexer) byteAt(i int) byte {
	if l.off+i >= len(l.src) {
		return 0
	}
	return l.src[l.off+i]
}

func (l *lexer) rune() rune {
	if l.off >= len(l.src) {
		return -1
	}
	r, _ := utf8.DecodeRuneInString(l.src[l.off:])
	return r
}

// skip consumes n characters.
func (l *lexer) skip(n int) {
	for ; n > 0 && l.off < len(l.src); n-- {
		r, size := utf8.DecodeRuneInString(l.src[l.off:])
		l.off += size
		l.col++
		if r == '\n' {
			l.line++
			l.col = 1
		}
	}
}

// skipTo consumes everything up to the byte offset.
func (l *lexer) skipTo(off int) {
	for l.off < off {
		l.skip(1)
	}
}

// blank consumes white space and comments.
func (l *lexer) blank() *Error {
	for l.off < len(l.src) {
		switch rest := l.src[l.off:]; {
		case strings.HasPrefix(rest, "--"):
			i := strings.IndexByte(rest, '\n')
			if i < 0 {
				i = len(rest)
			}
			l.skipTo(l.off + i)
		case strings.HasPrefix(rest, "/*+"):
			return &Error{l.pos(), "hints in /*+ ... */ are not supported", "leave the hint out, or set the option in the table's WITH clause"}
		case strings.HasPrefix(rest, "/*"):
			i := strings.Index(rest[2:], "*/")
			if i < 0 {
				return &Error{l.pos(), "the comment that begins here does not end", "close it with */"}
			}
			l.skipTo(l.off + i + 4)
		default:
			if r := l.rune(); !unicode.IsSpace(r) {
				return nil
			}
			l.skip(1)
		}
	}
	return nil
}

// next is the next token. At the end of the text it is tokenEnd again and again, after a tokenError it is undefined.
func (l *lexer) next() token {
	err := l.blank()
	t := token{pos: l.pos(), start: l.off}
	if err != nil {
		return l.bad(t, err)
	}
	switch c, r := l.byteAt(0), l.rune(); {
	case r < 0:
	case (c == 'x' || c == 'X') && l.byteAt(1) == '\'':
		l.skip(1)
		t = l.hex(t)
	case (c == 'u' || c == 'U') && l.byteAt(1) == '&' && l.byteAt(2) == '\'':
		return l.bad(t, &Error{t.pos, "U&'...' strings are not supported", "write the characters themselves into '...'; the text is UTF-8"})
	case isWordStart(r):
		for isWordPart(l.rune()) {
			l.skip(1)
		}
		t.kind, t.text = tokenWord, l.src[t.start:l.off]
		t.upper = asciiUpper(t.text)
	case isDigit(c), c == '.' && isDigit(l.byteAt(1)):
		t = l.number(t)
	case c == '\'':
		t = l.quoted(t, '\'', tokenString)
	case c == '`':
		t = l.quoted(t, '`', tokenQuoted)
	case c == '"', r == '“', r == '”', r == '‘', r == '’', r == '´':
		return l.bad(t, &Error{t.pos, "a string cannot begin with " + string(r), "use single quotes '...' for strings and backquotes `...` for names"})
	default:
		t = l.symbol(t)
	}
	t.end = l.off
	return t
}

func (l *lexer) bad(t token, err *Error) token {
	t.kind, t.err, t.end = tokenError, err, l.off
	return t
}

// quoted reads '...' or `...`, in which the quote is written twice.
func (l *lexer) quoted(t token, quote byte, kind tokenKind) token {
	from := l.off + 1
	for i := from; i < len(l.src); i++ {
		if l.src[i] != quote {
			continue
		}
		if i+1 < len(l.src) && l.src[i+1] == quote {
			i++
			continue
		}
		q := string(quote)
		t.kind, t.text = kind, strings.ReplaceAll(l.src[from:i], q+q, q)
		if kind == tokenQuoted && t.text == "" {
			return l.bad(t, &Error{t.pos, "a name in backquotes cannot be empty", ""})
		}
		l.skipTo(i + 1)
		return t
	}
	if kind == tokenQuoted {
		return l.bad(t, &Error{t.pos, "the name that begins here does not end", "close it with a backquote; a backquote inside is written twice"})
	}
	return l.bad(t, &Error{t.pos, "the string that begins here does not end", "close it with a single quote; a single quote inside is written twice"})
}

func (l *lexer) hex(t token) token {
	t = l.quoted(t, '\'', tokenHex)
	if t.kind == tokenError {
		return t
	}
	if len(t.text)%2 != 0 || strings.Trim(t.text, "0123456789abcdefABCDEF") != "" {
		return l.bad(t, &Error{t.pos, "X" + quoteString(shorten(t.text)) + " is not a byte string", "write pairs of hexadecimal digits, such as X'0A1F'"})
	}
	return t
}

// number reads 12, 1.5, .5 (given as 0.5) and 1.5e-3.
func (l *lexer) number(t token) token {
	l.digits()
	if l.byteAt(0) == '.' {
		l.skip(1)
		if !isDigit(l.byteAt(0)) {
			return l.bad(t, &Error{t.pos, "expected digits after the decimal point of " + shorten(l.src[t.start:l.off]), ""})
		}
		l.digits()
	}
	if c := l.byteAt(0); c == 'e' || c == 'E' {
		sign := 0
		if c := l.byteAt(1); c == '+' || c == '-' {
			sign = 1
		}
		if isDigit(l.byteAt(1 + sign)) {
			l.skip(1 + sign)
			l.digits()
		}
	}
	if isWordPart(l.rune()) {
		for isWordPart(l.rune()) {
			l.skip(1)
		}
		return l.bad(t, &Error{t.pos, shorten(l.src[t.start:l.off]) + " is neither a number nor a name", "put a name that begins with a digit into backquotes"})
	}
	t.kind, t.text = tokenNumber, strings.ToLower(l.src[t.start:l.off])
	if t.text[0] == '.' {
		t.text = "0" + t.text
	}
	return t
}

func (l *lexer) digits() {
	for isDigit(l.byteAt(0)) {
		l.skip(1)
	}
}

var twoByteSymbols = []string{"<>", "<=", ">=", "!=", "||", "=>", "::", "=="}

func (l *lexer) symbol(t token) token {
	rest := l.src[l.off:]
	for _, s := range twoByteSymbols {
		if strings.HasPrefix(rest, s) {
			return l.symbolOf(t, s)
		}
	}
	if strings.IndexByte("()[]<>=+-*/%,;.:", rest[0]) >= 0 {
		return l.symbolOf(t, rest[:1])
	}
	hint := ""
	switch rest[0] {
	case '?':
		hint = "parameters are not supported: write the value"
	case '{', '}':
		hint = "braces are not supported"
	}
	return l.bad(t, &Error{t.pos, "the character " + printable(l.rune()) + " means nothing here", hint})
}

func (l *lexer) symbolOf(t token, s string) token {
	l.skip(len(s))
	t.kind, t.text = tokenSymbol, s
	switch s {
	case "::":
		return l.bad(t, &Error{t.pos, `the cast operator "::" is not supported`, "write CAST(value AS TYPE)"})
	case "==":
		return l.bad(t, &Error{t.pos, `the operator "==" is not supported`, `compare with "="`})
	}
	return t
}

func printable(r rune) string {
	if unicode.IsPrint(r) {
		return `"` + string(r) + `"`
	}
	const digits = "0123456789ABCDEF"
	s := ""
	for ; r > 0 || len(s) < 4; r >>= 4 {
		s = string(digits[r&15]) + s
	}
	return "U+" + s
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isWordStart(r rune) bool {
	return r == '_' || r == '$' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= utf8.RuneSelf && unicode.IsLetter(r)
}

func isWordPart(r rune) bool {
	return isWordStart(r) || r >= '0' && r <= '9' || r >= utf8.RuneSelf && (unicode.IsDigit(r) || unicode.Is(unicode.Mn, r))
}

// asciiUpper is s in capitals, "" when s holds anything that no keyword holds.
func asciiUpper(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return ""
		}
	}
	return strings.ToUpper(s)
}
