package vault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testQuery = topology.QueryID{Incarnation: 7, Generation: 1}

func testConfig(m *Memory, boot topology.BootID) Config {
	c := DefaultConfig("/vault", "c1", "n1", boot)
	c.FS, c.CommitDelay, c.ManualCompaction, c.SegmentBytes, c.ReserveBytes = m, 0, true, 4<<10, 2<<10
	return c
}

func open(t testing.TB, c Config) *Vault {
	t.Helper()
	v, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.Close() })
	return v
}

func pack(t testing.TB, s string) Payload {
	t.Helper()
	p, err := Pack([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func delta(t testing.TB, g topology.KeyGroup, from, to topology.Epoch, base bool, data string) Delta {
	return Delta{Query: testQuery, Stage: 2, Block: BlockOf(g), KeyGroup: g, From: from, To: to, Base: base, Data: pack(t, data)}
}

func put(t testing.TB, v *Vault, d Delta) {
	t.Helper()
	if err := v.PutDelta(context.Background(), d).Wait(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func chainOf(v *Vault, g topology.KeyGroup, after, through topology.Epoch) (string, error) {
	var out []string
	err := v.Chain(context.Background(), ChainRequest{testQuery, 2, topology.Range{From: g, To: g + 1}, after, through, false}, func(d *Delta) error {
		b, err := d.Data.Append(nil)
		out = append(out, fmt.Sprintf("%d-%d:%s", d.From, d.To, b))
		return err
	})
	return strings.Join(out, " "), err
}

func wantChain(t testing.TB, v *Vault, g topology.KeyGroup, after, through topology.Epoch, want string) {
	t.Helper()
	if got, err := chainOf(v, g, after, through); err != nil || got != want {
		t.Errorf("chain of %d after %d through %d: %q, %v; want %q", g, after, through, got, err, want)
	}
}

func TestChainLeadsToTheAskedEpochAndSkipsWhatLaterDeltasCover(t *testing.T) {
	v := open(t, testConfig(NewMemory(), 1))
	put(t, v, delta(t, 3, 9, 10, true, "b10"))
	put(t, v, delta(t, 3, 10, 20, false, "d20"))
	put(t, v, delta(t, 3, 10, 30, false, "d30")) // 20 was not acknowledged elsewhere
	put(t, v, delta(t, 3, 30, 40, false, "d40"))
	wantChain(t, v, 3, 0, 20, "0-10:b10 10-20:d20")
	wantChain(t, v, 3, 0, 40, "0-10:b10 10-30:d30 30-40:d40")
	wantChain(t, v, 3, 20, 40, "10-30:d30 30-40:d40")
	wantChain(t, v, 3, 30, 40, "30-40:d40")
	wantChain(t, v, 3, 40, 40, "")
	var none *NoChainError
	if _, err := chainOf(v, 3, 0, 35); !errors.As(err, &none) || none.Held != 40 {
		t.Errorf("epoch 35: %v", err)
	}
	if _, err := chainOf(v, 4, 0, 40); !errors.As(err, &none) || none.KeyGroup != 4 {
		t.Errorf("key group 4: %v", err)
	}
}

func TestChainOrBeforeLeadsToTheLastStateThatIsHeldUpToTheAskedEpoch(t *testing.T) {
	v := open(t, testConfig(NewMemory(), 1))
	put(t, v, delta(t, 3, 0, 10, false, "d10"))
	put(t, v, delta(t, 3, 10, 20, false, "d20"))
	put(t, v, delta(t, 3, 20, 30, false, "d30"))
	for through, want := range map[topology.Epoch]string{30: "d10 d20 d30 ", 29: "d10 d20 ", 20: "d10 d20 ", 11: "d10 ", 99: "d10 d20 d30 "} {
		var got string
		r := ChainRequest{testQuery, 2, topology.Range{From: 3, To: 4}, 0, through, true}
		err := v.Chain(context.Background(), r, func(d *Delta) error {
			b, err := d.Data.Append(nil)
			got += string(b) + " "
			return err
		})
		if err != nil || got != want {
			t.Errorf("up to %d: %q, %v; want %q", through, got, err, want)
		}
	}
	var none *NoChainError
	err := v.Chain(context.Background(), ChainRequest{testQuery, 2, topology.Range{From: 3, To: 4}, 0, 9, true}, nil)
	if !errors.As(err, &none) {
		t.Errorf("nothing is held up to 9: %v", err)
	}
}

func TestAQueueGivesOperationsInOrderHoweverLittleIsTaken(t *testing.T) {
	var q, dst queue
	var got []topology.Epoch
	next, want := topology.Epoch(1), topology.Epoch(0)
	for step := range 300 {
		for range step % 4 {
			q.add(&record{typ: recordTrim, query: testQuery, last: next}, &op{to: next})
			next++
		}
		if len(q.ops) == 0 {
			continue
		}
		q.take(&dst, step%5*60)
		if step%7 == 0 {
			q.putBack(&dst)
		}
		for _, o := range dst.ops {
			h, body, wrong := checkRecord(0, stampedCopy(dst.buf[o.offset:o.offset+o.bytes]))
			x, err := decodeRecord(h.typ, body)
			if wrong != "" || err != nil || x.last != o.to {
				t.Fatalf("step %d: %s %v: epoch %d is where %d should be", step, wrong, err, x.last, o.to)
			}
			got = append(got, o.to)
		}
		dst.reset()
	}
	for _, e := range got {
		if want++; e != want {
			t.Fatalf("%d came instead of %d", e, want)
		}
	}
	if len(got)+len(q.ops) != int(next-1) {
		t.Errorf("%d of %d came, %d wait", len(got), next-1, len(q.ops))
	}
}

func stampedCopy(b []byte) []byte {
	b = append([]byte(nil), b...)
	stampRecord(b, 0, 1, 0)
	return b
}

func TestGapAsksForABaseAndWhatIsHeldIsFine(t *testing.T) {
	v, ctx := open(t, testConfig(NewMemory(), 1)), context.Background()
	var need *NeedBaseError
	if err := v.PutDelta(ctx, delta(t, 3, 10, 20, false, "x")).Wait(ctx); !errors.As(err, &need) || need.Held != 0 {
		t.Fatalf("delta on nothing: %v", err)
	}
	put(t, v, delta(t, 3, 0, 10, false, "from empty state"))
	if err := v.PutDelta(ctx, delta(t, 3, 11, 20, false, "x")).Wait(ctx); !errors.As(err, &need) || need.Held != 10 {
		t.Fatalf("delta on a gap: %v", err)
	}
	put(t, v, delta(t, 3, 0, 30, true, "base"))
	put(t, v, delta(t, 3, 20, 30, false, "held already"))
	put(t, v, delta(t, 3, 5, 20, false, "late"))
	wantChain(t, v, 3, 0, 30, "0-30:base")
	wantChain(t, v, 3, 0, 20, "0-10:from empty state 5-20:late")
	for _, d := range []Delta{{To: 0}, {From: 5, To: 5}, {Block: 1, To: 4}, {From: -1, To: 4}, {KeyGroup: 1 << 15, Block: 1 << 11, To: 4}} {
		if err := v.PutDelta(ctx, d).Wait(ctx); !errors.Is(err, ErrMalformed) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

func TestOneFsyncServesAllThatCameInItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := testConfig(NewMemory(), 1)
		c.CommitDelay = 5 * time.Millisecond
		v, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		start := time.Now()
		var all []*Commit
		for g := range topology.KeyGroup(100) {
			all = append(all, v.PutDelta(t.Context(), delta(t, g, 0, 10, true, "x")))
		}
		for _, c := range all {
			if err := c.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start); d != c.CommitDelay || v.Stats().Commits != 1 {
			t.Errorf("%v and %d fsyncs", d, v.Stats().Commits)
		}
	})
}

func TestTrimAndCompactionGiveSpaceBackAndKeepWhatIsNeeded(t *testing.T) {
	m := NewMemory()
	v, ctx := open(t, testConfig(m, 1)), context.Background()
	noise := func(seed int) string {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		b := make([]byte, 300)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	const last = 200
	for e := topology.Epoch(1); e <= last; e++ {
		put(t, v, delta(t, 3, e-1, e, e%10 == 0, noise(int(e))))
		if e%20 == 0 {
			if err := v.Trim(ctx, testQuery, e-5).Wait(ctx); err != nil {
				t.Fatal(err)
			}
			if err := v.Compact(ctx); err != nil {
				t.Fatal(err)
			}
			if s := v.Stats(); s.DiskBytes > 2*s.LiveBytes+2*testConfig(m, 1).SegmentBytes {
				t.Errorf("%d bytes on disk for %d", s.DiskBytes, s.LiveBytes)
			}
		}
	}
	check := func() {
		t.Helper()
		if _, err := chainOf(v, 3, 0, 195); err != nil {
			t.Error(err)
		}
		if got, err := chainOf(v, 3, 0, 200); err != nil || got != "0-200:"+noise(200) {
			t.Errorf("%v", err)
		}
		var none *NoChainError
		if _, err := chainOf(v, 3, 0, 194); err == nil {
			// It may be needed on the way to 195.
		} else if !errors.As(err, &none) {
			t.Error(err)
		}
		if _, err := chainOf(v, 3, 0, 150); !errors.As(err, &none) {
			t.Errorf("a trimmed epoch: %v", err)
		}
	}
	check()
	if s := v.Stats(); s.Compactions == 0 {
		t.Error("nothing was rewritten")
	}
	v.Close()
	v = open(t, testConfig(m, 2))
	check()
	if err := v.Drop(ctx, testQuery).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.PutDelta(ctx, delta(t, 3, 0, 300, true, "x")).Wait(ctx); !errors.Is(err, ErrDropped) {
		t.Errorf("put for a dropped query: %v", err)
	}
	v.Close()
	v = open(t, testConfig(m, 3))
	other := testQuery
	other.Generation++
	d := delta(t, 3, 0, 300, true, "x")
	d.Query = other
	put(t, v, d)
	if err := v.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if s := v.Stats(); s.DiskBytes > 3<<10 {
		t.Errorf("%d bytes on disk in %d segments after all was dropped", s.DiskBytes, s.Segments)
	}
	if err := v.PutDelta(ctx, delta(t, 3, 0, 300, true, "x")).Wait(ctx); !errors.Is(err, ErrDropped) {
		t.Errorf("put for a dropped query after restart: %v", err)
	}
}

// halfDead is a vault of which half of a closed segment is not needed.
func halfDead(t *testing.T) *Vault {
	m, ctx := NewMemory(), context.Background()
	v := open(t, testConfig(m, 1))
	put(t, v, delta(t, 3, 0, 1, true, strings.Repeat("old", 100)))
	put(t, v, delta(t, 4, 0, 1, true, "kept"))
	v.Close() // every process begins a segment
	v = open(t, testConfig(m, 1))
	put(t, v, delta(t, 3, 1, 2, true, "new"))
	put(t, v, delta(t, 4, 1, 2, false, "more"))
	if err := v.Trim(ctx, testQuery, 2).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAVaultIsPressedForSpaceUntilWhatIsNotNeededIsGone(t *testing.T) {
	m, ctx := NewMemory(), context.Background()
	v := open(t, testConfig(m, 1))
	for e := topology.Epoch(1); e <= 100; e++ {
		raw := make([]byte, 1000)
		for i := range raw {
			raw[i] = byte(rand.Uint32())
		}
		put(t, v, delta(t, 3, 0, e, true, string(raw)))
	}
	if err := v.Trim(ctx, testQuery, 100).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if !v.pressing() {
		t.Error("100 states of which one is needed do not press")
	}
	if err := v.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if v.pressing() {
		t.Errorf("it is pressed still: %+v", v.Stats())
	}
}

func TestRewritesGiveWayWhileStatesAreRestoredButNotForEver(t *testing.T) {
	for _, ends := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			v := halfDead(t)
			defer v.Close()
			end := v.Quiet()
			begun, done := time.Now(), make(chan error)
			go func() { done <- v.Compact(context.Background()) }()
			time.Sleep(yieldMost / 2)
			synctest.Wait()
			if v.Stats().Compactions != 0 {
				t.Error("it was rewritten while it was to be quiet")
			}
			if ends {
				end()
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if v.Stats().Compactions == 0 {
				t.Error("it was not rewritten")
			}
			if took := time.Since(begun); ends && took >= yieldMost || !ends && took < yieldMost {
				t.Errorf("it gave way for %v", took)
			}
			wantChain(t, v, 4, 0, 2, "0-1:kept 1-2:more")
		})
	}
}

// A rewrite takes a base away and leaves, in another segment, a delta that built on it.
func TestDeltaWhoseBaseARewriteLeftOutIsNoCorruption(t *testing.T) {
	m, ctx := NewMemory(), context.Background()
	c := testConfig(m, 1)
	v := open(t, c)
	noise := func(n int) string {
		r := rand.New(rand.NewPCG(uint64(n), 1))
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return string(b)
	}
	put(t, v, delta(t, 3, 0, 1, true, noise(300)))
	v.Close() // every process begins a segment
	v = open(t, c)
	put(t, v, delta(t, 3, 1, 2, false, "builds"))
	put(t, v, delta(t, 4, 0, 1, true, noise(2000)))
	v.Close()
	v = open(t, c)
	put(t, v, delta(t, 3, 2, 3, true, noise(400)))
	if err := v.Trim(ctx, testQuery, 3).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := v.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if s := v.Stats(); s.Compactions != 1 || v.segments[0].live != 0 || v.segments[1].header.rewritten {
		t.Fatalf("the case is not what it should be: %+v", s)
	}
	v.Close()
	v = open(t, testConfig(m, 2))
	wantChain(t, v, 3, 0, 3, "0-3:"+noise(400))
	wantChain(t, v, 4, 0, 1, "0-1:"+noise(2000))
	if _, err := chainOf(v, 3, 0, 2); err == nil {
		t.Error("a chain without its base")
	}
}

func TestFullDiskRefusesDeltasKeepsSealsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, ctx := NewMemory(), t.Context()
		v, err := Open(testConfig(m, 1))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		put(t, v, delta(t, 3, 0, 10, true, "kept"))
		adoptAll(t, v, 1, 1)
		m.SetCapacity(m.Used() + 100)
		var full *DiskFullError
		big := delta(t, 3, 10, 20, false, strings.Repeat("x", 250))
		c1, c2 := v.PutDelta(ctx, big), v.PutDelta(ctx, delta(t, 3, 20, 30, false, "y"))
		if err := c1.Wait(ctx); !errors.As(err, &full) || full.Path != "/vault" || !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("first: %v", err)
		}
		if err := c2.Wait(ctx); err == nil {
			t.Fatal("a delta was acknowledged that builds on a refused one")
		}
		wantChain(t, v, 3, 0, 10, "0-10:kept")
		// The reserve lets seals and trims through for a while.
		next := topology.Epoch(1)
		for ; ; next++ {
			if err := v.PutSeal(ctx, SealPut{testQuery, "s", 1, Seal{next, next, pack(t, "seal")}}).Wait(ctx); err != nil {
				if !errors.As(err, &full) {
					t.Fatal(err)
				}
				break
			}
		}
		if next < 3 {
			t.Errorf("only %d seals found room in the reserve", next-1)
		}
		// Held all the same: the next one follows it.
		<-v.PutSeal(ctx, SealPut{testQuery, "s", 1, Seal{next + 1, next + 1, pack(t, "seal")}}).Held()
		m.SetCapacity(0)
		time.Sleep(time.Second) // virtual: the retry writes them
		if s := v.Stats(); s.Pending != 0 {
			t.Errorf("%d operations still wait", s.Pending)
		}
		put(t, v, big)
		if s := v.Stats(); s.Full != nil {
			t.Errorf("still full: %v", s.Full)
		}
		v.Close()
		m.Kill()
		w, err := Open(testConfig(m, 2))
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if state, _ := w.Log(testQuery, "s"); state.Next != next+2 {
			t.Errorf("log ends before %d, want %d", state.Next, next+2)
		}
		wantChain(t, w, 3, 0, 20, "0-10:kept 10-20:"+strings.Repeat("x", 250))
	})
}

func TestAFullVaultThatNobodyWritesToNoticesThatThereIsRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, ctx := NewMemory(), t.Context()
		v, err := Open(testConfig(m, 1))
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		put(t, v, delta(t, 3, 0, 10, true, "kept"))
		m.SetCapacity(m.Used() + 100)
		if err := v.PutDelta(ctx, delta(t, 3, 10, 20, false, strings.Repeat("x", 250))).Wait(ctx); err == nil {
			t.Fatal("a delta found room on a full disk")
		}
		time.Sleep(3 * probeInterval)
		if v.Stats().Full == nil {
			t.Fatal("no longer full, without room")
		}
		m.SetCapacity(m.Used() + 4<<10) // less than a commit may take
		time.Sleep(3 * probeInterval)
		if v.Stats().Full == nil {
			t.Fatal("no longer full, with too little room")
		}
		m.SetCapacity(0)
		time.Sleep(2 * probeInterval)
		if err := v.Stats().Full; err != nil {
			t.Fatalf("still full: %v", err)
		}
	})
}

func TestFailedFsyncStopsTheVaultAndWhatWasAcknowledgedStaysReadable(t *testing.T) {
	m, ctx := NewMemory(), context.Background()
	v := open(t, testConfig(m, 1))
	put(t, v, delta(t, 3, 0, 10, true, "kept"))
	m.SetHook(func(op, path string) error {
		if op == "sync" {
			return syscall.EIO
		}
		return nil
	})
	for range 2 {
		var failed *FailedError
		if err := v.PutDelta(ctx, delta(t, 3, 10, 20, false, "lost")).Wait(ctx); !errors.As(err, &failed) || !errors.Is(err, syscall.EIO) {
			t.Fatalf("put: %v", err)
		}
	}
	wantChain(t, v, 3, 0, 10, "0-10:kept")
	m.SetHook(nil)
	if err := v.Close(); err == nil {
		t.Error("closed as if nothing had happened")
	}
}

func TestOnlyOneProcessOpensADirectory(t *testing.T) {
	for name, filesystem := range map[string]FS{"memory": NewMemory(), "os": OS{}} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(nil, 1)
			c.FS, c.Dir = filesystem, t.TempDir()
			v := open(t, c)
			var locked *LockedError
			if _, err := Open(c); !errors.As(err, &locked) {
				t.Fatalf("second: %v", err)
			}
			if err := v.Close(); err != nil {
				t.Fatal(err)
			}
			w := open(t, c)
			put(t, w, delta(t, 3, 0, 10, true, "on a real file"))
			wantChain(t, w, 3, 0, 10, "0-10:on a real file")
		})
	}
}

func TestForeignAndNewerDirectoriesAreRefused(t *testing.T) {
	m := NewMemory()
	v := open(t, testConfig(m, 1))
	put(t, v, delta(t, 3, 0, 10, true, "x"))
	v.Close()
	for _, change := range []func(c *Config){func(c *Config) { c.Cluster = "c2" }, func(c *Config) { c.Node = "n2" }} {
		c := testConfig(m, 2)
		change(&c)
		var foreign *ForeignError
		if _, err := Open(c); !errors.As(err, &foreign) || foreign.Cluster != "c1" || foreign.Node != "n1" {
			t.Errorf("foreign: %v", err)
		}
	}
	m.names[segmentPath("/vault", 1)].data[8] = 2
	var version *VersionError
	if _, err := Open(testConfig(m, 2)); !errors.As(err, &version) || version.Version != 2 {
		t.Errorf("newer: %v", err)
	}
}

func TestChangedBytesAreCorruptionAndATornTailIsNot(t *testing.T) {
	fill := func() (*Memory, []ref) {
		m := NewMemory()
		c := testConfig(m, 1)
		c.SegmentBytes = 1 << 20
		v := open(t, c)
		for e := topology.Epoch(1); e <= 4; e++ {
			put(t, v, delta(t, 3, e-1, e, false, "data"))
		}
		var at []ref
		for _, e := range v.queries[testQuery].chains[chainKey{2, 3}].entries {
			at = append(at, e.ref)
		}
		v.Close()
		return m, at
	}
	for i := range 4 {
		m, at := fill()
		if err := m.Corrupt(segmentPath("/vault", 1), int64(at[i].offset)+recordHeaderBytes+3); err != nil {
			t.Fatal(err)
		}
		v, err := Open(testConfig(m, 2))
		var corrupt *CorruptError
		switch {
		case i < 2: // two commits follow, so it was fsynced
			if !errors.As(err, &corrupt) || corrupt.File != segmentPath("/vault", 1) || corrupt.Offset != int64(at[i].offset) {
				t.Errorf("record %d: %v", i, err)
			}
		case i == 2 && err == nil:
			t.Error("record 2 was cut although commit 4 follows it")
		case i == 3 && err != nil: // as a torn commit looks
			t.Errorf("record 3: %v", err)
		}
		if v != nil {
			v.Close()
			// Once another segment follows, its header says what counted.
			w := open(t, testConfig(m, 3))
			put(t, w, delta(t, 3, 3, 4, false, "again"))
			wantChain(t, w, 3, 0, 4, "0-1:data 1-2:data 2-3:data 3-4:again")
			w.Close()
			if err := m.Corrupt(segmentPath("/vault", 1), int64(at[2].offset)+recordHeaderBytes+3); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(testConfig(m, 4)); !errors.As(err, &corrupt) || corrupt.Offset != int64(at[2].offset) {
				t.Errorf("last record of a closed segment: %v", err)
			}
		}
	}
	m, _ := fill()
	v := open(t, testConfig(m, 2))
	if err := m.Corrupt(segmentPath("/vault", 1), segmentHeaderBytes+recordHeaderBytes+3); err != nil {
		t.Fatal(err)
	}
	var corrupt *CorruptError
	if _, err := chainOf(v, 3, 0, 2); !errors.As(err, &corrupt) {
		t.Errorf("read of a changed record: %v", err)
	}
	v.Close()
	m, _ = fill()
	w := open(t, testConfig(m, 2))
	put(t, w, delta(t, 3, 4, 5, false, "x"))
	w.Close()
	if err := m.Remove(segmentPath("/vault", 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testConfig(m, 3)); !errors.As(err, &corrupt) || filepath.Base(corrupt.File) != "0000000000000001.log" {
		t.Errorf("missing segment: %v", err)
	}
}

func TestAVaultAsksForABaseBehindManyDeltasSoonerWhereTheyChangeSomething(t *testing.T) {
	const idle, changed = "0123456789abc", "0123456789abcdef0123456789abcdef0123456789abcdef" // as the engine's are, at least
	for _, test := range []struct {
		data string
		most int
	}{{idle, chainDeltasMax}, {changed, chainDeltasMax / 2}} {
		v := open(t, testConfig(NewMemory(), 1))
		put(t, v, delta(t, 1, 0, 1, true, "base"))
		for e := topology.Epoch(2); ; e++ {
			c := v.PutDelta(t.Context(), delta(t, 1, e-1, e, false, test.data))
			if err := c.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if c.WantsBase() {
				if n := int(e - 1); n != test.most+1 {
					t.Errorf("asked for behind %d deltas of %d bytes, not %d", n, len(test.data), test.most+1)
				}
				break
			}
		}
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
