package exec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/autoscale/provider/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const example = "../../../scripts/provider-exec/provider"

// machines sets the example up with so many hosts, on which commands are only written down.
func machines(t *testing.T, n int) (said string) {
	t.Helper()
	dir := t.TempDir()
	var hosts strings.Builder
	for i := range n {
		fmt.Fprintf(&hosts, "host-%02d\n", i)
	}
	said = filepath.Join(dir, "said")
	run := filepath.Join(dir, "run")
	write(t, filepath.Join(dir, "machines"), hosts.String(), 0o600)
	write(t, run, "#!/bin/sh\necho \"$@\" >>"+said+"\n", 0o700)
	t.Setenv("PROVIDER_MACHINES", filepath.Join(dir, "machines"))
	t.Setenv("PROVIDER_STATE", filepath.Join(dir, "state"))
	t.Setenv("PROVIDER_RUN", run)
	return said
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

func newExample(t *testing.T, cluster string) *Exec {
	t.Helper()
	e, err := New(Config{Cluster: cluster, Launch: example + " launch", Terminate: example + " terminate", List: example + " list",
		Join: func() []string { return []string{"10.0.0.1:7601", "10.0.0.2:7601"} }})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestTheExampleIsAProvider(t *testing.T) {
	machines(t, 12)
	providertest.Run(t, func(t *testing.T, cluster string) provider.Provider { return newExample(t, cluster) })
}

func TestTheExampleStartsAndEndsAgents(t *testing.T) {
	said := machines(t, 1)
	e := newExample(t, "c")
	i, err := e.Launch(t.Context(), provider.Request{Token: "c-1"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Launch(t.Context(), provider.Request{Token: "c-2"})
	if provider.KindOf(err) != provider.Capacity || !strings.Contains(err.Error(), "are in use") {
		t.Errorf("a second of one machine: %v", err)
	}
	if err := e.Terminate(t.Context(), []string{i.ID}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(said)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"host-00 nohup seepnode agent --instance c-1 --tag role=worker --join 10.0.0.1:7601 --join 10.0.0.2:7601", "host-00 pkill -f -- '--instance c-1( |$)'"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is not among the commands:\n%s", want, got)
		}
	}
}

// TestACommandThatLeavesAChildBehindHasAnswered: a machine that was started would be taken for one that was refused.
func TestACommandThatLeavesAChildBehindHasAnswered(t *testing.T) {
	dir := t.TempDir()
	script, child := filepath.Join(dir, "launch"), filepath.Join(dir, "child")
	write(t, script, fmt.Sprintf("#!/bin/sh\ncat >/dev/null\nsleep 3600 &\necho $! >%s\necho '{\"id\":\"m-1\",\"state\":\"pending\"}'\n", child), 0o700)
	t.Cleanup(func() {
		var pid int
		if text, err := os.ReadFile(child); err != nil {
			t.Error(err)
		} else if _, err := fmt.Sscan(string(text), &pid); err != nil {
			t.Error(err)
		} else if p, err := os.FindProcess(pid); err != nil || p.Kill() != nil {
			t.Errorf("the child %d is left: %v", pid, err)
		}
	})
	e, err := New(Config{Cluster: "c", Launch: script, Terminate: script, List: script})
	if err != nil {
		t.Fatal(err)
	}
	if i, err := e.Launch(t.Context(), provider.Request{Token: "c-1"}); err != nil || i.ID != "m-1" {
		t.Errorf("%+v, %v", i, err)
	}
}

func TestWhatACommandAnswersIsChecked(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		script, want string
		kind         provider.Kind
	}{
		"error for people":  {"echo doing >&2; echo no such zone >&2; exit 3", "no such zone", provider.Other},
		"try again later":   {"exit 75", "exit status 75", provider.Throttled},
		"kind":              {`echo '{"error":"20 machines are the most","kind":"quota"}'; exit 1`, "20 machines are the most", provider.Quota},
		"unknown kind":      {`echo '{"error":"x","kind":"moon"}'; exit 1`, "x", provider.Other},
		"no JSON":           {"echo hello", `"hello\n" is not what it should be`, provider.Other},
		"unknown state":     {`echo '{"instances":[{"id":"a","state":"asleep"}]}'`, "give pending, running, stopping or stopped", provider.Other},
		"no id":             {`echo '{"instances":[{"state":"running"}]}'`, "1 to 256 bytes", provider.Other},
		"twice":             {`echo '{"instances":[{"id":"a","state":"running"},{"id":"a","state":"running"}]}'`, "is there twice", provider.Other},
		"an endless answer": {"yes | head -c 5000000", "more than 4194304 bytes", provider.Other},
	} {
		t.Run(name, func(t *testing.T) {
			script := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			write(t, script, "#!/bin/sh\ncat >/dev/null\n"+c.script+"\n", 0o700)
			e, err := New(Config{Cluster: "c", Launch: script, Terminate: script, List: script})
			if err != nil {
				t.Fatal(err)
			}
			_, err = e.List(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || provider.KindOf(err) != c.kind {
				t.Errorf("got %v of kind %s", err, provider.KindOf(err))
			}
		})
	}
	if _, err := New(Config{Launch: filepath.Join(dir, "none"), Terminate: "x", List: "y"}); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a command that is not there: %v", err)
	}
}
