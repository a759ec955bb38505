package ec2

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// PeerConfig says which machines are nodes of a cluster.
type PeerConfig struct {
	Access
	TagKey, TagValue string
	Public           bool // their public addresses, for nodes outside of the network
}

// Peers gives the addresses of the machines that run and have the tag, ascending.
func Peers(ctx context.Context, c PeerConfig) ([]string, error) {
	if c.TagKey == "" || c.TagValue == "" {
		return nil, errors.New("tag_key or tag_value is missing")
	}
	api, err := c.open(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	err = api.describe.each(ctx, []types.Filter{{Name: aws.String("tag:" + c.TagKey), Values: []string{c.TagValue}},
		{Name: aws.String("instance-state-name"), Values: []string{"running"}}}, func(i *types.Instance) {
		address := aws.ToString(i.PrivateIpAddress)
		if c.Public {
			address = aws.ToString(i.PublicIpAddress)
		}
		if address != "" {
			out = append(out, address)
		}
	})
	slices.SortFunc(out, strings.Compare)
	if err == nil && len(out) == 0 {
		err = fmt.Errorf("no running instance has the tag %s=%s", c.TagKey, c.TagValue)
	}
	return out, err
}
