package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultAddress is where an agent listens when nothing is said.
const DefaultAddress = "127.0.0.1:7600"

// Config says which cluster a Client talks to.
type Config struct {
	// Address is host:port or a URL of a peer, or several with commas between them: the next one is tried when one does not answer.
	// "" is DefaultAddress.
	Address string
	// Token is sent with every request, "" for none.
	Token string
	// HTTPClient makes the requests; nil: one of the Client's own. It must have no Timeout, which would end Tail: contexts bound requests.
	HTTPClient *http.Client
	// RetryFor bounds how long a request is sent again while no peer answers or there is no leader; the context's end comes first.
	// 0: 10 s; below 0: each address once.
	RetryFor time.Duration
}

// Client calls the HTTP API. It may be used by several goroutines at once.
//
// An answer that is an error is an *Error. Other errors say that no peer answered, or that ctx ended.
type Client struct {
	base     []*url.URL
	token    string
	http     *http.Client
	retryFor time.Duration
	first    atomic.Int32 // the address that answered last
}

// Queries lists all queries, ascending by name.
func (c *Client) Queries(ctx context.Context) ([]Query, error) {
	list, err := get[QueryList](ctx, c, "/v1/queries", nil)
	if err != nil {
		return nil, err
	}
	return list.Queries, nil
}

// Query tells all of a query.
func (c *Client) Query(ctx context.Context, name string) (*QueryDetail, error) {
	return get[QueryDetail](ctx, c, queryPath(name, ""), nil)
}

// AwaitQuery waits until a query is running or finished (UntilRunning, UntilFinished; see Query.Reached), or ctx ends.
func (c *Client) AwaitQuery(ctx context.Context, name, until string) (*QueryDetail, error) {
	for {
		q, err := get[QueryDetail](ctx, c, queryPath(name, ""), url.Values{"wait": {until}, "wait_ms": {"30000"}})
		if err != nil || q.Reached(until) {
			return q, err
		}
		if err := ctx.Err(); err != nil {
			return q, fmt.Errorf("query %s is %s: %w", name, q.State, err)
		}
	}
}

// AddQuery adds a query and gives it as it is then.
func (c *Client) AddQuery(ctx context.Context, r AddQueryRequest) (*Query, error) {
	return post[Query](ctx, c, "/v1/queries", r)
}

// RemoveQuery removes a query, its state and its tables. It gives the query as it is then, REMOVING.
func (c *Client) RemoveQuery(ctx context.Context, name string) (*Query, error) {
	return call[Query](ctx, c, request{method: http.MethodDelete, path: queryPath(name, ""), mutates: true})
}

// PauseQuery makes a query's sources stand still.
func (c *Client) PauseQuery(ctx context.Context, name string) (*Query, error) {
	return post[Query](ctx, c, queryPath(name, "/pause"), nil)
}

// ResumeQuery lets a paused query go on.
func (c *Client) ResumeQuery(ctx context.Context, name string) (*Query, error) {
	return post[Query](ctx, c, queryPath(name, "/resume"), nil)
}

// QueryScale is how many partitions the stages of a query have and are to have.
func (c *Client) QueryScale(ctx context.Context, name string) (*Scale, error) {
	return get[Scale](ctx, c, queryPath(name, "/scale"), nil)
}

// ScaleQuery says how many partitions stages are to have. It answers before it is so: see StageScale.Changing.
func (c *Client) ScaleQuery(ctx context.Context, name string, r ScaleRequest) (*Scale, error) {
	return post[Scale](ctx, c, queryPath(name, "/scale"), r)
}

// DrainNode has a node give away all that it holds, and get nothing new until UndrainNode; Node.Drain says when that is done.
func (c *Client) DrainNode(ctx context.Context, name string) (*Node, error) {
	return post[Node](ctx, c, "/v1/nodes/"+url.PathEscape(name)+"/drain", nil)
}

// UndrainNode lets a node get partitions, copies and a vote again.
func (c *Client) UndrainNode(ctx context.Context, name string) (*Node, error) {
	return post[Node](ctx, c, "/v1/nodes/"+url.PathEscape(name)+"/undrain", nil)
}

// Autoscale is what automatic scaling is doing.
func (c *Client) Autoscale(ctx context.Context) (*Autoscale, error) {
	return get[Autoscale](ctx, c, "/v1/autoscale", nil)
}

// PauseAutoscale lets the layouts of queries be until ResumeAutoscale.
func (c *Client) PauseAutoscale(ctx context.Context) (*Autoscale, error) {
	return post[Autoscale](ctx, c, "/v1/autoscale/pause", nil)
}

// ResumeAutoscale lets automatic scaling go on.
func (c *Client) ResumeAutoscale(ctx context.Context) (*Autoscale, error) {
	return post[Autoscale](ctx, c, "/v1/autoscale/resume", nil)
}

// RecoverQuery lets a WAITING query go on without what was lost; r.AcceptLoss must be true.
func (c *Client) RecoverQuery(ctx context.Context, name string, r RecoverRequest) (*Recovered, error) {
	return post[Recovered](ctx, c, queryPath(name, "/recover"), r)
}

// VerifyQuery has the peer asked run again what is kept of a query's input, and compare. It takes as long as that run, which ends when ctx
// does. progress is called now and then; nil is fine. A difference is no error.
func (c *Client) VerifyQuery(ctx context.Context, name string, progress func(VerifyProgress)) (*Verification, error) {
	var found *Verification
	r := request{method: http.MethodPost, path: queryPath(name, "/verify"), wait: -1}
	err := c.retry(ctx, r, func(rep *reply) error {
		defer rep.Body.Close()
		return readLines(rep, func(line []byte) error {
			var l struct {
				VerifyLine
				Error
			}
			if err := json.Unmarshal(line, &l); err != nil {
				return fmt.Errorf("a line of the answer is not that of a seepnode API: %w", err)
			}
			if l.Progress != nil && progress != nil {
				progress(*l.Progress)
			}
			if l.Message != "" {
				return &l.Error
			}
			found = l.Verification
			return nil
		})
	})
	if err == nil && found == nil {
		err = errors.New("the answer ended before the verification did")
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// Plan is a query's compiled plan.
func (c *Client) Plan(ctx context.Context, name string) (*Plan, error) {
	return get[Plan](ctx, c, queryPath(name, "/plan"), nil)
}

// Topology tells where a query's partitions, vaults and seals are.
func (c *Client) Topology(ctx context.Context, name string) (*Topology, error) {
	return get[Topology](ctx, c, queryPath(name, "/topology"), nil)
}

// History tells what happened to a query, ascending by time.
func (c *Client) History(ctx context.Context, name string, r HistoryRequest) ([]HistoryEntry, error) {
	v := url.Values{}
	if r.After > 0 {
		v.Set("after", strconv.FormatUint(r.After, 10))
	}
	if r.Limit > 0 {
		v.Set("limit", strconv.Itoa(r.Limit))
	}
	h, err := get[History](ctx, c, queryPath(name, "/history"), v)
	if err != nil {
		return nil, err
	}
	return h.Entries, nil
}

// Checkpoints tells of a query's latest and open checkpoints.
func (c *Client) Checkpoints(ctx context.Context, name string) (*Checkpoints, error) {
	return get[Checkpoints](ctx, c, queryPath(name, "/checkpoints"), nil)
}

// Tail follows what a sink gets from now on: rows as they are committed, until the query ends, ctx ends or the loop is left. A loop that is
// too slow loses rows: the next one says how many (Dropped), or the error when none comes. The last
// pair has an error if it was not the query's end; ctx's own end is one too.
func (c *Client) Tail(ctx context.Context, name string, r TailRequest) iter.Seq2[TailRow, error] {
	return c.tail(ctx, name, r)
}

// Tables lists the materialized tables, ascending by query and name.
func (c *Client) Tables(ctx context.Context) ([]TableInfo, error) {
	list, err := get[TableList](ctx, c, "/v1/tables", nil)
	if err != nil {
		return nil, err
	}
	return list.Tables, nil
}

// ReadTable reads a table by key, or scans it.
func (c *Client) ReadTable(ctx context.Context, r TableReadRequest) (*TableRead, error) {
	return get[TableRead](ctx, c, "/v1/tables/"+url.PathEscape(r.Query)+"/"+url.PathEscape(r.Table), r.values())
}

// Nodes lists the nodes, ascending by name.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	list, err := get[NodeList](ctx, c, "/v1/nodes", nil)
	if err != nil {
		return nil, err
	}
	return list.Nodes, nil
}

// Node tells of one node.
func (c *Client) Node(ctx context.Context, name string) (*Node, error) {
	return get[Node](ctx, c, "/v1/nodes/"+url.PathEscape(name), nil)
}

// Status tells how the cluster is doing.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return get[Status](ctx, c, "/v1/status", nil)
}

// Validate checks a query's text. A text that is wrong is no error: the Validation says what is.
func (c *Client) Validate(ctx context.Context, r ValidateRequest) (*Validation, error) {
	return post[Validation](ctx, c, "/v1/validate", r)
}

// RaftPeers lists the members of the Raft group.
func (c *Client) RaftPeers(ctx context.Context) (*RaftPeers, error) {
	return get[RaftPeers](ctx, c, "/v1/raft/peers", nil)
}

// TransferRaft hands the leadership to a voter, "" to the one that is most up to date, and gives the new leader's name.
func (c *Client) TransferRaft(ctx context.Context, to string) (string, error) {
	t, err := post[Transferred](ctx, c, "/v1/raft/transfer", TransferRequest{To: to})
	if err != nil {
		return "", err
	}
	return t.Leader, nil
}

// Healthy is nil when a peer's process is up.
func (c *Client) Healthy(ctx context.Context) error {
	_, err := call[Health](ctx, c, request{method: http.MethodGet, path: "/healthz", once: true})
	return err
}

// Ready is nil when a peer knows a leader and has caught up.
func (c *Client) Ready(ctx context.Context) error {
	_, err := call[Health](ctx, c, request{method: http.MethodGet, path: "/readyz", once: true})
	return err
}

// Metrics are a peer's Prometheus metrics, in their text format.
func (c *Client) Metrics(ctx context.Context) (string, error) {
	b, err := c.do(ctx, request{method: http.MethodGet, path: "/metrics"})
	return string(b), err
}

// OpenAPI is the API's description, OpenAPI 3.1 in YAML.
func (c *Client) OpenAPI(ctx context.Context) (string, error) {
	b, err := c.do(ctx, request{method: http.MethodGet, path: "/v1/openapi.yaml"})
	return string(b), err
}

// Addresses are the peers' base URLs, in the order of Config.Address.
func (c *Client) Addresses() []string {
	var s []string
	for _, u := range c.base {
		s = append(s, u.String())
	}
	return s
}

func queryPath(name, below string) string { return "/v1/queries/" + url.PathEscape(name) + below }

// values are the request as a URL's query.
func (r *TableReadRequest) values() url.Values {
	v := url.Values{}
	for _, k := range r.Key {
		v.Add("key", k)
	}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("where", r.Where)
	set("order_by", r.OrderBy)
	if r.Desc {
		v.Set("desc", "true")
	}
	number := func(name string, n int64) {
		if n != 0 {
			v.Set(name, strconv.FormatInt(n, 10))
		}
	}
	number("limit", int64(r.Limit))
	number("epoch", int64(r.Epoch))
	number("min_epoch", int64(r.MinEpoch))
	return v
}

// parseAddresses reads Config.Address.
func parseAddresses(list string) ([]*url.URL, error) {
	if strings.TrimSpace(list) == "" {
		list = DefaultAddress
	}
	var all []*url.URL
	for _, a := range strings.Split(list, ",") {
		a = strings.TrimSpace(a)
		if a == "" {
			continue
		}
		text := a
		if !strings.Contains(text, "://") {
			text = "http://" + text
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("address %q is neither host:port nor http://host:port", a)
		}
		if u.Port() == "" && u.Scheme == "http" {
			return nil, fmt.Errorf("address %q has no port; an agent's is %s unless it says otherwise", a, "7600")
		}
		u.Path = strings.TrimRight(u.Path, "/")
		all = append(all, u)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("address %q names no peer", list)
	}
	return all, nil
}
