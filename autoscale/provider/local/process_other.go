//go:build !linux

package local

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// process names a process of this machine by its id alone: elsewhere than on Linux a later process with the same id is taken for it.
type process struct {
	PID int `json:"pid"`
}

func processOf(pid int) (process, error) { return process{pid}, nil }

func (p process) alive() bool {
	found, err := os.FindProcess(p.PID)
	return err == nil && found.Signal(syscall.Signal(0)) == nil
}

func (p process) signal(s syscall.Signal) error {
	found, err := os.FindProcess(p.PID)
	if err == nil {
		err = found.Signal(s)
	}
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end process %d: %w", p.PID, err)
	}
	return nil
}

func ownGroup() *syscall.SysProcAttr { return nil }
