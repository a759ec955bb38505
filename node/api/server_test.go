package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

func TestRequestsAreAnsweredOrRefusedWithAHint(t *testing.T) {
	big := `{"name":"q","sql":"` + strings.Repeat("x", client.MaxSQLBytes+1) + `"}`
	huge := `{"name":"q","sql":"` + strings.Repeat("x", client.MaxBodyBytes) + `"}`
	for _, c := range []struct {
		method, target, body string
		status               int
		has                  string // of the answer's body
	}{
		{"GET", "/v1/queries", "", 200, `{"queries":[]}`},
		{"GET", "/v1/queries/q", "", 200, `"stages":[]`},
		{"GET", "/v1/queries/none", "", 404, `there is no query none`},
		{"GET", "/v1/queries/a%2Fb", "", 404, `there is no query a/b`},
		{"GET", "/v1/queries/" + strings.Repeat("x", 200), "", 400, `more than 128`},
		{"GET", "/v1/queries/a%00b", "", 400, `cannot be written`},
		{"GET", "/v1/queries?x=1", "", 400, `there is no parameter \"x\" here`},
		{"GET", "/v1/queries/q?wait=maybe", "", 400, `not \"running\" or \"finished\"`},
		{"GET", "/v1/queries/q?wait=running&wait_ms=5", "", 200, `"name":"q"`},
		{"GET", "/v1/queries/q?wait_ms=5", "", 400, `wait is not`},
		{"GET", "/v1/queries/q/plan", "", 200, `"text":"stage 0"`},
		{"GET", "/v1/queries/q/topology", "", 200, `"vaults":[]`},
		{"GET", "/v1/queries/q/history?after=3&limit=2", "", 200, `"seq":4,"time":"1970-01-01T00:00:01Z"`},
		{"GET", "/v1/queries/q/history?limit=1001", "", 400, `not a whole number from 1 to 1000`},
		{"GET", "/v1/queries/q/checkpoints", "", 200, `"complete_epoch":128`},
		{"GET", "/v1/tables", "", 200, `"name":"t"`},
		{"GET", "/v1/tables/q/t?key=1&key=a%20b", "", 200, `{"n":9007199254740993}`},
		{"GET", "/v1/tables/q/t?key=1&where=a", "", 400, `key is given with where`},
		{"GET", "/v1/tables/q/t?desc=true", "", 400, `without order_by`},
		{"GET", "/v1/tables/q/t?order_by=n&desc=often", "", 400, `not true or false`},
		{"GET", "/v1/tables/q/t?limit=1&limit=2", "", 400, `given 2 times`},
		{"GET", "/v1/tables/q/t?epoch=3&min_epoch=4", "", 400, `before min_epoch`},
		{"GET", "/v1/tables/q/t?where=%ff", "", 400, `not UTF-8`},
		{"GET", "/v1/tables/q/t?where=%zz", "", 400, `cannot be read`},
		{"GET", "/v1/tables/q/t?lim=3", "", 400, `order_by, desc, limit`},
		{"GET", "/v1/nodes", "", 200, `"name":"n1"`},
		{"GET", "/v1/nodes/n1", "", 200, `"name":"n1"`},
		{"GET", "/v1/status", "", 200, `"alerts":[]`},
		{"GET", "/v1/raft/peers", "", 200, `"peers":[]`},
		{"GET", "/v1/openapi.yaml", "", 200, `openapi: 3.1.0`},
		{"GET", "/metrics", "", 200, `seepnode_test_total 0`},
		{"GET", "/healthz", "", 200, `{"ok":true}`},
		{"GET", "/readyz", "", 200, `{"ok":true}`},
		{"GET", "/debug/pprof/", "", 403, `profiles need a token`},
		{"POST", "/v1/queries", `{"name":"q","sql":"SELECT 1","set":{"a":"b"}}`, 201, `"name":"q"`},
		{"POST", "/v1/queries", `{"name":"q","sql":"SELECT 1","wait":"running"}`, 201, `"name":"q"`},
		{"POST", "/v1/queries", `{"name":"q","sql":"SELEKT"}`, 400, `"line":1,"column":1,"hint":"did you mean SELECT?"`},
		{"POST", "/v1/queries", `{"name":"q","sql":"SELECT 1","sett":{}}`, 400, `there is no key \"sett\"`},
		{"POST", "/v1/queries", `{"name":"q","sql":" "}`, 400, `sql is empty`},
		{"POST", "/v1/queries", `{"name":"","sql":"SELECT 1"}`, 400, `name is missing`},
		{"POST", "/v1/queries", `{"name":"q","sql":3}`, 400, `key \"sql\" must be a string, not a JSON number`},
		{"POST", "/v1/queries", "{\"name\":\"q\",\n\"sql\" 3}", 400, `"line":2,"column":7`},
		{"POST", "/v1/queries", `{"name":"q"`, 400, `ends within`},
		{"POST", "/v1/queries", `{"name":"q","sql":"SELECT 1"} {}`, 400, `goes on behind`},
		{"POST", "/v1/queries", `null`, 400, `not a JSON object`},
		{"POST", "/v1/queries", ``, 400, `the body is empty`},
		{"POST", "/v1/queries", "{\"name\":\"q\",\"sql\":\"\xff\"}", 400, `not UTF-8`},
		{"POST", "/v1/queries", big, 413, `sql has 1048577 bytes`},
		{"POST", "/v1/queries", huge, 413, `the body has more than`},
		{"POST", "/v1/queries", `{"name":"q","sql":"SELECT 1","wait_ms":3}`, 400, `wait is not`},
		{"DELETE", "/v1/queries/q", "", 200, `"name":"q"`},
		{"POST", "/v1/queries/q/pause", "", 200, `"name":"q"`},
		{"POST", "/v1/queries/q/resume", "{}", 200, `"name":"q"`},
		{"POST", "/v1/queries/q/resume", `{"now":true}`, 400, `there is no key \"now\"`},
		{"POST", "/v1/queries/q/recover", "", 400, `accept_loss`},
		{"POST", "/v1/queries/q/recover", `{"accept_loss":false}`, 400, `accept_loss`},
		{"POST", "/v1/queries/q/recover", `{"accept_loss":true}`, 200, `"missing":[]`},
		{"POST", "/v1/queries/q/verify", "", 200, `"equal":true`},
		{"POST", "/v1/validate", `{"sql":"x"}`, 200, `"valid":false,"error":{"error":"no","line":2,"column":3}`},
		{"POST", "/v1/raft/transfer", `{"to":"n2"}`, 200, `{"leader":"n2"}`},
		{"POST", "/v1/raft/transfer", ``, 200, `{"leader":""}`},
		{"PUT", "/v1/queries", "", 405, `\"/v1/queries\" does not take \"PUT\", only GET, HEAD, POST`},
		{"DELETE", "/v1/status", "", 405, `only GET, HEAD`},
		{"GET", "/v2/queries", "", 404, `/v1/openapi.yaml lists all paths`},
		{"GET", "/v1/queries/", "", 404, `do not end in a slash`},
		{"GET", "//v1/queries", "", 404, `lists all paths`},
		{"GET", "/" + strings.Repeat("x", 5000), "", 404, `xxx...`},
		{"POST", "/v1/validate", `{"` + strings.Repeat("x", 5000) + `":1}`, 400, `xxx...`},
	} {
		h, _ := logged(&fake{}, "")
		w := ask(h, c.method, c.target, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.has) {
			t.Errorf("%s %.80s %.80s: %d %.300s; want %d with %s", c.method, c.target, c.body, w.Code, w.Body, c.status, c.has)
		}
		if w.Code >= 400 {
			var e client.Error
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || e.Message == "" {
				t.Errorf("%s %.80s: %q is not an error in JSON", c.method, c.target, w.Body)
			}
		}
	}
}

func TestReadsGetTheirParametersAndDefaults(t *testing.T) {
	f := &fake{}
	h, _ := logged(f, "")
	ask(h, "GET", "/v1/tables/q/t?where=a+%3D+1&order_by=n&desc&min_epoch=5", "")
	r := f.read
	if r.Where != "a = 1" || r.OrderBy != "n" || !r.Desc || r.Limit != client.DefaultTableRows || r.MinEpoch != 5 || r.Epoch != 0 {
		t.Errorf("read %+v", r)
	}
}

func TestWithATokenNothingButHealthIsAnsweredWithoutIt(t *testing.T) {
	h, _ := logged(&fake{}, "secret")
	for _, r := range (&server{}).routes() {
		method, path, _ := strings.Cut(r.pattern, " ")
		path = strings.NewReplacer("{name}", "q", "{query}", "q", "{table}", "t").Replace(path)
		for _, token := range []string{"", "Bearer", "Bearer secre", "Bearer secret2", "Basic secret"} {
			w := ask(h, method, path, "", "Authorization", token)
			want := http.StatusUnauthorized
			if path == "/healthz" {
				want = http.StatusOK
			}
			if w.Code != want {
				t.Errorf("%s with %q: %d, want %d", r.pattern, token, w.Code, want)
			}
		}
		if w := ask(h, method, path, "", "Authorization", "Bearer secret"); w.Code == http.StatusUnauthorized {
			t.Errorf("%s refuses the token", r.pattern)
		}
	}
	for _, path := range []string{"/metrics", "/debug/pprof/", "/nothing"} {
		if w := ask(h, "GET", path, ""); w.Code != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", path, w.Code)
		}
	}
	if w := ask(h, "GET", "/debug/pprof/", "", "Authorization", "bearer secret"); w.Code != 200 {
		t.Errorf("profiles with the token: %d", w.Code)
	}
}

func TestWebPagesOfOthersCannotUseAListenerWithoutAToken(t *testing.T) {
	h, _ := logged(&fake{}, "")
	for _, c := range []struct {
		method, key, value string
		status             int
	}{
		{"POST", "Sec-Fetch-Site", "cross-site", 403},
		{"POST", "Origin", "https://evil.example", 403},
		{"POST", "Origin", "http://127.0.0.1:7600", 200},
		{"GET", "Host", "evil.example:7600", 403},
		{"GET", "Host", "localhost:7600", 200},
		{"GET", "Host", "[::1]:7600", 200},
		{"GET", "Host", "n1", 200},
	} {
		path := "/v1/status"
		if c.method == "POST" {
			path = "/v1/queries/q/pause"
		}
		if w := ask(h, c.method, path, "", c.key, c.value); w.Code != c.status {
			t.Errorf("%s with %s %s: %d, want %d", c.method, c.key, c.value, w.Code, c.status)
		}
	}
}

func TestTheRequestsIDReachesTheBackend(t *testing.T) {
	f := &fake{}
	h, _ := logged(f, "")
	id := "000102030405060708090a0b0c0d0e0f"
	ask(h, "POST", "/v1/queries/q/pause", "", client.IDHeader, id)
	ask(h, "POST", "/v1/queries/q/pause", "")
	if len(f.calls) != 2 || f.calls[0] != "pause q "+id || strings.HasSuffix(f.calls[1], strings.Repeat("0", 32)) {
		t.Errorf("calls %q", f.calls)
	}
	for _, bad := range []string{"1", strings.Repeat("0", 32), strings.Repeat("g", 32)} {
		if w := ask(h, "POST", "/v1/queries/q/pause", "", client.IDHeader, bad); w.Code != 400 {
			t.Errorf("id %q: %d", bad, w.Code)
		}
	}
	if len(f.calls) != 2 {
		t.Error("a request with a wrong id was done")
	}
}

func TestErrorsOfTheBackendKeepTheirStatus(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		header string
	}{
		{NotFound("x"), 404, ""}, {Conflict("x"), 409, ""}, {Invalid("x"), 400, ""}, {TooLarge("x"), 413, ""},
		{Unauthorized("x"), 401, "WWW-Authenticate"}, {NoLeader("x"), 503, "Retry-After"}, {NotSupported("x"), 501, ""},
		{context.DeadlineExceeded, 503, "Retry-After"}, {&client.Error{Message: "from a peer", Status: 418}, 418, ""},
		{errors.New("disk on fire"), 500, ""}, {&client.Error{Message: "no status"}, 500, ""},
	} {
		h, log := logged(&fake{err: c.err}, "")
		w := ask(h, "GET", "/v1/queries/q", "")
		if w.Code != c.status || c.header != "" && w.Header().Get(c.header) == "" {
			t.Errorf("%v: %d %v", c.err, w.Code, w.Header())
		}
		if c.status == 500 {
			var e client.Error
			json.Unmarshal(w.Body.Bytes(), &e)
			if e.ID == "" || !strings.Contains(log.String(), e.ID) {
				t.Errorf("%v: id %q is not in the log %q", c.err, e.ID, log)
			}
		}
	}
}

func TestAPanicIsOneRequestsErrorWithAnIDInTheLog(t *testing.T) {
	h, log := logged(&fake{panic: true}, "")
	for _, path := range []string{"/v1/status", "/v1/queries/q/tail"} {
		log.Reset()
		w := ask(h, "GET", path, "")
		var e client.Error
		json.Unmarshal(w.Body.Bytes(), &e)
		if w.Code != 500 || e.ID == "" || strings.Contains(e.Message, "mind") || !strings.Contains(log.String(), e.ID) || !strings.Contains(log.String(), "lost my mind") {
			t.Errorf("%s: %d %s; log %s", path, w.Code, w.Body, log)
		}
	}
}

func TestReadyzSaysWhatIsMissing(t *testing.T) {
	h, _ := logged(&fake{ready: errors.New("no leader is known")}, "")
	if w := ask(h, "GET", "/readyz", ""); w.Code != 503 || !strings.Contains(w.Body.String(), "no leader is known") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWaitingEndsWithWhatIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{await: func(ctx context.Context) (*client.QueryDetail, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		h, _ := logged(f, "")
		start := time.Now()
		w := ask(h, "GET", "/v1/queries/q?wait=finished&wait_ms=3000", "")
		if w.Code != 200 || time.Since(start) != 3*time.Second {
			t.Errorf("%d after %s: %s", w.Code, time.Since(start), w.Body)
		}
	})
}

func TestTailEndsWithItsErrorAsALine(t *testing.T) {
	row := client.TailRow{Sink: "s", Op: client.OpInsert, Epoch: 3, Row: client.Row(`{"a":1}`)}
	line := `{"sink":"s","op":"+I","epoch":3,"key_group":0,"index":0,"row":{"a":1}}` + "\n"
	for _, c := range []struct {
		what, target string
		tail         func(context.Context, func([]client.TailRow) error) error
		status       int
		body         string
	}{
		{"no rows", "/v1/queries/q/tail", nil, 200, ""},
		{"two rows", "/v1/queries/q/tail", func(_ context.Context, emit func([]client.TailRow) error) error {
			return emit([]client.TailRow{row, row})
		}, 200, line + line},
		{"limit", "/v1/queries/q/tail?limit=1", func(_ context.Context, emit func([]client.TailRow) error) error {
			return emit([]client.TailRow{row, row})
		}, 200, line},
		{"error before", "/v1/queries/q/tail", func(context.Context, func([]client.TailRow) error) error {
			return Conflict("it has two sinks")
		}, 409, `{"error":"it has two sinks"}` + "\n"},
		{"error behind", "/v1/queries/q/tail", func(_ context.Context, emit func([]client.TailRow) error) error {
			emit([]client.TailRow{row})
			return Conflict("it failed")
		}, 200, line + `{"error":"it failed"}` + "\n"},
	} {
		h, _ := logged(&fake{tail: c.tail}, "")
		if w := ask(h, "GET", c.target, ""); w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.what, w.Code, w.Body, c.status, c.body)
		}
	}
}

func TestASilentTailSendsHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := logged(&fake{tail: func(context.Context, func([]client.TailRow) error) error {
			time.Sleep(2*client.HeartbeatEvery + time.Second)
			return nil
		}}, "")
		if w := ask(h, "GET", "/v1/queries/q/tail", ""); w.Body.String() != "\n\n" || !w.Flushed {
			t.Errorf("%q, flushed %v", w.Body, w.Flushed)
		}
	})
}
