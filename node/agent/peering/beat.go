package peering

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"
)

// frameKind is what a frame on a keep-alive connection says.
type frameKind byte

const (
	beat      frameKind = 1
	goodbye   frameKind = 2 // the sender shuts down
	dropped   frameKind = 3 // the sender does not count the receiver among the live any more
	reconnect frameKind = 4 // the sender ends the connection to make a new one
)

// frame is one message on a keep-alive connection. As in NTP's symmetric mode every beat carries what the receiver needs to compute
// round trip and offset, so both ends measure with one message each per interval. Times are nanoseconds of the clock of the process
// that took them.
type frame struct {
	kind     frameKind
	sent     int64 // by the sender's clock
	echo     int64 // sent of the last beat that the sender got, by the receiver's clock; 0: none yet
	received int64 // when the sender got it, by the sender's clock
	ahead    int64 // what the cluster's time is ahead of the sender's clock; aheadUnknown
}

const frameBytes = 33

// aheadUnknown is said by a process that does not know the cluster's time.
const aheadUnknown = math.MinInt64

func (f frame) append(dst []byte) []byte {
	dst = append(dst, byte(f.kind))
	for _, t := range [...]int64{f.sent, f.echo, f.received, f.ahead} {
		dst = binary.BigEndian.AppendUint64(dst, uint64(t))
	}
	return dst
}

// decodeFrame reads the first frameBytes of b.
func decodeFrame(b []byte) (frame, error) {
	if len(b) < frameBytes {
		return frame{}, fmt.Errorf("peering: %d bytes are no frame", len(b))
	}
	f := frame{kind: frameKind(b[0])}
	if f.kind < beat || f.kind > reconnect {
		return frame{}, fmt.Errorf("peering: unknown keep-alive message %d: run the same release of seepnode on all nodes", b[0])
	}
	for i, t := range [...]*int64{&f.sent, &f.echo, &f.received, &f.ahead} {
		*t = int64(binary.BigEndian.Uint64(b[1+8*i:]))
	}
	return f, nil
}

// samplesKept is how many measurements count; of these the half with the shortest round trips, whose error is the smallest.
const samplesKept = 10

type sample struct{ rtt, offset time.Duration }

// samples are the last measurements of a peer's clock.
type samples struct {
	ring [samplesKept]sample
	n    int // taken in all
}

// take measures with a beat that arrived at now by the own clock. What clocks cannot have shown is ignored.
func (s *samples) take(f frame, now int64) {
	if f.echo == 0 || f.echo > now || f.received > f.sent {
		return
	}
	rtt := (now - f.echo) - (f.sent - f.received)
	if rtt < 0 {
		return
	}
	offset := (f.received-f.echo)/2 + (f.sent-now)/2
	s.ring[s.n%samplesKept] = sample{time.Duration(rtt), time.Duration(offset)}
	s.n++
}

// estimate gives the shortest round trip and the median offset of the better half.
func (s *samples) estimate() (sample, bool) {
	n := min(s.n, samplesKept)
	if n == 0 {
		return sample{}, false
	}
	last := s.ring
	best := last[:n]
	slices.SortFunc(best, func(a, b sample) int { return cmp.Compare(a.rtt, b.rtt) })
	rtt := best[0].rtt
	best = best[:(n+1)/2]
	slices.SortFunc(best, func(a, b sample) int { return cmp.Compare(a.offset, b.offset) })
	return sample{rtt, best[len(best)/2].offset}, true
}
