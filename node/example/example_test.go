package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/seepnode"
)

// want are the alerts of alerts.sql over readings.csv, worked out by hand: the boiler is silent after 12:00:20, the pump after
// 12:00:32, and both at the end.
var want = []string{
	"+I[boiler, 72.0, 2026-03-01 12:00:20.000, 2026-03-01 12:00:50.000]",
	"+I[boiler, 91.0, 2026-03-01 12:01:20.000, 2026-03-01 12:01:50.000]",
	"+I[pump, 3.0, 2026-03-01 12:01:30.000, 2026-03-01 12:02:00.000]",
	"+I[pump, 3.5, 2026-03-01 12:00:32.000, 2026-03-01 12:01:02.000]",
}

// TestCopyOfTheExampleOutsideTheTreeBuildsAndRuns does what a user does: copies the files, writes a go.mod, builds, runs.
func TestCopyOfTheExampleOutsideTheTreeBuildsAndRuns(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"doc.go", "main.go", "idle.go", "alerts.sql", "readings.csv"} {
		copyFile(t, name, filepath.Join(dir, name))
	}
	copyFile(t, filepath.Join(root, "go.sum"), filepath.Join(dir, "go.sum"))
	ours, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	// Versions and tag are those of the tree, so that the build finds all modules where the tree's own build found them.
	mod := strings.Replace(string(ours), "module github.com/seepnode/seepnode", "module example.org/alerts", 1) +
		"\nrequire github.com/seepnode/seepnode v0.0.0\n\nreplace github.com/seepnode/seepnode => " + root + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "alerts")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "GOFLAGS=-mod=mod -trimpath -buildvcs=false -tags=hashicorpmetrics", "GOPROXY=off", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	for _, flags := range [][]string{nil, {"--nodes", "3"}, {"--set", "seal=rows:1"}, {"--set", "seal=rows:2", "--paranoid"}, {"--workers", "1"}} {
		if got := runAlerts(t, binary, dir, flags); !slices.Equal(got, want) {
			t.Errorf("run %v gives\n%s\nwant\n%s", flags, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestMistakesInACallAreShownWhereTheyStand runs wrong calls with this package's own binary.
func TestMistakesInACallAreShownWhereTheyStand(t *testing.T) {
	sql, err := os.ReadFile("alerts.sql")
	if err != nil {
		t.Fatal(err)
	}
	for call, want := range map[string]string{
		"idle_alert(TABLE readings, 30000)":                               "PARTITION BY",
		"idle_alert(TABLE readings PARTITION BY (device))":                "limit in milliseconds",
		"idle_alert(TABLE readings PARTITION BY (device), 0)":             "above 0",
		"idle_alert(TABLE readings PARTITION BY (device), 'soon')":        "above 0",
		"idle_alert(TABLE readings PARTITION BY (device), NULL)":          "limit in milliseconds",
		"idle_alrt(TABLE readings PARTITION BY (device), 30000)":          "idle_alert",
		"idle_alert((SELECT device FROM readings) AS r, 30000)":           "15:",
		"idle_alert(TABLE readings PARTITION BY (device), 30000, 'more')": "one argument",
	} {
		text := strings.Replace(string(sql), "idle_alert(TABLE readings PARTITION BY (device), 30000)", call, 1)
		var out, errs bytes.Buffer
		code := runHere(strings.NewReader(text), &out, &errs)
		if code != 1 || out.Len() > 0 || !strings.Contains(errs.String(), want) || !strings.HasPrefix(errs.String(), "stdin:15:") {
			t.Errorf("%s: exit code %d, prints %q, says\n%swant %q", call, code, out.String(), errs.String(), want)
		}
	}
}

func runAlerts(t *testing.T, binary, dir string, flags []string) []string {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"run", "alerts.sql"}, flags...)...)
	cmd.Dir = dir
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("run %v: %v\n%s", flags, err, errs.String())
	}
	if errs.Len() > 0 {
		t.Errorf("run %v says\n%s", flags, errs.String())
	}
	// Which of several key groups prints first is not fixed.
	lines := strings.Split(strings.TrimRight(string(out), "\n"), "\n")
	slices.Sort(lines)
	return lines
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// runHere plans the query read from in, in this process.
func runHere(in io.Reader, out, errs io.Writer) int {
	return seepnode.Run([]string{"query", "plan", "-"}, seepnode.Streams{In: in, Out: out, Err: errs}, seepnode.WithOperator(idleAlert()))
}
