package member

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Paths of the control channel that are served here.
const (
	pathPropose = "/v1/internal/propose"
	pathProcess = "/v1/internal/process"
	pathRecord  = "/v1/internal/record"
)

const (
	// proposePause is how long a proposer waits before it asks for a leader again; it doubles up to proposePauseMax.
	proposePause    = 10 * time.Millisecond
	proposePauseMax = 200 * time.Millisecond
	// proposeTry bounds one exchange with a peer, so that one that has vanished is given up for another.
	proposeTry = 3 * time.Second
	// answerBytesMax bounds what is read of an answer to a command.
	answerBytesMax = 64 << 10
)

// wireOutcome is an outcome as it travels: the numbers are those of raftfsm.
type wireOutcome struct {
	Code    raftfsm.Code   `json:"code"`
	Reason  raftfsm.Reason `json:"reason,omitempty"`
	Text    string         `json:"text,omitempty"`
	Version uint64         `json:"version"`
	Value   uint64         `json:"value,omitempty"`
}

// wireRefusal says why a node gave no outcome.
type wireRefusal struct {
	Error     string          `json:"error"`
	Leader    topology.NodeID `json:"leader,omitempty"`  // who leads instead
	Address   string          `json:"address,omitempty"` // its data address
	NotLeader bool            `json:"not_leader,omitempty"`
	Uncertain bool            `json:"uncertain,omitempty"`
}

// proposer has the leader apply commands, wherever it is.
type proposer struct {
	self    topology.NodeID
	group   *raftfsm.Group
	control *Control
	// peers are control addresses of nodes that may know the leader, for a node that Raft has told nothing yet.
	peers func() []string
	// now is the cluster's time.
	now func() time.Time
}

// Propose has the leader apply a command and gives its outcome. It asks again while there is no leader or the outcome is uncertain,
// with the same envelope, until ctx ends: commands are conditional, so that does no harm.
func (p *proposer) Propose(ctx context.Context, e raftfsm.Envelope) (raftfsm.Outcome, error) {
	data, err := raftfsm.EncodeCommand(e)
	if err != nil {
		return raftfsm.Outcome{}, err
	}
	pause := proposePause
	for try := 0; ; try++ {
		out, err := p.once(ctx, e, data, try)
		if err == nil || !again(err) {
			return out, err
		}
		if ctx.Err() != nil {
			return raftfsm.Outcome{}, fmt.Errorf("%w (the last attempt: %w)", context.Cause(ctx), err)
		}
		if !sleep(ctx, pause) {
			return raftfsm.Outcome{}, fmt.Errorf("%w (the last attempt: %w)", context.Cause(ctx), err)
		}
		pause = min(2*pause, proposePauseMax)
	}
}

// errUnreachable is why a peer gave no answer.
var errUnreachable = errors.New("the leader cannot be reached")

// again says whether another attempt may do better.
func again(err error) bool {
	return errors.Is(err, raftfsm.ErrNotLeader) || errors.Is(err, raftfsm.ErrUncertain) || errors.Is(err, errUnreachable)
}

// once asks this node's group, the leader it knows, or the peer whose turn it is.
func (p *proposer) once(ctx context.Context, e raftfsm.Envelope, data []byte, try int) (raftfsm.Outcome, error) {
	out, err := p.group.Propose(ctx, p.timed(e))
	var elsewhere *raftfsm.NotLeaderError
	if !errors.As(err, &elsewhere) {
		return out, err
	}
	address := elsewhere.Address
	if address == "" {
		peers := p.peers()
		if len(peers) == 0 {
			return out, err
		}
		address = peers[try%len(peers)]
	}
	out, err = p.ask(ctx, address, data)
	// A peer that is not the leader may know it.
	if errors.As(err, &elsewhere) && elsewhere.Address != "" && elsewhere.Address != address && elsewhere.Node != p.self {
		return p.ask(ctx, elsewhere.Address, data)
	}
	return out, err
}

// ask posts a command to the node with that data address.
func (p *proposer) ask(ctx context.Context, address string, data []byte) (raftfsm.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, proposeTry)
	defer cancel()
	status, body, err := p.control.Post(ctx, address, pathPropose, "application/octet-stream", data, answerBytesMax)
	if err != nil {
		return raftfsm.Outcome{}, fmt.Errorf("%w: %w", errUnreachable, err)
	}
	if status == http.StatusOK {
		var w wireOutcome
		if err := json.Unmarshal(body, &w); err != nil {
			return raftfsm.Outcome{}, fmt.Errorf("%w: its answer makes no sense: %w", errUnreachable, err)
		}
		return raftfsm.Outcome(w), nil
	}
	var r wireRefusal
	switch err := json.Unmarshal(body, &r); {
	case err != nil:
		return raftfsm.Outcome{}, fmt.Errorf("%w: %s answered with status %d", errUnreachable, address, status)
	case r.NotLeader:
		return raftfsm.Outcome{}, &raftfsm.NotLeaderError{Node: r.Leader, Address: r.Address}
	case r.Uncertain:
		return raftfsm.Outcome{}, fmt.Errorf("%w: %s", raftfsm.ErrUncertain, r.Error)
	case status >= http.StatusInternalServerError:
		return raftfsm.Outcome{}, fmt.Errorf("%w: %s", errUnreachable, r.Error)
	}
	return raftfsm.Outcome{}, errors.New(r.Error)
}

// timed is a command with the time of this node, which is to be the leader's: histories are written in one time, and a query's epochs begin
// by the clock that sources follow, whoever asked.
func (p *proposer) timed(e raftfsm.Envelope) raftfsm.Envelope {
	e.AtMs = p.now().UnixMilli()
	if add, ok := e.Command.(*raftfsm.QueryAdd); ok && add.T0Ms != 0 { // 0: its epochs are not time
		e.Command = add.Begun(e.AtMs)
	}
	return e
}

// serve answers a peer's command: only here, never forwarded, so that no command travels in circles.
func (p *proposer) serve(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, raftfsm.MaxCommandBytes))
	if err != nil {
		answer(w, http.StatusRequestEntityTooLarge, wireRefusal{Error: fmt.Sprintf("a command has at most %d bytes: %v", raftfsm.MaxCommandBytes, err)})
		return
	}
	e, err := raftfsm.DecodeCommand(bytes.Clone(data))
	if err != nil {
		answer(w, http.StatusBadRequest, wireRefusal{Error: err.Error()})
		return
	}
	out, err := p.group.Propose(r.Context(), p.timed(e))
	var elsewhere *raftfsm.NotLeaderError
	switch {
	case err == nil:
		answer(w, http.StatusOK, wireOutcome(out))
	case errors.As(err, &elsewhere):
		answer(w, http.StatusMisdirectedRequest, wireRefusal{Error: err.Error(), NotLeader: true, Leader: elsewhere.Node, Address: elsewhere.Address})
	case errors.Is(err, raftfsm.ErrUncertain):
		answer(w, http.StatusServiceUnavailable, wireRefusal{Error: err.Error(), Uncertain: true})
	default:
		answer(w, http.StatusServiceUnavailable, wireRefusal{Error: err.Error()})
	}
}

// sleep waits for d and says whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
