//go:build !unix

package seepnode

import "os"

// terminalWidth is 0: without the system's answer no progress line is drawn.
func terminalWidth(*os.File) int { return 0 }

func terminalHeight(*os.File) int { return 0 }
