package fleet

import (
	"fmt"
	"strings"
)

// Names of every fleet's query and of its table.
const (
	QueryName = "load"
	TableName = "results"
)

const (
	// workBytes is what is hashed in each step of the work on a row.
	workBytes = 128
	// fillRate is how many keys a second fill the state.
	fillRate = 20_000
)

// Workload is a keyed count with work on each row: a bounded table gives every key a text, so that the state has a size, and a second one
// counts keys at a rate that may change.
type Workload struct {
	Rate Schedule // of the rows that are counted
	Keys int
	// StateBytes is the length of each key's text.
	StateBytes int
	// Work is how many times 8 KB are hashed for each update of a key, some 16 µs each.
	Work        int
	Partitions  int    // to begin with
	Checkpoints int    // epochs between them; 0: the default
	Settings    string // further statements in front
}

const hotKey = "0"

// Text is the query.
func (w Workload) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "SET 'parallelism.default' = '%d';\n", max(1, w.Partitions))
	if w.Checkpoints > 0 {
		fmt.Fprintf(&b, "SET 'checkpoint.epochs' = '%d';\n", w.Checkpoints)
	}
	fmt.Fprint(&b, w.Settings)
	proof := "CONCAT(CAST(k AS STRING), ':', CAST(n AS STRING))"
	for range w.Work {
		// A key that has only been filled in costs nothing.
		proof = fmt.Sprintf("SHA2(REPEAT(%s, CASE WHEN n > 1 THEN %d ELSE 1 END), 512)", proof, 8192/workBytes)
	}
	fmt.Fprintf(&b, `CREATE TABLE fill (k BIGINT NOT NULL, label STRING) WITH ('connector' = 'datagen', 'rows-per-second' = '%d',
  'fields.k.kind' = 'sequence', 'fields.k.start' = '0', 'fields.k.end' = '%d', 'fields.label.length' = '%d');
CREATE TABLE steady (c BIGINT NOT NULL) WITH ('connector' = 'datagen', 'rows-per-second.schedule' = '%s',
  'fields.c.min' = '0', 'fields.c.max' = '%d');
CREATE TABLE %s (k BIGINT NOT NULL, n BIGINT, bytes INT, proof STRING, PRIMARY KEY (k) NOT ENFORCED) WITH ('connector' = 'table');
INSERT INTO %s SELECT k, n, CHAR_LENGTH(label), %s FROM (
  SELECT k, COUNT(*) AS n, MAX(label) AS label
  FROM (SELECT k, label FROM fill UNION ALL SELECT c AS k, CAST(NULL AS STRING) AS label FROM steady) GROUP BY k);
`, fillRate, w.Keys-1, w.StateBytes, w.Rate, w.Keys-1, TableName, TableName, proof)
	return b.String()
}
