package blackhole

import (
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
