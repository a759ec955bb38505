package filesystem

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
)

var lineSchema = batch.NewSchema(batch.Field{Name: "line", Type: batch.TypeString})

type skippedRows struct {
	mu   sync.Mutex
	rows []connector.SkippedRow
}

func (s *skippedRows) add(r connector.SkippedRow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, r)
}

func config(schema *batch.Schema, options ...string) connector.Config {
	c := connector.Config{
		Table: "t", Schema: schema, Options: map[string]string{"connector": "filesystem"}, Zone: time.UTC,
		Incarnation: 0xabc, CheckpointEpochs: 8, Lanes: 1, Skipped: func(connector.SkippedRow) {},
	}
	for i := 0; i < len(options); i += 2 {
		c.Options[options[i]] = options[i+1]
	}
	return c
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t *testing.T, c connector.Config) connector.Source {
	t.Helper()
	s, err := newSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func readAll(t *testing.T, c connector.Config) *batch.Batch {
	t.Helper()
	return connectortest.Source(t, func() (connector.Source, error) { return newSource(c) }, c.Schema)
}

func lines(b *batch.Batch) []string {
	out := []string{}
	for i := range b.Len() {
		out = append(out, b.Row(i).Text(0))
	}
	return out
}

func wantLines(text string) []string {
	if text == "" {
		return []string{}
	}
	out := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := range out {
		out[i] = strings.TrimSuffix(out[i], "\r")
	}
	return out
}

func TestEverySplitSizeGivesEveryLineOnce(t *testing.T) {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(3, 4))
	texts := []string{"", "\n", "a", "a\n", "\n\n", "a\nb", "a\r\nb\r\n", "\r\n\r", "long line without end", "x\n\n\ny\n"}
	for range 12 {
		var b strings.Builder
		for range random.IntN(60) {
			b.WriteByte("ab\n\r\n"[random.IntN(5)])
		}
		texts = append(texts, b.String())
	}
	for n, text := range texts {
		path := write(t, filepath.Join(dir, fmt.Sprintf("f%d", n)), text)
		for size := 1; size <= len(text)+1; size++ {
			c := config(lineSchema, "path", path, "format", "raw", "source.split.bytes", fmt.Sprint(size))
			if got, want := lines(readAll(t, c)), wantLines(text); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
				t.Fatalf("%q in splits of %d bytes: %q, want %q", text, size, got, want)
			}
		}
	}
}

func TestLinesLongerThanTheBufferAreRead(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("x", 3*bufferBytes+17)
	text := "a\n" + long + "\nb\n" + long
	c := config(lineSchema, "path", write(t, filepath.Join(dir, "f"), text), "format", "raw", "source.split.bytes", "100000")
	if got := lines(readAll(t, c)); len(got) != 4 || got[1] != long || got[3] != long || got[2] != "b" {
		t.Fatalf("%d lines", len(got))
	}
}

func TestTooLongLineFailsOrIsSkipped(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "f"), "a\n"+strings.Repeat("x", recordBytesMax+1)+"\nb\n"+strings.Repeat("y", recordBytesMax)+"\n")
	c := config(lineSchema, "path", path, "format", "raw")
	src := open(t, c)
	r, _ := src.Open(context.Background(), connectortest.Discover(t, src)[0], 0)
	defer r.Close()
	_, err := r.Read(batch.New(lineSchema), connectortest.Unlimited())
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line 2 (byte 2)") {
		t.Fatalf("error: %v", err)
	}
	var skipped skippedRows
	c = config(lineSchema, "path", path, "format", "raw", "on-error", "skip")
	c.Skipped = skipped.add
	src = open(t, c)
	var got []string
	for _, limit := range []connector.Limit{connectortest.Unlimited(), {Rows: 1, Bytes: 1, ElapsedMs: -1}} {
		for _, s := range connectortest.Discover(t, src) {
			got = append(got, lines(connectortest.ReadSplit(t, src, s, 0, lineSchema, limit))...)
		}
	}
	if len(got) != 6 || got[1] != "b" || len(got[2]) != recordBytesMax || len(skipped.rows) != 2 {
		t.Fatalf("%d lines, %d skipped", len(got), len(skipped.rows))
	}
}

func TestFilesAreFoundByDirectoryPatternAndRegex(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a.go", "b.txt", "sub/c.go", "sub/deep/d.go", "sub/_x/e.go", ".hidden/f.go", "sub/.g.go", "_h.go"} {
		write(t, filepath.Join(dir, name), name+"\n")
	}
	write(t, filepath.Join(dir, manifestName), "{}\n")
	write(t, filepath.Join(dir, ".unfinished.go"+temporarySuffix), "half\n")
	if err := os.Symlink(filepath.Join(dir, "a.go"), filepath.Join(dir, "link.go")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "sub", "loop")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "dir.go"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, regex, want string
	}{
		{"", "", "a.go a.go b.txt sub/c.go sub/deep/d.go"},
		{"/", "", "a.go a.go b.txt sub/c.go sub/deep/d.go"},
		{"/**/*.go", "", ".hidden/f.go _h.go a.go a.go sub/.g.go sub/_x/e.go sub/c.go sub/deep/d.go"},
		{"/**/**/*.go", "", ".hidden/f.go _h.go a.go a.go sub/.g.go sub/_x/e.go sub/c.go sub/deep/d.go"},
		{"/**", "", ".hidden/f.go _h.go a.go a.go b.txt sub/.g.go sub/_x/e.go sub/c.go sub/deep/d.go"},
		{"/*.go", "", "_h.go a.go a.go"},
		{"/sub/*/*.go", "", "sub/_x/e.go sub/deep/d.go"},
		{"/sub/?.go", "", "sub/c.go"},
		{"/[ab].*", "", "a.go b.txt"},
		{"/.hidden/*", "", ".hidden/f.go"},
		{"/sub/.*.go", "", "sub/.g.go"},
		{"/a.go", "", "a.go"},
		{"", ".*/sub/.*", "sub/c.go sub/deep/d.go"},
	} {
		options := []string{"path", dir + c.path, "format", "raw"}
		if c.regex != "" {
			options = append(options, "source.path.regex-pattern", c.regex)
		}
		found := lines(readAll(t, config(lineSchema, options...)))
		sort.Strings(found)
		if got := strings.Join(found, " "); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.path, c.regex, got, c.want)
		}
	}
}

func TestMissingFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir + "/nothing", dir + "/*.none"} {
		_, err := open(t, config(lineSchema, "path", path, "format", "raw")).Discover(context.Background())
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestBoundedSourceKeepsToTheBytesItFoundFirst(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "f"), "one\ntwo\nthree")
	src := open(t, config(lineSchema, "path", path, "format", "raw", "source.split.bytes", "5"))
	splits := connectortest.Discover(t, src)
	write(t, path, "one\ntwo\nthree and more\nfour\n")
	write(t, filepath.Join(dir, "g"), "new\n")
	var got []string
	for _, s := range splits {
		got = append(got, lines(connectortest.ReadSplit(t, src, s, 0, lineSchema, connectortest.Unlimited()))...)
	}
	if fmt.Sprint(got) != "[one two three]" {
		t.Fatalf("%q", got)
	}
	write(t, path, "one\n")
	r, err := src.Open(context.Background(), splits[len(splits)-1], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(batch.New(lineSchema), connectortest.Unlimited()); err == nil || !strings.Contains(err.Error(), "shorter") || !strings.Contains(err.Error(), path) {
		t.Fatalf("error: %v", err)
	}
}

func TestFollowingGivesWholeAppendedLinesOnly(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "a"), "one\ntw")
	src := open(t, config(lineSchema, "path", dir, "format", "raw", "source.monitor-interval", "1 s"))
	if src.Bounded() || src.MonitorInterval() != time.Second {
		t.Fatal("the source does not follow")
	}
	splits := connectortest.Discover(t, src)
	r, err := src.Open(context.Background(), splits[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out := batch.New(lineSchema)
	read := func(want connector.Status, lineCount int) {
		t.Helper()
		got, err := r.Read(out, connectortest.Unlimited())
		if err != nil || got != want || out.Len() != lineCount {
			t.Fatalf("status %d, %d lines, %v; want %d, %d", got, out.Len(), err, want, lineCount)
		}
	}
	read(connector.Idle, 1)
	read(connector.Idle, 1)
	write(t, path, "one\ntwo\r\nthree")
	read(connector.Idle, 2)
	offset := r.Offset()
	write(t, path, "one\ntwo\r\nthree\nfour\n")
	read(connector.Idle, 4)
	if fmt.Sprintf("%q", lines(out)) != `["one" "two" "three" "four"]` {
		t.Fatalf("%q", lines(out))
	}
	if again := connectortest.ReadSplit(t, src, splits[0], offset, lineSchema, connectortest.Unlimited()); fmt.Sprint(lines(again)) != "[three four]" {
		t.Fatalf("from offset %d: %q", offset, lines(again))
	}
	write(t, filepath.Join(dir, "b"), "new\n")
	if splits = connectortest.Discover(t, src); len(splits) != 2 {
		t.Fatalf("%v", splits)
	}
	write(t, path, "short")
	read(connector.End, 4)
	read(connector.End, 4)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if gone := connectortest.ReadSplit(t, src, splits[0], 0, lineSchema, connectortest.Unlimited()); gone.Len() != 0 {
		t.Fatal("rows of a file that is gone")
	}
}

func TestManyOpenReadersHoldNoFiles(t *testing.T) {
	dir := t.TempDir()
	for i := range 50 {
		write(t, filepath.Join(dir, fmt.Sprintf("f%02d", i)), strings.Repeat("line\n", 20))
	}
	src := open(t, config(lineSchema, "path", dir, "format", "raw"))
	before, counted := connectortest.OpenFiles()
	var readers []connector.Reader
	for _, s := range connectortest.Discover(t, src) {
		r, err := src.Open(context.Background(), s, 0)
		if err != nil {
			t.Fatal(err)
		}
		if status, err := r.Read(batch.New(lineSchema), connector.Limit{Rows: 1, Bytes: 100, ElapsedMs: -1}); status != connector.More || err != nil {
			t.Fatalf("status %d, %v", status, err)
		}
		readers = append(readers, r)
	}
	if after, _ := connectortest.OpenFiles(); counted && after > before {
		t.Errorf("%d files are open", after-before)
	}
	for _, r := range readers {
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatIsNoFileIsRefusedOrLeftOut(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(dir+"/fifo", 0o644); err != nil {
		t.Skip(err)
	}
	write(t, dir+"/file", "x\n")
	if got := lines(readAll(t, config(lineSchema, "path", dir+"/*", "format", "raw"))); fmt.Sprint(got) != "[x]" {
		t.Error(got)
	}
	for _, path := range []string{dir + "/fifo", os.DevNull} {
		if _, err := open(t, config(lineSchema, "path", path, "format", "raw")).Discover(context.Background()); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	src := open(t, config(lineSchema, "path", dir+"/file", "format", "raw"))
	splits := connectortest.Discover(t, src)
	if err := os.Rename(dir+"/fifo", dir+"/file"); err != nil {
		t.Fatal(err)
	}
	r, err := src.Open(context.Background(), splits[0], 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(batch.New(lineSchema), connectortest.Unlimited()); err == nil || !strings.Contains(err.Error(), dir+"/file") {
		t.Error(err)
	}
}

func BenchmarkRawLines(b *testing.B) {
	path := filepath.Join(b.TempDir(), "f")
	text := bytes.Repeat([]byte("a line of forty bytes, about as in code\n"), 1<<19)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		b.Fatal(err)
	}
	src, err := newSource(config(lineSchema, "path", path, "format", "raw"))
	if err != nil {
		b.Fatal(err)
	}
	splits, err := src.Discover(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	out := batch.New(lineSchema)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range splits {
			r, err := src.Open(context.Background(), s, 0)
			if err != nil {
				b.Fatal(err)
			}
			for status := connector.More; status == connector.More; {
				out.Reset()
				if status, err = r.Read(out, connector.Limit{Rows: 10000, Bytes: 1 << 20, ElapsedMs: -1}); err != nil {
					b.Fatal(err)
				}
			}
			r.Close()
		}
	}
}

func TestFormatsGiveTheSameRowsFromEveryOffset(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"csv":  "w,n\n\"two\nlines\",1\r\nplain,2\n\"a \"\"q\"\"\",3\n\"last\nline\",4",
		"json": "{\"w\":\"a\",\"n\":1}\n\n{\"n\":2}\r\n  \n{\"w\":\"b\\n\"}\n",
	}
	for _, c := range []struct {
		format string
		rows   int
		more   []string
	}{{"csv", 4, []string{"csv.header", "true"}}, {"json", 3, nil}} {
		path := write(t, filepath.Join(dir, c.format), files[c.format])
		for size := 1; size < 60; size += 5 {
			options := append([]string{"path", path, "format", c.format, "source.split.bytes", fmt.Sprint(size)}, c.more...)
			if rows := readAll(t, config(countSchema, options...)); rows.Len() != c.rows {
				t.Fatalf("%s in splits of %d: %d rows", c.format, size, rows.Len())
			}
		}
	}
}

func TestWrongRecordsFailByNameOrAreSkipped(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		format, text, place, column, want string
		options                           []string
		skipped                           int
	}{
		{"csv", "a,1\nb,x\nc,3\nd\ne,5", "line 2 (byte 4)", "column n", "[a c e]", nil, 2},
		{"csv", "a,1\n\"b\n,x\nc,3\n", "line 2 (byte 4)", "quote", "[a c]", nil, 2},
		{"csv", "h,1\n\"b\n\"q,1\nc,3\n", "line 2 (byte 4)", "quote", "[c]", []string{"csv.header", "true"}, 2},
		{"csv", "a,1\nb,x\n\"c,3\nd,4\n", "line 2 (byte 4)", "column n", "[a d]", []string{"csv.multiline", "false"}, 2},
		{"json", "{\"w\":\"a\"}\n{\"w\":\n{\"n\":\"x\"}\n{\"w\":\"c\"}", "line 2 (byte 10)", "ends", "[a c]", nil, 2},
	} {
		path := write(t, filepath.Join(dir, "f"), c.text)
		options := append([]string{"path", path, "format", c.format}, c.options...)
		src := open(t, config(countSchema, options...))
		r, err := src.Open(context.Background(), connectortest.Discover(t, src)[0], 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Read(batch.New(countSchema), connectortest.Unlimited())
		for _, part := range []string{"table t", path, c.place, c.column} {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%q: %v; want %s", c.text, err, part)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		for _, lenient := range [][]string{{"on-error", "skip"}, {c.format + ".ignore-parse-errors", "true", "on-error", "skip"}} {
			var skipped skippedRows
			cfg := config(countSchema, append(options, lenient...)...)
			cfg.Skipped = skipped.add
			if lenient[0] == "on-error" {
				rows := readAll(t, cfg)
				if got := fmt.Sprint(lines(rows)); got != c.want {
					t.Errorf("%q: %s, want %s", c.text, got, c.want)
				}
			}
			skipped.rows = nil
			src := open(t, cfg)
			for _, s := range connectortest.Discover(t, src) {
				connectortest.ReadSplit(t, src, s, 0, countSchema, connectortest.Unlimited())
			}
			if lenient[0] == "on-error" && len(skipped.rows) != c.skipped {
				t.Errorf("%q: %d skipped, want %d: %+v", c.text, len(skipped.rows), c.skipped, skipped.rows)
			}
			for _, row := range skipped.rows {
				if row.Err == nil || row.Split == "" || !strings.HasPrefix(c.text[row.Offset:], row.Text) {
					t.Errorf("%q: skipped %+v", c.text, row)
				}
			}
		}
	}
}

// FuzzSplits cuts any bytes into splits of any size: raw lines are those of the whole file.
func FuzzSplits(f *testing.F) {
	f.Add([]byte("a\r\nb\n\nc"), uint8(3))
	f.Add([]byte("\n\n\n"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, size uint8) {
		if len(text) > 1000 {
			return
		}
		path := write(t, filepath.Join(t.TempDir(), "f"), string(text))
		c := config(lineSchema, "path", path, "format", "raw", "source.split.bytes", fmt.Sprint(max(size, 1)))
		if got, want := lines(readAll(t, c)), wantLines(string(text)); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("%q in splits of %d: %q, want %q", text, size, got, want)
		}
	})
}

func TestRateReadsSplitsOneAfterTheOtherAndOpenedAgainTheSameWay(t *testing.T) {
	dir := t.TempDir()
	var whole strings.Builder
	for f := range 4 {
		var text strings.Builder
		for i := range 50 {
			fmt.Fprintf(&text, "%d %s\n", f, strings.Repeat("x", i*7%23))
		}
		write(t, fmt.Sprintf("%s/f%d", dir, f), text.String())
		whole.WriteString(text.String())
	}
	write(t, dir+"/f9", "")
	options := []string{"path", dir, "format", "raw", "source.split.bytes", "100"}
	want := readAll(t, config(lineSchema, options...))
	c := config(lineSchema, append(options, "source.bytes-per-second", "1000")...)
	if got := readAll(t, c); connectortest.Digest(got, 0) != connectortest.Digest(want, 0) {
		t.Fatal("without a time the rate changes rows")
	}
	splits := connectortest.Discover(t, open(t, c))
	offsets := make([]int64, len(splits))
	ended := make([]bool, len(splits))
	got := batch.New(lineSchema)
	bytesRead := 0
	for ms := int64(0); ms <= int64(whole.Len())+100; ms += 10 {
		src := open(t, c) // as if the process were another one for each epoch
		for i, split := range splits {
			r, err := src.Open(context.Background(), split, offsets[i])
			if err != nil {
				t.Fatal(err)
			}
			for status := connector.More; status == connector.More; {
				before := got.Len()
				if status, err = r.Read(got, connector.Limit{Rows: 3, Bytes: 1 << 20, ElapsedMs: ms}); err != nil {
					t.Fatal(err)
				}
				for k := before; k < got.Len(); k++ {
					bytesRead += len(got.Cols[0].Bytes(k)) + 1
				}
				ended[i] = status == connector.End
			}
			offsets[i] = r.Offset()
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if int64(bytesRead) < min(ms, int64(whole.Len()))-50 || int64(bytesRead) > ms+50 {
			t.Fatalf("after %d ms %d bytes are read", ms, bytesRead)
		}
	}
	if slices.Contains(ended, false) || !slices.EqualFunc(connectortest.SortedRows(got), connectortest.SortedRows(want), bytes.Equal) {
		t.Fatalf("%d rows, want %d, or others; ended: %v", got.Len(), want.Len(), ended)
	}
}

func TestWrongRatesAreRefused(t *testing.T) {
	for _, options := range [][]string{{"source.bytes-per-second", "0"}, {"source.bytes-per-second", "1kb", "source.monitor-interval", "1s"}} {
		if err := definition.Check(config(lineSchema, append(options, "path", "p", "format", "raw")...)); err == nil || !strings.Contains(err.Error(), "source.bytes-per-second") {
			t.Errorf("%v: %v", options, err)
		}
	}
}
