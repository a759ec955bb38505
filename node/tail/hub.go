package tail

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// defaultBytesMax is Hub.BytesMax where that is 0.
const defaultBytesMax = 16 << 20

// Hub knows who follows which sinks on a node, and which parts of them are there. Its zero value is ready; its methods may be called
// concurrently. A nil Hub is one that nobody follows.
type Hub struct {
	// BytesMax bounds what is held for each follower, and what each part holds until it may be seen, in bytes of memory; but a single epoch
	// of a part may be larger. It is set before the first use; 0: 16 MiB.
	BytesMax int

	mu    sync.Mutex
	sinks map[name]*followed
}

func (h *Hub) bytesMax() int {
	if h.BytesMax > 0 {
		return h.BytesMax
	}
	return defaultBytesMax
}

// followed is a sink that has followers or parts here.
type followed struct {
	followers atomic.Pointer[[]*Follower] // not changed once there
	users     int                         // followers and parts; of the hub's mu
}

// Follow follows a sink, whether this node has a part of it already or not. The caller closes the Follower.
func (h *Hub) Follow(query topology.QueryID, table string) *Follower {
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &Follower{hub: h, name: name{query, table}, wake: make(chan struct{}, 1)}
	f.sink = h.use(f.name)
	list := append(slices.Clone(f.sink.list()), f)
	f.sink.followers.Store(&list)
	return f
}

func (h *Hub) leave(f *Follower) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(f.sink.list()), func(o *Follower) bool { return o == f })
	f.sink.followers.Store(&list)
	h.unuse(f.name)
}

// Open is for one who writes the key groups r of a sink. The caller closes the Part, nil for a nil Hub.
func (h *Hub) Open(s Shape, r topology.Range) *Part {
	if h == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &Part{hub: h, shape: s, rng: r, name: name{s.Query, s.Table}}
	p.sink = h.use(p.name)
	return p
}

func (h *Hub) use(n name) *followed {
	if h.sinks == nil {
		h.sinks = map[name]*followed{}
	}
	if h.sinks[n] == nil {
		h.sinks[n] = &followed{}
	}
	h.sinks[n].users++
	return h.sinks[n]
}

func (h *Hub) unuse(n name) {
	if h.sinks[n].users--; h.sinks[n].users == 0 {
		delete(h.sinks, n)
	}
}

func (f *followed) list() []*Follower {
	if list := f.followers.Load(); list != nil {
		return *list
	}
	return nil
}
