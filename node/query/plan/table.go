package plan

import (
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/query/ast"
	"github.com/seepnode/seepnode/node/query/expr"
	"github.com/seepnode/seepnode/node/query/spelling"
)

// table is a declared table.
type table struct {
	name      string
	pos       ast.Pos
	connector *connector.Definition
	physical  *batch.Schema
	primary   []int
	options   map[string]string // the connector's and its format's
	lanes     int
	bounded   bool

	columns   []column     // physical and computed, in declared order
	computed  []*expr.Node // per column, over the physical ones; nil without computed columns
	watermark *expr.Node   // over columns; nil without
	rowtime   int          // the column that the watermark is for
	idleMs    int64

	scan *rel  // made at the first reference: all references share it
	sink *sink // made at the first INSERT
}

func (c *compiler) createTable(def *ast.CreateTable) error {
	if c.named(def.Name.Text) {
		if def.IfNotExists {
			return nil
		}
		return errorAt(def.Name.Pos, "%q is already declared", def.Name.Text)
	}
	if def.PartitionedBy != nil {
		return unsupported(def.PartitionedBy[0].Pos, "PARTITIONED BY is", "remove it; 'sink.lanes' spreads a sink over several files")
	}
	t := &table{name: def.Name.Text, pos: def.Name.Pos, lanes: c.sinkLanes, idleMs: c.idleMs, rowtime: -1}
	if err := c.declareColumns(t, def); err != nil {
		return err
	}
	if err := c.declareWatermark(t, def.Watermark); err != nil {
		return err
	}
	if err := c.declareOptions(t, def); err != nil {
		return err
	}
	c.tables[t.name] = t
	c.order = append(c.order, t)
	return nil
}

// named says whether a table or view of that name is there.
func (c *compiler) named(name string) bool { return c.tables[name] != nil || c.views[name] != nil }

func (c *compiler) declareColumns(t *table, def *ast.CreateTable) error {
	if len(def.Columns) == 0 {
		return errorAt(def.Name.Pos, "table %q has no columns", t.name)
	}
	seen := map[string]bool{}
	var physical []batch.Field
	anyComputed := false
	for _, col := range def.Columns {
		if seen[col.Name.Text] {
			return errorAt(col.Name.Pos, "column %q is declared twice", col.Name.Text)
		}
		seen[col.Name.Text] = true
		switch {
		case col.Metadata != "":
			return unsupported(col.Name.Pos, fmt.Sprintf("METADATA columns (%q of %q) are", col.Metadata, col.Name.Text), "")
		case col.Computed != nil:
			anyComputed = true
		default:
			if err := checkColumnType(col); err != nil {
				return err
			}
			physical = append(physical, batch.Field{Name: col.Name.Text, Type: col.Type})
		}
	}
	if len(physical) == 0 {
		return errorAt(def.Name.Pos, "table %q has computed columns only", t.name)
	}
	if err := t.declarePrimary(def.PrimaryKey, physical); err != nil {
		return err
	}
	t.physical = batch.NewSchema(physical...)
	s := &scope{columns: make([]scopeColumn, len(physical))}
	for i, f := range physical {
		s.columns[i] = scopeColumn{qualifier: t.name, name: f.Name, typ: f.Type}
	}
	for _, col := range def.Columns {
		i := t.physical.Index(col.Name.Text)
		var n *expr.Node
		if i >= 0 {
			n = expr.ColumnNode(i, col.Name.Text, physical[i].Type, col.Name.Pos)
		} else {
			var err error
			if n, err = c.check(col.Computed, s, "a computed column"); err != nil {
				return err
			}
			if err := checkValueType(n, "a computed column"); err != nil {
				return err
			}
		}
		t.columns = append(t.columns, column{name: col.Name.Text, typ: n.Type})
		t.computed = append(t.computed, n)
	}
	if !anyComputed {
		t.computed = nil
	}
	return nil
}

func checkColumnType(col ast.ColumnDef) error {
	switch {
	case col.Type.ID == batch.Invalid || col.Type.ID == batch.Null:
		return errorAt(col.Name.Pos, "column %q has no type", col.Name.Text)
	case col.Type.IsTime() && col.Type.Precision > 3:
		return unsupported(col.Name.Pos, fmt.Sprintf("%s (column %q): times finer than milliseconds are", col.Type.Nullable(), col.Name.Text),
			"use a precision of 3 or less")
	}
	return nil
}

// declarePrimary finds the columns of PRIMARY KEY, which become NOT NULL as in Flink.
func (t *table) declarePrimary(names []ast.Name, physical []batch.Field) error {
	for _, name := range names {
		i := slices.IndexFunc(physical, func(f batch.Field) bool { return f.Name == name.Text })
		if i < 0 {
			return hinted(name.Pos, didYouMean(name.Text, fieldNames(physical)), "PRIMARY KEY: table %q has no physical column %q", t.name, name.Text)
		}
		if slices.Contains(t.primary, i) {
			return errorAt(name.Pos, "PRIMARY KEY names column %q twice", name.Text)
		}
		t.primary = append(t.primary, i)
		physical[i].Type = physical[i].Type.AsNotNull()
	}
	return nil
}

func fieldNames(fields []batch.Field) []string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.Name
	}
	return names
}

func (c *compiler) declareWatermark(t *table, w *ast.Watermark) error {
	if w == nil {
		return nil
	}
	names := make([]string, len(t.columns))
	for i, col := range t.columns {
		names[i] = col.name
	}
	i := slices.Index(names, w.Column.Text)
	if i < 0 {
		return hinted(w.Column.Pos, didYouMean(w.Column.Text, names), "WATERMARK FOR: table %q has no column %q", t.name, w.Column.Text)
	}
	if !t.columns[i].typ.IsTime() {
		return hinted(w.Column.Pos, "add a computed column such as ts AS TO_TIMESTAMP(...) or ts AS TO_TIMESTAMP_LTZ(millis, 3)",
			"WATERMARK FOR needs a column of type TIMESTAMP(3) or TIMESTAMP_LTZ(3); %q is %s", w.Column.Text, t.columns[i].typ.Nullable())
	}
	s := newScope(t.name, t.columns)
	n, err := c.check(w.Expr, s, "WATERMARK")
	if err != nil {
		return err
	}
	if n.Type.ID != t.columns[i].typ.ID {
		return errorAt(w.Expr.Position(), "the watermark of %q must be %s as the column is; it is %s", w.Column.Text,
			t.columns[i].typ.Nullable(), n.Type.Nullable())
	}
	if err := refuseRandom(n, "WATERMARK"); err != nil {
		return err
	}
	t.watermark, t.rowtime = n, i
	t.columns[i].rowtime = true
	return nil
}

// engineOptions are what a WITH clause may hold for every connector; the engine handles them.
var engineOptions = []connector.Option{
	{Name: "scan.watermark.idle-timeout", Kind: connector.Duration, Doc: "a split without rows for so long does not hold the watermark back"},
	{Name: "seal", Kind: connector.String, Doc: "'rows:N': each epoch takes N rows of each split, for reproducible runs"},
	{Name: "sink.lanes", Kind: connector.Int, Doc: "lanes of the sink, each writing on its own"},
	{Name: "sink.parallelism", Kind: connector.Int, Doc: "the same as 'sink.lanes'"},
}

// given is an option's value and where it was given.
type given struct {
	value         string
	pos, valuePos ast.Pos
}

func (c *compiler) declareOptions(t *table, def *ast.CreateTable) error {
	options, keys, err := c.gatherOptions(t, def)
	if err != nil {
		return err
	}
	name, ok := options["connector"]
	if !ok {
		return hinted(t.pos, "add WITH ('connector' = '...')", "table %q has no option 'connector'", t.name)
	}
	if t.connector, ok = c.catalog.Connector(name.value); !ok {
		hint := didYouMean(name.value, c.catalog.Connectors())
		if hint == "" {
			hint = "there are " + quoteList(c.catalog.Connectors())
		}
		return hinted(name.valuePos, hint, "connector '%s' is not there", name.value)
	}
	declared, err := t.declaredOptions(options)
	if err != nil {
		return err
	}
	t.options = map[string]string{}
	for _, key := range keys {
		if err := c.applyOption(t, declared, key, options[key]); err != nil {
			return err
		}
	}
	for i := range declared {
		o := &declared[i]
		if _, ok := options[o.Name]; o.Required && !ok {
			return hinted(t.pos, o.Doc, "table %q: connector '%s' needs the option '%s'", t.name, t.connector.Name, o.Name)
		}
	}
	return c.checkConfig(t)
}

// gatherOptions joins the WITH clause with the overrides for the table; keys are in the order of the text, new ones of
// overrides after them.
func (c *compiler) gatherOptions(t *table, def *ast.CreateTable) (options map[string]given, keys []string, err error) {
	options = map[string]given{}
	for _, o := range def.Options {
		if _, twice := options[o.Key]; twice {
			return nil, nil, errorAt(o.Pos, "option '%s' is given twice", o.Key)
		}
		options[o.Key] = given{o.Value, o.Pos, o.ValuePos}
		keys = append(keys, o.Key)
	}
	for _, key := range sortedKeys(c.overrides) {
		option, ok := strings.CutPrefix(key, t.name+".")
		if !ok || option == "" {
			continue
		}
		g, declared := options[option]
		if !declared {
			g = given{pos: t.pos, valuePos: t.pos}
			keys = append(keys, option)
		}
		g.value = c.overrides[key]
		options[option] = g
		delete(c.overrides, key)
	}
	return options, keys, nil
}

// declaredOptions are the options that the table's connector and format have.
func (t *table) declaredOptions(options map[string]given) ([]connector.Option, error) {
	declared := slices.Clone(t.connector.Options)
	if !t.connector.Format {
		return declared, nil
	}
	name := ""
	at := t.pos
	if g, ok := options["format"]; ok {
		name, at = g.value, g.valuePos
	} else if i := slices.IndexFunc(declared, func(o connector.Option) bool { return o.Name == "format" }); i >= 0 {
		name = declared[i].Default
	}
	if name == "" {
		return declared, nil
	}
	more, ok := formatOptions(name)
	if !ok {
		return nil, hinted(at, didYouMean(name, formatNames()), "format '%s' is not there; there are %s", name, quoteList(formatNames()))
	}
	for _, o := range more {
		if !slices.ContainsFunc(declared, func(d connector.Option) bool { return d.Name == o.Name }) {
			declared = append(declared, o)
		}
	}
	return declared, nil
}

func (c *compiler) applyOption(t *table, declared []connector.Option, key string, g given) error {
	if i := slices.IndexFunc(engineOptions, func(o connector.Option) bool { return o.Name == key }); i >= 0 {
		if err := c.applyEngineOption(t, key, g); err != nil {
			return errorAt(g.valuePos, "option '%s' of table %q: %v", key, t.name, err)
		}
		return nil
	}
	if key == "connector" {
		return nil
	}
	i := slices.IndexFunc(declared, func(o connector.Option) bool { return optionMatches(o.Name, key) })
	if i < 0 {
		return hinted(g.pos, unknownOptionHint(key, declared), "connector '%s' has no option '%s'", t.connector.Name, key)
	}
	if column, ok := optionColumn(declared[i].Name, key); ok && !hasColumn(t.physical, column) {
		return hinted(g.pos, didYouMean(column, fieldNames(t.physical.Fields)), "option '%s': table %q has no column %q", key, t.name, column)
	}
	if err := declared[i].CheckValue(g.value); err != nil {
		return errorAt(g.valuePos, "option '%s' of table %q: %v", key, t.name, err)
	}
	t.options[key] = g.value
	return nil
}

func (c *compiler) applyEngineOption(t *table, key string, g given) (err error) {
	switch key {
	case "scan.watermark.idle-timeout":
		d, err := connector.ParseDuration(g.value)
		t.idleMs = d.Milliseconds()
		return err
	case "sink.lanes", "sink.parallelism":
		if t.connector.Fused {
			return fmt.Errorf("connector '%s' writes where its rows are made and has no lanes of its own; remove the option", t.connector.Name)
		}
		t.lanes, err = parseCount(g.value, 1, maxLanes)
		return err
	}
	rows, err := parseSeal(g.value)
	if err != nil {
		return err
	}
	if c.sealFrom != "" && c.settings.SealRows != rows {
		return fmt.Errorf("'rows:%d' differs from 'rows:%d' of %s; a query has one seal", rows, c.settings.SealRows, c.sealFrom)
	}
	if c.sealFrom == "" {
		c.settings.SealRows, c.sealFrom = rows, fmt.Sprintf("table %q", t.name)
	}
	return nil
}

// optionMatches says whether name is the option declared as pattern, in which '#' stands for a column.
func optionMatches(pattern, name string) bool {
	if _, wild := optionColumn(pattern, name); wild {
		return true
	}
	return pattern == name
}

func optionColumn(pattern, name string) (column string, ok bool) {
	before, after, wild := strings.Cut(pattern, "#")
	if !wild || len(name) <= len(before)+len(after) || !strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
		return "", false
	}
	return name[len(before) : len(name)-len(after)], true
}

// hasColumn says whether column is a column of the schema, or a part of one, such as "tags.element".
func hasColumn(s *batch.Schema, column string) bool {
	return slices.ContainsFunc(s.Fields, func(f batch.Field) bool {
		return column == f.Name || len(f.Type.Fields) > 0 && strings.HasPrefix(column, f.Name+".")
	})
}

func unknownOptionHint(key string, declared []connector.Option) string {
	names := []string{"connector"}
	for _, o := range slices.Concat(declared, engineOptions) {
		names = append(names, o.Name)
	}
	if best := spelling.Nearest(key, names); best != "" {
		return fmt.Sprintf("did you mean '%s'?", best)
	}
	slices.Sort(names)
	return "it has " + quoteList(names)
}

// config is the table as its connector sees it while planning.
func (c *compiler) config(t *table) connector.Config {
	cfg := connector.Config{
		Table: t.name, Schema: t.physical, Primary: t.primary, Options: t.options, CheckpointEpochs: c.settings.CheckpointEpochs,
		EpochMs: c.settings.EpochMs, Lanes: t.lanes, Zone: c.zone, Logger: slog.New(slog.DiscardHandler), Stdout: io.Discard,
		Skipped: func(connector.SkippedRow) {},
	}
	if c.settings.SealRows > 0 {
		cfg.EpochMs = 0
	}
	return cfg
}

func (c *compiler) checkConfig(t *table) error {
	cfg := c.config(t)
	if t.connector.Check != nil {
		if err := t.connector.Check(cfg); err != nil {
			return errorAt(t.pos, "table %q (%s): %v", t.name, t.connector.Name, err)
		}
	}
	t.bounded = t.connector.Bounded != nil && t.connector.Bounded(cfg)
	return nil
}
