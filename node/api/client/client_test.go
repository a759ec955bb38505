package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peers answers requests without a socket, by host.
type peers map[string]func(*http.Request) (*http.Response, error)

func (p peers) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	return p[r.URL.Host](r)
}

func answers(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}, nil
	}
}

func refuses(*http.Request) (*http.Response, error) { return nil, errors.New("connection refused") }

func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func clientOf(t *testing.T, p peers, address string) *Client {
	t.Helper()
	c, err := New(Config{Address: address, Token: "secret", HTTPClient: &http.Client{Transport: p}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestARequestIsSentAgainUnderTheSameIDUntilThereIsALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []string
		p := peers{
			"a:1": func(r *http.Request) (*http.Response, error) {
				ids = append(ids, r.Header.Get(IDHeader))
				return nil, io.ErrUnexpectedEOF
			},
			"b:1": func(r *http.Request) (*http.Response, error) {
				ids = append(ids, r.Header.Get(IDHeader))
				if r.Header.Get("Authorization") != "Bearer secret" {
					t.Error("no token")
				}
				if b, _ := io.ReadAll(r.Body); !strings.Contains(string(b), `"name":"q"`) {
					t.Errorf("try %d has the body %q", len(ids), b)
				}
				if len(ids) < 6 {
					return answers(503, `{"error":"no leader"}`)(r)
				}
				return answers(201, `{"name":"q"}`)(r)
			},
		}
		q, err := clientOf(t, p, "a:1,b:1").AddQuery(t.Context(), AddQueryRequest{Name: "q", SQL: "SELECT 1"})
		if err != nil || q.Name != "q" {
			t.Fatal(q, err)
		}
		if len(ids) != 6 || len(ids[0]) != 32 {
			t.Fatalf("ids %q", ids)
		}
		for _, id := range ids {
			if id != ids[0] {
				t.Errorf("ids %q differ", ids)
			}
		}
	})
}

func TestAnIDFromTheContextIsUsed(t *testing.T) {
	id := NewRequestID()
	var got string
	p := peers{"a:1": func(r *http.Request) (*http.Response, error) {
		got = r.Header.Get(IDHeader)
		return answers(200, `{}`)(r)
	}}
	if _, err := clientOf(t, p, "a:1").PauseQuery(WithRequestID(t.Context(), id), "q"); err != nil || got != id.String() {
		t.Error(got, err)
	}
	if back, err := ParseRequestID(id.String()); err != nil || back != id {
		t.Error(back, err)
	}
}

func TestRetryingEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, err := clientOf(t, peers{"a:1": refuses}, "a:1").Status(t.Context())
		if took := time.Since(start); err == nil || !strings.Contains(err.Error(), "no answer from a:1: connection refused") || took > retryDefault {
			t.Errorf("%v after %s", err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		_, err = clientOf(t, peers{"a:1": refuses}, "a:1").Status(ctx)
		if took := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "refused") || took != time.Second {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestAFrozenPeerIsGivenUpForTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := clientOf(t, peers{"a:1": hangs, "b:1": answers(200, `{"leader":"b"}`)}, "a:1, b:1")
		s, err := c.Status(t.Context())
		if err != nil || s.Leader != "b" {
			t.Fatal(s, err)
		}
		start := time.Now()
		if _, err := c.Status(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("the peer that answered is not asked first: %v after %s", err, time.Since(start))
		}
	})
}

func TestAnAddressWithAnotherAuthorityIsNotTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		strange := func(*http.Request) (*http.Response, error) {
			return nil, &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
		}
		start := time.Now()
		_, err := clientOf(t, peers{"a:1": strange}, "a:1").Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), "unknown authority") || time.Since(start) != 0 {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		if _, err := clientOf(t, peers{"a:1": strange, "b:1": answers(200, `{}`)}, "a:1,b:1").Status(t.Context()); err != nil {
			t.Errorf("the next address is not asked: %v", err)
		}
	})
}

func TestAnswersThatAreErrorsAreTyped(t *testing.T) {
	for _, c := range []struct {
		status int
		body   string
		is     func(error) bool
		text   string
	}{
		{400, `{"error":"no such column","line":3,"column":7,"hint":"did you mean n?"}`, IsInvalid, "line 3, column 7: no such column; did you mean n?"},
		{404, `{"error":"x"}`, IsNotFound, "x"},
		{409, `{"error":"x"}`, IsConflict, "x"},
		{401, `{"error":"x"}`, IsUnauthorized, "x"},
		{503, `{"error":"x"}`, IsUnavailable, "x"},
		{502, `<html>`, func(err error) bool { return hasStatus(err, 502) }, "a:1 answered 502; that does not look like a seepnode API: is the address right?"},
		{400, "Client sent an HTTP request to an HTTPS server.\n", func(err error) bool { return hasStatus(err, 400) }, "a:1 answered 400; it speaks HTTPS: give --tls-ca FILE with its authority, or https:// in the address"},
	} {
		synctest.Test(t, func(t *testing.T) {
			_, err := clientOf(t, peers{"a:1": answers(c.status, c.body)}, "a:1").Query(t.Context(), "q")
			if !c.is(err) || err.Error() != c.text {
				t.Errorf("%d: %v", c.status, err)
			}
		})
	}
	_, err := clientOf(t, peers{"a:1": answers(200, `<html>`)}, "a:1").Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "not that of a seepnode API") {
		t.Error(err)
	}
}

func TestTailGivesRowsAndHowItEnded(t *testing.T) {
	row := `{"sink":"s","op":"+U","epoch":3,"index":1,"row":{"n":9007199254740993}}` + "\n"
	for _, c := range []struct {
		what, body string
		rows       int
		err        string
	}{
		{"end", row + "\n" + row, 2, ""},
		{"error", row + `{"error":"query failed","hint":"look"}` + "\n", 1, "query failed; look"},
		{"rubbish", row + "<html>\n", 1, "not that of a seepnode API"},
	} {
		rows, last := 0, error(nil)
		for r, err := range clientOf(t, peers{"a:1": answers(200, c.body)}, "a:1").Tail(t.Context(), "q", TailRequest{}) {
			if last = err; err == nil {
				rows++
				if string(r.Row) != `{"n":9007199254740993}` || r.Op != OpUpdateAfter {
					t.Errorf("%s: row %+v", c.what, r)
				}
			}
		}
		if rows != c.rows || (last == nil) != (c.err == "") || last != nil && !strings.Contains(last.Error(), c.err) {
			t.Errorf("%s: %d rows, then %v", c.what, rows, last)
		}
	}
	for range clientOf(t, peers{"a:1": answers(200, row+row)}, "a:1").Tail(t.Context(), "q", TailRequest{}) {
		break
	}
}

// stream is a body that gives one row and then nothing until its request ends.
type stream struct {
	rows io.Reader
	ctx  context.Context
}

func (s *stream) Read(b []byte) (int, error) {
	if n, _ := s.rows.Read(b); n > 0 {
		return n, nil
	}
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func (s *stream) Close() error { return nil }

func TestATailOfAPeerThatIsGoneEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := peers{"a:1": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: &stream{strings.NewReader(`{"row":{}}` + "\n"), r.Context()}}, nil
		}}
		var last error
		for _, err := range clientOf(t, p, "a:1").Tail(t.Context(), "q", TailRequest{}) {
			last = err
		}
		if last == nil || !strings.Contains(last.Error(), "nothing was heard") {
			t.Error(last)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, err := range clientOf(t, p, "a:1").Tail(ctx, "q", TailRequest{}) {
			last = err
		}
		if !errors.Is(last, context.DeadlineExceeded) {
			t.Error(last)
		}
	})
}

func TestAddressesAreReadOrRefused(t *testing.T) {
	for _, c := range []struct{ address, want string }{
		{"", "http://127.0.0.1:7600"}, {"n1:7600, n2:7600,", "http://n1:7600 http://n2:7600"}, {"https://seepnode.example/", "https://seepnode.example"},
		{"http://[::1]:7600/", "http://[::1]:7600"}, {"n1", ""}, {"ftp://n1:1", ""}, {",", ""}, {"n1:70x", ""}, {"http://u:p@n1:1", ""}, {"n1:1?x", ""},
	} {
		got := ""
		if cl, err := New(Config{Address: c.address}); err == nil {
			got = strings.Join(cl.Addresses(), " ")
		} else if strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%q: %v", c.address, err)
		}
		if got != c.want {
			t.Errorf("%q gives %q, want %q", c.address, got, c.want)
		}
	}
	if _, err := New(Config{Token: "a\nb"}); err == nil {
		t.Error("a token with a line break is taken")
	}
}

func TestTimesAreUTCAndLeftOutWhenThereIsNone(t *testing.T) {
	for ms, want := range map[int64]string{
		0: "1970-01-01T00:00:00Z", 1234: "1970-01-01T00:00:01.234Z", math.MinInt64: "", math.MaxInt64: "", 253402300799999: "9999-12-31T23:59:59.999Z",
	} {
		b, err := json.Marshal(struct {
			W time.Time `json:"w,omitzero"`
		}{UnixMs(ms)})
		if err != nil || string(b) != `{"w":"`+want+`"}` && (want != "" || string(b) != "{}") {
			t.Errorf("%d: %s %v", ms, b, err)
		}
	}
}

func TestReachedSaysWhereAWaitEnds(t *testing.T) {
	for _, c := range []struct {
		q                 Query
		running, finished bool
	}{
		{Query{State: StateRunning, Partitions: 2, PartitionsRunning: 1}, false, false},
		{Query{State: StateRunning, Partitions: 2, PartitionsRunning: 2}, true, false},
		{Query{State: StateRunning}, false, false},
		{Query{State: StateWaiting}, false, false}, {Query{State: StateBlocked}, false, false},
		{Query{State: StatePaused}, true, false}, {Query{State: StateFailed}, true, true}, {Query{State: StateFinished}, true, true},
	} {
		if got := [2]bool{c.q.Reached(UntilRunning), c.q.Reached(UntilFinished)}; got != [2]bool{c.running, c.finished} {
			t.Errorf("%+v: %v", c.q, got)
		}
	}
}

func TestAReadsParametersSayAllOfIt(t *testing.T) {
	r := TableReadRequest{Key: []string{"a", ""}, Where: "n > 1", OrderBy: "n", Desc: true, Limit: 3, Epoch: 9, MinEpoch: 4}
	got := r.values()
	if s := got.Encode(); s != "desc=true&epoch=9&key=a&key=&limit=3&min_epoch=4&order_by=n&where=n+%3E+1" || !reflect.DeepEqual(got["key"], r.Key) {
		t.Error(s)
	}
}
