package raftfsm

import (
	"context"
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
				ended := make(chan struct{})
				defer close(ended)
				go func() {
					for {
						select {
						case rpc := <-to.Consumer():
							rpc.Respond(&answer, nil)
						case <-ended:
							return
						}
					}
				}()
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
