package blackhole

import (
	"context"
	"sync/atomic"

	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// Counter is what the sink is beside connector.Sink.
type Counter interface {
	// Rows is how many rows were written so far, retractions counted like inserts.
	Rows() int64
}

var definition = &connector.Definition{
	Name:    "blackhole",
	Doc:     "Takes every row and keeps none.",
	NewSink: func(connector.Config) (connector.Sink, error) { return &sink{}, nil },
	Fused:   true,
	Updates: true,
}

// Definition declares the connector. Its sinks are Counters.
func Definition() *connector.Definition { return definition }

type sink struct{ rows atomic.Int64 }

func (s *sink) Rows() int64 { return s.rows.Load() }

func (s *sink) Open(context.Context, int) (connector.Lane, error) { return &lane{sink: s}, nil }

func (s *sink) Close(bool) error { return nil }

type lane struct {
	sink            *sink
	seen, committed topology.Epoch
}

func (l *lane) Write(_, last topology.Epoch, rows []connector.Rows) error {
	n := 0
	for _, r := range rows {
		n += r.To - r.From
	}
	if n > 0 {
		l.sink.rows.Add(int64(n))
	}
	l.seen = last
	return nil
}

// Commit has nothing to show.
func (l *lane) Commit(through topology.Epoch) error {
	l.committed = max(l.committed, through)
	return nil
}

func (l *lane) Committed() topology.Epoch { return l.committed }

func (l *lane) End() error {
	l.committed = max(l.committed, l.seen)
	return nil
}

func (l *lane) Close() error { return nil }
