package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/node/api/client"
)

// The tests' program is also the agent and a program that uses a cluster.
const roleEnv = "TEST_OF_CLUSTER_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleEnv) {
	case "agent":
		os.Exit(fakeAgent(os.Args[2:]))
	case "program":
		os.Exit(Run("program", useCluster))
	}
	goleak.VerifyTestMain(m)
}

// fakeAgent answers what a cluster asks while it waits for members.
func fakeAgent(args []string) int {
	flags := flag.NewFlagSet("agent", flag.ContinueOnError)
	listen, dir := flags.String("http", "", ""), flags.String("data-dir", "", "")
	die := flags.Bool("die", false, "")
	for _, name := range []string{"name", "bind", "advertise", "gossip-port", "data-port", "token-file", "allow-path"} {
		flags.String(name, "", "")
	}
	joins := 0
	flags.Func("join", "", func(string) error { joins++; return nil })
	if err := flags.Parse(args); err != nil {
		return 2
	}
	fmt.Println("joins", joins, "others as", os.Getpid())
	if *die {
		fmt.Println("cannot live")
		return 7
	}
	if err := os.WriteFile(filepath.Join(*dir, "pid"), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		return 1
	}
	http.HandleFunc("/v1/status", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(client.Status{Leader: "n1", NodesAlive: agentsMax})
	})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	_ = http.ListenAndServe(*listen, nil)
	return 1
}

// useCluster starts two agents in the directory of the environment, says so and waits for a signal.
func useCluster(ctx context.Context) error {
	conf := fakeConfig(os.Getenv("TEST_OF_CLUSTER_DIR"))
	machine := Machine{}
	if os.Getenv("TEST_OF_CLUSTER_MACHINES") != "" {
		conf.Network, machine.Cores = true, 1
	}
	c, err := New(conf)
	if err != nil {
		return err
	}
	if err := c.StartOn(ctx, machine, machine); err != nil {
		return c.Stop(err)
	}
	if err := c.Freeze(1); err != nil {
		return c.Stop(err)
	}
	fmt.Println("ready")
	if conf.Network {
		fmt.Println(c.network.outer)
	}
	<-ctx.Done()
	return c.Stop(context.Cause(ctx))
}

func fakeConfig(dir string) Config {
	program, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Config{Program: program, Dir: dir, Env: []string{roleEnv + "=agent"}}
}

func startCluster(t *testing.T, c Config, n int) *Cluster {
	t.Helper()
	running, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(nil); err != nil {
			t.Error(err)
		}
	})
	if err := running.Start(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	return running
}

// alive says whether a process that this one did not start runs, zombies not counted.
func alive(t *testing.T, pidFile string) bool {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	stat, err := os.ReadFile("/proc/" + string(text) + "/stat")
	if errors.Is(err, os.ErrNotExist) {
		return false
	} else if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[0] != 'Z' && rest[0] != 'X'
}

func TestAgentsAreKilledFrozenAndRestartedUnderTheirNames(t *testing.T) {
	c := startCluster(t, fakeConfig(filepath.Join(t.TempDir(), "c")), 3)
	if err := c.Kill(1); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(c.Running()); got != "[0 2]" {
		t.Fatalf("running: %s", got)
	}
	if err := c.Kill(1); err == nil || !strings.Contains(err.Error(), "n2 does not run") {
		t.Fatalf("second kill: %v", err)
	}
	if err := c.Check(); err != nil {
		t.Fatalf("a killed agent is a failure: %v", err)
	}
	if err := errors.Join(c.Restart(1), c.AwaitMembers(t.Context()), c.Freeze(0), c.Thaw(0), c.Terminate(t.Context(), 0), c.Restart(0), c.Start(t.Context(), 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(1); err == nil {
		t.Fatal("a running agent was started again")
	}
	if got := fmt.Sprint(c.Running()); got != "[0 1 2 3]" || c.Len() != 4 || c.Find("n4") != 3 || c.Find("x") != -1 {
		t.Fatalf("running: %s", got)
	}
	// The first start of the first agent founds; all others join.
	for i, want := range []string{"joins 0 joins 3", "joins 1 joins 2", "joins 2", "joins 3"} {
		log, err := os.ReadFile(c.Agent(i).Log)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(string(log)) {
			before, _, _ := strings.Cut(line, " others")
			got = append(got, before)
		}
		if i == 0 {
			want = "joins 0 joins 2"
		}
		if strings.Join(got, " ") != want {
			t.Errorf("agent %d: %s, want %s", i, strings.Join(got, " "), want)
		}
	}
}

func TestAgentThatIsReleasedLeavesOnlyItsLogAndNobodyJoinsIt(t *testing.T) {
	c := startCluster(t, fakeConfig(filepath.Join(t.TempDir(), "c")), 2)
	i, err := c.Launch(Machine{Flags: []string{"--token-file", "its own flag"}})
	if err != nil || i != 2 {
		t.Fatal(i, err)
	}
	if err := c.Release(i); err == nil || !strings.Contains(err.Error(), "n3 runs") {
		t.Fatalf("released while it runs: %v", err)
	}
	if err := errors.Join(c.Kill(i), c.Release(i), c.Release(i), c.Check()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Agent(i).Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its files stay: %v", err)
	}
	if err := c.Restart(i); err == nil || !strings.Contains(err.Error(), "n3 is released") {
		t.Errorf("started again: %v", err)
	}
	if err := c.Start(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if log, err := os.ReadFile(c.Agent(3).Log); err != nil || !strings.HasPrefix(string(log), "joins 2 others") {
		t.Errorf("the next one says %q, %v", log, err)
	}
	if err := c.Stop(nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Launch(Machine{}); err == nil || !strings.Contains(err.Error(), "is stopped") {
		t.Errorf("started after the end: %v", err)
	}
}

func TestAgentThatEndedByItselfIsNotReleased(t *testing.T) {
	c := startCluster(t, fakeConfig(filepath.Join(t.TempDir(), "c")), 1)
	i, err := c.Launch(Machine{Flags: []string{"--die"}})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Agent(i).process.done
	if err := c.Release(i); err == nil || !strings.Contains(err.Error(), "n2 ended: exit status 7") {
		t.Error(err)
	}
}

func TestAgentThatMayLeaveIsNoFailureWhenItEnds(t *testing.T) {
	c := startCluster(t, fakeConfig(filepath.Join(t.TempDir(), "c")), 1)
	i, err := c.Launch(Machine{Flags: []string{"--die"}, Leaves: true})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Agent(i).process.done
	if err := c.Fault(i); err == nil || !strings.Contains(err.Error(), "n2 ended: exit status 7") {
		t.Error(err)
	}
	if err := errors.Join(c.Check(), c.Release(i), c.Fault(i)); err != nil {
		t.Error(err)
	}
}

func TestAgentThatEndsByItselfIsToldWithItsLog(t *testing.T) {
	conf := fakeConfig(filepath.Join(t.TempDir(), "c"))
	conf.Flags = []string{"--die"}
	conf.KeepLogs = true
	c, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	failure := c.Start(t.Context(), 1)
	if failure == nil || !strings.Contains(failure.Error(), "n1 ended: exit status 7") || !strings.Contains(failure.Error(), "cannot live") {
		t.Fatalf("started: %v", failure)
	}
	failure = c.Stop(failure)
	_, kept, ok := strings.Cut(failure.Error(), "logs are in ")
	if !ok {
		t.Fatal(failure)
	}
	defer os.RemoveAll(kept)
	if log, err := os.ReadFile(filepath.Join(kept, "n1.log")); err != nil || !strings.Contains(string(log), "cannot live") {
		t.Fatalf("%q %v", log, err)
	}
	if _, err := os.Stat(c.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the directory stays: %v", err)
	}
	if err := c.Start(t.Context(), 1); err == nil {
		t.Fatal("started after Stop")
	}
}

func TestProgramThatIsSignalledOrKilledLeavesNoAgent(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc to see processes")
	}
	for _, c := range []struct {
		signal   syscall.Signal
		code     int
		clean    bool
		machines string
	}{{syscall.SIGINT, 130, true, ""}, {syscall.SIGTERM, 143, true, ""}, {syscall.SIGKILL, -1, false, ""},
		{syscall.SIGINT, 130, true, " with machines"}, {syscall.SIGKILL, -1, false, " with machines"}} {
		t.Run(c.signal.String()+c.machines, func(t *testing.T) {
			if c.machines != "" {
				needs(t, CanNetwork)
				needs(t, CanLimit)
			}
			dir := filepath.Join(t.TempDir(), "c")
			program := exec.Command(os.Args[0])
			program.Env = append(os.Environ(), roleEnv+"=program", "TEST_OF_CLUSTER_DIR="+dir, "TEST_OF_CLUSTER_MACHINES="+c.machines)
			program.Stderr = os.Stderr
			out, err := program.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := program.Start(); err != nil {
				t.Fatal(err)
			}
			said := bufio.NewReader(out)
			if _, err := said.ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			outer := ""
			if c.machines != "" {
				if outer, err = said.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
				outer = strings.TrimSpace(outer)
			}
			pids := []string{filepath.Join(t.TempDir(), "1"), filepath.Join(t.TempDir(), "2")}
			for i, pid := range pids {
				if err := copyFile(pid, fmt.Sprintf("%s/n%d/pid", dir, i+1)); err != nil {
					t.Fatal(err)
				}
				if !alive(t, pid) {
					t.Fatalf("agent %d does not run", i)
				}
			}
			if err := program.Process.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			_ = program.Process.Signal(c.signal) // again; it may be gone
			_ = program.Wait()
			if program.ProcessState.ExitCode() != c.code {
				t.Fatalf("%v", program.ProcessState)
			}
			for i, pid := range pids {
				// After SIGKILL the agents find out by themselves; the frozen one is ended by Linux.
				for deadline := time.Now().Add(time.Minute); alive(t, pid); time.Sleep(5 * time.Millisecond) {
					if c.clean || time.Now().After(deadline) {
						t.Fatalf("agent %d still runs", i)
					}
				}
			}
			there := func() bool {
				_, err := net.InterfaceByName(outer)
				return outer != "" && err == nil
			}
			for deadline := time.Now().Add(time.Minute); there(); time.Sleep(5 * time.Millisecond) {
				if c.clean || time.Now().After(deadline) {
					t.Fatalf("interface %s stays", outer)
				}
			}
			if _, err := os.Stat(dir); c.clean && !errors.Is(err, os.ErrNotExist) {
				t.Fatalf("files stay: %v", err)
			}
		})
	}
}

func TestWaitingEndsWithItsContextAndSaysHowFarItWas(t *testing.T) {
	c := startCluster(t, fakeConfig(filepath.Join(t.TempDir(), "c")), 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	err := c.Await(ctx, "the moon", func(context.Context) (bool, string, error) {
		cancel(ErrInterrupted)
		return false, "half way", nil
	})
	if !errors.Is(err, ErrInterrupted) || !strings.Contains(err.Error(), "waiting for the moon: interrupted (half way)") {
		t.Fatal(err)
	}
}

func TestMissingProgramIsToldBeforeAnythingIsMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "c")
	if _, err := New(Config{Program: dir + "/seepnode", Dir: dir}); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the directory was made")
	}
}

func TestNoTwoAgentsOfAClusterAreGivenOnePort(t *testing.T) {
	offers := [][]int{{1, 2, 3}, {4, 5, 1}, {4, 2, 6}, {3, 7, 8}, {4, 5, 6}}
	c := &Cluster{dir: t.TempDir(), find: func(int) (ports []int, err error) {
		ports, offers = offers[0], offers[1:]
		return ports, nil
	}}
	for _, want := range []string{"127.0.0.1:1 127.0.0.1:2 127.0.0.1:3", "127.0.0.1:4 127.0.0.1:5 127.0.0.1:6"} {
		a, err := c.plan(Machine{})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join([]string{a.HTTP, a.Gossip, a.Data}, " "); got != want {
			t.Fatalf("agent %s was given %s, want %s", a.Name, got, want)
		}
	}
}
