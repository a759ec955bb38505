// Package format names the formats in which connectors read and write rows: raw, csv and json, each a package of its own below, behind one
// Decoder and one Encoder. Formats know records; finding them in files is the connector's.
package format
