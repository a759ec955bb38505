package raftfsm

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// CommandVersion is the version of the encoding that this program writes, and the highest it reads. From the first release on it grows also
// with every change of what a command does or which ones are accepted: nodes of two versions would otherwise make different metadata of one log.
const CommandVersion = 1

// MaxCommandBytes is the most an encoded command may have.
const MaxCommandBytes = 16 << 20

// Kind numbers the commands. Numbers are on disk: never change or reuse one.
type Kind uint8

const (
	KindClusterInit      Kind = 1
	KindClusterSet       Kind = 2
	KindNodeJoin         Kind = 10
	KindNodeStatus       Kind = 11
	KindNodeBlame        Kind = 12
	KindNodeLeave        Kind = 13
	KindNodeDrain        Kind = 14
	KindQueryAdd         Kind = 20
	KindQueryState       Kind = 21
	KindQueryErase       Kind = 22
	KindHistoryAdd       Kind = 23
	KindCheckpoint       Kind = 24
	KindGenerationChange Kind = 25
	KindQueryScale       Kind = 26
	KindReassign         Kind = 30
	KindShadow           Kind = 31
	KindShadowDrop       Kind = 32
	KindSwitch           Kind = 33
	// 34 was another one.
	KindVaultsChange  Kind = 40
	KindSealSetChange Kind = 41
	KindSealsAdopted  Kind = 42
)

// Command is one change of the state. Every command names what it is based on, and is a no-op with a typed outcome when that is
// no longer so: applying one twice is applying it once.
type Command interface {
	// Kind is the command's number.
	Kind() Kind
	apply(c *change) Outcome
}

// commands makes an empty command of each kind.
var commands = map[Kind]func() Command{
	KindClusterInit:      func() Command { return new(ClusterInit) },
	KindClusterSet:       func() Command { return new(ClusterSet) },
	KindNodeJoin:         func() Command { return new(NodeJoin) },
	KindNodeStatus:       func() Command { return new(NodeStatus) },
	KindNodeBlame:        func() Command { return new(NodeBlame) },
	KindNodeLeave:        func() Command { return new(NodeLeave) },
	KindNodeDrain:        func() Command { return new(NodeDrain) },
	KindQueryAdd:         func() Command { return new(QueryAdd) },
	KindQueryState:       func() Command { return new(QueryStateChange) },
	KindQueryErase:       func() Command { return new(QueryErase) },
	KindHistoryAdd:       func() Command { return new(HistoryAdd) },
	KindCheckpoint:       func() Command { return new(CheckpointComplete) },
	KindGenerationChange: func() Command { return new(GenerationChange) },
	KindQueryScale:       func() Command { return new(QueryScale) },
	KindReassign:         func() Command { return new(Reassign) },
	KindShadow:           func() Command { return new(ShadowStart) },
	KindShadowDrop:       func() Command { return new(ShadowDrop) },
	KindSwitch:           func() Command { return new(Switch) },
	KindVaultsChange:     func() Command { return new(VaultsChange) },
	KindSealSetChange:    func() Command { return new(SealSetChange) },
	KindSealsAdopted:     func() Command { return new(SealsAdopted) },
}

// CommandID names one request of a user, so that proposing it again after an answer was lost does it once. Drawn at random by
// whoever asks first; the zero ID names nothing.
type CommandID [16]byte

// IsZero says that no request is named.
func (id CommandID) IsZero() bool { return id == CommandID{} }

// MarshalText gives 32 hexadecimal digits.
func (id CommandID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText takes 32 hexadecimal digits.
func (id *CommandID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(id) {
		return fmt.Errorf("command id has %d digits, not %d", len(text), 2*len(id))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

// Envelope is a command as it is proposed.
type Envelope struct {
	// ID makes a request of a user safe to repeat; commands of the coordinator need none.
	ID CommandID
	// AtMs is the leader's time, milliseconds since 1970: for histories, never for decisions.
	AtMs    int64
	Command Command
}

const envelopeHead = 1 + 1 + 16 + 8

// ErrNewerVersion says that a command or snapshot was written by a newer seepnode. It must not be skipped: this process stops.
var ErrNewerVersion = errors.New("written by a newer seepnode than this one: upgrade this node")

// EncodeCommand gives the canonical bytes of e:
//
//	version 1 | kind 1 | id 16 | at_ms 8, big endian | the command, JSON
func EncodeCommand(e Envelope) ([]byte, error) {
	body, err := canonicalJSON(e.Command)
	if err != nil {
		return nil, fmt.Errorf("encode command %d: %w", e.Command.Kind(), err)
	}
	out := make([]byte, 0, envelopeHead+len(body))
	out = append(out, CommandVersion, byte(e.Command.Kind()))
	out = append(out, e.ID[:]...)
	out = binary.BigEndian.AppendUint64(out, uint64(e.AtMs))
	out = append(out, body...)
	if len(out) > MaxCommandBytes {
		return nil, fmt.Errorf("command %d has %d bytes, more than %d", e.Command.Kind(), len(out), MaxCommandBytes)
	}
	return out, nil
}

// DecodeCommand reads what EncodeCommand wrote. The error is ErrNewerVersion when only a newer program can read it.
func DecodeCommand(data []byte) (Envelope, error) {
	var e Envelope
	if len(data) == 0 {
		return e, errors.New("command is empty")
	}
	if data[0] > CommandVersion {
		return e, fmt.Errorf("command of version %d: %w", data[0], ErrNewerVersion)
	}
	if data[0] == 0 || len(data) < envelopeHead || len(data) > MaxCommandBytes {
		return e, fmt.Errorf("command of %d bytes, version %d, is not one", len(data), data[0])
	}
	kind := Kind(data[1])
	make, ok := commands[kind]
	if !ok {
		return e, fmt.Errorf("command of kind %d: %w", kind, ErrNewerVersion)
	}
	copy(e.ID[:], data[2:18])
	e.AtMs = int64(binary.BigEndian.Uint64(data[18:26]))
	e.Command = make()
	if err := strictJSON(data[envelopeHead:], e.Command); err != nil {
		return Envelope{}, fmt.Errorf("command of kind %d: %w", kind, err)
	}

	return e, nil
}

// canonicalJSON encodes structs without maps: fields in their order, nothing escaped that need not be.
func canonicalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// strictJSON decodes exactly one value. A field it does not know was written by a newer program: skipping it would make nodes
// differ.
func strictJSON(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		if strings.Contains(err.Error(), "unknown field") {
			return fmt.Errorf("%w (%v)", ErrNewerVersion, err)
		}
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("bytes after the value")
	}
	return nil
}
