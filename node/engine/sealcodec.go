package engine

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// A seal in a record is
//
//	version 1 byte | flags 1 byte | stage | range from | to | first epoch | last - first | n found | per found: length, name
//	| n splits | per split: length, name | from | to - from | rows | check 8 bytes | flags 1 byte
//
// with unsigned varints but for from, which is signed.
const sealVersion = 1

const (
	sealEnd = 1

	splitSealEnd  = 1
	splitSealIdle = 2
)

// errSeal says that a sealed record cannot be read.
var errSeal = errors.New("sealed record is damaged or of a newer seepnode")

func appendSeal(dst []byte, s *Seal) []byte {
	flags := byte(0)
	if s.End {
		flags |= sealEnd
	}
	dst = append(dst, sealVersion, flags)
	for _, v := range [...]uint64{uint64(s.Stage), uint64(s.Range.From), uint64(s.Range.To), uint64(s.First), uint64(s.Last - s.First), uint64(len(s.Found))} {
		dst = binary.AppendUvarint(dst, v)
	}
	for _, id := range s.Found {
		dst = append(binary.AppendUvarint(dst, uint64(len(id))), id...)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Splits)))
	for i := range s.Splits {
		sp := &s.Splits[i]
		dst = append(binary.AppendUvarint(dst, uint64(len(sp.ID))), sp.ID...)
		dst = binary.AppendVarint(dst, sp.From)
		dst = binary.AppendVarint(dst, sp.To-sp.From)
		dst = binary.AppendUvarint(dst, uint64(sp.Rows))
		dst = binary.LittleEndian.AppendUint64(dst, sp.Check)
		f := byte(0)
		if sp.End {
			f |= splitSealEnd
		}
		if sp.Idle {
			f |= splitSealIdle
		}
		dst = append(dst, f)
	}
	return dst
}

// decodeSeals reads the seals of a record.
func decodeSeals(src []byte) (seals []Seal, err error) {
	d := decoder{src: src}
	for len(d.src) > 0 && !d.bad {
		if d.byte() != sealVersion {
			return nil, errSeal
		}
		flags := d.byte()
		s := Seal{End: flags&sealEnd != 0}
		stage, from, to := d.uvarint(), d.uvarint(), d.uvarint()
		first, more := d.uvarint(), d.uvarint()
		if stage > math.MaxUint16 || from >= to || to > topology.MaxKeyGroups || first > math.MaxInt64 || more > math.MaxInt64-first || flags&^sealEnd != 0 {
			return nil, errSeal
		}
		s.Stage, s.Range = topology.StageID(stage), topology.Range{From: topology.KeyGroup(from), To: topology.KeyGroup(to)}
		s.First, s.Last = topology.Epoch(first), topology.Epoch(first+more)
		for n := d.uvarint(); n > 0 && !d.bad; n-- {
			s.Found = append(s.Found, string(d.bytes()))
		}
		for n := d.uvarint(); n > 0 && !d.bad; n-- {
			sp := SplitSeal{ID: string(d.bytes()), From: d.varint()}
			sp.To = sp.From + d.varint()
			rows := d.uvarint()
			if rows > math.MaxInt32 {
				return nil, errSeal
			}
			sp.Rows, sp.Check = int(rows), d.fixed64()
			f := d.byte()
			sp.End, sp.Idle = f&splitSealEnd != 0, f&splitSealIdle != 0
			s.Splits = append(s.Splits, sp)
		}
		seals = append(seals, s)
	}
	if d.bad {
		return nil, errSeal
	}
	return seals, nil
}
