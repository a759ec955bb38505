package host

import (
	"os"
	"testing"
)

func TestWhatTheSystemSaysOfAProcessIsRead(t *testing.T) {
	ticks, err := cpuTicks("42 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 110 25 0 0")
	if err != nil || ticks != 135 {
		t.Fatal(ticks, err)
	}
	kb, err := rssKB("Name:\tx\nVmRSS:\t    1234 kB\nThreads:\t1\n")
	if err != nil || kb != 1234 {
		t.Fatal(kb, err)
	}
	if n, err := switches("Threads:\t1\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t3\n"); err != nil || n != 150 {
		t.Fatal(n, err)
	}
	if _, err := switches("nonvoluntary_ctxt_switches:\t3\n"); err == nil {
		t.Error("no number was taken")
	}
	for _, wrong := range []string{"", "42 (x) S", "no parentheses"} {
		if _, err := cpuTicks(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("there is no /proc here")
	}
	if rss, err := RSS(os.Getpid()); err != nil || rss < 1<<20 {
		t.Fatal(rss, err)
	}
	if _, err := CPU(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if n, err := Switches(os.Getpid()); err != nil || n == 0 {
		t.Fatal(n, err)
	}
}
