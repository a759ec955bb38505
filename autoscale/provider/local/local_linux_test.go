package local

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/autoscale/provider/providertest"
)

const childEnv = "SEEPNODE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "node": // ends with its parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	case "parent": // starts a node and is killed
		l := newLocal("crash", os.Args[1])
		if _, err := l.Launch(context.Background(), provider.Request{Token: "t"}); err != nil {
			panic(err)
		}
		os.Stdout.WriteString("started\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	goleak.VerifyTestMain(m)
}

func newLocal(cluster, dir string) *Local {
	l, err := New(Config{Cluster: cluster, Dir: dir, Program: os.Args[0], Args: func(string, string) []string { return nil }, Env: []string{childEnv + "=node"}})
	if err != nil {
		panic(err)
	}
	return l
}

func TestLocalIsAProvider(t *testing.T) {
	dirs := map[string]string{}
	providertest.Run(t, func(t *testing.T, cluster string) provider.Provider {
		if dirs[cluster] == "" {
			dirs[cluster] = t.TempDir()
		}
		l := newLocal(cluster, dirs[cluster])
		t.Cleanup(func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
		return l
	})
}

func TestChildrenEndWithAParentThatIsKilled(t *testing.T) {
	dir := t.TempDir()
	parent := exec.Command(os.Args[0], dir)
	parent.Env = append(os.Environ(), childEnv+"=parent")
	in, err := parent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // the reader is gone
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("started\n"))); err != nil {
		t.Fatal(err)
	}
	rec, err := readRecord(filepath.Join(dir, "crash", "t"))
	if err != nil || !rec.Process.alive() {
		t.Fatalf("the child is not there: %+v, %v", rec, err)
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait()
	l := newLocal("crash", dir)
	eventually(t, func() bool {
		list, err := l.List(t.Context())
		return err == nil && len(list) == 0
	})
	if rec.Process.alive() {
		t.Error("the child outlives its parent")
	}
	left := filepath.Join(dir, "crash", "t")
	if _, err := os.Stat(left); err != nil {
		t.Errorf("listing removes what it left: %v", err)
	}
	if err := l.Terminate(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what it left is still there: %v", err)
	}
}

func TestAnotherProcessWithTheSameIDIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	l := newLocal("c", dir)
	self, err := processOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	self.Start = strconv.Itoa(1)
	at := filepath.Join(dir, "c", "old")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeRecord(at, &record{Token: "old", Process: self, LaunchedMs: 1}); err != nil {
		t.Fatal(err)
	}
	if err := l.Terminate(t.Context(), []string{"old"}); err != nil {
		t.Fatal(err) // this test would have ended
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("it is listed: %+v, %v", list, err)
	}
}

func TestWhatIsStillNeededOfAnInstanceStays(t *testing.T) {
	dir, needed := t.TempDir(), true
	open := func() *Local {
		l := newLocal("c", dir)
		l.config.Keep = func(string) bool { return needed }
		return l
	}
	l := open()
	if _, err := l.Launch(t.Context(), provider.Request{Token: "t"}); err != nil {
		t.Fatal(err)
	}
	if got := l.Tokens(); len(got) != 1 || got[0] != "t" {
		t.Errorf("its processes are %v", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open()
	if err := l.Terminate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(dir, "c", "t")
	if _, err := os.Stat(left); err != nil {
		t.Fatalf("what is needed is gone: %v", err)
	}
	disk := filepath.Join(left, "data")
	if err := os.WriteFile(disk, []byte("state"), 0o600); err != nil {
		t.Fatal(err)
	}
	if tokens, err := l.Revive(t.Context()); err != nil || len(tokens) != 1 || tokens[0] != "t" {
		t.Fatalf("it does not come back: %v, %v", tokens, err)
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 1 || list[0].State != provider.Running {
		t.Errorf("it came back as %+v, %v", list, err)
	}
	if text, err := os.ReadFile(disk); err != nil || string(text) != "state" {
		t.Errorf("it came back without its disk: %q, %v", text, err)
	}
	if tokens, err := l.Revive(t.Context()); err != nil || len(tokens) != 0 {
		t.Errorf("one that lives came back once more: %v, %v", tokens, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l = open()
	needed = false
	if err := l.Terminate(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("what nobody needs is still there: %v", err)
	}
	if tokens, err := l.Revive(t.Context()); err != nil || len(tokens) != 0 {
		t.Errorf("what nobody needs came back: %v, %v", tokens, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestADirectoryThatIsEmptyGoesWithTheLastOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nodes")
	l := newLocal("c", dir)
	if _, err := l.Launch(t.Context(), provider.Request{Token: "t"}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestAProgramThatDoesNotStartLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	l, err := New(Config{Cluster: "c", Dir: dir, Program: filepath.Join(dir, "none"), Args: func(string, string) []string { return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Launch(t.Context(), provider.Request{Token: "t"}); err == nil || !strings.Contains(err.Error(), "start an instance") {
		t.Errorf("launched a program that is not there: %v", err)
	}
	if list, err := l.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 1")
	f.Fuzz(func(t *testing.T, stat string) { parseStat(stat) })
}

func eventually(t *testing.T, good func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !good() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("not after 30 s")
		}
	}
}
