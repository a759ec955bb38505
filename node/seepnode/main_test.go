package seepnode

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	testscript.Main(withoutLeaks{m}, map[string]func(){"seepnode": func() {
		if os.Getenv("SEEPNODE_TEST_AGENT") != "" {
			runAgent = fakeAgent
		}
		Main()
	}})
}

// withoutLeaks fails when goroutines are left behind.
type withoutLeaks struct{ *testing.M }

func (m withoutLeaks) Run() int {
	code := m.M.Run()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// TestScripts runs testdata/script: what a person types and what comes back.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(e *testscript.Env) error {
			fake, err := startFake("127.0.0.1:0", 2)
			if err != nil {
				return err
			}
			e.Defer(fake.close)
			e.Values["fake"] = fake
			e.Setenv("SEEPNODE_ADDR", fake.listener.Addr().String())
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exitcode":  exitCode,
			"interrupt": interrupt,
			"sorted":    sorted,
			"oneline":   oneLine,
			"same":      same,
			"asked":     asked,
		},
	})
}

// exitCode runs "exitcode CODE seepnode ARGS...", checks the code and keeps what was printed in the files out and err, which "cmp out ..."
// and "grep ... err" then look at.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode CODE COMMAND ARGS...")
	}
	cmd := scriptCommand(ts, args[1:])
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if in, err := os.Open(ts.MkAbs("stdin")); err == nil {
		defer in.Close()
		cmd.Stdin = in
	}
	keep(ts, cmd.Run(), &out, &errs, args[0])
}

func scriptCommand(ts *testscript.TestScript, args []string) *exec.Cmd {
	program := args[0]
	for _, dir := range strings.Split(ts.Getenv("PATH"), string(os.PathListSeparator)) {
		if _, err := os.Stat(dir + "/" + args[0]); err == nil {
			program = dir + "/" + args[0]
			break
		}
	}
	cmd := exec.Command(program, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	for _, name := range []string{"SEEPNODE_ADDR", "SEEPNODE_TOKEN", "SEEPNODE_NAME", "SEEPNODE_JOIN", "SEEPNODE_DATA_PORT", "SEEPNODE_LOG_LEVEL", "SEEPNODE_CONFIG", "SEEPNODE_TEST_AGENT", "SEEPNODE_TEST_AGENT_FAILS"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

func keep(ts *testscript.TestScript, err error, out, errs *bytes.Buffer, want string) {
	var exit *exec.ExitError
	code := "0"
	if errors.As(err, &exit) {
		code = exit.ProcessState.String()
		if exit.Exited() {
			code = strings.TrimPrefix(code, "exit status ")
		}
	} else {
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs("out"), out.Bytes(), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("err"), errs.Bytes(), 0o644))
	ts.Logf("[out]\n%s[err]\n%s", lastLines(out.String()), lastLines(errs.String()))
	if code != want {
		ts.Fatalf("exit code %s, want %s", code, want)
	}
}

func lastLines(s string) string { return s[max(0, len(s)-2000):] }

// interrupt runs "interrupt CODE SIGNAL seepnode ARGS...": when the command has printed a line it gets the signal.
func interrupt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupt CODE SIGNAL COMMAND ARGS...")
	}
	cmd := scriptCommand(ts, args[2:])
	var out, errs bytes.Buffer
	cmd.Stderr = &errs
	pipe, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	lines := bufio.NewReader(pipe)
	first, err := lines.ReadString('\n')
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		ts.Fatalf("no line was printed: %v\n%s", err, errs.String())
	}
	out.WriteString(first)
	ts.Check(cmd.Process.Signal(map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM}[args[1]]))
	_, err = io.Copy(&out, lines)
	ts.Check(err)
	keep(ts, cmd.Wait(), &out, &errs, args[0])
}

// asked runs "asked": what the fake cluster was asked since the last time is in the file requests.
func asked(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(os.WriteFile(ts.MkAbs("requests"), []byte(ts.Value("fake").(*fakeAPI).requests()), 0o644))
}

// sorted runs "sorted FILE": its lines are put in order, for what several lanes print.
func sorted(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: sorted FILE")
	}
	lines := strings.SplitAfter(ts.ReadFile(args[0]), "\n")
	slices.Sort(lines)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(lines, "")), 0o644))
}

// oneLine runs "oneline FILE": the file is one line.
func oneLine(ts *testscript.TestScript, _ bool, args []string) {
	if text := ts.ReadFile(args[0]); strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		ts.Fatalf("%s is not one line:\n%s", args[0], text)
	}
}

// same runs "same DIR DIR": two sinks' directories hold the same files, the incarnation in their names left out.
func same(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same DIR DIR")
	}
	a, b := sinkFiles(ts, args[0]), sinkFiles(ts, args[1])
	if a == "" || a != b {
		ts.Fatalf("%s holds\n%s%s holds\n%s", args[0], a, args[1], b)
	}
}

func sinkFiles(ts *testscript.TestScript, dir string) string {
	entries, err := os.ReadDir(ts.MkAbs(dir))
	ts.Check(err)
	var b strings.Builder
	for _, e := range entries {
		_, name, ok := strings.Cut(e.Name(), "-")
		if !ok || e.Name()[0] == '.' {
			continue // the manifest
		}
		b.WriteString(name + ":\n" + ts.ReadFile(dir+"/"+e.Name()))
	}
	return b.String()
}
