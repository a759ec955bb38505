package exec

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// Config are the commands: a program and its arguments, blanks between them.
type Config struct {
	Cluster                 string
	Launch, Terminate, List string
	Join                    func() []string // gossip addresses of nodes; nil: none are told
}

// Limits of a command.
const (
	commandWait    = 60 * time.Second
	answerBytesMax = 4 << 20
	tempFail       = 75
)

// Exec is a provider.Provider.
type Exec struct{ config Config }

// New makes one.
func New(c Config) (*Exec, error) {
	for _, k := range []struct{ name, command string }{{"launch", c.Launch}, {"terminate", c.Terminate}, {"list", c.List}} {
		fields := strings.Fields(k.command)
		if len(fields) == 0 {
			return nil, fmt.Errorf("provider exec needs --provider-option %s=COMMAND", k.name)
		}
		if _, err := exec.LookPath(fields[0]); err != nil {
			return nil, fmt.Errorf("provider exec: the command %s cannot be run: %w", k.name, err)
		}
	}
	return &Exec{c}, nil
}

// Name implements provider.Provider.
func (e *Exec) Name() string { return "exec" }

type launchIn struct {
	Cluster string   `json:"cluster"`
	Token   string   `json:"token"`
	Join    []string `json:"join,omitempty"`
}

// Launch implements provider.Provider.
func (e *Exec) Launch(ctx context.Context, r provider.Request) (provider.Instance, error) {
	if err := provider.CheckToken(r.Token); err != nil {
		return provider.Instance{}, err
	}
	in := launchIn{Cluster: e.config.Cluster, Token: r.Token}
	if e.config.Join != nil {
		in.Join = e.config.Join()
	}
	var out provider.Instance
	if err := run(ctx, "launch", e.config.Launch, in, &out); err != nil {
		return provider.Instance{}, err
	}
	out.Token = cmp.Or(out.Token, r.Token)
	out.State = cmp.Or(out.State, provider.Pending)
	out.LaunchedMs = cmp.Or(out.LaunchedMs, time.Now().UnixMilli())
	if err := check(&out); err != nil {
		return provider.Instance{}, fmt.Errorf("command launch: %w", err)
	}
	if out.Token != r.Token {
		return provider.Instance{}, fmt.Errorf("command launch gave an instance of token %.40q for %s", out.Token, r.Token)
	}
	return out, nil
}

// Terminate implements provider.Provider.
func (e *Exec) Terminate(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	return run(ctx, "terminate", e.config.Terminate, struct {
		Cluster string   `json:"cluster"`
		IDs     []string `json:"ids"`
	}{e.config.Cluster, ids}, nil)
}

// List implements provider.Provider.
func (e *Exec) List(ctx context.Context) ([]provider.Instance, error) {
	var out struct {
		Instances []provider.Instance `json:"instances"`
	}
	err := run(ctx, "list", e.config.List, struct {
		Cluster string `json:"cluster"`
	}{e.config.Cluster}, &out)
	if err != nil {
		return nil, err
	}
	for i := range out.Instances {
		if err := check(&out.Instances[i]); err != nil {
			return nil, fmt.Errorf("command list: %w", err)
		}
	}
	slices.SortFunc(out.Instances, func(a, b provider.Instance) int { return strings.Compare(a.ID, b.ID) })
	for i := 1; i < len(out.Instances); i++ {
		if out.Instances[i].ID == out.Instances[i-1].ID {
			return nil, fmt.Errorf("command list: instance %.40q is there twice", out.Instances[i].ID)
		}
	}
	return out.Instances, nil
}

func check(i *provider.Instance) error {
	switch {
	case i.ID == "" || len(i.ID) > 256:
		return fmt.Errorf("an instance has the id %.40q: give one of 1 to 256 bytes", i.ID)
	case !slices.Contains([]provider.State{provider.Pending, provider.Running, provider.Stopping, provider.Stopped}, i.State):
		return fmt.Errorf("instance %.40s has state %.40q: give pending, running, stopping or stopped, and leave out what has ended", i.ID, i.State)
	case len(i.Token) > 256:
		return fmt.Errorf("instance %.40s has a token of %d bytes", i.ID, len(i.Token))
	}
	return nil
}

// run runs a command with in on its standard input and reads its answer into out, which may be nil.
func run(ctx context.Context, name, command string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, commandWait)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	input, err := json.Marshal(in)
	if err != nil {
		return err
	}
	fields := strings.Fields(command)
	cmd := exec.CommandContext(ctx, fields[0], fields[1:]...)
	cmd.WaitDelay = time.Second // a child of it may hold its output open
	answer, words := &limited{}, &limited{}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(append(input, '\n')), answer, words
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) { // the command itself ended well, and has answered
		if ctx.Err() != nil {
			err = fmt.Errorf("it did not end within %v: %w", commandWait, context.Cause(ctx))
		}
		return failed(name, err, answer.kept.Bytes(), words.kept.Bytes())
	}
	if answer.over {
		return fmt.Errorf("command %s: its answer has more than %d bytes", name, answerBytesMax)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer.kept.Bytes(), out); err != nil {
		return fmt.Errorf("command %s: its answer %.80q is not what it should be: %w", name, answer.kept.Bytes(), err)
	}
	return nil
}

// failed makes an error of what a command said.
func failed(name string, err error, answer, words []byte) error {
	said := struct {
		Error string        `json:"error"`
		Kind  provider.Kind `json:"kind"`
	}{}
	if json.Unmarshal(answer, &said) != nil || !slices.Contains([]provider.Kind{provider.Capacity, provider.Quota, provider.Throttled, provider.Denied}, said.Kind) {
		said.Kind = provider.Other
	}
	if exit := (*exec.ExitError)(nil); said.Kind == provider.Other && errors.As(err, &exit) && exit.ExitCode() == tempFail {
		said.Kind = provider.Throttled
	}
	if said.Error == "" {
		lines := strings.Split(strings.TrimSpace(string(words)), "\n")
		said.Error = lines[len(lines)-1]
	}
	if len(said.Error) > 500 {
		said.Error = strings.ToValidUTF8(said.Error[:500], "")
	}
	if said.Error != "" {
		err = fmt.Errorf("%s (%w)", said.Error, err)
	}
	return &provider.Error{Kind: said.Kind, Err: fmt.Errorf("command %s: %w", name, err)}
}

// limited keeps the beginning of what is written. It has no ReadFrom, with which io.Copy would go around Write.
type limited struct {
	kept bytes.Buffer
	over bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := answerBytesMax - l.kept.Len(); room < len(p) {
		l.over = true
		l.kept.Write(p[:max(0, room)])
		return len(p), nil
	}
	return l.kept.Write(p)
}
