package cluster

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"runtime"
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

	ports   []int
	starts  int
	process *process // nil: none
	ending  bool     // its end was asked for
}

// logTail is the end of the log, for an error.
func (a *Agent) logTail() string {
	data, err := os.ReadFile(a.Log)
	if err != nil || len(data) == 0 {
		return ""
	}
	return "\n  " + strings.ReplaceAll(strings.TrimSpace(string(data[max(0, len(data)-logTailBytes):])), "\n", "\n  ")
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

// launcher starts processes from a thread of its own that stays: the system ends them with the thread that started them.
type launcher struct {
	starts chan func()
}

func newLauncher() *launcher {
	l := &launcher{starts: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		for start := range l.starts {
			start()
		}
	}()
	return l
}

// close lets the thread go, after which none may be started.
func (l *launcher) close() { close(l.starts) }

// start starts an agent that joins others.
func (l *launcher) start(c Config, a *Agent, join []string) (*process, error) {
	args := []string{
		"agent", "--name", a.Name, "--bind", "127.0.0.1", "--advertise", "127.0.0.1", "--http", a.HTTP,
		"--gossip-port", strconv.Itoa(a.ports[1]), "--data-port", strconv.Itoa(a.ports[2]), "--data-dir", a.Dir,
	}
	for _, other := range join {
		args = append(args, "--join", other)
	}
	command := exec.Command(c.Program, append(args, c.Flags...)...)
	command.Env = append(environment(os.Environ()), append([]string{"SEEPNODE_PARENT=stdin"}, c.Env...)...)
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
	failed := make(chan error)
	l.starts <- func() { failed <- command.Start() }
	if err := <-failed; err != nil {
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

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// freePorts finds n ports of the loopback that are free for TCP and UDP, below those that systems give to connections: one of these would
// be taken again before an agent listens on it. Another program may still do so; the agent then says so.
func freePorts(n int) (ports []int, err error) {
	const lowest, count, triesMax = 20_000, 12_000, 10_000
	var held []io.Closer
	defer func() {
		for _, h := range held {
			err = errors.Join(err, h.Close())
		}
	}()
	for range triesMax {
		if len(ports) == n {
			return ports, nil
		}
		port := lowest + rand.IntN(count)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue // it is taken
		}
		held = append(held, l)
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		held, ports = append(held, u), append(ports, port)
	}
	return nil, fmt.Errorf("found no %d free ports between %d and %d", n, lowest, lowest+count)
}
