package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/host"
)

// report is the directory of results: CSV files, what charts are to be drawn of them, and a summary.
type report struct {
	dir    string
	md     strings.Builder
	charts []chart
	missed int
}

// chart, panel and series are what scripts/plots reads.
type chart struct {
	Name   string  `json:"name"`
	Title  string  `json:"title"`
	X      string  `json:"x"`
	LogX   bool    `json:"log_x,omitempty"`
	Panels []panel `json:"panels"`
}

type panel struct {
	Y      string   `json:"y"`
	LogY   bool     `json:"log_y,omitempty"`
	Series []series `json:"series"`
}

type series struct {
	Name  string            `json:"name"`
	File  string            `json:"file"`
	X     string            `json:"x"`
	Y     string            `json:"y"`
	Where map[string]string `json:"where,omitempty"`
	Style string            `json:"style,omitempty"`
	Dash  bool              `json:"dash,omitempty"`
}

func newReport(dir string) (*report, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return &report{dir: dir}, nil
}

func (r *report) String() string { return r.md.String() }

// begin says where and when.
func (r *report) begin(ctx context.Context, o options, chosen []experiment) {
	r.text("# Elasticity on one machine\n")
	r.text("%s, %s. `bench-elastic%s`, commit %s, load %s before.\n", host.Machine(), time.Now().UTC().Format("2006-01-02 15:04 UTC"), arguments(o), host.Commit(ctx), host.Load())
	r.text("Three voters of role control, not limited, run no partitions; the workers are processes in control groups with a quota every 10 ms. Readers and")
	r.text("agents share the machine. Latency is from the instant at which a row is due until a reader at a voter sees it in the result table.\n")
	if o.quick {
		r.text("A quick run: figures to look at rather than to quote.\n")
	}
}

func arguments(o options) string {
	text := ""
	if o.only != "" {
		text += " -only " + o.only
	}
	if o.quick {
		text += " -quick"
	}
	return text
}

// section begins an experiment.
func (r *report) section(e experiment) { r.text("\n## (%s) %s\n", e.key, e.title) }

func (r *report) text(format string, args ...any) { fmt.Fprintf(&r.md, format+"\n", args...) }

// aim says whether an aim is met.
func (r *report) aim(what string, met bool, figures string, args ...any) {
	verdict := "met"
	if !met {
		verdict = "**missed**"
		r.missed++
	}
	r.text("- %s: %s (%s)", what, verdict, fmt.Sprintf(figures, args...))
}

// markdown is a table of the summary.
func (r *report) markdown(head []string, rows [][]string) {
	r.text("| %s |", strings.Join(head, " | "))
	r.text("|%s", strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		r.text("| %s |", strings.Join(row, " | "))
	}
	r.text("")
}

func (r *report) chart(c chart) { r.charts = append(r.charts, c) }

// write writes the summary and the description of the charts.
func (r *report) write() error {
	charts, err := json.MarshalIndent(r.charts, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(filepath.Join(r.dir, "charts.json"), append(charts, '\n'), 0o644),
		os.WriteFile(filepath.Join(r.dir, "summary.md"), []byte(r.md.String()), 0o644))
}

// draw has the charts drawn.
func (r *report) draw(ctx context.Context, plots string) error {
	if len(r.charts) == 0 {
		return nil
	}
	text, err := exec.CommandContext(ctx, plots, r.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("drawing the charts (%s %s): %w: %s", plots, r.dir, err, text)
	}
	return nil
}

// data is a CSV file that grows while an experiment runs, so that what was measured is there when it is interrupted.
type data struct {
	name string
	file *os.File
	out  *csv.Writer
}

func (r *report) data(name string, head ...string) (*data, error) {
	f, err := os.Create(filepath.Join(r.dir, name))
	if err != nil {
		return nil, err
	}
	d := &data{name: name, file: f, out: csv.NewWriter(f)}
	return d, d.out.Write(head)
}

// row adds a row; a float gets three digits behind the point, a duration is in milliseconds.
func (d *data) row(values ...any) error {
	row := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case float64:
			row[i] = strconv.FormatFloat(v, 'f', 3, 64)
		case time.Duration:
			row[i] = strconv.FormatFloat(ms(v), 'f', 3, 64)
		default:
			row[i] = fmt.Sprint(v)
		}
	}
	if err := d.out.Write(row); err != nil {
		return err
	}
	d.out.Flush()
	return d.out.Error()
}

func (d *data) close() error {
	d.out.Flush()
	return errors.Join(d.out.Error(), d.file.Close())
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
