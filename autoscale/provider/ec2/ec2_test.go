package ec2

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"go.uber.org/goleak"

	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/autoscale/provider/ec2/fake"
	"github.com/seepnode/seepnode/autoscale/provider/providertest"
)

// The SDK's client keeps idle connections for a time: that is not a leak of ours.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

func start(t *testing.T, f *fake.EC2) *fake.EC2 {
	t.Helper()
	if f.Now == nil {
		f.Now = time.Now
	}
	f.Start()
	t.Cleanup(f.Close)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	return f
}

func access(f *fake.EC2) Access {
	return Access{Region: "eu-west-1", Endpoint: f.URL(), Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}, nil
	})}
}

func newEC2(t *testing.T, f *fake.EC2, cluster string, change func(*Config)) *EC2 {
	t.Helper()
	c := Config{Access: access(f), Cluster: cluster, Template: "lt-0abc"}
	if change != nil {
		change(&c)
	}
	e, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestEC2IsAProvider(t *testing.T) {
	f := start(t, &fake.EC2{PendingIn: 50 * time.Millisecond, EndingIn: 50 * time.Millisecond, PageSize: 5, Templates: []string{"lt-0abc"}})
	providertest.Run(t, func(t *testing.T, cluster string) provider.Provider { return newEC2(t, f, cluster, nil) })
	if f.Calls("DescribeInstances") == 0 {
		t.Error("nothing was described")
	}
}

func TestInstancesAreWhatWasAskedFor(t *testing.T) {
	f := start(t, &fake.EC2{Templates: []string{"nodes"}})
	e := newEC2(t, f, "c", func(c *Config) {
		c.Template, c.Market, c.Type, c.Tags = "nodes:7", Spot, "c7g.large", map[string]string{"team": "streams"}
	})
	got, err := e.Launch(t.Context(), provider.Request{Token: "c-1"})
	if err != nil {
		t.Fatal(err)
	}
	if !got.Spot || got.Zone != "eu-west-1a" || got.Address == "" {
		t.Errorf("launched %+v", got)
	}
	i := f.Instances()[0]
	if !i.Spot || !i.IMDSv2 || i.Type != "c7g.large" || i.Tags[TagCluster] != "c" || i.Tags[TagToken] != "c-1" || i.Tags["team"] != "streams" || i.Tags["Name"] == "" {
		t.Errorf("EC2 started %+v", i)
	}
}

func TestTagsAreReadAndThoseThatEC2WouldRefuseAreNot(t *testing.T) {
	long := strings.Repeat("ä", 256)
	got, err := ParseTags("team=streams+cost centre=4 = 2+empty=+long=" + long)
	if want := map[string]string{"team": "streams", "cost centre": "4 = 2", "empty": "", "long": long}; err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := ParseTags(""); err != nil || len(got) != 0 {
		t.Errorf("of nothing %v, %v", got, err)
	}
	var many []string
	for n := range 48 {
		many = append(many, fmt.Sprintf("k%d=v", n))
	}
	for text, want := range map[string]string{
		"team":                          "give KEY=VALUE, with + between several",
		"a=1+":                          "give KEY=VALUE",
		"=v":                            "give a key of 1 to 128 characters",
		strings.Repeat("k", 129) + "=v": "give a key of 1 to 128 characters",
		"k=" + long + "x":               "give a value of at most 256 characters",
		"a=1+a=2":                       `tag "a" is given twice`,
		"seepnode:cluster=mine":         "is seepnode's own",
		"Name=mine":                     "is seepnode's own",
		"AWS:x=1":                       "are Amazon's",
		strings.Join(many, "+"):         "48 tags are too many",
		"k\xff=v":                       "give a key of 1 to 128 characters",
	} {
		if _, err := ParseTags(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; it should say %q", text, err, want)
		}
	}
	if _, err := New(t.Context(), Config{Cluster: "c", Template: "t", Tags: map[string]string{TagToken: "x"}}); err == nil || !strings.Contains(err.Error(), "is seepnode's own") {
		t.Errorf("in a Config: %v", err)
	}
}

func TestErrorsSayWhenToTryAgain(t *testing.T) {
	for code, want := range map[string]provider.Kind{
		"InsufficientInstanceCapacity": provider.Capacity, "VcpuLimitExceeded": provider.Quota, "RequestLimitExceeded": provider.Throttled,
		"UnauthorizedOperation": provider.Denied, "InvalidParameterValue": provider.Other,
	} {
		t.Run(code, func(t *testing.T) {
			f := start(t, &fake.EC2{})
			f.Refuse("RunInstances", code, 10)
			_, err := newEC2(t, f, "c", nil).Launch(t.Context(), provider.Request{Token: "c-1"})
			if provider.KindOf(err) != want || !strings.Contains(err.Error(), code) {
				t.Errorf("got %s: %v", provider.KindOf(err), err)
			}
			if len(f.Instances()) != 0 {
				t.Error("something was started")
			}
		})
	}
}

func TestAShortThrottlingIsRiddenOut(t *testing.T) {
	f := start(t, &fake.EC2{})
	f.Refuse("RunInstances", "RequestLimitExceeded", 1)
	if _, err := newEC2(t, f, "c", nil).Launch(t.Context(), provider.Request{Token: "c-1"}); err != nil {
		t.Fatal(err)
	}
	if f.Calls("RunInstances") != 2 || len(f.Instances()) != 1 {
		t.Errorf("%d calls started %d instances", f.Calls("RunInstances"), len(f.Instances()))
	}
}

func TestWithoutCapacityOtherSubnetsAndTheOtherMarketAreTried(t *testing.T) {
	f := start(t, &fake.EC2{})
	f.Exhaust("subnet-a", true)
	e := newEC2(t, f, "c", func(c *Config) { c.Market, c.Subnets = SpotFirst, []string{"subnet-a", "subnet-b"} })
	one, err := e.Launch(t.Context(), provider.Request{Token: "c-1"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.Launch(t.Context(), provider.Request{Token: "c-1"})
	if err != nil || again.ID != one.ID {
		t.Errorf("the same token gave %s, then %s, %v", one.ID, again.ID, err)
	}
	if list := f.Instances(); len(list) != 1 || list[0].Spot || list[0].Subnet != "subnet-b" {
		t.Errorf("EC2 started %+v", list)
	}
	f.Exhaust("subnet-b", false)
	if _, err := e.Launch(t.Context(), provider.Request{Token: "c-2"}); provider.KindOf(err) != provider.Capacity {
		t.Errorf("without any capacity: %v", err)
	}
}

func TestTerminatingPassesOverWhatEC2HasForgotten(t *testing.T) {
	f := start(t, &fake.EC2{})
	e := newEC2(t, f, "c", nil)
	i, err := e.Launch(t.Context(), provider.Request{Token: "c-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Terminate(t.Context(), []string{"i-0000000000000dead", i.ID, "i-0000000000000beef"}); err != nil {
		t.Fatal(err)
	}
	if f.Instances()[0].Ended.IsZero() {
		t.Error("the one that is there was not terminated")
	}
}

func TestWhatSomebodyStopsIsListedUntilItIsTerminated(t *testing.T) {
	f := start(t, &fake.EC2{})
	e := newEC2(t, f, "c", nil)
	i, err := e.Launch(t.Context(), provider.Request{Token: "c-1"})
	if err != nil {
		t.Fatal(err)
	}
	f.Stop(i.ID)
	if list, err := e.List(t.Context()); err != nil || len(list) != 1 || list[0].State != provider.Stopped || list[0].Token != "c-1" {
		t.Errorf("its volume is paid for, and listed is %+v, %v", list, err)
	}
	if err := e.Terminate(t.Context(), []string{i.ID}); err != nil {
		t.Fatal(err)
	}
	if list, err := e.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("after its end %+v, %v", list, err)
	}
}

func TestPeersAreTheRunningInstancesWithATag(t *testing.T) {
	f := start(t, &fake.EC2{PageSize: 5})
	for n := range 12 {
		f.Add(fake.Instance{ID: "i-" + string(rune('a'+n)), Address: "10.0.0." + string(rune('a'+n)), Tags: map[string]string{"role": "seed"}})
	}
	f.Add(fake.Instance{ID: "i-other", Address: "10.0.9.9", Tags: map[string]string{"role": "web"}})
	f.Add(fake.Instance{ID: "i-ended", Address: "10.0.9.8", Tags: map[string]string{"role": "seed"}, Ended: time.Now()})
	got, err := Peers(t.Context(), PeerConfig{Access: access(f), TagKey: "role", TagValue: "seed"})
	if err != nil || len(got) != 12 || !slices.IsSorted(got) || slices.Contains(got, "10.0.9.9") {
		t.Errorf("%v, %v", got, err)
	}
	if f.Calls("DescribeInstances") != 3 {
		t.Errorf("%d pages were read", f.Calls("DescribeInstances"))
	}
	if _, err := Peers(t.Context(), PeerConfig{Access: access(f), TagKey: "role", TagValue: "none"}); err == nil || !strings.Contains(err.Error(), "no running instance has the tag role=none") {
		t.Errorf("without any: %v", err)
	}
}

func TestAMachineHearsOfItsEnd(t *testing.T) {
	m := fake.StartMetadata("i-0123")
	defer m.Close()
	meta := NewMetadata(m.URL())
	if id, err := meta.InstanceID(t.Context()); err != nil || id != "i-0123" {
		t.Fatalf("this is %q, %v", id, err)
	}
	if n, err := meta.Notice(t.Context()); n != nil || err != nil {
		t.Fatalf("announced before anything was: %+v, %v", n, err)
	}
	heard := make(chan *Notice, 1)
	go func() {
		heard <- meta.Watch(t.Context(), 5*time.Millisecond, func(err error) { t.Error(err) })
	}()
	m.Set("spot/instance-action", `{"action": "terminate", "time": "2026-09-18T08:22:00Z"}`)
	if n := <-heard; n == nil || n.Action != "terminate" || n.At.Year() != 2026 {
		t.Errorf("heard %+v", n)
	}
	m.Set("spot/instance-action", "gone fishing")
	if _, err := meta.Notice(t.Context()); err == nil || !strings.Contains(err.Error(), "gone fishing") {
		t.Errorf("words that are not known: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if n := meta.Watch(ended, time.Hour, func(error) {}); n != nil {
		t.Errorf("watching ended with %+v", n)
	}
}
