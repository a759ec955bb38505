package agent

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seepnode/seepnode/node/agent/port"
	"github.com/seepnode/seepnode/node/agent/port/porttest"
	"github.com/seepnode/seepnode/node/api/client"
)

// TestAClusterOverTLSCountsEveryRowThroughAKill: all between nodes and HTTP beyond the loopback are encrypted, and recovery is as it is without.
func TestAClusterOverTLSCountsEveryRowThroughAKill(t *testing.T) {
	ca := porttest.New(t)
	files := map[string]port.CredentialFiles{"n1": ca.Files("n1"), "n2": ca.Files("n2"), "n3": ca.Files("n3")}
	authorities, err := port.ReadAuthorities(files["n1"].CA)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 20_000
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		var agents []*Agent
		for _, name := range []string{"n1", "n2", "n3"} {
			agents = append(agents, c.start(name, func(k *Config) { k.BootstrapExpect, k.Join, k.TLS = 3, everybody, files[name] }))
		}
		c.ready(agents...)
		person := func(scheme string) *client.Client {
			host := c.net.Host("person")
			wire := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: authorities},
				DialContext: func(ctx context.Context, _, address string) (net.Conn, error) { return host.Dial(ctx, address) }}
			k, err := client.New(client.Config{Address: scheme + "://n1:7600", Token: testToken, HTTPClient: &http.Client{Transport: wire}, RetryFor: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			return k
		}
		if err := person("http").Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "https://") {
			t.Errorf("HTTP that is not encrypted is answered with %v", err)
		}
		k := person("https")
		if _, err := k.AddQuery(t.Context(), client.AddQueryRequest{Name: "q", SQL: countSQL(rows, 10_000), Wait: client.UntilRunning}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		c.kill(agents[2])
		if q, err := k.AwaitQuery(t.Context(), "q", client.UntilFinished); err != nil || q.State != client.StateFinished {
			t.Fatalf("%+v, %v", q, err)
		}
		read, err := k.ReadTable(t.Context(), client.TableReadRequest{Query: "q", Table: "counts"})
		if err != nil {
			t.Fatal(err)
		}
		sum := 0
		for _, r := range read.Rows {
			var row struct{ N int }
			if err := json.Unmarshal([]byte(r), &row); err != nil {
				t.Fatal(err)
			}
			sum += row.N
		}
		if sum != rows {
			t.Errorf("%d rows are counted, %d were read", sum, rows)
		}
	})
}
