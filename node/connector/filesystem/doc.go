// Package filesystem reads and writes tables as files: Flink's connector of that name.
//
// The source finds regular files by a path, a directory or a pattern, and reads them in splits of byte ranges: a record belongs
// to the split in whose range it starts, so that any cut into splits gives each record once. Bounded, it reads the bytes that
// were there when it looked first; following, it waits for further files and for further whole lines at their ends.
//
// The sink writes one file per lane and roll, under a name and with contents that depend on rows and epochs alone, renamed into
// place when whole. A manifest keeps the output of two queries apart.
//
// Files that are read must not change where they were read already; all nodes must see the same files.
package filesystem
