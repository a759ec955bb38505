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

// tailer writes the lines of one tail. Rows and heartbeats come from two goroutines.
type tailer struct {
	mu    sync.Mutex
	w     http.ResponseWriter
	flush *http.ResponseController
	begun bool
	wrote bool // since the last heartbeat
	left  int64
	buf   bytes.Buffer
}

// tail answers with NDJSON: a line per row, flushed as the rows come; empty lines when there are none; an error, if it ends with one, is
// the last line.
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
	t := &tailer{w: w, flush: http.NewResponseController(w), left: req.Limit}
	if req.Limit == 0 {
		t.left = -1
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		t.beat(stop)
	}()
	end := func() {
		close(stop)
		<-stopped
	}
	func() {
		defer end() // also when the backend panics
		err = s.backend.Tail(r.Context(), name, req, t.rows)
	}()
	return nil, s.endTail(t, r, err)
}

// endTail ends the answer: an error is an answer of its own before the first line, and a line behind it.
func (s *server) endTail(t *tailer, r *http.Request, err error) error {
	switch {
	case errors.Is(err, errEnough) || err == nil && t.begun || r.Context().Err() != nil:
		return nil
	case err != nil && !t.begun:
		return err
	case err == nil:
		t.begin()
		return nil
	}
	b, err := json.Marshal(s.answerable(r, err))
	if err == nil {
		t.w.Write(append(b, '\n')) // an error is the client's going away
	}
	return nil
}

// begin sends the head.
func (t *tailer) begin() {
	if t.begun {
		return
	}
	t.begun = true
	h := t.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	t.w.WriteHeader(http.StatusOK)
	t.flush.Flush()
}

// rows writes rows and flushes. It fails when the client has gone or has all that it asked for.
func (t *tailer) rows(rows []client.TailRow) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin()
	t.buf.Reset()
	for i := range rows {
		if t.left == 0 {
			break
		}
		b, err := json.Marshal(&rows[i])
		if err != nil {
			return err
		}
		t.buf.Write(b)
		t.buf.WriteByte('\n')
		if t.left > 0 {
			t.left--
		}
	}
	t.wrote = true
	if _, err := t.w.Write(t.buf.Bytes()); err != nil {
		return err
	}
	if err := t.flush.Flush(); err != nil {
		return err
	}
	if t.left == 0 {
		return errEnough
	}
	return nil
}

// beat writes an empty line when nothing else was written for a while, so that both ends notice when the other is gone.
func (t *tailer) beat(stop chan struct{}) {
	tick := time.NewTicker(client.HeartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		t.mu.Lock()
		if !t.wrote {
			t.begin()
			t.w.Write([]byte("\n")) // an error ends the request's context
			t.flush.Flush()
		}
		t.wrote = false
		t.mu.Unlock()
	}
}
