package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	// HeartbeatEvery is how often a server sends an empty line when there is nothing to tail.
	HeartbeatEvery = 5 * time.Second
	// tailSilence is how long a tail hears nothing before it takes the peer for gone.
	tailSilence = 4 * HeartbeatEvery
	// MaxLineBytes is the most a line of a tail may have.
	MaxLineBytes = 64 << 20
)

// tailLine is a line of a tail: a row, or the error that ended it.
type tailLine struct {
	TailRow
	Error
}

// errLeft ends a tail whose reader has enough.
var errLeft = errors.New("the loop was left")

func (c *Client) tail(ctx context.Context, name string, r TailRequest) iter.Seq2[TailRow, error] {
	query := url.Values{}
	if r.Sink != "" {
		query.Set("sink", r.Sink)
	}
	if r.Limit > 0 {
		query.Set("limit", strconv.FormatInt(r.Limit, 10))
	}
	req := request{method: http.MethodGet, path: queryPath(name, "/tail"), query: query}
	return func(yield func(TailRow, error) bool) {
		left := false
		err := c.retry(ctx, req, func(rep *reply) error {
			defer rep.Body.Close()
			err := readTail(rep, func(row TailRow) error {
				if left = !yield(row, nil); left {
					return errLeft
				}
				return nil
			})
			var answer *Error
			if err == nil || errors.As(err, &answer) {
				return err
			}
			// Rows may have been given: going on elsewhere would leave a gap without a word, so this is the end.
			return &Error{Message: "the tail broke off: " + err.Error(), Hint: "start it again; what came in between is not shown"}
		})
		if err == nil || left {
			return
		}
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		yield(TailRow{}, err)
	}
}

// readTail hands on the rows of an answer until its end.
func readTail(rep *reply, give func(TailRow) error) error {
	return readLines(rep, func(b []byte) error {
		var line tailLine
		if err := json.Unmarshal(b, &line); err != nil {
			return &Error{Message: fmt.Sprintf("a line of the tail is not that of a seepnode API: %v", err)}
		}
		if line.Message != "" {
			e := line.Error
			return &e
		}
		return give(line.TailRow)
	})
}

// readLines hands on the lines of an answer, but for empty ones, until its end or an error of give.
func readLines(rep *reply, give func([]byte) error) error {
	silent := time.AfterFunc(tailSilence, rep.cancel)
	defer silent.Stop()
	gone := fmt.Errorf("nothing was heard of the peer for %s", tailSilence)
	lines := bufio.NewScanner(rep.Body)
	lines.Buffer(nil, MaxLineBytes)
	for lines.Scan() {
		if !silent.Stop() { // a slow reader's own time does not count
			return gone
		}
		if b := bytes.TrimSpace(lines.Bytes()); len(b) > 0 {
			if err := give(b); err != nil {
				return err
			}
		}
		silent.Reset(tailSilence)
	}
	if err := lines.Err(); err != nil {
		if !silent.Stop() {
			return gone
		}
		return err
	}
	return nil
}
