package backup

import (
	"fmt"
	"slices"

	"github.com/seepnode/seepnode/backup/vault"
)

// A delta as a vault keeps it is a byte of flags and what the engine gave.
const (
	flagEnded      = 1 // the partition had ended
	flagGroupEnded = 2 // the key group had, whatever the partition
	flagsBytes     = 1
)

// packer packs deltas into slabs, so that small ones do not cost an allocation each.
type packer struct{ slab []byte }

const packerSlabBytes = 64 << 10

// delta packs data; the payload does not point into data.
func (p *packer) delta(flags byte, data []byte) (vault.Payload, error) {
	if cap(p.slab)-len(p.slab) < len(data)+1 {
		p.slab = make([]byte, 0, max(packerSlabBytes, len(data)+1))
	}
	at := len(p.slab)
	raw := append(append(p.slab, flags), data...)
	payload, err := vault.Pack(raw[at:len(raw):len(raw)])
	if err == nil && payload.StoredLen() == len(raw)-at {
		p.slab = raw // it was not compressed: the payload is in the slab
	}
	return payload, err
}

// unpackDelta appends the flags and what the engine gave.
func unpackDelta(dst []byte, p vault.Payload) (raw []byte, flags byte, err error) {
	at := len(dst)
	if raw, err = p.Append(slices.Grow(dst, p.Len())); err != nil {
		return dst, 0, err
	}
	if len(raw) == at || raw[at]&^(flagEnded|flagGroupEnded) != 0 {
		return dst, 0, fmt.Errorf("%w: delta of %d bytes without flags that are known", vault.ErrMalformed, len(raw)-at)
	}
	return raw, raw[at], nil
}
