//go:build unix

package seepnode

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seepnode/seepnode/node/api/client"
)

// process is a seepnode of its own whose standard error, or output, is read line by line.
type process struct {
	*exec.Cmd
	lines *bufio.Scanner
	seen  strings.Builder
}

func startProcess(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.Command("seepnode", args...)}
	p.Env = append(append(os.Environ(), "SEEPNODE_TEST_AGENT=1"), env...)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	p.Stdout, p.Stderr = write, write
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	})
	p.lines = bufio.NewScanner(read)
	return p
}

// await reads until a line that has part, and gives it.
func (p *process) await(t *testing.T, part string) string {
	t.Helper()
	for p.lines.Scan() {
		p.seen.WriteString(p.lines.Text() + "\n")
		if strings.Contains(p.lines.Text(), part) {
			return p.lines.Text()
		}
	}
	t.Fatalf("no line with %q in\n%s", part, p.seen.String())
	return ""
}

// end reads to the end and gives the exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	for p.lines.Scan() {
		p.seen.WriteString(p.lines.Text() + "\n")
	}
	err := p.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// startDev starts a local cluster and connects to each of its agents: a connection ends with its agent.
func startDev(t *testing.T, env ...string) (p *process, agents []net.Conn, files string) {
	t.Helper()
	files = t.TempDir()
	p = startProcess(t, append(env, "TMPDIR="+files), "dev", "--nodes", "2")
	_, addresses, _ := strings.Cut(p.await(t, "export SEEPNODE_ADDR="), "=")
	p.await(t, "node n1 is alive")
	for _, address := range strings.Split(addresses, ",") {
		// The second agent may still be on its way to its port: the first answers for both.
		var c net.Conn
		err := errors.New("none")
		for err != nil {
			c, err = net.Dial("tcp", address)
		}
		t.Cleanup(func() { c.Close() })
		agents = append(agents, c)
	}
	return p, agents, files
}

func expectGone(t *testing.T, agents []net.Conn) {
	t.Helper()
	for i, c := range agents {
		if _, err := io.ReadAll(c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("agent %d: %v", i+1, err)
		}
	}
}

func TestDevEndsItsAgentsAndRemovesTheirFiles(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		p, agents, files := startDev(t)
		if len(agents) != 2 {
			t.Fatalf("%d agents in\n%s", len(agents), p.seen.String())
		}
		p.signal(t, s)
		if code := p.end(t); code != 0 {
			t.Errorf("%s: exit code %d\n%s", s, code, p.seen.String())
		}
		expectGone(t, agents)
		if left, err := os.ReadDir(files); err != nil || len(left) > 0 {
			t.Errorf("%s: files are left: %v, %v", s, left, err)
		}
	}
}

func TestAgentsEndWithTheDevThatStartedThem(t *testing.T) {
	p, agents, _ := startDev(t, "SEEPNODE_TEST_AGENT_HANGS=1")
	p.signal(t, os.Kill)
	expectGone(t, agents)
}

func TestDevKillsAgentsThatHangAtASecondSignal(t *testing.T) {
	p, agents, files := startDev(t, "SEEPNODE_TEST_AGENT_HANGS=1")
	p.signal(t, os.Interrupt)
	p.await(t, "ending 2 agents")
	p.signal(t, os.Interrupt)
	if code := p.end(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.seen.String())
	}
	expectGone(t, agents)
	if left, err := os.ReadDir(files); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

func TestDevGoesOnUntilNoAgentIsLeft(t *testing.T) {
	p, agents, files := startDev(t)
	for i, left := range []string{"agent n1 (process ", "no agent is left"} {
		_, rest, _ := strings.Cut(p.seen.String(), []string{"agent n1 is process ", "agent n2 is process "}[i])
		number, _, _ := strings.Cut(rest, ",")
		pid, err := strconv.Atoi(number)
		if err != nil {
			t.Fatalf("%v in\n%s", err, p.seen.String())
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if line := p.await(t, left); i == 0 && !strings.HasSuffix(line, ": signal: killed") {
			t.Errorf("says %q", line)
		}
	}
	if code := p.end(t); code != 1 {
		t.Errorf("exit code %d\n%s", code, p.seen.String())
	}
	expectGone(t, agents)
	if left, err := os.ReadDir(files); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v, %v", left, err)
	}
}

func TestDevShowsTheLogOfAnAgentThatDoesNotStart(t *testing.T) {
	p := startProcess(t, []string{"SEEPNODE_TEST_AGENT_FAILS=n2", "TMPDIR=" + t.TempDir()}, "dev", "--nodes", "3")
	if code := p.end(t); code != 1 || !strings.Contains(p.seen.String(), "agent n2 ended before the cluster was there: exit status 1\n  seepnode: port ") {
		t.Errorf("exit code %d\n%s", code, p.seen.String())
	}
}

func TestSecondSignalEndsAnAgentAtOnce(t *testing.T) {
	for s, want := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		p := startProcess(t, []string{"SEEPNODE_TEST_AGENT_HANGS=1"}, "agent", "--name", "n1", "--http", "127.0.0.1:0")
		p.await(t, "serves")
		p.signal(t, s)
		p.await(t, "asked to stop")
		p.signal(t, s)
		if code := p.end(t); code != want {
			t.Errorf("%s twice: exit code %d, want %d\n%s", s, code, want, p.seen.String())
		}
	}
}

func TestDevViewShowsAgentsAndQueries(t *testing.T) {
	cluster := &devCluster{}
	for i, name := range []string{"n1", "n2", "n3"} {
		cluster.agents = append(cluster.agents, &devAgent{name: name, http: "127.0.0.1:700" + name[1:], command: &exec.Cmd{Process: &os.Process{Pid: 100 + i}}})
	}
	v := &devView{cluster: cluster, dead: map[string]string{"n2": "signal: killed"}}
	var b bytes.Buffer
	v.draw(&display{to: &b}, &look{
		nodes:   (&fakeAPI{nodes: 2}).allNodes(),
		queries: []client.Query{fakeQuery("wordcount", client.StateRunning)},
		status:  &client.Status{Alerts: []client.Alert{{Text: "16 blocks have one copy"}}},
	})
	const want = `NODE  STATUS          ROLE    PROCESS  PARTITIONS  ROWS IN/S   VAULT  HTTP
n1    alive           leader      100           2     50,000  1.2 MB  127.0.0.1:7001
n2    signal: killed              101           2     50,000  1.2 MB  127.0.0.1:7002
n3    starting                    102                                 127.0.0.1:7003

QUERY      STATE     EPOCH    LAG  ROWS IN/S  PARTITIONS  CHECKPOINT AGE
wordcount  RUNNING  12,345  40 ms    100,000         4/4          610 ms
alert 16 blocks have one copy
`
	if b.String() != want {
		t.Errorf("shows\n%s\nwant\n%s", b.String(), want)
	}
}

func TestCutLineKeepsColours(t *testing.T) {
	for _, c := range []struct {
		line string
		most int
		want string
	}{
		{"abc", 2, "ab"}, {"abc", 3, "abc"}, {"", 3, ""}, {"\x1b[32mgreen\x1b[0m tail", 3, "\x1b[32mgre\x1b[0m"}, {"üöä", 2, "üö"},
	} {
		if got := cutLine(c.line, c.most); got != c.want {
			t.Errorf("cutLine(%q, %d) = %q, want %q", c.line, c.most, got, c.want)
		}
	}
}

func TestDevAgentsDoNotInheritSettings(t *testing.T) {
	got := devEnviron([]string{"PATH=/bin", "SEEPNODE_JOIN=x", "SEEPNODE_TOKEN=t", "SEEPNODE_DATA_DIR=d", "SEEPNODE_CONFIG=c", "SEEPNODE_ADDR=a", "SEEPNODE_PARANOID=1"})
	if strings.Join(got, " ") != "PATH=/bin SEEPNODE_PARANOID=1" {
		t.Errorf("%q", got)
	}
}
