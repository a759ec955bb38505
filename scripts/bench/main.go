package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"time"
)

func main() {
	child := flag.String("measure", "", "run one measurement in this process and print it as JSON (used by bench itself)")
	profile := flag.String("profile", "", "with -measure: write a CPU profile to this file")
	only := flag.String("only", "", "count, saved, words or held; all without")
	rounds := flag.Int("rounds", 5, "rounds, interleaved")
	rows := flag.Int("rows", 40_000_000, "rows of a keyed count")
	keys := flag.Int("keys", 0, "with -only saved: only the count of so many keys (1000, 100000, 1000000)")
	write := flag.Bool("write", false, "keep the result in scripts/bench/RESULTS.md")
	flag.Parse()
	if *child != "" {
		m, err := measure(strings.Fields(*child), *profile)
		if err != nil {
			fail(err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(m); err != nil {
			fail(err)
		}
		return
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%s\n\n", machine())
	if *only == "" || *only == "count" {
		benchCount(&out, *rounds, *rows)
	}
	if *only == "" || *only == "saved" {
		benchSaved(&out, *rounds, *keys)
	}
	if *only == "" || *only == "words" {
		benchWords(&out, *rounds)
	}
	if *only == "" || *only == "held" {
		benchHeld(&out)
	}
	fmt.Print(out.String())
	if *write {
		text := "# Benchmark results\n\nWritten by `go run ./scripts/bench -write`; see doc.go for what is measured.\n\n" + out.String()
		if err := os.WriteFile("scripts/bench/RESULTS.md", []byte(text), 0o644); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// child runs one measurement in a process of its own.
func child(args ...string) measurement {
	cmd := exec.Command(os.Args[0], "-measure", strings.Join(args, " "))
	cmd.Stderr = os.Stderr
	b, err := cmd.Output()
	if err != nil {
		fail(fmt.Errorf("measurement %q: %w", args, err))
	}
	var m measurement
	if err := json.Unmarshal(b, &m); err != nil {
		fail(err)
	}
	fmt.Fprintf(os.Stderr, "%-28s %8.2f M rows/s  %6.2f s  %7.0f MB\n", strings.Join(args, " "), float64(m.Rows)/m.Seconds/1e6, m.Seconds, m.PeakMB)
	return m
}

func median(ms []measurement, f func(measurement) float64) float64 {
	v := make([]float64, len(ms))
	for i, m := range ms {
		v[i] = f(m)
	}
	sort.Float64s(v)
	return v[len(v)/2]
}

func rate(m measurement) float64 { return float64(m.Rows) / m.Seconds }

func benchCount(out *strings.Builder, rounds, rows int) {
	sizes := []int{1_000, 100_000, 1_000_000}
	type key struct {
		what string
		keys int
	}
	got := map[key][]measurement{}
	for range rounds {
		for _, keys := range sizes {
			k, r := fmt.Sprint(keys), fmt.Sprint(rows)
			got[key{"roof", keys}] = append(got[key{"roof", keys}], child("roof", k, r))
			got[key{"one node", keys}] = append(got[key{"one node", keys}], child("count", k, r, "1"))
			got[key{"one node, checkpoints", keys}] = append(got[key{"one node, checkpoints", keys}], child("count", k, r, "1", "saved"))
			got[key{"four nodes", keys}] = append(got[key{"four nodes", keys}], child("count", k, r, "4"))
		}
	}
	fmt.Fprintf(out, "## Keyed running count, 3 BIGINT columns, %d M rows, medians of %d interleaved rounds\n\n", rows/1_000_000, rounds)
	fmt.Fprintf(out, "`SELECT k, COUNT(*), SUM(a), SUM(b) FROM src GROUP BY k` into `blackhole`; four nodes share the machine and speak loopback TCP.\n\n")
	fmt.Fprintln(out, "| keys | what | M rows/s | of the roof | M rows/s per core | allocations per row | peak MB |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- |")
	for _, keys := range sizes {
		roof := median(got[key{"roof", keys}], rate)
		for _, what := range []string{"roof", "one node", "one node, checkpoints", "four nodes"} {
			ms := got[key{what, keys}]
			r := median(ms, rate)
			fmt.Fprintf(out, "| %d | %s | %.1f | %.2f | %.1f | %.5f | %.0f |\n", keys, what, r/1e6, r/roof, r/1e6/float64(runtime.NumCPU()),
				median(ms, func(m measurement) float64 { return m.AllocsPerRow }), median(ms, func(m measurement) float64 { return m.PeakMB }))
		}
	}
	fmt.Fprintln(out)
}

func benchWords(out *strings.Builder, rounds int) {
	dir := filepath.Join(goRoot(), "src")
	var ms []measurement
	for range rounds {
		ms = append(ms, child("words", dir))
	}
	fmt.Fprintf(out, "## Word count over the Go tree (batch, one node), median of %d\n\n", rounds)
	fmt.Fprintln(out, "| MB | MB/s | lines/s (M) | peak MB |")
	fmt.Fprintln(out, "| --- | --- | --- | --- |")
	fmt.Fprintf(out, "| %.1f | %.0f | %.2f | %.0f |\n\n", float64(ms[0].Bytes)/1e6, median(ms, func(m measurement) float64 { return float64(m.Bytes) / 1e6 / m.Seconds }),
		median(ms, rate)/1e6, median(ms, func(m measurement) float64 { return m.PeakMB }))
}

func benchHeld(out *strings.Builder) {
	fmt.Fprintf(out, "## Keys held in state, then 100,000 rows/s over them for 20 s, a garbage collection each second\n\n")
	fmt.Fprintln(out, "| keys | checkpoints | longest epoch ms | longest step ms | longest GC pause ms | peak MB | full checkpoint MB | incremental, mean MB |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, keys := range []int{1_000_000, 10_000_000} {
		for _, saved := range []string{"", "saved"} {
			m := child("held", fmt.Sprint(keys), saved)
			fmt.Fprintf(out, "| %d | %d | %.1f | %.1f | %.2f | %.0f | %.1f | %.1f |\n", keys, m.Saves, m.LongestMs, m.StepMs, m.GCPauseMs, m.PeakMB, m.FullMB, m.DeltaMB)
		}
	}
	fmt.Fprintf(out, "\nAn epoch is 10 ms; the longest epoch is from the instant it was to be sealed to its end in the last stage.\n\n")
}

func goRoot() string {
	b, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		fail(fmt.Errorf("go env GOROOT: %w", err))
	}
	return strings.TrimSpace(string(b))
}

func treeBytes(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || filepath.Ext(path) != ".go" {
			return err
		}
		i, err := d.Info()
		if err == nil {
			n += i.Size()
		}
		return err
	})
	return n, err
}

// machine describes where the figures come from.
func machine() string {
	cpu := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for _, l := range strings.Split(string(b), "\n") {
			if name, v, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(v)
				break
			}
		}
	}
	rev := "unknown commit"
	if b, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		rev = strings.TrimSpace(string(b))
	} else if i, ok := debug.ReadBuildInfo(); ok {
		rev = i.Main.Version
	}
	return fmt.Sprintf("%s, commit %s, %s %s/%s, %d cores, %s.", time.Now().UTC().Format("2006-01-02"), rev, runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), cpu)
}
