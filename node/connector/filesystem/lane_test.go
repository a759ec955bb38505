package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// faultyDisk fails calls when it is told to: fail gets a call's name and answers what it fails with, nil for not.
type faultyDisk struct {
	disk
	fail func(call string) error
	// noLinks is a file system without hard links.
	noLinks bool
	// afterLook is called between the look whether a name is taken and taking it.
	afterLook func()
}

func (d *faultyDisk) check(call string) error {
	if d.fail == nil {
		return nil
	}
	if err := d.fail(call); err != nil {
		return &os.PathError{Op: call, Path: "somewhere", Err: err}
	}
	return nil
}

func (d *faultyDisk) create(path string) (*os.File, error) {
	if err := d.check("create"); err != nil {
		return nil, err
	}
	return d.disk.create(path)
}

// writeAt writes a part of what it fails to write.
func (d *faultyDisk) writeAt(f *os.File, p []byte, at int64) (int, error) {
	if err := d.check("write"); err != nil {
		n, _ := d.disk.writeAt(f, p[:len(p)/3], at)
		return n, err
	}
	return d.disk.writeAt(f, p, at)
}

func (d *faultyDisk) sync(*os.File) error {
	if err := d.check("sync"); err != nil {
		return err
	}
	return nil // no test takes the power away
}

func (d *faultyDisk) link(from, to string) error {
	if err := d.check("link"); err != nil {
		return err
	}
	if d.afterLook != nil {
		d.afterLook()
	}
	if d.noLinks {
		return &os.LinkError{Op: "link", Old: from, New: to, Err: syscall.EPERM}
	}
	return d.disk.link(from, to)
}

func (d *faultyDisk) rename(from, to string) error {
	if err := d.check("rename"); err != nil {
		return err
	}
	return d.disk.rename(from, to)
}

func (d *faultyDisk) syncDirectory(string) error {
	if err := d.check("sync directory"); err != nil {
		return err
	}
	return nil
}

// openLane opens lane 0 of c on a disk that can fail.
func openLane(t *testing.T, c connector.Config) (*lane, *faultyDisk) {
	t.Helper()
	s := newTestSink(t, c)
	d := &faultyDisk{disk: systemDisk{}}
	s.(*sink).disk = d
	l, err := s.Open(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.(*lane), d
}

// tell is a lane's Write and Commit of [first, last].
func tell(l connector.Lane, first, last topology.Epoch, rows *batch.Batch) error {
	if err := l.Write(first, last, connectortest.Halves(rows)); err != nil {
		return err
	}
	return l.Commit(last)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func mixedEpochs() []*batch.Batch {
	epochs := make([]*batch.Batch, 19)
	at := 0
	for i := range epochs {
		n := []int{0, 3, 1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 1}[i]
		epochs[i] = counts(at, at+n)
		at += n
	}
	return epochs
}

func testExactlyOnce(t *testing.T, noLinks bool, options ...string) {
	connectortest.ExactlyOnce(t, func(t *testing.T) connectortest.Place {
		dir := t.TempDir()
		var refuse func() bool
		fail := func(string) error {
			if refuse != nil && refuse() {
				return syscall.ENOSPC
			}
			return nil
		}
		list := func(hidden bool) string {
			var b strings.Builder
			for line := range strings.Lines(dirText(t, dir)) {
				if line[0] == '.' == hidden {
					b.WriteString(line)
				}
			}
			return b.String()
		}
		return connectortest.Place{
			New: func() connector.Sink {
				s := newTestSink(t, config(countSchema, append([]string{"path", dir, "format", "csv"}, options...)...))
				s.(*sink).disk = &faultyDisk{disk: systemDisk{}, fail: fail, noLinks: noLinks}
				return s
			},
			Visible: func() string { return list(false) },
			Left:    func() string { return list(true) },
			Full:    func(r func() bool) { refuse = r },
		}
	}, mixedEpochs(), 8)
}

func TestFilesAreWrittenExactlyOnce(t *testing.T) {
	for _, epochs := range []string{"1", "8"} {
		t.Run(epochs, func(t *testing.T) { testExactlyOnce(t, false, "sink.rolling.epochs", epochs) })
	}
}

func TestFilesAreWrittenExactlyOnceWithoutHardLinks(t *testing.T) {
	testExactlyOnce(t, true, "sink.rolling.epochs", "4")
}

func TestFullDiskKeepsEveryByteOfBigRolls(t *testing.T) {
	want := ""
	for _, refusals := range []int{0, 1, 15} {
		dir := t.TempDir()
		l, d := openLane(t, config(countSchema, "path", dir, "format", "csv"))
		calls, blocked := -1, 0
		d.fail = func(string) error {
			calls++
			if calls%40 < refusals {
				return syscall.EDQUOT
			}
			return nil
		}
		until := func(call func() error) {
			t.Helper()
			for range 100 {
				err := call()
				if err == nil {
					return
				}
				b := new(connector.BlockedError)
				if !errors.As(err, &b) || !strings.Contains(b.What, dir) {
					t.Fatal(err)
				}
				blocked++
			}
			t.Fatal("blocked for ever")
		}
		for e := topology.Epoch(1); e <= 9; e++ {
			rows := counts(int(e)*40000, int(e)*40000+40000)
			until(func() error { return l.Write(e, e, connectortest.Halves(rows)) })
			if len(l.buffer) > 2*flushBytes {
				t.Fatalf("%d bytes are in memory", len(l.buffer))
			}
			until(func() error { return l.Commit(e) })
		}
		until(l.End)
		must(t, l.Close())
		got := dirText(t, dir)
		if refusals == 0 {
			want = got
		} else if got != want || blocked == 0 {
			t.Fatalf("with %d refusals of 40, blocked %d times: other files", refusals, blocked)
		}
	}
}

func TestOtherFailuresEndTheLaneNameTheFileAndLeaveNoHalfOne(t *testing.T) {
	for _, call := range []string{"create", "write", "sync", "sync directory"} {
		dir := t.TempDir()
		l, d := openLane(t, config(countSchema, "path", dir, "format", "csv"))
		must(t, l.Write(1, 1, connectortest.Halves(counts(0, 10))))
		d.fail = func(c string) error {
			if c == call {
				return syscall.EIO
			}
			return nil
		}
		err := tell(l, 2, 8, counts(0, 0))
		if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "table t") || !errors.Is(err, syscall.EIO) {
			t.Fatalf("%s: %v", call, err)
		}
		d.fail = nil
		if l.End() == nil || l.Commit(8) == nil || l.Write(9, 9, nil) == nil {
			t.Fatalf("%s: the broken lane went on", call)
		}
		must(t, l.Close())
		if files := dirText(t, dir); strings.Contains(files, temporarySuffix) {
			t.Fatalf("%s: left: %s", call, files)
		}
	}
}

func TestSyncThatFailedIsNotBelievedTheNextTime(t *testing.T) {
	dir := t.TempDir()
	l, d := openLane(t, config(countSchema, "path", dir, "format", "csv"))
	must(t, l.Write(1, 8, connectortest.Halves(counts(0, 100))))
	written := 0
	d.fail = func(call string) error {
		if call == "sync" {
			return syscall.ENOSPC
		}
		return nil
	}
	if b := new(connector.BlockedError); !errors.As(l.Commit(8), &b) {
		t.Fatal("not blocked")
	}
	d.fail = func(call string) error {
		if call == "write" {
			written++
		}
		return nil
	}
	must(t, l.Commit(8))
	if written == 0 {
		t.Fatal("nothing was written again")
	}
	// What the system dropped in the meantime must not be published.
	must(t, l.Write(9, 16, connectortest.Halves(counts(0, 100))))
	d.fail = func(call string) error {
		if call == "sync" {
			return syscall.ENOSPC
		}
		return nil
	}
	if b := new(connector.BlockedError); !errors.As(l.Commit(16), &b) {
		t.Fatal("not blocked")
	}
	d.fail = nil
	if _, err := l.finished[0].file.WriteAt(make([]byte, 10), 20); err != nil {
		t.Fatal(err)
	}
	if err := l.Commit(16); err == nil || !strings.Contains(err.Error(), "does not hold what was written to it") {
		t.Fatal(err)
	}
}

func TestConflictNamesFileByteLaneAndEpochs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(path string) error
		want   string
	}{
		{"a byte", func(path string) error { return os.WriteFile(path, []byte("w0,0\nw1,1\nw2,7\n"), 0o644) }, "at byte 13; it has 15 bytes, this query gives 15"},
		{"shorter", func(path string) error { return os.Truncate(path, 5) }, "at byte 5; it has 5 bytes, this query gives 15"},
		{"longer", func(path string) error {
			return os.WriteFile(path, []byte("w0,0\nw1,1\nw2,2\nw3,3\n"), 0o644)
		}, "at byte 15; it has 20 bytes, this query gives 15"},
		{"directory", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) }, "no regular file"},
		{"rolls without rows", func(path string) error {
			return os.Rename(path, strings.Replace(path, "-000000000009-000000000016", "-000000000001-000000000008", 1))
		}, "epochs 1 to 8, is there already and differs from what this query gives: this query gives no rows there"},
		{"rolls behind the end", func(path string) error {
			return os.Rename(path, strings.Replace(path, "-000000000009-000000000016", "-000000000025-000000000032", 1))
		}, "epochs 25 to 32, is there already"},
	} {
		dir := t.TempDir()
		configuration := config(countSchema, "path", dir, "format", "csv")
		epochs := make([]*batch.Batch, 16)
		for i := range epochs {
			epochs[i] = counts(0, 0)
		}
		epochs[10] = counts(0, 3)
		connectortest.Write(t, newTestSink(t, configuration), 0, epochs, 3)
		path := filepath.Join(dir, "0000000000000abc-0000-000000000009-000000000016.csv")
		must(t, c.change(path))
		l, _ := openLane(t, configuration)
		err := tell(l, 1, 10, counts(0, 0))
		if err == nil {
			err = tell(l, 11, 16, counts(0, 3))
		}
		if err == nil {
			err = l.End()
		}
		conflict := new(connector.ConflictError)
		if !errors.As(err, &conflict) || !strings.Contains(conflict.What, c.want) || !strings.Contains(conflict.What, "lane 0, epochs ") || !strings.Contains(conflict.What, dir) {
			t.Errorf("%s: %v", c.name, err)
		}
		must(t, l.Close())
		if files, _ := filepath.Glob(filepath.Join(dir, ".*")); files != nil {
			t.Errorf("%s: left %v", c.name, files)
		}
	}
}

func TestFileThatTakesTheNameInTheLastMomentIsCompared(t *testing.T) {
	for _, c := range []struct {
		text     string
		conflict bool
	}{{"w0,0\n", false}, {"w0,1\n", true}} {
		dir := t.TempDir()
		l, d := openLane(t, config(countSchema, "path", dir, "format", "csv"))
		d.afterLook = func() {
			write(t, filepath.Join(dir, "0000000000000abc-0000-000000000001-000000000008.csv"), c.text)
		}
		err := tell(l, 1, 8, counts(0, 1))
		if conflict := new(connector.ConflictError); errors.As(err, &conflict) != c.conflict || err != nil && !c.conflict {
			t.Errorf("%q: %v", c.text, err)
		}
	}
}

func TestWriterWhoseTemporaryFilesAreRemovedLosesNothing(t *testing.T) {
	removeTemporary := func(t *testing.T, dir string) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, ".*"+temporarySuffix))
		if err != nil || len(files) == 0 {
			t.Fatalf("no temporary files: %v", err)
		}
		for _, f := range files {
			must(t, os.Remove(f))
		}
	}
	want := "0000000000000abc-0000-000000000001-000000000008.csv: \"w0,0\\nw1,1\\n\"\n0000000000000abc-0000-000000000009-000000000016.csv: \"w2,2\\n\"\n"
	t.Run("Open", func(t *testing.T) {
		dir := t.TempDir()
		l, d := openLane(t, config(countSchema, "path", dir, "format", "csv"))
		must(t, l.Write(1, 8, connectortest.Halves(counts(0, 2))), l.Write(9, 16, connectortest.Halves(counts(2, 3))))
		removeTemporary(t, dir)
		d.fail = func(call string) error {
			if call == "create" {
				return syscall.ENOSPC
			}
			return nil
		}
		if b := new(connector.BlockedError); !errors.As(l.Commit(16), &b) {
			t.Fatal("not blocked")
		}
		d.fail = nil
		must(t, l.Commit(16), l.End(), l.Close())
		if got := dirText(t, dir); got != want {
			t.Fatalf("got\n%s", got)
		}
	})
	t.Run("Released", func(t *testing.T) {
		dir := t.TempDir()
		c := config(countSchema, "path", dir, "format", "csv")
		l, d := openLane(t, c)
		must(t, l.Write(1, 8, connectortest.Halves(counts(0, 2))), l.Write(9, 16, connectortest.Halves(counts(2, 3))))
		for _, r := range l.finished {
			must(t, r.release(d))
		}
		removeTemporary(t, dir)
		for range 2 {
			b := new(connector.BlockedError)
			if err := l.Commit(16); !errors.As(err, &b) || !strings.Contains(err.Error(), "was removed") {
				t.Fatal(err)
			}
		}
		// The process that removed them publishes.
		next, _ := openLane(t, c)
		must(t, tell(next, 1, 8, counts(0, 2)), tell(next, 9, 16, counts(2, 3)))
		must(t, l.Commit(16), l.End(), l.Close(), next.End(), next.Close())
		if got := dirText(t, dir); got != want {
			t.Fatalf("got\n%s", got)
		}
	})
}

func TestManyFinishedRollsKeepFewFilesOpen(t *testing.T) {
	dir := t.TempDir()
	l, _ := openLane(t, config(countSchema, "path", dir, "format", "csv", "sink.rolling.epochs", "1"))
	before, counted := connectortest.OpenFiles()
	const rolls = 3 * openRollsMax
	for e := topology.Epoch(1); e <= rolls; e++ {
		must(t, l.Write(e, e, connectortest.Halves(counts(int(e), int(e)+1))))
	}
	if now, _ := connectortest.OpenFiles(); counted && now > before+openRollsMax+3 {
		t.Fatalf("%d files are open", now-before)
	}
	must(t, l.Commit(rolls), l.End(), l.Close())
	for e := 1; e <= rolls; e++ {
		text, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("0000000000000abc-0000-%012d-%012d.csv", e, e)))
		if err != nil || string(text) != fmt.Sprintf("w%d,%d\n", e, e) {
			t.Fatalf("%q %v", text, err)
		}
	}
}

func TestOpenRemovesOnlyWhatDeadWritersOfTheLaneLeft(t *testing.T) {
	dir := t.TempDir()
	c := config(countSchema, "path", dir, "format", "csv")
	connectortest.Write(t, newTestSink(t, c), 0, []*batch.Batch{counts(0, 1)}, 0)
	host, err := os.Hostname()
	must(t, err)
	temporary := func(lane int, first, last int, opening string) string {
		return write(t, fmt.Sprintf("%s/.0000000000000abc-%04d-%012d-%012d.csv.%s.tmp", dir, lane, first, last, opening), "half")
	}
	marker := func(opening, host string) string {
		return write(t, filepath.Join(dir, markerName("0000000000000abc-0000-", opening)), host)
	}
	alive, _ := openLane(t, c)
	must(t, alive.Write(1, 8, connectortest.Halves(counts(0, 1))), alive.Write(9, 16, connectortest.Halves(counts(5, 6))))
	gone := []string{
		temporary(0, 9, 16, "unmarked"),
		temporary(0, 9, 16, "dead"), marker("dead", host),
		temporary(0, 1, 8, "elsewhere"), alive.finished[0].path, // published
	}
	stays := []string{
		temporary(1, 9, 16, "otherlane"),
		temporary(0, 9, 16, "elsewhere"), marker("elsewhere", host+"2"),
		alive.marker.path, alive.finished[1].path,
	}
	openLane(t, c)
	for _, path := range gone {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("still there: %s", path)
		}
	}
	for _, path := range stays {
		if _, err := os.Stat(path); err != nil {
			t.Errorf("gone: %s", path)
		}
	}
	must(t, alive.End(), alive.Close())
}

func TestCommitOfUnwrittenEpochsIsRefused(t *testing.T) {
	l, _ := openLane(t, config(countSchema, "path", t.TempDir(), "format", "csv"))
	must(t, l.Commit(8), l.Write(9, 12, nil))
	if l.Committed() != 8 {
		t.Fatalf("committed %d", l.Committed())
	}
	if err := l.Commit(16); err == nil {
		t.Fatal("committed what was not written")
	}
}
