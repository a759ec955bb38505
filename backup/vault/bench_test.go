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

// BenchmarkSealLatency puts a seal each 10 ms, as a source does, and reports when it was fsynced: alone, with deltas at rates that
// checkpoints have, in bursts as they come, and with deltas that take all of the disk.
func BenchmarkSealLatency(b *testing.B) {
	for _, delay := range []time.Duration{0, 5 * time.Millisecond} {
		for _, burst := range []struct {
			name string
			mb   int           // of deltas
			each time.Duration // 0: without a pause
		}{{"none", 0, 0}, {"5MB-each-200ms", 5, 200 * time.Millisecond}, {"40MB-each-1300ms", 40, 1300 * time.Millisecond}, {"all", 4, 0}} {
			b.Run(fmt.Sprintf("delay=%v/deltas=%s", delay, burst.name), func(b *testing.B) {
				c := DefaultConfig(b.TempDir(), "c1", "n1", 1)
				c.CommitDelay = delay
				benchSeals(b, open(b, c), burst.mb, burst.each)
			})
		}
	}
}

func benchSeals(b *testing.B, v *Vault, mb int, each time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	adoptAll(b, v, 1, 1)
	var wg sync.WaitGroup
	if mb > 0 {
		wg.Go(func() { benchDeltas(ctx, b, v, mb, each) })
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
	b.ReportMetric(float64(v.Stats().CommitBytes)/1e6/b.Elapsed().Seconds(), "MB/s")
}

// benchDeltas puts checkpoints of mb megabytes as stored until ctx ends.
func benchDeltas(ctx context.Context, b *testing.B, v *Vault, mb int, each time.Duration) {
	p, err := Pack(benchState(64 << 10))
	if err != nil {
		b.Error(err)
		return
	}
	other := topology.QueryID{Incarnation: 99} // another query, or its trims would take the seals along
	groups := topology.KeyGroup(mb * 1e6 / p.StoredLen())
	for e := topology.Epoch(0); ctx.Err() == nil; e++ {
		next := time.After(each)
		var last *Commit
		for g := range groups {
			last = v.PutDelta(ctx, Delta{Query: other, Stage: 1, Block: BlockOf(g), KeyGroup: g, To: e + 1, Base: true, Data: p})
		}
		v.Trim(ctx, other, e)
		last.Wait(ctx)
		select {
		case <-next:
		case <-ctx.Done():
		}
	}
}
