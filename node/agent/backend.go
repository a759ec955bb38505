package agent

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/seepnode/seepnode/node/api"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// changeWait bounds how long a request that changes something waits for a leader and for its effect to be seen here.
const changeWait = 10 * time.Second

// backend answers the API on this node from what it knows: its copy of the metadata and, where it leads, the reports of all.
type backend struct{ a *Agent }

// front is the backend for people: what only the leader knows it has the leader say, everything else it answers here. While the
// leader cannot be asked it answers from what is known here, but for what queries there are: that is so now or not said at all.
type front struct{ backend }

var (
	_ api.Backend = backend{}
	_ api.Backend = front{}
)

// publicHandler serves people.
func (a *Agent) publicHandler() http.Handler {
	return api.New(api.Config{Backend: front{backend{a}}, Token: a.config.Token, Logger: a.log, Registry: a.registry()})
}

// handle serves what other nodes ask of this one, the API included: a peer asks it here, where it needs no way to the address for people.
func (a *Agent) handle(mux *http.ServeMux) {
	mux.HandleFunc("POST "+pathReport, a.takeReport)
	mux.HandleFunc("POST "+pathTable, a.readPart)
	mux.HandleFunc("GET "+pathTail, a.tailPart)
	mux.HandleFunc("GET "+pathNode, a.tellNode)
	whole := api.New(api.Config{Backend: backend{a}, Token: a.config.Token, Logger: a.log})
	mux.HandleFunc("/v1/", func(w http.ResponseWriter, r *http.Request) {
		// Peers ask the leader: one that was deposed and has not heard of it must not answer by what was so then.
		if _, err := a.member.Group().Current(r.Context()); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		// Peers call each other by their data addresses; browsers do not get here.
		r.Host = "localhost"
		whole.ServeHTTP(w, r)
	})
}

// asLeader has the leader answer when it is another node and can be asked; otherwise this node does.
func asLeader[T any](ctx context.Context, f front, here func(backend) (T, error), there func(*client.Client) (T, error)) (T, error) {
	group := f.a.member.Group()
	if _, leads := group.Leads(); !leads {
		if leader, ok := group.Leader(); ok && leader.Node != f.a.self.Node && leader.Address != "" {
			v, err := askPeer(f.a, leader.Address, there)
			if err == nil || answered(err) || ctx.Err() != nil {
				return v, err
			}
		}
	}
	return here(f.backend)
}

// answered says whether err is what a leader had to say.
func answered(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Status != http.StatusServiceUnavailable
}

// asCurrent has the leader answer as it is at present, once it has made sure that it still leads: whoever asks any peer sees all that was
// answered before. While there is none to be found nobody answers.
func asCurrent[T any](ctx context.Context, f front, here func(context.Context, backend) (T, error), there func(context.Context, *client.Client) (T, error)) (T, error) {
	group := f.a.member.Group()
	for end := time.Now().Add(currentWait); ; {
		try, cancel := context.WithTimeout(ctx, askWait)
		v, done, err := askLeader(try, f, group, here, there)
		cancel()
		if done {
			return v, err
		}
		if time.Now().After(end) || !sleep(ctx, askPause) {
			return v, api.NoLeader("there is no leader who could say what is so now")
		}
	}
}

const (
	// currentWait is how long a question waits for a leader, askWait for one answer, askPause between two.
	currentWait = 3 * time.Second
	askWait     = changeWait + time.Second
	askPause    = 20 * time.Millisecond
)

// askLeader makes one attempt; done says that it gave an answer.
func askLeader[T any](ctx context.Context, f front, group *raftfsm.Group, here func(context.Context, backend) (T, error), there func(context.Context, *client.Client) (T, error)) (v T, done bool, err error) {
	if _, leads := group.Leads(); leads {
		if _, err := group.Current(ctx); err != nil {
			return v, false, err
		}
		v, err = here(ctx, f.backend)
		return v, true, err
	}
	leader, ok := group.Leader()
	if !ok || leader.Node == f.a.self.Node || leader.Address == "" {
		return v, false, nil
	}
	v, err = askPeer(f.a, leader.Address, func(c *client.Client) (T, error) { return there(ctx, c) })
	return v, err == nil || answered(err), err
}

// askPeer calls the API of the node with that data address.
func askPeer[T any](a *Agent, address string, call func(*client.Client) (T, error)) (T, error) {
	c, err := client.New(client.Config{Address: address, Token: a.config.Token, HTTPClient: &http.Client{Transport: a.member.Control().RoundTripper()}, RetryFor: -1})
	if err != nil {
		var none T
		return none, err
	}
	return call(c)
}

func (f front) Queries(ctx context.Context) ([]client.Query, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) ([]client.Query, error) { return b.Queries(ctx) },
		func(ctx context.Context, c *client.Client) ([]client.Query, error) { return c.Queries(ctx) })
}

func (f front) Query(ctx context.Context, name string) (*client.QueryDetail, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.QueryDetail, error) { return b.Query(ctx, name) },
		func(ctx context.Context, c *client.Client) (*client.QueryDetail, error) { return c.Query(ctx, name) })
}

// A change of a query is decided on what is so now, so the leader makes it, under the request's id.

func (f front) RemoveQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Query, error) { return b.RemoveQuery(ctx, id, name) },
		func(ctx context.Context, c *client.Client) (*client.Query, error) {
			return c.RemoveQuery(client.WithRequestID(ctx, id), name)
		})
}

func (f front) PauseQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Query, error) { return b.PauseQuery(ctx, id, name) },
		func(ctx context.Context, c *client.Client) (*client.Query, error) {
			return c.PauseQuery(client.WithRequestID(ctx, id), name)
		})
}

func (f front) ResumeQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Query, error) { return b.ResumeQuery(ctx, id, name) },
		func(ctx context.Context, c *client.Client) (*client.Query, error) {
			return c.ResumeQuery(client.WithRequestID(ctx, id), name)
		})
}

func (f front) AwaitQuery(ctx context.Context, name, until string) (*client.QueryDetail, error) {
	return await(ctx, until, awaitEvery, func(ctx context.Context) (*client.QueryDetail, error) { return f.Query(ctx, name) })
}

func (f front) Topology(ctx context.Context, name string) (*client.Topology, error) {
	return asLeader(ctx, f, func(b backend) (*client.Topology, error) { return b.Topology(ctx, name) },
		func(c *client.Client) (*client.Topology, error) { return c.Topology(ctx, name) })
}

func (f front) Checkpoints(ctx context.Context, name string) (*client.Checkpoints, error) {
	return asLeader(ctx, f, func(b backend) (*client.Checkpoints, error) { return b.Checkpoints(ctx, name) },
		func(c *client.Client) (*client.Checkpoints, error) { return c.Checkpoints(ctx, name) })
}

func (f front) Nodes(ctx context.Context) ([]client.Node, error) {
	list, err := asLeader(ctx, f, func(b backend) ([]client.Node, error) { return b.Nodes(ctx) },
		func(c *client.Client) ([]client.Node, error) { return c.Nodes(ctx) })
	f.completed(ctx, list)
	return list, err
}

func (f front) Node(ctx context.Context, name string) (*client.Node, error) {
	n, err := asLeader(ctx, f, func(b backend) (*client.Node, error) { return b.Node(ctx, name) },
		func(c *client.Client) (*client.Node, error) { return c.Node(ctx, name) })
	if err != nil {
		return nil, err
	}
	list := []client.Node{*n}
	f.completed(ctx, list)
	return &list[0], nil
}

// Status is the leader's, told as this node's.
func (f front) Status(ctx context.Context) (*client.Status, error) {
	own, err := f.backend.Status(ctx)
	if err != nil {
		return nil, err
	}
	s, err := asLeader(ctx, f, func(backend) (*client.Status, error) { return own, nil },
		func(c *client.Client) (*client.Status, error) { return c.Status(ctx) })
	if err != nil {
		return own, nil
	}
	s.Node, s.Version, s.Time = own.Node, own.Version, own.Time
	return s, nil
}

func (f front) TransferRaft(ctx context.Context, id client.RequestID, to string) (string, error) {
	return asLeader(ctx, f, func(b backend) (string, error) { return b.TransferRaft(ctx, id, to) },
		func(c *client.Client) (string, error) { return c.TransferRaft(client.WithRequestID(ctx, id), to) })
}

// state is this node's copy of the metadata, once there is a cluster.
func (b backend) state() (*raftfsm.State, error) {
	s := b.a.member.Machine().View()
	if s.Cluster.ID == 0 {
		return nil, api.NoLeader("this node is in no cluster yet")
	}
	return s, nil
}

// query is the metadata of a query. With an error that there is none comes the metadata that has none.
func (b backend) query(name string) (*raftfsm.State, *raftfsm.Query, error) {
	s, err := b.state()
	if err != nil {
		return nil, nil, err
	}
	q := s.Query(name)
	if q == nil {
		return s, nil, api.NotFound("there is no query %s", name)
	}
	return s, q, nil
}

// propose has a change made and waits until it is seen here.
func (b backend) propose(ctx context.Context, id client.RequestID, k raftfsm.Command) (raftfsm.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, changeWait)
	defer cancel()
	out, err := b.a.member.Propose(ctx, raftfsm.Envelope{ID: raftfsm.CommandID(id), AtMs: b.a.clock.now().UnixMilli(), Command: k})
	if err != nil {
		return out, api.NoLeader("the cluster could not be changed in time: %v", err)
	}
	if _, err := b.a.member.Machine().WaitVersion(ctx, out.Version); err != nil {
		return out, api.Unavailable("the change was made, but is not seen on this node yet: %v", err)
	}
	return out, nil
}

// leader is the process that leads, the zero one when that is not known.
func (b backend) leader(s *raftfsm.State) topology.Process {
	if server, ok := b.a.member.Group().Leader(); ok {
		if n := s.Node(server.Node); n != nil {
			return n.Process()
		}
	}
	return topology.Process{}
}

// Ready is nil when this node knows a leader, has joined and works.
func (b backend) Ready(context.Context) error {
	a := b.a
	if err := a.Err(); err != nil {
		return api.Unavailable("this node has stopped: %v", err)
	}
	s := a.member.Machine().View()
	switch n := s.Node(a.self.Node); {
	case s.Cluster.ID == 0:
		return api.Unavailable("this node is in no cluster yet")
	case n == nil || n.Boot != a.self.Boot:
		return api.Unavailable("this process has not joined the cluster yet")
	case n.Status == raftfsm.Lost:
		return api.Unavailable("the cluster takes this node for lost: %s", n.Reason)
	case n.Status == raftfsm.Leaving:
		return api.Unavailable("this node is leaving")
	}
	if _, ok := a.member.Group().Leader(); !ok {
		return api.NoLeader("the cluster has no leader just now")
	}
	if a.working() == nil {
		return api.Unavailable("this node is starting its work")
	}
	return nil
}

// takeReport takes another process's report, when this node leads.
func (a *Agent) takeReport(w http.ResponseWriter, r *http.Request) {
	report, err := coordinator.DecodeReport(r.Body)
	var unread *coordinator.UnreadError
	if errors.As(err, &unread) {
		a.reports.Unread(unread.Process)
	}
	switch _, leads := a.member.Group().Leads(); {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest)
	case !leads:
		http.Error(w, "this node does not lead (yet, or any more)", http.StatusMisdirectedRequest)
	default:
		a.reports.Add(report)
		w.WriteHeader(http.StatusNoContent)
	}
}
