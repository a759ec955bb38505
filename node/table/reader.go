package table

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Part are the key groups of a table that one process holds.
type Part struct {
	Range   topology.Range
	Process topology.Process
}

// Reader reads whole tables, wherever their parts are. Its fields are not changed once it is used; its methods may be called concurrently.
type Reader struct {
	Local *Store
	Self  topology.Process
	// Placement is who holds a table at present: the active partitions of the stage that makes its rows, covering all of the stage's key
	// groups once. nil: there is no such table.
	Placement func(query topology.QueryID, table string) []Part
	// Ask asks a process what its Store.Read answers; errors as after Failure.Err. What it fails with otherwise is tried again.
	Ask func(ctx context.Context, to topology.Process, r Request) (Response, error)
	// Route says in which key group the row of a primary key is; nil, or false: it may be in any. See NewRoute.
	Route func(query topology.QueryID, table string, key []string) (topology.KeyGroup, bool)
	// Changed gives a channel that is closed when Placement may give something else: nobody waits for a process that has been replaced. nil:
	// it is not told.
	Changed func() <-chan struct{}

	mu     sync.Mutex
	tables map[name]*reads
}

// Between two attempts at reading a table of which some part does not answer yet.
const (
	retryFirst = 2 * time.Millisecond
	retryLast  = 100 * time.Millisecond
)

// Read answers r for all key groups, or those of r.Range; r.Peek is ignored. Without an epoch it is the newest at which every part can be read, at
// least r.AtLeast, what this Reader gave before, and what any part gave when the read came. It waits until ctx ends for epochs that are to come
// and parts that are being restored. Where there is a Route keys need their own parts only: no other part's restoring keeps them waiting, nor does
// what another Reader gave of other parts' keys move them.
//
// Errors: ErrNotHere when there is no such table; *UnavailableError when a part did not answer before ctx ended; *NotVisibleError when an
// epoch was asked for that did not come before ctx ended; *TrimmedError; *RequestError; *TooLargeError; *ast.Error for the condition.
func (r *Reader) Read(ctx context.Context, request Request) (Response, error) {
	request.Peek = false
	if request.Where != "" { // what is no SQL at all is told before anything is waited for
		if len(request.Where) > conditionMax {
			return Response{}, &RequestError{fmt.Sprintf("the condition is longer than %d bytes", conditionMax)}
		}
		if _, err := ast.ParseExpr(request.Where); err != nil {
			return Response{}, err
		}
	}
	if request.Keys != nil && len(request.Keys) == 0 { // on the way to another node it would look like a scan
		return Response{}, &RequestError{"no key is given"}
	}
	pause := retryFirst
	var last error
	for reached := false; ; {
		response, err := r.attempt(ctx, &request, &reached)
		if err == nil || lasting(err) {
			return response, err
		}
		if trimmed := (*TrimmedError)(nil); errors.As(err, &trimmed) && request.Epoch != 0 {
			return Response{}, trimmed
		}
		if errors.Is(err, errNoTable) {
			return Response{}, fmt.Errorf("there is no table %s in the query: %w", request.Table, ErrNotHere)
		}
		if last == nil || ctx.Err() == nil {
			last = err // what ctx has cut short says nothing
		}
		var late *roundError
		if early := (*earlyError)(nil); errors.As(err, &early) {
			pause = retryFirst // the parts have held their answers back
		}
		if ctx.Err() == nil && !errors.As(err, &late) {
			r.rest(ctx, pause)
			pause = min(2*pause, retryLast)
		}
		if ctx.Err() != nil {
			if early := (*earlyError)(nil); errors.As(last, &early) {
				return Response{}, &NotVisibleError{Epoch: early.Epoch, Visible: early.Visible}
			}
			return Response{}, last
		}
	}
}

// Forget drops what is remembered of a query that is gone.
func (r *Reader) Forget(query topology.QueryID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for n := range r.tables {
		if n.query == query {
			delete(r.tables, n)
		}
	}
}

var errNoTable = errors.New("no such table")

// earlyError says that all parts answer, but not yet at the epoch.
type earlyError NotVisibleError

func (e *earlyError) Error() string { return (*NotVisibleError)(e).Error() }

// attempt tries once. reached is whether an attempt has heard of all parts before: the first one that does raises what is asked for to what a part
// gave, of its own keys, before.
func (r *Reader) attempt(ctx context.Context, to *Request, reached *bool) (Response, error) {
	request := *to
	at, err := r.reach(ctx, request)
	if err != nil {
		return Response{}, err
	}
	if !*reached {
		*reached, to.AtLeast = true, max(to.AtLeast, at.given())
		request.AtLeast = to.AtLeast
	}
	visible, ended := leastOf(at.bounds)
	epoch := request.Epoch
	if epoch == 0 {
		epoch = visible
		if least := max(request.AtLeast, r.floor(request)); epoch < least {
			if !ended {
				return Response{}, &earlyError{Epoch: least, Visible: visible}
			}
			epoch = least // nothing changes any more: it is the same
		}
	} else if epoch > visible && !ended {
		return Response{}, &earlyError{Epoch: epoch, Visible: visible}
	}
	if epoch == 0 { // empty by definition; as a request it would mean the newest
		return Response{Rows: []Row{}, Columns: at.bounds[0].Columns, Ended: ended}, nil
	}
	request.Epoch = epoch
	answers := at.bounds
	if b := at.bounds[0]; len(at.bounds) > 1 || !b.Read || b.Epoch != epoch {
		if answers, err = r.all(ctx, at.placed, within(at.parts, request.Range), request); err != nil {
			return Response{}, err
		}
	}
	r.raise(request, min(epoch, visible))
	response, err := merge(request, answers)
	response.Ended = ended && epoch >= visible
	if len(response.Columns) == 0 {
		response.Columns = at.bounds[0].Columns
	}
	return response, err
}

// Size is how many rows a table has on all nodes, and in how many bytes of memory, as of the last writes.
func (r *Reader) Size(ctx context.Context, query topology.QueryID, table string) (rows, bytes int64, err error) {
	parts := r.Placement(query, table)
	if len(parts) == 0 {
		return 0, 0, ErrNotHere
	}
	answers, err := r.all(ctx, parts, parts, Request{Query: query, Table: table, Peek: true})
	for _, a := range answers {
		rows, bytes = rows+a.Count, bytes+a.Bytes
	}
	return rows, bytes, err
}

// within are the parts of a range of key groups; of an empty one all.
func within(parts []Part, r topology.Range) (some []Part) {
	if r.Len() == 0 {
		return parts
	}
	for _, p := range parts {
		if p.Range.Overlaps(r) {
			p.Range = topology.Range{From: max(p.Range.From, r.From), To: min(p.Range.To, r.To)}
			some = append(some, p)
		}
	}
	return some
}

// leastOf is the newest epoch that can be read everywhere. Parts that have ended show every later epoch too; when all have, it is the
// last one of all.
func leastOf(bounds []Response) (visible topology.Epoch, ended bool) {
	last := topology.Epoch(0)
	visible, ended = topology.EpochForever, true
	for _, b := range bounds {
		last = max(last, b.Epoch)
		if !b.Ended {
			visible, ended = min(visible, b.Epoch), false
		}
	}
	if ended {
		visible = last
	}
	return visible, ended
}

func (r *Reader) floor(request Request) topology.Epoch {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(name{request.Query, request.Table}).given
}

func (r *Reader) raise(request Request, epoch topology.Epoch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.of(name{request.Query, request.Table})
	t.given = max(t.given, epoch)
}

// routed are the parts that may hold the keys asked for: all of them without keys or a route.
func (r *Reader) routed(parts []Part, request Request) []Part {
	if request.Keys == nil || r.Route == nil {
		return parts
	}
	var groups []topology.KeyGroup
	for _, key := range request.Keys {
		g, ok := r.Route(request.Query, request.Table, key)
		if !ok {
			return parts
		}
		groups = append(groups, g)
	}
	var some []Part
	for _, p := range parts {
		if slices.ContainsFunc(groups, p.Range.Contains) {
			some = append(some, p)
		}
	}
	return some
}

// all asks some of the parts that hold a table, all at once, until that is not who holds it any more. The error is the first part's, in their
// order, that cannot be answered by trying again; else the first one's.
func (r *Reader) all(ctx context.Context, placed, some []Part, request Request) ([]Response, error) {
	responses, errs := make([]Response, len(some)), make([]error, len(some))
	var wait sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	if r.Changed != nil {
		changed := r.Changed()
		wait.Go(func() {
			for slices.Equal(r.Placement(request.Query, request.Table), placed) {
				select {
				case <-changed:
					changed = r.Changed()
				case <-ctx.Done():
					return
				}
			}
			cancel()
		})
	}
	var asked sync.WaitGroup
	for i, p := range some[1:] {
		asked.Go(func() { responses[i+1], errs[i+1] = r.ask(ctx, p, request) })
	}
	responses[0], errs[0] = r.ask(ctx, some[0], request)
	asked.Wait()
	cancel()
	wait.Wait()
	var first error
	for i, err := range errs {
		if err == nil {
			continue
		}
		if lasting(err) {
			return nil, err
		}
		if trimmed := (*TrimmedError)(nil); errors.As(err, &trimmed) {
			return nil, err
		}
		if first == nil {
			first = &UnavailableError{Table: request.Table, Range: some[i].Range, Process: some[i].Process, Err: err}
		}
	}
	return responses, first
}

func (r *Reader) ask(ctx context.Context, p Part, request Request) (Response, error) {
	request.Range = p.Range
	if p.Process == r.Self {
		return r.Local.Read(ctx, request)
	}
	return r.Ask(ctx, p.Process, request)
}

// merge puts the rows of all parts in order.
func merge(request Request, answers []Response) (Response, error) {
	merged := Response{Epoch: request.Epoch, Rows: []Row{}}
	for _, a := range answers {
		if a.Epoch != request.Epoch {
			return Response{}, fmt.Errorf("table %s: epoch %d was asked for and %d answered", request.Table, request.Epoch, a.Epoch)
		}
		merged.Columns = a.Columns
		merged.Rows = append(merged.Rows, a.Rows...)
	}
	slices.SortStableFunc(merged.Rows, func(a, b Row) int { return bytes.Compare(a.Order, b.Order) })
	if request.Limit > 0 && len(merged.Rows) > request.Limit {
		merged.Rows = merged.Rows[:request.Limit]
	}
	total := 0
	for i := range merged.Rows {
		total += len(merged.Rows[i].Values)
		merged.Rows[i].Order = nil
	}
	if total > BytesMax {
		return Response{}, &TooLargeError{BytesMax}
	}
	return merged, nil
}
