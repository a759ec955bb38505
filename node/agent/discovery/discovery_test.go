package discovery

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/autoscale/provider/ec2"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlacesAreFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers")
	if err := os.WriteFile(file, []byte("# the seeds\n10.0.0.2:7601\n\n10.0.0.1 # the first\n10.0.0.2:7601\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := &Finder{
		LookupSRV: func(_ context.Context, name string) ([]*net.SRV, error) {
			if name != "_seepnode._tcp.example.org" {
				t.Errorf("SRV records of %s are asked for", name)
			}
			return []*net.SRV{{Target: "b.example.org.", Port: 7701}, {Target: "a.example.org.", Port: 7601}}, nil
		},
		LookupHost: func(context.Context, string) ([]string, error) { return []string{"10.1.0.2", "fd00::1"}, nil },
		Peers: func(_ context.Context, c ec2.PeerConfig) ([]string, error) {
			if c.TagKey != "role" || c.TagValue != "seed" || c.Region != "eu-west-1" || c.Public {
				t.Errorf("EC2 is asked for %+v", c)
			}
			return []string{"10.2.0.1"}, nil
		},
	}
	for place, want := range map[string][]string{
		"n1":                             {"n1"},
		"10.0.0.1:7601":                  {"10.0.0.1:7601"},
		"fd00::7":                        {"fd00::7"},
		"dns:nodes.example.org":          {"10.1.0.2", "fd00::1"},
		"dns:nodes.example.org:7601":     {"10.1.0.2:7601", "[fd00::1]:7601"},
		"dns:_seepnode._tcp.example.org": {"a.example.org:7601", "b.example.org:7701"},
		"file:" + file:                   {"10.0.0.1", "10.0.0.2:7601"},
		"provider=aws tag_key=role tag_value=seed region=eu-west-1": {"10.2.0.1"},
	} {
		if err := Check(place); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		if got, err := f.Find(t.Context(), place); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s gives %q, %v; it should be %q", place, got, err, want)
		}
	}
}

func TestMistakesAreFoundBeforeAnythingIsAsked(t *testing.T) {
	for place, want := range map[string]string{
		"":                      "no host name",
		"a b":                   "no host name",
		"n1:0":                  "port",
		"1:2:3:x":               "[ ]",
		"file:peers":            "absolute path",
		"dns:10.0.0.1":          "without dns:",
		"dns:":                  "no host name",
		"dns:a:99999":           "port",
		"provider=gce zone=x":   "zone is not known",
		"provider=gce":          "provider=aws is the only",
		"provider=aws":          "needs tag_key= and tag_value=",
		"tag_key=a tag_value=b": "provider=aws is the only",
		"provider=aws tag_key=a tag_value=b region=":     "no KEY=VALUE",
		"provider=aws tag_key=a tag_key=c tag_value=b":   "twice",
		"provider=aws tag_key=a tag_value=b addr_type=x": "private_v4 or public_v4",
	} {
		if err := Check(place); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; it should say %q", place, err, want)
		}
	}
}

func TestErrorsSayWhatWasLookedFor(t *testing.T) {
	dir := t.TempDir()
	bad, empty := filepath.Join(dir, "bad"), filepath.Join(dir, "empty")
	for path, text := range map[string]string{bad: "10.0.0.1\nhttp://x\n", empty: "# nobody\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := &Finder{
		LookupHost: func(context.Context, string) ([]string, error) { return nil, errors.New("no such host") },
		LookupSRV:  func(context.Context, string) ([]*net.SRV, error) { return []*net.SRV{{Target: "."}}, nil },
		Peers: func(context.Context, ec2.PeerConfig) ([]string, error) {
			return nil, errors.New("UnauthorizedOperation")
		},
	}
	for place, want := range map[string]string{
		"dns:x":                              "dns:x: its addresses cannot be had: no such host",
		"dns:_a._tcp.x":                      "no SRV records yet",
		"file:" + bad:                        "line 2",
		"file:" + empty:                      "no address in it yet",
		"file:" + dir + "/none":              "no such file",
		"provider=aws tag_key=a tag_value=b": "UnauthorizedOperation (instances are asked for in region of the environment)",
	} {
		if _, err := f.Find(t.Context(), place); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; it should say %q", place, err, want)
		}
	}
}

func TestACloudIsNotAskedAgainAtOnce(t *testing.T) {
	asked, now := 0, time.Unix(0, 0)
	f := &Finder{Now: func() time.Time { return now }, Peers: func(context.Context, ec2.PeerConfig) ([]string, error) {
		asked++
		return []string{"10.0.0.1"}, nil
	}}
	for range 10 {
		if _, err := f.Find(t.Context(), "provider=aws tag_key=a tag_value=b"); err != nil {
			t.Fatal(err)
		}
		now = now.Add(cloudFor / 5)
	}
	if asked != 2 {
		t.Errorf("it was asked %d times in two times %v", asked, cloudFor)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("provider=aws tag_key=a tag_value=b")
	f.Add("dns:_a._tcp.x")
	f.Fuzz(func(t *testing.T, text string) { _ = Check(text) })
}
