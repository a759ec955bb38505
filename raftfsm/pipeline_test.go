package raftfsm

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/raft"
)

// pipes is a listener whose connections are made by its own dial.
type pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error {
	close(p.closed)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p pipes) dial(context.Context, string) (net.Conn, error) {
	here, there := net.Pipe()
	p.incoming <- there
	return here, nil
}

// With the library's own pipeline the sender waits for ever here: two requests are under way and nobody reads their answers.
func TestASenderIsNotStuckInAPipelineWhoseReaderStoppedAtARefusal(t *testing.T) {
	for name, answer := range map[string]raft.AppendEntriesResponse{
		"refused": {Term: 1}, "a newer term": {Term: 2, Success: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := pipes{make(chan net.Conn), make(chan struct{})}
				to := NewTransport(l, l.dial, NewMachine(), quiet()).(transport)
				from := NewTransport(pipes{closed: make(chan struct{})}, l.dial, NewMachine(), quiet()).(transport)
				defer answering(to, &answer)()
				p, err := from.AppendEntriesPipeline("b", "b")
				if err != nil {
					t.Fatal(err)
				}
				go func() { <-p.Consumer() }() // and no more
				sent := 0
				for ; sent < 100 && err == nil; sent++ {
					_, err = p.AppendEntries(&raft.AppendEntriesRequest{Term: 1}, new(raft.AppendEntriesResponse))
				}
				if err == nil {
					t.Errorf("%d requests were sent after a refusal", sent)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				for _, of := range []transport{from, to} {
					if err := of.Close(); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// answering has all requests answered in the same way until it is ended.
func answering(to transport, answer any) (end func()) {
	ended := make(chan struct{})
	go func() {
		for {
			select {
			case rpc := <-to.Consumer():
				rpc.Respond(answer, nil)
			case <-ended:
				return
			}
		}
	}()
	return func() { close(ended) }
}

// The library counts it against the node's later leadership.
func TestAnAnswerToATermThatWasGivenUpIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := pipes{make(chan net.Conn), make(chan struct{})}
		to := NewTransport(l, l.dial, NewMachine(), quiet()).(transport)
		from := NewTransport(pipes{closed: make(chan struct{})}, l.dial, NewMachine(), quiet()).(transport)
		defer func() {
			for _, of := range []transport{from, to} {
				if err := of.Close(); err != nil {
					t.Error(err)
				}
			}
		}()
		end := answering(to, &raft.AppendEntriesResponse{Term: 5})
		ask := func(term uint64) error {
			return from.AppendEntries("b", "b", &raft.AppendEntriesRequest{Term: term}, new(raft.AppendEntriesResponse))
		}
		if err := ask(3); err != nil {
			t.Errorf("the leader of term 3 does not hear of term 5: %v", err)
		}
		end()
		end = answering(to, &raft.RequestVoteResponse{Term: 6, Granted: true})
		if err := from.RequestVote("b", "b", &raft.RequestVoteRequest{Term: 6}, new(raft.RequestVoteResponse)); err != nil {
			t.Fatal(err)
		}
		end()
		end = answering(to, &raft.AppendEntriesResponse{Term: 7})
		defer func() { end() }()
		if err := ask(3); !errors.Is(err, errOvertaken) {
			t.Errorf("the answer to term 3 is %v, and the node has stood for term 6", err)
		}
		p, err := from.AppendEntriesPipeline("b", "b")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 3}, new(raft.AppendEntriesResponse)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case <-p.Consumer():
			t.Error("the answer to term 3 came through the pipeline")
		default:
		}
		if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 3}, new(raft.AppendEntriesResponse)); err == nil {
			t.Error("the pipeline goes on")
		}
		if err := ask(6); err != nil {
			t.Errorf("the leader of term 6 does not hear of term 7: %v", err)
		}
	})
}
