package zone

import (
	"archive/zip"
	"bytes"
	_ "embed"
	"fmt"
	"io"
	"sync"
	"time"
)

//go:embed zoneinfo.zip
var data []byte

var files = sync.OnceValues(func() (map[string]*zip.File, error) {
	r, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("embedded time zones: %w", err)
	}
	m := make(map[string]*zip.File, len(r.File))
	for _, f := range r.File {
		m[f.Name] = f
	}
	return m, nil
})

// Load finds a zone by its IANA name, such as "Europe/Berlin". "UTC" and "" are time.UTC; the machine's "Local" is refused.
func Load(name string) (*time.Location, error) {
	if name == "" || name == "UTC" {
		return time.UTC, nil
	}
	m, err := files()
	if err != nil {
		return nil, err
	}
	f := m[name]
	if f == nil || f.FileInfo().IsDir() {
		return nil, fmt.Errorf("%q is not a time zone", name)
	}
	r, err := f.Open()
	if err != nil {
		return nil, fmt.Errorf("embedded time zone %q: %w", name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("embedded time zone %q: %w", name, err)
	}
	return time.LoadLocationFromTZData(name, b)
}
