package agent

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// socketConfig is an agent on the loopback with ports of its own.
func socketConfig(t *testing.T, name string) Config {
	t.Helper()
	c := DefaultConfig()
	c.Name, c.Bind, c.HTTP, c.GossipPort, c.DataPort, c.DataDir, c.Connectors = name, "127.0.0.1", "127.0.0.1:0", 0, 0, t.TempDir(), registry(t)
	return c
}

func TestAnAgentOnRealSocketsRunsAQueryAndComesBackWithItsTable(t *testing.T) {
	c := socketConfig(t, "n1")
	quiet := WithLogger(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var rows int
	for life := range 2 {
		a, err := Start(ctx, c, quiet, func(w *surroundings) { w.alone = false })
		if err != nil {
			t.Fatal(err)
		}
		k, err := client.New(client.Config{Address: a.HTTPAddr()})
		if err != nil {
			t.Fatal(err)
		}
		for k.Ready(ctx) != nil && sleep(ctx, 10*time.Millisecond) {
		}
		if life == 0 {
			if _, err := k.AddQuery(ctx, client.AddQueryRequest{Name: "counts", SQL: countSQL(1000, 100_000)}); err != nil {
				t.Fatal(err)
			}
		}
		if q, err := k.AwaitQuery(ctx, "counts", client.UntilFinished); err != nil || q.State != client.StateFinished {
			t.Fatalf("%+v, %v", q, err)
		}
		read, err := k.ReadTable(ctx, client.TableReadRequest{Query: "counts", Table: "counts"})
		if err != nil || len(read.Rows) == 0 || life == 1 && len(read.Rows) != rows {
			t.Fatalf("life %d: %+v, %v; %d rows before", life, read, err, rows)
		}
		rows = len(read.Rows)
		k.Close()
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhatKeepsAnAgentFromStartingIsSaidInWords(t *testing.T) {
	quiet := WithLogger(slog.New(slog.DiscardHandler))
	start := func(c Config) error {
		a, err := Start(t.Context(), c, quiet, func(w *surroundings) { w.alone = false })
		if err == nil {
			err = a.Close()
		}
		return err
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // a test's
	running := socketConfig(t, "n1")
	a, err := Start(t.Context(), running, quiet, func(w *surroundings) { w.alone = false })
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close() //nolint:errcheck // closed at the end of the test
	for _, test := range []struct {
		name  string
		tune  func(*Config)
		wants string
	}{
		{"data port in use", func(c *Config) { c.DataPort = taken.Addr().(*net.TCPAddr).Port }, "--data-port"},
		{"HTTP port in use", func(c *Config) { c.HTTP = taken.Addr().String() }, "--http"},
		{"directory in use", func(c *Config) { c.DataDir = running.DataDir }, "another agent runs with --data-dir"},
		{"directory of another node", func(c *Config) { c.DataDir, c.Name = running.DataDir, "n2" }, "name this node n1"},
		{"wrong configuration", func(c *Config) { c.BootstrapExpect = 0 }, "--join"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := socketConfig(t, "n1")
			test.tune(&c)
			if err := start(c); err == nil || !strings.Contains(err.Error(), test.wants) {
				t.Errorf("got %v, want something with %q", err, test.wants)
			}
		})
	}
}
