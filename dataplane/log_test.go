package dataplane

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

var oneColumn = batch.NewSchema(batch.Field{Name: "v", Type: batch.TypeBigInt})

// rowsFor is a piece with the given values, all for one consumer key group.
func rowsFor(g topology.KeyGroup, values ...int64) *Rows {
	r := &Rows{Batch: batch.New(oneColumn), Groups: []topology.KeyGroup{g}, Offsets: []uint32{0, uint32(len(values))},
		Producers: []ProducerRun{{Group: 0, End: uint32(len(values))}}}
	for _, v := range values {
		r.Batch.Cols[0].AppendInt64(v)
		r.Batch.EndRow(batch.Insert)
	}
	return r
}

func full(first, last topology.Epoch, v int64) Entry {
	return Entry{First: first, Last: last, Rows: []*Rows{rowsFor(1, v)}, Watermark: int64(last)}
}

var roomy = Limits{Bytes: 1 << 30, Epochs: 1 << 20}

// TestTrimPointIsAtMostEveryPinAndSubscribeBelowItAnswersTrimmed is the log's part of invariant 10.
func TestTrimPointIsAtMostEveryPinAndSubscribeBelowItAnswersTrimmed(t *testing.T) {
	l := NewLog(1, roomy, true, nil, nil)
	for e := topology.Epoch(1); e <= 10; e++ {
		l.Append(full(e, e, int64(e)))
	}
	l.Trim(4)
	if got := l.Floor(); got != 5 {
		t.Fatalf("floor %d, want 5", got)
	}
	for from := topology.Epoch(1); from <= 11; from++ {
		c, err := l.Subscribe(0, from, false, nil)
		var trimmed *TrimmedError
		if from < 5 {
			if !errors.As(err, &trimmed) || trimmed.Floor != 5 {
				t.Fatalf("subscribe from %d: %v, want TRIMMED(5)", from, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for want := from; want <= 10; want++ {
			e, ok := c.Next()
			if !ok || e.Last != want || e.Rows[0].Batch.Cols[0].Int64s[0] != int64(want) {
				t.Fatalf("from %d: got %v %v, want epoch %d", from, e, ok, want)
			}
		}
		if _, ok := c.Next(); ok {
			t.Fatal("something after the last entry")
		}
	}
}

// TestNonActiveSubscribersNeverSlowAProducer is invariant 18 for the log.
func TestNonActiveSubscribersNeverSlowAProducer(t *testing.T) {
	l := NewLog(1, Limits{Bytes: 1, Epochs: 1}, true, nil, nil)
	if _, err := l.Subscribe(0, 1, false, nil); err != nil {
		t.Fatal(err)
	}
	for e := topology.Epoch(1); e <= 100; e++ {
		if !l.MayAppend() {
			t.Fatalf("a frozen shadow holds epoch %d back", e)
		}
		l.Append(full(e, e, 1))
	}
}

// TestLimitsYieldToTheEpochThatConsumersNeedNext: with limits of one byte and one epoch a producer may produce exactly what all of its
// active consumers wait for.
func TestLimitsYieldToTheEpochThatConsumersNeedNext(t *testing.T) {
	l := NewLog(1, Limits{Bytes: 1, Epochs: 1}, false, nil, nil)
	fast, _ := l.Subscribe(0, 1, true, nil)
	slow, _ := l.Subscribe(0, 1, true, nil)
	for e := topology.Epoch(1); e <= 20; e++ {
		if !l.MayAppend() {
			t.Fatalf("epoch %d is needed by both consumers and held back", e)
		}
		l.Append(full(e, e, 1))
		if l.MayAppend() {
			t.Fatal("nobody needs the next epoch and the limits are used up")
		}
		fast.Ack(e)
		if l.MayAppend() {
			t.Fatal("one consumer is over its limits and does not need the next epoch")
		}
		slow.Ack(e)
	}
	if l.Len() != 0 {
		t.Fatalf("%d entries kept that everybody has acknowledged", l.Len())
	}
}

// TestCodingEmptyEpochsDifferentlyGivesAReaderTheSame is invariant 8 for the log: what a reader sees per epoch does not depend on how empty
// epochs were cut into ranges, nor on when it reads.
func TestCodingEmptyEpochsDifferentlyGivesAReaderTheSame(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		l := NewLog(1, roomy, false, nil, nil)
		c, _ := l.Subscribe(0, 1, true, nil)
		want, got := map[topology.Epoch]int64{}, map[topology.Epoch]int64{}
		next, read := topology.Epoch(1), topology.Epoch(1)
		watermark := int64(0)
		check := func(e Entry) {
			if e.First != read {
				t.Fatalf("entry [%d,%d] read, epoch %d was next", e.First, e.Last, read)
			}
			read = e.Last + 1
			if len(e.Rows) > 0 {
				got[e.Last] = e.Rows[0].Batch.Cols[0].Int64s[0]
			}
			if r.IntN(2) == 0 {
				c.Ack(e.Last)
			}
		}
		for range 50 {
			last := next + topology.Epoch(r.IntN(4))
			e := Entry{First: next, Last: last, Watermark: watermark}
			if r.IntN(3) == 0 {
				watermark++
				want[last] = watermark
				e.Watermark, e.Rows = watermark, []*Rows{rowsFor(0, watermark)}
			}
			l.Append(e)
			next = last + 1
			for r.IntN(2) == 0 {
				if e, ok := c.Next(); ok {
					check(e)
				}
			}
		}
		for e, ok := c.Next(); ok; e, ok = c.Next() {
			check(e)
		}
		if read != next || len(got) != len(want) {
			t.Fatalf("read up to %d with %d epochs of rows, appended up to %d with %d", read, len(got), next, len(want))
		}
		for e, v := range want {
			if got[e] != v {
				t.Fatalf("epoch %d has %d, want %d", e, got[e], v)
			}
		}
	}
}

func TestRowsAreGivenBackWhenAllHaveAcknowledgedThem(t *testing.T) {
	back := 0
	l := NewLog(1, roomy, false, func(*Rows) { back++ }, nil)
	a, _ := l.Subscribe(0, 1, true, nil)
	b, _ := l.Subscribe(0, 1, true, nil)
	l.Append(full(1, 3, 1))
	l.Append(full(4, 4, 2))
	a.Ack(4)
	b.Ack(2)
	if back != 0 {
		t.Fatal("rows of epoch 3 were given back before b acknowledged it")
	}
	b.Ack(3)
	if back != 1 {
		t.Fatalf("%d given back, want 1", back)
	}
	b.Close()
	a.Ack(4)
	l.Trim(4)
	if back != 2 {
		t.Fatalf("%d given back, want 2", back)
	}
}

// TestNothingIsTrimmedBeforeAllExpectedConsumersHaveSubscribed: a consumer on this node may be done with an epoch before a peer's subscription has
// arrived.
func TestNothingIsTrimmedBeforeAllExpectedConsumersHaveSubscribed(t *testing.T) {
	l := NewLog(1, Limits{Bytes: 1, Epochs: 2}, false, nil, nil)
	l.Expect([]uint64{1, 2})
	fast, err := l.Subscribe(1, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	for e := topology.Epoch(1); e <= 2; e++ {
		if e == 1 && !l.MayAppend() {
			t.Fatal("the first epoch is held back")
		}
		l.Append(full(e, e, 1))
		fast.Ack(e)
	}
	if l.MayAppend() {
		t.Fatal("a consumer that has yet to subscribe does not hold the producer back")
	}
	late, err := l.Subscribe(2, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	late.Ack(2)
	if l.Len() != 0 || !l.MayAppend() {
		t.Fatalf("%d entries held, all are acknowledged by everybody", l.Len())
	}
}

// A consumer whose connection was lost may have taken all there is, its acknowledgements among what was lost: it comes again where nothing is
// left to acknowledge, and nobody else wakes the producer.
func TestAProducerThatWaitsForAConsumerWakesWhenItComesAgainWithNothingLeftToTake(t *testing.T) {
	wakes := 0
	l := NewLog(1, Limits{Bytes: 1 << 30, Epochs: 2}, true, nil, func() { wakes++ })
	c, err := l.Subscribe(1, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Expect([]uint64{1})
	for e := topology.Epoch(1); e <= 2; e++ {
		l.Append(full(e, e, 1))
	}
	c.Close()
	if l.MayAppend() {
		t.Fatal("a consumer that is gone does not hold the producer back")
	}
	wakes = 0
	if _, err := l.Subscribe(1, 3, true, nil); err != nil {
		t.Fatal(err)
	}
	if !l.MayAppend() || wakes == 0 {
		t.Errorf("may append: %v, after %d wakes", l.MayAppend(), wakes)
	}
}

// TestASubscribeAtOrAboveTheTrimPointSucceedsElseTheAnswerIsTRIMMED is invariant 10 at the log, of an active and of a retired partition: random
// appends, acknowledgements and trims never take away what somebody may still ask for.
func TestASubscribeAtOrAboveTheTrimPointSucceedsElseTheAnswerIsTRIMMED(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 10))
		l := NewLog(1, roomy, true, func(*Rows) {}, nil)
		active, err := l.Subscribe(1, 1, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		trimmed := topology.Epoch(0)
		for range 300 {
			switch r.IntN(4) {
			case 0, 1:
				first := l.Next()
				l.Append(full(first, first+topology.Epoch(r.IntN(3)), int64(first)))
			case 2:
				active.Ack(active.Acked() + topology.Epoch(r.Int64N(int64(l.Next()-active.Acked()))))
			case 3:
				// The trim point is a complete checkpoint: every active consumer is past it.
				trimmed = max(trimmed, active.Acked()-topology.Epoch(r.IntN(4)))
				l.Trim(trimmed)
			}
			from := 1 + topology.Epoch(r.Int64N(int64(l.Next())))
			c, err := l.Subscribe(2, from, false, nil)
			var below *TrimmedError
			switch {
			case err == nil:
				if e, ok := c.Next(); ok && e.First != from {
					t.Fatalf("seed %d: asked for epoch %d, got %d", seed, from, e.First)
				}
				c.Close()
			case !errors.As(err, &below) || from > trimmed || below.Floor <= from:
				t.Fatalf("seed %d: subscribing from epoch %d, trimmed up to %d: %v", seed, from, trimmed, err)
			}
		}
	}
}

// TestConsumerThatSubscribesBeforeItIsExpectedHoldsNobodyBackWhenItKeepsUp: after a recovery a consumer may be there before the producer has
// heard of it.
func TestConsumerThatSubscribesBeforeItIsExpectedHoldsNobodyBackWhenItKeepsUp(t *testing.T) {
	l := NewLog(1, Limits{Bytes: 1 << 30, Epochs: 2}, true, nil, nil)
	c, err := l.Subscribe(7, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Expect([]uint64{7})
	for e := topology.Epoch(1); e <= 10; e++ {
		if !l.MayAppend() {
			t.Fatalf("the producer is held back at epoch %d", e)
		}
		l.Append(full(e, e, int64(e)))
		c.Ack(e)
	}
	again, err := l.Subscribe(7, 11, true, nil) // over another connection, before the end of the old one was noticed
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	for e := topology.Epoch(11); e <= 20; e++ {
		if !l.MayAppend() {
			t.Fatalf("the producer is held back at epoch %d", e)
		}
		l.Append(full(e, e, int64(e)))
		again.Ack(e)
	}
}

// TestAConsumerIsToldThatItHasHadMoreThanWasAdoptedAlsoWhenNothingWas: otherwise its producer gives other rows for what it has had, and an operator
// is accused.
func TestAConsumerIsToldThatItHasHadMoreThanWasAdoptedAlsoWhenNothingWas(t *testing.T) {
	for _, end := range []topology.Epoch{0, 3} {
		l := NewLog(1, Limits{Bytes: 1 << 20, Epochs: 64}, true, nil, nil)
		c, err := l.Subscribe(1, 1, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.Took(5)
		if err := c.Err(); err != nil {
			t.Fatalf("before anything was adopted: %v", err)
		}
		l.SetAdopted(end)
		var beyond *BeyondError
		if err := c.Err(); !errors.As(err, &beyond) || beyond.Consumed != 5 || beyond.End != end {
			t.Errorf("epochs up to 5 were had, up to %d adopted: %v", end, err)
		}
	}
}

// TestAConsumerThatAnotherHasReplacedHoldsNobodyBack is invariant 18 for a zombie: it takes itself for active, and stands still because its other
// producers have gone on without it.
func TestAConsumerThatAnotherHasReplacedHoldsNobodyBack(t *testing.T) {
	l := NewLog(1, Limits{Bytes: 1, Epochs: 1}, true, nil, nil)
	l.Expect([]uint64{1, 2})
	zombie, err := l.Subscribe(1, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Subscribe(2, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Append(full(1, 1, 1))
	other.Ack(1)
	if l.MayAppend() {
		t.Fatal("an active consumer does not hold the producer back")
	}
	l.Expect([]uint64{3, 2})
	successor, err := l.Subscribe(3, 1, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	successor.Ack(1)
	for e := topology.Epoch(2); e <= 10; e++ {
		if !l.MayAppend() {
			t.Fatalf("the zombie holds the producer back at epoch %d", e)
		}
		l.Append(full(e, e, int64(e)))
		other.Ack(e)
		successor.Ack(e)
	}
	if l.Trim(5); l.Len() != 5 {
		t.Errorf("%d entries are held, 5 of them for the zombie", l.Len())
	}
	var trimmed *TrimmedError
	if _, ok := zombie.Next(); ok || !errors.As(zombie.Err(), &trimmed) {
		t.Errorf("the zombie reads on behind what is gone: %v, %v", ok, zombie.Err())
	}
}

// A subscription goes on with the log of a partition that was restored where its cursor was. One that was restored behind its end says that again, in
// an epoch of its own: that made the consumer's process panic.
func TestACursorThatHasGivenTheEndDoesNotGiveItAgainOfAPartitionThatWasRestoredBehindIt(t *testing.T) {
	end := func(e topology.Epoch) Entry {
		return Entry{First: e, Last: e, Watermark: topology.WatermarkEnd, End: true}
	}
	first, again := NewLog(1, roomy, true, nil, nil), NewLog(1, roomy, true, nil, nil)
	first.Append(full(1, 15, 1))
	first.Append(end(16))
	again.Restart(17, Stand{Watermark: topology.WatermarkEnd})
	again.Append(end(17))
	c, err := first.Subscribe(0, 1, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, ok := c.Next(); !ok {
			t.Fatal("the end was not given")
		}
	}
	for over, want := range map[bool]int{true: 0, false: 1} {
		d, err := again.Subscribe(0, c.Position(), false, nil)
		if err != nil {
			t.Fatal(err)
		}
		d.skipEnd(over)
		n := 0
		for e, ok := d.Next(); ok; e, ok = d.Next() {
			if n++; !e.End {
				t.Errorf("epochs [%d,%d] are not the end", e.First, e.Last)
			}
		}
		if n != want {
			t.Errorf("end given before: %v, and %d times again", over, n)
		}
	}
}
