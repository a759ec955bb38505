package cluster

import (
	"os/exec"
	"syscall"
)

// tie gives a process a group of its own and lets the system kill it with the thread that starts it.
func tie(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func signalGroup(pid int, s syscall.Signal) error { return syscall.Kill(-pid, s) }
