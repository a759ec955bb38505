package vault

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// How much is written in one call while segments are rewritten.
const rewriteBytes = 1 << 20

// A rewrite looks each yieldStep whether chains are still being read, or it is to be quiet (see Quiet), and waits for that no longer than yieldMost
// in all: what is read is what somebody restores, and space is given back a little later. Otherwise it rests restShare times as long as each piece
// took: it takes an eighth of a core from what runs beside it, unless what is on disk has grown to more than pressingTimes what is needed.
const (
	yieldStep     = 5 * time.Millisecond
	yieldMost     = 2 * time.Second
	restShare     = 7
	restMost      = 100 * time.Millisecond
	pressingTimes = 3
)

// Quiet makes rewrites give way until end is called: this process restores a state, or another one is about to.
func (v *Vault) Quiet() (end func()) {
	v.chains.Add(1)
	return func() { v.chains.Add(-1) }
}

// mergeSegments is how many neighbours are merged for their number alone.
const mergeSegments = 4

func (v *Vault) compactLoop() {
	for {
		select {
		case <-v.compact:
		case <-v.closing:
			return
		}
		if err := v.Compact(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
			v.log.Warn("vault cannot give back disk space", "dir", v.config.Dir, "error", err)
		}
	}
}

// Compact rewrites segments until at most about half of what is on disk is not needed. It needs room for one segment. It
// removes nothing that a crash at any time would need: the new file is complete before it takes the old one's place.
func (v *Vault) Compact(ctx context.Context) error {
	select {
	case v.compacting <- struct{}{}:
	case <-v.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-v.compacting }()
	for {
		select {
		case <-v.closing:
			return ErrClosed
		default:
		}
		run := v.chooseRun()
		if run == nil {
			break
		}
		err := v.rewrite(ctx, run)
		v.mu.Lock()
		v.stats.CompactError = err
		v.mu.Unlock()
		for _, s := range run {
			v.unpin(s)
		}
		if err != nil {
			return err
		}
	}
	v.ensureReserve()
	return nil
}

// chooseRun finds neighbouring segments that are worth rewriting into one, the ones with most to gain, and pins them. The last
// segment is never among them.
func (v *Vault) chooseRun() []*segment {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.segments) == 0 || v.failed != nil {
		return nil
	}
	closed := v.segments[:len(v.segments)-1]
	var best []*segment
	var gain int64
	for i := range closed {
		var live, size, largest int64
		for j := i; j < len(closed); j++ {
			s := closed[j]
			live, size = live+s.live, size+s.size-segmentHeaderBytes
			largest = max(largest, s.size)
			if live > v.config.SegmentBytes {
				break
			}
			dead, n := size-live, int64(j-i)
			worth := dead > 0 && dead >= live || n >= 1 && size == 0 || n >= mergeSegments-1 && largest <= size/2
			if g := dead + n*segmentHeaderBytes; worth && g > gain {
				best, gain = closed[i:j+1], g
			}
		}
	}
	best = slices.Clone(best)
	for _, s := range best {
		s.pin()
	}
	return best
}

// moved says where a record went.
type moved struct {
	from ref
	to   uint32 // offset
}

// rewrite makes one segment of what is needed of run and puts it in its place.
func (v *Vault) rewrite(ctx context.Context, run []*segment) error {
	first, last := run[0], run[len(run)-1]
	path := first.path
	temporary := strings.TrimSuffix(path, segmentSuffix) + rewriteSuffix
	live := v.liveIn(run)
	h := segmentHeader{rewritten: true, first: first.header.first, last: last.header.last, prev: first.header.prev, prevLength: first.header.prevLength,
		length: segmentHeaderBytes, boot: uint64(v.config.Boot), commit: 1, cluster: v.config.Cluster, node: string(v.config.Node)}
	for _, m := range live {
		h.length += uint64(m.from.bytes)
	}
	// The same run may be rewritten twice, with other contents: commits distinguish the two.
	h.salt = (&segmentHeader{first: h.first, last: h.last, length: h.length, boot: h.boot, commit: uint64(v.Stats().Compactions) + 2, cluster: h.cluster, node: h.node}).saltOf()
	f, err := v.fs.Create(temporary)
	if err != nil {
		return fmt.Errorf("vault: making %s: %w", temporary, err)
	}
	s := &segment{path: path, header: h, file: f, size: int64(h.length)}
	if err := v.fill(ctx, s, live); err != nil {
		return errors.Join(err, f.Close(), v.fs.Remove(temporary))
	}
	if err := v.fs.Rename(temporary, path); err != nil {
		return errors.Join(fmt.Errorf("vault: renaming %s: %w", temporary, err), f.Close(), v.fs.Remove(temporary))
	}
	s.pin()
	// From here on the new file counts, and both have all that is needed, so that the index may follow before the directory is
	// fsynced; the old files go only after.
	v.replace(run, s, live)
	if err := v.fs.SyncDir(v.config.Dir); err != nil {
		return fmt.Errorf("vault: fsync of %s: %w", v.config.Dir, err)
	}
	for _, old := range run[1:] {
		if err := v.fs.Remove(old.path); err != nil {
			return fmt.Errorf("vault: removing %s, which is not needed any more: %w", old.path, err)
		}
	}
	return nil
}

// liveIn lists what the index refers to in run, in the order of the log.
func (v *Vault) liveIn(run []*segment) []moved {
	v.mu.Lock()
	defer v.mu.Unlock()
	var live []moved
	from, to := run[0].header.first, run[len(run)-1].header.first
	v.refs(func(slot *ref) {
		if slot.segment >= from && slot.segment <= to {
			live = append(live, moved{from: *slot})
		}
	})
	slices.SortFunc(live, func(a, b moved) int { return compareRefs(a.from, b.from) })
	return live
}

func compareRefs(a, b ref) int {
	switch {
	case a.segment < b.segment || a.segment == b.segment && a.offset < b.offset:
		return -1
	case a == b:
		return 0
	}
	return 1
}

// fill copies what is live into s, checked on the way, and fsyncs it.
func (v *Vault) fill(ctx context.Context, s *segment, live []moved) error {
	out, at, patience := s.header.encode(), int64(0), yieldMost
	var buf []byte
	begun, pressing := time.Now(), v.pressing()
	flush := func() error {
		if !pressing {
			v.yield(ctx, min(restShare*time.Since(begun), restMost))
		}
		for v.chains.Load() > 0 && patience > 0 && v.yield(ctx, yieldStep) {
			patience -= yieldStep
		}
		begun = time.Now()
		if _, err := s.file.WriteAt(out, at); err != nil {
			return fmt.Errorf("vault: writing anew %s: %w", s.path, err)
		}
		at, out = at+int64(len(out)), out[:0]
		return nil
	}
	for i := range live {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := &live[i]
		v.mu.Lock()
		old := v.byNumber[m.from.segment]
		v.mu.Unlock()
		var err error
		if buf, _, err = old.read(m.from, buf); err != nil {
			return err
		}
		stampRecord(buf, s.header.salt, 1, flagCommitEnd)
		m.to = uint32(at) + uint32(len(out))
		out = append(out, buf...)
		if len(out) >= rewriteBytes {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("vault: fsync of new %s: %w", filepath.Base(s.path), err)
	}
	return nil
}

// pressing says whether what is on disk is far more than what is needed.
func (v *Vault) pressing() bool {
	s := v.Stats()
	return s.DiskBytes > pressingTimes*s.LiveBytes+4*v.config.SegmentBytes
}

// yield waits for a moment; false when there is no time for that.
func (v *Vault) yield(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-v.closing:
	case <-ctx.Done():
	}
	return false
}

// replace makes the index refer to s instead of run.
func (v *Vault) replace(run []*segment, s *segment, live []moved) {
	v.mu.Lock()
	defer v.mu.Unlock()
	from, to := run[0].header.first, run[len(run)-1].header.first
	v.refs(func(slot *ref) {
		if slot.segment < from || slot.segment > to {
			return
		}
		i, _ := slices.BinarySearchFunc(live, *slot, func(m moved, r ref) int { return compareRefs(m.from, r) })
		*slot = ref{s.header.first, live[i].to, slot.bytes}
		s.live += int64(slot.bytes)
	})
	for _, old := range run {
		delete(v.byNumber, old.header.first)
		v.unpin(old)
	}
	v.byNumber[s.header.first] = s
	i := slices.Index(v.segments, run[0])
	v.segments = slices.Replace(v.segments, i, i+len(run), s)
	v.stats.Compactions++
	v.stats.PutBack += s.size
}

// ensureReserve makes the file that gives way when the disk is full, once there is plenty of room.
func (v *Vault) ensureReserve() {
	v.mu.Lock()
	reserved := v.reserved
	v.mu.Unlock()
	if reserved {
		return
	}
	if err := v.makeReserve(); err != nil {
		v.log.Info("vault keeps no disk space in reserve", "dir", v.config.Dir, "reason", err)
		return
	}
	v.mu.Lock()
	v.reserved = true
	v.mu.Unlock()
}

func (v *Vault) makeReserve() error {
	if v.config.ReserveBytes == 0 {
		return nil
	}
	path := filepath.Join(v.config.Dir, reserveName)
	if f, err := v.fs.Open(path); err == nil {
		size, err := f.Size()
		if err = errors.Join(err, f.Close()); err == nil && size == v.config.ReserveBytes {
			return nil
		}
	}
	if free, err := v.fs.Free(v.config.Dir); err == nil && free < 8*uint64(v.config.ReserveBytes) {
		return fmt.Errorf("only %d bytes are free", free)
	}
	f, err := v.fs.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, v.config.ReserveBytes), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, v.fs.Remove(path))
	}
	return nil
}

// releaseReserve gives the reserve to what is held; v.mu is held.
func (v *Vault) releaseReserve() bool {
	if !v.reserved || v.config.ReserveBytes == 0 {
		return false
	}
	v.reserved = false
	if err := v.fs.Remove(filepath.Join(v.config.Dir, reserveName)); err != nil {
		v.log.Warn("vault cannot release its reserve", "dir", v.config.Dir, "error", err)
		return false
	}
	return true
}
