package raftfsm

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

const (
	// logAgain is how long the library's warnings of one kind about one peer are told once: it repeats them several times a second for as
	// long as a peer is gone.
	logAgain = 10 * time.Second
	// logKinds bounds how many kinds are remembered.
	logKinds = 256
	// fallbackMessage is of an address that the library takes from its own configuration, as it has to before the cluster's record of a
	// node is applied: nobody can do anything about it.
	fallbackMessage = "unable to get address for server, using fallback address"
)

// raftLogger hands what the Raft library says to slog. What it calls info is every day's business here: debug.
type raftLogger struct {
	to   *slog.Logger
	name string
	args []any
	told *toldKinds
}

func newRaftLogger(to *slog.Logger) hclog.Logger {
	return &raftLogger{to: to.With("component", "raft"), told: &toldKinds{last: map[string]toldKind{}}}
}

// toldKinds are the kinds of warnings that were told lately.
type toldKinds struct {
	mu   sync.Mutex
	last map[string]toldKind
}

type toldKind struct {
	at      time.Time
	skipped int
}

// again says whether a warning is told now, and how many of its kind were not since the last.
func (t *toldKinds) again(kind string, now time.Time) (tell bool, skipped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.last[kind]
	if ok && now.Sub(k.at) < logAgain {
		k.skipped++
		t.last[kind] = k
		return false, 0
	}
	if !ok && len(t.last) >= logKinds {
		clear(t.last)
	}
	t.last[kind] = toldKind{at: now}
	return true, k.skipped
}

// kindOf is a message and whom it is about.
func kindOf(msg string, args []any) string {
	for i := 0; i+1 < len(args); i += 2 {
		switch args[i] {
		case "peer", "id", "server-id", "from":
			msg += fmt.Sprintf(" %v", args[i+1])
		}
	}
	return msg
}

func (l *raftLogger) Log(level hclog.Level, msg string, args ...any) {
	at := slogLevel(level)
	if msg == fallbackMessage {
		at = slog.LevelDebug
	}
	if !l.to.Enabled(context.Background(), at) {
		return
	}
	for i, a := range args {
		if f, ok := a.(hclog.Format); ok && len(f) > 0 {
			if format, ok := f[0].(string); ok {
				args[i] = fmt.Sprintf(format, f[1:]...)
			}
		}
	}
	if at >= slog.LevelWarn {
		tell, skipped := l.told.again(kindOf(msg, args), time.Now())
		if !tell {
			return
		}
		if skipped > 0 {
			args = append(args[:len(args):len(args)], "not_told", skipped)
		}
	}
	l.to.Log(context.Background(), at, msg, args...)
}

func slogLevel(level hclog.Level) slog.Level {
	switch {
	case level >= hclog.Error:
		return slog.LevelError
	case level == hclog.Warn:
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (l *raftLogger) Trace(msg string, args ...any) { l.Log(hclog.Trace, msg, args...) }
func (l *raftLogger) Debug(msg string, args ...any) { l.Log(hclog.Debug, msg, args...) }
func (l *raftLogger) Info(msg string, args ...any)  { l.Log(hclog.Info, msg, args...) }
func (l *raftLogger) Warn(msg string, args ...any)  { l.Log(hclog.Warn, msg, args...) }
func (l *raftLogger) Error(msg string, args ...any) { l.Log(hclog.Error, msg, args...) }

func (l *raftLogger) is(level hclog.Level) bool {
	return l.to.Enabled(context.Background(), slogLevel(level))
}

func (l *raftLogger) IsTrace() bool { return l.is(hclog.Trace) }
func (l *raftLogger) IsDebug() bool { return l.is(hclog.Debug) }
func (l *raftLogger) IsInfo() bool  { return l.is(hclog.Info) }
func (l *raftLogger) IsWarn() bool  { return l.is(hclog.Warn) }
func (l *raftLogger) IsError() bool { return l.is(hclog.Error) }

func (l *raftLogger) ImpliedArgs() []any { return l.args }
func (l *raftLogger) Name() string       { return l.name }

func (l *raftLogger) With(args ...any) hclog.Logger {
	return &raftLogger{l.to.With(args...), l.name, append(l.args[:len(l.args):len(l.args)], args...), l.told}
}

func (l *raftLogger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

func (l *raftLogger) ResetNamed(name string) hclog.Logger {
	return &raftLogger{l.to, name, l.args, l.told}
}

// SetLevel does nothing: the level is the slog handler's.
func (l *raftLogger) SetLevel(hclog.Level) {}

func (l *raftLogger) GetLevel() hclog.Level {
	for _, level := range []hclog.Level{hclog.Debug, hclog.Warn, hclog.Error} {
		if l.is(level) {
			return level
		}
	}
	return hclog.Off
}

func (l *raftLogger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

func (l *raftLogger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return raftLogWriter{l} }

type raftLogWriter struct{ l *raftLogger }

func (w raftLogWriter) Write(line []byte) (int, error) {
	w.l.Info(string(line))
	return len(line), nil
}
