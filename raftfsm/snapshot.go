package raftfsm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// SnapshotVersion is the version of the snapshot's encoding that this program writes, and the highest it reads.
const SnapshotVersion = 1

// MaxSnapshotBytes is the most a snapshot may have.
const MaxSnapshotBytes = 1 << 30

var snapshotMagic = []byte("seepnode-fsm")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// EncodeSnapshot gives the canonical bytes of s: equal states have equal bytes.
//
//	"seepnode-fsm" | version 1 | the state, JSON | CRC32C of all before, 4, big endian
func EncodeSnapshot(s *State) ([]byte, error) {
	body, err := canonicalJSON(s)
	if err != nil {
		return nil, fmt.Errorf("encode snapshot: %w", err)
	}
	out := make([]byte, 0, len(snapshotMagic)+1+len(body)+4)
	out = append(out, snapshotMagic...)
	out = append(out, SnapshotVersion)
	out = append(out, body...)
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli)), nil
}

// DecodeSnapshot reads what EncodeSnapshot wrote. The error is ErrNewerVersion when only a newer program can read it.
func DecodeSnapshot(data []byte) (*State, error) {
	head := len(snapshotMagic) + 1
	if len(data) < head || !bytes.HasPrefix(data, snapshotMagic) {
		return nil, errors.New("not a snapshot of seepnode's metadata")
	}
	if v := data[head-1]; v > SnapshotVersion {
		return nil, fmt.Errorf("snapshot of version %d: %w", v, ErrNewerVersion)
	}
	if len(data) < head+4 || len(data) > MaxSnapshotBytes {
		return nil, fmt.Errorf("snapshot of %d bytes is cut off or too long", len(data))
	}
	end := len(data) - 4
	if crc32.Checksum(data[:end], castagnoli) != binary.BigEndian.Uint32(data[end:]) {
		return nil, errors.New("snapshot is damaged: its checksum does not match")
	}
	s := new(State)
	if err := strictJSON(data[head:end], s); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	for i, n := range s.Nodes {
		if n == nil {
			return nil, fmt.Errorf("snapshot: node %d is null", i)
		}
	}
	for i, q := range s.Queries {
		if q == nil {
			return nil, fmt.Errorf("snapshot: query %d is null", i)
		}
		for j, st := range q.Stages {
			if st == nil {
				return nil, fmt.Errorf("snapshot: stage %d of query %s is null", j, q.Name)
			}
		}
	}
	if err := s.Check(); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return s, nil
}
