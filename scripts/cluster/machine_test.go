package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// needs skips what this machine cannot do, and says why.
func needs(t *testing.T, can func() error) {
	t.Helper()
	if err := can(); err != nil {
		t.Skip(err)
	}
}

func TestAgentsOnSmallMachinesAreInControlGroupsThatGoWithThem(t *testing.T) {
	needs(t, CanLimit)
	c, err := New(fakeConfig(filepath.Join(t.TempDir(), "c")))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Stop(nil) }()
	if err := c.StartOn(t.Context(), Machine{Cores: 0.2}, Machine{}); err != nil {
		t.Fatal(err)
	}
	group := c.Agent(0).group
	limit := func() string {
		if group.v2 {
			return read(t, filepath.Join(group.dir, "cpu.max"))
		}
		return read(t, filepath.Join(group.dir, "cpu.cfs_quota_us")) + " " + read(t, filepath.Join(group.dir, "cpu.cfs_period_us"))
	}
	procs := func() string { return read(t, filepath.Join(group.dir, "cgroup.procs")) }
	if limit() != "2000 10000" || procs() != fmt.Sprint(c.PID(0)) {
		t.Fatalf("limit %q of processes %q; the agent is %d", limit(), procs(), c.PID(0))
	}
	if err := c.Limit(0, 0.5); err != nil || limit() != "5000 10000" {
		t.Fatalf("limit %q, %v", limit(), err)
	}
	if err := c.Limit(1, 0.5); err == nil || !strings.Contains(err.Error(), "n2 was started without") {
		t.Fatal(err)
	}
	if err := c.Kill(0); err != nil {
		t.Fatal(err)
	}
	if err := c.Restart(0); err != nil {
		t.Fatal(err)
	}
	if err := c.AwaitMembers(t.Context()); err != nil || procs() != fmt.Sprint(c.PID(0)) {
		t.Fatalf("processes %q, %v", procs(), err)
	}
	if err := c.StartOn(t.Context(), Machine{Cores: 0.01}); err == nil || !strings.Contains(err.Error(), "at least 0.1") {
		t.Fatal(err)
	}
	if err := c.Stop(nil); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(c.groups.dir); len(left) > 0 {
		t.Fatalf("%s is left", left)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func TestGroupsOfAProcessThatIsGoneAreSwept(t *testing.T) {
	root := t.TempDir()
	gone, mine := filepath.Join(root, cpuPrefix+"999999999-1"), filepath.Join(root, fmt.Sprint(cpuPrefix, os.Getpid(), "-1"))
	for _, dir := range []string{gone, mine} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	sweepCPUGroups(root)
	if _, err := os.Stat(gone); err == nil {
		t.Error("the group of a process that is gone stays")
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestControlGroupsAreFoundInBothVersions(t *testing.T) {
	const v1 = `31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`
	const v2 = `25 1 0:23 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
`
	for _, c := range []struct {
		mounts string
		want   cpuHierarchy
		fails  bool
	}{{v1, cpuHierarchy{"/sys/fs/cgroup/cpu,cpuacct", false}, false}, {v2, cpuHierarchy{"/sys/fs/cgroup", true}, false}, {"1 2 0:3 / /proc rw - proc proc rw\n", cpuHierarchy{}, true}} {
		if got, err := findCPUHierarchy(c.mounts); got != c.want || (err != nil) != c.fails {
			t.Errorf("%+v, %v; want %+v", got, err, c.want)
		}
	}
}

func TestAgentsInANetworkAreReachedUntilTheyAreCutOffAndNothingIsLeft(t *testing.T) {
	needs(t, CanNetwork)
	conf := fakeConfig(filepath.Join(t.TempDir(), "c"))
	conf.Network = true
	c, err := New(conf)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Stop(nil) }()
	if err := c.Start(t.Context(), 3); err != nil { // asks each at its address
		t.Fatal(err)
	}
	reaches := func(from, to int) bool {
		var connection net.Conn
		err := c.Agent(from).on.do(func() (err error) {
			// Without a timer of the runtime's, which would wait in another thread and so in another network.
			connection, err = dialHere(c.Agent(to).HTTP)
			return err
		})
		if err == nil {
			_ = connection.Close()
		}
		return err == nil
	}
	for from := range 3 {
		for to := range 3 {
			if from != to && !reaches(from, to) {
				t.Fatalf("%d does not reach %d", from, to)
			}
		}
	}
	if err := c.Isolate(1); err != nil {
		t.Fatal(err)
	}
	if reaches(0, 1) || reaches(1, 2) || !reaches(0, 2) {
		t.Fatal("the agent is not cut off, or others are")
	}
	asks, err := c.Poll(1)
	if err != nil {
		t.Fatal(err)
	}
	defer asks.Close()
	if _, err := asks.Status(t.Context()); err != nil {
		t.Fatalf("this program is cut off, too: %v", err)
	}
	if err := c.Rejoin(1); err != nil {
		t.Fatal(err)
	}
	if !reaches(0, 1) || !reaches(1, 2) {
		t.Fatal("the agent stays cut off")
	}
	if err := c.Cut(0, 0); err == nil {
		t.Fatal("cut off from itself")
	}
	if err := c.Stop(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := net.InterfaceByName(c.network.outer); err == nil {
		t.Fatalf("interface %s is left", c.network.outer)
	}
}

func TestWithoutANetworkOfTheirOwnAgentsAreNotCutOff(t *testing.T) {
	c := startCluster(t, fakeConfig(filepath.Join(t.TempDir(), "c")), 2)
	if err := c.Cut(0, 1); err == nil || !strings.Contains(err.Error(), "network of their own") {
		t.Fatal(err)
	}
}

// dialWithin is how long a connection may take.
const dialWithin = 300 * time.Millisecond
