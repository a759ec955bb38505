package seepnode

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func (r *remote) tableList(c *cli.Context) error {
	if _, err := words(c); err != nil {
		return err
	}
	tables, err := r.Tables(r.ctx)
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON()
	}
	d := newDisplay(r.app.streams.Out)
	if len(tables) == 0 {
		return d.line("no tables; a query makes one with CREATE TABLE t (...) WITH ('connector' = 'table') and INSERT INTO t")
	}
	var rows [][]cell
	for _, t := range tables {
		columns := make([]string, len(t.Columns))
		for i, column := range t.Columns {
			columns[i] = column.Name + " " + column.Type
		}
		rows = append(rows, []cell{
			word(t.Query + "." + t.Name), word(strings.Join(t.PrimaryKey, ", ")), count(t.Rows), size(t.Bytes), count(int64(t.OldestEpoch)), count(int64(t.Epoch)),
			count(int64(t.Partitions)), word(strings.Join(columns, ", ")),
		})
	}
	return d.table([]string{"TABLE", "KEY", "ROWS", "SIZE", "FROM EPOCH", "TO EPOCH", "PARTITIONS", "COLUMNS"}, rows)
}

// tableRead makes the request that get and scan have in common.
func tableRead(c *cli.Context, table string) (client.TableReadRequest, error) {
	query, name, ok := strings.Cut(table, ".")
	if i := strings.LastIndexByte(table, '.'); i >= 0 { // a query's name may have dots, a table's has none
		query, name = table[:i], table[i+1:]
	}
	if !ok || query == "" || name == "" {
		return client.TableReadRequest{}, usagef("%q names no table: give QUERY.TABLE, as \"seepnode table list\" shows it", table)
	}
	request := client.TableReadRequest{Query: query, Table: name}
	if c.IsSet("epoch") {
		epoch, err := strconv.ParseInt(c.String("epoch"), 10, 64)
		if err != nil || epoch < 1 || epoch == math.MaxInt64 {
			return request, usagef("--epoch %s: it must be the number of an epoch, from 1", c.String("epoch"))
		}
		request.Epoch = topology.Epoch(epoch)
	}
	switch c.String("format") {
	case "", formatTable, formatCSV, formatJSON:
		return request, nil
	}
	return request, usagef("--format %s: it must be table, csv or json", c.String("format"))
}

func (r *remote) tableGet(c *cli.Context) error {
	args, err := words(c, "QUERY.TABLE", "KEY...")
	if err != nil {
		return err
	}
	request, err := tableRead(c, args[0])
	if err != nil {
		return err
	}
	request.Key = args[1:]
	answer, err := r.ReadTable(r.ctx, request)
	if err != nil {
		return err
	}
	if err := r.writeTable(c.String("format"), answer); err != nil {
		return err
	}
	if len(answer.Rows) == 0 {
		return fmt.Errorf("%s has no row with key %s at epoch %d", args[0], strings.Join(args[1:], ", "), answer.Epoch)
	}
	return nil
}

func (r *remote) tableScan(c *cli.Context) error {
	args, err := words(c, "QUERY.TABLE")
	if err != nil {
		return err
	}
	request, err := tableRead(c, args[0])
	if err != nil {
		return err
	}
	request.Where, request.OrderBy, request.Desc = c.String("where"), c.String("order-by"), c.Bool("desc")
	if request.Desc && request.OrderBy == "" {
		return usagef("--desc needs --order-by COLUMN")
	}
	if request.Limit, err = countFlag(c, "limit", client.MaxTableRows); err != nil {
		return err
	}
	answer, err := r.ReadTable(r.ctx, request)
	if err != nil {
		var wrong *client.Error
		if errors.As(err, &wrong) && wrong.Line > 0 && request.Where != "" {
			return mistake("--where", request.Where, err)
		}
		return err
	}
	return r.writeTable(c.String("format"), answer)
}

// Formats of a table's rows.
const (
	formatTable = "table"
	formatCSV   = "csv"
	formatJSON  = "json" // one object a line
)

func (r *remote) writeTable(format string, t *client.TableRead) error {
	if r.json {
		return r.printJSON()
	}
	var err error
	switch format {
	case formatCSV:
		err = r.writeCSV(t)
	case formatJSON:
		for _, row := range t.Rows {
			if err = writeJSON(r.app.streams.Out, row, ""); err != nil {
				break
			}
		}
	default:
		err = r.writeRows(t)
	}
	if err == nil && t.Truncated {
		fmt.Fprintf(r.app.streams.Err, "seepnode: there are more rows than these %s; --limit N shows more, up to %s\n", grouped(int64(len(t.Rows))), grouped(client.MaxTableRows))
	}
	return err
}

// cells gives the values of a row in the order of the table's columns.
func cells(t *client.TableRead, row client.Row) ([]json.RawMessage, error) {
	names, values, err := orderedRow(row)
	if err != nil {
		return nil, err
	}
	if len(names) != len(t.Columns) {
		return nil, fmt.Errorf("a row of the answer has %d values for %s", len(names), counted(len(t.Columns), "column"))
	}
	return values, nil
}

func (r *remote) writeRows(t *client.TableRead) error {
	head, right := make([]string, len(t.Columns)), make([]bool, len(t.Columns))
	for i, c := range t.Columns {
		head[i], right[i] = printable(c.Name), isNumber(c.Type)
	}
	var rows [][]cell
	for _, row := range t.Rows {
		values, err := cells(t, row)
		if err != nil {
			return err
		}
		line := make([]cell, len(values))
		for i, v := range values {
			line[i] = cell{text: valueText(v, "NULL"), right: right[i]}
			if string(v) == "null" {
				line[i].colour = dim
			}
		}
		rows = append(rows, line)
	}
	if err := newDisplay(r.app.streams.Out).table(head, rows); err != nil {
		return err
	}
	if screen := newConsole(r.app.streams); screen.terminal {
		fmt.Fprintf(r.app.streams.Err, "%s at epoch %s, %s\n", counted(len(t.Rows), "row"), grouped(int64(t.Epoch)), timeText(t.Time))
	}
	return nil
}

func isNumber(sqlType string) bool {
	name, _, _ := strings.Cut(sqlType, "(")
	name, _, _ = strings.Cut(name, " ")
	switch name {
	case "TINYINT", "SMALLINT", "INT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL":
		return true
	}
	return false
}

// writeCSV writes a head and rows as RFC 4180 says; NULL is an empty field.
func (r *remote) writeCSV(t *client.TableRead) error {
	w := csv.NewWriter(r.app.streams.Out)
	record := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		record[i] = c.Name
	}
	if err := w.Write(record); err != nil {
		return err
	}
	for _, row := range t.Rows {
		values, err := cells(t, row)
		if err != nil {
			return err
		}
		for i, v := range values {
			record[i] = string(v)
			switch s := ""; {
			case record[i] == "null":
				record[i] = ""
			case strings.HasPrefix(record[i], `"`) && json.Unmarshal(v, &s) == nil:
				record[i] = s
			}
		}
		if err := w.Write(record); err != nil {
			return err
		}
	}
	w.Flush()
	return w.Error()
}
