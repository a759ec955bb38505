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

// readUntil reads what a terminal shows up to some text.
func readUntil(t *testing.T, screen *os.File, text string) string {
	t.Helper()
	var shown []byte
	for chunk := make([]byte, 4096); !bytes.Contains(shown, []byte(text)); {
		n, err := screen.Read(chunk)
		if err != nil {
			t.Fatal(err)
		}
		shown = append(shown, chunk[:n]...)
	}
	return string(shown)
}

func TestWaitingForAQueryShowsHowFarItIs(t *testing.T) {
	t.Setenv("TERM", "xterm")
	screen, program := openTerminal(t)
	fake, err := startFake("127.0.0.1:0", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer fake.close()
	var out bytes.Buffer
	done := make(chan int)
	go func() {
		code := Run([]string{"query", "add", "-", "--name", "slow", "--wait", "--address", fake.listener.Addr().String()}, Streams{In: strings.NewReader("SELECT 1"), Out: &out, Err: program})
		fmt.Fprintln(program, "the end")
		done <- code
	}()
	shown := readUntil(t, screen, "the end")
	if code := <-done; code != 0 || out.String() != "query slow is added: RUNNING\n" {
		t.Errorf("exit code %d, prints %q", code, out.String())
	}
	if !strings.HasPrefix(shown, eraseLine+"slow: RUNNING, 1 of 4 partitions run"+eraseLine+"slow: RUNNING, 2 of 4") || !strings.Contains(shown, eraseLine+"the end") {
		t.Errorf("shows %q", shown)
	}
}

func TestRemovingAsksOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	fake, err := startFake("127.0.0.1:0", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer fake.close()
	for _, c := range []struct {
		answer string
		code   int
	}{{"n", 1}, {"", 1}, {"y", 0}, {"YES", 0}} {
		screen, program := openTerminal(t)
		var out bytes.Buffer
		done := make(chan int)
		go func() {
			done <- Run([]string{"query", "rm", "wordcount", "--address", fake.listener.Addr().String()}, Streams{In: program, Out: &out, Err: program})
		}()
		readUntil(t, screen, "Remove query wordcount, its state and its tables? [y/N] ")
		fmt.Fprintln(screen, c.answer)
		if code := <-done; code != c.code || strings.Contains(fake.requests(), "DELETE") != (code == 0) {
			t.Errorf("answer %q: exit code %d", c.answer, code)
		}
	}
}

// TestColourIsForTerminals prints the same list to a terminal, to one with NO_COLOR, and to a file.
func TestColourIsForTerminals(t *testing.T) {
	t.Setenv("TERM", "xterm")
	_, program := openTerminal(t)
	for _, c := range []struct {
		noColour string
		want     bool
	}{{"", true}, {"1", false}} {
		t.Setenv("NO_COLOR", c.noColour)
		if d := newDisplay(program); d.colour != c.want {
			t.Errorf("NO_COLOR=%q: colour %v", c.noColour, d.colour)
		}
	}
	t.Setenv("NO_COLOR", "")
	if newDisplay(&bytes.Buffer{}).colour {
		t.Error("colour in a file")
	}
}

func TestViewIsDrawnInPlace(t *testing.T) {
	t.Setenv("TERM", "xterm")
	screen, program := openTerminal(t)
	if err := unix.IoctlSetWinsize(int(program.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 4, Col: 10}); err != nil {
		t.Fatal(err)
	}
	v := &devView{to: program, terminal: program}
	v.replace("one\ntwo\nthree\nfour\nfive\n")
	v.replace("a line that is too long\n")
	v.close()
	fmt.Fprintln(program, "end")
	shown := strings.ReplaceAll(readUntil(t, screen, "end\r\n"), "\r\n", "\n")
	if want := "\r\x1b[Jone\ntwo\nthree\n\x1b[3A\r\x1b[Ja line th\nend\n"; shown != want {
		t.Errorf("shows %q, want %q", shown, want)
	}
}
