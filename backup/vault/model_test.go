package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

const (
	modelGroups = 3
	modelKeys   = 5
)

// modelState is what a key group's state is at an epoch, whoever computes it: epoch e sets one key to e or deletes it.
type modelState [modelKeys]topology.Epoch

func (s *modelState) step(g topology.KeyGroup, e topology.Epoch) (key int) {
	key = int((int64(e)*7 + int64(e)/3 + int64(g)) % modelKeys)
	s[key] = e
	if e%11 == 0 {
		s[key] = 0
	}
	return key
}

func stateAt(g topology.KeyGroup, e topology.Epoch) (s modelState) {
	for i := topology.Epoch(1); i <= e; i++ {
		s.step(g, i)
	}
	return s
}

// modelDelta encodes every key touched in (from, to] with its final value, or all keys.
func modelDelta(g topology.KeyGroup, from, to topology.Epoch, base bool) Delta {
	s := stateAt(g, from)
	var touched [modelKeys]bool
	for e := from + 1; e <= to; e++ {
		touched[s.step(g, e)] = true
	}
	var data []byte
	for k, x := range s {
		if touched[k] || base && x != 0 {
			data = binary.LittleEndian.AppendUint64(append(data, byte(k)), uint64(x))
		}
	}
	if to%4 == 0 {
		data = append(data, bytes.Repeat([]byte{modelKeys}, 9*50)...) // larger, and compressible: nothing is set by it
	}
	p, err := Pack(data)
	if err != nil {
		panic(err)
	}
	return Delta{Query: testQuery, Stage: 2, Block: BlockOf(g), KeyGroup: g, From: from, To: to, Base: base, Data: p}
}

func (s *modelState) apply(d *Delta) error {
	if d.Base || d.From == 0 {
		*s = modelState{}
	}
	data, err := d.Data.Append(nil)
	for ; err == nil && len(data) > 0; data = data[9:] {
		if data[0] < modelKeys {
			s[data[0]] = topology.Epoch(binary.LittleEndian.Uint64(data[1:]))
		}
	}
	return err
}

// model is what a vault must not forget, and what it may hold beside.
type model struct {
	t       *rapid.T
	r       *rand.Rand
	m       *Memory
	v       *Vault
	boot    topology.BootID
	crashed atomic.Bool
	left    atomic.Int64 // operations of the file system until the crash

	acked   [modelGroups]map[topology.Epoch]bool
	trim    topology.Epoch // the highest that was asked for
	promise uint64         // the highest that was acknowledged
	term    uint64         // the highest that was tried
	owner   uint64         // term that is joined in this life, 0 for none
	next    topology.Epoch
	must    map[topology.Epoch]string          // seals that were acknowledged as durable
	may     map[topology.Epoch]map[string]bool // all that was ever put
}

func (x *model) open() {
	x.boot++
	x.owner = 0
	c := testConfig(x.m, x.boot)
	c.SegmentBytes = 1500
	c.ManualCompaction = x.boot%2 == 0
	v, err := Open(c)
	if err != nil {
		if !x.crashed.Load() {
			x.t.Fatalf("open: %v", err)
		}
		return
	}
	x.v = v
}

// crash ends the process, opens the vault again and compares.
func (x *model) crash() {
	x.v.Close()
	for {
		if x.r.IntN(3) == 0 {
			x.m.Kill()
		} else {
			x.m.PowerLoss(x.r)
		}
		x.crashed.Store(false)
		x.left.Store(1 << 30)
		if x.r.IntN(3) == 0 {
			x.left.Store(int64(x.r.IntN(12))) // again, during recovery
		}
		x.m.SetCapacity(0)
		x.v = nil
		x.open()
		if x.v != nil {
			break
		}
	}
	x.left.Store(1 << 30)
	if x.crashed.Load() {
		x.crash()
		return
	}
	x.check()
	x.left.Store(int64(20 + x.r.IntN(150)))
}

func (x *model) check() {
	for g := range topology.KeyGroup(modelGroups) {
		for e := range x.acked[g] {
			if e < x.trim {
				continue
			}
			var s modelState
			err := x.v.Chain(context.Background(), ChainRequest{testQuery, 2, topology.Range{From: g, To: g + 1}, 0, e, false}, s.apply)
			if err != nil || s != stateAt(g, e) {
				x.t.Fatalf("key group %d epoch %d: %v, %v; want %v", g, e, s, err, stateAt(g, e))
			}
		}
	}
	if x.promise > 1 {
		var fenced *FencedError
		if _, err := x.v.FenceLog(context.Background(), FenceRequest{testQuery, "s", x.promise - 1}); !errors.As(err, &fenced) {
			x.t.Fatalf("term %d was accepted, %d was promised: %v", x.promise-1, x.promise, err)
		}
	}
	x.checkLog()
}

// checkLog takes over as a successor does, and compares the log with what must be in it.
func (x *model) checkLog() []Seal {
	x.term++
	f, err := x.v.FenceLog(context.Background(), FenceRequest{testQuery, "s", x.term})
	if err != nil {
		if !x.crashed.Load() && !isDiskFull(err) {
			x.t.Fatalf("fence: %v", err)
		}
		return nil
	}
	defer f.Close()
	x.promise = x.term
	var seals []Seal
	held := map[topology.Epoch]string{}
	err = f.Each(func(s *Seal) error {
		b, err := s.Data.Append(nil)
		if err != nil {
			return err
		}
		if n := len(seals); n > 0 && s.First != seals[n-1].Last+1 {
			return fmt.Errorf("log goes on at %d after %d", s.First, seals[n-1].Last)
		}
		if !x.may[s.Last][string(b)] {
			return fmt.Errorf("seal of epoch %d was never put: %q", s.Last, b)
		}
		held[s.Last] = string(b)
		p, err := Pack(b)
		seals = append(seals, Seal{s.First, s.Last, p})
		return err
	})
	if err != nil {
		if !x.crashed.Load() {
			x.t.Fatalf("log: %v", err)
		}
		return nil
	}
	for e, want := range x.must {
		if e > x.trim && held[e] != want {
			x.t.Fatalf("seal of epoch %d is %q, acknowledged was %q; the log holds %v", e, held[e], want, held)
		}
	}
	return seals
}

func (x *model) putDeltas() {
	type attempt struct {
		d Delta
		c *Commit
	}
	var all []attempt
	for range 1 + x.r.IntN(8) {
		g := topology.KeyGroup(x.r.IntN(modelGroups))
		held, _ := x.v.Acknowledged(context.Background(), testQuery, 2, topology.Range{From: g, To: g + 1}, topology.EpochForever)
		from := topology.Epoch(0)
		if len(held) > 0 {
			from = max(0, held[0].Through-topology.Epoch(x.r.IntN(4)))
		}
		to := from + 1 + topology.Epoch(x.r.IntN(5))
		d := modelDelta(g, from, to, x.r.IntN(6) == 0)
		all = append(all, attempt{d, x.v.PutDelta(context.Background(), d)})
	}
	for _, a := range all {
		err := a.c.Wait(context.Background())
		var need *NeedBaseError
		switch {
		case err == nil:
			x.acked[a.d.KeyGroup][a.d.To] = true
		case errors.As(err, &need):
		case !x.crashed.Load() && !isDiskFull(err):
			x.t.Fatalf("put delta: %v", err)
		}
	}
}

// takeOver is a new owner: it fences, adopts what it found, sometimes without a tail that it knows was not released, and goes
// on from there.
func (x *model) takeOver() {
	seals := x.checkLog()
	if x.crashed.Load() || seals == nil && x.promise < x.term {
		return
	}
	start := x.trim + 1
	if len(seals) > 0 {
		start = seals[0].First
	}
	if n := len(seals); n > 0 && x.r.IntN(3) == 0 {
		for _, s := range seals[n-1-x.r.IntN(min(n, 3)):] {
			delete(x.must, s.Last)
			seals = seals[:len(seals)-1]
		}
	}
	next := start
	if n := len(seals); n > 0 {
		next = seals[n-1].Last + 1
	}
	for e := range x.must {
		next = max(next, e+1) // trimmed ones
	}
	if len(seals) == 0 {
		start = next
	}
	a := Adoption{Query: testQuery, Source: "s", Term: x.term, Start: start, Seals: seals, Begin: true, End: true}
	var err error
	if cut := x.r.IntN(len(seals) + 1); cut > 0 && cut < len(seals) {
		b := a
		a.Seals, a.End = seals[:cut], false
		b.Seals, b.Begin, b.Start = seals[cut:], false, seals[cut].First
		err = x.v.Adopt(context.Background(), a).Wait(context.Background())
		a = b
	}
	if err == nil {
		err = x.v.Adopt(context.Background(), a).Wait(context.Background())
	}
	if err == nil {
		x.owner, x.next = x.term, next
		for _, s := range seals {
			b, _ := s.Data.Append(nil)
			x.must[s.Last] = string(b)
		}
	} else if !x.crashed.Load() && !isDiskFull(err) {
		x.t.Fatalf("adopt: %v", err)
	}
}

func (x *model) putSeals() {
	if x.owner != x.term {
		x.takeOver()
	}
	if x.owner != x.term {
		return
	}
	type attempt struct {
		e    topology.Epoch
		data string
		c    *Commit
	}
	var all []attempt
	for range 1 + x.r.IntN(6) {
		data := fmt.Sprintf("term %d epoch %d %0*d", x.owner, x.next, x.r.IntN(200), 7)
		p, err := Pack([]byte(data))
		if err != nil {
			x.t.Fatal(err)
		}
		if x.may[x.next] == nil {
			x.may[x.next] = map[string]bool{}
		}
		x.may[x.next][data] = true
		c := x.v.PutSeal(context.Background(), SealPut{testQuery, "s", x.owner, Seal{x.next, x.next, p}})
		all = append(all, attempt{x.next, data, c})
		x.next++
	}
	for _, a := range all {
		switch err := a.c.Wait(context.Background()); {
		case err == nil:
			x.must[a.e] = a.data
		case !x.crashed.Load() && !isDiskFull(err):
			x.t.Fatalf("put seal: %v", err)
		}
	}
}

func (x *model) trimSome() {
	through := x.next
	for g := range x.acked {
		last := topology.Epoch(0)
		for e := range x.acked[g] {
			last = max(last, e)
		}
		through = min(through, last)
	}
	if through = max(x.trim, through-topology.Epoch(x.r.IntN(5))); through > 0 {
		x.trim = through
		if err := x.v.Trim(context.Background(), testQuery, through).Wait(context.Background()); err != nil && !x.crashed.Load() && !isDiskFull(err) {
			x.t.Fatalf("trim: %v", err)
		}
	}
	if err := x.v.Compact(context.Background()); err != nil && !x.crashed.Load() && !isDiskFull(err) {
		x.t.Fatalf("compact: %v", err)
	}
}

// What was acknowledged survives any kill and any power loss, at any operation of the file system; base and deltas lead to the
// live state; no term below a promise is accepted; no acknowledged seal is lost.
func TestWhatIsAcknowledgedSurvivesPowerLossAtAnyInstant(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := &model{t: t, r: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1)), m: NewMemory(), next: 1, term: 1,
			must: map[topology.Epoch]string{}, may: map[topology.Epoch]map[string]bool{}}
		for g := range x.acked {
			x.acked[g] = map[topology.Epoch]bool{}
		}
		x.left.Store(int64(x.r.IntN(200)))
		x.m.SetHook(func(op, path string) error {
			if op == "read" || op == "open" {
				return nil
			}
			if x.left.Add(-1) < 0 {
				x.crashed.Store(true)
				return syscall.EIO
			}
			return nil
		})
		for x.open(); x.v == nil; x.open() {
			x.m.PowerLoss(x.r)
			x.left.Store(1000)
			x.crashed.Store(false)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch x.r.IntN(12) {
			case 0:
				x.m.SetCapacity(x.m.Used() + int64(x.r.IntN(3000)))
			case 1, 2:
				x.m.SetCapacity(0)
			case 3:
				x.takeOver()
			case 4, 5:
				x.trimSome()
			case 6, 7, 8:
				x.putSeals()
			default:
				x.putDeltas()
			}
			if x.crashed.Load() {
				x.crash()
			}
		}
		x.crash()
		x.v.Close()
	})
}
