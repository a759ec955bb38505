package csv

import "bytes"

// field is a part of a record's unescaped text.
type field struct {
	from, to int
	quoted   bool
}

// RecordEnd finds the end of the record that buf begins with: the index of the newline that ends it, or -1 when buf does not hold one.
func (d *dialect) recordEnd(buf []byte) int {
	at := bytes.IndexByte(buf, '\n')
	if !d.multiline || at < 0 || d.comments && buf[0] == '#' {
		return at
	}
	line := buf[:at]
	if (d.quote == 0 || bytes.IndexByte(line, d.quote) < 0) && (d.escape == 0 || bytes.IndexByte(line, d.escape) < 0) {
		return at
	}
	start, quoted := true, false
	for i := 0; i < len(buf); i++ {
		b := buf[i]
		switch {
		case b == d.escape && d.escape != 0:
			i++
			start = false
		case quoted:
			// A doubled quote closes and, at the start of nothing, opens again.
			if b == d.quote {
				if i+1 < len(buf) && buf[i+1] == d.quote {
					i++
				} else {
					quoted = false
				}
			}
		case b == '\n':
			return i
		case b == d.delimiter:
			start = true
		case b == d.quote && d.quote != 0 && start:
			quoted, start = true, false
		default:
			start = false
		}
	}
	return -1
}

// split cuts record into fields. Their unescaped text is appended to text, to which the fields' positions refer. ok is false when a quote is not
// closed or closes before the field ends.
func (d *dialect) split(record, text []byte, fields []field) ([]byte, []field, bool) {
	i := 0
	for {
		from, quoted := len(text), false
		if d.quote != 0 && i < len(record) && record[i] == d.quote {
			quoted = true
			var ok bool
			if text, i, ok = d.quotedField(record, i+1, text); !ok {
				return text, fields, false
			}
		} else if d.escape == 0 {
			n := bytes.IndexByte(record[i:], d.delimiter)
			if n < 0 {
				n = len(record) - i
			}
			text = append(text, record[i:i+n]...)
			i += n
		} else {
			for ; i < len(record) && record[i] != d.delimiter; i++ {
				if record[i] == d.escape && i+1 < len(record) {
					i++
				}
				text = append(text, record[i])
			}
		}
		fields = append(fields, field{from, len(text), quoted})
		if i >= len(record) {
			return text, fields, true
		}
		if record[i] != d.delimiter {
			return text, fields, false
		}
		i++
	}
}

// quotedField appends the field whose text begins at i, after its quote, and returns where it ends, after its other quote.
func (d *dialect) quotedField(record []byte, i int, text []byte) ([]byte, int, bool) {
	for ; i < len(record); i++ {
		b := record[i]
		switch {
		case b == d.escape && d.escape != 0 && i+1 < len(record):
			i++
			text = append(text, record[i])
		case b != d.quote:
			text = append(text, b)
		case i+1 < len(record) && record[i+1] == d.quote:
			i++
			text = append(text, b)
		default:
			return text, i + 1, true
		}
	}
	return text, i, false
}
