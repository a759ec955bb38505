//go:build unix

package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// size is that of the terminal behind a file; ok is false when there is none.
func size(f *os.File) (columns, lines int, ok bool) {
	w, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil || w.Col == 0 || w.Row == 0 {
		return 0, 0, false
	}
	return int(w.Col), int(w.Row), true
}
