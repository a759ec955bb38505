//go:build !linux

package seepnode

import "os/exec"

// tieToParent does nothing: here the pipe that an agent watches is what ends it with its parent.
func tieToParent(*exec.Cmd) {}
