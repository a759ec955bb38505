package vault

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// PayloadBytesMax is the most bytes of a payload as stored and sent.
const PayloadBytesMax = 64<<20 - 64<<10

// RawBytesMax is the most bytes of a payload as its owner sees it.
const RawBytesMax = 512 << 20

// Payload is the opaque bytes of a delta or a seal, compressed once and then stored and sent as they are: a vault never looks
// inside. The zero value is an empty payload. It does not change; Bytes must not be written to.
type Payload struct {
	bytes  []byte
	raw    uint32
	packed bool // bytes are zstd
}

// Smaller ones are not worth the encoder's time.
const packBytesMin = 256

// One encoder and one decoder for everybody: EncodeAll and DecodeAll keep nothing between calls. The window bounds the encoder's
// memory. They are made and used once when the program starts: the channels inside would else belong to the first
// testing/synctest bubble that packs anything, and fail in the next.
var (
	encoder, encoderErr = newEncoder()
	decoder, decoderErr = zstd.NewReader(nil, zstd.WithDecoderConcurrency(4), zstd.WithDecoderMaxMemory(RawBytesMax))
)

func newEncoder() (*zstd.Encoder, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(4),
		zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true))
	if err == nil {
		e.EncodeAll([]byte{0}, nil)
	}
	return e, err
}

// Pack compresses raw where that makes it smaller. The payload may point into raw, which must not change while it is in use.
func Pack(raw []byte) (Payload, error) {
	if len(raw) > RawBytesMax {
		return Payload{}, fmt.Errorf("%w: %d bytes of state or seal, at most %d are taken: use more key groups or smaller epochs", ErrTooLarge, len(raw), RawBytesMax)
	}
	p := Payload{bytes: raw, raw: uint32(len(raw))}
	if len(raw) >= packBytesMin {
		if encoderErr != nil {
			return Payload{}, fmt.Errorf("vault: starting the compressor: %w", encoderErr)
		}
		if packed := encoder.EncodeAll(raw, make([]byte, 0, len(raw)/2)); len(packed) < len(raw) {
			p.bytes, p.packed = packed, true
		}
	}
	if len(p.bytes) > PayloadBytesMax {
		return Payload{}, fmt.Errorf("%w: %d bytes of state or seal after compression, at most %d are taken: use more key groups or smaller epochs", ErrTooLarge, len(p.bytes), PayloadBytesMax)
	}
	return p, nil
}

// Len is the number of bytes before compression.
func (p Payload) Len() int { return int(p.raw) }

// StoredLen is the number of bytes as stored and sent.
func (p Payload) StoredLen() int { return len(p.bytes) }

// Clone is a payload of its own memory.
func (p Payload) Clone() Payload {
	p.bytes = append([]byte(nil), p.bytes...)
	return p
}

// Append appends the bytes as they were before compression.
func (p Payload) Append(dst []byte) ([]byte, error) {
	if !p.packed {
		return append(dst, p.bytes...), nil
	}
	var h zstd.Header
	if err := h.Decode(p.bytes); err != nil {
		return dst, fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	}
	if !h.HasFCS || h.FrameContentSize != uint64(p.raw) {
		return dst, fmt.Errorf("%w: payload is said to hold %d bytes, its compressed form says otherwise", ErrMalformed, p.raw)
	}
	if decoderErr != nil {
		return dst, fmt.Errorf("vault: starting the decompressor: %w", decoderErr)
	}
	at := len(dst)
	out, err := decoder.DecodeAll(p.bytes, dst)
	if err != nil {
		return dst, fmt.Errorf("%w: payload: %w", ErrMalformed, err)
	}
	if len(out)-at != int(p.raw) {
		return dst, fmt.Errorf("%w: payload holds %d bytes, %d were said", ErrMalformed, len(out)-at, p.raw)
	}
	return out, nil
}
