package api

import (
	"context"

	"github.com/seepnode/seepnode/node/api/client"
)

// Backend answers what the API asks: a node's view of the cluster and its way to the leader.
//
// Names, limits and bodies are checked before it is called. Errors that people should see as such are made by NotFound, Conflict,
// Invalid and so on, or are a *client.Error from another peer, which is passed on as it is; any other error is an internal one (500, logged
// with an id). Every method gives up when ctx ends.
// Answers are the server's from then on, so nothing else may hold them; slices are in the order that their list in package client names and
// may be nil.
//
// Methods that change something take the request's id and do it once per id, however often they are called: raftfsm.CommandID(id).
type Backend interface {
	Queries(ctx context.Context) ([]client.Query, error)
	Query(ctx context.Context, name string) (*client.QueryDetail, error)
	// AwaitQuery returns when the query has reached until (client.Query.Reached), or with what is known and no error when ctx's
	// deadline is there.
	AwaitQuery(ctx context.Context, name, until string) (*client.QueryDetail, error)
	// AddQuery compiles and adds; Wait and WaitMs of r are not its business. A mistake in the text is an Invalid with its place.
	AddQuery(ctx context.Context, id client.RequestID, r client.AddQueryRequest) (*client.Query, error)
	RemoveQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error)
	PauseQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error)
	ResumeQuery(ctx context.Context, id client.RequestID, name string) (*client.Query, error)
	QueryScale(ctx context.Context, name string) (*client.Scale, error)
	ScaleQuery(ctx context.Context, id client.RequestID, name string, r client.ScaleRequest) (*client.Scale, error)
	// RecoverQuery is called only when the loss was accepted.
	RecoverQuery(ctx context.Context, id client.RequestID, name string) (*client.Recovered, error)
	// VerifyQuery runs a query again, on this node, and compares; a difference is no error. It tells of its progress now and then.
	VerifyQuery(ctx context.Context, name string, progress func(client.VerifyProgress)) (*client.Verification, error)

	Plan(ctx context.Context, name string) (*client.Plan, error)
	Topology(ctx context.Context, name string) (*client.Topology, error)
	// History gives at most r.Limit entries, which is never 0.
	History(ctx context.Context, name string, r client.HistoryRequest) ([]client.HistoryEntry, error)
	Checkpoints(ctx context.Context, name string) (*client.Checkpoints, error)
	// Tail calls emit with rows as they come until the query ends (nil), ctx ends or emit fails (that error). It holds rows back for no
	// one: when emit is slower than the query, rows are dropped and counted in the next. Rows are emit's only during the call.
	Tail(ctx context.Context, name string, r client.TailRequest, emit func([]client.TailRow) error) error

	Tables(ctx context.Context) ([]client.TableInfo, error)
	// ReadTable: r.Limit is never 0; Key and the parts of a scan are never both set.
	ReadTable(ctx context.Context, r client.TableReadRequest) (*client.TableRead, error)

	Nodes(ctx context.Context) ([]client.Node, error)
	Node(ctx context.Context, name string) (*client.Node, error)
	// DrainNode begins to drain a node, or ends that.
	DrainNode(ctx context.Context, id client.RequestID, name string, drain bool) (*client.Node, error)
	Autoscale(ctx context.Context) (*client.Autoscale, error)
	PauseAutoscale(ctx context.Context, id client.RequestID, pause bool) (*client.Autoscale, error)
	Status(ctx context.Context) (*client.Status, error)
	// Validate: a text that is wrong is an answer, not an error.
	Validate(ctx context.Context, r client.ValidateRequest) (*client.Validation, error)

	RaftPeers(ctx context.Context) (*client.RaftPeers, error)
	// TransferRaft gives the new leader's name; to may be "".
	TransferRaft(ctx context.Context, id client.RequestID, to string) (string, error)

	// Ready is nil when this node knows a leader and has applied what was committed before it started; otherwise it says what is missing.
	// It answers at once.
	Ready(ctx context.Context) error
}
