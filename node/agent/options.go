package agent

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider/ec2"
	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/raftfsm"
)

// Option replaces something of the outside world: for tests of whole clusters in one process.
type Option func(*surroundings)

// surroundings are what an agent takes from outside beside its Config.
type surroundings struct {
	network  port.Network
	member   Membership
	logger   *slog.Logger
	stdout   io.Writer
	stderr   io.Writer
	now      func() time.Time
	chance   func() (uint64, error)
	provide  Provide // makes the provider of nodes
	raft     func(*raftfsm.Config)
	vault    func(*vault.Config)
	metadata func() *ec2.Metadata // of the machine, if it is one of EC2
	alone    bool                 // the process is this agent's: its memory limit is set and its processor time told
}

func outside(options []Option) *surroundings {
	w := &surroundings{network: port.TCP{}, stdout: os.Stdout, stderr: os.Stderr, now: time.Now, chance: draw, alone: true, provide: provide,
		metadata: func() *ec2.Metadata { return ec2.NewMetadata("") }, raft: func(*raftfsm.Config) {}, vault: func(*vault.Config) {}}
	for _, o := range options {
		o(w)
	}
	return w
}

// WithNetwork makes all connections through n instead of sockets; membership is m instead of gossip's packets. The process's memory
// limit is left as it is: it is not this agent's alone.
func WithNetwork(n port.Network, m Membership) Option {
	return func(w *surroundings) { w.network, w.member, w.alone = n, m, false }
}

// WithLogger logs to l instead of standard error.
func WithLogger(l *slog.Logger) Option { return func(w *surroundings) { w.logger = l } }

// WithStdout is where tables that print write; safe for concurrent use.
func WithStdout(o io.Writer) Option { return func(w *surroundings) { w.stdout = o } }

// WithClock is the time that epochs and histories follow.
func WithClock(now func() time.Time) Option { return func(w *surroundings) { w.now = now } }

// WithChance draws boot ids, cluster ids and command ids: never 0, never the same twice.
func WithChance(chance func() (uint64, error)) Option {
	return func(w *surroundings) { w.chance = chance }
}

// WithProvider makes the provider of nodes, whatever the Config's is.
func WithProvider(p Provide) Option { return func(w *surroundings) { w.provide = p } }

// WithMetadata is the metadata service of the machine, instead of EC2's.
func WithMetadata(m *ec2.Metadata) Option {
	return func(w *surroundings) { w.metadata = func() *ec2.Metadata { return m } }
}

// WithRaft changes how the metadata is kept, after the agent has said where.
func WithRaft(change func(*raftfsm.Config)) Option { return func(w *surroundings) { w.raft = change } }

// WithVault changes how the vault is kept, after the agent has said where.
func WithVault(change func(*vault.Config)) Option { return func(w *surroundings) { w.vault = change } }

// draw is a random number that is not 0.
func draw() (uint64, error) {
	var b [8]byte
	for {
		if _, err := rand.Read(b[:]); err != nil {
			return 0, fmt.Errorf("drawing a random number: %w", err)
		}
		if n := binary.LittleEndian.Uint64(b[:]); n != 0 {
			return n, nil
		}
	}
}

// newLogger is the agent's log as its Config says.
func newLogger(c *Config, out io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(out, o))
	}
	return slog.New(slog.NewTextHandler(out, o))
}
