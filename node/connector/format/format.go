package format

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format/csv"
	"github.com/seepnode/seepnode/node/connector/format/json"
	"github.com/seepnode/seepnode/node/connector/format/raw"
)

// Decoder turns records into rows. It is used by one goroutine.
type Decoder interface {
	// Decode appends the row that record, without its line end, holds; or none when it holds none, such as a comment. It
	// keeps nothing of record. On error out is as before and the error names column and text.
	Decode(record []byte, out *batch.Batch) error
}

// Encoder turns rows into records. It is used by one goroutine.
type Encoder interface {
	// Append appends row i of b as a record without its line end. On error what was appended is to be thrown away.
	Append(dst []byte, b *batch.Batch, i int) ([]byte, error)
}

// Reading is how a table's files are read.
type Reading struct {
	Decoder Decoder
	// Plain: a row is its record unchanged, in the only column, so that the caller may append it itself.
	Plain bool
	// Lenient: the format's options say that wrong records are skipped.
	Lenient bool
	// Header: the first record of a file is none.
	Header bool
	// Multiline: a record may hold line ends, so a file can be read only from its start.
	Multiline bool
	// RecordEnd finds the newline that ends the record that a buffer begins with; -1 when it is not in it.
	RecordEnd func(buf []byte) int
}

// Writing is how a table's files are written.
type Writing struct {
	Encoder Encoder
	// Header is what begins each file, line end included; nil nothing.
	Header []byte
	// Extension of file names, with its dot.
	Extension string
}

type codec struct {
	name    string
	options func() []connector.Option
	reading func(connector.Config) (*Reading, error)
	writing func(connector.Config) (*Writing, error)
}

var codecs = []codec{
	{"csv", csv.Options, readCSV, writeCSV},
	{"json", json.Options, readJSON, writeJSON},
	{"raw", raw.Options, readRaw, writeRaw},
}

// Names lists the formats, sorted.
func Names() []string {
	names := make([]string, len(codecs))
	for i, c := range codecs {
		names[i] = c.name
	}
	return names
}

// Options declares what the named format takes in a WITH clause, every name beginning with the format's and a dot; nil for an unknown one.
func Options(name string) []connector.Option {
	for _, c := range codecs {
		if c.name == name {
			return c.options()
		}
	}
	return nil
}

// Read makes what the named format needs to read a table; a Reading is used by one goroutine.
func Read(name string, c connector.Config) (*Reading, error) {
	codec, err := lookup(name, c)
	if err != nil {
		return nil, err
	}
	return codec.reading(c)
}

// Write makes what the named format needs to write a table; a Writing is used by one goroutine.
func Write(name string, c connector.Config) (*Writing, error) {
	codec, err := lookup(name, c)
	if err != nil {
		return nil, err
	}
	return codec.writing(c)
}

func lookup(name string, c connector.Config) (*codec, error) {
	for i := range codecs {
		if codecs[i].name == name {
			return &codecs[i], nil
		}
	}
	return nil, fmt.Errorf("table %s: format %q is not supported; there are %s", c.Table, name, strings.Join(Names(), ", "))
}

func newline(buf []byte) int { return bytes.IndexByte(buf, '\n') }

func readRaw(c connector.Config) (*Reading, error) {
	d, err := raw.New(c)
	if err != nil {
		return nil, err
	}
	return &Reading{Decoder: d, Plain: d.Plain(), RecordEnd: newline}, nil
}

func writeRaw(c connector.Config) (*Writing, error) {
	e, err := raw.New(c)
	if err != nil {
		return nil, err
	}
	return &Writing{Encoder: e, Extension: ".txt"}, nil
}

func readCSV(c connector.Config) (*Reading, error) {
	d, err := csv.NewDecoder(c)
	if err != nil {
		return nil, err
	}
	return &Reading{Decoder: d, Lenient: d.Lenient(), Header: d.Header(), Multiline: d.Multiline(), RecordEnd: d.RecordEnd}, nil
}

func writeCSV(c connector.Config) (*Writing, error) {
	e, err := csv.NewEncoder(c)
	if err != nil {
		return nil, err
	}
	w := &Writing{Encoder: e, Extension: ".csv"}
	header, ok, err := e.Header(nil, c.Schema)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", c.Table, err)
	}
	if ok {
		w.Header = append(header, '\n')
	}
	return w, nil
}

func readJSON(c connector.Config) (*Reading, error) {
	d, err := json.NewDecoder(c)
	if err != nil {
		return nil, err
	}
	return &Reading{Decoder: d, Lenient: d.Lenient(), RecordEnd: newline}, nil
}

func writeJSON(c connector.Config) (*Writing, error) {
	e, err := json.NewEncoder(c)
	if err != nil {
		return nil, err
	}
	return &Writing{Encoder: e, Extension: ".json"}, nil
}
