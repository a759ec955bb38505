package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

const (
	maxNameBytes    = 128
	maxSettingBytes = 4096
)

// checkName refuses names that no query, table or node can have. Which of the others exist is the Backend's.
func checkName(what, name string) error {
	switch {
	case name == "":
		return Invalid("the %s's name is missing", what)
	case len(name) > maxNameBytes:
		return Invalid("the %s's name has %d bytes, more than %d", what, len(name), maxNameBytes)
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }); i >= 0 {
		return Invalid("the %s's name %s holds a character that cannot be written", what, short(name))
	}
	return nil
}

// named is the name in the path, and no parameters.
func named(r *http.Request, what string) (string, error) {
	name := r.PathValue("name")
	if err := checkName(what, name); err != nil {
		return "", err
	}
	return name, nil
}

// about makes a handler of a Backend's method that takes a query's name.
func about[T any](r *http.Request, ask func(context.Context, string) (*T, error)) (any, error) {
	name, err := named(r, "query")
	if err != nil {
		return nil, err
	}
	if err := noParams(r); err != nil {
		return nil, err
	}
	return answer(ask(r.Context(), name))
}

// change makes a handler of a Backend's method that changes a query.
func change[T any](s *server, r *http.Request, do func(context.Context, client.RequestID, string) (*T, error)) (any, error) {
	name, err := named(r, "query")
	if err != nil {
		return nil, err
	}
	if err := noParams(r); err != nil {
		return nil, err
	}
	if err := s.read(r, &struct{}{}, true); err != nil {
		return nil, err
	}
	id, err := requestID(r)
	if err != nil {
		return nil, err
	}
	return answer(do(r.Context(), id, name))
}

// answer keeps a nil pointer from becoming an answer.
func answer[T any](v *T, err error) (any, error) {
	if err == nil && v == nil {
		err = errors.New("the node gave no answer and no error")
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (s *server) queries(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	all, err := s.backend.Queries(r.Context())
	return &client.QueryList{Queries: all}, err
}

func (s *server) query(_ http.ResponseWriter, r *http.Request) (any, error) {
	name, err := named(r, "query")
	if err != nil {
		return nil, err
	}
	p := paramsOf(r)
	until, most := p.wait()
	if err := p.done(); err != nil {
		return nil, err
	}
	if until == "" {
		return answer(s.backend.Query(r.Context(), name))
	}
	return answer(s.await(r.Context(), name, until, most))
}

// await waits at most so long and then tells how far the query is.
func (s *server) await(ctx context.Context, name, until string, most time.Duration) (*client.QueryDetail, error) {
	waiting, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	q, err := s.backend.AwaitQuery(waiting, name, until)
	if err != nil && waiting.Err() != nil && ctx.Err() == nil {
		return s.backend.Query(ctx, name)
	}
	return q, err
}

func (s *server) addQuery(w http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	id, err := requestID(r)
	if err != nil {
		return nil, err
	}
	var add client.AddQueryRequest
	if err := s.read(r, &add, false); err != nil {
		return nil, err
	}
	if err := checkName("query", add.Name); err != nil {
		return nil, err
	}
	if err := checkText(add.SQL, add.Set); err != nil {
		return nil, err
	}
	most, err := waitOf(add.Wait, add.WaitMs)
	if err != nil {
		return nil, err
	}
	q, err := s.backend.AddQuery(r.Context(), id, client.AddQueryRequest{Name: add.Name, SQL: add.SQL, Set: add.Set})
	if err == nil && q != nil && add.Wait != "" {
		var d *client.QueryDetail
		if d, err = s.await(r.Context(), add.Name, add.Wait, most); err == nil && d != nil {
			q = &d.Query
		}
	}
	v, err := answer(q, err)
	if err != nil {
		return nil, err
	}
	s.write(w, r, http.StatusCreated, v)
	return nil, nil
}

// checkText holds a query's text and settings to their limits.
func checkText(sql string, set map[string]string) error {
	switch {
	case strings.TrimSpace(sql) == "":
		return withHint(Invalid("sql is empty"), "it is the text of the query's statements")
	case len(sql) > client.MaxSQLBytes:
		return withHint(TooLarge("sql has %d bytes, more than %d", len(sql), client.MaxSQLBytes), "data belongs in files that the query reads")
	case len(set) > client.MaxSettings:
		return Invalid("set has %d settings, more than %d", len(set), client.MaxSettings)
	}
	for _, key := range sortedKeys(set) {
		if key == "" {
			return Invalid("set has a setting without a name")
		}
		if len(key) > maxSettingBytes || len(set[key]) > maxSettingBytes {
			return Invalid("setting %s has more than %d bytes", short(key), maxSettingBytes)
		}
	}
	return nil
}

func (s *server) removeQuery(_ http.ResponseWriter, r *http.Request) (any, error) {
	return change(s, r, s.backend.RemoveQuery)
}

func (s *server) pauseQuery(_ http.ResponseWriter, r *http.Request) (any, error) {
	return change(s, r, s.backend.PauseQuery)
}

func (s *server) resumeQuery(_ http.ResponseWriter, r *http.Request) (any, error) {
	return change(s, r, s.backend.ResumeQuery)
}

func (s *server) recoverQuery(_ http.ResponseWriter, r *http.Request) (any, error) {
	name, err := named(r, "query")
	if err != nil {
		return nil, err
	}
	if err := noParams(r); err != nil {
		return nil, err
	}
	id, err := requestID(r)
	if err != nil {
		return nil, err
	}
	var accept client.RecoverRequest
	if err := s.read(r, &accept, true); err != nil {
		return nil, err
	}
	if !accept.AcceptLoss {
		return nil, withHint(Invalid("recovering query %s goes on without what was lost", short(name)),
			`say that you accept that: {"accept_loss": true}, or --accept-loss; without it the query goes on by itself when the missing nodes are back`)
	}
	return answer(s.backend.RecoverQuery(r.Context(), id, name))
}

func (s *server) plan(_ http.ResponseWriter, r *http.Request) (any, error) {
	return about(r, s.backend.Plan)
}

func (s *server) topology(_ http.ResponseWriter, r *http.Request) (any, error) {
	return about(r, s.backend.Topology)
}

func (s *server) checkpoints(_ http.ResponseWriter, r *http.Request) (any, error) {
	return about(r, s.backend.Checkpoints)
}

func (s *server) history(_ http.ResponseWriter, r *http.Request) (any, error) {
	name, err := named(r, "query")
	if err != nil {
		return nil, err
	}
	p := paramsOf(r)
	h := client.HistoryRequest{After: uint64(p.number("after", 0, 1<<62)), Limit: int(p.number("limit", 1, client.MaxHistory))}
	if err := p.done(); err != nil {
		return nil, err
	}
	if h.Limit == 0 {
		h.Limit = client.MaxHistory
	}
	entries, err := s.backend.History(r.Context(), name, h)
	return &client.History{Entries: entries}, err
}

func (s *server) validate(_ http.ResponseWriter, r *http.Request) (any, error) {
	if err := noParams(r); err != nil {
		return nil, err
	}
	var v client.ValidateRequest
	if err := s.read(r, &v, false); err != nil {
		return nil, err
	}
	if err := checkText(v.SQL, v.Set); err != nil {
		return nil, err
	}
	return answer(s.backend.Validate(r.Context(), v))
}
