package raftfsm

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestWarningsOfOneKindAboutOnePeerAreToldEveryTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := newRaftLogger(slog.New(slog.NewTextHandler(&out, nil)))
		for range 100 { // 15 s
			l.Error("failed to heartbeat to", "peer", "10.0.0.1:7602", "backoff time", time.Second)
			l.With("x", 1).Error("failed to heartbeat to", "peer", "10.0.0.2:7602")
			l.Warn(fallbackMessage, "id", "n1")
			time.Sleep(150 * time.Millisecond)
		}
		lines := strings.Count(out.String(), "\n")
		if lines != 4 || strings.Count(out.String(), "10.0.0.1") != 2 || strings.Count(out.String(), "not_told=66") != 2 {
			t.Errorf("%d lines:\n%s", lines, &out)
		}
	})
}
