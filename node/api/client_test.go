package api

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// TestTheClientReachesEveryRoute makes every call of the client over a socket and counts the routes.
func TestTheClientReachesEveryRoute(t *testing.T) {
	f := &fake{}
	h, _ := logged(f, "secret")
	listening := httptest.NewServer(h)
	defer listening.Close()
	c, err := client.New(client.Config{Address: listening.URL, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := t.Context()
	calls := map[string]func() error{
		"queries": func() error { _, err := c.Queries(ctx); return err },
		"query":   func() error { _, err := c.Query(ctx, "q"); return err },
		"add": func() error {
			_, err := c.AddQuery(ctx, client.AddQueryRequest{Name: "q", SQL: "SELECT 1"})
			return err
		},
		"remove":  func() error { _, err := c.RemoveQuery(ctx, "q"); return err },
		"pause":   func() error { _, err := c.PauseQuery(ctx, "q"); return err },
		"resume":  func() error { _, err := c.ResumeQuery(ctx, "q"); return err },
		"recover": func() error { _, err := c.RecoverQuery(ctx, "q", client.RecoverRequest{AcceptLoss: true}); return err },
		"verify": func() error {
			told := topology.Epoch(0)
			v, err := c.VerifyQuery(ctx, "q", func(p client.VerifyProgress) { told = p.Epoch })
			if err == nil && (told != 64 || v.Chains != 512) {
				t.Errorf("progress to %d, %+v", told, v)
			}
			return err
		},
		"plan":        func() error { _, err := c.Plan(ctx, "q"); return err },
		"topology":    func() error { _, err := c.Topology(ctx, "q"); return err },
		"history":     func() error { _, err := c.History(ctx, "q", client.HistoryRequest{After: 1, Limit: 2}); return err },
		"checkpoints": func() error { _, err := c.Checkpoints(ctx, "q"); return err },
		"tables":      func() error { _, err := c.Tables(ctx); return err },
		"scale":       func() error { _, err := c.QueryScale(ctx, "q"); return err },
		"rescale": func() error {
			s, err := c.ScaleQuery(ctx, "q", client.ScaleRequest{Stages: []client.ScaleStage{{Stage: "count", Partitions: 3}}})
			if err == nil && s.Stages[0].Wanted != 3 {
				t.Errorf("scaled to %+v", s)
			}
			return err
		},
		"drain":            func() error { _, err := c.DrainNode(ctx, "q"); return err },
		"undrain":          func() error { _, err := c.UndrainNode(ctx, "q"); return err },
		"autoscale":        func() error { _, err := c.Autoscale(ctx); return err },
		"pause autoscale":  func() error { _, err := c.PauseAutoscale(ctx); return err },
		"resume autoscale": func() error { _, err := c.ResumeAutoscale(ctx); return err },
		"read": func() error {
			r := client.TableReadRequest{Query: "q", Table: "t", Where: "n = 1 AND s = 'ä&b'", OrderBy: "n", Desc: true, Limit: 3}
			_, err := c.ReadTable(ctx, r)
			if f.read.Where != r.Where || f.read.Limit != 3 || !f.read.Desc {
				t.Errorf("read %+v arrived as %+v", r, f.read)
			}
			return err
		},
		"nodes":    func() error { _, err := c.Nodes(ctx); return err },
		"node":     func() error { _, err := c.Node(ctx, "n1"); return err },
		"status":   func() error { _, err := c.Status(ctx); return err },
		"validate": func() error { _, err := c.Validate(ctx, client.ValidateRequest{SQL: "x"}); return err },
		"peers":    func() error { _, err := c.RaftPeers(ctx); return err },
		"transfer": func() error { _, err := c.TransferRaft(ctx, "n2"); return err },
		"healthy":  func() error { return c.Healthy(ctx) },
		"ready":    func() error { return c.Ready(ctx) },
		"metrics":  func() error { _, err := c.Metrics(ctx); return err },
		"openapi":  func() error { _, err := c.OpenAPI(ctx); return err },
		"tail": func() error {
			for _, err := range c.Tail(ctx, "q", client.TailRequest{}) {
				return err
			}
			return nil
		},
	}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if want := len((&server{}).routes()) + 1; len(calls) != want {
		t.Errorf("%d calls, %d routes with /metrics", len(calls), want)
	}
}

// TestATailFlowsWhileTheQueryRuns sees each row before the next one is made, and ends the backend's tail when the loop is left.
func TestATailFlowsWhileTheQueryRuns(t *testing.T) {
	next, ended := make(chan struct{}), make(chan error, 1)
	h, _ := logged(&fake{tail: func(ctx context.Context, emit func([]client.TailRow) error) error {
		for i := int64(0); ; i++ {
			if err := emit([]client.TailRow{{Op: client.OpInsert, Index: i, Row: client.Row(`{}`)}}); err != nil {
				ended <- err
				return err
			}
			select {
			case <-next:
			case <-ctx.Done():
				ended <- ctx.Err()
				return ctx.Err()
			}
		}
	}}, "")
	listening := httptest.NewServer(h)
	defer listening.Close()
	c, err := client.New(client.Config{Address: strings.TrimPrefix(listening.URL, "http://")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := int64(0)
	for row, err := range c.Tail(t.Context(), "q", client.TailRequest{}) {
		if err != nil || row.Index != want {
			t.Fatal(row, err)
		}
		if want++; want == 3 {
			break
		}
		next <- struct{}{}
	}
	if err := <-ended; err == nil {
		t.Error("the backend's tail ended without an error")
	}
}
