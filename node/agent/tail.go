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
	"github.com/seepnode/seepnode/node/tail"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	// pathTail follows what a sink's parts on the node asked get.
	pathTail = "/v1/internal/tail"
	// tailAgain is the pause before a node that could not be followed is asked again, and how often it is looked who is there.
	tailAgain = 100 * time.Millisecond
	// tailQuiet is how long nothing comes any more before the tail of a query that has ended ends.
	tailQuiet = 500 * time.Millisecond
	// tailFloorWait bounds the asking for the epoch behind which a tail begins.
	tailFloorWait = time.Second
	// tailLineMax bounds one epoch's changes of a part as they travel, in bytes; more are left out.
	tailLineMax = 256 << 20
)

// wireTail is a line of a node's answer.
type wireTail struct {
	Event *tail.Event `json:"event,omitempty"`
	Error string      `json:"error,omitempty"` // the last line: following again does not help
}

// tailError ends a tail for good.
type tailError struct{ text string }

func (e *tailError) Error() string { return e.text }

// Tail follows a sink wherever its parts are and go. All nodes are followed, those without a part too: one that gets a part is so
// followed from the beginning, and what it repeats from its checkpoint on is left out by (key group, epoch). Rows of different parts
// come as they come; of a key group they ascend by epoch.
func (b backend) Tail(ctx context.Context, name string, r client.TailRequest, emit func([]client.TailRow) error) error {
	s, q, err := b.query(name)
	if err != nil {
		return err
	}
	sink, floor, err := b.tailed(s, q, r.Sink)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	t := &following{a: b.a, id: q.ID, name: name, sink: sink.Name, events: make(chan tail.Event), failed: make(chan error, 1),
		seen: make([]topology.Epoch, sink.Lanes), ended: make([]bool, sink.Lanes), processes: map[topology.Process]bool{}}
	defer t.followers.Wait()
	defer cancel()
	if sink.Connector == b.a.tables.Definition().Name {
		floor = max(floor, t.visible(ctx))
	}
	for i := range t.seen {
		t.seen[i] = floor
	}
	return t.run(ctx, emit)
}

// tailed is the sink asked for, and an epoch up to which all that it got can be seen outside: a part that is restored while it is followed
// gets that again.
func (b backend) tailed(s *raftfsm.State, q *raftfsm.Query, name string) (client.SinkInfo, topology.Epoch, error) {
	f := b.figures(s, q)
	if f.plan == nil {
		return client.SinkInfo{}, 0, api.NotSupported("the plan of query %s cannot be read by this version", q.Name)
	}
	var names []string
	var sinks []client.SinkInfo
	for _, st := range f.plan.Stages {
		for _, sink := range f.sinks(st.ID) {
			names, sinks = append(names, sink.Name), append(sinks, sink)
		}
	}
	i := slices.Index(names, name)
	switch {
	case name == "" && len(names) == 1:
		i = 0
	case name == "":
		e := api.Invalid("query %s has %d sinks: say which one", q.Name, len(names))
		e.Hint = "there are: " + strings.Join(names, ", ")
		return client.SinkInfo{}, 0, e
	case i < 0:
		e := api.NotFound("query %s has no sink %s", q.Name, name)
		e.Hint = "there are: " + strings.Join(names, ", ")
		return client.SinkInfo{}, 0, e
	}
	floor := q.Complete
	if e := sinks[i].CommittedEpoch; e < topology.EpochForever {
		floor = max(floor, e)
	}
	return sinks[i], floor, nil
}

// following is one tail of a sink.
type following struct {
	a    *Agent
	id   topology.QueryID
	name string // of the query
	sink string

	events    chan tail.Event
	failed    chan error
	followers sync.WaitGroup

	// Of run's goroutine:
	seen      []topology.Epoch          // per key group, the last whose changes were shown
	ended     []bool                    // per key group
	processes map[topology.Process]bool // that are followed
	rows      []client.TailRow
	missed    int64 // rows that were left out since the last one shown
}

// visible is the newest epoch of a table that can be read, 0 when that is not known in time.
func (t *following) visible(ctx context.Context) topology.Epoch {
	ctx, cancel := context.WithTimeout(ctx, tailFloorWait)
	defer cancel()
	response, err := t.a.reader.Read(ctx, table.Request{Query: t.id, Table: t.sink, Limit: 1})
	if err != nil {
		return 0
	}
	return response.Epoch
}

func (t *following) run(ctx context.Context, emit func([]client.TailRow) error) error {
	look := time.NewTicker(tailAgain)
	defer look.Stop()
	last := t.a.clock.own() // when there was nothing more to show
	for {
		t.followAll(ctx)
		select {
		case e := <-t.events:
			if t.take(&e); len(t.rows) > 0 {
				if err := emit(t.rows); err != nil {
					return err
				}
			}
			if !slices.Contains(t.ended, false) {
				return t.end()
			}
			last = t.a.clock.own()
		case err := <-t.failed:
			return api.Unavailable("%s.%s: %v", t.name, t.sink, err)
		case <-look.C:
			if over, err := t.over(t.a.clock.own().Sub(last)); over {
				if err == nil {
					err = t.end()
				}
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end is an error when rows were left out and no later one has said so.
func (t *following) end() error {
	if t.missed == 0 {
		return nil
	}
	return api.Unavailable("%s.%s: the last %d rows were left out: this reader is too slow", t.name, t.sink, t.missed)
}

// over says whether nothing can come any more, and as an error if that is a failure.
func (t *following) over(quiet time.Duration) (bool, error) {
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
func (t *following) take(e *tail.Event) {
	t.rows = t.rows[:0]
	t.miss(e)
	shown := map[topology.KeyGroup]int64{}
	for i := range e.Changes {
		c := &e.Changes[i]
		if int(c.Group) >= len(t.seen) || e.Epoch <= t.seen[c.Group] {
			continue
		}
		t.rows = append(t.rows, client.TailRow{Sink: t.sink, Op: c.Op, Epoch: e.Epoch, KeyGroup: c.Group, Index: shown[c.Group], Row: client.Row(c.Row)})
		shown[c.Group]++
	}
	if len(t.rows) > 0 {
		t.rows[0].Dropped, t.missed = t.missed, 0
	}
	for i := range t.rows {
		t.seen[t.rows[i].KeyGroup] = e.Epoch
	}
	if e.Ended {
		for g := int(e.Range.From); g < min(int(e.Range.To), len(t.ended)); g++ {
			t.ended[g] = true
		}
	}
}

// miss counts rows that were left out, unless another instance of the same part has shown what came up to then. Who repeats them after that
// shows nothing, so that what was counted is not shown.
func (t *following) miss(e *tail.Event) {
	if e.Dropped == 0 || int(e.Range.From) >= len(t.seen) {
		return
	}
	seen := t.seen[e.Range.From:min(int(e.Range.To), len(t.seen))]
	if e.Epoch > slices.Max(seen) {
		t.missed += e.Dropped
	}
	for i := range seen {
		seen[i] = max(seen[i], e.Epoch)
	}
}

// followAll follows processes that it does not follow yet.
func (t *following) followAll(ctx context.Context) {
	for _, n := range t.a.Machine().View().Nodes {
		p := n.Process()
		if t.processes[p] || n.Status != raftfsm.Alive && n.Status != raftfsm.Leaving {
			continue
		}
		t.processes[p] = true
		t.followers.Go(func() { t.follow(ctx, p) })
	}
}

// follow follows a process until it is gone or ctx ends.
func (t *following) follow(ctx context.Context, p topology.Process) {
	give := func(e tail.Event) error {
		select {
		case t.events <- e:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for heard := false; ; {
		var err error
		if p == t.a.self {
			err = t.a.followOwn(ctx, t.id, t.sink, give)
		} else {
			err = t.a.followPeer(ctx, p, t.id, t.sink, &heard, give)
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

// followOwn gives what the parts of a sink on this node get, until ctx ends or give fails.
func (a *Agent) followOwn(ctx context.Context, id topology.QueryID, name string, give func(tail.Event) error) error {
	follower := a.tables.Hub().Follow(id, name)
	defer follower.Close()
	for {
		e, err := follower.Next(ctx)
		if err != nil && ctx.Err() == nil {
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

// followPeer has another process give what it gets. heard says that it did before: what came meanwhile is not known then.
func (a *Agent) followPeer(ctx context.Context, p topology.Process, id topology.QueryID, name string, heard *bool, give func(tail.Event) error) error {
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
	if *heard {
		return &tailError{fmt.Sprintf("the connection to node %s broke off, rows may be missing: start again", p.Node)}
	}
	*heard = true
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
	events, stopped := make(chan tail.Event), make(chan error, 1)
	go func() {
		stopped <- a.followOwn(ctx, id, r.URL.Query().Get("table"), func(e tail.Event) error {
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
func writeTail(ctx context.Context, w io.Writer, flush *http.ResponseController, events <-chan tail.Event, stopped <-chan error) error {
	beat := time.NewTicker(client.HeartbeatEvery)
	defer beat.Stop()
	for {
		err := flush.Flush()
		if err != nil {
			return nil
		}
		select {
		case e := <-events:
			err = writeLine(w, wireTail{Event: &e})
		case <-beat.C:
			_, err = io.WriteString(w, "\n")
		case why := <-stopped:
			var final *tailError
			if errors.As(why, &final) {
				writeLine(w, wireTail{Error: final.text}) //nolint:errcheck // the peer has gone
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

// writeLine writes a line. An epoch that takes more than a line may is left out, and its rows are counted.
func writeLine(w io.Writer, l wireTail) error {
	line, err := json.Marshal(l)
	if err != nil {
		return err
	}
	if len(line) >= tailLineMax {
		if line, err = json.Marshal(wireTail{Event: &tail.Event{Epoch: l.Event.Epoch, Range: l.Event.Range, Dropped: int64(len(l.Event.Changes))}}); err != nil {
			return err
		}
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

var errTailStopped = errors.New("nothing more comes")
