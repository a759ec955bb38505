package seepnode

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal gives both ends of a pseudo terminal.
func openTerminal(t *testing.T) (screen, program *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	return screen, program
}

// TestProgressIsShownOnATerminalAndDataKeptApart runs a query with standard error on a real terminal.
func TestProgressIsShownOnATerminalAndDataKeptApart(t *testing.T) {
	t.Setenv("TERM", "xterm")
	screen, program := openTerminal(t)
	const sql = `CREATE TABLE t (id BIGINT) WITH ('connector' = 'datagen', 'rows-per-second' = '1000', 'number-of-rows' = '800');
		SELECT id FROM t WHERE id > 0;`
	var out bytes.Buffer
	done := make(chan int)
	go func() {
		code := Run([]string{"run", "-"}, Streams{In: strings.NewReader(sql), Out: &out, Err: program})
		fmt.Fprintln(program, "the end")
		done <- code
	}()
	var shown []byte
	for chunk := make([]byte, 4096); !bytes.Contains(shown, []byte("the end")); {
		n, err := screen.Read(chunk)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, chunk[:n]...)
	}
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	text := string(shown)
	if !strings.HasPrefix(text, eraseLine+"epoch ") || !strings.Contains(text, " rows/s  lag ") {
		t.Errorf("no progress line: %q", text)
	}
	if !strings.Contains(text, eraseLine+"finished: 800 rows read in ") || strings.Contains(text, "+I[") {
		t.Errorf("no summary in place of the line, or data: %q", text)
	}
	if strings.Contains(out.String(), "epoch") || !strings.HasPrefix(out.String(), "+I[") {
		t.Errorf("standard output is not data alone: %q", out.String())
	}
}
