package agent

import (
	"fmt"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/table"
)

// catalog is what queries may name: the planner's view of a binary.
type catalog struct {
	connectors *connector.Registry
	operators  *operator.Registry
}

func (c catalog) Connector(name string) (*connector.Definition, bool) {
	return c.connectors.Lookup(name)
}
func (c catalog) Connectors() []string                              { return c.connectors.Names() }
func (c catalog) Operator(name string) (*operator.Definition, bool) { return c.operators.Lookup(name) }
func (c catalog) Operators() []string                               { return c.operators.Names() }

// newCatalog adds the node's own tables to what the binary knows: the connector of tables keeps what a node holds.
func newCatalog(c *Config, tables *table.Store) (catalog, error) {
	out := catalog{connectors: &connector.Registry{}, operators: c.Operators}
	if out.operators == nil {
		out.operators = &operator.Registry{}
	}
	own := tables.Definition()
	definitions := []*connector.Definition{own}
	if c.Connectors != nil {
		for _, name := range c.Connectors.Names() {
			if d, ok := c.Connectors.Lookup(name); ok && name != own.Name {
				definitions = append(definitions, bounded(c, d))
			}
		}
	}
	for _, d := range definitions {
		if err := out.connectors.Register(d); err != nil {
			return out, err
		}
	}
	return out, nil
}

// bounded keeps files to the directories that are allowed. Where others reach the API and none are said, there are no files at all.
func bounded(c *Config, d *connector.Definition) *connector.Definition {
	switch {
	case d.Name != filesystem.Definition().Name:
		return d
	case len(c.AllowPaths) > 0:
		return filesystem.DefinitionWithin(c.AllowPaths)
	case c.HTTPIsLoopback():
		return d
	}
	refused := *d
	refused.Check = func(k connector.Config) error {
		return fmt.Errorf("table %q: files are not allowed, because other hosts reach this cluster's HTTP (%s): give the agents --allow-path DIR", k.Table, c.HTTP)
	}
	return &refused
}
