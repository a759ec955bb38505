package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/seepnode/seepnode/scripts/cluster"
)

// options are what the demo runs with.
type options struct {
	program, sources, scripts string
	linesPerSecond            int64
	logs                      bool
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/seepnode", "the seepnode `BINARY`")
	flag.StringVar(&o.sources, "sources", "", "count the *.go files below `DIR`; Go's own source tree without it")
	flag.StringVar(&o.scripts, "scripts", "scripts/demo", "`DIR` with words.sql and count.sh")
	flag.Int64Var(&o.linesPerSecond, "lines-per-second", 100_000, "how fast lines are read, `N` in a second")
	flag.BoolVar(&o.logs, "keep-logs", false, "keep the agents' logs when something fails")
	flag.Parse()
	os.Exit(cluster.Run("demo", func(ctx context.Context) error { return run(ctx, o) }))
}

func run(ctx context.Context, o options) (err error) {
	if flag.NArg() > 0 || o.linesPerSecond < 1 {
		return fmt.Errorf("wrong arguments %q; see -help", os.Args[1:])
	}
	if o.sources == "" {
		root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if err != nil {
			return fmt.Errorf("looking for Go's source tree (go env GOROOT): %w", err)
		}
		o.sources = filepath.Join(strings.TrimSpace(string(root)), "src")
	}
	if o.sources, err = filepath.Abs(o.sources); err != nil {
		return err
	}
	nodes, err := cluster.New(cluster.Config{Program: o.program, KeepLogs: o.logs})
	if err != nil {
		return err
	}
	defer func() { err = nodes.Stop(err) }()

	fmt.Println("Counting with find, tr, sort and uniq, to compare with later:")
	want, err := countWords(ctx, filepath.Join(o.scripts, "count.sh"), o.sources)
	if err != nil {
		return err
	}
	fmt.Printf("  %s files, %s lines, %.1f MB below %s: %s words, %s distinct\n\n", grouped(want.files), grouped(want.lines), float64(want.bytes)/1e6,
		o.sources, grouped(want.total()), grouped(int64(len(want.words))))

	fmt.Println("Starting 5 processes:")
	if err := nodes.Start(ctx, 5); err != nil {
		return err
	}
	m := newMachine(nodes, o.program)
	defer m.close()
	s := &show{machine: m, out: os.Stdout}
	bytesPerSecond := max(1, want.bytes*o.linesPerSecond/max(1, want.lines))
	return s.play(ctx, filepath.Join(o.scripts, "words.sql"), filepath.Join(o.sources, "**", "*.go"), bytesPerSecond, want)
}

// grouped is a number with commas between thousands.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
