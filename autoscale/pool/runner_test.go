package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/seepnode/seepnode/autoscale/provider"
	"github.com/seepnode/seepnode/autoscale/provider/ec2"
	"github.com/seepnode/seepnode/autoscale/provider/ec2/fake"
)

// fleet is a cluster named c with one node of another origin; its other nodes are the instances that a fake EC2 runs for it, through
// Amazon's SDK. It is the metadata: what leaders leave to the next.
type fleet struct {
	t   *testing.T
	ec2 *fake.EC2

	mu       sync.Mutex
	wanted   int
	joinIn   time.Duration
	mute     []string // tokens whose nodes never join
	held     []string // instances that have the only copies of something
	tokens   int
	nodes    []Node
	standing Standing
}

// inFleet runs a test in virtual time.
func inFleet(t *testing.T, f *fake.EC2, test func(*testing.T, *fleet)) {
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	synctest.Test(t, func(t *testing.T) {
		f.Now, f.PendingIn, f.EndingIn, f.PageSize = time.Now, 5*time.Second, 20*time.Second, 5
		test(t, &fleet{t: t, ec2: f, wanted: 1, joinIn: 10 * time.Second,
			nodes: []Node{{Name: "base", Status: Alive, Takes: true, Works: 1, Holds: true, Voter: true, Leader: true}}})
	})
}

// lead has a leader keep the pool until end is called, or ctx ends. It knows nothing but what is in the metadata and at EC2.
func (f *fleet) lead(ctx context.Context, api aws.HTTPClient) (end func()) {
	f.t.Helper()
	p, err := ec2.New(ctx, ec2.Config{Cluster: "c", Template: "lt-0abc", Access: ec2.Access{Region: "eu-west-1", Endpoint: "http://ec2.test", HTTP: slow{api},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKID", SecretAccessKey: "SECRET"}, nil
		})}})
	if err != nil {
		f.t.Fatal(err)
	}
	c := DefaultConfig()
	c.Max = 8
	r := &Runner{Machine: NewMachine(c), Provider: p, Cluster: f, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Observe: func(s Standing) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.standing = s
	}}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// slow is a way to EC2 that takes a moment: a pool that asks again and again would ask without end at one instant.
type slow struct{ aws.HTTPClient }

func (s slow) Do(r *http.Request) (*http.Response, error) {
	time.Sleep(50 * time.Millisecond)
	return s.HTTPClient.Do(r)
}

// Look implements Cluster: instances of the cluster join after a while, and are lost when they end or are stopped.
func (f *fleet) Look() Input {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, i := range f.ec2.Instances() {
		n, token := f.node(i.ID), i.Tags[ec2.TagToken]
		runs := i.Ended.IsZero() && i.Stopped.IsZero()
		switch {
		case i.Tags[ec2.TagCluster] != "c":
		case n == nil && runs && time.Since(i.Launched) >= f.joinIn && !slices.Contains(f.mute, token):
			f.nodes = append(f.nodes, Node{Name: i.ID, Instance: i.ID, Status: Alive, Takes: true})
		case n != nil && !runs && n.Status != Left:
			n.Status, n.Holds = Lost, slices.Contains(f.held, i.ID)
		}
	}
	slices.SortFunc(f.nodes, func(a, b Node) int { return strings.Compare(a.Name, b.Name) })
	return Input{AtMs: time.Now().UnixMilli(), Nodes: slices.Clone(f.nodes), Wanted: f.wanted}
}

// node is a node of the metadata. The caller holds the lock.
func (f *fleet) node(name string) *Node {
	for i := range f.nodes {
		if f.nodes[i].Name == name {
			return &f.nodes[i]
		}
	}
	return nil
}

// NextToken implements Cluster.
func (f *fleet) NextToken(context.Context) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens++
	return fmt.Sprintf("c-%d", f.tokens), nil
}

// Drain, Undrain and Leave implement Cluster.
func (f *fleet) Drain(_ context.Context, c Change) error {
	return f.change(c, Leaving, DrainedByPool)
}
func (f *fleet) Undrain(_ context.Context, c Change) error { return f.change(c, Alive, "") }
func (f *fleet) Leave(_ context.Context, c Change) error   { return f.change(c, Left, "") }

func (f *fleet) change(c Change, s Status, by Drained) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(c.Node)
	n.Status, n.Drained = s, by
	return nil
}

// want says how many nodes should work.
func (f *fleet) want(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wanted = n
}

// hold says which instances have the only copies of something.
func (f *fleet) hold(ids ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.held = ids
	for _, id := range ids {
		f.node(id).Holds = true
	}
	for i := range f.nodes {
		if n := &f.nodes[i]; n.Status == Lost {
			n.Holds = slices.Contains(ids, n.Name)
		}
	}
}

// told is what is told of the pool now.
func (f *fleet) told() Standing {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.standing
}

// live are the cluster's instances that nobody has told to end; ever is how many were started for it.
func (f *fleet) live() (live []string, ever int) {
	for _, i := range f.ec2.Instances() {
		if i.Tags[ec2.TagCluster] != "c" {
			continue
		}
		ever++
		if i.Ended.IsZero() {
			live = append(live, i.ID)
		}
	}
	return live, ever
}

// expect looks how many instances there are and were started.
func (f *fleet) expect(when string, live, ever int) []string {
	f.t.Helper()
	ids, n := f.live()
	if len(ids) != live || n != ever {
		f.t.Fatalf("%s: %d instances are there and %d were started; there should be %d and %d\n%+v", when, len(ids), n, live, ever, f.told())
	}
	return ids
}

func TestLaunchesThatEC2DoesNotListAtOnceStartNothingTwice(t *testing.T) {
	inFleet(t, &fake.EC2{Forgetful: 20 * time.Second}, func(t *testing.T, f *fleet) {
		f.joinIn, f.wanted = 40*time.Second, 4
		defer f.lead(t.Context(), f.ec2)()
		time.Sleep(15 * time.Second)
		f.expect("while EC2 does not list them", 3, 3)
		if s := f.told(); s.Starting != 3 || len(s.Instances) != 0 {
			t.Errorf("%d are starting, listed are %+v", s.Starting, s.Instances)
		}
		time.Sleep(2 * time.Minute)
		f.expect("after they have joined", 3, 3)
		if s := f.told(); s.Have != 4 || len(s.Instances) != 3 {
			t.Errorf("%d nodes take work, listed are %+v", s.Have, s.Instances)
		}
	})
}

func TestAQuotaOfEC2IsToldAndAskedForAgainEverLater(t *testing.T) {
	inFleet(t, &fake.EC2{Limit: 2}, func(t *testing.T, f *fleet) {
		f.ec2.Add(fake.Instance{ID: "i-other", Launched: time.Now(), Tags: map[string]string{"role": "web"}})
		f.wanted = 3
		defer f.lead(t.Context(), f.ec2)()
		time.Sleep(10 * time.Minute)
		f.expect("at the limit", 1, 1)
		s := f.told()
		if s.ErrorKind != provider.Quota || !strings.Contains(s.Error, "VcpuLimitExceeded") || !strings.Contains(s.Error, "ask Amazon for a higher limit") || s.RetryMs <= s.AtMs ||
			!strings.Contains(s.Waiting, "the next try is in") {
			t.Errorf("of the limit is told %q of kind %s, tried again at %d, now %d; %q", s.Error, s.ErrorKind, s.RetryMs, s.AtMs, s.Waiting)
		}
		if n := f.ec2.Calls("RunInstances"); n > 8 {
			t.Errorf("in 10 minutes it was asked for %d times", n)
		}
		f.ec2.End("i-other")
		time.Sleep(16 * time.Minute)
		f.expect("when there is room", 2, 2)
		if s := f.told(); s.Error != "" || s.Have != 3 {
			t.Errorf("%d nodes take work, and told is still %q", s.Have, s.Error)
		}
	})
}

func TestAnInstanceThatEC2EndsIsReplacedAndItsNodeLeaves(t *testing.T) {
	inFleet(t, &fake.EC2{}, func(t *testing.T, f *fleet) {
		f.wanted = 3
		defer f.lead(t.Context(), f.ec2)()
		time.Sleep(time.Minute)
		ids := f.expect("at first", 2, 2)
		f.ec2.End(ids[0])
		time.Sleep(2 * time.Minute)
		if left := f.expect("after one has ended", 2, 3); left[0] != ids[1] {
			t.Errorf("of %v %s was to stay, there are %v", ids, ids[1], left)
		}
		if n := f.Look().Nodes; !slices.ContainsFunc(n, func(n Node) bool { return n.Name == ids[0] && n.Status == Left }) {
			t.Errorf("the node of what has ended has not left: %+v", n)
		}
	})
}

// dying is the way to EC2 of a leader that ends when its first launch is on its way: EC2 starts the instance, and nobody hears of it.
type dying struct {
	aws.HTTPClient
	end context.CancelFunc
}

func (d dying) Do(r *http.Request) (*http.Response, error) {
	out, err := d.HTTPClient.Do(r)
	if err == nil && r.Form.Get("Action") == "RunInstances" {
		d.end()
		_ = out.Body.Close()
		return nil, errors.New("the process has ended")
	}
	return out, err
}

func TestAnotherLeaderFindsWhatWasStartedByItsTagAndEndsWhatNobodyNeeds(t *testing.T) {
	inFleet(t, &fake.EC2{Forgetful: 3 * time.Second}, func(t *testing.T, f *fleet) {
		f.ec2.Add(fake.Instance{ID: "i-other", Launched: time.Now(), Tags: map[string]string{ec2.TagCluster: "d", ec2.TagToken: "d-1"}})
		f.wanted = 4
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		end := f.lead(ctx, dying{f.ec2, cancel})
		time.Sleep(10 * time.Second)
		end()
		if ctx.Err() == nil {
			t.Fatal("the first leader has started nothing")
		}
		live, _ := f.live()
		if len(live) == 0 || len(live) > 3 {
			t.Fatalf("the first leader left %d instances", len(live))
		}
		f.mute = []string{f.ec2.Instances()[1].Tags[ec2.TagToken]} // the other cluster's is the first

		end = f.lead(t.Context(), f.ec2)
		time.Sleep(time.Minute)
		found := f.expect("the second leader starts what is missing", 3, 3)
		for _, id := range live {
			if !slices.Contains(found, id) {
				t.Errorf("%s was ended, which had only been started", id)
			}
		}
		time.Sleep(5 * time.Minute)
		f.expect("what never joins is ended, and another started", 3, 4)
		if ids, _ := f.live(); slices.Contains(ids, live[0]) {
			t.Errorf("%s never joined, and is there: %v", live[0], ids)
		}
		end()

		f.want(1)
		defer f.lead(t.Context(), f.ec2)()
		time.Sleep(3 * time.Minute)
		f.expect("when the load has ended, with a third leader", 0, 4)
		if i := f.ec2.Instances()[0]; !i.Ended.IsZero() {
			t.Error("the instance of another cluster was ended")
		}
	})
}

func TestAnInstanceThatSomebodyStopsIsToldOfAndEndedUnlessItHasTheOnlyCopies(t *testing.T) {
	inFleet(t, &fake.EC2{}, func(t *testing.T, f *fleet) {
		f.wanted = 3
		defer f.lead(t.Context(), f.ec2)()
		time.Sleep(time.Minute)
		ids := f.expect("at first", 2, 2)
		f.hold(ids[1])
		f.ec2.Stop(ids[0])
		f.ec2.Stop(ids[1])
		time.Sleep(10 * time.Second)
		if p := f.told().Problems; len(p) != 2 || !strings.Contains(p[0], "instance "+ids[0]+" of node "+ids[0]+" is stopped") {
			t.Errorf("told is %q", p)
		}
		time.Sleep(10 * time.Minute)
		left := f.expect("both are replaced, and what has nothing is ended", 3, 4)
		if left[0] != ids[1] {
			t.Errorf("%s has the only copies and was ended: there are %v", ids[1], left)
		}
		if p := f.told().Problems; len(p) != 1 || !strings.Contains(p[0], "instance "+ids[1]+" is kept: copies, partitions or seals are still there; it is stopped: start it again") {
			t.Errorf("told is %q", p)
		}
		f.hold()
		time.Sleep(time.Minute)
		f.expect("when nothing needs it", 2, 4)
		if p := f.told().Problems; len(p) != 0 {
			t.Errorf("told is %q", p)
		}
	})
}

// TestWhileEC2FailsNothingIsStartedTwiceOrEnded is not about throttling: after it the SDK waits for no time again and again, in which virtual time
// stands still. Package ec2 shows that in real time.
func TestWhileEC2FailsNothingIsStartedTwiceOrEnded(t *testing.T) {
	inFleet(t, &fake.EC2{}, func(t *testing.T, f *fleet) {
		f.wanted = 3
		defer f.lead(t.Context(), f.ec2)()
		time.Sleep(time.Minute)
		f.expect("at first", 2, 2)
		f.ec2.Refuse("DescribeInstances", "InternalError", 50)
		time.Sleep(20 * time.Second)
		if s := f.told(); s.ErrorKind != provider.Other || !strings.Contains(s.Error, "list instances: InternalError") || s.Have != 3 {
			t.Errorf("%d nodes take work, told is %q of kind %s", s.Have, s.Error, s.ErrorKind)
		}
		time.Sleep(20 * time.Minute)
		f.expect("after it", 2, 2)
		f.want(4)
		time.Sleep(time.Minute)
		f.expect("when more is needed", 3, 3)
		if s := f.told(); s.Have != 4 || s.Error != "" {
			t.Errorf("%d nodes take work, told is still %q", s.Have, s.Error)
		}
	})
}
