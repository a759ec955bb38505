package agent

import (
	"bufio"
	"os"
	"strconv"
	"strings"
)

// memoryShare of what the machine or the container has is the default limit, in per cent: the rest is for the system's caches.
const memoryShare = 75

// availableMemory is what this process may use in bytes: the machine's memory or the container's, the smaller; 0 when neither says.
func availableMemory() int64 {
	available := machineMemory()
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// "max" is no limit; the first version of control groups says a number beyond any machine.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil && n > 0 && (available == 0 || n < available) {
			available = n
		}
	}
	return available
}

func machineMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// MemTotal:       16316412 kB
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				return 0
			}
			return kb << 10
		}
	}
	return 0
}

// memoryLimit is the limit in bytes that a process with the configured one (0: none) keeps, and 0 when nothing says what there is.
func memoryLimit(configured int64) int64 {
	if configured > 0 {
		return max(configured, memoryBytesMin)
	}
	return availableMemory() / 100 * memoryShare
}
