package fake

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
)

// Metadata is the metadata service of one instance: IMDSv2 alone.
type Metadata struct {
	mu     sync.Mutex
	values map[string]string // by path below /latest/meta-data/
	server *httptest.Server
}

const metadataToken = "token-of-this-machine"

// StartMetadata serves it on the loopback.
func StartMetadata(instanceID string) *Metadata {
	m := NewMetadata(instanceID)
	m.server = httptest.NewServer(http.HandlerFunc(m.serve))
	return m
}

// NewMetadata serves it through Do alone, without a socket.
func NewMetadata(instanceID string) *Metadata {
	return &Metadata{values: map[string]string{"instance-id": instanceID}}
}

// URL is where it is reached.
func (m *Metadata) URL() string { return m.server.URL }

// Do answers a request as the server does. It is an aws.HTTPClient for tests in virtual time, which sockets hold up.
func (m *Metadata) Do(r *http.Request) (*http.Response, error) { return answer(m.serve, r) }

// answer is what a handler answers a client's request.
func answer(serve http.HandlerFunc, r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	serve(w, r)
	out := w.Result()
	out.Request = r
	return out, nil
}

// Close ends it.
func (m *Metadata) Close() { m.server.Close() }

// Set gives a path a value; "" takes it away.
func (m *Metadata) Set(path, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[path] = value; value == "" {
		delete(m.values, path)
	}
}

func (m *Metadata) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
		_, _ = io.WriteString(w, metadataToken) // a client that is gone hears nothing
		return
	}
	if r.Header.Get("X-Aws-Ec2-Metadata-Token") != metadataToken {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	const root = "/latest/meta-data/"
	value, ok := "", false
	if len(r.URL.Path) > len(root) && r.URL.Path[:len(root)] == root {
		value, ok = m.values[r.URL.Path[len(root):]]
	}
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	_, _ = io.WriteString(w, value)
}
