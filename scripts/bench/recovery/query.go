package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm/topology"
	"github.com/seepnode/seepnode/scripts/bench/sample"
)

const (
	queryName = "recovery"
	tableName = "counts"
	// hotKeys get a tenth of all rows, so that each of them has one every few milliseconds.
	hotKeys = 64
	// keyBytes is about what one of the other keys takes in state: a text of textBytes and the counters.
	keyBytes  = 1100
	textBytes = 1000
	// busyKeys are the keys at most that rows count up: what changes between two checkpoints does not grow with the state, or each would write
	// nearly all of it.
	busyKeys = 20_000
	// fillRate is how many keys are made in a second before the measurement.
	fillRate   = 20_000
	partitions = 5
)

// text is the query: keys with a text each, which a bounded table fills in, and rows that count up the hot and some other keys for ever.
func text(keys, rows int) string {
	return fmt.Sprintf(`
SET 'parallelism.default' = '%d';
CREATE TABLE fill (k BIGINT NOT NULL, label STRING) WITH ('connector' = 'datagen', 'rows-per-second' = '%d',
  'fields.k.kind' = 'sequence', 'fields.k.start' = '%d', 'fields.k.end' = '%d', 'fields.label.length' = '%d');
CREATE TABLE steady (r BIGINT NOT NULL, c BIGINT NOT NULL, ts TIMESTAMP(3)) WITH ('connector' = 'datagen', 'rows-per-second' = '%d',
  'fields.r.min' = '0', 'fields.r.max' = '9', 'fields.c.min' = '0', 'fields.c.max' = '%d');
CREATE TABLE %s (k BIGINT NOT NULL, n BIGINT, latest TIMESTAMP(3), bytes INT, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'table');
INSERT INTO %s
SELECT k, COUNT(*), MAX(ts), CHAR_LENGTH(MAX(label))
FROM (
  SELECT k, CAST(NULL AS TIMESTAMP(3)) AS ts, label FROM fill
  UNION ALL
  SELECT CASE WHEN r = 0 THEN MOD(c, %d) ELSE %d + c END AS k, ts, CAST(NULL AS STRING) AS label FROM steady
)
GROUP BY k;
`, partitions, fillRate, hotKeys, hotKeys+keys-1, textBytes, rows, min(keys, busyKeys)-1, tableName, tableName, hotKeys, hotKeys)
}

// count is a row of the table.
type count struct {
	K      int64   `json:"k"`
	Latest *string `json:"latest"`
}

// created is when the latest row that a count holds was created.
func created(clock sample.Clock, row client.Row) (time.Time, error) {
	var c count
	if err := json.Unmarshal(row, &c); err != nil {
		return time.Time{}, fmt.Errorf("table %s has a row %s: %w", tableName, row, err)
	}
	if c.Latest == nil {
		return time.Time{}, nil // only filled in so far
	}
	ts, err := time.Parse("2006-01-02T15:04:05.999999999", strings.TrimSuffix(strings.Replace(*c.Latest, " ", "T", 1), "Z"))
	if err != nil {
		return time.Time{}, fmt.Errorf("table %s has a row %s: %w", tableName, row, err)
	}
	return clock.Created(ts), nil
}

// clockOf asks for the query's clock.
func clockOf(ctx context.Context, asks *client.Client, epochMs int64) (sample.Clock, error) {
	got, err := asks.ReadTable(ctx, client.TableReadRequest{Query: queryName, Table: tableName, Key: []string{"0"}, MinEpoch: 1})
	if err != nil {
		return sample.Clock{}, fmt.Errorf("asking for the query's clock: %w", err)
	}
	return sample.ClockOf(got.Epoch, got.Time, time.Duration(epochMs)*time.Millisecond)
}

// groupsOf are the key groups of the hot keys, of so many.
func groupsOf(groups int) map[int64]topology.KeyGroup {
	b := batch.New(batch.NewSchema(batch.Field{Name: "k", Type: batch.TypeBigInt.AsNotNull()}))
	of := map[int64]topology.KeyGroup{}
	for k := range int64(hotKeys) {
		b.Reset()
		b.Cols[0].AppendInt64(k)
		b.EndRow(batch.Insert)
		of[k] = topology.GroupOf(batch.HashKey(batch.AppendKey(nil, b, []int{0}, 0)), groups)
	}
	return of
}

// keyed is the stage that the table is in: the one that reads no source.
func keyed(t *client.Topology) *client.TopologyStage {
	for i := range t.Stages {
		if !t.Stages[i].Source {
			return &t.Stages[i]
		}
	}
	return nil
}
