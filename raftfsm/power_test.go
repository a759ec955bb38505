package raftfsm

import (
	"bytes"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

const pageBytes = 4096

// TestALossOfPowerTakesNothingThatRaftsFilesHaveAcknowledged: the file is put together of what it was before a write and after it, page by page, as
// it may be found when the power goes in the middle. Until the pages are fsynced the one that names them is not written; it may be torn, too.
func TestALossOfPowerTakesNothingThatRaftsFilesHaveAcknowledged(t *testing.T) {
	if o := boltOptions(""); o.NoSync || o.BoltOptions.NoSync || o.BoltOptions.NoGrowSync {
		t.Fatal("writes are acknowledged before they are fsynced")
	}
	dir := t.TempDir()
	s := openPowerStores(t, dir)
	defer func() { _ = s.Close() }()
	path := filepath.Join(dir, "log.db")
	r := rand.New(rand.NewPCG(1, 2))
	var last uint64
	for round := range 40 {
		before := mustRead(t, path)
		var list []*raft.Log
		for range 1 + r.IntN(20) {
			list = append(list, &raft.Log{Index: last + uint64(len(list)) + 1, Term: 1, Data: bytes.Repeat([]byte{byte(round)}, r.IntN(3000))})
		}
		if err := s.Log.StoreLogs(list); err != nil {
			t.Fatal(err)
		}
		after := mustRead(t, path)
		was := last
		last += uint64(len(list))
		holds(t, "acknowledged", after, last, last)
		holds(t, "pages half written", mixed(r, before, after, false), was, was)
		holds(t, "the page that names them half written", mixed(r, before, after, true), was, last)
	}
}

// mixed is the file in the middle of a write: some pages are new and all that name them old, or all are new and those are torn at a sector.
func mixed(r *rand.Rand, before, after []byte, named bool) []byte {
	out := make([]byte, len(after))
	copy(out, before)
	for at := 2 * pageBytes; at < len(after); at += pageBytes {
		if named || r.IntN(2) == 0 {
			copy(out[at:min(at+pageBytes, len(after))], after[at:])
		}
	}
	if named {
		for at := 0; at < 2*pageBytes; at += pageBytes {
			n := 512 * r.IntN(pageBytes/512+1)
			copy(out[at:at+n], after[at:at+n])
		}
	}
	return out
}

// holds says that a file is opened and has its entries from 1 to one of two ends, all or nothing between.
func holds(t *testing.T, when string, file []byte, least, most uint64) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "log.db"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openPowerStores(t, dir)
	defer func() { _ = s.Close() }()
	last, err := s.Log.LastIndex()
	if err != nil || last != least && last != most {
		t.Fatalf("%s: the last entry is %d, %d or %d were stored: %v", when, last, least, most, err)
	}
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if err := s.Log.GetLog(i, &l); err != nil || l.Index != i {
			t.Fatalf("%s: entry %d: %v", when, i, err)
		}
	}
}

func openPowerStores(t *testing.T, dir string) *Stores {
	t.Helper()
	s, err := openStores(dir, 16, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(fmt.Errorf("opening: %w", err))
	}
	return s
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
