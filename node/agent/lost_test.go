package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/backup/vault"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
)

// burn takes away what a node's vault has; its part of the metadata stays.
func (c *cluster) burn(name string) { c.disks[name].vault = vault.NewMemory() }

// awaitState waits until a query is in a state.
func (c *cluster) awaitState(a *Agent, name, state string) *client.QueryDetail {
	c.t.Helper()
	var q *client.QueryDetail
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		var err error
		if q, err = c.api(a).Query(c.t.Context(), name); err == nil && q.State == state {
			return q
		}
	}
	c.explain()
	c.t.Fatalf("query %s does not become %s: %+v", name, state, q)
	return nil
}

func TestAQueryGoesOnWithoutWhatIsLostWhenThatIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		out := filepath.Join(c.dir, "out")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		sql := countSQL(4000, 200) + fmt.Sprintf(`
CREATE TABLE files (k BIGINT, v BIGINT) WITH ('connector'='filesystem','path'='%s','format'='csv');
INSERT INTO files SELECT k, v FROM numbers;
`, out)
		if _, err := c.api(agents[0]).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: sql}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		if _, err := c.api(agents[0]).RecoverQuery(t.Context(), "counts", client.RecoverRequest{AcceptLoss: true}); !client.IsConflict(err) {
			t.Fatalf("a query that runs was recovered: %v", err)
		}
		// All die, and two lose what their vaults have: what the third one ran is nowhere.
		before, err := c.api(agents[0]).Query(t.Context(), "counts")
		if err != nil || len(before.Parts) == 0 {
			t.Fatalf("%+v, %v", before, err)
		}
		for _, a := range agents {
			c.kill(a)
			if a.config.Name != before.Parts[0].Node {
				c.burn(a.config.Name)
			}
		}
		for i := range agents {
			agents[i] = c.start(agents[i].config.Name, func(k *Config) { k.BootstrapExpect, k.Join = 3, everybody })
		}
		c.ready(agents...)
		q := c.awaitState(agents[0], "counts", client.StateWaiting)
		if q.Resolves == "" {
			t.Error("it does not say what it waits for")
		}
		var other *Agent
		for _, a := range c.running() {
			if a != c.leader() {
				other = a
			}
		}
		done, err := c.api(other).RecoverQuery(t.Context(), "counts", client.RecoverRequest{AcceptLoss: true})
		if err != nil {
			c.explain()
			t.Fatal(err)
		}
		if done.Query.Generation != 2 || len(done.Missing) < 2 || !strings.Contains(strings.Join(done.Missing, "; "), "key groups") || done.From == 0 {
			t.Errorf("%+v", done)
		}
		c.finished(agents[0], "counts")
		history, err := c.api(other).History(t.Context(), "counts", client.HistoryRequest{Limit: 1000})
		if err != nil || !slices.ContainsFunc(history, func(h client.HistoryEntry) bool {
			return h.Kind == "generation" && strings.Contains(h.Text, done.Missing[0])
		}) {
			t.Errorf("the history does not say what may be missing: %+v, %v", history, err)
		}
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		behind := map[bool]int{}
		for _, e := range entries {
			prefix, _, _ := strings.Cut(e.Name(), "-")
			behind[strings.HasSuffix(prefix, ".2")]++
		}
		if behind[true] == 0 || behind[false] == 0 {
			t.Errorf("files %v", entries)
		}
		if got := c.counts(agents[0]); len(got) != 10 {
			t.Errorf("%v", got)
		}
	})
}

// Who has joined must answer at once: a node whose vault holds much, and takes long to be read, was taken for lost and joined again for as long as
// that took.
func TestANodeJoinsWhenItsVaultHasBeenRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		cluster := agents[0].Machine().View().Cluster.ID
		c.kill(agents[2])
		if _, err := raftfsm.ClaimDir(agents[2].raftDir(), "n3", cluster); err != nil { // its Raft group is in memory
			t.Fatal(err)
		}
		c.disks["n3"].slow = 20 * time.Second
		again := c.start("n3", func(k *Config) { k.Join = everybody })
		began := time.Now()
		for {
			if n := agents[0].Machine().View().Node("n3"); n.Boot == again.self.Boot {
				break
			}
			if time.Since(began) > time.Minute {
				t.Fatal("n3 has not joined")
			}
			time.Sleep(10 * time.Millisecond)
		}
		if read := time.Since(began); read < c.disks["n3"].slow {
			t.Errorf("n3 has joined after %v, before its vault was read", read)
		}
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if n := agents[0].Machine().View().Node("n3"); n.Status != raftfsm.Alive {
				t.Fatalf("n3 is %v: %s", n.Status, n.Reason)
			}
		}
		c.ready(again)
	})
}

func TestStatusSaysWhoseCheckpointsDoNotComeWhenNoneIsComplete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		agents := c.three()
		if _, err := c.api(agents[0]).AddQuery(t.Context(), client.AddQueryRequest{Name: "counts", SQL: countSQL(100_000, 200)}); err != nil {
			t.Fatal(err)
		}
		alert := func() *client.Alert {
			st, err := c.api(c.leader()).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(st.Alerts, func(a client.Alert) bool { return a.Kind == "checkpoints_overdue" })
			if i < 0 {
				return nil
			}
			return &st.Alerts[i]
		}
		for range 100 {
			if a := alert(); a != nil {
				t.Fatalf("all vaults have room: %s", a.Text)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, d := range c.disks {
			d.vault.SetCapacity(1)
		}
		var a *client.Alert
		for end := time.Now().Add(time.Minute); a == nil && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			a = alert()
		}
		if a == nil || a.Query != "counts" || !regexp.MustCompile(`none of the last [4-9] checkpoints`).MatchString(a.Text) || !strings.Contains(a.Text, " on n") {
			t.Fatalf("the alert is %+v", a)
		}
		for _, d := range c.disks {
			d.vault.SetCapacity(0)
		}
		for end := time.Now().Add(time.Minute); alert() != nil; time.Sleep(100 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("the alert stays")
			}
		}
	})
}
