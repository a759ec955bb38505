package raftfsm

import (
	"sync"

	"github.com/hashicorp/raft"
)

// transport is the library's, with pipelines that end when their reader does. In the library's own (v1.7.3) the reader of answers stops
// at the first one that is not a success, and the sender may then wait for ever with two requests under way: nobody takes the answers,
// and only the sender itself would close the pipeline. Shutting Raft down waits for it.
type transport struct {
	*raft.NetworkTransport
}

// AppendEntriesPipeline opens a pipeline to a peer.
func (t transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	of, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: of, answers: make(chan raft.AppendFuture), closed: make(chan struct{})}
	go p.forward()
	return p, nil
}

// pipeline hands answers on, and closes itself after one at which the library stops to read.
type pipeline struct {
	raft.AppendPipeline
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
