package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// Agent says where an agent is reached and where its files are.
type Agent struct {
	Name               string
	HTTP, Gossip, Data string // host:port
	Dir                string // its --data-dir
	Log                string // file with all that it has written, of all its starts

	machine Machine
	bind    string
	ports   []int // gossip, data
	on      *launcher
	group   *cpuGroup // nil: it may use all cores
	starts  int
	process *process // nil: none
	ending  bool     // its end was asked for

	released bool // nothing is left of it but its log
}

// logTail is the end of the log, for an error.
func (a *Agent) logTail() string {
	data, err := os.ReadFile(a.Log)
	if err != nil || len(data) == 0 {
		return ""
	}
	return "\n  " + strings.ReplaceAll(strings.TrimSpace(string(data[max(0, len(data)-logTailBytes):])), "\n", "\n  ")
}

// fault is that the agent has ended by itself, nil when it has not. The caller holds the cluster's lock.
func (a *Agent) fault() error {
	if a.process == nil || a.ending || !a.process.gone() {
		return nil
	}
	return fmt.Errorf("agent %s ended: %w%s", a.Name, a.process.outcome(), a.logTail())
}

type signalNumber = syscall.Signal

const (
	sigKill     = syscall.SIGKILL
	sigTerm     = syscall.SIGTERM
	sigStop     = syscall.SIGSTOP
	sigContinue = syscall.SIGCONT
)

// process is one start of an agent.
type process struct {
	command *exec.Cmd
	parent  io.Closer     // the end of the pipe that the agent watches
	done    chan struct{} // closed when it has ended
	err     error         // how, after done
	mu      sync.Mutex    // held while a signal is sent, and while the end is noted
	ended   bool
}

func (p *process) gone() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// outcome is how a process that is gone ended.
func (p *process) outcome() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// signal sends a signal to the process and to all that it started.
func (p *process) signal(s signalNumber) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return os.ErrProcessDone
	}
	return signalGroup(p.command.Process.Pid, s)
}

// wait notes the end.
func (p *process) wait() {
	err := p.command.Wait()
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.err = err
	_ = p.parent.Close() // nobody reads from it any more
	close(p.done)
}

// launcher starts processes from a thread of its own that stays: the system ends them with the thread that started them. What else the
// thread has, a network namespace, they have, too.
type launcher struct {
	calls  chan func()
	thread int // its number in /proc/self/task
}

func newLauncher() *launcher {
	l, err := newLauncherIn(nil)
	if err != nil {
		panic(err) // there was nothing to fail
	}
	return l
}

// newLauncherIn calls enter on the thread before all else.
func newLauncherIn(enter func() (thread int, err error)) (*launcher, error) {
	l := &launcher{calls: make(chan func())}
	entered := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if enter != nil {
			thread, err := enter()
			l.thread = thread
			entered <- err
			if err != nil {
				return
			}
		}
		for call := range l.calls {
			call()
		}
	}()
	if enter == nil {
		return l, nil
	}
	return l, <-entered
}

// close lets the thread go, after which none may be started.
func (l *launcher) close() { close(l.calls) }

// do calls f on the thread.
func (l *launcher) do(f func() error) error {
	failed := make(chan error)
	l.calls <- func() { failed <- f() }
	return <-failed
}

// start starts an agent with flags beside those that are its own.
func (a *Agent) start(c Config, flags []string) (*process, error) {
	args := []string{
		"agent", "--name", a.Name, "--bind", a.bind, "--advertise", a.bind, "--http", a.HTTP,
		"--gossip-port", strconv.Itoa(a.ports[0]), "--data-port", strconv.Itoa(a.ports[1]), "--data-dir", a.Dir,
	}
	args = slices.Concat([]string{c.Program}, args, flags, c.Flags, a.machine.Flags)
	if a.group != nil {
		// The process is in its group before it is an agent, which looks at its start for what it may use.
		args = slices.Concat([]string{"/bin/sh", "-c", `echo $$ >"$0" && exec "$@"`, a.group.procs()}, args)
	}
	command := exec.Command(args[0], args[1:]...)
	command.Env = append(environment(os.Environ()), append([]string{"SEEPNODE_PARENT=stdin"}, c.Env...)...)
	if c.Token != "" && !c.Network {
		command.Env = append(command.Env, "SEEPNODE_TOKEN="+c.Token)
	}
	tie(command)
	log, err := os.OpenFile(a.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the agent has its own
	command.Stdout, command.Stderr = log, log
	parent, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := a.on.do(command.Start); err != nil {
		return nil, errors.Join(err, parent.Close())
	}
	p := &process{command: command, parent: parent, done: make(chan struct{})}
	go p.wait()
	return p, nil
}

// environment is the given one without what would configure agents.
func environment(all []string) []string {
	var out []string
	for _, v := range all {
		if !strings.HasPrefix(v, "SEEPNODE_") {
			out = append(out, v)
		}
	}
	return out
}

func hostPort(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }
