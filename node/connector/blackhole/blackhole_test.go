package blackhole

import (
	"context"
	"errors"
	"testing"

	"github.com/seepnode/seepnode/dataplane/batch"
	"github.com/seepnode/seepnode/node/connector"
	"github.com/seepnode/seepnode/node/connector/connectortest"
)

func TestRowsOfAllLanesAreCounted(t *testing.T) {
	s, err := Definition().NewSink(connector.Config{})
	if err != nil {
		t.Fatal(err)
	}
	b := batch.New(batch.NewSchema(batch.Field{Name: "n", Type: batch.TypeInt}))
	for i := range 5 {
		b.Cols[0].AppendInt64(int64(i))
		b.EndRow(batch.Insert)
	}
	for lane := range 3 {
		connectortest.Write(t, s, lane, []*batch.Batch{b, batch.New(b.Schema), b}, 1)
	}
	if n := s.(Counter).Rows(); n != 30 {
		t.Fatalf("%d rows", n)
	}
}

func TestEverythingGivenToCommitIsCommitted(t *testing.T) {
	s, err := Definition().NewSink(connector.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Open(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Write(1, 5, nil), l.Write(6, 9, nil), l.Commit(5)); err != nil || l.Committed() != 5 {
		t.Fatalf("committed %d: %v", l.Committed(), err)
	}
	if err := errors.Join(l.End(), l.Close()); err != nil || l.Committed() != 9 {
		t.Fatalf("committed %d after the end: %v", l.Committed(), err)
	}
}
