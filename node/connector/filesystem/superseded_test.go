package filesystem

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seepnode/seepnode/node/connector/connectortest"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

// visible are the contents of files that a reader sees, in the order of their names, and the names of those that were superseded.
func visible(t *testing.T, dir string) (seen, superseded []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), supersededPrefix) {
			superseded = append(superseded, e.Name())
		}
		if c := e.Name()[0]; c == '_' || c == '.' {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		seen = append(seen, e.Name()+": "+strings.ReplaceAll(string(b), "\n", ";"))
	}
	return seen, superseded
}

func TestAGenerationThatSealsAnewTakesThePlaceOfWhatWasPublishedBehindItsStart(t *testing.T) {
	dir := t.TempDir()
	first := config(countSchema, "path", dir, "format", "csv")
	old, _ := openLane(t, first)
	must(t, tell(old, 1, 8, counts(0, 1)), tell(old, 9, 16, counts(1, 2)), tell(old, 17, 24, counts(2, 3)))
	// Nothing was given up: the same names, and what is there is compared.
	kept := first
	kept.Query.Generation = 2
	same, _ := openLane(t, kept)
	must(t, tell(same, 9, 16, counts(1, 2)), same.Close())
	if seen, superseded := visible(t, dir); len(seen) != 3 || len(superseded) != 0 {
		t.Fatalf("%v, %v", seen, superseded)
	}
	// From epoch 9 on the epochs are sealed anew.
	anew := first
	anew.Query.Generation, anew.Resealed = 3, 3
	l, _ := openLane(t, anew)
	must(t, tell(l, 9, 16, counts(1, 3)))
	must(t, tell(old, 25, 32, counts(3, 4))) // a zombie's
	must(t, tell(l, 17, 32, counts(3, 5)))
	must(t, tell(old, 33, 40, counts(4, 5)), l.End())
	seen, superseded := visible(t, dir)
	want := []string{
		"0000000000000abc-0000-000000000001-000000000008.csv: w0,0;",
		"0000000000000abc.3-0000-000000000009-000000000016.csv: w1,1;w2,2;",
		"0000000000000abc.3-0000-000000000025-000000000032.csv: w3,3;w4,4;",
	}
	if strings.Join(seen, "\n") != strings.Join(want, "\n") || len(superseded) != 4 {
		t.Fatalf("%s\nsuperseded %v", strings.Join(seen, "\n"), superseded)
	}
	// And once more, behind epoch 16.
	again := anew
	again.Query.Generation, again.Resealed = 5, 5
	l, _ = openLane(t, again)
	must(t, l.Write(topology.Epoch(17), 32, connectortest.Halves(counts(7, 8))), l.Commit(32), l.End())
	seen, superseded = visible(t, dir)
	want[2] = "0000000000000abc.5-0000-000000000025-000000000032.csv: w7,7;"
	if strings.Join(seen, "\n") != strings.Join(want, "\n") || len(superseded) != 5 {
		t.Fatalf("%s\nsuperseded %v", strings.Join(seen, "\n"), superseded)
	}
}
