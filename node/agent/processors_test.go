package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestProcessorsAreThoseThatControlGroupsAllow(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  float64
	}{
		"none":         {nil, unlimited},
		"no limit":     {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, unlimited},
		"its own":      {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "2000 10000\n"}, 0.2},
		"one above it": {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "90000 100000\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n"}, 0.5},
		"version 1": {map[string]string{"proc/self/cgroup": "12:memory:/x\n4:cpu,cpuacct:/docker/5f\n", "sys/fs/cgroup/cpu,cpuacct/docker/5f/cpu.cfs_quota_us": "150000\n",
			"sys/fs/cgroup/cpu,cpuacct/docker/5f/cpu.cfs_period_us": "100000\n"}, 1.5},
		"version 1 without a limit": {map[string]string{"proc/self/cgroup": "4:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, unlimited},
		"nonsense":                  {map[string]string{"proc/self/cgroup": "0::/a\nx\n::\n0::relative\n", "sys/fs/cgroup/a/cpu.max": "one two\n"}, unlimited},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, text := range c.files {
				at := filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := (&processors{root: root}).quota(); got != c.want {
				t.Errorf("%g processors, it should be %g", got, c.want)
			}
		})
	}
	if n := new(processors).cores(time.Now()); n <= 0 {
		t.Errorf("this process may use %g processors", n)
	}
}
