// Package json is Flink's format 'json': one object a line, its fields the table's columns by name.
//
// Numbers keep every digit for BIGINT and DECIMAL. Fields that are no column are skipped; of a field given twice the last counts; a column
// of a text type takes any value, by its text. BYTES are base64. Timestamps are read in both of Flink's standards
// and written in the one that the options name; TIMESTAMP_LTZ ends in Z. A line of blanks is no row.
//
// The decoder is a strict one over bytes, with limits on depth, and allocates nothing per record.
package json
