//go:build unix && !linux

package cluster

import (
	"os/exec"
	"syscall"
)

// tie gives a process a group of its own.
func tie(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func signalGroup(pid int, s syscall.Signal) error { return syscall.Kill(-pid, s) }
