package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// IDHeader carries a request's id.
const IDHeader = "Idempotency-Key"

// RequestID names one request that changes something, so that sending it again does it once. It is what the cluster's log calls a
// command's id; the zero one names nothing.
type RequestID [16]byte

// NewRequestID draws an id at random.
func NewRequestID() RequestID {
	var id RequestID
	rand.Read(id[:]) // it never fails: without randomness the process ends
	return id
}

// ParseRequestID reads 32 hexadecimal digits, not all of them 0.
func ParseRequestID(s string) (RequestID, error) {
	var id RequestID
	if len(s) != 2*len(id) {
		return id, fmt.Errorf("%s has %d characters, not the 32 hexadecimal digits of a random number", IDHeader, len(s))
	}
	if _, err := hex.Decode(id[:], []byte(s)); err != nil {
		return RequestID{}, fmt.Errorf("%s %q is not 32 hexadecimal digits", IDHeader, s)
	}
	if id == (RequestID{}) {
		return id, fmt.Errorf("%s is all zeros, which names nothing: draw a random number for each request", IDHeader)
	}
	return id, nil
}

// String is 32 hexadecimal digits.
func (id RequestID) String() string { return hex.EncodeToString(id[:]) }

type idKey struct{}

// WithRequestID makes calls with the context carry that id instead of a new one: for passing a request on, and for sending it again
// from another process. Use it for one request only: another one under the same id is taken for the first.
func WithRequestID(ctx context.Context, id RequestID) context.Context {
	return context.WithValue(ctx, idKey{}, id)
}

func requestID(ctx context.Context) RequestID {
	if id, ok := ctx.Value(idKey{}).(RequestID); ok {
		return id
	}
	return NewRequestID()
}
