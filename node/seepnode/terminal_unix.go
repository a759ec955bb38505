//go:build unix

package seepnode

import (
	"os"

	"golang.org/x/sys/unix"
)

// columnsUnknown is the width of a terminal that does not say how wide it is.
const columnsUnknown = 80

// terminalWidth is the number of columns of the terminal that f is; 0 when f is none.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	if size.Col == 0 {
		return columnsUnknown
	}
	return int(size.Col)
}

// terminalHeight is the number of rows of the terminal that f is; 0 when it does not say.
func terminalHeight(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Row)
}
