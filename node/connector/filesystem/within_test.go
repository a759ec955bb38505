package filesystem

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/seepnode/seepnode/node/connector"
)

func TestPathsOutsideOfTheAllowedDirectoriesAreRefused(t *testing.T) {
	base := t.TempDir()
	allowed, outside := filepath.Join(base, "allowed"), filepath.Join(base, "allowedtoo")
	for _, dir := range []string{allowed + "/below", outside} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{allowed + "/out": outside, outside + "/in": allowed + "/below", allowed + "/nowhere": outside + "/new"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(allowed)
	for _, c := range []struct {
		path string
		ok   bool
	}{
		{allowed, true}, {allowed + "/", true}, {allowed + "/below/new/dir", true}, {"below", true}, {"file:" + allowed + "/x", true},
		{outside + "/in", true}, {outside + "/in/new", true}, {allowed + "/*.csv", true}, {allowed + "/**/[ab]", true},
		{outside, false}, {base, false}, {"/", false}, {"..", false}, {allowed + "/../x", false}, {allowed + "/out", false}, {allowed + "/out/new", false},
		{allowed + "/nowhere", false}, {allowed + "/nowhere/x", false}, {outside + "/*.csv", false}, {base + "/*/x", false}, {allowed + "/out/*", false}, {"/**", false},
		{allowed + "/below/../../allowedtoo", false}, {"file:" + outside, false},
	} {
		d := DefinitionWithin([]string{base + "/missing", allowed})
		conf := config(countSchema, "path", c.path, "format", "csv")
		_, sourceErr := d.NewSource(conf)
		errs := map[string]error{"check": d.Check(conf), "source": sourceErr}
		if !strings.Contains(c.path, "*") {
			_, errs["sink"] = d.NewSink(conf)
		}
		for what, err := range errs {
			if (err == nil) != c.ok {
				t.Errorf("%s of %s: %v", what, c.path, err)
			}
			if err != nil && (!strings.Contains(err.Error(), "table t") || !strings.Contains(c.path, "nowhere") && !strings.Contains(err.Error(), "--allow-path")) {
				t.Errorf("%s of %s does not say what to do: %v", what, c.path, err)
			}
		}
	}
	if err := DefinitionWithin(nil).Check(config(countSchema, "path", allowed, "format", "csv")); err == nil || !strings.Contains(err.Error(), "started without --allow-path") {
		t.Errorf("nothing allowed: %v", err)
	}
}

func TestLinkedFileOutsideIsNotRead(t *testing.T) {
	allowed, outside := t.TempDir(), t.TempDir()
	secret := write(t, outside+"/secret.csv", "w,1\n")
	if err := os.Symlink(secret, allowed+"/link.csv"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{allowed, allowed + "/*.csv"} {
		src, err := DefinitionWithin([]string{allowed}).NewSource(config(countSchema, "path", path, "format", "csv"))
		if err != nil {
			t.Fatal(err)
		}
		splits, err := src.Discover(context.Background())
		if err != nil || len(splits) != 1 {
			t.Fatal(splits, err)
		}
		if r, err := src.Open(context.Background(), splits[0], 0); err == nil || !strings.Contains(err.Error(), secret) {
			t.Fatalf("%v %v", r, err)
		}
	}
}

func TestDirectoryThatBecomesALinkOutsideIsRefused(t *testing.T) {
	allowed, outside := t.TempDir(), t.TempDir()
	var conf connector.Config = config(countSchema, "path", allowed+"/out", "format", "csv")
	s, err := DefinitionWithin([]string{allowed}).NewSink(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, allowed+"/out"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(context.Background(), 0); err == nil || !strings.Contains(err.Error(), outside) {
		t.Fatal(err)
	}
}

// TestAPathThatIsMadeMeanwhileIsResolved: nodes with lanes of one sink look at its directory and make it at the same time.
func TestAPathThatIsMadeMeanwhileIsResolved(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "out")
	ended := make(chan struct{})
	var making sync.WaitGroup
	making.Go(func() {
		for {
			select {
			case <-ended:
				return
			default:
			}
			if err := errors.Join(os.Mkdir(dir, 0o755), os.Remove(dir)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 20_000 {
		if got, err := resolve(dir + "/below"); err != nil || got != dir+"/below" {
			t.Errorf("%q: %v", got, err)
			break
		}
	}
	close(ended)
	making.Wait()
}
