package vault

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/raftfsm/topology"
)

// recovery reads the log into the index. Nothing depends on the order of records, so that a rewrite may leave any of them out
// that the index does not refer to.
type recovery struct {
	v      *Vault
	stamps []stampRead
}

// stampRead is a stamp whose seal may come later.
type stampRead struct {
	query  topology.QueryID
	source SourceKey
	target uint64
	term   uint64
	ref    ref
}

func (v *Vault) recover() error {
	kept, leftovers, err := v.findSegments()
	if err != nil {
		return err
	}
	r := recovery{v: v}
	for i, s := range kept {
		if err := r.readSegment(s, kept[i+1:]); err != nil {
			return err
		}
	}
	if err := r.finish(); err != nil {
		return err
	}
	for _, path := range leftovers {
		if err := v.fs.Remove(path); err != nil && !isNotExist(err) {
			return fmt.Errorf("vault: removing %s, which is not needed: %w", path, err)
		}
	}
	if n := len(kept); n > 0 {
		v.prevLength = kept[n-1].size
	}
	// What was read may never have been fsynced, when only the process died: it is, before anything builds on it.
	for _, s := range kept {
		if err := s.file.Sync(); err != nil {
			return fmt.Errorf("vault: fsync of %s: %w", s.path, err)
		}
	}
	if err := v.fs.SyncDir(v.config.Dir); err != nil {
		return fmt.Errorf("vault: fsync of %s: %w", v.config.Dir, err)
	}
	return nil
}

// findSegments opens the segments that make up the log, ascending, and names the files that crashes left behind.
func (v *Vault) findSegments() (kept []*segment, leftovers []string, err error) {
	names, err := v.fs.List(v.config.Dir)
	if err != nil {
		return nil, nil, fmt.Errorf("vault: listing %s: %w", v.config.Dir, err)
	}
	slices.Sort(names)
	var all []*segment
	for _, name := range names {
		path := filepath.Join(v.config.Dir, name)
		if strings.HasSuffix(name, rewriteSuffix) {
			leftovers = append(leftovers, path)
		}
		number, ok := strings.CutSuffix(name, segmentSuffix)
		if !ok || len(number) != 16 {
			continue
		}
		n, err := strconv.ParseUint(number, 16, 64)
		if err != nil {
			continue
		}
		v.numbers = max(v.numbers, n)
		s, err := v.openSegment(path, n)
		if err != nil {
			return nil, nil, err
		}
		if s == nil {
			leftovers = append(leftovers, path)
			continue
		}
		v.numbers = max(v.numbers, s.header.last)
		v.segments = append(v.segments, s) // closed by whoever closes the vault, also after an error
		all = append(all, s)
	}
	// From the last one back: each header names the one before. What lies between was rewritten into that one, or is what a
	// failed attempt to begin a segment left.
	var dead []*segment
	for i := len(all) - 1; i >= 0; i-- {
		if covered(all[:i], all[i]) {
			dead = append(dead, all[i])
			continue
		}
		if len(kept) > 0 {
			next := kept[len(kept)-1]
			if all[i].header.last > next.header.prev {
				dead = append(dead, all[i])
				continue
			}
			if all[i].header.last < next.header.prev {
				return nil, nil, v.missing(next)
			}
		}
		kept = append(kept, all[i])
	}
	if len(kept) > 0 && kept[len(kept)-1].header.prev != 0 {
		return nil, nil, v.missing(kept[len(kept)-1])
	}
	slices.Reverse(kept)
	for _, s := range dead {
		leftovers = append(leftovers, s.path)
		if err := s.file.Close(); err != nil {
			return nil, nil, fmt.Errorf("vault: closing %s: %w", s.path, err)
		}
	}
	v.segments = slices.Clone(kept)
	for _, s := range kept {
		v.byNumber[s.header.first] = s
	}
	return kept, leftovers, nil
}

func (v *Vault) missing(next *segment) error {
	return &CorruptError{segmentPath(v.config.Dir, next.header.prev), 0, fmt.Sprintf("the file is missing, %s follows it", next.path)}
}

// covered says whether a rewrite into one of before has left s behind.
func covered(before []*segment, s *segment) bool {
	return slices.ContainsFunc(before, func(b *segment) bool { return b.header.rewritten && b.header.last >= s.header.first })
}

// openSegment opens a file and reads its header; nil when a crash ended its making.
func (v *Vault) openSegment(path string, number uint64) (*segment, error) {
	f, err := v.fs.Open(path)
	if err != nil {
		return nil, fmt.Errorf("vault: opening %s: %w", path, err)
	}
	s, err := v.readHeader(f, path, number)
	if s == nil {
		err = errors.Join(err, f.Close())
	}
	return s, err
}

func (v *Vault) readHeader(f File, path string, number uint64) (*segment, error) {
	size, err := f.Size()
	if err != nil {
		return nil, fmt.Errorf("vault: reading %s: %w", path, err)
	}
	b := make([]byte, min(size, segmentHeaderBytes))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("vault: reading the header of %s: %w", path, err)
	}
	h, err := decodeSegmentHeader(path, b)
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt) && size <= segmentHeaderBytes:
		return nil, nil // records are written only once the header is fsynced
	case err != nil:
		return nil, err
	case h.cluster != v.config.Cluster || h.node != string(v.config.Node):
		return nil, &ForeignError{path, h.cluster, h.node, v.config.Cluster, string(v.config.Node)}
	case h.first != number:
		return nil, &CorruptError{path, 0, fmt.Sprintf("its header says that it is segment %d", h.first)}
	}
	s := &segment{path: path, header: h, file: f, size: size}
	s.pin()
	return s, nil
}

// readSegment reads the records of s, which the segments in behind follow.
func (r *recovery) readSegment(s *segment, behind []*segment) error {
	length, complete := s.size, false
	switch {
	case s.header.rewritten:
		length, complete = int64(s.header.length), true
	case len(behind) > 0:
		length, complete = int64(behind[0].header.prevLength), true
	}
	if length > s.size || length < segmentHeaderBytes {
		return &CorruptError{s.path, s.size, fmt.Sprintf("the file ends here, %d bytes were acknowledged", length)}
	}
	src := make([]byte, length)
	if n, err := s.file.ReadAt(src, 0); n < len(src) {
		return fmt.Errorf("vault: reading %s: %w", s.path, err)
	}
	end, commit, err := scan(s.path, &s.header, src, complete, func(h recordHeader, x *record, offset int) error {
		return r.take(x, ref{s.header.first, uint32(offset), uint32(h.bytes)})
	})
	if err != nil {
		return err
	}
	if int64(end) < length {
		r.v.log.Info("vault cuts what a crash left unfinished", "file", s.path, "offset", end, "bytes", length-int64(end))
	}
	s.size = int64(end)
	r.v.commits = max(r.v.commits, commit)
	return nil
}

// take puts one record into the index as it is; finish sorts out what counts.
func (r *recovery) take(x *record, at ref) error {
	v := r.v
	q := v.queries[x.query]
	if q == nil {
		q = &queryIndex{id: x.query, chains: map[chainKey]*chain{}, logs: map[SourceKey]*sealLog{}}
		v.queries[x.query] = q
	}
	switch x.typ {
	case recordDelta:
		c := q.chain(chainKey{x.stage, x.keyGroup})
		c.entries = append(c.entries, deltaEntry{from: x.first, to: x.last, base: x.base, ref: at})
		return nil
	case recordTrim:
		if x.last > q.trim || q.trimRef.none() {
			q.trim, q.trimRef = x.last, at
		}
		return nil
	case recordDrop:
		q.dropped, q.dropRef = true, at
		return nil
	}
	l := q.log(x.source)
	v.serial = max(v.serial, x.serial)
	switch x.typ {
	case recordSeal:
		l.entries = append(l.entries, sealEntry{first: x.first, last: x.last, term: x.term, serial: x.serial, print: fingerprintOf(x.payload), ref: at})
	case recordPromise:
		if x.term > l.promise || l.promiseRef.none() {
			l.promise, l.promised, l.promiseRef = x.term, x.term, at
		}
	case recordStamp:
		r.stamps = append(r.stamps, stampRead{x.query, x.source, x.target, x.term, at})
	case recordCut:
		l.cuts = append(l.cuts, cutEntry{x.first, x.last, x.serial, at})
	case recordJoin:
		if x.serial > l.join.serial {
			l.join = joinEntry{topology.BootID(x.boot), x.term, x.serial, x.first, x.last, at}
		}
	}
	return nil
}

// finish makes the index what it was, and counts what of each segment is needed.
func (r *recovery) finish() error {
	v := r.v
	for _, q := range v.queries {
		if q.dropped {
			v.dropQuery(q)
			continue
		}
		for k, c := range q.chains {
			if e := c.recover(q.trim, func(*deltaEntry) {}); e != nil {
				s := v.byNumber[e.ref.segment]
				return &CorruptError{s.path, int64(e.ref.offset), fmt.Sprintf("delta (%d,%d] of stage %d key group %d builds on nothing that is held", e.from, e.to, k.stage, k.keyGroup)}
			}
		}
		for _, l := range q.logs {
			if e := l.recover(q.trim); e != nil {
				s := v.byNumber[e.ref.segment]
				return &CorruptError{s.path, int64(e.ref.offset), fmt.Sprintf("seal of epochs [%d,%d] of %q is there twice", e.first, e.last, l.source)}
			}
		}
	}
	for i := range r.stamps {
		x := &r.stamps[i]
		q := v.queries[x.query]
		if q.dropped {
			continue
		}
		if e := q.log(x.source).bySerial(x.target); e != nil && x.term > e.term {
			e.term, e.stamp = x.term, x.ref
		}
	}
	for _, s := range v.segments {
		s.live = 0
	}
	v.refs(func(slot *ref) { v.byNumber[slot.segment].live += int64(slot.bytes) })
	return nil
}

// recover makes a log of seals that were read in any order. It returns a seal that overlaps another, or nil.
func (l *sealLog) recover(trim topology.Epoch) *sealEntry {
	kept := l.entries[:0]
	for _, e := range l.entries {
		cut := slices.ContainsFunc(l.cuts, func(c cutEntry) bool { return e.serial < c.serial && e.first >= c.first && e.last <= c.last })
		if !cut && e.last > trim {
			kept = append(kept, e)
		}
	}
	l.entries = kept
	sort.Slice(kept, func(i, j int) bool { return kept[i].first < kept[j].first })
	for i := 1; i < len(kept); i++ {
		if kept[i].first <= kept[i-1].last {
			return &kept[i]
		}
	}
	l.cuts = slices.DeleteFunc(l.cuts, func(c cutEntry) bool { return c.last <= trim })
	if l.join.serial > 0 {
		l.next = max(l.join.last, trim) + 1
	}
	if n := len(kept); n > 0 {
		l.next = max(l.next, kept[n-1].last+1)
	}
	return nil
}
