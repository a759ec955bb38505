package dataplane

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// SpillConfig says how much of what the logs of a node keep may be in memory, and where the rest goes.
type SpillConfig struct {
	// Dir is the spill's alone: what is in it is removed. "": everything stays in memory.
	Dir string
	// MemoryBytes is what logs may keep in memory before sources are to stand still; 0: 256 MiB. From three quarters of it on the oldest
	// entries go to disk.
	MemoryBytes int64
	DiskBytes   int64 // that files may take; 0: nothing goes to disk
	// Free gives what the file system of Dir has left, nil: it is not asked. ReserveBytes of that are left to the others who write there:
	// without them no checkpoint might ever complete, and nothing of the files go.
	Free         func() (uint64, error)
	ReserveBytes uint64
	// SegmentBytes is what a file holds, an entry that is larger apart; 0: 16 MiB.
	SegmentBytes int64
	Logger       *slog.Logger // nil: discarded
	// Damaged is told that an active subscriber needs what cannot be read back: the partition whose log it is has to be taken for lost. From
	// any goroutine, with a log's lock held; nil: nobody is told.
	Damaged func(error)
	// Create makes a file in Dir; nil: the operating system does.
	Create func(dir string) (SpillFile, error)
}

// SpillFile is what a spill needs of a file.
type SpillFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Name() string
	Truncate(size int64) error
}

const (
	memoryBytesDefault  = 256 << 20
	segmentBytesDefault = 16 << 20
	// spillBytes is how much memory of a log is written at a time, spillBufferMax what of the working memory stays.
	spillBytes     = 1 << 20
	spillBufferMax = 4 << 20
	// spillRetry is how long nothing is tried after the disk had no room, unless files were removed.
	spillRetry = time.Second
)

// Spill is the room that the logs of a node have: memory, and files for what memory has no room for. What every active consumer has
// acknowledged, and is kept for those who are restored, goes to disk first come, log by log; subscribers get it back as it was, and it goes
// when it is trimmed. Files are a cache of the process: nothing in them is fsynced, and none outlives it.
//
// One goroutine writes and removes files, without a log's lock, so that no producer waits for the disk; each cursor reads one entry at a
// time on a goroutine of its own, so that nobody who serves several cursors does. When there is no room on disk, or what is kept cannot go
// there yet, memory takes it, and Pressed is true when that is over its limit.
//
// A record is the frames of one entry, see FrameEncoder, each with its checksum. What in memory points to it says how many rows they have.
type Spill struct {
	config SpillConfig
	memory atomic.Int64  // of all logs
	disk   atomic.Int64  // of all files
	back   atomic.Int64  // entries read back
	wake   chan struct{} // nil when nothing goes to disk
	stop   chan struct{}
	ended  chan struct{} // the writer has
	reads  sync.WaitGroup

	mu      sync.Mutex
	logs    []*Log
	relief  []chan struct{} // of those who wait until Pressed is false
	numbers uint64
	current *spillSegment // that is written to
	all     []*spillSegment
	emptied []*spillSegment // to be removed
	closed  bool
	full    error // why nothing is written just now, nil when it is

	// The writer's own.
	enc   FrameEncoder
	buf   []byte
	cold  []spillEntry
	retry time.Time // nothing is tried before
}

// spillSegment is a file.
type spillSegment struct {
	file SpillFile
	size int64
	live int // records that a log has, and uses under way
}

// spillRecord is where the rows of an entry are.
type spillRecord struct {
	segment *spillSegment
	at      int64
	size    int
	rows    int
	schema  *batch.Schema
}

// spillEntry is an entry on its way to disk.
type spillEntry struct {
	last   topology.Epoch
	pieces []*Rows
	record *spillRecord
}

// errSpillLimit says that files take what they may.
var errSpillLimit = errors.New("files take as much as they may")

// MemorySpill is a spill that has so many bytes of memory, 0 for 256 MiB, and nothing else. It need not be closed.
func MemorySpill(bytes int64) *Spill {
	if bytes <= 0 {
		bytes = memoryBytesDefault
	}
	return &Spill{config: SpillConfig{MemoryBytes: bytes}}
}

// NewSpill makes the room for the logs of a node. The error is one of the directory.
func NewSpill(c SpillConfig) (*Spill, error) {
	if c.Dir != "" {
		if err := errors.Join(os.RemoveAll(c.Dir), os.MkdirAll(c.Dir, 0o700)); err != nil {
			return nil, fmt.Errorf("the directory of output logs that memory has no room for: %w", err)
		}
	}
	if c.Dir == "" || c.DiskBytes <= 0 {
		return MemorySpill(c.MemoryBytes), nil
	}
	if c.MemoryBytes <= 0 {
		c.MemoryBytes = memoryBytesDefault
	}
	if c.SegmentBytes <= 0 {
		c.SegmentBytes = segmentBytesDefault
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Create == nil {
		c.Create = func(dir string) (SpillFile, error) { return os.CreateTemp(dir, "*.spill") }
	}
	s := &Spill{config: c, wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{})}
	go s.run()
	return s, nil
}

// high and low are between which the writer holds what is in memory.
func (s *Spill) high() int64 { return s.config.MemoryBytes / 4 * 3 }
func (s *Spill) low() int64  { return s.config.MemoryBytes / 2 }

// SpillStats is how a spill stands.
type SpillStats struct {
	MemoryBytes int64 // that logs keep in memory
	DiskBytes   int64 // that files take
	Full        error // why what memory has no room for does not go to disk, nil when it does
	ReadBack    int64 // entries that subscribers got from disk so far
	Limited     bool  // Full is because of the limit that was set, and not of the disk
}

// Stats is how the spill stands.
func (s *Spill) Stats() SpillStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SpillStats{MemoryBytes: s.memory.Load(), DiskBytes: s.disk.Load(), ReadBack: s.back.Load(), Full: s.full, Limited: errors.Is(s.full, errSpillLimit)}
}

// Pressed says that logs keep more in memory than they should: sources are to stand still at the next checkpoint.
func (s *Spill) Pressed() bool { return s.memory.Load() > s.config.MemoryBytes }

// Relief gives a channel that has a value once Pressed is not true any more after it was, until stop is called.
func (s *Spill) Relief() (relief <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.relief = append(s.relief, c)
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.relief = slices.DeleteFunc(s.relief, func(x chan struct{}) bool { return x == c })
	}
}

func (s *Spill) relieved() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.relief {
		signal(c)
	}
}

// Close ends the writer and the reads and removes all files. Twice is fine.
func (s *Spill) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed || s.stop == nil {
		return nil
	}
	close(s.stop)
	<-s.ended
	s.reads.Wait()
	s.mu.Lock()
	all := s.all
	s.all, s.emptied, s.current = nil, nil, nil
	s.mu.Unlock()
	var errs []error
	for _, g := range all {
		errs = append(errs, g.remove())
	}
	return errors.Join(errs...)
}

// remove removes the file; one that somebody else has removed is no error.
func (g *spillSegment) remove() error {
	err := os.Remove(g.file.Name())
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return errors.Join(g.file.Close(), err)
}

// add makes a log's entries count, and gives the log the number that its records bear.
func (s *Spill) add(l *Log) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, l)
	s.numbers++
	return s.numbers
}

func (s *Spill) drop(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = slices.DeleteFunc(s.logs, func(x *Log) bool { return x == l })
}

// keep counts memory that logs keep, or no longer do.
func (s *Spill) keep(bytes int64) {
	memory := s.memory.Add(bytes)
	if bytes > 0 {
		s.mayRelieve()
	}
	if limit := s.config.MemoryBytes; memory <= limit && memory-bytes > limit {
		s.relieved()
	}
}

// mayRelieve wakes the writer, which there is when something may go to disk, if memory is short.
func (s *Spill) mayRelieve() {
	if s.memory.Load() > s.high() {
		signal(s.wake)
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// use holds a segment for a use under way.
func (s *Spill) use(g *spillSegment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.live++
}

// release gives records, or a use, of a segment back; the file goes with the last one.
func (s *Spill) release(g *spillSegment, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g.live -= n
	if g.live > 0 || s.closed {
		return
	}
	if s.current == g {
		s.current = nil
	}
	s.emptied = append(s.emptied, g)
	signal(s.wake)
}

// run is the writer.
func (s *Spill) run() {
	defer close(s.ended)
	timer := time.NewTimer(spillRetry)
	defer timer.Stop()
	for {
		select {
		case <-s.wake:
		case <-timer.C:
		case <-s.stop:
			return
		}
		room := s.removeEmptied()
		if time.Now().Before(s.retry) && !room {
			continue
		}
		s.retry = time.Time{}
		wrote, err := s.relieve()
		if err != nil {
			s.retry = time.Now().Add(spillRetry)
			timer.Reset(spillRetry)
		}
		if err != nil || wrote || room {
			s.setFull(err)
		}
	}
}

// setFull notes why nothing can be written, or that it can.
func (s *Spill) setFull(err error) {
	s.mu.Lock()
	before := s.full
	s.full = err
	s.mu.Unlock()
	switch {
	case err != nil && before == nil:
		s.config.Logger.Warn("output logs do not go to disk: they are kept in memory; while that is used up, sources on this node, if there are any, may stand still at a checkpoint until it is complete", "error", err)
	case err == nil && before != nil:
		s.config.Logger.Info("output logs may go to disk again")
	}
}

// removeEmptied removes the files that nobody needs any more and says whether that made room.
func (s *Spill) removeEmptied() (room bool) {
	s.mu.Lock()
	gone := s.emptied
	s.emptied = nil
	s.all = slices.DeleteFunc(s.all, func(g *spillSegment) bool { return slices.Contains(gone, g) })
	s.mu.Unlock()
	for _, g := range gone {
		if err := g.remove(); err != nil {
			s.config.Logger.Warn("removing a file of output logs", "file", g.file.Name(), "error", err)
		}
		s.disk.Add(-g.size)
		room = room || g.size > 0
	}
	return room
}

func (s *Spill) stopped() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// relieve writes until memory has room again or nothing is left that may go, round by round so that all logs give. It says whether
// it wrote anything.
func (s *Spill) relieve() (wrote bool, err error) {
	if s.memory.Load() <= s.high() {
		return false, nil
	}
	for more := true; more; {
		more = false
		s.mu.Lock()
		logs := slices.Clone(s.logs)
		s.mu.Unlock()
		for _, l := range logs {
			if s.memory.Load() <= s.low() || s.stopped() {
				return wrote, nil
			}
			if s.cold = l.takeCold(s.cold[:0]); len(s.cold) == 0 {
				continue
			}
			err = s.write(l)
			l.spilled(s.cold, err == nil)
			clear(s.cold)
			if err != nil {
				return wrote, err
			}
			wrote, more = true, true
		}
	}
	return wrote, nil
}

// write writes what is cold of a log, and gives it its records. After an error it has none, and stays in memory.
func (s *Spill) write(l *Log) error {
	if cap(s.buf) > spillBufferMax {
		s.buf = nil
	}
	s.buf = s.buf[:0]
	for i := range s.cold {
		if r, err := s.encode(l, &s.cold[i]); err == nil {
			s.cold[i].record = r
		} // a row that no frame can hold is no consumer's either: it stays where it is
	}
	g, err := s.segment(int64(len(s.buf)))
	if err == nil {
		if _, err = g.file.WriteAt(s.buf, g.size); err != nil {
			// What was written of it takes no room; if that fails, too, the next write is over it.
			err = errors.Join(err, g.file.Truncate(g.size))
			s.release(g, 1)
		}
	}
	if err != nil {
		for i := range s.cold {
			s.cold[i].record = nil
		}
		return err
	}
	n := 0
	for i := range s.cold {
		if r := s.cold[i].record; r != nil {
			r.segment, r.at = g, r.at+g.size
			n++
		}
	}
	s.mu.Lock()
	g.live += n
	g.size += int64(len(s.buf))
	s.mu.Unlock()
	s.disk.Add(int64(len(s.buf)))
	s.release(g, 1)
	return nil
}

// everyGroup is what records say of key groups: whose they are is the log's affair.
var everyGroup = topology.Range{From: 0, To: topology.MaxKeyGroups}

// encode appends an entry's frames to the buffer.
func (s *Spill) encode(l *Log, e *spillEntry) (r *spillRecord, err error) {
	r = &spillRecord{at: int64(len(s.buf)), schema: e.pieces[0].Batch.Schema}
	h := FrameHeader{Stream: Stream{Instance: l.number}, Producer: everyGroup, Consumer: everyGroup, First: e.last, Last: e.last}
	buf := s.buf
	for _, p := range e.pieces {
		if buf, err = s.enc.AppendFrame(buf, &Frame{Header: h, Rows: p, Producers: p.Producers}, 0, p.Batch.Len()); err != nil {
			return nil, err
		}
		r.rows += p.Batch.Len()
	}
	r.size = len(buf) - len(s.buf)
	s.buf = buf
	return r, nil
}

// segment gives a file with room for so many bytes, held for the writer.
func (s *Spill) segment(bytes int64) (*spillSegment, error) {
	if used := s.disk.Load(); used+bytes > s.config.DiskBytes {
		return nil, fmt.Errorf("%w: %d bytes of %d", errSpillLimit, used, s.config.DiskBytes)
	}
	if err := s.leaves(uint64(bytes)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	g := s.current
	if g != nil && g.size > 0 && g.size+bytes > s.config.SegmentBytes {
		g, s.current = nil, nil
	}
	if g != nil {
		g.live++
	}
	s.mu.Unlock()
	if g != nil {
		return g, nil
	}
	f, err := s.config.Create(s.config.Dir)
	if err != nil {
		return nil, err
	}
	g = &spillSegment{file: f, live: 1}
	s.mu.Lock()
	s.current, s.all = g, append(s.all, g)
	s.mu.Unlock()
	return g, nil
}

// leaves fails when the file system would have less than the reserve without so many bytes.
func (s *Spill) leaves(bytes uint64) error {
	if s.config.Free == nil {
		return nil
	}
	free, err := s.config.Free()
	if err != nil {
		return fmt.Errorf("asking how much the file system of %s has left: %w", s.config.Dir, err)
	}
	if reserve := s.config.ReserveBytes; free < reserve+bytes {
		return fmt.Errorf("the file system of %s has %d bytes left, %d of which are for copies of state: %w", s.config.Dir, free, reserve, syscall.ENOSPC)
	}
	return nil
}

// load reads a record of a log on a goroutine of its own and gives what it holds, or why that cannot be had, to done.
func (s *Spill) load(l *Log, r *spillRecord, last topology.Epoch, done func([]*Rows, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return // everything ends
	}
	r.segment.live++
	s.reads.Go(func() {
		rows, err := r.read(l.number, last)
		s.release(r.segment, 1)
		s.back.Add(1)
		done(rows, err)
	})
}

// damaged takes note of a record that cannot be had. Who asked restores a later checkpoint; an active subscriber waits for that in vain when
// it is needed for one.
func (s *Spill) damaged(err error, active bool) {
	s.config.Logger.Error("what an output log had on disk cannot be read back", "error", err)
	if active && s.config.Damaged != nil {
		s.config.Damaged(err)
	}
}

// read reads the record of an entry back.
func (r *spillRecord) read(log uint64, last topology.Epoch) (pieces []*Rows, err error) {
	at := r.at
	defer func() {
		if err != nil {
			pieces, err = nil, fmt.Errorf("output log of epoch %d in %s at offset %d: %w", last, r.segment.file.Name(), at, err)
		}
	}()
	buf := make([]byte, r.size)
	if _, err := r.segment.file.ReadAt(buf, r.at); err != nil {
		return nil, err
	}
	var dec FrameDecoder
	rows := 0
	for len(buf) > 0 {
		m, rest, err := Next(buf)
		if err != nil {
			return nil, err
		}
		f := Frame{Rows: &Rows{Batch: batch.New(r.schema)}}
		if m.Type != TypeFrame {
			return nil, fmt.Errorf("%w: %v", ErrMalformed, m.Type)
		}
		if err := dec.Decode(m.Payload, &f); err != nil {
			return nil, err
		}
		if h := &f.Header; h.Stream.Instance != log || h.Last != last {
			return nil, fmt.Errorf("%w: rows of epoch %d of log %d", ErrMalformed, h.Last, h.Stream.Instance)
		}
		f.Rows.Producers = f.Producers
		pieces, rows = append(pieces, f.Rows), rows+f.Rows.Batch.Len()
		at += int64(len(buf) - len(rest))
		buf = rest
	}
	if rows != r.rows {
		return nil, fmt.Errorf("%w: %d rows, %d were written", ErrMalformed, rows, r.rows)
	}
	return pieces, nil
}
