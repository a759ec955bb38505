package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/autoscale/provider/exec"
	"github.com/seepnode/seepnode/autoscale/provider/providertest"
)

// The tests' program is also the provider's commands, and an agent that ends at once.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agent" {
		fmt.Println("node n4 has left the cluster")
		os.Exit(1)
	}
	if len(os.Args) > 1 && os.Args[1] == providerWord {
		os.Exit(command(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m)
}

// shams are agents that are only names.
type shams struct {
	mu      sync.Mutex
	alive   map[string]bool
	given   []string // instances, in the order of their start
	refuses error
	ending  func(ctx context.Context, name string) error // nil: it ends at once
}

func (s *shams) start(instance string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuses != nil {
		return "", s.refuses
	}
	s.given = append(s.given, instance)
	name := fmt.Sprintf("n%02d", len(s.given))
	s.alive[name] = true
	return name, nil
}

func (s *shams) runs(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.alive[name]
}

func (s *shams) end(ctx context.Context, name string) error {
	if s.ending != nil {
		if err := s.ending(ctx, name); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.alive[name] {
		return fmt.Errorf("%s does not run", name)
	}
	delete(s.alive, name)
	return nil
}

// opened is a desk with machines that are only names, and its socket. Names of tests make too long a path for one.
func opened(t *testing.T, most int) (*shams, *machines, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &shams{alive: map[string]bool{}}
	m := &machines{agents: s, most: most, now: time.Now}
	socket := filepath.Join(dir, "provider")
	d, err := open(socket, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.close)
	return s, m, socket
}

// commands is the provider as the leader has it: it runs this program's commands.
func commands(t *testing.T, cluster, socket string) *exec.Exec {
	t.Helper()
	flags, err := providerFlags(os.Args[0], socket)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Config{Cluster: cluster, Join: func() []string { return []string{"127.0.0.1:1"} }}
	for _, into := range []struct {
		do   string
		text *string
	}{{doLaunch, &c.Launch}, {doTerminate, &c.Terminate}, {doList, &c.List}} {
		for _, f := range flags {
			if text, ok := strings.CutPrefix(f, into.do+"="); ok {
				*into.text = text
			}
		}
	}
	e, err := exec.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestTheDemoIsAProvider(t *testing.T) {
	_, _, socket := opened(t, 12)
	providertest.Run(t, func(t *testing.T, cluster string) provider.Provider { return commands(t, cluster, socket) })
}

func TestATokenIsUsedOnce(t *testing.T) {
	s, m, _ := opened(t, 8)
	first, err := m.launch("c", "c-1")
	if err != nil {
		t.Fatal(err)
	}
	again, err := m.launch("c", "c-1")
	if err != nil || again != first || fmt.Sprint(s.given) != "[c-1]" {
		t.Errorf("%+v and %+v, %v; started for %v", first, again, err, s.given)
	}
	if other, err := m.launch("another", "c-1"); err != nil || other.ID == first.ID {
		t.Errorf("another cluster is given %+v, %v", other, err)
	}
	if err := m.terminate(t.Context(), "c", []string{first.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.launch("c", "c-1"); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("the token of one that has ended: %v", err)
	}
}

func TestNoMoreMachinesRunThanThereAre(t *testing.T) {
	s, m, socket := opened(t, 2)
	e := commands(t, "c", socket)
	for _, token := range []string{"c-1", "c-2"} {
		if _, err := e.Launch(t.Context(), provider.Request{Token: token}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := e.Launch(t.Context(), provider.Request{Token: "c-3"})
	if provider.KindOf(err) != provider.Capacity || !strings.Contains(err.Error(), "all 2 machines are in use") {
		t.Errorf("a third of two: %v", err)
	}
	s.mu.Lock()
	delete(s.alive, "n01") // killed
	s.mu.Unlock()
	if got := fmt.Sprint(m.running()); got != "[n02]" {
		t.Errorf("%s run", got)
	}
	list, err := e.List(t.Context())
	if err != nil || len(list) != 1 || list[0].ID != "n02" {
		t.Errorf("listed are %+v, %v", list, err)
	}
	if _, err := e.Launch(t.Context(), provider.Request{Token: "c-3"}); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

func TestTerminatePassesOverWhatIsGoneAndNotItsOwn(t *testing.T) {
	s, m, _ := opened(t, 8)
	for i, cluster := range []string{"c", "c", "c", "d"} {
		if _, err := m.launch(cluster, fmt.Sprintf("t-%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	delete(s.alive, "n01")
	if err := m.terminate(t.Context(), "c", []string{"n01", "n02", "n04", "n99"}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(m.running()); got != "[n03 n04]" {
		t.Errorf("%s run", got)
	}
}

func TestWhatEndsIsListedAsStoppingAndWhatDoesNotStays(t *testing.T) {
	s, m, _ := opened(t, 8)
	if _, err := m.launch("c", "c-1"); err != nil {
		t.Fatal(err)
	}
	s.ending = func(context.Context, string) error {
		if list := m.instances("c"); len(list) != 1 || list[0].State != provider.Stopping {
			t.Errorf("while it ends %+v is listed", list)
		}
		if err := m.terminate(t.Context(), "c", []string{"n01"}); err != nil {
			t.Errorf("another time: %v", err)
		}
		return errors.New("it hangs")
	}
	if err := m.terminate(t.Context(), "c", []string{"n01"}); err == nil || !strings.Contains(err.Error(), "it hangs") {
		t.Error(err)
	}
	if list := m.instances("c"); len(list) != 1 || list[0].State != provider.Running {
		t.Errorf("%+v is listed", list)
	}
	s.ending = nil
	if err := m.terminate(t.Context(), "c", []string{"n01"}); err != nil || len(m.instances("c")) > 0 {
		t.Errorf("%v is left, %v", m.instances("c"), err)
	}
}

func TestTheDeskClosesWhenWhatIsUnderWayHasEnded(t *testing.T) {
	s := &shams{alive: map[string]bool{}}
	m := &machines{agents: s, most: 1, now: time.Now}
	dir, err := os.MkdirTemp("", "demo-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "provider")
	d, err := open(socket, m)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.launch("c", "c-1"); err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	s.ending = func(ctx context.Context, _ string) error {
		close(began)
		<-ctx.Done() // its goodbye would take long
		return nil
	}
	var asked sync.WaitGroup
	asked.Go(func() {
		var out, words bytes.Buffer
		code := command([]string{doTerminate, socket}, strings.NewReader(`{"cluster":"c","ids":["n01"]}`), &out, &words)
		if code != 0 || out.String() != "{}\n" {
			t.Errorf("exit %d, %q, %q", code, out.String(), words.String())
		}
	})
	<-began
	d.close()
	if s.runs("n01") {
		t.Error("it is closed and one still ends")
	}
	asked.Wait()
	var out, words bytes.Buffer
	if code := command([]string{doList, socket}, strings.NewReader(`{"cluster":"c"}`), &out, &words); code != 1 || !strings.Contains(words.String(), "the demo does not run any more") {
		t.Errorf("after its end: exit %d, %q", code, words.String())
	}
}

func TestACommandSaysWhatIsWrongToPeopleAndToSeepnode(t *testing.T) {
	s, _, socket := opened(t, 1)
	s.refuses = errors.New("no more processes")
	for want, c := range map[string]struct{ do, in string }{
		"no more processes":                 {doLaunch, `{"cluster":"c","token":"c-1"}`},
		"only letters, digits":              {doLaunch, `{"cluster":"c","token":"../x"}`},
		"give launch, terminate or list":    {"dance", `{}`},
		"the input is not what it should":   {doList, `[]`},
		"asking the demo: json: error call": {doList, `{`},
	} {
		var out, words bytes.Buffer
		code := command([]string{c.do, socket}, strings.NewReader(c.in), &out, &words)
		var said answer
		err := json.Unmarshal(out.Bytes(), &said)
		if text := strings.TrimSpace(words.String()); err != nil || code != 1 || !strings.Contains(text, want) || said.Error != text || said.Kind != provider.Other {
			t.Errorf("%s: exit %d, %q, %q, %v", want, code, out.String(), words.String(), err)
		}
	}
	if _, err := providerFlags("/opt/my programs/demo", socket); err == nil || !strings.Contains(err.Error(), "has a blank") {
		t.Errorf("a path at which seepnode would cut: %v", err)
	}
}
