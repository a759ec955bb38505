//go:build unix

package agent

import "syscall"

// used is the processor time that the process has taken so far, in nanoseconds; 0 when the system does not say.
func (p *processors) used() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
