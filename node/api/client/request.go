package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	dialTimeout  = 3 * time.Second
	patience     = 15 * time.Second // for the head of an answer, so that a frozen peer does not hold a request for ever
	retryDefault = 10 * time.Second
	backoffFirst = 50 * time.Millisecond
	backoffMost  = time.Second
	errorBytes   = 64 << 10 // read of an answer that is an error
)

// New makes a Client. Nothing is sent yet; the error is a wrong Address.
func New(c Config) (*Client, error) {
	base, err := parseAddresses(c.Address)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(c.Token, "\r\n") {
		return nil, errors.New("the token has a line break in it")
	}
	client := &Client{base: base, token: c.Token, http: c.HTTPClient, retryFor: c.RetryFor}
	if client.retryFor == 0 {
		client.retryFor = retryDefault
	}
	if client.http == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.DialContext = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext
		client.http = &http.Client{
			Transport: transport,
			// A token is for the peer that was named.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return client, nil
}

// Close closes connections that nobody uses just now. The Client goes on working.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// request is one call.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	mutates      bool          // carries an id
	once         bool          // asks each address once at most
	wait         time.Duration // the answer may take that much longer; < 0: any time
}

// reply is the head of an answer that is no error.
type reply struct {
	*http.Response
	cancel context.CancelFunc // ends the request
}

func get[T any](ctx context.Context, c *Client, path string, query url.Values) (*T, error) {
	r := request{method: http.MethodGet, path: path, query: query}
	if ms, err := strconv.ParseInt(query.Get("wait_ms"), 10, 64); err == nil {
		r.wait = time.Duration(ms) * time.Millisecond
	}
	return call[T](ctx, c, r)
}

func post[T any](ctx context.Context, c *Client, path string, body any) (*T, error) {
	r := request{method: http.MethodPost, path: path, mutates: true}
	switch b := body.(type) {
	case AddQueryRequest:
		if b.Wait != "" {
			r.wait = MaxWaitMs * time.Millisecond
		}
	case ValidateRequest:
		r.mutates = false
	}
	if body != nil {
		var err error
		if r.body, err = json.Marshal(body); err != nil {
			return nil, fmt.Errorf("body of %s %s: %w", r.method, path, err)
		}
	}
	return call[T](ctx, c, r)
}

// call makes a request and reads its answer as a T.
func call[T any](ctx context.Context, c *Client, r request) (*T, error) {
	b, err := c.do(ctx, r)
	if err != nil {
		return nil, err
	}
	t := new(T)
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("%s %s: the answer is not that of a seepnode API: %w", r.method, r.path, err)
	}
	return t, nil
}

// do makes a request until a peer answers it and gives the answer's body.
func (c *Client) do(ctx context.Context, r request) (body []byte, err error) {
	err = c.retry(ctx, r, func(rep *reply) error {
		defer rep.Body.Close()
		b, err := io.ReadAll(io.LimitReader(rep.Body, MaxAnswerBytes+1))
		if err == nil && len(b) > MaxAnswerBytes {
			return &Error{Status: rep.StatusCode, Message: fmt.Sprintf("the answer has more than %d bytes", MaxAnswerBytes), Hint: "ask for less"}
		}
		body = b
		return err
	})
	return body, err
}

// retry makes a request, hands an answer that is no error to take, and goes on to the next address and round for as long as nobody
// answers, the answer is cut off (an error of take that is no *Error), or the cluster is unavailable. A request may be made again because
// it either changes nothing or carries an id.
func (c *Client) retry(ctx context.Context, r request, take func(*reply) error) error {
	id := RequestID{}
	if r.mutates {
		id = requestID(ctx)
	}
	var last error
	start, pause := time.Now(), backoffFirst
	for try := 0; ; try++ {
		at := (int(c.first.Load()) + try) % len(c.base)
		rep, err := c.send(ctx, c.base[at], r, id)
		if err == nil {
			err = take(rep)
			rep.cancel()
		}
		var answer *Error
		answered := errors.As(err, &answer)
		switch {
		case err == nil || answered && answer.Status != http.StatusServiceUnavailable:
			if try > 0 {
				c.first.Store(int32(at))
			}
			return err
		case ctx.Err() != nil:
			return fmt.Errorf("%w (%s)", ctx.Err(), firstOf(last, err))
		}
		// An answer says more than that another peer did not answer.
		if answered || last == nil || !errors.As(last, &answer) {
			last = err
		}
		if (try+1)%len(c.base) != 0 {
			continue
		}
		var untrusted *tls.CertificateVerificationError
		if r.once || c.retryFor < 0 || time.Since(start)+pause > c.retryFor || errors.As(last, &untrusted) {
			return last
		}
		if err := sleep(ctx, pause); err != nil {
			return fmt.Errorf("%w (%s)", err, last)
		}
		pause = min(2*pause, backoffMost)
	}
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// send makes a request at one address. Who gets a reply must close its body and cancel it.
func (c *Client) send(ctx context.Context, base *url.URL, r request, id RequestID) (*reply, error) {
	target := base.String() + r.path // path is escaped
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	ctx, cancel := context.WithCancel(ctx)
	var body io.Reader
	if r.body != nil {
		body = bytes.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		cancel()
		return nil, err
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if id != (RequestID{}) {
		// net/http knows this header too: it sends such a request again when a kept connection turns out to be closed.
		req.Header.Set(IDHeader, id.String())
	}
	slow := (*time.Timer)(nil)
	if r.wait >= 0 {
		slow = time.AfterFunc(patience+r.wait, cancel)
	}
	res, err := c.http.Do(req)
	if slow != nil && !slow.Stop() && err != nil {
		err = fmt.Errorf("%s did not answer within %s", base.Host, patience+r.wait)
	}
	if err != nil {
		cancel()
		return nil, reach(base, err)
	}
	if res.StatusCode/100 == 2 {
		return &reply{res, cancel}, nil
	}
	defer cancel()
	defer res.Body.Close()
	return nil, answerError(base, res)
}

// reach says that a peer could not be reached, without the URL that net/http puts before it.
func reach(base *url.URL, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("no answer from %s: %w", base.Host, err)
}

// answerError reads an answer that is an error.
func answerError(base *url.URL, res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, errorBytes)) // a status says enough when the rest does not arrive
	e := &Error{}
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		*e = Error{
			Message: fmt.Sprintf("%s answered %s", base.Host, res.Status),
			Hint:    "that does not look like a seepnode API: is the address right?",
		}
		if strings.Contains(string(b), "HTTPS server") { // Go's, asked without TLS
			e.Hint = "it speaks HTTPS: give --tls-ca FILE with its authority, or https:// in the address"
		}
	}
	e.Status = res.StatusCode
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 && s < 3600 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
