package raftfsm

import (
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/raft"
)

// transport is the library's (v1.7.3), with three differences.
//
// Beats go through a gate.
//
// Pipelines end when their reader does. The library's reader of answers stops at the first one that is not a success, and the sender may then
// wait for ever with two requests under way: nobody takes the answers, and only the sender itself would close the pipeline. Shutting Raft down
// waits for it.
//
// An answer that says "you lead no more" to a term behind which this node has stood for election again is as good as lost. The library would
// count it against whoever leads when it comes, and that may be this node in its later term (its waiting verifications share one channel). What
// it says is known: standing for a later term, the node had given up the earlier one. And any answer may be lost.
type transport struct {
	*raft.NetworkTransport
	terms *terms
	beats *gate
}

var errOvertaken = errors.New("the answer is about a term that this node has given up itself")

// terms knows the latest one that this node has stood for.
type terms struct {
	mu     sync.Mutex
	latest uint64
}

func (t *terms) stand(term uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.latest = max(t.latest, term)
}

// overtaken says whether an answer with a newer term comes to a request of a term that was given up.
func (t *terms) overtaken(asked, answered uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return answered > asked && t.latest > asked
}

// RequestVote asks a peer for its vote.
func (t transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	t.terms.stand(args.Term)
	return t.NetworkTransport.RequestVote(id, target, args, resp)
}

// AppendEntries sends a heartbeat or what a peer's log lacks.
func (t transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if isBeat(args) {
		t.beats.pass(id)
	}
	err := t.NetworkTransport.AppendEntries(id, target, args, resp)
	if err == nil && t.terms.overtaken(args.Term, resp.Term) {
		return errOvertaken
	}
	return err
}

// InstallSnapshot sends a peer a snapshot.
func (t transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	err := t.NetworkTransport.InstallSnapshot(id, target, args, resp, data)
	if err == nil && t.terms.overtaken(args.Term, resp.Term) {
		return errOvertaken
	}
	return err
}

// AppendEntriesPipeline opens a pipeline to a peer.
func (t transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	of, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: of, terms: t.terms, answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
	go p.forward()
	return p, nil
}

// pipeline hands answers on, and closes itself after one at which the library stops to read.
type pipeline struct {
	raft.AppendPipeline
	terms   *terms
	answers chan raft.AppendFuture

	once   sync.Once
	closed chan struct{}
	err    error
}

func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

func (p *pipeline) Close() error {
	p.once.Do(func() {
		close(p.closed)
		p.err = p.AppendPipeline.Close()
	})
	return p.err
}

func (p *pipeline) forward() {
	from := p.AppendPipeline.Consumer()
	for {
		select {
		case answer := <-from:
			// Looked at before it is handed on: then it is the reader's.
			last := !answer.Response().Success || answer.Response().Term > answer.Request().Term
			if p.terms.overtaken(answer.Request().Term, answer.Response().Term) {
				_ = p.Close() // with it lost
				return
			}
			select {
			case p.answers <- answer:
			case <-p.closed:
				return
			}
			if last {
				// What is still under way is sent again by the library when it goes back to single requests. The answer has been taken,
				// so that it is not lost with the rest.
				_ = p.Close() // the connection's own error says nothing that the answer did not
				return
			}
		case <-p.closed:
			return
		}
	}
}
