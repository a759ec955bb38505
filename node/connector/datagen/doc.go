// Package datagen is the source that makes its rows up: Flink's connector of that name with Flink's options.
//
// Every value is a counter-based hash of (seed, column, row number), so a split can be read from any row in constant time
// and gives the same values every time, and the table's rows are the same set for any number of splits. The row numbered i belongs to
// split i mod splits.
//
// Not here: clocks. How far a rate-limited table has come is told to Read; random timestamps count from 1970-01-01, row i at
// i seconds divided by 'rows-per-second' (10000 at full speed), or when a 'rows-per-second.schedule' has it come, less a random part of
// 'max-past'.
package datagen
