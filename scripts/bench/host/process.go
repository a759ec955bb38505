package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of /proc/PID/stat, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// CPU is the processor time that a process has used. The error is os.ErrNotExist for one that is gone, and where there is no /proc.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	ticks, err := cpuTicks(string(text))
	return time.Duration(ticks) * time.Second / ticksPerSecond, err
}

// RSS is a process's resident memory in bytes.
func RSS(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	kb, err := rssKB(string(text))
	return kb * 1024, err
}

// Switches is how often the threads that a process has now went to sleep until now.
func Switches(pid int) (int64, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		return 0, errors.Join(os.ErrNotExist, err)
	}
	var all int64
	for _, file := range tasks {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		n, err := switches(string(text))
		if err != nil {
			return 0, err
		}
		all += n
	}
	return all, nil
}

// switches is voluntary_ctxt_switches of /proc/PID/task/TID/status.
func switches(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "voluntary_ctxt_switches:"); ok {
			return strconv.ParseInt(strings.TrimSpace(rest), 10, 64)
		}
	}
	return 0, errors.New("/proc/PID/task/TID/status does not say voluntary_ctxt_switches")
}

// cpuTicks is user and system time in a process's line of /proc/PID/stat; its name, in parentheses, may hold anything.
func cpuTicks(stat string) (int64, error) {
	i := strings.LastIndexByte(stat, ')')
	fields := strings.Fields(stat[i+1:])
	if i < 0 || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/PID/stat says %q", stat)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return user + system, errors.Join(err1, err2)
}

// rssKB is VmRSS of /proc/PID/status.
func rssKB(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, errors.New("/proc/PID/status does not say VmRSS")
}
