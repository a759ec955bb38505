package agent

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/api"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/table"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// pathTail follows what a table on the node asked gets.
	pathTail = "/v1/internal/tail"
	// tailLook is how often a node looks whether it holds a part of the table by now. A lane that comes is followed from its first
	// write on when it is found before it: restoring takes longer than this.
	tailLook = 5 * time.Millisecond
	// tailAgain is the pause before a node that could not be followed is asked again, and how often it is looked who is there.
	tailAgain = 100 * time.Millisecond
	// tailQuiet is how long nothing comes any more before the tail of a query that has ended ends.
	tailQuiet = 500 * time.Millisecond
	// tailFloorWait bounds the asking for the epoch behind which a tail begins.
	tailFloorWait = time.Second
	// tailLineMax bounds one epoch's changes of a part as they travel.
	tailLineMax = 256 << 20
)

// wireTail is a line of a node's answer.
type wireTail struct {
	Event *table.Event `json:"event,omitempty"`
	Error string       `json:"error,omitempty"` // the last line: following again does not help
}

// tailError ends a tail for good.
type tailError struct{ text string }

func (e *tailError) Error() string { return e.text }

// Tail follows a table wherever its parts are and go. All nodes are followed, those without a part too: one that gets a part is so
// followed from the beginning, and what it repeats from its checkpoint on is left out by (key group, epoch). Rows of different parts
// come as they come; of a key group they ascend by epoch.
func (b backend) Tail(ctx context.Context, name string, r client.TailRequest, emit func([]client.TailRow) error) error {
	s, q, err := b.query(name)
	if err != nil {
		return err
	}
	sink, groups, err := b.tailed(s, q, r.Sink)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &tail{a: b.a, id: q.ID, name: name, sink: sink, events: make(chan table.Event), failed: make(chan error, 1),
		seen: make([]topology.Epoch, groups), ended: make([]bool, groups), following: map[topology.Process]bool{}}
	defer t.followers.Wait()
	defer cancel()
	t.begin(ctx, q)
	return t.run(ctx, emit)
}

// tailed is the name of the sink asked for and how many key groups make its rows.
func (b backend) tailed(s *raftfsm.State, q *raftfsm.Query, sink string) (string, int, error) {
	f := b.figures(s, q)
	if f.plan == nil {
		return "", 0, api.NotSupported("the plan of query %s cannot be read by this version", q.Name)
	}
	var names []string
	for _, st := range f.plan.Stages {
		for _, op := range st.Ops {
			if op.Sink != nil {
				names = append(names, f.plan.Tables[op.Sink.Table].Name)
			}
		}
	}
	switch {
	case sink == "" && len(names) == 1:
		sink = names[0]
	case sink == "":
		e := api.Invalid("query %s has %d sinks: say which one", q.Name, len(names))
		e.Hint = "there are: " + strings.Join(names, ", ")
		return "", 0, e
	case !slices.Contains(names, sink):
		e := api.NotFound("query %s has no sink %s", q.Name, sink)
		e.Hint = "there are: " + strings.Join(names, ", ")
		return "", 0, e
	}
	_, _, st, t := b.a.tableOf(s, q.ID, sink)
	if own := b.a.tables.Definition().Name; t == nil || t.Connector != own {
		return "", 0, api.NotSupported("%s.%s is written to connector '%s': only tables with connector '%s' can be followed", q.Name, sink, t.Connector, own)
	}
	return sink, q.Stages[st.ID].Groups, nil
}

// tail is one following of a table.
type tail struct {
	a    *Agent
	id   topology.QueryID
	name string // of the query
	sink string

	events    chan table.Event
	failed    chan error
	followers sync.WaitGroup

	// Of run's goroutine:
	seen      []topology.Epoch // per key group, the last whose changes were shown
	ended     []bool           // per key group
	following map[topology.Process]bool
	rows      []client.TailRow
}

// begin leaves out what was visible before: a part that is restored meanwhile shows its last epochs again.
func (t *tail) begin(ctx context.Context, q *raftfsm.Query) {
	floor := q.Complete
	ctx, cancel := context.WithTimeout(ctx, tailFloorWait)
	defer cancel()
	if response, err := t.a.reader.Read(ctx, table.Request{Query: t.id, Table: t.sink, Limit: 1}); err == nil {
		floor = max(floor, response.Epoch)
	}
	for i := range t.seen {
		t.seen[i] = floor
	}
}

func (t *tail) run(ctx context.Context, emit func([]client.TailRow) error) error {
	look := time.NewTicker(tailAgain)
	defer look.Stop()
	last := t.a.clock.own()
	for {
		t.followAll(ctx)
		select {
		case e := <-t.events:
			last = t.a.clock.own()
			if t.take(&e); len(t.rows) > 0 {
				if err := emit(t.rows); err != nil {
					return err
				}
			}
			if !slices.Contains(t.ended, false) {
				return nil
			}
		case err := <-t.failed:
			return api.Unavailable("%s.%s: %v", t.name, t.sink, err)
		case <-look.C:
			if over, err := t.over(t.a.clock.own().Sub(last)); over {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// over says whether nothing can come any more, and as an error if that is a failure.
func (t *tail) over(quiet time.Duration) (bool, error) {
	q := t.a.Machine().View().Incarnation(t.id.Incarnation)
	switch {
	case q == nil || q.ID.Incarnation != t.id.Incarnation || q.State == raftfsm.Removing:
		return true, nil
	case q.State == raftfsm.Failed:
		return true, api.Conflict("query %s has failed: %s", t.name, q.Reason)
	case q.ID != t.id:
		e := api.Conflict("query %s goes on as generation %d without what was lost: what came since checkpoint %d may differ", t.name, q.ID.Generation, q.Since)
		e.Hint = "follow it anew"
		return true, e
	}
	return q.State == raftfsm.Finished && quiet >= tailQuiet, nil
}

// take makes rows of an event, without what was shown before.
func (t *tail) take(e *table.Event) {
	t.rows = t.rows[:0]
	shown := map[topology.KeyGroup]int64{}
	for i := range e.Changes {
		c := &e.Changes[i]
		if int(c.Group) >= len(t.seen) || e.Epoch <= t.seen[c.Group] {
			continue
		}
		t.rows = append(t.rows, client.TailRow{Sink: t.sink, Op: c.Op, Epoch: e.Epoch, KeyGroup: c.Group, Index: shown[c.Group], Row: client.Row(c.Row)})
		shown[c.Group]++
	}
	for i := range t.rows {
		t.seen[t.rows[i].KeyGroup] = e.Epoch
	}
	if e.Ended && !e.Gone {
		for g := int(e.Range.From); g < min(int(e.Range.To), len(t.ended)); g++ {
			t.ended[g] = true
		}
	}
}

// followAll follows processes that it does not follow yet.
func (t *tail) followAll(ctx context.Context) {
	for _, n := range t.a.Machine().View().Nodes {
		p := n.Process()
		if t.following[p] || n.Status != raftfsm.Alive && n.Status != raftfsm.Leaving {
			continue
		}
		t.following[p] = true
		t.followers.Go(func() { t.follow(ctx, p) })
	}
}

// follow follows a process until it is gone or ctx ends.
func (t *tail) follow(ctx context.Context, p topology.Process) {
	give := func(e table.Event) error {
		select {
		case t.events <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		var err error
		if p == t.a.self {
			err = t.a.followTable(ctx, t.id, t.sink, give)
		} else {
			err = t.a.followPeer(ctx, p, t.id, t.sink, give)
		}
		var final *tailError
		if errors.As(err, &final) {
			select {
			case t.failed <- err:
			default: // another says why
			}
			return
		}
		n := t.a.Machine().View().Node(p.Node)
		if !sleep(ctx, tailAgain) || n == nil || n.Boot != p.Boot || n.Status == raftfsm.Left {
			return
		}
	}
}

// followTable gives what a table on this node gets, from when a part of it is here, until ctx ends or give fails.
func (a *Agent) followTable(ctx context.Context, id topology.QueryID, name string, give func(table.Event) error) error {
	for {
		following, err := a.tables.Subscribe(id, name)
		if errors.Is(err, table.ErrNotHere) {
			if !sleep(ctx, tailLook) {
				return ctx.Err()
			}
			continue
		}
		if err != nil {
			return err
		}
		defer following.Close()
		for {
			e, err := following.Next(ctx)
			if errors.Is(err, table.ErrSlow) {
				return &tailError{err.Error()}
			}
			if err != nil {
				return err
			}
			if err := give(e); err != nil {
				return err
			}
		}
	}
}

// followPeer has another process give what it gets.
func (a *Agent) followPeer(ctx context.Context, p topology.Process, id topology.QueryID, name string, give func(table.Event) error) error {
	n := a.Machine().View().Node(p.Node)
	if n == nil || n.Boot != p.Boot {
		return fmt.Errorf("%v is gone", p)
	}
	query := url.Values{"incarnation": {strconv.FormatUint(id.Incarnation, 10)}, "generation": {strconv.FormatUint(uint64(id.Generation), 10)}, "table": {name}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.Addresses.Data+pathTail+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	answer, err := a.member.Control().RoundTripper().RoundTrip(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close() //nolint:errcheck // nothing more is wanted of it
	if answer.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(answer.Body, recordBytesMax)) // what was read of it is enough
		return fmt.Errorf("node %s answered with status %d: %.200s", p.Node, answer.StatusCode, text)
	}
	lines := bufio.NewScanner(answer.Body)
	lines.Buffer(nil, tailLineMax)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue // it says that it lives
		}
		var w wireTail
		switch err := json.Unmarshal(lines.Bytes(), &w); {
		case err != nil:
			return fmt.Errorf("reading what node %s says: %w", p.Node, err)
		case w.Error != "":
			return &tailError{w.Error}
		case w.Event == nil:
			continue
		}
		if err := give(*w.Event); err != nil {
			return err
		}
	}
	return lines.Err()
}

// tailPart answers another node's followPeer.
func (a *Agent) tailPart(w http.ResponseWriter, r *http.Request) {
	incarnation, err := strconv.ParseUint(r.URL.Query().Get("incarnation"), 10, 64)
	generation, err2 := strconv.ParseUint(r.URL.Query().Get("generation"), 10, 32)
	if err := errors.Join(err, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := topology.QueryID{Incarnation: incarnation, Generation: uint32(generation)}
	flush := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	events, stopped := make(chan table.Event), make(chan error, 1)
	go func() {
		stopped <- a.followTable(ctx, id, r.URL.Query().Get("table"), func(e table.Event) error {
			select {
			case events <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	err = writeTail(ctx, w, flush, events, stopped)
	cancel()
	if err == nil {
		<-stopped
	}
}

// writeTail writes events, and empty lines without any so that both ends notice when the other is gone. It returns an error when
// what gives events has stopped, and nil when nobody reads them any more.
func writeTail(ctx context.Context, w io.Writer, flush *http.ResponseController, events <-chan table.Event, stopped <-chan error) error {
	beat := time.NewTicker(client.HeartbeatEvery)
	defer beat.Stop()
	line := json.NewEncoder(w)
	for {
		err := flush.Flush()
		if err != nil {
			return nil
		}
		select {
		case e := <-events:
			err = line.Encode(wireTail{Event: &e})
		case <-beat.C:
			_, err = io.WriteString(w, "\n")
		case why := <-stopped:
			var final *tailError
			if errors.As(why, &final) {
				line.Encode(wireTail{Error: final.text}) //nolint:errcheck // the peer has gone
			}
			return errors.Join(errTailStopped, why)
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			return nil
		}
	}
}

var errTailStopped = errors.New("nothing more comes")
