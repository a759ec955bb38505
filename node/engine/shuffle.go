package engine

import (
	"sync"

	"github.com/seepnode/seepnode/dataplane"
	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/query/plan"
	"github.com/seepnode/seepnode/node/relational"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// shuffler sorts rows stably by consumer key group: with producing key groups in ascending order on the way in, each consumer
// key group gets its rows in canonical order.
type shuffler struct {
	hashes  []uint64
	keys    []byte
	targets []uint16
	counts2 []uint32
	order   []uint32
	// runs says that pieces carry the run-length column of producing key groups, which frames to other nodes need.
	runs      bool
	producers []topology.KeyGroup // per row, scratch for runs
	merged    *relational.Grouped
	at        []int
}

// rowsPool gives the memory of one output's rows back to the partition when the log has let go of it. Safe for concurrent use.
type rowsPool struct {
	mu     sync.Mutex
	schema *batch.Schema
	free   []pooledRows
	bytes  int // of all that is free
}

type pooledRows struct {
	rows  *dataplane.Rows
	bytes int // that it held when it came back
}

// rowsPoolBytes bounds the memory that waits in one pool.
const rowsPoolBytes = 32 << 20

func (p *rowsPool) get() *dataplane.Rows {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		r := p.free[n-1]
		p.free = p.free[:n-1]
		p.bytes -= r.bytes
		return r.rows
	}
	return &dataplane.Rows{Batch: batch.New(p.schema)}
}

func (p *rowsPool) put(r *dataplane.Rows) {
	n := r.MemBytes()
	r.Reset()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes+n <= rowsPoolBytes {
		p.free = append(p.free, pooledRows{r, n})
		p.bytes += n
	}
}

// shuffle appends to dst pieces of Rows from pool that hold the rows of pieces.
func (s *shuffler) shuffle(out *plan.Output, pieces []*relational.Grouped, epoch topology.Epoch, pool *rowsPool, dst []*dataplane.Rows) ([]*dataplane.Rows, error) {
	if len(pieces) == 0 {
		return dst, nil
	}
	if !ascending(pieces) {
		pieces = s.merge(pieces)
	}
	last, index := topology.KeyGroup(0), uint32(0) // the row's index in its (producing key group, epoch, stream)
	for n, in := range pieces {
		if n == 0 || in.Groups[0] != last {
			index = 0
		}
		r := pool.get()
		s.route(out, in, epoch, index)
		s.sort(in, out.Groups, r)
		dst = append(dst, r)
		k := len(in.Groups) - 1
		tail := in.Offsets[k+1] - in.Offsets[k]
		if k == 0 && n > 0 && in.Groups[0] == last {
			index += tail
		} else {
			index = tail
		}
		last = in.Groups[k]
	}
	return dst, nil
}

// ascending says whether taking the pieces one after the other takes the producing key groups in ascending order.
func ascending(pieces []*relational.Grouped) bool {
	for i := 1; i < len(pieces); i++ {
		if prev := pieces[i-1].Groups; prev[len(prev)-1] > pieces[i].Groups[0] {
			return false
		}
	}
	return true
}

// merge puts overlapping pieces into one: by producing key group, within it piece after piece.
func (s *shuffler) merge(pieces []*relational.Grouped) []*relational.Grouped {
	if s.merged == nil || s.merged.Batch.Schema != pieces[0].Batch.Schema {
		s.merged = &relational.Grouped{Batch: batch.New(pieces[0].Batch.Schema)}
	}
	m := s.merged
	m.Reset()
	m.Offsets = append(m.Offsets, 0)
	s.at = append(s.at[:0], make([]int, len(pieces))...)
	for {
		low, any := topology.KeyGroup(0), false
		for i, p := range pieces {
			if s.at[i] < len(p.Groups) && (!any || p.Groups[s.at[i]] < low) {
				low, any = p.Groups[s.at[i]], true
			}
		}
		if !any {
			return []*relational.Grouped{m}
		}
		for i, p := range pieces {
			if k := s.at[i]; k < len(p.Groups) && p.Groups[k] == low {
				m.Batch.AppendRange(p.Batch, int(p.Offsets[k]), int(p.Offsets[k+1]))
				s.at[i]++
			}
		}
		m.Groups, m.Offsets = append(m.Groups, low), append(m.Offsets, uint32(m.Batch.Len()))
	}
}

// route finds the consumer key group of every row of in. index is that of the first row when its key group went on from the
// piece before.
func (s *shuffler) route(out *plan.Output, in *relational.Grouped, epoch topology.Epoch, index uint32) {
	from, to := int(in.Offsets[0]), int(in.Offsets[len(in.Offsets)-1])
	n, groups := to-from, uint64(out.Groups)
	s.targets = resize(s.targets, n)
	switch out.Partitioning {
	case plan.ByKey:
		s.hashes, s.keys = batch.AppendKeyHashes(s.hashes[:0], in.Batch, out.Keys, from, to, s.keys)
		if groups&(groups-1) == 0 {
			for i, h := range s.hashes {
				s.targets[i] = uint16(h & (groups - 1))
			}
			return
		}
		for i, h := range s.hashes {
			s.targets[i] = uint16(h % groups)
		}
	case plan.Spread:
		for j, g := range in.Groups {
			seed := batch.Mix(batch.Mix(uint64(epoch), uint64(g)), groups)
			for i := in.Offsets[j]; i < in.Offsets[j+1]; i++ {
				s.targets[int(i)-from] = uint16(batch.Mix(seed, uint64(index)) % groups)
				index++
			}
			index = 0
		}
	default:
		clear(s.targets)
	}
}

// sort gathers the rows of in into r, stably by target.
func (s *shuffler) sort(in *relational.Grouped, groups int, r *dataplane.Rows) {
	from := in.Offsets[0]
	n := len(s.targets)
	r.Offsets = append(r.Offsets, 0)
	if groups == 1 {
		r.Batch.AppendRange(in.Batch, int(from), int(from)+n)
		r.Groups, r.Offsets = append(r.Groups, 0), append(r.Offsets, uint32(n))
		if s.runs {
			for j, g := range in.Groups {
				r.Producers = append(r.Producers, dataplane.ProducerRun{Group: g, End: in.Offsets[j+1] - from})
			}
		}
		return
	}
	s.counts2 = resize(s.counts2, groups)
	clear(s.counts2)
	for _, t := range s.targets {
		s.counts2[t]++
	}
	sum := uint32(0)
	for g, c := range s.counts2 {
		if c > 0 {
			r.Groups, r.Offsets = append(r.Groups, topology.KeyGroup(g)), append(r.Offsets, sum+c)
		}
		s.counts2[g] = sum
		sum += c
	}
	s.order = resize(s.order, n)
	for i, t := range s.targets {
		s.order[s.counts2[t]] = from + uint32(i)
		s.counts2[t]++
	}
	r.Batch.AppendGather(in.Batch, s.order)
	if s.runs {
		s.appendRuns(in, from, r)
	}
}

// appendRuns notes which producing key group each of the sorted rows comes from.
func (s *shuffler) appendRuns(in *relational.Grouped, from uint32, r *dataplane.Rows) {
	s.producers = resize(s.producers, len(s.order))
	for j, g := range in.Groups {
		for i := in.Offsets[j]; i < in.Offsets[j+1]; i++ {
			s.producers[i-from] = g
		}
	}
	last := -1
	for i, o := range s.order {
		if g := s.producers[o-from]; int(g) != last {
			r.Producers = append(r.Producers, dataplane.ProducerRun{Group: g})
			last = int(g)
		}
		r.Producers[len(r.Producers)-1].End = uint32(i + 1)
	}
}
