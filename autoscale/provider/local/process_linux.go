package local

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
)

// process names a process of this machine for good: ids are used again, and start times begin anew with the machine.
type process struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // clock ticks since the machine booted
	Boot  string `json:"boot"`  // id of the machine's boot
}

func processOf(pid int) (process, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return process{}, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return process{}, err
	}
	state, start, ok := parseStat(string(stat))
	if !ok || state == "Z" || state == "X" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	return process{PID: pid, Start: start, Boot: strings.TrimSpace(string(boot))}, nil
}

// parseStat gives the fields state and starttime of proc(5)'s stat. The command's name stands in parentheses and may hold anything.
func parseStat(stat string) (state, start string, ok bool) {
	i := strings.LastIndexByte(stat, ')')
	if i < 0 {
		return "", "", false
	}
	fields := strings.Fields(stat[i+1:])
	const stateField, startField = 0, 19 // the third and the twenty-second of all
	if len(fields) <= startField {
		return "", "", false
	}
	return fields[stateField], fields[startField], true
}

func (p process) alive() bool {
	now, err := processOf(p.PID)
	return err == nil && now == p
}

func (p process) signal(s syscall.Signal) error {
	if err := syscall.Kill(p.PID, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end process %d: %w", p.PID, err)
	}
	return nil
}

// ownGroup keeps signals of the terminal away.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
