package filesystem

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/format"
	"github.com/seepnode/seepnode/node/connector/format/cell"
)

// sampleBytes is how much of a skipped record is told.
const sampleBytes = 200

// reader reads the records of one split. Its offsets are places in the file, except that 0 is a split's start, wherever that is.
type reader struct {
	source  *source
	split   string
	where   byteRange
	reading *format.Reading
	skip    bool

	window window // its place is offset, or beyond it within a record
	offset int64
	seek   bool  // the record that the split's range begins in is still to be passed
	header bool  // the file's first record is still to be passed
	long   bool  // a record that is too long is being passed
	gone   bool  // a followed file is not there any more
	before int64 // of a limited rate: bytes of the splits that are due earlier
	due    int64 // records that start there in the file or behind are not read yet
}

func (r *reader) Offset() int64 { return r.offset }

func (r *reader) Close() error { return r.window.close() }

// Read reads records until a limit. Input bytes count for the limit, so that it also stops among records that are skipped.
func (r *reader) Read(out *batch.Batch, limit connector.Limit) (connector.Status, error) {
	r.due = r.dueAt(limit.ElapsedMs)
	if !r.over() && max(r.window.at, r.where.from) >= r.due {
		return connector.Idle, nil
	}
	if status, ok, err := r.prepare(); !ok || err != nil {
		return status, err
	}
	rows, from := out.Len(), r.window.at
	for {
		if r.over() {
			return connector.End, r.release()
		}
		if r.window.at >= r.due && !r.long {
			return connector.Idle, nil
		}
		record, length, err := r.next()
		if err != nil {
			return 0, err
		}
		if length == 0 {
			return r.dry()
		}
		if record != nil {
			if length, err = r.decode(record, length, out); err != nil {
				return 0, err
			}
		}
		r.window.consume(length)
		if r.long {
			continue
		}
		r.offset = r.window.at
		if out.Len()-rows >= limit.Rows || r.window.at-from >= int64(limit.Bytes) {
			if r.over() {
				return connector.End, r.release()
			}
			return connector.More, nil
		}
	}
}

// dueAt is up to where in the file records are read by the time of an epoch.
func (r *reader) dueAt(elapsedMs int64) int64 {
	rate := r.source.settings.rate
	if rate == 0 || elapsedMs < 0 {
		return math.MaxInt64
	}
	high, low := bits.Mul64(uint64(rate), uint64(elapsedMs))
	if high >= 1000 {
		return math.MaxInt64
	}
	bytes, _ := bits.Div64(high, low, 1000)
	if bytes > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return int64(bytes) - r.before + r.where.from
}

// over says that no further record starts in the split. While the split's start is looked for, nothing is known.
func (r *reader) over() bool {
	return !r.where.open && !r.seek && !r.long && r.window.at >= r.where.to
}

func (r *reader) release() error {
	if err := r.window.close(); err != nil {
		return r.failed(err)
	}
	return nil
}

// prepare opens the file, when there is anything to read; ok is false when there is not.
func (r *reader) prepare() (status connector.Status, ok bool, err error) {
	if r.over() {
		return connector.End, false, r.release()
	}
	if r.gone {
		return connector.End, false, nil
	}
	if r.window.opened {
		return 0, true, nil
	}
	if r.where.open {
		info, err := os.Stat(r.where.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return r.vanished("is gone")
		case err != nil:
			return 0, false, r.failed(err)
		case info.Size() < r.window.at:
			return r.vanished("is shorter than what was read of it")
		case info.Size() == r.window.at || info.Size() == r.window.end:
			return connector.Idle, false, nil
		}
		r.window.end = info.Size()
	} else {
		r.window.end = r.where.size
	}
	if r.seek {
		// The newline before the range, if there is one, makes its first byte the start of a record.
		r.window.at = r.where.from - 1
	}
	if err := r.window.open(r.where.path); err != nil {
		if r.where.open && errors.Is(err, fs.ErrNotExist) {
			return r.vanished("is gone")
		}
		return 0, false, r.failed(err)
	}
	return 0, true, nil
}

// vanished ends the split of a followed file.
func (r *reader) vanished(why string) (connector.Status, bool, error) {
	r.gone = true
	if log := r.source.config.Logger; log != nil {
		log.Warn("a followed file is not read any further", "table", r.source.config.Table, "file", r.where.path, "offset", r.window.at, "reason", why)
	}
	return connector.End, false, nil
}

// dry ends a Read for which there are no whole records any more.
func (r *reader) dry() (connector.Status, error) {
	if err := r.release(); err != nil {
		return 0, err
	}
	if r.where.open {
		return connector.Idle, nil
	}
	return connector.End, nil
}

// next finds the next record and its length with its line end. A record that is none of the split's, no row or too long to be read has a length and is nil;
// a length of 0 says that there is no further one.
func (r *reader) next() (record []byte, length int, err error) {
	w := &r.window
	for {
		buf := w.bytes()
		end := -1
		if r.seek || r.long {
			end = bytes.IndexByte(buf, '\n')
		} else {
			end = r.reading.RecordEnd(buf)
		}
		if end >= 0 {
			return r.found(buf[:end], end+1)
		}
		switch {
		case r.seek || r.long:
			// Nothing of it is needed: no record may end here, however long.
			w.consume(len(buf))
			if w.complete() {
				return nil, 0, r.passedToEnd()
			}
		case len(buf) > recordBytesMax:
			return r.tooLong(buf)
		case w.complete():
			if short, err := r.shorter(); short || err != nil {
				return nil, 0, err
			}
			if r.where.open || len(buf) == 0 {
				return nil, 0, nil
			}
			return r.last(buf)
		}
		if err := w.more(); err != nil {
			return nil, 0, r.failed(err)
		}
	}
}

// passedToEnd ends looking for the end of a record that the file ends in.
func (r *reader) passedToEnd() error {
	if short, err := r.shorter(); short || err != nil {
		return err
	}
	if !r.where.open {
		r.seek, r.long = false, false
		r.offset = r.window.at
	}
	return nil
}

// shorter says whether a file ended before it should: an error, unless it is followed.
func (r *reader) shorter() (bool, error) {
	w := &r.window
	if !w.ended || w.at+int64(w.to-w.from) >= w.end {
		return false, nil
	}
	if r.where.open {
		return true, nil
	}
	return true, fmt.Errorf("table %s: file %s became shorter than the %d bytes it had when the query started", r.source.config.Table, r.where.path, w.end)
}

// found takes a record whose end was found.
func (r *reader) found(record []byte, length int) ([]byte, int, error) {
	if r.seek || r.long || r.header {
		r.seek, r.long, r.header = false, false, false
		return nil, length, nil
	}
	if len(record) > recordBytesMax {
		return r.tooLong(record)
	}
	return withoutReturn(record), length, nil
}

// last takes what stands after the last newline.
func (r *reader) last(buf []byte) ([]byte, int, error) {
	if r.header {
		r.header = false
		return nil, len(buf), nil
	}
	return withoutReturn(buf), len(buf), nil
}

// tooLong fails, or begins to pass a record that is longer than what is allowed: to the end of its first line.
func (r *reader) tooLong(record []byte) ([]byte, int, error) {
	err := fmt.Errorf("the record is longer than %d bytes", recordBytesMax)
	if !r.skip {
		return nil, 0, r.wrong(record, r.window.at, err)
	}
	r.skipped(record, err)
	if line := bytes.IndexByte(record, '\n'); line >= 0 {
		return nil, line + 1, nil
	}
	r.long = true
	return nil, len(record), nil
}

func withoutReturn(record []byte) []byte {
	if n := len(record); n > 0 && record[n-1] == '\r' {
		record = record[:n-1]
	}
	if record == nil {
		record = []byte{}
	}
	return record
}

// decode appends the row of record and gives how much of the file, of length bytes with its line end, is done with. Of a wrong record that goes over
// several lines only the first is: a stray quote must not take the lines up to the next one with it.
func (r *reader) decode(record []byte, length int, out *batch.Batch) (int, error) {
	if r.reading.Plain {
		out.Cols[0].AppendBytes(record)
		out.EndRow(batch.Insert)
		return length, nil
	}
	err := r.reading.Decoder.Decode(record, out)
	if err == nil {
		return length, nil
	}
	if !r.skip {
		return 0, r.wrong(record, r.window.at, err)
	}
	r.skipped(record, err)
	if line := bytes.IndexByte(record, '\n'); line >= 0 {
		length = line + 1
	}
	return length, nil
}

func (r *reader) skipped(record []byte, err error) {
	r.source.config.Skipped(connector.SkippedRow{
		Split: r.split, Offset: r.window.at, Text: string(record[:min(len(record), sampleBytes)]), Err: err,
	})
}

func (r *reader) wrong(record []byte, at int64, err error) error {
	return fmt.Errorf("table %s: file %s, %s: %w; the record is %q ('on-error' = 'skip' would leave it out)",
		r.source.config.Table, r.where.path, r.place(at), err, cell.Shown(record))
}

func (r *reader) failed(err error) error {
	return fmt.Errorf("table %s: reading file %s: %w", r.source.config.Table, r.where.path, err)
}

// place names a place in the file by line, when counting them is cheap, and byte.
func (r *reader) place(at int64) string {
	const countedMax = 64 << 20
	bare := fmt.Sprintf("byte %d", at)
	if at > countedMax {
		return bare
	}
	// What cannot be read again here is only told with less precision.
	f, err := os.Open(r.where.path)
	if err != nil {
		return bare
	}
	defer f.Close()
	buf, line := make([]byte, bufferBytes), 1
	for from := int64(0); from < at; {
		n, err := f.ReadAt(buf[:min(int64(len(buf)), at-from)], from)
		line += bytes.Count(buf[:n], []byte{'\n'})
		if from += int64(n); err != nil || n == 0 {
			return bare
		}
	}
	return fmt.Sprintf("line %d (%s)", line, bare)
}
