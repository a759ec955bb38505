package plan

import (
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/operator"
)

// fakeCatalog has connectors that are declared and never made.
type fakeCatalog struct {
	connectors map[string]*connector.Definition
	operators  map[string]*operator.Definition
}

func (f *fakeCatalog) Connector(name string) (*connector.Definition, bool) {
	d, ok := f.connectors[name]
	return d, ok
}

func (f *fakeCatalog) Connectors() []string { return sorted(f.connectors) }

func (f *fakeCatalog) Operator(name string) (*operator.Definition, bool) {
	d, ok := f.operators[strings.ToLower(name)]
	return d, ok
}

func (f *fakeCatalog) Operators() []string { return sorted(f.operators) }

func sorted[T any](m map[string]T) []string {
	names := make([]string, 0, len(m))
	for n := range m {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

func newSource(connector.Config) (connector.Source, error) { return nil, errors.New("only declared") }
func newSink(connector.Config) (connector.Sink, error)     { return nil, errors.New("only declared") }

func testCatalog() *fakeCatalog {
	f := &fakeCatalog{connectors: map[string]*connector.Definition{}, operators: map[string]*operator.Definition{}}
	for _, d := range []*connector.Definition{
		{
			Name: "gen", NewSource: newSource,
			Options: []connector.Option{
				{Name: "rows", Kind: connector.Int, Doc: "how many rows there are"},
				{Name: "rate", Kind: connector.Int},
				{Name: "ordered", Kind: connector.Bool},
				{Name: "fields.#.kind", Kind: connector.Enum, Values: []string{"random", "sequence"}},
			},
			Bounded: func(c connector.Config) bool { return c.Options["rows"] != "" },
			Check: func(c connector.Config) error {
				if c.Options["rows"] == "13" {
					return fmt.Errorf("13 rows bring bad luck")
				}
				return nil
			},
		},
		{
			Name: "files", NewSource: newSource, NewSink: newSink, Format: true,
			Options: []connector.Option{
				{Name: "path", Kind: connector.String, Required: true, Doc: "the file or folder"},
				{Name: "format", Kind: connector.Enum, Values: []string{"csv", "json", "raw"}, Required: true, Doc: "how rows are written"},
				{Name: "roll", Kind: connector.Duration},
				{Name: "buffer", Kind: connector.Memory},
			},
			Bounded: func(connector.Config) bool { return true },
		},
		{Name: "print", NewSink: newSink, Fused: true, Updates: true},
		{Name: "blackhole", NewSink: newSink, Fused: true, Updates: true},
		{Name: "store", NewSink: newSink, Updates: true},
		{Name: "mat", NewSink: newSink, Updates: true, Fused: true},
	} {
		f.connectors[d.Name] = d
	}
	f.operators["sessions"] = &operator.Definition{Name: "sessions", Bind: bindSessions}
	f.operators["net"] = &operator.Definition{Name: "net", Bind: func(operator.Call) (operator.Binding, error) {
		return operator.Binding{Output: batch.NewSchema(batch.Field{Name: "n", Type: batch.TypeBigInt}), AcceptsUpdates: true}, nil
	}}
	return f
}

func bindSessions(c operator.Call) (operator.Binding, error) {
	if c.Input.Index("ts") < 0 {
		return operator.Binding{}, fmt.Errorf("the table needs a column ts; it has %s", c.Input)
	}
	if len(c.Args) == 0 || c.Args[0].Type.ID != batch.Interval {
		return operator.Binding{}, errors.New("the gap must be an INTERVAL")
	}
	return operator.Binding{Output: batch.NewSchema(
		batch.Field{Name: "started", Type: batch.TypeTimestamp}, batch.Field{Name: "events", Type: batch.TypeBigInt})}, nil
}
