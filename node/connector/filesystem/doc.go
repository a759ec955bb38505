// Package filesystem reads and writes tables as files: Flink's connector of that name.
//
// The source finds regular files by a path, a directory or a pattern, and reads them in splits of byte ranges: a record belongs
// to the split in whose range it starts, so that any cut into splits gives each record once. Bounded, it reads the bytes that
// were there when it looked first; following, it waits for further files and for further whole lines at their ends.
//
// The sink writes one file per lane and roll, under a name and with contents that depend on rows and epochs alone. A roll fills a
// temporary file, which Commit makes durable and gives its name; a file that has the name already must hold the same bytes. So a
// process that was replaced and does not know it does no harm. A full disk blocks and loses nothing. A manifest keeps the output
// of two queries apart.
//
// DefinitionWithin keeps sources and sinks to some directories.
//
// Files that are read must not change where they were read already; all nodes must see the same files.
package filesystem
