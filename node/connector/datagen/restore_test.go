package datagen

import (
	"context"
	"fmt"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
)

// readUntil reads a split from offset until nothing is due at elapsed milliseconds and gives the new offset.
func readUntil(t *testing.T, c connector.Config, split string, offset, elapsed int64, out *batch.Batch) (int64, connector.Status) {
	t.Helper()
	src, err := newSource(c)
	if err != nil {
		t.Fatal(err)
	}
	r, err := src.Open(context.Background(), connector.Split{ID: split}, offset)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		status, err := r.Read(out, connector.Limit{Rows: 5, Bytes: 1 << 20, ElapsedMs: elapsed})
		if err != nil {
			t.Fatal(err)
		}
		if status != connector.More {
			return r.Offset(), status
		}
	}
}

// TestRateLimitedReaderThatIsOpenedAgainGivesTheSameRowsInTheSameEpochs opens a reader anew for every epoch, as if its process died each
// time, and lets another one be away for a while and catch up.
func TestRateLimitedReaderThatIsOpenedAgainGivesTheSameRowsInTheSameEpochs(t *testing.T) {
	const epochMs, epochs = 10, 60
	for _, rate := range []string{"1", "333", "1000", "12345"} {
		c := config(everyType, append(nullable("0.1"), "rows-per-second", rate)...)
		for split := range 3 {
			id := fmt.Sprintf("%04d", split)
			src, err := newSource(c)
			if err != nil {
				t.Fatal(err)
			}
			stays, err := src.Open(context.Background(), connector.Split{ID: id}, 0)
			if err != nil {
				t.Fatal(err)
			}
			var offset, lateOffset int64
			all, late := batch.New(everyType), batch.New(everyType)
			for e := int64(1); e <= epochs; e++ {
				want, got := batch.New(everyType), batch.New(everyType)
				wantStatus, err := stays.Read(want, connector.Limit{Rows: 1 << 20, Bytes: 1 << 30, ElapsedMs: e * epochMs})
				if err != nil {
					t.Fatal(err)
				}
				var status connector.Status
				offset, status = readUntil(t, c, id, offset, e*epochMs, got)
				if connectortest.Digest(got, 0) != connectortest.Digest(want, 0) || got.Len() != want.Len() || status != wantStatus || offset != stays.Offset() {
					t.Fatalf("rate %s, split %s, epoch %d: %d rows, want %d, or others; status %d, want %d", rate, id, e, got.Len(), want.Len(), status, wantStatus)
				}
				all.AppendRange(want, 0, want.Len())
				if e%20 == 0 {
					lateOffset, _ = readUntil(t, c, id, lateOffset, e*epochMs, late)
				}
			}
			if connectortest.Digest(late, 0) != connectortest.Digest(all, 0) || late.Len() != all.Len() {
				t.Fatalf("rate %s, split %s: the reader that catches up gives %d rows, want %d, or others", rate, id, late.Len(), all.Len())
			}
			if err := stays.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
