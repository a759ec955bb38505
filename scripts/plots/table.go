package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot/plotter"
)

// table is a CSV file whose first line names its columns.
type table struct {
	name string
	head []string
	rows [][]string
}

func readTable(dir, name string) (*table, error) {
	if filepath.Base(name) != name {
		return nil, fmt.Errorf("%q is no file of the directory", name)
	}
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s is empty", name)
	}
	return &table{name: name, head: rows[0], rows: rows[1:]}, nil
}

func (t *table) column(name string) (int, error) {
	i := slices.Index(t.head, name)
	if i < 0 {
		return 0, fmt.Errorf("%s has no column %q, it has %q", t.name, name, t.head)
	}
	return i, nil
}

// points are the values of two columns in the rows that are chosen; an empty field is no point.
func (t *table) points(s series, logY bool) (plotter.XYs, error) {
	x, err := t.column(s.X)
	if err != nil {
		return nil, err
	}
	y, err := t.column(s.Y)
	if err != nil {
		return nil, err
	}
	chosen := map[int]string{}
	for name, value := range s.Where {
		i, err := t.column(name)
		if err != nil {
			return nil, err
		}
		chosen[i] = value
	}
	var out plotter.XYs
rows:
	for n, row := range t.rows {
		for i, value := range chosen {
			if row[i] != value {
				continue rows
			}
		}
		if row[x] == "" || row[y] == "" {
			continue
		}
		px, err1 := strconv.ParseFloat(row[x], 64)
		py, err2 := strconv.ParseFloat(row[y], 64)
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("%s, row %d: %q or %q is no number", t.name, n+1, row[x], row[y])
		}
		if logY && py <= 0 {
			continue
		}
		out = append(out, plotter.XY{X: px, Y: py})
	}
	return out, nil
}
