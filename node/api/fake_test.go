package api

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/node/api/client"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a Backend with one query, "q", that has one table, "t".
type fake struct {
	mu    sync.Mutex
	calls []string // of methods that change something, with the id
	err   error    // that every method gives
	ready error
	read  client.TableReadRequest
	add   client.AddQueryRequest
	tail  func(ctx context.Context, emit func([]client.TailRow) error) error
	await func(ctx context.Context) (*client.QueryDetail, error)
	panic bool
}

func (f *fake) enter(name string) error {
	if f.panic {
		panic("lost my mind")
	}
	if f.err == nil && name != "q" {
		return NotFound("there is no query %s", name)
	}
	return f.err
}

func (f *fake) change(what, name string, id client.RequestID) (*client.Query, error) {
	f.mu.Lock()
	f.calls = append(f.calls, what+" "+name+" "+id.String())
	f.mu.Unlock()
	return &client.Query{Name: name, State: client.StateRunning}, f.enter(name)
}

func (f *fake) Queries(context.Context) ([]client.Query, error) { return nil, f.enter("q") }

func (f *fake) Query(_ context.Context, name string) (*client.QueryDetail, error) {
	return &client.QueryDetail{Query: client.Query{Name: name, State: client.StateRunning}}, f.enter(name)
}

func (f *fake) AwaitQuery(ctx context.Context, name, _ string) (*client.QueryDetail, error) {
	if f.await != nil {
		return f.await(ctx)
	}
	return f.Query(ctx, name)
}

func (f *fake) AddQuery(_ context.Context, id client.RequestID, r client.AddQueryRequest) (*client.Query, error) {
	f.add = r
	if strings.HasPrefix(r.SQL, "SELEKT") {
		return nil, InvalidAt(1, 1, "expected a statement, found SELEKT", "did you mean SELECT?")
	}
	return f.change("add", r.Name, id)
}

func (f *fake) RemoveQuery(_ context.Context, id client.RequestID, name string) (*client.Query, error) {
	return f.change("remove", name, id)
}

func (f *fake) PauseQuery(_ context.Context, id client.RequestID, name string) (*client.Query, error) {
	return f.change("pause", name, id)
}

func (f *fake) QueryScale(_ context.Context, name string) (*client.Scale, error) {
	return &client.Scale{Query: name, Stages: []client.StageScale{{Stage: 1, Partitions: 2}}}, f.enter(name)
}

func (f *fake) ScaleQuery(_ context.Context, id client.RequestID, name string, r client.ScaleRequest) (*client.Scale, error) {
	_, err := f.change("scale", name, id)
	return &client.Scale{Query: name, Stages: []client.StageScale{{Stage: 1, Wanted: r.Stages[0].Partitions}}}, err
}

func (f *fake) DrainNode(_ context.Context, id client.RequestID, name string, drain bool) (*client.Node, error) {
	_, err := f.change(map[bool]string{true: "drain", false: "undrain"}[drain], name, id)
	return &client.Node{Name: name}, err
}

func (f *fake) Autoscale(context.Context) (*client.Autoscale, error) { return &client.Autoscale{}, nil }

func (f *fake) PauseAutoscale(_ context.Context, id client.RequestID, pause bool) (*client.Autoscale, error) {
	_, err := f.change(map[bool]string{true: "pause autoscale", false: "resume autoscale"}[pause], "q", id)
	return &client.Autoscale{Paused: pause}, err
}

func (f *fake) ResumeQuery(_ context.Context, id client.RequestID, name string) (*client.Query, error) {
	return f.change("resume", name, id)
}

func (f *fake) RecoverQuery(_ context.Context, id client.RequestID, name string) (*client.Recovered, error) {
	_, err := f.change("recover", name, id)
	return &client.Recovered{}, err
}

func (f *fake) VerifyQuery(_ context.Context, name string, progress func(client.VerifyProgress)) (*client.Verification, error) {
	if err := f.enter(name); err != nil {
		return nil, err
	}
	progress(client.VerifyProgress{Epoch: 64, To: 128})
	return &client.Verification{Equal: true, Chains: 512}, nil
}

func (f *fake) Plan(_ context.Context, name string) (*client.Plan, error) {
	return &client.Plan{Query: name, Text: "stage 0"}, f.enter(name)
}

func (f *fake) Topology(_ context.Context, name string) (*client.Topology, error) {
	return &client.Topology{Query: name, Stages: []client.TopologyStage{{}}}, f.enter(name)
}

func (f *fake) History(_ context.Context, name string, r client.HistoryRequest) ([]client.HistoryEntry, error) {
	return []client.HistoryEntry{{Seq: r.After + 1, Time: client.UnixMs(1000), Kind: "limit", Figures: map[string]string{"n": "1"}}}, f.enter(name)
}

func (f *fake) Checkpoints(_ context.Context, name string) (*client.Checkpoints, error) {
	return &client.Checkpoints{CompleteEpoch: 128}, f.enter(name)
}

func (f *fake) Tail(ctx context.Context, name string, _ client.TailRequest, emit func([]client.TailRow) error) error {
	if err := f.enter(name); err != nil {
		return err
	}
	if f.tail == nil {
		return nil
	}
	return f.tail(ctx, emit)
}

func (f *fake) Tables(context.Context) ([]client.TableInfo, error) {
	return []client.TableInfo{{Query: "q", Name: "t"}}, f.enter("q")
}

func (f *fake) ReadTable(_ context.Context, r client.TableReadRequest) (*client.TableRead, error) {
	f.read = r
	return &client.TableRead{Query: r.Query, Table: r.Table, Epoch: 7, Rows: []client.Row{client.Row(`{"n":9007199254740993}`)}}, f.enter(r.Query)
}

func (f *fake) Nodes(context.Context) ([]client.Node, error) {
	return []client.Node{{Name: "n1"}}, f.enter("q")
}

func (f *fake) Node(_ context.Context, name string) (*client.Node, error) {
	return &client.Node{Name: name}, f.enter("q")
}

func (f *fake) Status(context.Context) (*client.Status, error) {
	return &client.Status{Leader: "n1"}, f.enter("q")
}

func (f *fake) Validate(context.Context, client.ValidateRequest) (*client.Validation, error) {
	return &client.Validation{Valid: false, Error: InvalidAt(2, 3, "no", "")}, f.enter("q")
}

func (f *fake) RaftPeers(context.Context) (*client.RaftPeers, error) {
	return &client.RaftPeers{State: "Leader"}, f.enter("q")
}

func (f *fake) TransferRaft(_ context.Context, id client.RequestID, to string) (string, error) {
	_, err := f.change("transfer", "q", id)
	return to, err
}

func (f *fake) Ready(context.Context) error { return f.ready }

// ask makes a request to a handler without a socket.
func ask(h http.Handler, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "127.0.0.1:7600"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// logged is a handler over f and what it logs.
func logged(f *fake, token string) (http.Handler, *bytes.Buffer) {
	var log bytes.Buffer
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "seepnode_test_total", Help: "A test."}))
	return New(Config{Backend: f, Token: token, Registry: registry, Logger: slog.New(slog.NewTextHandler(&log, nil))}), &log
}
