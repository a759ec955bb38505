package ec2

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/smithy-go"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// client are the four calls that are made.
type client struct {
	run       func(context.Context, *ec2.RunInstancesInput, ...func(*ec2.Options)) (*ec2.RunInstancesOutput, error)
	describe  describe
	terminate func(context.Context, *ec2.TerminateInstancesInput, ...func(*ec2.Options)) (*ec2.TerminateInstancesOutput, error)
}

// describe implements the SDK's interface for its paginator.
type describe func(context.Context, *ec2.DescribeInstancesInput, ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error)

// DescribeInstances makes the call.
func (d describe) DescribeInstances(ctx context.Context, in *ec2.DescribeInstancesInput, options ...func(*ec2.Options)) (*ec2.DescribeInstancesOutput, error) {
	return d(ctx, in, options...)
}

// Access is how EC2 is reached. The zero value is what the SDK finds.
type Access struct {
	Region   string
	Endpoint string // of the EC2 API; "": Amazon's. Also of tests
	// Credentials are those of tests; nil: what the SDK finds.
	Credentials aws.CredentialsProvider
	// HTTP makes the requests of tests in virtual time, which sockets hold up; nil: the SDK's client.
	HTTP aws.HTTPClient
}

func (a Access) open(ctx context.Context) (client, error) {
	options := []func(*config.LoadOptions) error{config.WithRetryMode(aws.RetryModeAdaptive)}
	if a.Region != "" {
		options = append(options, config.WithRegion(a.Region))
	}
	if a.Credentials != nil {
		options = append(options, config.WithCredentialsProvider(a.Credentials))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return client{}, fmt.Errorf("load the configuration of AWS: %w", err)
	}
	if c.Region == "" {
		return client{}, errors.New("no region of AWS is known: give region=..., or set AWS_REGION")
	}
	api := ec2.NewFromConfig(c, func(o *ec2.Options) {
		if a.Endpoint != "" {
			o.BaseEndpoint = aws.String(a.Endpoint)
		}
		if a.HTTP != nil {
			o.HTTPClient = a.HTTP
		}
	})
	return client{run: api.RunInstances, describe: api.DescribeInstances, terminate: api.TerminateInstances}, nil
}

// kinds are the codes of EC2 that say when to try again.
var kinds = map[string]struct {
	kind provider.Kind
	do   string
}{
	"InsufficientInstanceCapacity":         {provider.Capacity, "the zone has no such machine just now; more subnets or other instance types in the launch template help"},
	"InsufficientHostCapacity":             {provider.Capacity, ""},
	"InsufficientReservedInstanceCapacity": {provider.Capacity, ""},
	"SpotMaxPriceTooLow":                   {provider.Capacity, "raise the price in the launch template, or use provider-option market=on-demand"},
	"Unsupported":                          {provider.Capacity, "the zone does not have this instance type: give other subnets"},
	"InsufficientFreeAddressesInSubnet":    {provider.Quota, "the subnet has no free address: give more with provider-option subnets"},
	"InstanceLimitExceeded":                {provider.Quota, "ask Amazon for a higher limit of running instances"},
	"VcpuLimitExceeded":                    {provider.Quota, "ask Amazon for a higher limit of vCPUs"},
	"MaxSpotInstanceCountExceeded":         {provider.Quota, "ask Amazon for a higher limit of spot instances, or use provider-option market=on-demand"},
	"VolumeLimitExceeded":                  {provider.Quota, "ask Amazon for a higher limit of volumes"},
	"RequestLimitExceeded":                 {provider.Throttled, ""},
	"Throttling":                           {provider.Throttled, ""},
	"ThrottlingException":                  {provider.Throttled, ""},
	"EC2ThrottledException":                {provider.Throttled, ""},
	"ResourceCountLimitExceeded":           {provider.Throttled, ""},
	"UnauthorizedOperation":                {provider.Denied, "give the role the rights that package autoscale/provider/ec2 names"},
	"AuthFailure":                          {provider.Denied, "the credentials are not valid, or the clock is wrong"},
	"InvalidClientTokenId":                 {provider.Denied, "the credentials are not valid"},
	"ExpiredToken":                         {provider.Denied, "the credentials have expired"},
	"RequestExpired":                       {provider.Denied, "the clock is wrong, or the credentials have expired"},
	"OptInRequired":                        {provider.Denied, ""},
	"PendingVerification":                  {provider.Denied, "Amazon has yet to verify the account"},
}

// explain says what went wrong with a call, and when to try again.
func explain(doing string, err error) error {
	if err == nil {
		return nil
	}
	out := &provider.Error{Kind: provider.Other, Err: fmt.Errorf("EC2: %s: %w", doing, err)}
	if api := (smithy.APIError)(nil); errors.As(err, &api) {
		out.Err = fmt.Errorf("EC2: %s: %s: %s", doing, api.ErrorCode(), api.ErrorMessage())
		if k, ok := kinds[api.ErrorCode()]; ok {
			out.Kind, out.Do = k.kind, k.do
		}
	}
	return out
}
