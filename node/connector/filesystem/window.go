package filesystem

import (
	"errors"
	"io"
	"os"
	"sync"
)

const (
	// bufferBytes is the size of the largest buffer that is kept for the next file.
	bufferBytes = 256 << 10
	// recordBytesMax bounds a record.
	recordBytesMax = 16 << 20
)

// buffers are kept by size, so that thousands of small files that are read a few rows at a time each take little memory.
var buffers = [...]struct {
	bytes int
	pool  sync.Pool
}{{bytes: 4 << 10}, {bytes: 16 << 10}, {bytes: 64 << 10}, {bytes: bufferBytes}}

var errNotRegular = errors.New("it is no regular file any more")

// window is the part of a file that is in memory.
type window struct {
	file   *os.File // nil when everything up to end is in memory, or when nothing is open
	opened bool
	class  int
	pooled *[]byte // of buffers[class]
	buf    []byte  // the pooled buffer, or a larger one for a long record
	from   int     // buf[from:to] is read and not consumed
	to     int
	at     int64 // where in the file buf[from] is
	end    int64 // nothing at or after is read
	ended  bool  // the file gave less than end
}

func (w *window) open(path string) error {
	// Opening a FIFO that took the file's place would block.
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errNotRegular
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	w.class = 0
	for w.class < len(buffers)-1 && int64(buffers[w.class].bytes) < w.end-w.at {
		w.class++
	}
	var ok bool
	if w.pooled, ok = buffers[w.class].pool.Get().(*[]byte); !ok {
		b := make([]byte, buffers[w.class].bytes)
		w.pooled = &b
	}
	w.file, w.opened, w.buf = f, true, *w.pooled
	w.from, w.to, w.ended = 0, 0, false
	return nil
}

// close gives the file and the memory back; what is not consumed is read again after another open.
func (w *window) close() error {
	if !w.opened {
		return nil
	}
	buffers[w.class].pool.Put(w.pooled)
	w.opened, w.pooled, w.buf = false, nil, nil
	w.from, w.to = 0, 0
	return w.closeFile()
}

func (w *window) closeFile() error {
	if w.file == nil {
		return nil
	}
	err := w.file.Close()
	w.file = nil
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

// more reads further bytes behind those in memory, in a larger buffer when they fill it. With the last ones it closes the file.
func (w *window) more() error {
	held := w.to - w.from
	switch {
	case held == len(w.buf):
		grown := make([]byte, min(2*len(w.buf), recordBytesMax+bufferBytes))
		copy(grown, w.bytes())
		w.buf = grown
	case len(w.buf) > len(*w.pooled) && held < len(*w.pooled)/2:
		copy(*w.pooled, w.bytes())
		w.buf = *w.pooled
	default:
		copy(w.buf, w.bytes())
	}
	w.from, w.to = 0, held
	want := min(int64(len(w.buf)-held), w.end-w.at-int64(held))
	if want > 0 {
		n, err := w.file.ReadAt(w.buf[held:held+int(want)], w.at+int64(held))
		w.to += n
		if errors.Is(err, io.EOF) {
			w.ended = true
		} else if err != nil {
			return err
		}
	}
	if w.complete() {
		return w.closeFile()
	}
	return nil
}
