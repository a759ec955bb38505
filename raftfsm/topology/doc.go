// Package topology names the things every other package speaks of: nodes, queries, stages, key groups and their ranges,
// partitions and epochs. Plain data and arithmetic on it; it imports nothing of seepnode and everyone may import it.
package topology
