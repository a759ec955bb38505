// Package zone holds the IANA time zones that every node computes with. They are embedded (zoneinfo.zip is the Go 1.26
// distribution's lib/time/zoneinfo.zip, IANA data in the public domain) and the machine's own tzdata is never looked at: nodes with different system
// packages give the same bytes.
package zone
