package agent

import (
	"context"
	"sync"

	"github.com/seepnode/seepnode/backup"
	"github.com/seepnode/seepnode/node/engine"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// seals is a query's engine.Sealer on this process. The writer comes with the log that the metadata grants the process, which may be
// long after the query has begun here: when a source is put on it. Nothing is put before.
type seals struct {
	make func(set topology.SealSet) *backup.SealWriter

	mu     sync.Mutex
	writer *backup.SealWriter
	log    topology.SealLog
	marks  func()
	ready  chan struct{} // closed when there is a writer
	closed bool
	early  []adoption // said before there was a writer
}

// adoption is what Adopted says.
type adoption struct {
	stage    topology.StageID
	instance uint64
	logs     []topology.SealLog
	through  topology.Epoch
}

var _ engine.Sealer = (*seals)(nil)

func newSeals(make_ func(set topology.SealSet) *backup.SealWriter) *seals {
	return &seals{make: make_, ready: make(chan struct{})}
}

// follow takes the log that the metadata grants the process now, nil for none.
func (s *seals) follow(set *topology.SealSet) {
	if set == nil {
		return
	}
	// The writer tells of marks from within its calls, and who is told asks for them: no lock is held while it is called.
	s.mu.Lock()
	w, same := s.writer, s.log == set.Log
	begin := w == nil && !s.closed
	if begin {
		if w = s.make(*set); s.marks != nil {
			w.OnMarks(s.marks) // which calls nothing; a mark that rises before would be told to nobody
		}
		s.writer, s.log = w, set.Log
		close(s.ready)
	}
	early := s.early
	if begin {
		s.early = nil
	}
	s.mu.Unlock()
	switch {
	case begin:
		for _, a := range early {
			w.Adopted(a.stage, a.instance, a.logs, a.through)
		}
	case w != nil && same:
		w.Follow(*set)
	}
}

// current is the writer, nil before there is one.
func (s *seals) current() *backup.SealWriter {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writer
}

// owns says whether the metadata still grants the log that is written to. Another one is for another life of the query here.
func (s *seals) owns(set *topology.SealSet) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writer == nil || set != nil && set.Log == s.log
}

func (s *seals) Put(r backup.SealRecord) {
	if w := s.current(); w != nil {
		w.Put(r)
	}
}

func (s *seals) Marks() (released, durable topology.Epoch) {
	if w := s.current(); w != nil {
		return w.Marks()
	}
	return 0, 0
}

func (s *seals) OnMarks(f func()) {
	s.mu.Lock()
	s.marks = f
	w := s.writer
	s.mu.Unlock()
	if w != nil {
		w.OnMarks(f)
	}
}

func (s *seals) Adopt(ctx context.Context, logs []topology.SealLog) ([]backup.AdoptedLog, error) {
	select {
	case <-s.ready:
		return s.current().Adopt(ctx, logs)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (s *seals) Adopted(stage topology.StageID, instance uint64, logs []topology.SealLog, through topology.Epoch) {
	s.mu.Lock()
	w := s.writer
	if w == nil {
		s.early = append(s.early, adoption{stage, instance, logs, through})
	}
	s.mu.Unlock()
	if w != nil {
		w.Adopted(stage, instance, logs, through)
	}
}

func (s *seals) repair() {
	if w := s.current(); w != nil {
		w.Repair()
	}
}

func (s *seals) trim(through topology.Epoch) {
	if w := s.current(); w != nil {
		w.Trim(through)
	}
}

func (s *seals) close() error {
	s.mu.Lock()
	s.closed = true
	w := s.writer
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.Close()
}
