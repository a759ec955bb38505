package vault

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func benchVault(b *testing.B) *Vault {
	c := DefaultConfig(b.TempDir(), "c1", "n1", 1)
	return open(b, c)
}

// benchState is n bytes that look like a column of keys and a column of counts.
func benchState(n int) []byte {
	r := rand.New(rand.NewPCG(1, 1))
	out := make([]byte, 0, n+16)
	for key := uint64(0); len(out) < n/2; key += 1 + r.Uint64N(1000) {
		out = binary.BigEndian.AppendUint64(out, key)
	}
	for len(out) < n {
		out = binary.LittleEndian.AppendUint32(out, r.Uint32N(100_000))
	}
	return out[:n]
}

// BenchmarkPutDelta puts deltas of 16 KiB from 8 senders, each waiting for 64 at a time, and reports fsyncs.
func BenchmarkPutDelta(b *testing.B) {
	v, ctx := benchVault(b), context.Background()
	raw := benchState(16 << 10)
	p, err := Pack(raw)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	start := time.Now()
	var wg sync.WaitGroup
	const senders = 8
	for s := range senders {
		wg.Go(func() {
			var window []*Commit
			g := topology.KeyGroup(s)
			for e := range topology.Epoch(b.N/senders + 1) {
				window = append(window, v.PutDelta(ctx, Delta{Query: testQuery, Stage: 1, Block: BlockOf(g), KeyGroup: g, From: e, To: e + 1, Base: e%64 == 0, Data: p}))
				if e%256 == 255 {
					v.Trim(ctx, testQuery, e-128)
				}
				if len(window) == 64 {
					for _, c := range window {
						if err := c.Wait(ctx); err != nil {
							b.Error(err)
							return
						}
					}
					window = window[:0]
				}
			}
			for _, c := range window {
				if err := c.Wait(ctx); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	seconds := time.Since(start).Seconds()
	b.ReportMetric(float64(v.Stats().Commits)/seconds, "fsyncs/s")
	b.ReportMetric(float64(p.StoredLen())*float64(b.N)/seconds/1e6, "stored-MB/s")
}

// BenchmarkPack compresses what BenchmarkPutDelta puts.
func BenchmarkPack(b *testing.B) {
	raw := benchState(16 << 10)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Pack(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSealLatency puts a seal each 10 ms, as a source does, and reports when it was fsynced, without and with deltas that
// keep the disk busy.
func BenchmarkSealLatency(b *testing.B) {
	for _, delay := range []time.Duration{0, 5 * time.Millisecond} {
		for _, deltas := range []bool{false, true} {
			b.Run(fmt.Sprintf("delay=%v/deltas=%v", delay, deltas), func(b *testing.B) {
				c := DefaultConfig(b.TempDir(), "c1", "n1", 1)
				c.CommitDelay = delay
				benchSeals(b, open(b, c), deltas)
			})
		}
	}
}

func benchSeals(b *testing.B, v *Vault, deltas bool) {
	ctx, cancel := context.WithCancel(context.Background())
	adoptAll(b, v, 1, 1)
	var wg sync.WaitGroup
	if deltas {
		p, err := Pack(benchState(64 << 10))
		if err != nil {
			b.Fatal(err)
		}
		other := topology.QueryID{Incarnation: 99} // another query, or its trims would take the seals along
		wg.Go(func() {
			for e := topology.Epoch(0); ctx.Err() == nil; e++ {
				var last *Commit
				for g := range topology.KeyGroup(64) {
					last = v.PutDelta(ctx, Delta{Query: other, Stage: 1, Block: BlockOf(g), KeyGroup: g, To: e + 1, Base: true, Data: p})
				}
				v.Trim(ctx, other, e)
				last.Wait(ctx)
			}
		})
	}
	var took []time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	data := Payload{bytes: []byte("offsets"), raw: 7}
	next := topology.Epoch(1)
	for b.Loop() {
		<-tick.C
		start := time.Now()
		if err := v.PutSeal(context.Background(), SealPut{testQuery, "s", 1, Seal{next, next, data}}).Wait(context.Background()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(start))
		next++
	}
	cancel()
	wg.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-us")
}
