package port

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"unicode/utf8"
)

// Kind is whose a connection is: its first byte.
type Kind byte

const (
	Raft      Kind = 'R'
	Dataplane Kind = 'D'
	Vault     Kind = 'V'
	Control   Kind = 'C'
	KeepAlive Kind = 'K'
)

var kinds = []Kind{Raft, Dataplane, Vault, Control, KeepAlive}

func (k Kind) String() string {
	switch k {
	case Raft:
		return "raft"
	case Dataplane:
		return "dataplane"
	case Vault:
		return "vault"
	case Control:
		return "control"
	case KeepAlive:
		return "keep-alive"
	}
	return fmt.Sprintf("kind %#02x", byte(k))
}

// serve gives what is read and written on a connection of the kind. Those for little messages are used when a process is idle, too.
func (k Kind) serve(c net.Conn) net.Conn {
	switch k {
	case Raft, KeepAlive, Control:
		return quiet(c)
	}
	return c
}

func (k Kind) known() bool { return k.String()[:4] != "kind" }

// Version is the protocol version of the data port.
const Version = 1

const (
	prefaceBytes  = 10
	accepted      = 0x00
	refused       = 0x01
	refusedForNow = 0x02 // trying again may help
	refusalMax    = 1024 // bytes of text
)

// preface is what a dialer says first.
type preface struct {
	kind    Kind
	version byte
	cluster uint64 // 0: not known yet
}

func (p preface) append(dst []byte) []byte {
	return binary.BigEndian.AppendUint64(append(dst, byte(p.kind), p.version), p.cluster)
}

// stranger says that the other end speaks something else; text is the answer for it.
type stranger struct {
	what string
	http bool
}

func (s *stranger) Error() string { return s.what }

// readPreface reads exactly a preface, or of anything else its first two bytes.
func readPreface(r io.Reader) (preface, error) {
	var b [prefaceBytes]byte
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return preface{}, err
	}
	p := preface{kind: Kind(b[0]), version: b[1]}
	switch {
	case isHTTP(b[0], b[1]):
		return p, &stranger{"an HTTP request", true}
	case b[0] == 0x16 && b[1] == 0x03:
		return p, &stranger{"TLS, which this node does not speak: " + errTLS.Error(), false}
	case !p.kind.known():
		return p, &stranger{fmt.Sprintf("something that is not seepnode (first bytes %q)", b[:2]), false}
	case p.version != Version:
		return p, nil // what follows may have another form
	}
	if _, err := io.ReadFull(r, b[2:]); err != nil {
		return preface{}, err
	}
	p.cluster = binary.BigEndian.Uint64(b[2:])
	return p, nil
}

// isHTTP knows the methods by their first two letters.
func isHTTP(a, b byte) bool {
	switch string([]byte{a, b}) {
	case "GE", "PO", "PU", "PA", "HE", "DE", "OP", "CO", "TR", "PR":
		return true
	}
	return false
}

// appendRefusal is the answer to a preface that is not accepted.
func appendRefusal(dst []byte, code byte, text string) []byte {
	for len(text) > refusalMax {
		_, n := utf8.DecodeLastRuneInString(text)
		text = text[:len(text)-n]
	}
	dst = append(dst, code)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}

// errNotOurs says that what answered is no data port.
var errNotOurs = errors.New("what answers there is not a seepnode data port: is the address right (--data-port, 7602 by default)?")

// readAnswer reads exactly an answer: its first byte, and the text of one that refuses.
func readAnswer(r io.Reader) (code byte, text string, err error) {
	var b [2 + refusalMax]byte
	if _, err := io.ReadFull(r, b[:1]); err != nil {
		return 0, "", err
	}
	code = b[0]
	switch code {
	case accepted:
		return code, "", nil
	case refused, refusedForNow:
	default:
		return 0, "", fmt.Errorf("%w (its first byte is %q)", errNotOurs, b[:1])
	}
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return 0, "", err
	}
	n := int(binary.BigEndian.Uint16(b[:2]))
	if n == 0 || n > refusalMax {
		return 0, "", fmt.Errorf("%w (a text of %d bytes)", errNotOurs, n)
	}
	if _, err := io.ReadFull(r, b[:n]); err != nil {
		return 0, "", err
	}
	if !utf8.Valid(b[:n]) {
		return 0, "", errNotOurs
	}
	return code, string(b[:n]), nil
}
