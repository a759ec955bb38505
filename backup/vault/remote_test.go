package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/dataplane/transport"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// remote serves v over a network in memory and gives a client of it; stop ends the connection and waits.
func remote(t testing.TB, v *Vault) (c *Client, stop func()) {
	t.Helper()
	m := transport.NewMemory(transport.Options{})
	l, err := m.Node("vault").Listen("")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	conn, err := m.Node("client").Dial(ctx, l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	served, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c = NewClient(conn)
	var wg sync.WaitGroup
	wg.Go(func() { v.Serve(context.Background(), served) })
	wg.Go(func() { c.Run(ctx) })
	if err := c.Hello(ctx); err != nil {
		t.Fatal(err)
	}
	return c, func() {
		cancel()
		wg.Wait()
		l.Close()
	}
}

func TestARemoteVaultBehavesAsALocalOne(t *testing.T) {
	v, ctx := open(t, testConfig(NewMemory(), 9)), context.Background()
	c, stop := remote(t, v)
	defer stop()
	if c.Node() != "n1" || c.Boot() != 9 {
		t.Errorf("node %q boot %d", c.Node(), c.Boot())
	}
	var all []*Commit
	for e := topology.Epoch(1); e <= 3; e++ {
		for g := range topology.KeyGroup(200) {
			all = append(all, c.PutDelta(ctx, modelDelta(g, e-1, e, false)))
		}
	}
	for _, p := range all {
		if err := p.Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	var states [200]modelState
	r := ChainRequest{testQuery, 2, topology.Range{From: 0, To: 200}, 0, 3, false}
	if err := c.Chain(ctx, r, func(d *Delta) error { return states[d.KeyGroup].apply(d) }); err != nil {
		t.Fatal(err)
	}
	for g := range states {
		if states[g] != stateAt(topology.KeyGroup(g), 3) {
			t.Fatalf("key group %d: %v", g, states[g])
		}
	}
	local, _ := v.Acknowledged(ctx, testQuery, 2, r.Range, 2)
	if held, err := c.Acknowledged(ctx, testQuery, 2, r.Range, 2); err != nil || !reflect.DeepEqual(held, local) || len(held) != 200 {
		t.Errorf("%d held, %v; local %d", len(held), err, len(local))
	}
	if err := AdoptLog(ctx, c, adoption(t, 5, 1, "a", "b")).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	p := c.PutSeal(ctx, SealPut{testQuery, "s", 5, Seal{3, 3, pack(t, "c")}})
	if err := errors.Join(p.WaitHeld(ctx), p.Wait(ctx)); err != nil {
		t.Fatal(err)
	}
	if got, state, err := fenceLog(c, 7); err != nil || got != "1a 2b 3c" || !state.Joined || state.Next != 4 || state.LogBoot != 9 {
		t.Errorf("%q %+v %v", got, state, err)
	}
	if err := c.Trim(ctx, testQuery, 2).Wait(ctx); err != nil {
		t.Error(err)
	}
	if got, _, err := fenceLog(c, 7); err != nil || got != "3c" {
		t.Errorf("after trim %q, %v", got, err)
	}
}

func TestErrorsKeepTheirTypesOnTheirWay(t *testing.T) {
	v, ctx := open(t, testConfig(NewMemory(), 9)), context.Background()
	c, stop := remote(t, v)
	defer stop()
	same := func(what string, run func(a Access) error) {
		t.Helper()
		want, got := run(v), run(c)
		if want == nil || got == nil || reflect.TypeOf(want) != reflect.TypeOf(got) || want.Error() != got.Error() {
			t.Errorf("%s: got %T %v, want %T %v", what, got, got, want, want)
		}
	}
	same("gap", func(a Access) error { return a.PutDelta(ctx, delta(t, 3, 5, 6, false, "x")).Wait(ctx) })
	same("chain", func(a Access) error {
		return a.Chain(ctx, ChainRequest{testQuery, 2, topology.Range{To: 1}, 0, 9, false}, nil)
	})
	put := func(term uint64, e topology.Epoch, data string) func(a Access) error {
		return func(a Access) error {
			return a.PutSeal(ctx, SealPut{testQuery, "s", term, Seal{e, e, pack(t, data)}}).Wait(ctx)
		}
	}
	same("not joined", put(5, 1, "a"))
	adoptAll(t, v, 5, 1, "a")
	same("fenced", put(4, 2, "b"))
	same("seal gap", put(5, 4, "d"))
	same("conflict", put(5, 1, "x"))
	if err := c.Drop(ctx, testQuery).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if err := put(5, 2, "b")(c); !errors.Is(err, ErrDropped) {
		t.Errorf("dropped: %v", err)
	}
	for _, err := range []error{&DiskFullError{"/x", 5, nil}, &FailedError{"/x", errors.New("bad")}, &CorruptError{"/x", 7, "it"}, ErrBusy, errors.New("other")} {
		x := refusalOf(err)
		if got := x.err("n1"); reflect.TypeOf(got) != reflect.TypeOf(err) && !errors.Is(got, err) && x.code != refusedOther {
			t.Errorf("%v became %T %v", err, got, got)
		}
	}
}

func TestEndOfAConnectionFailsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		config := testConfig(NewMemory(), 9)
		config.CommitDelay = 1 << 40
		v, err := Open(config)
		if err != nil {
			t.Fatal(err)
		}
		c, stop := remote(t, v)
		var all []*Commit
		for g := range topology.KeyGroup(RequestsMax) {
			all = append(all, c.PutDelta(t.Context(), delta(t, g, 0, 1, true, "x")))
		}
		// One more finds no room.
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.PutDelta(ctx, delta(t, 0, 0, 2, true, "x")).Wait(t.Context()); !errors.Is(err, context.Canceled) {
				t.Errorf("beyond the limit: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		stop()
		for _, p := range all {
			if p.Wait(t.Context()) == nil {
				t.Fatal("acknowledged over a connection that ended before")
			}
		}
		if err := c.PutDelta(t.Context(), delta(t, 0, 0, 2, true, "x")).Wait(t.Context()); err == nil {
			t.Error("put on an ended connection")
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestLargeChainsFlowWithCreditAndStopWhenAsked(t *testing.T) {
	config := testConfig(NewMemory(), 9)
	config.SegmentBytes = 4 << 20
	v, ctx := open(t, config), context.Background()
	r := rand.New(rand.NewPCG(1, 1))
	const each, groups = 1 << 20, 24
	data := make([]byte, each)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	for g := range topology.KeyGroup(groups) {
		data[0] = byte(g)
		put(t, v, delta(t, g, 0, 1, true, string(data)))
	}
	c, stop := remote(t, v)
	defer stop()
	ask := ChainRequest{testQuery, 2, topology.Range{To: groups}, 0, 1, false}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			next := topology.KeyGroup(0)
			var buf []byte
			err := c.Chain(ctx, ask, func(d *Delta) (err error) {
				buf, err = d.Data.Append(buf[:0])
				if d.KeyGroup != next || len(buf) != each || buf[0] != byte(next) || !bytes.Equal(buf[1:], data[1:]) {
					return fmt.Errorf("key group %d: %d bytes", d.KeyGroup, len(buf))
				}
				next++
				return err
			})
			if err != nil || next != groups {
				t.Errorf("%d key groups, %v", next, err)
			}
		})
	}
	wg.Wait()
	stopped := errors.New("enough")
	if err := c.Chain(ctx, ask, func(*Delta) error { return stopped }); !errors.Is(err, stopped) {
		t.Errorf("stopped: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	if err := c.Chain(ended, ask, func(*Delta) error { cancel(); return nil }); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := c.Acknowledged(ctx, testQuery, 2, ask.Range, 2); err != nil {
		t.Errorf("the connection after that: %v", err)
	}
}

func TestLargeLogIsAdoptedInParts(t *testing.T) {
	config := testConfig(NewMemory(), 9)
	config.SegmentBytes = 4 << 20
	v, ctx := open(t, config), context.Background()
	c, stop := remote(t, v)
	defer stop()
	a := Adoption{Query: testQuery, Source: "s", Term: 5, Start: 1}
	r := rand.New(rand.NewPCG(1, 1))
	for e := topology.Epoch(1); e <= 30; e++ {
		data := make([]byte, 1<<20)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		p, err := Pack(data)
		if err != nil {
			t.Fatal(err)
		}
		a.Seals = append(a.Seals, Seal{e, e, p})
	}
	if err := AdoptLog(ctx, c, a).Wait(ctx); err != nil {
		t.Fatal(err)
	}
	next := 0
	state, err := c.Fence(ctx, FenceRequest{testQuery, "s", 6}, func(s *Seal) error {
		if s.First != a.Seals[next].First || fingerprintOf(s.Data) != fingerprintOf(a.Seals[next].Data) {
			return fmt.Errorf("seal of epoch %d is not what was adopted", s.First)
		}
		next++
		return nil
	})
	if err != nil || next != 30 || state.Seals != 30 {
		t.Errorf("%d seals, %+v, %v", next, state, err)
	}
}

// unread is a connection to a vault that has 200 key groups, which sends n questions about them and reads nothing.
func unread(t *testing.T, n int) (conn transport.Conn, sent error, served <-chan error, stop func()) {
	t.Helper()
	v, ctx := open(t, testConfig(NewMemory(), 1)), context.Background()
	for g := range topology.KeyGroup(200) {
		if err := v.PutDelta(ctx, modelDelta(g, 0, 1, false)).Wait(ctx); err != nil {
			t.Fatal(err)
		}
	}
	network := transport.NewStreams(64 << 10)
	l, err := network.Host("vault").Listen("vault:1")
	if err != nil {
		t.Fatal(err)
	}
	dialed, err := network.Host("client").Dial(ctx, "vault:1")
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	conn = transport.Wrap(dialed, transport.Options{})
	end := make(chan error, 1)
	go func() { end <- v.Serve(ctx, transport.Wrap(accepted, transport.Options{})) }()
	for id := range n {
		ask := message{typ: typeStatus, id: uint64(id + 1), chain: ChainRequest{Query: testQuery, Stage: 2, Range: topology.Range{To: 200}, Through: 1}}
		if sent = conn.Send(ask.append(nil)); sent != nil {
			break
		}
	}
	if sent == nil {
		sent = conn.Flush()
	}
	return conn, sent, end, func() {
		conn.Close()
		l.Close()
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
}

// While a vault did not read because its answers were not read, a TCP connection whose two directions were full stood still for ever.
func TestAVaultReadsRequestsHoweverMuchOfItsAnswersWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 5000
		conn, err, served, stop := unread(t, n)
		defer func() { stop(); <-served }()
		if err != nil {
			t.Fatal(err)
		}
		bytes, done := 0, 0
		for done < n {
			msg, err := conn.Receive()
			if err != nil {
				t.Fatal(err)
			}
			for bytes += len(msg); len(msg) > 0; {
				var m message
				if msg, err = decodeMessage(msg, &m); err != nil {
					t.Fatal(err)
				}
				if m.typ == typeDone {
					done++
				}
			}
		}
		if bytes < 2*replyBytesMax {
			t.Errorf("%d bytes of answers are not much", bytes)
		}
	})
}

func TestWhoAsksForEverAndReadsNothingIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, sent, served, stop := unread(t, 100_000)
		defer stop()
		if err := <-served; !errors.Is(err, ErrBusy) {
			t.Errorf("the vault says %v", err)
		}
		if sent == nil {
			t.Error("all was sent")
		}
	})
}

func TestMemoryOfPartsIsUsedAgainWithinBoundsAndOnlyWhileStreamsAreUnderWay(t *testing.T) {
	var s spare
	s.add(make([]byte, 10))
	if len(s.parts) > 0 {
		t.Error("memory is kept without a stream")
	}
	s.streams = 2
	small, large := s.copyOf([]byte("small")), s.copyOf(make([]byte, 1000))
	s.add(large)
	s.add(small)
	again := s.copyOf([]byte("again"))
	if &again[0] != &small[0] || string(again) != "again" {
		t.Errorf("%q is not in the smallest memory that it fits in", again)
	}
	if other := s.copyOf(make([]byte, 2000)); &other[0] == &large[0] || s.bytes != cap(large) {
		t.Error("what does not fit took memory")
	}
	for range 100 {
		s.add(make([]byte, 10))
	}
	s.add(make([]byte, spareBytes))
	if len(s.parts) > sparePartsMax || s.bytes > spareBytes {
		t.Errorf("%d parts of %d bytes are kept", len(s.parts), s.bytes)
	}
	if s.end(); len(s.parts) == 0 {
		t.Error("the other stream has lost its memory")
	}
	if s.end(); len(s.parts) > 0 || s.bytes != 0 {
		t.Error("memory is kept behind the last stream")
	}
}

func TestCallsOverAConnectionOfWhichTheVaultTakesNothingFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := transport.NewStreams(0)
		l, err := net.Host("vault").Listen(":1")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ours, err := net.Host("client").Dial(t.Context(), l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer theirs.Close()
		c := NewClient(transport.Wrap(ours, transport.Options{StalledMax: 20 * time.Second}))
		ended := make(chan error)
		go func() { ended <- c.Run(t.Context()) }()
		small := c.PutSeal(t.Context(), SealPut{Query: testQuery, Source: "s", Term: 1, Seal: Seal{First: 1, Last: 1, Data: pack(t, "x")}})
		data := make([]byte, 2<<20)
		r := rand.New(rand.NewPCG(1, 1))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		large := c.PutDelta(t.Context(), delta(t, 1, 0, 1, true, string(data)))
		for _, p := range []*Commit{large, small} {
			if err := p.Wait(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("what nobody takes is told as %v", err)
			}
		}
		<-ended
	})
}
