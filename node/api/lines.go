package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// errEnough ends a tail whose reader has all the rows it asked for.
var errEnough = errors.New("the tail has all its rows")

// maxTailLimit is the most rows that a tail may be limited to.
const maxTailLimit = 1 << 40

// lines is an answer of NDJSON that comes bit by bit: flushed as it comes; empty lines when nothing does; an error, if it ends with one, is
// the last line. What is said and heartbeats come from two goroutines.
type lines struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	flush *http.ResponseController
	begun bool
	wrote bool // since the last heartbeat
	buf   bytes.Buffer
}

// answerLines answers with what say writes.
func (s *server) answerLines(w http.ResponseWriter, r *http.Request, say func(*lines) error) error {
	l := &lines{w: w, flush: http.NewResponseController(w)}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		l.beat(stop)
	}()
	var err error
	func() {
		defer func() { // also when the backend panics
			close(stop)
			<-stopped
		}()
		err = say(l)
	}()
	return s.endLines(l, r, err)
}

// endLines ends the answer: an error is an answer of its own before the first line, and a line behind it.
func (s *server) endLines(l *lines, r *http.Request, err error) error {
	switch {
	case errors.Is(err, errEnough) || err == nil && l.begun || r.Context().Err() != nil:
		return nil
	case err != nil && !l.begun:
		return err
	case err == nil:
		l.begin()
		return nil
	}
	b, err := json.Marshal(s.answerable(r, err))
	if err == nil {
		l.w.Write(append(b, '\n')) // an error is the client's going away
	}
	return nil
}

// begin sends the head.
func (l *lines) begin() {
	if l.begun {
		return
	}
	l.begun = true
	h := l.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	l.w.WriteHeader(http.StatusOK)
	l.flush.Flush()
}

// say writes a line for each value and flushes. It fails when the client has gone.
func (l *lines) say(values ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin()
	l.buf.Reset()
	for _, v := range values {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		l.buf.Write(b)
		l.buf.WriteByte('\n')
	}
	l.wrote = true
	if _, err := l.w.Write(l.buf.Bytes()); err != nil {
		return err
	}
	return l.flush.Flush()
}

// beat writes an empty line when nothing else was written for a while, so that both ends notice when the other is gone.
func (l *lines) beat(stop chan struct{}) {
	tick := time.NewTicker(client.HeartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if !l.mu.TryLock() {
			continue // a slow client is being written to
		}
		if !l.wrote {
			l.begin()
			l.w.Write([]byte("\n")) // an error ends the request's context
			l.flush.Flush()
		}
		l.wrote = false
		l.mu.Unlock()
	}
}

// tail answers with a line per row.
func (s *server) tail(w http.ResponseWriter, r *http.Request) (any, error) {
	name, err := named(r, "query")
	if err != nil {
		return nil, err
	}
	p := paramsOf(r)
	req := client.TailRequest{Sink: p.text("sink"), Limit: p.number("limit", 1, maxTailLimit)}
	if err := p.done(); err != nil {
		return nil, err
	}
	left := req.Limit
	return nil, s.answerLines(w, r, func(l *lines) error {
		return s.backend.Tail(r.Context(), name, req, func(rows []client.TailRow) error {
			if req.Limit > 0 && int64(len(rows)) > left {
				rows = rows[:left]
			}
			values := make([]any, len(rows))
			for i := range rows {
				values[i] = &rows[i]
			}
			if err := l.say(values...); err != nil {
				return err
			}
			if left -= int64(len(rows)); req.Limit > 0 && left == 0 {
				return errEnough
			}
			return nil
		})
	})
}

// verifyQuery answers with lines of progress and, last, with what was found.
func (s *server) verifyQuery(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := s.read(r, &struct{}{}, true); err != nil {
		return nil, err
	}
	name, err := named(r, "query")
	if err != nil {
		return nil, err
	}
	if err := noParams(r); err != nil {
		return nil, err
	}
	return nil, s.answerLines(w, r, func(l *lines) error {
		v, err := s.backend.VerifyQuery(r.Context(), name, func(p client.VerifyProgress) {
			l.say(&client.VerifyLine{Progress: &p}) //nolint:errcheck // that the client has gone ends the request's context
		})
		if _, err = answer(v, err); err != nil {
			return err
		}
		return l.say(&client.VerifyLine{Verification: v})
	})
}
