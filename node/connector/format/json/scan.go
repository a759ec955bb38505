package json

import (
	"errors"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"
)

// depthMax bounds how deep values may nest.
const depthMax = 1000

var (
	errEnd    = errors.New("the text ends within a value")
	errDepth  = fmt.Errorf("values nest deeper than %d", depthMax)
	errUTF8   = errors.New("a string is not UTF-8")
	errEscape = errors.New("a string has a wrong escape")
)

// scanner walks over one record's text.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) unexpected(want string) error {
	if s.at >= len(s.text) {
		return errEnd
	}
	return fmt.Errorf("%q at byte %d where %s should be", s.text[s.at:min(s.at+1, len(s.text))], s.at+1, want)
}

// blank skips white space and gives the next byte, 0 at the end.
func (s *scanner) blank() byte {
	for s.at < len(s.text) {
		switch b := s.text[s.at]; b {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return b
		}
	}
	return 0
}

func (s *scanner) expect(b byte, want string) error {
	if s.blank() != b || s.at >= len(s.text) {
		return s.unexpected(want)
	}
	s.at++
	return nil
}

// next moves to the next element of an array or object that ends with closing: false at its end. first is true before the first one.
func (s *scanner) next(closing byte, first bool) (bool, error) {
	b := s.blank()
	switch {
	case b == closing:
		s.at++
		return false, nil
	case first:
		return true, nil
	case b == ',':
		s.at++
		return true, nil
	}
	return false, s.unexpected("',' or '" + string(closing) + "'")
}

// str reads a string, whose opening quote is the next byte. Its text is a part of the record, or of scratch when it holds escapes.
func (s *scanner) str(scratch []byte) (text, grown []byte, err error) {
	if err := s.expect('"', "a string"); err != nil {
		return nil, scratch, err
	}
	from := s.at
	for i := from; i < len(s.text); i++ {
		switch b := s.text[i]; {
		case b == '"':
			s.at = i + 1
			text = s.text[from:i]
			if !utf8.Valid(text) {
				return nil, scratch, errUTF8
			}
			return text, scratch, nil
		case b == '\\':
			scratch, err = s.escapedString(append(scratch[:0], s.text[from:i]...), i)
			if err == nil && !utf8.Valid(scratch) {
				err = errUTF8
			}
			return scratch, scratch, err
		case b < 0x20:
			s.at = i
			return nil, scratch, s.unexpected("an escape of a control character")
		}
	}
	return nil, scratch, errEnd
}

// escapedString reads the rest of a string from i on, where its first escape is, appending to dst.
func (s *scanner) escapedString(dst []byte, i int) ([]byte, error) {
	for i < len(s.text) {
		b := s.text[i]
		switch {
		case b == '"':
			s.at = i + 1
			return dst, nil
		case b < 0x20:
			s.at = i
			return dst, s.unexpected("an escape of a control character")
		case b != '\\':
			dst = append(dst, b)
			i++
			continue
		}
		if i+1 >= len(s.text) {
			return dst, errEnd
		}
		switch e := s.text[i+1]; e {
		case '"', '\\', '/':
			dst = append(dst, e)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, size := s.unicode(i)
			if size == 0 {
				return dst, errEscape
			}
			dst = utf8.AppendRune(dst, r)
			i += size
			continue
		default:
			return dst, errEscape
		}
		i += 2
	}
	return dst, errEnd
}

// unicode reads \uXXXX at i, or a pair of them that is one rune; half a pair is U+FFFD. size is 0 when it is none.
func (s *scanner) unicode(i int) (r rune, size int) {
	r = s.hex4(i + 2)
	if r < 0 {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	if i+7 < len(s.text) && s.text[i+6] == '\\' && s.text[i+7] == 'u' {
		if both := utf16.DecodeRune(r, s.hex4(i+8)); both != utf8.RuneError {
			return both, 12
		}
	}
	return utf8.RuneError, 6
}

func (s *scanner) hex4(i int) rune {
	if i+4 > len(s.text) {
		return -1
	}
	r := rune(0)
	for _, b := range s.text[i : i+4] {
		switch {
		case b >= '0' && b <= '9':
			b -= '0'
		case b|32 >= 'a' && b|32 <= 'f':
			b = b | 32 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(b)
	}
	return r
}

// number reads a number's text.
func (s *scanner) number() ([]byte, error) {
	from := s.at
	if s.peek() == '-' {
		s.at++
	}
	switch b := s.peek(); {
	case b == '0':
		s.at++
	case b >= '1' && b <= '9':
		s.digits()
	default:
		return nil, s.unexpected("a value")
	}
	if s.peek() == '.' {
		s.at++
		if s.digits() == 0 {
			return nil, s.unexpected("a digit")
		}
	}
	if s.peek()|32 == 'e' {
		s.at++
		if b := s.peek(); b == '+' || b == '-' {
			s.at++
		}
		if s.digits() == 0 {
			return nil, s.unexpected("a digit")
		}
	}
	return s.text[from:s.at], nil
}

func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

func (s *scanner) digits() int {
	from := s.at
	for s.at < len(s.text) && s.text[s.at]-'0' <= 9 {
		s.at++
	}
	return s.at - from
}

// word reads true, false or null.
func (s *scanner) word(w string) error {
	if len(s.text)-s.at < len(w) || string(s.text[s.at:s.at+len(w)]) != w {
		return s.unexpected("a value")
	}
	s.at += len(w)
	return nil
}

// skip goes past the next value, whatever it is, and gives its text. scratch is working memory for strings.
func (s *scanner) skip(scratch []byte) (text, grown []byte, err error) {
	s.blank()
	from := s.at
	scratch, err = s.skipValue(scratch, 0)
	return s.text[from:s.at], scratch, err
}

func (s *scanner) skipValue(scratch []byte, depth int) (_ []byte, err error) {
	if depth > depthMax {
		return scratch, errDepth
	}
	switch b := s.blank(); b {
	case '"':
		_, scratch, err = s.str(scratch)
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	case '[', '{':
		s.at++
		closing := b + 2 // ']' follows '[' at two places, as '}' does '{'
		for first := true; ; first = false {
			more, err := s.next(closing, first)
			if err != nil || !more {
				return scratch, err
			}
			if b == '{' {
				if _, scratch, err = s.str(scratch); err == nil {
					err = s.expect(':', "':'")
				}
			}
			if err == nil {
				scratch, err = s.skipValue(scratch, depth+1)
			}
			if err != nil {
				return scratch, err
			}
		}
	default:
		_, err = s.number()
	}
	return scratch, err
}
