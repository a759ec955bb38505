package filesystem

import (
	"errors"
	"io"
	"os"
	"sync"
)

const (
	// bufferBytes is the size of a reader's buffer, kept for the next file.
	bufferBytes = 256 << 10
	// recordBytesMax bounds a record.
	recordBytesMax = 16 << 20
)

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferBytes); return &b }}

// window is the part of a file that is in memory.
type window struct {
	file     *os.File
	pooled   *[]byte
	buf      []byte // the pooled buffer, or a larger one for a long record
	from, to int    // buf[from:to] is read and not consumed
	at       int64  // where in the file buf[from] is
	end      int64  // nothing at or after is read; -1 unknown
	ended    bool   // the file gave less than end
}

func (w *window) open(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	// Opening a FIFO that took the file's place would block in reading, and a directory cannot be read.
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return errors.Join(err, errNotRegular, f.Close())
	}
	w.file = f
	w.pooled = buffers.Get().(*[]byte)
	w.buf = *w.pooled
	w.from, w.to, w.ended = 0, 0, false
	return nil
}

var errNotRegular = errors.New("it is no regular file any more")

// close gives the file and the memory back; what is not consumed is read again after another open.
func (w *window) close() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	buffers.Put(w.pooled)
	w.file, w.pooled, w.buf = nil, nil, nil
	w.from, w.to = 0, 0
	return err
}

// bytes is what is in memory and not consumed.
func (w *window) bytes() []byte { return w.buf[w.from:w.to] }

func (w *window) consume(n int) {
	w.from += n
	w.at += int64(n)
}

// complete says that bytes reaches to the end.
func (w *window) complete() bool { return w.ended || w.at+int64(w.to-w.from) >= w.end }

// more reads further bytes behind those in memory, in a larger buffer when they fill it.
func (w *window) more() error {
	held := w.to - w.from
	if held == len(w.buf) {
		grown := make([]byte, min(2*len(w.buf), recordBytesMax+bufferBytes))
		copy(grown, w.bytes())
		w.buf = grown
	} else {
		if len(w.buf) > bufferBytes && held < bufferBytes/2 {
			w.buf, held = *w.pooled, copy(*w.pooled, w.bytes())
		} else {
			copy(w.buf, w.bytes())
		}
	}
	w.from, w.to = 0, held
	want := min(int64(len(w.buf)-held), w.end-w.at-int64(held))
	if want <= 0 {
		w.ended = w.ended || w.end <= w.at+int64(held)
		return nil
	}
	n, err := w.file.ReadAt(w.buf[held:held+int(want)], w.at+int64(held))
	w.to += n
	if errors.Is(err, io.EOF) {
		w.ended = true
		return nil
	}
	return err
}
