package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: plots DIR, a directory with charts.json and the CSV files that it names")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "plots:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	file := filepath.Join(dir, "charts.json")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var charts []chart
	if err := json.Unmarshal(text, &charts); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	tables := map[string]*table{}
	for _, c := range charts {
		if c.Name == "" || filepath.Base(c.Name) != c.Name {
			return fmt.Errorf("%s: %q is no name of a chart", file, c.Name)
		}
		if err := c.draw(dir, tables); err != nil {
			return fmt.Errorf("chart %s: %w", c.Name, err)
		}
	}
	return nil
}
