package raftfsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
)

// request is what a client asks of the metadata, and answer what it is told.
type (
	request struct {
		op, name string // add, remove, show
	}
	answer struct {
		incarnation uint64 // add, remove: of the query; show: 0 for none
		done        bool   // add: false when the name is taken; remove: false when there is none
	}
)

// queries is the model: for each name at most one query, known by its incarnation.
var queries = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byName := map[string][]porcupine.Operation{}
		for _, op := range history {
			name := op.Input.(request).name
			byName[name] = append(byName[name], op)
		}
		var out [][]porcupine.Operation
		for _, list := range byName {
			out = append(out, list)
		}
		return out
	},
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		have, in, out := state.(uint64), input.(request), output.(answer)
		switch {
		case in.op == "show":
			return out.incarnation == have, have
		case in.op == "add" && out.done:
			return have == 0, out.incarnation
		case in.op == "add":
			return have != 0, have
		case out.done:
			return have == out.incarnation, uint64(0)
		}
		return have == 0, have
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v -> %v", input, output) },
}

// client asks a cluster as a peer that forwards to the leader does.
type client struct {
	c      *cluster
	random *rand.Rand
	ids    uint64
	number int
}

func (cl *client) id() (id CommandID) {
	cl.ids++
	binary.BigEndian.PutUint64(id[:], uint64(cl.number)+1)
	binary.BigEndian.PutUint64(id[8:], cl.ids)
	return id
}

// current is the state as the leader knows it now.
func (cl *client) current() *State {
	for {
		_, g := cl.c.leader()
		s, err := g.Current(cl.c.t.Context())
		if err == nil {
			return s
		}
		if !errors.Is(err, ErrNotLeader) && !errors.Is(err, ErrClosed) {
			cl.c.t.Errorf("current: %v", err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (cl *client) do(r request) answer {
	switch r.op {
	case "show":
		if q := cl.current().Query(r.name); q != nil {
			return answer{q.ID.Incarnation, true}
		}
		return answer{}
	case "add":
		id := cl.id()
		for {
			k := add(r.name, cl.current().Incarnations+1)
			out := cl.c.propose(Envelope{ID: id, Command: k})
			switch {
			case out.Code == Applied:
				return answer{out.Value, true}
			case out.Reason == NameTaken:
				return answer{}
			case out.Code != Stale:
				cl.c.t.Errorf("add: %+v", out)
				return answer{}
			}
		}
	}
	id := cl.id()
	for {
		q := cl.current().Query(r.name)
		if q == nil {
			return answer{}
		}
		if q.State != Removing {
			cl.c.propose(Envelope{Command: &QueryStateChange{Query: q.ID, StateVersion: q.StateVersion, State: Removing}})
			continue
		}
		if out := cl.c.propose(Envelope{ID: id, Command: &QueryErase{q.ID}}); out.Code == Applied {
			return answer{q.ID.Incarnation, true}
		}
	}
}

func TestMetadataIsLinearizableWhileLeadersAreKilled(t *testing.T) {
	for seed := range uint64(6) {
		synctest.Test(t, func(t *testing.T) {
			history := clientsUnderKills(t, seed)
			if result, _ := porcupine.CheckOperationsVerbose(queries, history, 0); result != porcupine.Ok {
				t.Errorf("seed %d: %d operations: %v", seed, len(history), result)
			}
		})
	}
}

// clientsUnderKills runs clients while leaders are killed, cut off one way or both, and gives what the clients saw.
func clientsUnderKills(t *testing.T, seed uint64) []porcupine.Operation {
	c := newCluster(t, 5, "", nil)
	defer c.close()
	c.propose(Envelope{Command: &ClusterInit{ID: 42}})
	for n := 1; n <= 5; n++ {
		c.propose(Envelope{Command: join(n)})
	}
	const clients, operations = 5, 60
	var clock atomic.Int64 // orders calls and returns, which virtual time does not
	var mu sync.Mutex
	var history []porcupine.Operation
	var running sync.WaitGroup
	var busy atomic.Int64
	busy.Store(clients)
	for n := range clients {
		running.Go(func() {
			defer busy.Add(-1)
			cl := &client{c: c, random: rand.New(rand.NewPCG(seed, uint64(n))), number: n}
			for range operations {
				r := request{[]string{"add", "remove", "show", "show"}[cl.random.IntN(4)], fmt.Sprintf("q%d", cl.random.IntN(3))}
				call := clock.Add(1)
				got := cl.do(r)
				op := porcupine.Operation{ClientId: n, Input: r, Call: call, Output: got, Return: clock.Add(1)}
				mu.Lock()
				history = append(history, op)
				mu.Unlock()
				time.Sleep(time.Duration(cl.random.IntN(100)) * time.Millisecond)
			}
		})
	}
	random := rand.New(rand.NewPCG(seed, 99))
	kills := 0
	for ; busy.Load() > 0; kills++ {
		time.Sleep(time.Duration(random.IntN(300)) * time.Millisecond)
		id, _ := c.leader()
		switch random.IntN(3) {
		case 0:
			c.kill(id)
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
			c.restart(id)
		case 1:
			c.cutOff(id, true)
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
			c.cutOff(id, false)
		case 2: // it is heard by the others, and does not hear them
			for _, other := range c.ids {
				if other != id {
					c.net.setCut(other, c.ids[random.IntN(5):], true)
				}
			}
			time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
			for _, other := range c.ids {
				c.net.setCut(other, c.ids, false)
			}
		}
	}
	running.Wait()
	if kills < 5 {
		t.Errorf("only %d faults", kills)
	}
	return history
}

// The checker would notice: a show that misses an add that was answered before.
func TestTheLinearizabilityCheckNoticesAStaleRead(t *testing.T) {
	history := []porcupine.Operation{
		{Input: request{"add", "q"}, Call: 1, Output: answer{1, true}, Return: 2},
		{Input: request{"show", "q"}, Call: 3, Output: answer{}, Return: 4},
	}
	if porcupine.CheckOperations(queries, history) {
		t.Error("taken for linearizable")
	}
}
