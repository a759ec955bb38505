// Package host tells what benchmarks say of the machine that they run on, of the commit that is measured, and of what processes use.
package host
