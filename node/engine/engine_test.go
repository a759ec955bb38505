package engine_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/blackhole"
	"github.com/seepnode/seepnode/node/connector/datagen"
	"github.com/seepnode/seepnode/node/connector/filesystem"
	"github.com/seepnode/seepnode/node/connector/print"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/plan"
)

// catalog is what the tests' queries may use.
type catalog struct {
	connectors *connector.Registry
	operators  *operator.Registry
}

func newCatalog(t testing.TB, ops ...*operator.Definition) *catalog {
	t.Helper()
	c := &catalog{&connector.Registry{}, &operator.Registry{}}
	for _, d := range []*connector.Definition{blackhole.Definition(), datagen.Definition(), filesystem.Definition(), print.Definition()} {
		if err := c.connectors.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range ops {
		if err := c.operators.Register(d); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c *catalog) Connector(name string) (*connector.Definition, bool) { return c.connectors.Lookup(name) }
func (c *catalog) Connectors() []string                                { return c.connectors.Names() }
func (c *catalog) Operator(name string) (*operator.Definition, bool)   { return c.operators.Lookup(name) }
func (c *catalog) Operators() []string                                 { return c.operators.Names() }

func TestFirst(t *testing.T) {
	c := newCatalog(t)
	p, err := plan.Compile(`SET 'seal' = 'rows:100';
CREATE TABLE src (k BIGINT, a BIGINT, b BIGINT) WITH ('connector'='datagen','rows-per-second'='0','number-of-rows'='10000','fields.k.min'='0','fields.k.max'='9');
SELECT k, COUNT(*), SUM(a), SUM(b) FROM src GROUP BY k;`, c, plan.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(p.Explain())
	for _, n := range []int{1, 3} {
		var out bytes.Buffer
		res, err := engine.Run(context.Background(), p, engine.Options{Connectors: c.connectors, Operators: c.operators, Stdout: &out, Nodes: n})
		if err != nil {
			t.Fatal(err)
		}
		b := out.Bytes()
		t.Log(string(b[max(0, len(b)-1000):]), res.Progress, res.Chains[0])
	}
}
