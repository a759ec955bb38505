package batch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/zeebo/xxh3"
)

const (
	bytesPlain      = 0
	bytesDictionary = 1

	dictionaryEntriesMax = 4096
	dictionarySample     = 256
)

func (e *encoder) bytesColumn(dst []byte, c *Column, from, n int) []byte {
	offsets := c.Offsets[from : from+n+1]
	data := c.Data[offsets[0]:offsets[n]]
	if e.dictionary(c, from, n, len(data)) {
		return e.appendDictionary(dst, c, from)
	}
	dst = append(dst, bytesPlain)
	dst = e.lengths(dst, offsets)
	return append(dst, data...)
}

// dictionary fills e.index with every row's entry and e.first with every entry's first row, and says whether that is well
// smaller than the values. A spread sample decides whether to look at all.
func (e *encoder) dictionary(c *Column, from, n, dataBytes int) bool {
	if n < 16 || dataBytes < 2*n {
		return false
	}
	sample := min(n, dictionarySample)
	e.openDictionary(sample)
	for i := range sample {
		e.entry(c, from, uint32(i*(n/sample)))
	}
	if len(e.first) > sample/2 {
		return false
	}
	most := min(n/4, dictionaryEntriesMax)
	e.openDictionary(most)
	e.index = grown(e.index[:0], n)
	entryBytes := 0
	for i := range n {
		k := e.entry(c, from, uint32(i))
		if k == len(e.first)-1 && e.first[k] == uint32(i) {
			entryBytes += len(c.Bytes(from + i))
			if len(e.first) > most {
				return false
			}
		}
		e.index[i] = int64(k)
	}
	indexBytes := packedBytes(n, widthOf(uint64(len(e.first)-1)))
	return entryBytes+len(e.first)+indexBytes < (dataBytes+n)/4*3
}

func (e *encoder) openDictionary(entries int) {
	size := 16
	for size < 2*(entries+1) {
		size *= 2
	}
	e.table = grown(e.table[:0], size)
	clear(e.table)
	e.first = e.first[:0]
}

// entry finds or makes the dictionary entry of row from+i. The table holds entry+1, 0 where it is free.
func (e *encoder) entry(c *Column, from int, i uint32) int {
	v := c.Bytes(from + int(i))
	mask := uint64(len(e.table) - 1)
	for h := slotHash(v) & mask; ; h = (h + 1) & mask {
		k := int(e.table[h])
		if k == 0 {
			e.first = append(e.first, i)
			e.table[h] = uint32(len(e.first))
			return len(e.first) - 1
		}
		if bytes.Equal(c.Bytes(from+int(e.first[k-1])), v) {
			return k - 1
		}
	}
}

// slotHash places a value in the encoder's table; no encoded byte depends on it.
func slotHash(v []byte) uint64 {
	n := len(v)
	switch {
	case n > 16:
		return xxh3.Hash(v)
	case n >= 8:
		return Mix(le.Uint64(v)^uint64(n)<<56, le.Uint64(v[n-8:]))
	case n >= 4:
		return Mix(uint64(n), uint64(le.Uint32(v))<<32|uint64(le.Uint32(v[n-4:])))
	case n > 0:
		return Mix(uint64(n), uint64(v[0])<<16|uint64(v[n/2])<<8|uint64(v[n-1]))
	}
	return 0
}

func (e *encoder) appendDictionary(dst []byte, c *Column, from int) []byte {
	dst = append(dst, bytesDictionary)
	dst = binary.AppendUvarint(dst, uint64(len(e.first)))
	dst = e.chunks(dst, len(e.first), func(out []int64, at int) {
		for i, row := range e.first[at : at+len(out)] {
			out[i] = int64(len(c.Bytes(from + int(row))))
		}
	})
	for _, row := range e.first {
		dst = append(dst, c.Bytes(from+int(row))...)
	}
	return e.intStream(dst, e.index)
}

func (d *decoder) bytesColumn(c *Column, n int) error {
	mode, err := d.byte()
	if err != nil {
		return err
	}
	switch mode {
	case bytesPlain:
		total, err := d.lengths(c, n, len(c.Data), d.limits.BytesMax)
		if err != nil {
			return err
		}
		data, err := d.take(total)
		if err != nil {
			return err
		}
		if err := d.charge(total, 1); err != nil {
			return err
		}
		c.Data = append(c.Data, data...)
		return nil
	case bytesDictionary:
		return d.dictionaryColumn(c, n)
	}
	return corrupt("unknown form %d of bytes", mode)
}

func (d *decoder) dictionaryColumn(c *Column, n int) error {
	entries, err := d.count("dictionary entries", min(n, dictionaryEntriesMax))
	if err != nil {
		return err
	}
	if entries == 0 {
		return corrupt("dictionary without entries")
	}
	// ends[k] is where entry k ends in data.
	ends := grown(d.index[:0], entries)
	d.index = ends
	total := 0
	err = d.chunks(entries, func(v []int64, at int) error {
		for i, x := range v {
			if uint64(x) > uint64(len(d.src)) || total+int(x) > len(d.src) {
				return corrupt("dictionary entry %d has %d bytes, fewer are left", at+i, x)
			}
			total += int(x)
			ends[at+i] = int64(total)
		}
		return nil
	})
	if err != nil {
		return err
	}
	data, err := d.take(total)
	if err != nil {
		return err
	}
	if err := d.chargeInts(n+1, 4); err != nil {
		return err
	}
	c.openBytes()
	at := len(c.Offsets)
	c.Offsets = grown(c.Offsets, n)
	out := c.Offsets[at:]
	return d.chunks(n, func(v []int64, at int) error {
		return d.lookUp(c, out[at:at+len(v)], v, ends, data)
	})
}

// lookUp appends the values of the dictionary entries that index names, after their memory is known to be within limits.
func (d *decoder) lookUp(c *Column, offsets []uint32, index, ends []int64, data []byte) error {
	size := 0
	for i, k := range index {
		if uint64(k) >= uint64(len(ends)) {
			return corrupt("dictionary index %d of %d entries", k, len(ends))
		}
		start := 0
		if k > 0 {
			start = int(ends[k-1])
		}
		size += int(ends[k]) - start
		if len(c.Data)+size > math.MaxUint32 {
			return fmt.Errorf("%w: more than 4 GiB in one column", ErrLimit)
		}
		offsets[i] = uint32(len(c.Data) + size)
	}
	if err := d.charge(size, 1); err != nil {
		return err
	}
	at := len(c.Data)
	c.Data = grown(c.Data, size)
	out := c.Data[at:]
	for _, k := range index {
		start, end := 0, int(ends[k])
		if k > 0 {
			start = int(ends[k-1])
		}
		// Short values go as one word of fixed length, whose excess the next value overwrites.
		if n := end - start; n <= 16 && start+16 <= len(data) && len(out) >= 16 {
			*(*[16]byte)(out) = *(*[16]byte)(data[start:])
			out = out[n:]
			continue
		}
		out = out[copy(out, data[start:end]):]
	}
	return nil
}
