// Package sample holds what benchmarks on real clusters measure with: samples and their quantiles, and the time of a query's epochs.
package sample
