package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/api/client"
)

const (
	// agentsMax bounds a cluster on one machine.
	agentsMax = 32
	// stopGrace is how long Stop waits between SIGTERM and SIGKILL.
	stopGrace = 3 * time.Second
	// startBudget bounds how long Start waits for what takes a healthy cluster a second or two.
	startBudget = 60 * time.Second
	// lookEvery is how often Await asks again.
	lookEvery = 50 * time.Millisecond
	// logTailBytes is how much of a log an error shows.
	logTailBytes = 2000
)

// Config says how agents are run.
type Config struct {
	// Program is the seepnode binary.
	Program string
	// Dir is a directory that is made for the cluster and removed by Stop; "": a temporary one.
	Dir string
	// Flags are given to every agent after "agent" and the flags that name ports and directories.
	Flags []string
	// Env is put into the agents' environment, NAME=VALUE each.
	Env []string
	// Network puts every agent into a network namespace of its own, with an address of its own and Cut; see CanNetwork. Their HTTP is
	// then reached from outside of their host, so that agents have a token and may use only files below Dir and what Flags allow.
	Network bool
	// Token is what agents ask of HTTP requests and what the cluster's clients give; "": none, but with Network one of its own. Profiles need one.
	Token string
	// KeepLogs makes Stop(err) with an error keep the logs, and nothing else, and say where.
	KeepLogs bool
	// LogsDir, if set, is where Stop puts the logs in any case; it is made.
	LogsDir string
}

// Machine is what an agent runs on.
type Machine struct {
	// Cores is how much of the processors the agent gets, in cores; 0: all there is. See CanLimit.
	Cores float64
	// Flags are given to this agent behind those of all.
	Flags []string
	// Leaves says that the agent ends when it is told to leave its cluster: that it ended by itself is no failure of Check, and Fault says it.
	Leaves bool
}

// Cluster is agents of one seepnode cluster, numbered from 0 in the order in which they were first started. Its methods may be called by
// several goroutines; those for one agent by one at a time.
type Cluster struct {
	config   Config
	dir      string
	launcher *launcher
	network  *network // nil: all are on the loopback
	token    string   // "": none

	mu      sync.Mutex
	find    func(n int) ([]int, error) // free ports
	agents  []*Agent
	groups  *cpuGroups // nil: no agent is limited
	stopped bool
}

// New makes the directory. Stop must be called.
func New(c Config) (*Cluster, error) {
	program, err := filepath.Abs(c.Program)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(program); err != nil {
		return nil, fmt.Errorf("the seepnode program is not there, build it first (make build): %w", err)
	} else if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return nil, fmt.Errorf("%s is no program", program)
	}
	c.Program = program
	dir := c.Dir
	if dir == "" {
		dir, err = os.MkdirTemp("", "seepnode-cluster-")
	} else if dir, err = filepath.Abs(dir); err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("making a directory for the agents: %w", err)
	}
	cluster := &Cluster{config: c, dir: dir, launcher: newLauncher(), token: c.Token, find: port.Free}
	if !c.Network {
		return cluster, nil
	}
	if err := cluster.connect(); err != nil {
		return nil, cluster.Stop(fmt.Errorf("giving the agents a network: %w", err))
	}
	return cluster, nil
}

// connect makes the network and what agents that are reached from outside of their host need.
func (c *Cluster) connect() (err error) {
	if c.network, err = newNetwork(); err != nil {
		return err
	}
	c.token = rand.Text()
	file := filepath.Join(c.dir, "token")
	if err := os.WriteFile(file, []byte(c.token), 0o600); err != nil {
		return err
	}
	c.config.Flags = append([]string{"--token-file", file, "--allow-path", c.dir}, c.config.Flags...)
	return nil
}

// Dir is the cluster's directory; callers may put files of their own into it.
func (c *Cluster) Dir() string { return c.dir }

// Token is what requests to the agents must bear, "" for none.
func (c *Cluster) Token() string { return c.token }

// Start starts n more agents and waits until all that run are a cluster with a leader.
func (c *Cluster) Start(ctx context.Context, n int) error {
	return c.StartOn(ctx, make([]Machine, n)...)
}

// StartOn is Start of one agent on each machine.
func (c *Cluster) StartOn(ctx context.Context, machines ...Machine) error {
	for _, m := range machines {
		if _, err := c.Launch(m); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, startBudget, fmt.Errorf("not there after %s", startBudget))
	defer cancel()
	return c.AwaitMembers(ctx)
}

// Launch starts one more agent, which gets the number that it gives, and does not wait for it.
func (c *Cluster) Launch(m Machine) (int, error) {
	a, err := c.plan(m)
	if err != nil {
		return 0, err
	}
	return c.Find(a.Name), c.start(a)
}

// plan gives a further agent its name, address, directory and share of the processors.
func (c *Cluster) plan(m Machine) (*Agent, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil, errStopped
	}
	number := len(c.agents) + 1
	if number > agentsMax {
		return nil, fmt.Errorf("a cluster on one machine has at most %d agents", agentsMax)
	}
	name := fmt.Sprintf("n%d", number)
	a := &Agent{Name: name, Dir: filepath.Join(c.dir, name), Log: filepath.Join(c.dir, name+".log"), machine: m}
	if err := c.place(a, number); err != nil {
		return nil, err
	}
	if err := os.Mkdir(a.Dir, 0o700); err != nil {
		return nil, err
	}
	c.agents = append(c.agents, a)
	return a, nil
}

// place gives an agent what it runs on. The caller holds the lock.
func (c *Cluster) place(a *Agent, number int) (err error) {
	http := networkHTTPPort
	a.on, a.bind, a.ports = c.launcher, "127.0.0.1", []int{networkGossipPort, networkDataPort}
	if c.network != nil {
		if a.on, a.bind, err = c.network.host(number); err != nil {
			return fmt.Errorf("giving %s a network: %w", a.Name, err)
		}
	} else {
		ports, err := c.freePorts()
		if err != nil {
			return err
		}
		http, a.ports = ports[0], ports[1:]
	}
	a.HTTP, a.Gossip, a.Data = hostPort(a.bind, http), hostPort(a.bind, a.ports[0]), hostPort(a.bind, a.ports[1])
	if a.machine.Cores == 0 {
		return nil
	}
	if c.groups == nil {
		if c.groups, err = newCPUGroups(); err != nil {
			return fmt.Errorf("limiting the processors of %s: %w", a.Name, err)
		}
	}
	a.group, err = c.groups.make(a.Name, a.machine.Cores)
	return err
}

// freePorts finds ports for HTTP, gossip and data that no other agent of the cluster was given: those that were planned before may not listen
// yet, and of a large cluster's two would get the same one time in twenty. The caller holds the lock.
func (c *Cluster) freePorts() (ports []int, err error) {
	given := func(p int) bool {
		return slices.ContainsFunc(c.agents, func(a *Agent) bool { return a.HTTP == hostPort(a.bind, p) || slices.Contains(a.ports, p) })
	}
	for {
		if ports, err = c.find(3); err != nil || !slices.ContainsFunc(ports, given) {
			return ports, err
		}
	}
}

var errStopped = errors.New("the cluster is stopped")

// start starts a. The very first start of the first agent founds the cluster.
func (c *Cluster) start(a *Agent) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return errStopped
	}
	if a.process != nil {
		return fmt.Errorf("agent %s runs already", a.Name)
	}
	var flags []string
	for _, other := range c.agents {
		if other != a && !other.released && (a.starts > 0 || a != c.agents[0]) {
			flags = append(flags, "--join", other.Gossip)
		}
	}
	p, err := a.start(c.config, flags)
	if err != nil {
		return fmt.Errorf("starting agent %s: %w", a.Name, err)
	}
	a.process, a.starts = p, a.starts+1
	return nil
}

// Len is how many agents there are, dead ones counted.
func (c *Cluster) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.agents)
}

// Agent is agent i. What it says does not change.
func (c *Cluster) Agent(i int) *Agent {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.agents[i]
}

// Find is the number of the agent with a name, -1 without one.
func (c *Cluster) Find(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.IndexFunc(c.agents, func(a *Agent) bool { return a.Name == name })
}

// Running are the numbers of the agents whose processes run, frozen ones among them, those that are being ended not.
func (c *Cluster) Running() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var running []int
	for i, a := range c.agents {
		if a.process != nil && !a.ending && !a.process.gone() {
			running = append(running, i)
		}
	}
	return running
}

// PID is the process number of agent i, 0 when it does not run.
func (c *Cluster) PID(i int) int {
	a := c.Agent(i)
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.process == nil || a.process.gone() {
		return 0
	}
	return a.process.command.Process.Pid
}

// Kill ends agent i as kill -9 does and waits until it is gone.
func (c *Cluster) Kill(i int) error {
	return c.end(i, func(p *process) error { return p.signal(sigKill) })
}

// Terminate asks agent i to stop, which hands its partitions over first, and waits until it is gone or ctx ends.
func (c *Cluster) Terminate(ctx context.Context, i int) error {
	return c.end(i, func(p *process) error {
		if err := p.signal(sigTerm); err != nil {
			return err
		}
		select {
		case <-p.done:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("agent %s does not stop: %w", c.Agent(i).Name, ctx.Err())
		}
	})
}

func (c *Cluster) end(i int, how func(*process) error) error {
	a := c.Agent(i)
	c.mu.Lock()
	p := a.process
	a.ending = p != nil && !p.gone()
	c.mu.Unlock()
	if !a.ending {
		return fmt.Errorf("agent %s does not run%s", a.Name, a.logTail())
	}
	if err := how(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.done
	c.mu.Lock()
	defer c.mu.Unlock()
	a.process, a.ending = nil, false
	return nil
}

// Freeze stops agent i from doing anything, as SIGSTOP does; Thaw lets it go on.
func (c *Cluster) Freeze(i int) error { return c.signal(i, sigStop) }

// Thaw lets a frozen agent go on.
func (c *Cluster) Thaw(i int) error { return c.signal(i, sigContinue) }

func (c *Cluster) signal(i int, s signalNumber) error {
	a := c.Agent(i)
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.process == nil {
		return fmt.Errorf("agent %s does not run", a.Name)
	}
	return a.process.signal(s)
}

// Restart starts agent i again under its name, with its ports and what is in its directory. It does not wait.
func (c *Cluster) Restart(i int) error {
	a := c.Agent(i)
	c.mu.Lock()
	if a.process != nil && a.process.gone() {
		a.process = nil
	}
	released := a.released
	c.mu.Unlock()
	if released {
		return fmt.Errorf("agent %s is released: nothing is left of it", a.Name)
	}
	return c.start(a)
}

// Release gives up what agent i has, which does not run and never will again: its files but its log, and its share of the processors.
// Others do not join it any more.
func (c *Cluster) Release(i int) error {
	a := c.Agent(i)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := a.fault(); err != nil && !a.machine.Leaves {
		return err
	}
	if a.process != nil && !a.process.gone() {
		return fmt.Errorf("agent %s runs", a.Name)
	}
	a.process, a.released = nil, true
	err := os.RemoveAll(a.Dir)
	if a.group != nil {
		err = errors.Join(err, removeGroup(a.group.dir))
	}
	return err
}

// Client asks the agents with these numbers, or all that run, one after the other until one answers.
func (c *Cluster) Client(agents ...int) (*client.Client, error) {
	return c.client(0, agents...)
}

// Poll is Client for asking again and again: a call asks each agent once.
func (c *Cluster) Poll(agents ...int) (*client.Client, error) {
	return c.client(-1, agents...)
}

func (c *Cluster) client(retryFor time.Duration, agents ...int) (*client.Client, error) {
	if len(agents) == 0 {
		agents = c.Running()
	}
	addresses := make([]string, len(agents))
	for k, i := range agents {
		addresses[k] = c.Agent(i).HTTP
	}
	if len(addresses) == 0 {
		return nil, errors.New("no agent runs")
	}
	return client.New(client.Config{Address: strings.Join(addresses, ","), Token: c.token, RetryFor: retryFor})
}

// AwaitMembers waits until every agent that runs says that all of them are alive under a leader.
func (c *Cluster) AwaitMembers(ctx context.Context) error {
	for _, i := range c.Running() {
		asks, err := c.Poll(i)
		if err != nil {
			return err
		}
		err = c.Await(ctx, fmt.Sprintf("agent %s to know all others and a leader", c.Agent(i).Name), func(ctx context.Context) (bool, string, error) {
			s, err := asks.Status(ctx)
			if err != nil {
				return false, err.Error(), nil
			}
			want := len(c.Running())
			return s.Leader != "" && s.NodesAlive >= want, fmt.Sprintf("it knows %d of %d nodes, leader %q", s.NodesAlive, want, s.Leader), nil
		})
		asks.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// Await asks until what is awaited is there, fails or ctx ends; state is how far it is. A process that ends by itself is a failure, too.
func (c *Cluster) Await(ctx context.Context, what string, ask func(ctx context.Context) (done bool, state string, err error)) error {
	for {
		done, state, err := ask(ctx)
		if err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if done {
			return nil
		}
		if err := c.Check(); err != nil {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (%s)", what, context.Cause(ctx), state)
		case <-time.After(lookEvery):
		}
	}
}

// Check fails when an agent has ended by itself.
func (c *Cluster) Check() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, a := range c.agents {
		if err := a.fault(); err != nil && !a.machine.Leaves {
			return err
		}
	}
	return nil
}

// Fault is that agent i has ended by itself, and how; nil when it has not, or is released.
func (c *Cluster) Fault(i int) error {
	a := c.Agent(i)
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.fault()
}

// Stop ends all agents and removes the directory. failure is why the program ends, nil when it went well; it is part of the answer. Twice is fine.
func (c *Cluster) Stop(failure error) error {
	c.mu.Lock()
	if c.stopped {
		c.mu.Unlock()
		return failure
	}
	c.stopped = true
	agents := slices.Clone(c.agents)
	c.mu.Unlock()
	c.halt(agents)
	failure = errors.Join(failure, c.groups.remove())
	c.launcher.close()
	if c.network != nil {
		failure = errors.Join(failure, c.network.close())
	}
	if c.config.LogsDir != "" {
		failure = errors.Join(failure, copyLogs(c.config.LogsDir, agents))
	}
	if failure != nil && c.config.KeepLogs && !errors.Is(failure, ErrInterrupted) {
		return errors.Join(failure, c.keepLogs(agents))
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return errors.Join(failure, fmt.Errorf("removing the agents' files: %w", err))
	}
	return failure
}

// halt kills the agents: what they would hand over to each other is thrown away with the directory.
func (c *Cluster) halt(agents []*Agent) {
	for _, a := range agents {
		if a.process != nil {
			_ = a.process.signal(sigKill) // one that is gone needs none
		}
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	for _, a := range agents {
		if a.process == nil {
			continue
		}
		select {
		case <-a.process.done:
		case <-grace.C:
			return // only a process in the middle of a disk's failure survives SIGKILL; nothing more can be done
		}
	}
}

func (c *Cluster) keepLogs(agents []*Agent) error {
	kept, err := os.MkdirTemp("", "seepnode-logs-")
	if err != nil {
		return err
	}
	if err := copyLogs(kept, agents); err != nil {
		return errors.Join(err, os.RemoveAll(c.dir))
	}
	if err := os.RemoveAll(c.dir); err != nil {
		return fmt.Errorf("removing the agents' files: %w", err)
	}
	return fmt.Errorf("the agents' logs are in %s", kept)
}

func copyLogs(dir string, agents []*Agent) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, a := range agents {
		if err := copyFile(filepath.Join(dir, filepath.Base(a.Log)), a.Log); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
