package coordinator

import (
	"cmp"
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// SettingReplicas is the cluster's setting for how many vaults keep each block and each seal log.
const SettingReplicas = "replicas"

const defaultReplicas = 2

// Replicas is k: what the cluster is set to.
func Replicas(s *raftfsm.State) int {
	text, ok := s.Cluster.Setting(SettingReplicas)
	k, err := strconv.Atoi(text)
	if !ok || err != nil || k < 1 {
		return defaultReplicas
	}
	return min(k, raftfsm.MaxVaults)
}

// rendezvous is the weight of a node for something: whoever weighs most has it, and when a node comes or goes little else moves.
func rendezvous(node topology.NodeID, of ...uint64) uint64 {
	h := fnv.New64a()
	var b [8]byte
	for _, x := range of {
		binary.BigEndian.PutUint64(b[:], x)
		h.Write(b[:])
	}
	h.Write([]byte(node))
	// FNV alone weighs names that differ in their last byte alike.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// hosts are the nodes that can take partitions of a fingerprint, with how many they have; it counts what is given to them.
type hosts struct {
	view *View
	list []*host
}

type host struct {
	process topology.Process
	load    int
	spot    bool  // it may be taken away: others come first when they have no more to do
	off     bool  // its clock is too wrong for sources
	taking  int64 // bytes of state that it was given in this decision and has to restore
	silent  bool  // it has joined and not said yet that it works: it opens its vault, for one
}

// newHosts counts the partitions and shadows of all queries on the processes that take some. Those in but are left out.
func (v *View) newHosts(f topology.Fingerprint, but []topology.Process) *hosts {
	h := &hosts{view: v}
	for _, n := range v.State.Nodes {
		p := n.Process()
		if n.Fingerprint != f || !v.takes(n) || slices.Contains(but, p) {
			continue
		}
		x := &host{process: p, off: v.clockOff(p), spot: n.Spot, silent: v.Settled && v.report(p) == nil}
		if p == v.Leader {
			x.load = leaderHandicap
		}
		h.list = append(h.list, x)
	}
	for _, q := range v.State.Queries {
		if !placed(q.State) {
			continue
		}
		for _, st := range q.Stages {
			for _, a := range st.Partitions {
				h.count(a.Process)
			}
			for _, a := range st.Shadows {
				h.count(a.Process)
			}
		}
	}
	return h
}

func (h *hosts) count(p topology.Process) {
	if i := slices.IndexFunc(h.list, func(x *host) bool { return x.process == p }); i >= 0 {
		h.list[i].load++
	}
}

// apart gives the hosts for the i-th of n queries whose processes died together, so that they die apart if one of them is why. Its
// counts are the same.
func (h *hosts) apart(i, n int) *hosts {
	all := h.list
	if others := slices.DeleteFunc(slices.Clone(all), func(x *host) bool { return x.process == h.view.Leader }); len(others) > 0 {
		all = others
	}
	out := &hosts{view: h.view}
	for j, x := range all {
		if j%n == i%len(all) {
			out.list = append(out.list, x)
		}
	}
	return out
}

// none says that nobody takes anything.
func (h *hosts) none() bool { return len(h.list) == 0 }

// choose gives a range to the process with the fewest partitions, of several to one that has copies of it: what restores on a node takes
// the processors from what runs there, whoever has the copies. A source
// goes where the clock is right, if there is such a process, and nothing to one that does not work yet, if there are others. Members
// are the vaults of the range's blocks. Before the number of partitions counts how much state a process was given in the same decision, in
// portions that are restored in time: what is large is restored by many at once.
func (h *hosts) choose(source bool, bytes int64, members []topology.Process, of ...uint64) topology.Process {
	best := -1
	bytes = max(0, bytes)
	score := func(i int) (off, late, load int) {
		x := h.list[i]
		if x.silent {
			off = 2
		}
		load = 2 * x.load
		if slices.Contains(members, x.process) {
			load--
		}
		if source && x.off {
			off++
		}
		return off, int((x.taking + bytes) / restorePieceBytes), load
	}
	for i := range h.list {
		if best < 0 {
			best = i
			continue
		}
		offA, lateA, loadA := score(i)
		offB, lateB, loadB := score(best)
		a, b := rendezvous(h.list[i].process.Node, of...), rendezvous(h.list[best].process.Node, of...)
		spotA, spotB := rankOf(h.list[i].spot), rankOf(h.list[best].spot)
		if cmp.Or(cmp.Compare(offA, offB), cmp.Compare(lateA, lateB), cmp.Compare(loadA, loadB), cmp.Compare(spotA, spotB), cmp.Compare(b, a)) < 0 {
			best = i
		}
	}
	h.list[best].load++
	h.list[best].taking += bytes
	return h.list[best].process
}

func rankOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pieces cuts a range for so many bytes of state into what is restored in time, at most one for each process; borders are those of
// blocks when there are enough. Bytes < 0: not known.
func (h *hosts) pieces(r topology.Range, bytes int64) []topology.Range {
	n := 1
	if bytes > restorePieceBytes {
		n = int(min((bytes+restorePieceBytes-1)/restorePieceBytes, int64(len(h.list))))
	}
	unit := 1
	if r.Len() >= n*topology.BlockGroups {
		unit = topology.BlockGroups
	}
	first, last := int(r.From)/unit, (int(r.To)+unit-1)/unit
	var out []topology.Range
	for _, part := range topology.Split(last-first, n) {
		from, to := (first+int(part.From))*unit, (first+int(part.To))*unit
		out = append(out, topology.Range{From: topology.KeyGroup(max(from, int(r.From))), To: topology.KeyGroup(min(to, int(r.To)))})
	}
	return out
}

// vaultNeed says what a vault set is for.
type vaultNeed struct {
	active   []topology.Process // who must not be its own vault
	upstream []topology.Process // the first vault had better be one of these
	keep     []topology.Process // who is one already and may stay, the first first
	hash     []uint64
}

// vaults chooses the members of a set: those to keep that may stay, then the heaviest by rendezvous hash, in other zones where there
// are some, and of the upstream stage first. There are min(k, nodes-1) of them; a node that takes nothing counts only when there is
// no other, and the active process is its own vault only in a cluster of one.
func (v *View) vaults(need vaultNeed) []topology.Process {
	var able, others, alive []*raftfsm.Node
	for _, n := range v.State.Nodes {
		if !n.Stays() {
			continue
		}
		active := slices.Contains(need.active, n.Process())
		if !active {
			alive = append(alive, n)
		}
		if !v.blamed(n) && !v.fullDisk(n.Process()) {
			able = append(able, n)
			if !active {
				others = append(others, n)
			}
		}
	}
	// A block on two processes may need one of them as a vault: it is one for the other's key groups.
	k := min(Replicas(v.State), max(len(others), len(able)-1))
	pool := others
	switch {
	case k == 0 && len(alive) > 0:
		k, pool = 1, alive
	case k == 0:
		k, pool = 1, able
	case k > len(others):
		pool = able
	}
	var out []topology.Process
	for _, p := range need.keep {
		if len(out) < k && !slices.Contains(need.active, p) && slices.ContainsFunc(pool, func(n *raftfsm.Node) bool { return n.Process() == p }) {
			out = append(out, p)
		}
	}
	for len(out) < k {
		var best *raftfsm.Node
		for _, n := range pool {
			if !slices.Contains(out, n.Process()) && (best == nil || v.compareVaults(n, best, &need, out) < 0) {
				best = n
			}
		}
		if best == nil {
			break
		}
		out = append(out, best.Process())
	}
	return out
}

// compareVaults is negative when a is the better next member.
func (v *View) compareVaults(a, b *raftfsm.Node, need *vaultNeed, chosen []topology.Process) int {
	rank := func(n *raftfsm.Node) int {
		r := 0
		if slices.Contains(need.active, n.Process()) {
			r = 1 << 16
		}
		for _, list := range [][]topology.Process{need.active, chosen} {
			for _, p := range list {
				if other := v.State.Node(p.Node); other != nil && other.Zone == n.Zone {
					r += 2
				}
			}
		}
		if len(chosen) == 0 && !slices.Contains(need.upstream, n.Process()) {
			r++
		}
		return r
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(rendezvous(b.ID, need.hash...), rendezvous(a.ID, need.hash...)), cmp.Compare(a.ID, b.ID))
}

// sealHash tells the vaults of seals from those of blocks.
const sealHash = 1 << 40

// sealGrants gives seal logs to those of the processes that have none in q. Q may be nil for a query that is to be.
func (v *View) sealGrants(incarnation uint64, q *raftfsm.Query, owners []topology.Process) []raftfsm.SealGrant {
	owners = slices.Clone(owners)
	slices.SortFunc(owners, compareProcess)
	var out []raftfsm.SealGrant
	for _, p := range slices.Compact(owners) {
		if q != nil && q.SealSet(p) != nil {
			continue
		}
		members := v.vaults(vaultNeed{active: []topology.Process{p}, hash: []uint64{incarnation, sealHash, rendezvous(p.Node)}})
		out = append(out, raftfsm.SealGrant{Owner: p, Members: members})
	}
	return out
}

// blockMembers are the members of all vault sets that hold key groups of r.
func blockMembers(st *raftfsm.Stage, r topology.Range) []topology.Process {
	var out []topology.Process
	eachBlock(st, r, func(_ topology.BlockID, set *topology.VaultSet) {
		for _, p := range set.Members {
			if !slices.Contains(out, p) {
				out = append(out, p)
			}
		}
	})
	return out
}

// eachBlock calls do with the blocks that have key groups of r.
func eachBlock(st *raftfsm.Stage, r topology.Range, do func(topology.BlockID, *topology.VaultSet)) {
	for b := topology.BlockOf(r.From); int(b) < len(st.Vaults) && b <= topology.BlockOf(r.To-1); b++ {
		do(b, &st.Vaults[b])
	}
}
