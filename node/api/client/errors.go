package client

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Error is an error as the API tells it: {error, line, column, hint}, and the HTTP status beside it.
type Error struct {
	Message string `json:"error"`
	// Line and Column are the place in the query's text or another body, from 1; 0 when there is none.
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Hint   string `json:"hint,omitempty"` // what to do
	ID     string `json:"id,omitempty"`   // of an internal error, in the server's log

	Status     int           `json:"-"` // HTTP
	RetryAfter time.Duration `json:"-"` // with status 503: when to try again
}

// Error is "line 3, column 7: message; hint".
func (e *Error) Error() string {
	var b strings.Builder
	if e.Line > 0 {
		fmt.Fprintf(&b, "line %d, column %d: ", e.Line, e.Column)
	}
	b.WriteString(e.Message)
	if e.ID != "" {
		fmt.Fprintf(&b, " (id %s in the log of the node that answered)", e.ID)
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// IsNotFound says that what was asked for does not exist.
func IsNotFound(err error) bool { return hasStatus(err, http.StatusNotFound) }

// IsConflict says that the request does not fit the present state, as a name that is in use.
func IsConflict(err error) bool { return hasStatus(err, http.StatusConflict) }

// IsInvalid says that the request is wrong: its text, a key, a value.
func IsInvalid(err error) bool { return hasStatus(err, http.StatusBadRequest) }

// IsUnauthorized says that the token is missing or wrong.
func IsUnauthorized(err error) bool { return hasStatus(err, http.StatusUnauthorized) }

// IsUnavailable says that the cluster cannot do it just now, having no leader for one.
func IsUnavailable(err error) bool { return hasStatus(err, http.StatusServiceUnavailable) }

func hasStatus(err error, status int) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == status
}
