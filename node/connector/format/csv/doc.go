// Package csv is Flink's format 'csv': records of delimited fields after RFC 4180, with Flink's options.
//
// Where Flink leaves a record unread, so does this package, with these choices: an empty field is null unless its column is a text; only
// a field without quotes can be the null literal; empty lines are skipped unless the table has one column.
// ARRAY and ROW of scalars are one field of elements with a delimiter of their own; MAP is not supported. BYTES are base64.
package csv
