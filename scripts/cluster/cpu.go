package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// cpuPeriodUs is how often a group gets its quota anew: short, so that a small machine is slow rather than absent.
	cpuPeriodUs = 10_000
	// coresLeast is the smallest share of a core, a quota of 1 ms, the least that Linux takes.
	coresLeast = 0.1
	// cpuPrefix begins the names of our groups; the number of the process that made them follows.
	cpuPrefix = "seepnode-"
	// removeWithin bounds the wait for a group's last process to be gone for the system.
	removeWithin = 2 * time.Second
)

// cpuHierarchy is where the system's control groups for processors are.
type cpuHierarchy struct {
	root string
	v2   bool
}

// findCPUHierarchy reads a process's mounts, as in /proc/self/mountinfo: the first version's controller is taken where it is there, as
// then the second version has none for processors.
func findCPUHierarchy(mountinfo string) (cpuHierarchy, error) {
	var second string
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup":
			for _, option := range strings.Split(kind[2], ",") {
				if option == "cpu" {
					return cpuHierarchy{root: place[4]}, nil
				}
			}
		case "cgroup2":
			second = place[4]
		}
	}
	if second == "" {
		return cpuHierarchy{}, errors.New("no control groups are mounted here")
	}
	return cpuHierarchy{root: second, v2: true}, nil
}

// CanLimit says why agents cannot be given a share of the processors here, nil when they can.
func CanLimit() error {
	g, err := newCPUGroups()
	if err != nil {
		return err
	}
	_, err = g.make("probe", 1)
	return errors.Join(err, g.remove())
}

// Limit changes how many cores agent i gets, which was started with a limit.
func (c *Cluster) Limit(i int, cores float64) error {
	a := c.Agent(i)
	if a.group == nil {
		return fmt.Errorf("agent %s was started without a limit of cores", a.Name)
	}
	return a.group.limit(cores)
}

// cpuGroups is a directory with a control group for each agent.
type cpuGroups struct {
	dir    string
	v2     bool
	groups []*cpuGroup
}

type cpuGroup struct {
	dir string
	v2  bool
}

func newCPUGroups() (*cpuGroups, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("control groups are there on Linux only: %w", err)
	}
	h, err := findCPUHierarchy(string(mounts))
	if err != nil {
		return nil, err
	}
	sweepCPUGroups(h.root)
	dir := filepath.Join(h.root, fmt.Sprintf("%s%d-%08x", cpuPrefix, os.Getpid(), rand.Uint32()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, fmt.Errorf("control groups need root: %w", err)
	}
	g := &cpuGroups{dir: dir, v2: h.v2}
	if !h.v2 {
		return g, nil
	}
	// The controller must be on in each directory above a group that has it.
	for _, above := range []string{h.root, dir} {
		if err := os.WriteFile(filepath.Join(above, "cgroup.subtree_control"), []byte("+cpu"), 0); err != nil {
			return nil, errors.Join(fmt.Errorf("control groups have no controller for processors here: %w", err), g.remove())
		}
	}
	return g, nil
}

// sweepCPUGroups removes groups of processes that were killed and are gone; those that are in use cannot be removed.
func sweepCPUGroups(root string) {
	left, _ := filepath.Glob(filepath.Join(root, cpuPrefix+"*"))
	for _, dir := range left {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), cpuPrefix), "-")
		if _, err := os.Stat("/proc/" + pid); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		inner, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
		for _, procs := range inner {
			_ = os.Remove(filepath.Dir(procs)) // what is not removed now may be the next time
		}
		_ = os.Remove(dir)
	}
}

// make makes a group with so many cores.
func (g *cpuGroups) make(name string, cores float64) (*cpuGroup, error) {
	x := &cpuGroup{dir: filepath.Join(g.dir, name), v2: g.v2}
	if err := os.Mkdir(x.dir, 0o755); err != nil {
		return nil, fmt.Errorf("making a control group: %w", err)
	}
	g.groups = append(g.groups, x)
	return x, x.limit(cores)
}

func (x *cpuGroup) limit(cores float64) error {
	if cores < coresLeast {
		return fmt.Errorf("%g cores: a machine has at least %g", cores, coresLeast)
	}
	quota := strconv.Itoa(int(cores * cpuPeriodUs))
	if x.v2 {
		return x.write("cpu.max", fmt.Sprintf("%s %d", quota, cpuPeriodUs))
	}
	return errors.Join(x.write("cpu.cfs_period_us", strconv.Itoa(cpuPeriodUs)), x.write("cpu.cfs_quota_us", quota))
}

// procs is the file that takes the numbers of processes which are to be in the group, with what they start from then on.
func (x *cpuGroup) procs() string { return filepath.Join(x.dir, "cgroup.procs") }

func (x *cpuGroup) write(file, text string) error {
	if err := os.WriteFile(filepath.Join(x.dir, file), []byte(text), 0); err != nil {
		return fmt.Errorf("setting a control group: %w", err)
	}
	return nil
}

// remove removes the groups, whose processes are gone. Nil has none.
func (g *cpuGroups) remove() error {
	if g == nil {
		return nil
	}
	for _, x := range g.groups {
		if err := removeGroup(x.dir); err != nil {
			return err
		}
	}
	return removeGroup(g.dir)
}

// removeGroup waits for processes that have ended to be gone from the group, which takes a moment.
func removeGroup(dir string) error {
	for until := time.Now().Add(removeWithin); ; time.Sleep(5 * time.Millisecond) {
		err := os.Remove(dir)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("removing a control group: %w", err)
		}
	}
}
