package ec2

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// Tags of all instances.
const (
	TagCluster = "seepnode:cluster"
	TagToken   = "seepnode:token"
)

// Markets.
const (
	OnDemand = "on-demand"
	Spot     = "spot"
	// SpotFirst is spot, and on-demand when there is none.
	SpotFirst = "spot-first"
)

// Config says what is started.
type Config struct {
	Access
	Cluster  string
	Template string            // launch template: its id or name, ":VERSION" behind it or the default one
	Market   string            // OnDemand, Spot, SpotFirst; "": OnDemand
	Subnets  []string          // tried in turn; none: the template's
	Type     string            // instance type; "": the template's
	Tags     map[string]string // beside seepnode's own, see ParseTags
}

// EC2 is a provider.Provider.
type EC2 struct {
	config Config
	client client
}

// pageSize is how many instances one answer has.
const pageSize = 200

// New makes one. It makes no call yet.
func New(ctx context.Context, c Config) (*EC2, error) {
	switch {
	case c.Cluster == "":
		return nil, errors.New("provider ec2: the cluster has no name")
	case c.Template == "":
		return nil, errors.New("provider ec2 needs --provider-option template=ID-OR-NAME[:VERSION]")
	case c.Market != "" && c.Market != OnDemand && c.Market != Spot && c.Market != SpotFirst:
		return nil, fmt.Errorf("provider ec2: market %q must be %s, %s or %s", c.Market, OnDemand, Spot, SpotFirst)
	}
	if err := checkTags(c.Tags); err != nil {
		return nil, fmt.Errorf("provider ec2: %w", err)
	}
	api, err := c.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("provider ec2: %w", err)
	}
	return &EC2{c, api}, nil
}

// Name implements provider.Provider.
func (e *EC2) Name() string { return "ec2" }

// Launch implements provider.Provider. Subnets are tried in turn, beginning at one that the token chooses, and the markets after another;
// each try has a client token of its own, and what an earlier one of them started is looked for first.
func (e *EC2) Launch(ctx context.Context, r provider.Request) (provider.Instance, error) {
	if err := provider.CheckToken(r.Token); err != nil {
		return provider.Instance{}, err
	}
	markets := []string{e.config.Market}
	if e.config.Market == SpotFirst {
		markets = []string{Spot, OnDemand}
	}
	subnets := e.config.Subnets
	if len(subnets) == 0 {
		subnets = []string{""}
	}
	tries := len(markets) * len(subnets)
	if tries > 1 {
		have, err := e.find(ctx, types.Filter{Name: aws.String("tag:" + TagToken), Values: []string{r.Token}})
		if err != nil || len(have) > 0 {
			return first(have), err
		}
	}
	var last error
	begin := fnv.New32a()
	begin.Write([]byte(r.Token))
	for _, market := range markets {
		for i := range subnets {
			subnet := subnets[(int(begin.Sum32()%uint32(len(subnets)))+i)%len(subnets)]
			token := r.Token
			if tries > 1 {
				token = fmt.Sprintf("%s-%x", r.Token, hash(market, subnet))
			}
			out, err := e.run(ctx, r.Token, token, market, subnet)
			if err == nil {
				return out, nil
			}
			last = err
			if k := provider.KindOf(err); k != provider.Capacity && k != provider.Quota {
				return provider.Instance{}, err
			}
		}
	}
	return provider.Instance{}, last
}

func hash(parts ...string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(strings.Join(parts, "\x00")))
	return h.Sum32()
}

func first(list []provider.Instance) provider.Instance {
	if len(list) == 0 {
		return provider.Instance{}
	}
	return list[0]
}

// run makes one request.
func (e *EC2) run(ctx context.Context, token, clientToken, market, subnet string) (provider.Instance, error) {
	in := &ec2.RunInstancesInput{
		MinCount: aws.Int32(1), MaxCount: aws.Int32(1), ClientToken: aws.String(clientToken), LaunchTemplate: e.template(),
		MetadataOptions:   &types.InstanceMetadataOptionsRequest{HttpTokens: types.HttpTokensStateRequired, HttpEndpoint: types.InstanceMetadataEndpointStateEnabled},
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: e.tags(token)}, {ResourceType: types.ResourceTypeVolume, Tags: e.tags(token)}},
	}
	if market == Spot {
		in.InstanceMarketOptions = &types.InstanceMarketOptionsRequest{MarketType: types.MarketTypeSpot,
			SpotOptions: &types.SpotMarketOptions{SpotInstanceType: types.SpotInstanceTypeOneTime, InstanceInterruptionBehavior: types.InstanceInterruptionBehaviorTerminate}}
	}
	if subnet != "" {
		in.SubnetId = aws.String(subnet)
	}
	if e.config.Type != "" {
		in.InstanceType = types.InstanceType(e.config.Type)
	}
	out, err := e.client.run(ctx, in)
	if err != nil {
		return provider.Instance{}, explain("start an instance", err)
	}
	if len(out.Instances) != 1 {
		return provider.Instance{}, fmt.Errorf("EC2 started %d instances instead of one", len(out.Instances))
	}
	i := instance(&out.Instances[0])
	i.Token = token // tags may come later than the answer
	return i, nil
}

func (e *EC2) template() *types.LaunchTemplateSpecification {
	name, version, _ := strings.Cut(e.config.Template, ":")
	if version == "" {
		version = "$Default"
	}
	t := &types.LaunchTemplateSpecification{Version: aws.String(version)}
	if strings.HasPrefix(name, "lt-") {
		t.LaunchTemplateId = aws.String(name)
	} else {
		t.LaunchTemplateName = aws.String(name)
	}
	return t
}

func (e *EC2) tags(token string) []types.Tag {
	out := []types.Tag{{Key: aws.String(TagCluster), Value: aws.String(e.config.Cluster)}, {Key: aws.String(TagToken), Value: aws.String(token)},
		{Key: aws.String("Name"), Value: aws.String("seepnode " + token)}}
	for _, key := range slices.Sorted(maps.Keys(e.config.Tags)) {
		out = append(out, types.Tag{Key: aws.String(key), Value: aws.String(e.config.Tags[key])})
	}
	return out
}

// Terminate implements provider.Provider. EC2 refuses a request whole when it does not know one of the ids: then they go one by one.
func (e *EC2) Terminate(ctx context.Context, ids []string) error {
	const most = 100 // of one request
	var errs []error
	for len(ids) > 0 {
		n := min(most, len(ids))
		err := e.terminate(ctx, ids[:n])
		if unknown(err) && n > 1 {
			err = nil
			for _, id := range ids[:n] {
				if one := e.terminate(ctx, []string{id}); !unknown(one) {
					err = errors.Join(err, one)
				}
			}
		}
		if !unknown(err) {
			errs = append(errs, explain("terminate instances", err))
		}
		ids = ids[n:]
	}
	return errors.Join(errs...)
}

func (e *EC2) terminate(ctx context.Context, ids []string) error {
	_, err := e.client.terminate(ctx, &ec2.TerminateInstancesInput{InstanceIds: ids})
	return err
}

// unknown says that EC2 does not know an instance: it is gone for long.
func unknown(err error) bool {
	api := (smithy.APIError)(nil)
	return errors.As(err, &api) && (api.ErrorCode() == "InvalidInstanceID.NotFound" || api.ErrorCode() == "InvalidInstanceID.Malformed")
}

// List implements provider.Provider.
func (e *EC2) List(ctx context.Context) ([]provider.Instance, error) { return e.find(ctx) }

// find gives the cluster's instances that have not ended.
func (e *EC2) find(ctx context.Context, filters ...types.Filter) ([]provider.Instance, error) {
	filters = append(filters, types.Filter{Name: aws.String("tag:" + TagCluster), Values: []string{e.config.Cluster}},
		types.Filter{Name: aws.String("instance-state-name"), Values: []string{"pending", "running", "shutting-down", "stopping", "stopped"}})
	var out []provider.Instance
	err := e.client.describe.each(ctx, filters, func(i *types.Instance) { out = append(out, instance(i)) })
	slices.SortFunc(out, func(a, b provider.Instance) int { return strings.Compare(a.ID, b.ID) })
	return out, err
}

// each calls do with all instances that match, page by page.
func (d describe) each(ctx context.Context, filters []types.Filter, do func(*types.Instance)) error {
	pages := ec2.NewDescribeInstancesPaginator(d, &ec2.DescribeInstancesInput{Filters: filters, MaxResults: aws.Int32(pageSize)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return explain("list instances", err)
		}
		for i := range page.Reservations {
			for j := range page.Reservations[i].Instances {
				do(&page.Reservations[i].Instances[j])
			}
		}
	}
	return nil
}

func instance(i *types.Instance) provider.Instance {
	out := provider.Instance{ID: aws.ToString(i.InstanceId), State: provider.Stopping, Spot: i.InstanceLifecycle == types.InstanceLifecycleTypeSpot,
		Address: aws.ToString(i.PrivateIpAddress)}
	if i.State != nil {
		switch i.State.Name {
		case types.InstanceStateNamePending:
			out.State = provider.Pending
		case types.InstanceStateNameRunning:
			out.State = provider.Running
		case types.InstanceStateNameStopping, types.InstanceStateNameStopped:
			out.State = provider.Stopped
		}
	}
	if i.LaunchTime != nil {
		out.LaunchedMs = i.LaunchTime.UnixMilli()
	}
	if i.Placement != nil {
		out.Zone = aws.ToString(i.Placement.AvailabilityZone)
	}
	for _, t := range i.Tags {
		if aws.ToString(t.Key) == TagToken {
			out.Token = aws.ToString(t.Value)
		}
	}
	return out
}
