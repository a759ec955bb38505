package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/api"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// pathTable reads a part of a table that is on the node asked.
	pathTable = "/v1/internal/table"
	// tableWait bounds a read: what has not come by then is said to be missing.
	tableWait = 10 * time.Second
	// tableSizeWait bounds the asking for a table's size.
	tableSizeWait = time.Second
	// tableRequestMax and tableAnswerMax bound what travels between nodes.
	tableRequestMax = 4 << 20
	tableAnswerMax  = 256 << 20
)

// wireTable is a part's answer as it travels.
type wireTable struct {
	Response *table.Response `json:"response,omitempty"`
	Failure  *table.Failure  `json:"failure,omitempty"`
}

// newReader reads whole tables, wherever their parts are.
func newReader(a *Agent) *table.Reader {
	return &table.Reader{Local: a.tables, Self: a.self, Placement: a.partsOf, Ask: a.askPart, Route: a.routeOf,
		Changed: func() <-chan struct{} { return a.Machine().Changed() }}
}

// tableOf finds the plan of a query and the stage and the table that a sink of a name is.
func (a *Agent) tableOf(s *raftfsm.State, id topology.QueryID, name string) (*raftfsm.Query, *plan.Plan, *plan.Stage, *plan.Table) {
	q := s.Incarnation(id.Incarnation)
	if q == nil || q.ID != id {
		return nil, nil, nil, nil
	}
	p := a.plans.of(s, q)
	if p == nil {
		return nil, nil, nil, nil
	}
	for _, st := range p.Stages {
		for _, op := range st.Ops {
			if op.Sink != nil && p.Tables[op.Sink.Table].Name == name {
				return q, p, st, p.Tables[op.Sink.Table]
			}
		}
	}
	return nil, nil, nil, nil
}

// partsOf is who holds a table.
func (a *Agent) partsOf(id topology.QueryID, name string) []table.Part {
	q, _, st, t := a.tableOf(a.Machine().View(), id, name)
	if t == nil || t.Connector != a.tables.Definition().Name || !runs(q.State) {
		return nil
	}
	var parts []table.Part
	for _, p := range q.Stages[st.ID].Partitions {
		parts = append(parts, table.Part{Range: p.Range, Process: p.Process})
	}
	return parts
}

// routeOf is the key group of a primary key, where the stage that makes the table's rows distributes them by columns of that.
func (a *Agent) routeOf(id topology.QueryID, name string, key []string) (topology.KeyGroup, bool) {
	_, p, st, t := a.tableOf(a.Machine().View(), id, name)
	if t == nil {
		return 0, false
	}
	sink := slices.IndexFunc(st.Ops, func(op *plan.Op) bool { return op.Sink != nil && p.Tables[op.Sink.Table] == t })
	route := table.NewRoute(t.Schema, t.Primary, p.KeyColumns(st, sink, t.Primary), st.Groups)
	if route == nil {
		return 0, false
	}
	return route(key)
}

// askPart asks a process for its part of a table.
func (a *Agent) askPart(ctx context.Context, to topology.Process, r table.Request) (table.Response, error) {
	n := a.Machine().View().Node(to.Node)
	if n == nil || n.Boot != to.Boot {
		return table.Response{}, fmt.Errorf("%v is gone", to)
	}
	body, err := json.Marshal(r)
	if err != nil {
		return table.Response{}, err
	}
	status, answer, err := a.member.Control().Post(ctx, n.Addresses.Data, pathTable, "application/json", body, tableAnswerMax)
	if err != nil {
		return table.Response{}, err
	}
	var w wireTable
	switch err := json.Unmarshal(answer, &w); {
	case status != http.StatusOK || err != nil:
		return table.Response{}, fmt.Errorf("node %s answered with status %d: %.200s", to.Node, status, answer)
	case w.Failure != nil:
		return table.Response{}, w.Failure.Err()
	case w.Response == nil:
		return table.Response{}, fmt.Errorf("node %s gave no answer", to.Node)
	}
	return *w.Response, nil
}

// readPart answers another node's askPart.
func (a *Agent) readPart(w http.ResponseWriter, r *http.Request) {
	var request table.Request
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, tableRequestMax)).Decode(&request); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer wireTable
	response, err := a.tables.Read(r.Context(), request)
	if err != nil {
		answer.Failure = table.FailureOf(err)
	} else {
		answer.Response = &response
	}
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(body.Bytes()) //nolint:errcheck // the peer has gone
}

func (b backend) ReadTable(ctx context.Context, r client.TableReadRequest) (*client.TableRead, error) {
	s, q, err := b.query(r.Query)
	if err != nil {
		return nil, err
	}
	if _, _, _, t := b.a.tableOf(s, q.ID, r.Table); t == nil {
		return nil, api.NotFound("query %s has no table %s", r.Query, r.Table)
	} else if t.Connector != b.a.tables.Definition().Name {
		return nil, api.Invalid("%s.%s is written to connector '%s': only tables with connector '%s' are read here", r.Query, r.Table, t.Connector, b.a.tables.Definition().Name)
	}
	request := table.Request{Query: q.ID, Table: r.Table, Epoch: r.Epoch, AtLeast: r.MinEpoch, Where: r.Where, OrderBy: r.OrderBy, Desc: r.Desc}
	// One more than is asked for tells whether there are more.
	request.Limit = r.Limit + 1
	if len(r.Key) > 0 {
		request.Keys, request.Limit = [][]string{r.Key}, 0
	}
	ctx, cancel := context.WithTimeout(ctx, tableWait)
	defer cancel()
	response, err := b.a.reader.Read(ctx, request)
	if err != nil {
		return nil, tableError(r, err)
	}
	out := &client.TableRead{Query: r.Query, Table: r.Table, Incarnation: q.ID.Incarnation, Epoch: response.Epoch,
		Time: client.UnixMs(b.figures(s, q).timeOf(response.Epoch)), Columns: columnsOf(response.Columns)}
	for i, row := range response.Rows {
		if i == r.Limit {
			out.Truncated = true
			break
		}
		out.Rows = append(out.Rows, row.Values)
	}
	return out, nil
}

func columnsOf(list []table.Column) []client.Column {
	out := []client.Column{}
	for _, c := range list {
		out = append(out, client.Column{Name: c.Name, Type: c.Type})
	}
	return out
}

// tableError makes an error of reading one for people.
func tableError(r client.TableReadRequest, err error) error {
	var (
		request *table.RequestError
		trimmed *table.TrimmedError
		early   *table.NotVisibleError
		missing *table.UnavailableError
		large   *table.TooLargeError
		text    *ast.Error
	)
	switch {
	case errors.As(err, &text):
		return api.InvalidAt(text.Pos.Line, text.Pos.Column, "where: "+text.Msg, text.Hint)
	case errors.As(err, &request):
		return api.Invalid("%s.%s: %v", r.Query, r.Table, err)
	case errors.As(err, &trimmed):
		return api.Conflict("%s.%s: %v", r.Query, r.Table, err)
	case errors.As(err, &large):
		return api.TooLarge("%s.%s: %v", r.Query, r.Table, err)
	case errors.As(err, &early), errors.As(err, &missing), errors.Is(err, context.DeadlineExceeded):
		return api.Unavailable("%s.%s: %v", r.Query, r.Table, err)
	case errors.Is(err, table.ErrNotHere):
		return api.NotFound("%s.%s is not kept any more", r.Query, r.Table)
	}
	return err
}

// Tables lists what the metadata says there is, with sizes of what answers in a moment.
func (b backend) Tables(ctx context.Context) ([]client.TableInfo, error) {
	s, err := b.state()
	if err != nil {
		return nil, err
	}
	var list []client.TableInfo
	for _, q := range s.Queries {
		if !runs(q.State) {
			continue
		}
		f := b.figures(s, q)
		if f.plan == nil {
			continue
		}
		for _, st := range f.plan.Stages {
			for _, op := range st.Ops {
				if op.Sink == nil || f.plan.Tables[op.Sink.Table].Connector != b.a.tables.Definition().Name {
					continue
				}
				list = append(list, b.tableInfo(ctx, f, st, f.plan.Tables[op.Sink.Table]))
			}
		}
	}
	slices.SortFunc(list, func(x, y client.TableInfo) int {
		if c := strings.Compare(x.Query, y.Query); c != 0 {
			return c
		}
		return strings.Compare(x.Name, y.Name)
	})
	return list, nil
}

func (b backend) tableInfo(ctx context.Context, f *figures, st *plan.Stage, t *plan.Table) client.TableInfo {
	info := client.TableInfo{Query: f.query.Name, Name: t.Name, OldestEpoch: max(1, f.query.TrimPoint()), Epoch: f.query.Complete,
		Partitions: len(f.query.Stages[st.ID].Partitions), Columns: []client.Column{}}
	for _, c := range t.Schema.Fields {
		info.Columns = append(info.Columns, client.Column{Name: c.Name, Type: c.Type.String()})
	}
	for _, i := range t.Primary {
		info.PrimaryKey = append(info.PrimaryKey, t.Schema.Fields[i].Name)
	}
	ctx, cancel := context.WithTimeout(ctx, tableSizeWait)
	defer cancel()
	// A part that does not answer now, because it is being restored, counts nothing: sizes are a help, not a result.
	info.Rows, info.Bytes, _ = b.a.reader.Size(ctx, f.query.ID, t.Name)
	return info
}
