package plan

import (
	"time"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/node/query/ast"
)

// Version is the version of the plan's form and meaning.
const Version = 1

// Catalog is what a query may name beside its own tables and views. The lists are sorted.
type Catalog interface {
	Connector(name string) (*connector.Definition, bool)
	Connectors() []string
	// Operator finds a custom operator without regard to case.
	Operator(name string) (*operator.Definition, bool)
	Operators() []string
}

// Options are what a caller adds to the text.
type Options struct {
	// Set holds settings by SET's keys, which win over the text's, and "TABLE.option" for options of tables' WITH clauses.
	Set map[string]string
}

// maxSource bounds the text of a query in bytes.
const maxSource = 4 << 20

// Compile plans the query in src. Mistakes are *ast.Error; the first one found is returned.
func Compile(src string, catalog Catalog, o Options) (*Plan, error) {
	if len(src) > maxSource {
		return nil, errorAt(ast.Pos{Line: 1, Column: 1}, "the query is %d bytes long; at most %d are supported", len(src), maxSource)
	}
	script, err := ast.Parse(src)
	if err != nil {
		return nil, err
	}
	c := &compiler{catalog: catalog, tables: map[string]*table{}, views: map[string]*view{}}
	if err := c.readSettings(script, o.Set); err != nil {
		return nil, err
	}
	for _, st := range script.Statements {
		if err := c.statement(st); err != nil {
			return nil, err
		}
	}
	if err := c.finish(); err != nil {
		return nil, err
	}
	c.finishSinks()
	return c.cut()
}

// compiler holds what is known of a query while its statements are read in order.
type compiler struct {
	catalog  Catalog
	settings Settings
	zone     *time.Location
	// sinkLanes and idleMs are 'sink.lanes' and 'table.exec.source.idle-timeout': defaults for tables.
	sinkLanes int
	idleMs    int64
	// sealFrom says where 'seal' was given first, for the message when two disagree; "" nowhere.
	sealFrom string
	// overrides are the options of --set that are for tables, by key; declared ones are removed as their tables appear.
	overrides map[string]string

	tables  map[string]*table
	order   []*table // declaration order
	views   map[string]*view
	sinks   []*sink // in order of first INSERT
	windows int     // window table functions so far
	prints  int     // bare SELECTs so far
}

func (c *compiler) statement(st ast.Statement) error {
	switch s := st.(type) {
	case *ast.Set:
		return nil // read before all others
	case *ast.CreateTable:
		return c.createTable(s)
	case *ast.CreateView:
		return c.createView(s)
	case *ast.Insert:
		return c.insert(s)
	case *ast.StatementSet:
		for _, in := range s.Inserts {
			if err := c.insert(in); err != nil {
				return err
			}
		}
		return nil
	case *ast.SelectStatement:
		return c.print(s)
	}
	return errorAt(st.Position(), "this statement is not supported")
}

// finish checks what only the whole text can tell.
func (c *compiler) finish() error {
	if err := c.checkOverrides(); err != nil {
		return err
	}
	if len(c.sinks) == 0 {
		return hinted(ast.Pos{Line: 1, Column: 1}, "add INSERT INTO ... SELECT ..., or a SELECT whose rows are printed",
			"the query writes nothing: it has no INSERT INTO and no SELECT")
	}
	return nil
}
