package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/api/client"
)

// TestWithoutRoomOnDiskQueriesGoOnAndStatusSaysThatOutputLogsDoNotGoThere.
func TestWithoutRoomOnDiskQueriesGoOnAndStatusSaysThatOutputLogsDoNotGoThere(t *testing.T) {
	const rows = 2000
	want := undisturbed(t, rows)
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		var agents []*Agent
		for _, name := range []string{"n1", "n2", "n3"} {
			agents = append(agents, c.start(name, func(k *Config) { k.BootstrapExpect, k.Join, k.LogMemory, k.SpillLimit = 3, everybody, 1, 1 }))
		}
		c.ready(agents...)
		if _, err := c.api(agents[0]).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(rows, 200)}); err != nil {
			t.Fatal(err)
		}
		alerted := false
		for end := time.Now().Add(20 * time.Second); !alerted && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			st, err := c.api(c.leader()).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			alerted = slices.ContainsFunc(st.Alerts, func(a client.Alert) bool { return a.Kind == "spill_full" && a.Node != "" })
		}
		if !alerted {
			t.Error("no alert in 20 s")
		}
		c.finished(agents[0], "counts")
		if got := c.counts(agents[0]); !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
		for _, a := range agents {
			if left, err := os.ReadDir(filepath.Join(a.config.DataDir, "spill")); err != nil || len(left) > 0 {
				t.Errorf("%s: files are left: %v %v", a.config.Name, left, err)
			}
		}
	})
}

// TestOutputLogsLeaveTheVaultTwiceTheRoomOnItsDiskThatItNeedsToTakeAnythingAfterItWasFull.
func TestOutputLogsLeaveTheVaultTwiceTheRoomOnItsDiskThatItNeedsToTakeAnythingAfterItWasFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		a := c.start("n1", nil)
		c.ready(a)
		v, logs := a.vaultConfig(1), a.spillConfig()
		if need := 2 * (8*uint64(v.ReserveBytes) + uint64(v.CommitBytes)); logs.ReserveBytes < need {
			t.Errorf("%d bytes are left to the vault, %d are wanted", logs.ReserveBytes, need)
		}
		if free, err := logs.Free(); err != nil || free == 0 {
			t.Errorf("%d bytes of the file system are left, %v", free, err)
		}
	})
}

// TestAnAgentEndsWhenWhatItEmittedIsNeededAndCannotBeReadBack, and says what to do.
func TestAnAgentEndsWhenWhatItEmittedIsNeededAndCannotBeReadBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		a := c.start("n1", nil)
		c.ready(a)
		a.spillConfig().Damaged(errors.New("x.spill at offset 17"))
		<-a.Failed()
		if err := a.Err(); err == nil || !strings.Contains(err.Error(), "x.spill at offset 17") || !strings.Contains(err.Error(), "check the disk") {
			t.Error(err)
		}
	})
}
