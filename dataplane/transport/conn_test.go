package transport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
)

// script is a stream whose bytes are given and arrive step at a time.
type script struct {
	src  []byte
	step int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.src) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), s.step)], s.src)
	s.src = s.src[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) { return len(p), nil }
func (s *script) Close() error                { return nil }

func TestMemoryForAMessageGrowsWithWhatHasArrived(t *testing.T) {
	src := binary.LittleEndian.AppendUint32(nil, 60<<20)
	c := newConn(&script{append(src, make([]byte, 5000)...), 100}, "peer", Options{BufferBytes: 1024}.orDefaults())
	if _, err := c.Receive(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	if len(c.in) > 16<<10 {
		t.Fatalf("5,000 bytes of a message that claims 60 MiB made a buffer of %d", len(c.in))
	}
}

// FuzzReceive cuts any bytes into messages, whatever the steps they arrive in.
func FuzzReceive(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 0, 'x', 2, 0, 0, 0, 'y', 'z'}, 1)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff}, 3)
	f.Add(append([]byte{100, 0, 0, 0}, make([]byte, 130)...), 7)
	f.Fuzz(func(t *testing.T, src []byte, step int) {
		rest := src
		c := newConn(&script{src, max(1, step)}, "peer", Options{BufferBytes: 16, MessageBytesMax: 1 << 10}.orDefaults())
		for {
			msg, err := c.Receive()
			if err != nil {
				if err == io.EOF && len(rest) != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, ErrTooLarge) {
					t.Fatalf("%d bytes left: %v", len(rest), err)
				}
				return
			}
			n := int(binary.LittleEndian.Uint32(rest))
			if n != len(msg) || !bytes.Equal(msg, rest[4:4+n]) {
				t.Fatalf("message of %d bytes where %d were sent", len(msg), n)
			}
			rest = rest[4+n:]
		}
	})
}
