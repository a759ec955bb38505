package gossip

import (
	"context"
	"log"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	sameLineEvery = 30 * time.Second
	linesKept     = 256
)

// newLogger passes the libraries' lines on, one level lower than they claim: what matters of membership this package says itself.
// Lines that differ only in numbers come once in sameLineEvery.
func newLogger(l *slog.Logger) *log.Logger {
	return log.New(&logWriter{log: l, last: map[string]time.Time{}}, "", 0)
}

type logWriter struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time
}

// peerAddress finds whom a line is about.
var peerAddress = regexp.MustCompile(`from=([^ ]+?)(:\d+)?(?: |$)`)

// keyTrouble are what the library says of messages of processes with another encryption key, with one, or without.
var keyTrouble = []struct{ text, meaning string }{
	{"no installed keys could decrypt the message", "it has another encryption key than this process"},
	{"encryption is configured but remote state is not encrypted", "it has no encryption key, and this process has one"},
	{"remote state is encrypted and encryption is not configured", "it has an encryption key, and this process has none"},
	{"unsupported encryption version", "it has no encryption key, and this process has one"},
}

const sameKey = "start all nodes with the same --encrypt-key-file"

func (w *logWriter) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	level := slog.LevelDebug
	for tag, l := range map[string]slog.Level{"[ERR]": slog.LevelWarn, "[ERROR]": slog.LevelWarn, "[WARN]": slog.LevelInfo} {
		if rest, ok := strings.CutPrefix(line, tag); ok {
			line, level = strings.TrimSpace(rest), l
			break
		}
	}
	if strings.HasPrefix(line, "[") {
		if _, rest, ok := strings.Cut(line, "] "); ok {
			line = rest
		}
	}
	for _, k := range keyTrouble {
		if strings.Contains(line, k.text) {
			from := "an unknown address"
			if m := peerAddress.FindStringSubmatch(line); m != nil {
				from = m[1]
			}
			if w.first("key " + from) {
				w.log.Warn("refused gossip of a process: "+k.meaning, "from", from, "hint", sameKey)
			}
			return len(p), nil
		}
	}
	if w.log.Enabled(context.Background(), level) && (level == slog.LevelDebug || w.first(shape(line))) {
		w.log.Log(context.Background(), level, line)
	}
	return len(p), nil
}

// first says whether nothing of that key was logged lately.
func (w *logWriter) first(key string) bool {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if at, ok := w.last[key]; ok && now.Sub(at) < sameLineEvery {
		return false
	}
	if len(w.last) >= linesKept {
		clear(w.last)
	}
	w.last[key] = now
	return true
}

// shape is a line without its numbers.
func shape(line string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, line)
}
