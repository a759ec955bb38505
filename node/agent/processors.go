package agent

import (
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// processors are what this process may use of the machine's, as the container or control group allows it.
type processors struct {
	root    string // "" but in tests
	looked  time.Time
	allowed float64
}

// processorsEvery is how often it is looked what is allowed: a process may be put into a control group at any time.
const processorsEvery = 5 * time.Second

// cores is how many processors the process may use at once: those of the machine, or the share that its control groups allow.
func (p *processors) cores(now time.Time) float64 {
	if p.allowed > 0 && now.Sub(p.looked) < processorsEvery {
		return p.allowed
	}
	p.looked, p.allowed = now, min(float64(runtime.NumCPU()), p.quota())
	return p.allowed
}

// unlimited is more than any machine has.
const unlimited = 1 << 20

// quota is the least of what the process's control groups and those above them allow, of both versions of them.
func (p *processors) quota() float64 {
	text, err := os.ReadFile(p.root + "/proc/self/cgroup")
	if err != nil {
		return unlimited
	}
	least := float64(unlimited)
	for line := range strings.Lines(string(text)) {
		// 0::/system.slice/seepnode.service, 4:cpu,cpuacct:/docker/5f
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			continue
		}
		read, roots := readCPUMax, []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}
		if parts[0] != "0" {
			if !isCPU(parts[1]) {
				continue
			}
			read, roots = readQuota, []string{"/sys/fs/cgroup/" + parts[1], "/sys/fs/cgroup/cpu"}
		}
		for _, root := range roots {
			for at := path.Clean(parts[2]); ; at = path.Dir(at) {
				if share, ok := read(p.root + root + at); ok {
					least = min(least, share)
				}
				if at == "/" {
					break
				}
			}
		}
	}
	return least
}

func isCPU(controllers string) bool {
	for _, c := range strings.Split(controllers, ",") {
		if c == "cpu" {
			return true
		}
	}
	return false
}

// readCPUMax reads the second version's "QUOTA PERIOD"; "max" is no limit.
func readCPUMax(dir string) (share float64, ok bool) {
	text, err := os.ReadFile(dir + "/cpu.max")
	fields := strings.Fields(string(text))
	if err != nil || len(fields) != 2 {
		return 0, false
	}
	return ratio(fields[0], fields[1])
}

// readQuota reads the first version's two files; a negative quota is no limit.
func readQuota(dir string) (share float64, ok bool) {
	quota, err := os.ReadFile(dir + "/cpu.cfs_quota_us")
	if err != nil {
		return 0, false
	}
	period, err := os.ReadFile(dir + "/cpu.cfs_period_us")
	if err != nil {
		return 0, false
	}
	return ratio(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

func ratio(quota, period string) (float64, bool) {
	q, err := strconv.ParseFloat(quota, 64)
	if err != nil {
		return 0, false
	}
	p, err := strconv.ParseFloat(period, 64)
	if err != nil || q <= 0 || p <= 0 {
		return 0, false
	}
	return q / p, true
}
