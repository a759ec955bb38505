package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// What goes over the socket between a command of the provider and the demo: one request and one answer, each a JSON object.
type (
	request struct {
		Do string          `json:"do"` // launch, terminate or list
		In json.RawMessage `json:"in"` // what the command was given
	}
	answer struct {
		Out   json.RawMessage `json:"out,omitempty"` // what the command answers
		Error string          `json:"error,omitempty"`
		Kind  provider.Kind   `json:"kind,omitempty"`
	}
	// input is what the commands are given; autoscale/provider/exec says which has what.
	input struct {
		Cluster string   `json:"cluster"`
		Token   string   `json:"token"`
		IDs     []string `json:"ids"`
	}
)

const (
	doLaunch    = "launch"
	doTerminate = "terminate"
	doList      = "list"

	// commandWait is less than the minute that seepnode gives a command.
	commandWait     = 50 * time.Second
	requestBytesMax = 1 << 20
	acceptAgain     = 100 * time.Millisecond
)

// desk answers the provider's commands at a unix socket until it is closed.
type desk struct {
	machines *machines
	listener net.Listener
	ctx      context.Context
	cancel   context.CancelFunc
	serving  sync.WaitGroup
}

// open makes the socket, which only this user may use.
func open(path string, m *machines) (*desk, error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("making a socket for the provider's commands (a short TMPDIR may help): %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	d := &desk{machines: m, listener: listener}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	d.serving.Go(d.serve)
	return d, nil
}

// close ends it when what is under way is done: nothing is started or ended afterwards.
func (d *desk) close() {
	d.cancel()
	_ = d.listener.Close() // it removes the socket; nobody can do more if that fails
	d.serving.Wait()
}

func (d *desk) serve() {
	for {
		conn, err := d.listener.Accept()
		switch {
		case d.ctx.Err() != nil:
			if err == nil {
				_ = conn.Close() // the command sees it
			}
			return
		case err != nil: // too many open files, for one
			select {
			case <-time.After(acceptAgain):
			case <-d.ctx.Done():
			}
		default:
			d.serving.Go(func() { d.hear(conn) })
		}
	}
}

// hear takes one request.
func (d *desk) hear(conn net.Conn) {
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(commandWait)) // a local socket takes one
	unheard := context.AfterFunc(d.ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer unheard()
	var r request
	a := answer{Error: "what the command sends cannot be read"}
	if err := json.NewDecoder(io.LimitReader(conn, requestBytesMax)).Decode(&r); err == nil {
		a = d.answer(&r)
	}
	_ = json.NewEncoder(conn).Encode(a) // a command that has gone is run again
}

func (d *desk) answer(r *request) answer {
	var in input
	if err := json.Unmarshal(r.In, &in); err != nil {
		return failed(fmt.Errorf("the input is not what it should be: %w", err))
	}
	if d.ctx.Err() != nil {
		return failed(errors.New("the demo ends"))
	}
	var out any
	var err error
	switch r.Do {
	case doLaunch:
		out, err = d.machines.launch(in.Cluster, in.Token)
	case doTerminate:
		out, err = struct{}{}, d.machines.terminate(d.ctx, in.Cluster, in.IDs)
	case doList:
		out = struct {
			Instances []provider.Instance `json:"instances"`
		}{d.machines.instances(in.Cluster)}
	default:
		err = fmt.Errorf("%q: give %s, %s or %s", r.Do, doLaunch, doTerminate, doList)
	}
	if err != nil {
		return failed(err)
	}
	text, err := json.Marshal(out)
	if err != nil {
		return failed(err)
	}
	return answer{Out: text}
}

func failed(err error) answer { return answer{Error: err.Error(), Kind: provider.KindOf(err)} }

// providerFlags are what the nodes that may lead are given.
func providerFlags(program, socket string) ([]string, error) {
	for _, path := range []string{program, socket} {
		if strings.ContainsAny(path, " \t\n") {
			return nil, fmt.Errorf("%q has a blank, at which seepnode cuts a provider's command: put the repository and TMPDIR where there is none", path)
		}
	}
	flags := []string{"--provider", "exec"}
	for _, do := range []string{doLaunch, doTerminate, doList} {
		flags = append(flags, "--provider-option", fmt.Sprintf("%s=%s %s %s %s", do, program, providerWord, do, socket))
	}
	return flags, nil
}

// providerWord begins the arguments of this program when it is a provider's command: provider launch|terminate|list SOCKET.
const providerWord = "provider"

// command is this program as a command of the provider: it brings the demo what it was given and gives its answer. It is the exit code.
func command(args []string, in io.Reader, out, words io.Writer) int {
	a, err := ask(args, in)
	if err != nil {
		a = failed(err)
	}
	if a.Error != "" {
		fmt.Fprintln(words, a.Error)
		_ = json.NewEncoder(out).Encode(answer{Error: a.Error, Kind: a.Kind}) // who cannot read it sees the exit code
		return 1
	}
	if _, err := fmt.Fprintf(out, "%s\n", a.Out); err != nil {
		return 1
	}
	return 0
}

func ask(args []string, in io.Reader) (a answer, err error) {
	if len(args) != 2 {
		return a, errors.New("give launch, terminate or list and the demo's socket: these are the commands of its provider, which its nodes run")
	}
	text, err := io.ReadAll(io.LimitReader(in, requestBytesMax))
	if err != nil {
		return a, fmt.Errorf("reading the input: %w", err)
	}
	conn, err := net.Dial("unix", args[1])
	if err != nil {
		return a, fmt.Errorf("the demo does not run any more: %w", err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(commandWait)) // a local socket takes one
	if err := json.NewEncoder(conn).Encode(request{Do: args[0], In: text}); err != nil {
		return a, fmt.Errorf("asking the demo: %w", err)
	}
	if err := json.NewDecoder(conn).Decode(&a); err != nil {
		return a, fmt.Errorf("the demo does not answer: %w", err)
	}
	return a, nil
}
