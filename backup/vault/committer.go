package vault

import (
	"errors"
	"fmt"
	"time"
)

// probeInterval is how often a vault that has no room looks whether it has again: nobody writes to one that says that it is full.
const probeInterval = time.Second

// commitLoop writes and fsyncs what waits, until the vault closes.
func (v *Vault) commitLoop() {
	retry, probe := time.NewTimer(time.Hour), time.NewTimer(probeInterval)
	defer retry.Stop()
	defer probe.Stop()
	probe.Stop()
	probing := false
	for {
		select {
		case <-v.wake:
			v.gather()
		case <-retry.C:
		case <-probe.C:
			probing = false
			v.probeRoom()
		case <-v.closing:
			for v.commit() {
			}
			v.giveUp(ErrClosed)
			return
		}
		more := v.commit()
		if more {
			notify(v.wake)
		}
		if v.waitsForRoom() {
			retry.Reset(v.config.RetryDelay)
		}
		if !probing && v.lacksRoom() {
			probing = true
			probe.Reset(probeInterval)
		}
	}
}

func (v *Vault) lacksRoom() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.full != nil && v.failed == nil
}

// probeRoom ends that the vault counts as full once the file system has room for the reserve and a commit of the largest size, and
// more than when a write failed: where that was not for want of bytes, only a write that succeeds shows that it is over.
func (v *Vault) probeRoom() {
	free, err := v.fs.Free(v.config.Dir)
	if err != nil {
		return // the next write will show
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	var full *DiskFullError
	if v.failed != nil || !errors.As(v.full, &full) || free <= full.Free || free < 8*uint64(v.config.ReserveBytes)+uint64(v.config.CommitBytes) {
		return
	}
	v.log.Info("vault has room again", "dir", v.config.Dir, "free_bytes", free)
	v.full = nil
	if !v.reserved {
		notify(v.compact)
	}
}

// gather waits until the first operation has waited for the commit delay, or there is enough for a commit of its own.
func (v *Vault) gather() {
	v.mu.Lock()
	wait := v.config.CommitDelay - time.Since(v.since)
	enough := v.control.bytes()+v.deltas.bytes() >= v.config.CommitBytes
	v.mu.Unlock()
	if enough || wait <= 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-v.urgent:
	case <-v.closing:
	}
}

func (v *Vault) waitsForRoom() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.full != nil && v.failed == nil && len(v.control.ops) > 0
}

// finished is a call that is due once v.mu is free.
type finished struct {
	done func(outcome)
	outcome
}

// commit writes one commit, and says whether more waits that may be written at once.
func (v *Vault) commit() (more bool) {
	v.mu.Lock()
	if v.failed != nil || len(v.control.ops)+len(v.deltas.ops) == 0 {
		v.mu.Unlock()
		return false
	}
	v.control.take(&v.inflight, v.config.PendingBytes)
	if room := v.pace.room(v.config.CommitBytes, len(v.inflight.ops) > 0) - len(v.inflight.buf); room > 0 || len(v.inflight.ops) == 0 {
		if len(v.deltas.ops) > 0 {
			v.deltas.take(&v.moving, room)
		}
	}
	v.mu.Unlock()

	start, deltas := time.Now(), len(v.moving.buf)
	err := v.write()
	if err == nil && deltas > 0 {
		v.pace.took(time.Since(start), v.config.CommitBytes)
	}
	var calls []finished
	v.mu.Lock()
	if err != nil && isDiskFull(err) {
		calls = v.refuseDeltas(v.diskFull(err), calls)
		if v.releaseReserve() && len(v.inflight.ops) > 0 {
			v.mu.Unlock()
			err = v.write()
			v.mu.Lock()
		}
	}
	switch {
	case err == nil:
		calls = v.settle(&v.inflight, calls)
		calls = v.settle(&v.moving, calls)
		if len(v.moving.ops)+len(v.inflight.ops) == 0 {
			more = len(v.control.ops)+len(v.deltas.ops) > 0
		}
	default:
		calls = v.refuse(err, calls)
	}
	close(v.freed)
	v.freed = make(chan struct{})
	v.mu.Unlock()
	for _, c := range calls {
		c.done(c.outcome)
	}
	return more
}

// settle takes what was fsynced into the index.
func (v *Vault) settle(q *queue, calls []finished) []finished {
	if len(q.ops) == 0 {
		return calls
	}
	// After a full disk only the control records were written, without error for the caller: then v.full stays.
	base := v.active.size
	for _, o := range q.ops {
		out := o.applied(ref{v.active.header.first, uint32(base) + uint32(o.offset), uint32(o.bytes)})
		for _, done := range o.dones {
			calls = append(calls, finished{done, out})
		}
	}
	v.active.size += int64(len(q.buf))
	v.stats.CommitBytes += int64(len(q.buf))
	q.reset()
	return calls
}

// refuse tells everybody who waits that a commit has failed. Deltas are forgotten; what is held stays and waits on.
func (v *Vault) refuse(err error, calls []finished) []finished {
	var why error
	if isDiskFull(err) {
		why = v.diskFull(err)
	} else {
		why = &FailedError{v.config.Dir, err}
		v.failed = why
		v.log.Error("vault cannot write", "dir", v.config.Dir, "error", err)
	}
	calls = v.refuseDeltas(why, calls)
	v.control.putBack(&v.inflight)
	for _, o := range v.control.ops {
		for _, done := range o.dones {
			calls = append(calls, finished{done, outcome{err: why}})
		}
		o.dones = nil
	}
	return calls
}

// diskFull notes that there is no room.
func (v *Vault) diskFull(err error) error {
	free, freeErr := v.fs.Free(v.config.Dir)
	if freeErr != nil {
		free = 0
	}
	if v.full == nil {
		v.log.Warn("vault has no room", "dir", v.config.Dir, "free_bytes", free)
	}
	v.full = &DiskFullError{v.config.Dir, free, err}
	notify(v.compact)
	return v.full
}

func (v *Vault) refuseDeltas(why error, calls []finished) []finished {
	for _, q := range []*queue{&v.moving, &v.deltas} {
		for _, o := range q.ops {
			o.undo()
			for _, done := range o.dones {
				calls = append(calls, finished{done, outcome{err: why}})
			}
		}
		q.reset()
	}
	return calls
}

// giveUp tells whoever still waits.
func (v *Vault) giveUp(err error) {
	v.mu.Lock()
	var calls []finished
	for _, q := range []*queue{&v.control, &v.deltas} {
		for _, o := range q.ops {
			for _, done := range o.dones {
				calls = append(calls, finished{done, outcome{err: err}})
			}
		}
		q.reset()
	}
	v.mu.Unlock()
	for _, c := range calls {
		c.done(c.outcome)
	}
}

// write appends what is in flight to the active segment and fsyncs it. After an error the segment is never written again: its
// successor's header says how much of it counts.
func (v *Vault) write() error {
	total := int64(len(v.inflight.buf) + len(v.moving.buf))
	if s := v.active; s == nil || s.size > segmentHeaderBytes && s.size+total > v.config.SegmentBytes {
		if err := v.roll(); err != nil {
			return err
		}
	}
	s := v.active
	v.commits++
	at := s.size
	for i, q := range []*queue{&v.inflight, &v.moving} {
		last := len(q.ops) - 1
		if i == 0 && len(v.moving.ops) > 0 {
			last = -1
		}
		for k, o := range q.ops {
			stampRecord(q.buf[o.offset:o.offset+o.bytes], s.header.salt, v.commits, flag(k == last)*flagCommitEnd)
		}
	}
	for _, q := range []*queue{&v.inflight, &v.moving} {
		if len(q.buf) == 0 {
			continue
		}
		if _, err := s.file.WriteAt(q.buf, at); err != nil {
			return v.abandon(fmt.Errorf("writing %s: %w", s.path, err))
		}
		at += int64(len(q.buf))
	}
	if err := s.file.Sync(); err != nil {
		return v.abandon(fmt.Errorf("fsync of %s: %w", s.path, err))
	}
	v.mu.Lock()
	v.stats.Commits++
	if len(v.moving.ops) > 0 || v.reserved {
		v.full = nil
	}
	if !v.reserved {
		notify(v.compact)
	}
	v.mu.Unlock()
	return nil
}

// abandon ends the active segment at what is acknowledged.
func (v *Vault) abandon(err error) error {
	s := v.active
	v.active, v.prevLength = nil, s.size
	// Only to give back the room: the next header says what counts.
	if truncErr := s.file.Truncate(s.size); truncErr != nil {
		v.log.Warn("vault cannot shorten a segment", "file", s.path, "error", truncErr)
	}
	return err
}

// roll begins a new active segment.
func (v *Vault) roll() error {
	if v.active != nil {
		v.prevLength = v.active.size
	}
	v.mu.Lock()
	h := segmentHeader{boot: uint64(v.config.Boot), commit: v.commits + 1, cluster: v.config.Cluster, node: string(v.config.Node), prevLength: uint64(v.prevLength)}
	if n := len(v.segments); n > 0 {
		h.prev = v.segments[n-1].header.last
	}
	v.mu.Unlock()
	// A number is never used twice, so that what a failed attempt left behind is never taken for this.
	v.numbers++
	h.first, h.last = v.numbers, v.numbers
	h.salt = h.saltOf()
	s := &segment{path: segmentPath(v.config.Dir, h.first), header: h, size: segmentHeaderBytes}
	if err := v.create(s); err != nil {
		return err
	}
	s.pin()
	v.mu.Lock()
	v.segments = append(v.segments, s)
	v.byNumber[h.first] = s
	v.mu.Unlock()
	v.active = s
	notify(v.compact)
	return nil
}

// create makes the file of a segment durable with its header alone.
func (v *Vault) create(s *segment) error {
	f, err := v.fs.Create(s.path)
	if err != nil {
		return fmt.Errorf("making %s: %w", s.path, err)
	}
	_, err = f.WriteAt(s.header.encode(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = v.fs.SyncDir(v.config.Dir)
	}
	if err != nil {
		f.Close()
		if removeErr := v.fs.Remove(s.path); removeErr != nil {
			v.log.Warn("vault cannot remove a file", "file", s.path, "error", removeErr)
		}
		return fmt.Errorf("making %s: %w", s.path, err)
	}
	s.file = f
	return nil
}

const (
	// paceTarget is how long a commit with deltas may take while seals come: the next seal waits for it.
	paceTarget = 5 * time.Millisecond
	// paceMin is the least that a commit takes of deltas, so that they get on also where every fsync is slow.
	paceMin = 256 << 10
	// paceMemory is how long after the last seal or other control record commits are kept short.
	paceMemory = time.Second
)

// pace finds how many bytes of deltas a commit may have to be over soon. It belongs to the committer. With bursts of 40 MB each 1.3 s
// it more than halves the p99 of a seal's fsync; what is left are stalls of the disk itself, however little is written.
type pace struct {
	bytes int
	last  time.Time // of a commit with control records
}

// room is how many bytes the next commit may have.
func (p *pace) room(most int, control bool) int {
	now := time.Now()
	if control {
		p.last = now
	}
	if p.bytes == 0 || now.Sub(p.last) > paceMemory {
		p.bytes = most
	}
	return p.bytes
}

// took learns from a commit.
func (p *pace) took(d time.Duration, most int) {
	switch {
	case d > paceTarget:
		p.bytes = max(min(paceMin, most), p.bytes/2)
	case d < paceTarget/2:
		p.bytes = min(most, p.bytes+p.bytes/4)
	}
}
