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
	m := &Metadata{values: map[string]string{"instance-id": instanceID}}
	m.server = httptest.NewServer(http.HandlerFunc(m.serve))
	return m
}

// URL is where it is reached.
func (m *Metadata) URL() string { return m.server.URL }

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
