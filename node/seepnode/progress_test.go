package seepnode

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/engine"
)

func TestProgressLineIsRedrawnAndClearedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var screen bytes.Buffer
		c := newConsole(Streams{Err: &screen, Out: &screen})
		c.useLine(&screen, func() int { return 200 })
		rows := int64(0)
		c.showProgress(func() engine.Progress {
			rows += 1_000_000
			return engine.Progress{Epoch: 1234, RowsIn: rows, LagMs: 40, StateBytes: 12_300_000, Elapsed: time.Duration(rows) * 250}
		})
		time.Sleep(2*drawInterval + time.Millisecond)
		fmt.Fprintln(c.err, "a warning")
		time.Sleep(drawInterval)
		c.endProgress()
		c.endProgress()
		line := "epoch 1,234  %s rows  4,000,000 rows/s  lag 40 ms  state 12.3 MB  0 s"
		want := eraseLine + fmt.Sprintf(line, "1,000,000") + eraseLine + fmt.Sprintf(line, "2,000,000") +
			eraseLine + "a warning\n" + eraseLine + fmt.Sprintf(line, "3,000,000") + eraseLine
		if got := screen.String(); got != want {
			t.Errorf("the terminal gets\n%q, want\n%q", got, want)
		}
	})
}

func TestNothingIsDrawnWithoutATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out, errs bytes.Buffer
		c := newConsole(Streams{Err: &errs, Out: &out})
		c.showProgress(func() engine.Progress { t.Error("asked for progress"); return engine.Progress{} })
		time.Sleep(10 * drawInterval)
		c.endProgress()
		if out.Len()+errs.Len() > 0 {
			t.Errorf("%q %q", out.String(), errs.String())
		}
	})
}

func TestProgressLineIsCutToTheTerminalsWidth(t *testing.T) {
	var screen bytes.Buffer
	c := newConsole(Streams{Err: &screen, Out: &screen})
	c.useLine(&screen, func() int { return 10 })
	c.draw(strings.Repeat("x", 50))
	if got, want := screen.String(), eraseLine+strings.Repeat("x", 9); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNumbersAreWrittenForPeople(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{grouped(0), "0"}, {grouped(999), "999"}, {grouped(1000), "1,000"}, {grouped(-1234567), "-1,234,567"}, {grouped(-100), "-100"},
		{bytesText(0), "0 B"}, {bytesText(999), "999 B"}, {bytesText(1000), "1.0 kB"}, {bytesText(999_949), "999.9 kB"}, {bytesText(999_950), "1.0 MB"},
		{bytesText(12_300_000_000), "12.3 GB"}, {bytesText(1 << 62), "4611.7 PB"},
		{lagText(40), "40 ms"}, {lagText(12_000), "12 s"}, {secondsText(61 * time.Second), "1 min 01 s"}, {secondsText(7300 * time.Second), "2 h 01 min"},
		{counted(1, "row"), "1 row"}, {counted(1000, "row"), "1,000 rows"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestRateIsThatOfTheLastFewLines(t *testing.T) {
	var m meter
	var line string
	for i := range 20 {
		rows := int64(0)
		if i >= 10 {
			rows = int64(i-9) * 250
		}
		line = m.line(engine.Progress{RowsIn: rows, Elapsed: time.Duration(i+1) * 250 * time.Millisecond, RowsSkipped: 3, RowsLate: 4})
	}
	if !strings.Contains(line, "  1,000 rows/s  ") || !strings.HasSuffix(line, "  3 skipped  4 late") {
		t.Error(line)
	}
}

func TestStopIsCleanUnlessSomethingElseWentWrong(t *testing.T) {
	other := errors.New("disk on fire")
	for _, c := range []struct {
		err  error
		want string
	}{
		{errStopped, ""},
		{errors.Join(errStopped), ""},
		{errors.Join(errors.Join(errStopped)), ""},
		{errors.Join(errStopped, other), "disk on fire"},
		{errors.Join(errors.Join(errStopped, other)), "disk on fire"},
	} {
		s := summarize(&engine.Result{}, c.err, time.Second)
		got := s.stopError(c.err)
		if s.State != stateStopped || (got == nil) != (c.want == "") || got != nil && !strings.Contains(got.Error(), c.want) {
			t.Errorf("%v: %s, %v", c.err, s.State, got)
		}
	}
}
