// Package raw is Flink's format 'raw': a record is the value of the table's only column, as it stands. Bytes pass through
// unchanged, whatever they are.
package raw
