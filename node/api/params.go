package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/seepnode/seepnode/node/api/client"
)

// maxURLParams is the most parameters of a URL.
const maxURLParams = 128

// params are the parameters of a URL, taken one by one; the first mistake is kept.
type params struct {
	values url.Values
	known  []string
	err    error
}

func paramsOf(r *http.Request) *params {
	p := &params{}
	if strings.Count(r.URL.RawQuery, "&") >= maxURLParams {
		p.err = Invalid("the URL has more than %d parameters", maxURLParams)
		return p
	}
	p.values, p.err = url.ParseQuery(r.URL.RawQuery)
	if p.err != nil {
		p.err = withHint(Invalid("the URL's parameters cannot be read: %v", p.err), "escape them: curl -G --data-urlencode 'where=a = 1'")
	}
	return p
}

func (p *params) fail(format string, args ...any) {
	if p.err == nil {
		p.err = Invalid(format, args...)
	}
}

// text is a parameter that may be there once.
func (p *params) text(name string) string {
	all := p.texts(name, 1)
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// texts is a parameter that may be repeated.
func (p *params) texts(name string, most int) []string {
	p.known = append(p.known, name)
	all := p.values[name]
	if len(all) > most {
		if most == 1 {
			p.fail("parameter %s is given %d times", name, len(all))
		} else {
			p.fail("parameter %s is given %d times, more than %d", name, len(all), most)
		}
		return nil
	}
	for _, v := range all {
		if len(v) > client.MaxTextBytes {
			p.fail("parameter %s has more than %d bytes", name, client.MaxTextBytes)
			return nil
		}
		if !utf8.ValidString(v) {
			p.fail("parameter %s is not UTF-8", name)
			return nil
		}
	}
	return all
}

// number is a whole number from least to most; absent it is 0.
func (p *params) number(name string, least, most int64) int64 {
	v := p.text(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < least || n > most {
		p.fail("parameter %s is %s, not a whole number from %d to %d", name, short(v), least, most)
		return 0
	}
	return n
}

// flag is "true" or "false"; absent it is false, and true when it is there without a value.
func (p *params) flag(name string) bool {
	v := p.text(name)
	switch {
	case v == "true" || v == "" && p.values.Has(name):
		return true
	case v != "" && v != "false":
		p.fail("parameter %s is %s, not true or false", name, short(v))
	}
	return false
}

// done says what was wrong, also parameters that nobody took.
func (p *params) done() error {
	if p.err != nil {
		return p.err
	}
	for _, name := range sortedKeys(p.values) {
		if !slices.Contains(p.known, name) {
			e := Invalid("there is no parameter %s here", short(name))
			if len(p.known) > 0 {
				e.Hint = "there are: " + strings.Join(p.known, ", ")
			}
			return e
		}
	}
	return nil
}

// noParams refuses any.
func noParams(r *http.Request) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	return paramsOf(r).done()
}

// wait reads wait and wait_ms.
func (p *params) wait() (until string, most time.Duration) {
	until = p.text("wait")
	ms := p.number("wait_ms", 1, client.MaxWaitMs)
	most, err := waitOf(until, ms)
	if err != nil && p.err == nil {
		p.err = err
	}
	return until, most
}

// defaultWait is how long a request waits when it does not say.
const defaultWait = 10 * time.Second

func waitOf(until string, ms int64) (time.Duration, error) {
	switch {
	case until != "" && until != client.UntilRunning && until != client.UntilFinished:
		return 0, Invalid("wait is %s, not %q or %q", short(until), client.UntilRunning, client.UntilFinished)
	case until == "" && ms != 0:
		return 0, Invalid("wait_ms is set and wait is not")
	case ms < 0 || ms > client.MaxWaitMs:
		return 0, Invalid("wait_ms is %d, not from 1 to %d", ms, client.MaxWaitMs)
	case ms == 0:
		return defaultWait, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// id is the request's id: the client's, or a new one, by which at least this node does it once.
func requestID(r *http.Request) (client.RequestID, error) {
	v := r.Header.Get(client.IDHeader)
	if v == "" {
		return client.NewRequestID(), nil
	}
	id, err := client.ParseRequestID(v)
	if err != nil {
		return id, Invalid("%v", err)
	}
	return id, nil
}

// read reads the request's body into v, a struct. Without a body v stays as it is if that is allowed.
func (s *server) read(r *http.Request, v any, optional bool) error {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return withHint(TooLarge("the body has more than %d bytes", large.Limit),
				fmt.Sprintf("a query's text may have %d bytes; data belongs in files that it reads", client.MaxSQLBytes))
		}
		return Invalid("the body cannot be read: %v", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		if optional {
			return nil
		}
		return withHint(Invalid("the body is empty"), "it is a JSON object; GET /v1/openapi.yaml says which keys it has")
	}
	if !utf8.Valid(b) {
		return Invalid("the body is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return bodyError(b, d.InputOffset(), err)
	}
	if rest := bytes.TrimSpace(b[d.InputOffset():]); len(rest) > 0 {
		return at(Invalid("the body goes on behind its JSON object"), b, int64(len(b)-len(bytes.TrimLeft(b[d.InputOffset():], " \t\r\n"))))
	}
	if !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return Invalid("the body is not a JSON object")
	}
	return nil
}

// bodyError says what is wrong with a body, and where.
func bodyError(b []byte, offset int64, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return at(Invalid("the body is not JSON: %s", strings.TrimPrefix(syntax.Error(), "json: ")), b, max(0, syntax.Offset-1))
	case errors.As(err, &kind):
		what := "the body"
		if kind.Field != "" {
			what = "key " + short(kind.Field)
		}
		return at(Invalid("%s must be %s, not a JSON %s", what, jsonKind(kind.Type.Kind().String()), kind.Value), b, max(0, kind.Offset-1))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return at(Invalid("the body ends within its JSON object"), b, int64(len(b)))
	}
	// encoding/json has no type for an unknown key: json: unknown field "x"
	if _, field, ok := strings.Cut(err.Error(), "unknown field "); ok {
		if name, err := strconv.Unquote(field); err == nil {
			field = name
		}
		return withHint(Invalid("there is no key %s in this body", short(field)), "GET /v1/openapi.yaml says which keys it has")
	}
	return at(Invalid("the body cannot be read: %s", strings.TrimPrefix(err.Error(), "json: ")), b, offset)
}

// jsonKind is a Go kind as JSON calls it.
func jsonKind(kind string) string {
	switch {
	case kind == "struct" || kind == "map":
		return "an object"
	case kind == "slice" || kind == "array":
		return "an array"
	case kind == "bool":
		return "true or false"
	case kind == "string":
		return "a string"
	case strings.HasPrefix(kind, "int") || strings.HasPrefix(kind, "uint"):
		return "a whole number"
	}
	return "a number"
}

// at adds a place in the body.
func at(e *client.Error, b []byte, offset int64) *client.Error {
	before := b[:min(max(0, offset), int64(len(b)))]
	e.Line = bytes.Count(before, []byte("\n")) + 1
	e.Column = utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return e
}

// short quotes a text that came from outside, cut.
func short(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) && len(s) > most-utf8.UTFMax {
			s = s[:len(s)-1]
		}
		s += "..."
	}
	return strconv.Quote(s)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
