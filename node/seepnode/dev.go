package seepnode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/api/client"
)

const (
	devNodes      = 3
	devNodesMax   = 16
	devGrace      = 5 * time.Second // from SIGTERM to SIGKILL
	devLookAgain  = 500 * time.Millisecond
	devLogTail    = 2000 // bytes of a dead agent's log that are shown
	devCallBudget = 2 * time.Second
)

// dev runs a local cluster until a signal, or until no agent is left.
func (a *app) dev(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	n, err := countFlag(c, "nodes", devNodesMax)
	if err != nil {
		return err
	}
	if n == 0 {
		n = devNodes
	}
	dir, err := os.MkdirTemp("", "seepnode-dev-")
	if err != nil {
		return fmt.Errorf("making a directory for the agents: %w", err)
	}
	cluster := &devCluster{app: a, dir: dir, verbose: c.Bool("verbose"), exits: make(chan *devAgent, n), ended: make(chan struct{})}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	err = cluster.run(n, signals)
	if removeErr := os.RemoveAll(dir); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("removing the agents' files: %w", removeErr))
	}
	return err
}

// devAgent is one agent of a local cluster. Its fields do not change after its start, but for what exits hands over.
type devAgent struct {
	name    string
	http    string // host:port
	gossip  int
	data    int
	log     string // file
	command *exec.Cmd
	parent  io.Closer // the end of the pipe that the agent watches
	err     error     // how it ended, after exits
}

type devCluster struct {
	app     *app
	dir     string
	verbose bool
	agents  []*devAgent
	exits   chan *devAgent // agents that have ended
	ended   chan struct{}  // closed when the thread that started the agents may go
	logs    sync.WaitGroup // copies of logs
}

// run starts n agents, shows them until a signal, and ends them.
func (d *devCluster) run(n int, signals <-chan os.Signal) error {
	if err := d.plan(n); err != nil {
		return err
	}
	started, err := d.start()
	defer close(d.ended)
	if err == nil {
		err = d.watch(signals, started)
	} else {
		err = errors.Join(err, d.end(signals, started))
	}
	d.logs.Wait()
	return err
}

// plan gives the agents names, ports and directories.
func (d *devCluster) plan(n int) error {
	ports, err := port.Free(3 * n)
	if err != nil {
		return err
	}
	for i := range n {
		name := "n" + strconv.Itoa(i+1)
		if err := os.Mkdir(filepath.Join(d.dir, name), 0o700); err != nil {
			return err
		}
		d.agents = append(d.agents, &devAgent{
			name: name, http: net.JoinHostPort("127.0.0.1", strconv.Itoa(ports[3*i])), gossip: ports[3*i+1], data: ports[3*i+2],
			log: filepath.Join(d.dir, name+".log"),
		})
	}
	return nil
}

// start starts all agents and says how many it has started. The system ends them with the thread that started them, so that one
// stays until the cluster is at its end.
func (d *devCluster) start() (int, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, fmt.Errorf("finding this program: %w", err)
	}
	type outcome struct {
		started int
		err     error
	}
	done := make(chan outcome)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		var o outcome
		for _, agent := range d.agents {
			if o.err = d.startAgent(program, agent); o.err != nil {
				o.err = fmt.Errorf("starting agent %s: %w", agent.name, o.err)
				break
			}
			o.started++
		}
		done <- o
		<-d.ended
	}()
	o := <-done
	return o.started, o.err
}

func (d *devCluster) startAgent(program string, n *devAgent) error {
	args := []string{
		"agent", "--name", n.name, "--bind", "127.0.0.1", "--advertise", "127.0.0.1", "--http", n.http,
		"--gossip-port", strconv.Itoa(n.gossip), "--data-port", strconv.Itoa(n.data), "--data-dir", filepath.Join(d.dir, n.name),
	}
	if first := d.agents[0]; n != first {
		args = append(args, "--join", net.JoinHostPort("127.0.0.1", strconv.Itoa(first.gossip)))
	}
	n.command = exec.Command(program, args...)
	n.command.Env = append(devEnviron(os.Environ()), parentEnv+"="+parentStdin)
	tieToParent(n.command)
	parent, err := n.command.StdinPipe()
	if err != nil {
		return err
	}
	n.parent = parent
	log, err := os.Create(n.log)
	if err != nil {
		return errors.Join(err, parent.Close())
	}
	defer log.Close() //nolint:errcheck // the agent has its own
	n.command.Stdout, n.command.Stderr = log, log
	if d.verbose {
		w := &prefixed{to: d.app.streams.Err, prefix: n.name + " "}
		n.command.Stdout, n.command.Stderr = w, w
	}
	if err := n.command.Start(); err != nil {
		return errors.Join(err, parent.Close())
	}
	d.logs.Add(1)
	go func() {
		defer d.logs.Done()
		n.err = n.command.Wait()
		d.exits <- n
	}()
	return nil
}

// devEnviron is the environment without what would configure the agents.
func devEnviron(all []string) []string {
	var out []string
	for _, v := range all {
		name, _, _ := strings.Cut(v, "=")
		if setting := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "SEEPNODE_"), "_", "-")); strings.HasPrefix(name, "SEEPNODE_") &&
			(findSetting(setting) != nil || name == tokenEnv || name == addressEnv || name == "SEEPNODE_CONFIG") {
			continue
		}
		out = append(out, v)
	}
	return out
}

// prefixed writes whole lines with a word before them.
type prefixed struct {
	to     io.Writer
	prefix string
	mu     sync.Mutex
	rest   []byte
}

// prefixedMax bounds a line that has no end.
const prefixedMax = 64 << 10

func (w *prefixed) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		i := strings.IndexByte(string(w.rest), '\n')
		if i < 0 && len(w.rest) < prefixedMax {
			return len(p), nil
		}
		if i < 0 {
			i = len(w.rest) - 1
		}
		if _, err := fmt.Fprintf(w.to, "%s%s\n", w.prefix, w.rest[:i]); err != nil {
			return 0, err
		}
		w.rest = w.rest[i+1:]
	}
}

// watch shows the cluster until a signal or until no agent is left, then ends it.
func (d *devCluster) watch(signals <-chan os.Signal, alive int) error {
	view := newDevView(d)
	view.head()
	ctx, cancel := context.WithCancel(context.Background())
	looks := d.look(ctx)
	var problem error
	ready := false
	for alive > 0 && problem == nil {
		select {
		case s := <-signals:
			view.close()
			fmt.Fprintf(d.app.streams.Err, "seepnode: %s: ending %s\n", s, counted(alive, "agent"))
			problem = errStopped
		case agent := <-d.exits:
			alive--
			view.died(agent)
			if !ready {
				problem = fmt.Errorf("agent %s ended before the cluster was there: %w%s", agent.name, agent.err, logTail(agent.log))
			} else if alive == 0 {
				problem = errors.New("no agent is left")
			}
		case look := <-looks:
			ready = ready || look.ready(len(d.agents))
			view.show(look)
		}
	}
	cancel()
	for range looks { // until it has ended
	}
	view.close()
	if errors.Is(problem, errStopped) {
		problem = nil
	}
	return errors.Join(problem, d.end(signals, alive))
}

// logTail is the end of an agent's log, for an error.
func logTail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil || len(data) == 0 {
		return ""
	}
	return "\n  " + strings.ReplaceAll(strings.TrimSpace(string(data[max(0, len(data)-devLogTail):])), "\n", "\n  ")
}

// end asks agents to stop and kills those that do not, at once after another signal.
func (d *devCluster) end(signals <-chan os.Signal, alive int) error {
	send := func(s os.Signal) {
		for _, agent := range d.agents {
			if agent.command != nil && agent.command.Process != nil {
				_ = agent.command.Process.Signal(s) // one that has ended needs none
			}
		}
	}
	send(syscall.SIGTERM)
	grace := time.NewTimer(devGrace)
	defer grace.Stop()
	for alive > 0 {
		select {
		case <-d.exits:
			alive--
		case <-signals:
			send(os.Kill)
		case <-grace.C:
			send(os.Kill)
		}
	}
	return nil
}

// look is what the cluster says of itself.
type look struct {
	nodes   []client.Node
	queries []client.Query
	status  *client.Status
	err     error
}

// ready says whether all nodes are there under a leader.
func (l *look) ready(nodes int) bool {
	return l.status != nil && l.status.Leader != "" && l.status.NodesAlive >= nodes
}

// look asks the cluster again and again until ctx ends, then closes the channel.
func (d *devCluster) look(ctx context.Context) <-chan *look {
	looks := make(chan *look)
	go func() {
		defer close(looks)
		ticks := time.NewTicker(devLookAgain)
		defer ticks.Stop()
		for asked := 0; ; {
			l := &look{}
			if l.ask(ctx, d.agents[asked].http); l.err != nil {
				asked = (asked + 1) % len(d.agents) // one that is frozen or dead is not asked again before all others
			}
			select {
			case looks <- l:
			case <-ctx.Done():
				return
			}
			select {
			case <-ticks.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return looks
}

func (l *look) ask(ctx context.Context, address string) {
	c, err := client.New(client.Config{Address: address, RetryFor: -1})
	if err != nil {
		l.err = err
		return
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, devCallBudget)
	defer cancel()
	if l.status, l.err = c.Status(ctx); l.err != nil {
		return
	}
	if l.nodes, l.err = c.Nodes(ctx); l.err != nil {
		return
	}
	l.queries, l.err = c.Queries(ctx)
}

func (d *devCluster) addresses() string {
	all := make([]string, len(d.agents))
	for i, agent := range d.agents {
		all[i] = agent.http
	}
	return strings.Join(all, ",")
}
