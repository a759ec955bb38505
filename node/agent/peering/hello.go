package peering

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// A hello is who dials and who is meant, the answer is whether that is right and who answers. A process is the length of its
// node's id, 1 byte, the id, and the boot id, 8 bytes big-endian.

const nameBytesMax = 255

// answer is what comes back to a hello.
type answer byte

const (
	welcome      answer = 1
	notListed    answer = 2 // the dialer is not among the processes that live, as the answering one knows them (yet)
	otherProcess answer = 3 // the one that answers is not the one that is meant
	wait         answer = 4 // all is well, and it is the answering one that dials
)

func appendProcess(dst []byte, p topology.Process) ([]byte, error) {
	if len(p.Node) == 0 || len(p.Node) > nameBytesMax {
		return nil, fmt.Errorf("peering: node id %q: its length is %d, 1 to %d bytes are supported", p.Node, len(p.Node), nameBytesMax)
	}
	dst = append(dst, byte(len(p.Node)))
	dst = append(dst, p.Node...)
	return binary.BigEndian.AppendUint64(dst, uint64(p.Boot)), nil
}

func appendHello(dst []byte, from, to topology.Process) ([]byte, error) {
	dst, err := appendProcess(dst, from)
	if err != nil {
		return nil, err
	}
	return appendProcess(dst, to)
}

func readProcess(r io.Reader) (topology.Process, error) {
	var b [nameBytesMax + 8]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return topology.Process{}, err
	}
	n := int(b[0])
	if n == 0 {
		return topology.Process{}, fmt.Errorf("peering: a node id of no bytes")
	}
	if _, err := io.ReadFull(r, b[:n+8]); err != nil {
		return topology.Process{}, err
	}
	return topology.Process{Node: topology.NodeID(b[:n]), Boot: topology.BootID(binary.BigEndian.Uint64(b[n:]))}, nil
}

func readHello(r io.Reader) (from, to topology.Process, err error) {
	if from, err = readProcess(r); err != nil {
		return from, to, err
	}
	to, err = readProcess(r)
	return from, to, err
}

func readAnswer(r io.Reader) (answer, topology.Process, error) {
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, topology.Process{}, err
	}
	a := answer(b[0])
	if a < welcome || a > wait {
		return 0, topology.Process{}, fmt.Errorf("peering: unknown answer %d to a hello: run the same release of seepnode on all nodes", a)
	}
	p, err := readProcess(r)
	return a, p, err
}
