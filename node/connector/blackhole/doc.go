// Package blackhole is the sink that takes everything and keeps nothing but the number of rows: Flink's connector of that name,
// for measuring.
package blackhole
