package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// statusGone is what the log says of a request whose client went away; nobody gets it.
const statusGone = 499

// NotFound says that what was asked for does not exist (404).
func NotFound(format string, args ...any) *client.Error {
	return failure(http.StatusNotFound, format, args)
}

// Conflict says that the request does not fit the present state (409): a name in use, resuming what is not paused.
func Conflict(format string, args ...any) *client.Error {
	return failure(http.StatusConflict, format, args)
}

// Invalid says that the request is wrong (400).
func Invalid(format string, args ...any) *client.Error {
	return failure(http.StatusBadRequest, format, args)
}

// InvalidAt says what is wrong with a query's text, and where (400).
func InvalidAt(line, column int, message, hint string) *client.Error {
	return &client.Error{Status: http.StatusBadRequest, Message: message, Line: line, Column: column, Hint: hint}
}

// TooLarge says that the request is larger than allowed (413).
func TooLarge(format string, args ...any) *client.Error {
	return failure(http.StatusRequestEntityTooLarge, format, args)
}

// Forbidden says that it is not allowed here, whoever asks (403).
func Forbidden(format string, args ...any) *client.Error {
	return failure(http.StatusForbidden, format, args)
}

// Unauthorized says that the token is missing or wrong (401).
func Unauthorized(format string, args ...any) *client.Error {
	return failure(http.StatusUnauthorized, format, args)
}

// NotSupported says that this version does not do it (501).
func NotSupported(format string, args ...any) *client.Error {
	return failure(http.StatusNotImplemented, format, args)
}

// NoLeader says that the cluster has no leader just now (503). Nothing was done, or it is not known whether it was: the same request
// with the same id may be sent again.
func NoLeader(format string, args ...any) *client.Error {
	e := Unavailable(format, args...)
	e.Hint = "it elects one as soon as a majority of the voters reach each other; seepnode operator raft peers shows them"
	return e
}

// Unavailable says that it cannot be done just now (503), as NoLeader does of another cause.
func Unavailable(format string, args ...any) *client.Error {
	e := failure(http.StatusServiceUnavailable, format, args)
	e.RetryAfter = time.Second
	return e
}

func failure(status int, format string, args []any) *client.Error {
	return &client.Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// withHint adds what to do.
func withHint(e *client.Error, hint string) *client.Error {
	e.Hint = hint
	return e
}

// answerable makes any error one that can be answered. What is not made for people gets an id and goes to the log.
func (s *server) answerable(r *http.Request, err error) *client.Error {
	var e *client.Error
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &e) && e.Status >= 400 && e.Status < 600:
		return e
	case errors.As(err, &large):
		return TooLarge("the body has more than %d bytes", large.Limit)
	case r.Context().Err() != nil:
		return failure(statusGone, "the client went away: %v", []any{err})
	case errors.Is(err, context.DeadlineExceeded):
		return Unavailable("%v", err)
	}
	e = failure(http.StatusInternalServerError, "%v", []any{err})
	e.ID = logID()
	s.log.Error("request failed", "id", e.ID, "method", r.Method, "path", r.URL.Path, "error", err)
	return e
}

// logID names an entry of the log.
func logID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// fail answers with an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := s.answerable(r, err)
	switch {
	case e.Status == http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int((e.RetryAfter+time.Second-1)/time.Second))))
	case e.Status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="seepnode"`)
	case e.Status == http.StatusRequestEntityTooLarge:
		w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	s.write(w, r, e.Status, e)
}

// write answers with a JSON value and a line break.
func (s *server) write(w http.ResponseWriter, r *http.Request, status int, v any) {
	noNulls(reflect.ValueOf(v))
	b, err := json.Marshal(v)
	if err != nil {
		e := failure(http.StatusInternalServerError, "the answer cannot be written: %v", []any{err})
		e.ID = logID()
		s.log.Error("answer cannot be written", "id", e.ID, "method", r.Method, "path", r.URL.Path, "error", err)
		status = e.Status
		b, _ = json.Marshal(e) // strings always can
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	w.Write(append(b, '\n')) // an error is the client's going away
}

// noNulls makes nil slices empty ones, so that a list is a list in JSON also when nothing is in it.
func noNulls(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			noNulls(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			return
		}
		for i := range v.NumField() {
			noNulls(v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return
		}
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		if k := v.Type().Elem().Kind(); k == reflect.Struct || k == reflect.Pointer {
			for i := range v.Len() {
				noNulls(v.Index(i))
			}
		}
	case reflect.Map:
		if v.IsNil() && v.CanSet() {
			v.Set(reflect.MakeMap(v.Type()))
		}
	}
}
