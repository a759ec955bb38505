package client

import (
	"encoding/json"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Column is a column of a table or sink.
type Column struct {
	Name string `json:"name"`
	Type string `json:"type"` // as in SQL: "BIGINT", "TIMESTAMP(3)"
}

// TableInfo is a materialized table.
type TableInfo struct {
	Query      string   `json:"query"`
	Name       string   `json:"name"`
	Columns    []Column `json:"columns"`
	PrimaryKey []string `json:"primary_key,omitempty"`
	// Epoch is the latest that can be read, OldestEpoch the earliest.
	Epoch       topology.Epoch `json:"epoch"`
	OldestEpoch topology.Epoch `json:"oldest_epoch"`
	Rows        int64          `json:"rows"`
	Bytes       int64          `json:"bytes"`
	Partitions  int            `json:"partitions"`
}

// TableList is the answer of GET /v1/tables, ascending by query and name.
type TableList struct {
	Tables []TableInfo `json:"tables"`
}

// Row is one row as a JSON object, its keys in the order of the columns. Numbers are exact: DECIMAL and BIGINT have all their digits.
type Row = json.RawMessage

// TableReadRequest reads a table by key or scans it. The epoch is a consistent cut of the whole table.
type TableReadRequest struct {
	Query, Table string
	// Key is a value for each column of the primary key, as text; empty: scan.
	Key []string
	// Where is an SQL condition over the table's columns, OrderBy a column. Both only for a scan.
	Where   string
	OrderBy string
	Desc    bool
	Limit   int // 0: DefaultTableRows
	// Epoch to read at; 0: the latest. MinEpoch waits until that one can be read: who passes the Epoch of an earlier answer never
	// sees an older state, whichever peer answers.
	Epoch, MinEpoch topology.Epoch
}

// TableRead is the answer of GET /v1/tables/{query}/{table}.
type TableRead struct {
	Query       string         `json:"query"`
	Table       string         `json:"table"`
	Incarnation uint64         `json:"incarnation"`
	Epoch       topology.Epoch `json:"epoch"`
	Time        time.Time      `json:"time"` // of the epoch
	Columns     []Column       `json:"columns"`
	Rows        []Row          `json:"rows"`
	Truncated   bool           `json:"truncated"` // Limit left rows out
}

// TailRequest follows what a sink of a query gets.
type TailRequest struct {
	Sink  string // "" when the query has one
	Limit int64  // ends after so many rows; 0: never
}

// Ops of a TailRow.
const (
	OpInsert       = "+I"
	OpUpdateBefore = "-U"
	OpUpdateAfter  = "+U"
	OpDelete       = "-D"
)

// TailRow is one line of GET /v1/queries/{name}/tail.
type TailRow struct {
	Sink     string            `json:"sink"`
	Op       string            `json:"op"`
	Epoch    topology.Epoch    `json:"epoch"`
	KeyGroup topology.KeyGroup `json:"key_group"` // that produced it
	Index    int64             `json:"index"`     // of the row among those of its epoch and key group
	Row      Row               `json:"row"`
	Dropped  int64             `json:"dropped,omitempty"` // rows left out before this one, for a reader that is too slow
}
