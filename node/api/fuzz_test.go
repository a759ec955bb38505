package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/api/client"
)

// answered fails when an answer is no answer of the API.
func answered(t *testing.T, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code >= 500 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if !json.Valid(w.Body.Bytes()) {
		t.Fatalf("%d %q is not JSON", w.Code, w.Body)
	}
	if w.Code >= 400 {
		var e client.Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Message == "" || len(w.Body.Bytes()) > 4096 {
			t.Fatalf("%d %.5000q is not a short error", w.Code, w.Body)
		}
	}
}

func FuzzParametersAreReadOrRefused(f *testing.F) {
	for _, q := range []string{
		"", "key=1&key=2", "where=a%3D1&order_by=b&desc=true&limit=10&epoch=3", "limit=-1", "limit=99999999999999999999", "desc", "%zz", "a;b",
		"wait=running&wait_ms=10", "after=1", "x=%00", strings.Repeat("key=1&", 200), "key=%ff",
	} {
		f.Add(q)
	}
	h, _ := logged(&fake{}, "")
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/v1/tables/q/t", "/v1/queries/q/history", "/v1/queries/q", "/v1/queries"} {
			r := httptest.NewRequest("GET", "http://127.0.0.1"+path, nil)
			r.URL.RawQuery = query
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			answered(t, w)
		}
	})
}

func FuzzPathsAreReadOrRefused(f *testing.F) {
	for _, p := range []string{"/v1/queries/q", "/", "/v1/queries/../x", "/v1/tables/a/b/c", "/v1/queries/\x00", "*", "", "/v1//queries", "/v1/nodes/%2e%2e", "v1/queries"} {
		f.Add(p)
	}
	h, _ := logged(&fake{}, "")
	f.Fuzz(func(t *testing.T, path string) {
		for _, method := range []string{"GET", "POST", "DELETE", "CONNECT"} {
			if path == "/metrics" || path == "/v1/openapi.yaml" || strings.HasPrefix(path, "/debug/") || strings.HasSuffix(path, "/tail") {
				return
			}
			r := &http.Request{Method: method, URL: &url.URL{Path: path}, Header: http.Header{}, Host: "127.0.0.1", Body: http.NoBody}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			answered(t, w)
		}
	})
}

func FuzzBodiesAreReadOrRefused(f *testing.F) {
	for _, b := range []string{
		"", "{", "{}", "[]", "null", `{"name":"q","sql":"SELECT 1"}`, `{"name":1}`, `{"set":{"a":1}}`, `{"accept_loss":true}`, `{"to":"n"}`,
		`{"sql":"\ud800"}`, "\xff", `{"name":"q"}{}`, `{"name":"q","name":"r"}`, strings.Repeat("[", 10000), `{"wait_ms":1e400}`,
	} {
		f.Add(b)
	}
	h, _ := logged(&fake{}, "")
	f.Fuzz(func(t *testing.T, body string) {
		for _, path := range []string{"/v1/queries", "/v1/validate", "/v1/queries/q/recover", "/v1/raft/transfer", "/v1/queries/q/pause"} {
			answered(t, ask(h, "POST", path, body))
		}
	})
}
