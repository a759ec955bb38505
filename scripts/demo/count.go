package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// wordCount is the independent count.
type wordCount struct {
	files, lines, bytes int64
	words               map[string]int64
}

func (w *wordCount) total() (n int64) {
	for _, k := range w.words {
		n += k
	}
	return n
}

// countWords runs count.sh, in a process group of its own, which ends with ctx.
func countWords(ctx context.Context, script, dir string) (*wordCount, error) {
	command := exec.CommandContext(ctx, script, dir)
	command.Stderr = os.Stderr
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	command.WaitDelay = 5 * time.Second
	text, err := command.Output()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("counting with %s: %w", script, err)
	}
	return parseCount(text)
}

// parseCount reads what count.sh prints.
func parseCount(text []byte) (*wordCount, error) {
	w := &wordCount{words: map[string]int64{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, 16<<20)
	if !lines.Scan() {
		return nil, errors.New("the independent count is empty")
	}
	if _, err := fmt.Sscanf(lines.Text(), "%d %d %d", &w.files, &w.lines, &w.bytes); err != nil {
		return nil, fmt.Errorf("the independent count begins with %q: %w", lines.Text(), err)
	}
	for lines.Scan() {
		word, number, ok := strings.Cut(lines.Text(), ",")
		n, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("the independent count has a line %q", lines.Text())
		}
		w.words[word] = n
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the independent count: %w", err)
	}
	if w.files == 0 {
		return nil, errors.New("there are no *.go files to count")
	}
	return w, nil
}

// shownDifferences is how many differences an error names.
const shownDifferences = 20

// compare fails when the counts differ, and says where.
func compare(want, got map[string]int64) error {
	var words []string
	for word, n := range want {
		if k, ok := got[word]; !ok || k != n {
			words = append(words, word)
		}
	}
	for word := range got {
		if _, ok := want[word]; !ok {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return nil
	}
	slices.Sort(words)
	var text strings.Builder
	for _, word := range words[:min(len(words), shownDifferences)] {
		fmt.Fprintf(&text, "\n  %-30s seepnode %d, Unix tools %d", word, got[word], want[word])
	}
	return fmt.Errorf("%d of %d counts differ:%s", len(words), len(want), text.String())
}
