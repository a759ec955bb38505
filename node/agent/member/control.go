package member

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// controlIdle is how long a connection between nodes stays open for the next exchange.
const controlIdle = 30 * time.Second

// Dialer opens a control connection to a node's data address: HTTP follows.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// Control speaks HTTP with the control channels of nodes. The host in a URL is a data address.
type Control struct {
	client *http.Client
	dial   Dialer
	ctx    context.Context // of dialling
	cancel context.CancelFunc

	mu   sync.Mutex
	open map[*controlConn]bool // nil: closed
}

// NewControl makes a client; Close ends its connections.
func NewControl(dial Dialer) *Control {
	c := &Control{dial: dial, open: map[*controlConn]bool{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.client = &http.Client{Transport: &http.Transport{
		DialContext: c.connect, MaxIdleConnsPerHost: 64, IdleConnTimeout: controlIdle, DisableCompression: true,
	}}
	return c
}

// RoundTripper makes requests to control channels, for a proxy.
func (c *Control) RoundTripper() http.RoundTripper { return c.client.Transport }

// connect dials for the library, which may go on dialling when nobody waits for the connection any more: so it is bounded by the
// client's life too, and connections are remembered.
func (c *Control) connect(ctx context.Context, _, address string) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	conn, err := c.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	k := &controlConn{conn, c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == nil {
		conn.Close() //nolint:errcheck // never used
		return nil, net.ErrClosed
	}
	c.open[k] = true
	return k, nil
}

// Close ends all connections, those in use too.
func (c *Control) Close() {
	c.cancel()
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for k := range open {
		k.Conn.Close() //nolint:errcheck // nothing is waited for
	}
	c.client.CloseIdleConnections()
}

type controlConn struct {
	net.Conn
	of *Control
}

func (k *controlConn) Close() error {
	k.of.mu.Lock()
	delete(k.of.open, k)
	k.of.mu.Unlock()
	return k.Conn.Close()
}

// Post gives the status and the body of the answer, which may have at most most bytes.
func (c *Control) Post(ctx context.Context, address, path, kind string, body []byte, most int64) (int, []byte, error) {
	return c.do(ctx, http.MethodPost, address, path, kind, body, most)
}

// Get gives the status and the body of the answer, which may have at most most bytes.
func (c *Control) Get(ctx context.Context, address, path string, most int64) (int, []byte, error) {
	return c.do(ctx, http.MethodGet, address, path, "", nil, most)
}

func (c *Control) do(ctx context.Context, method, address, path, kind string, body []byte, most int64) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	resp, err := c.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end
	data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", address, err)
	}
	if int64(len(data)) > most {
		return 0, nil, fmt.Errorf("the answer of %s to %s has more than %d bytes", address, path, most)
	}
	return resp.StatusCode, data, nil
}

// answer writes v as JSON. That the peer has gone is its affair.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the peer has gone
}
