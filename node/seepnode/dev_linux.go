package seepnode

import (
	"os/exec"
	"syscall"
)

// tieToParent lets the system kill a process with the thread that starts it, also one that is stopped and watches no pipe, and keeps
// the terminal's Ctrl-C from it: its parent tells it when to stop.
func tieToParent(c *exec.Cmd) {
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
