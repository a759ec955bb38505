package agent

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/hashicorp/raft"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/operator"
	"github.com/seepnode/seepnode/raftfsm"
)

// trial is a cluster of whole agents to which faults happen: at protocol events and at random times, all drawn from a seed.
type trial struct {
	*cluster
	r         *rand.Rand
	logMemory int64 // that output logs may take in memory before they go to disk
	names     []string
	operators *operator.Registry
	own       map[string]*operator.Registry // of nodes that have others
	clocks    map[string]*steppedClock
	closing   map[string]chan struct{} // processes that were killed and have not ended yet
	leaving   map[string]context.CancelFunc
	leavers   sync.WaitGroup
	tally     *tally // what happened in all schedules; nil: nobody counts
	delays    map[[2]string]time.Duration
	heals     []heal
	frozen    map[string]bool
	dead      map[string]*atomic.Bool // of the processes that run now, or ran last
	happened  []string                // what was done, for a test that fails
	began     time.Time
	events    events
	during    int // faults that happened
}

// heal ends a fault at a time.
type heal struct {
	at time.Time
	do func()
}

// events are those of the cluster by name, counted as they happen. A trigger fires at the nth one from when it was armed.
type events struct {
	mu    sync.Mutex
	last  uint64 // the highest index of a command seen
	armed *trigger
}

type trigger struct {
	event string
	nth   int
	whom  string            // may change until it has fired
	at    func(whom string) // called at once, within the event; must not block
	fired atomic.Bool
}

// happen counts an event.
func (e *events) happen(event string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.armed
	if t == nil || t.event != event || t.fired.Load() {
		return
	}
	if t.nth--; t.nth <= 0 {
		if t.at != nil {
			t.at(t.whom)
		}
		t.fired.Store(true)
	}
}

func (e *events) arm(t *trigger) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.armed = t
}

// disarm lets no trigger fire any more, and says whether none has: who died within its event has to be started again.
func (e *events) disarm() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.armed != nil && e.armed.fired.Load() {
		return false
	}
	e.armed = nil
	return true
}

// aim says whom a trigger is about, unless it has fired, and gives whom it is about.
func (e *events) aim(t *trigger, whom string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !t.fired.Load() {
		t.whom = whom
	}
	return t.whom
}

// stored is told of a command before any log has it: nothing is committed yet.
func (e *events) stored(l *raft.Log) {
	if l.Type != raft.LogCommand || len(l.Data) < 2 {
		return
	}
	e.mu.Lock()
	news := l.Index > e.last
	e.last = max(e.last, l.Index)
	e.mu.Unlock()
	if news {
		e.happen(commandEvent(raftfsm.Kind(l.Data[1])))
	}
}

func commandEvent(k raftfsm.Kind) string { return "command " + strconv.Itoa(int(k)) }
func syncEvent(node string) string       { return "sync of " + node }

// tapped is a log that tells of what is put into it, while its process lives: that what is acknowledged is on disk, and what is not may or may
// not be, is shown where the files are (raftfsm).
type tapped struct {
	raft.LogStore
	events *events
	dead   *atomic.Bool
}

var errDead = errors.New("the process was killed")

// lasting is a stable store to which a process that was killed writes nothing more.
type lasting struct {
	raft.StableStore
	dead *atomic.Bool
}

func (s lasting) Set(key, val []byte) error {
	if s.dead.Load() {
		return nil // Raft would panic, and nobody hears of what it does any more
	}
	return s.StableStore.Set(key, val)
}

func (s lasting) SetUint64(key []byte, val uint64) error {
	if s.dead.Load() {
		return nil
	}
	return s.StableStore.SetUint64(key, val)
}

func (l tapped) DeleteRange(least, most uint64) error {
	if l.dead.Load() {
		return errDead
	}
	return l.LogStore.DeleteRange(least, most)
}

func (l tapped) StoreLog(e *raft.Log) error { return l.StoreLogs([]*raft.Log{e}) }

func (l tapped) StoreLogs(list []*raft.Log) error {
	for _, e := range list {
		l.events.stored(e)
	}
	if l.dead.Load() { // also by what happened at this event
		return errDead
	}
	return l.LogStore.StoreLogs(list)
}

// steppedClock is a host's clock, of which the wall's part can be set, as on a real host: the monotonic part goes on.
type steppedClock struct{ seconds atomic.Int64 }

// now has both parts: what package time gives in a bubble has the wall's alone.
func (c *steppedClock) now() time.Time {
	const from1885 = (85*365 + 20) * 24 * 60 * 60 // seconds until 1970
	real := time.Now()
	t := real
	parts := (*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&t))
	parts.wall = 1<<63 | uint64(real.Unix()+from1885+c.seconds.Load())<<30 | uint64(real.Nanosecond())
	parts.ext = real.UnixNano()
	return t
}

func TestASteppedClockGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c steppedClock
		before := c.now()
		if d := before.UnixMilli() - time.Now().UnixMilli(); d != 0 {
			t.Fatalf("%v is %d ms off", before, d)
		}
		c.seconds.Store(600)
		after := c.now()
		if d := after.Sub(before); d != 0 {
			t.Errorf("the monotonic part was stepped by %v", d)
		}
		if d := after.UnixMilli() - before.UnixMilli(); d != 600_000 {
			t.Errorf("the wall's part was stepped by %d ms", d)
		}
	})
}

// Else the next event kills processes that nobody starts again.
func TestAScheduleThatIsCutShortLeavesNothingArmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := prepareTrial(t, 1, 3, nil)
		defer w.end()
		asked := 0
		w.endure([]fault{{after: time.Hour, event: "never", nth: 1, kind: faultKillAll}}, time.Second, func() bool {
			asked++
			return asked > 2
		})
		if w.events.armed != nil {
			t.Error("the next event would kill all")
		}
	})
}

// newTrial starts that many agents, n1, n2, ..., which found a cluster together over a network with small random delays.
func newTrial(t *testing.T, seed uint64, nodes int, operators *operator.Registry) *trial {
	w := prepareTrial(t, seed, nodes, operators)
	w.found()
	return w
}

// prepareTrial has hosts without processes.
func prepareTrial(t *testing.T, seed uint64, nodes int, operators *operator.Registry) *trial {
	w := &trial{cluster: newCluster(t), r: rand.New(rand.NewPCG(seed, 77)), operators: operators, clocks: map[string]*steppedClock{},
		closing: map[string]chan struct{}{}, leaving: map[string]context.CancelFunc{}, delays: map[[2]string]time.Duration{}, frozen: map[string]bool{}, dead: map[string]*atomic.Bool{}, began: time.Now()}
	w.logMemory = []int64{0, 1, 16 << 10}[seed%3]
	for i := range nodes {
		w.names = append(w.names, fmt.Sprintf("n%d", i+1))
	}
	for _, a := range w.names {
		w.clocks[a] = &steppedClock{}
		for _, b := range w.names {
			if a != b {
				w.delays[[2]string{a, b}] = time.Duration(200+w.r.IntN(3000)) * time.Microsecond
				w.net.SetDelay(a, b, w.delays[[2]string{a, b}])
			}
		}
	}
	return w
}

// found starts the processes of all nodes.
func (w *trial) found() {
	for _, n := range w.names {
		w.launch(n, len(w.names))
	}
	w.ready(w.running()...)
}

// launch starts the process of a node on the disk that it had before.
func (w *trial) launch(name string, expect int) {
	w.t.Helper()
	config := w.config(name)
	config.Operators, config.BootstrapExpect, config.LogMemory = w.operators, expect, w.logMemory
	if own := w.own[name]; own != nil {
		config.Operators = own
	}
	for _, n := range w.names {
		config.Join = append(config.Join, net.JoinHostPort(n, "7601"))
	}
	d := w.disks[name]
	if d == nil {
		d = &disk{stores: raftfsm.MemoryStores(), vault: vault.NewMemory()}
		w.disks[name] = d
		d.vault.SetHook(func(op, _ string) error {
			if op == "sync" {
				w.events.happen(syncEvent(name))
			}
			return nil
		})
	}
	stores := *d.stores
	dead := &atomic.Bool{}
	w.mu.Lock()
	w.dead[name] = dead
	w.mu.Unlock()
	stores.Log, stores.Stable = tapped{d.stores.Log, &w.events, dead}, lasting{d.stores.Stable, dead}
	a, err := Start(w.t.Context(), config, WithNetwork(w.net.Host(name), w.join), WithLogger(testLogger(w.t, name)), WithChance(w.chance),
		WithClock(w.clocks[name].now),
		WithRaft(func(r *raftfsm.Config) { r.Dir, r.Stores = "", &stores }), WithVault(func(v *vault.Config) { v.FS = d.vault }))
	if err != nil {
		w.t.Fatalf("starting %s: %v\n%s", name, err, w.story())
	}
	w.mu.Lock()
	w.agents[name] = a
	w.mu.Unlock()
}

// end ends all.
func (w *trial) end() {
	for _, cancel := range w.leaving {
		cancel()
	}
	w.leavers.Wait()
	for _, done := range w.closing {
		<-done
	}
	for _, n := range w.names {
		w.net.SetFrozen(n, false)
	}
	w.close()
}

func (w *trial) note(format string, args ...any) {
	w.happened = append(w.happened, fmt.Sprintf("%v: ", time.Since(w.began))+fmt.Sprintf(format, args...))
}

// story is what happened.
func (w *trial) story() string { return strings.Join(w.happened, "\n") }

// runs says whether a node has a process.
func (w *trial) runs(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.agents[name] != nil
}

// leads is the node that leads now, or any.
func (w *trial) leads() string {
	for _, a := range w.running() {
		if _, ok := a.member.Group().Leads(); ok {
			return a.config.Name
		}
	}
	return w.names[w.r.IntN(len(w.names))]
}

// die ends what a process does to others and to its disk; down follows.
func (w *trial) die(name string) {
	w.net.Kill(name)
	w.mu.Lock()
	dead := w.dead[name]
	w.mu.Unlock()
	if dead != nil {
		dead.Store(true)
	}
}

// down kills the processes of nodes at one instant, with the power when power is set: what was not fsynced is torn then.
func (w *trial) down(power bool, names ...string) {
	for _, n := range names {
		w.die(n)
	}
	for _, n := range names {
		w.mu.Lock()
		a := w.agents[n]
		delete(w.agents, n)
		w.mu.Unlock()
		if a == nil {
			continue
		}
		if cancel := w.leaving[n]; cancel != nil {
			cancel()
		}
		w.gossip.Kill(n, time.Second)
		if power {
			w.disks[n].vault.PowerLoss(w.r)
		} else {
			w.disks[n].vault.Kill()
		}
		w.note("%s is killed, power lost: %v", n, power)
		done := make(chan struct{})
		w.closing[n] = done
		go func() {
			defer close(done)
			a.Close() //nolint:errcheck // it was killed
		}()
	}
}

// up starts a node that was killed, if it was.
func (w *trial) up(name string) {
	if w.runs(name) {
		return
	}
	if done := w.closing[name]; done != nil {
		<-done
		delete(w.closing, name)
	}
	w.note("%s is started", name)
	w.launch(name, 0)
}

// later does something after a while.
func (w *trial) later(d time.Duration, do func()) {
	w.heals = append(w.heals, heal{time.Now().Add(d), do})
}

// healed ends the faults that are due, and says whether all are ended.
func (w *trial) healed() bool {
	for i := 0; i < len(w.heals); {
		h := w.heals[i]
		if time.Now().Before(h.at) {
			i++
			continue
		}
		w.heals = slices.Delete(w.heals, i, i+1)
		h.do()
	}
	return len(w.heals) == 0
}

// hold holds what goes from some nodes to others, one way, for a while.
func (w *trial) hold(from, to []string, d time.Duration) {
	w.note("nothing arrives from %v at %v for %v", from, to, d)
	set := func(held bool) {
		for _, a := range from {
			for _, b := range to {
				if a != b {
					w.net.SetHeld(a, b, held)
				}
			}
		}
	}
	set(true)
	w.later(d, func() { set(false) })
}

// freeze stops a host for a while.
func (w *trial) freeze(name string, d time.Duration) {
	if w.frozen[name] {
		return
	}
	w.note("%s is frozen for %v", name, d)
	w.frozen[name] = true
	w.net.SetFrozen(name, true)
	w.later(d, func() {
		w.frozen[name] = false
		w.net.SetFrozen(name, false)
	})
}

// slow delays what goes between a node and all others for a while.
func (w *trial) slow(name string, by, d time.Duration) {
	w.note("%s is slower by %v for %v", name, by, d)
	set := func(extra time.Duration) {
		for pair, usual := range w.delays {
			if pair[0] == name || pair[1] == name {
				w.net.SetDelay(pair[0], pair[1], usual+extra)
			}
		}
	}
	set(by)
	w.later(d, func() { set(0) })
}

// step sets a node's clock.
func (w *trial) step(name string, seconds int64) {
	w.note("the clock of %s is %d s off", name, seconds)
	w.clocks[name].seconds.Store(seconds)
}

// person is a client that asks any node.
func (w *trial) person() *client.Client {
	w.t.Helper()
	host := w.net.Host("person")
	var addresses []string
	for _, n := range w.names {
		addresses = append(addresses, "http://"+net.JoinHostPort(n, "7600"))
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return host.Dial(ctx, address) }}
	k, err := client.New(client.Config{Address: strings.Join(addresses, ","), Token: testToken, HTTPClient: &http.Client{Transport: transport}, RetryFor: time.Minute})
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// latest is the newest metadata that any node has.
func (w *trial) latest() *raftfsm.State {
	s := &raftfsm.State{}
	for _, a := range w.running() {
		if v := a.Machine().View(); v.Version > s.Version {
			s = v
		}
	}
	return s
}

// rounds is how many schedules a test draws: SEEPNODE_ROUNDS, or by default.
func rounds(t *testing.T, usual, short int) int {
	t.Helper()
	if text := os.Getenv("SEEPNODE_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("SEEPNODE_ROUNDS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return short
	}
	return usual
}

// seeds are those to run: SEEPNODE_SEED alone, or so many from SEEPNODE_FIRST (0).
func seeds(t *testing.T, usual, short int) (list []uint64) {
	t.Helper()
	if text := os.Getenv("SEEPNODE_SEED"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("SEEPNODE_SEED: %v", err)
		}
		return []uint64{n}
	}
	first := uint64(0)
	if text := os.Getenv("SEEPNODE_FIRST"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("SEEPNODE_FIRST: %v", err)
		}
	}
	for i := range uint64(rounds(t, usual, short)) {
		list = append(list, first+i)
	}
	return list
}
