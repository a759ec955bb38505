package ec2

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	awshttp "github.com/aws/smithy-go/transport/http"
)

// Metadata is the metadata service of the machine that this process runs on, spoken to as IMDSv2 wants.
type Metadata struct{ client *imds.Client }

// NewMetadata makes one; endpoint is "" but in tests.
func NewMetadata(endpoint string) *Metadata { return MetadataThrough(endpoint, nil) }

// MetadataThrough makes one of which client makes the requests: for tests in virtual time, which sockets hold up. nil: the SDK's.
func MetadataThrough(endpoint string, client aws.HTTPClient) *Metadata {
	return &Metadata{imds.New(imds.Options{Endpoint: endpoint, HTTPClient: client, EnableFallback: aws.FalseTernary})}
}

// InstanceID is this machine's.
func (m *Metadata) InstanceID(ctx context.Context) (string, error) {
	id, err := m.get(ctx, "instance-id")
	if err != nil {
		return "", fmt.Errorf("ask the metadata service of EC2 which instance this is: %w", err)
	}
	return id, nil
}

// valueBytesMax bounds what is read of a value.
const valueBytesMax = 64 << 10

func (m *Metadata) get(ctx context.Context, path string) (string, error) {
	out, err := m.client.GetMetadata(ctx, &imds.GetMetadataInput{Path: path})
	if err != nil {
		return "", err
	}
	defer out.Content.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(io.LimitReader(out.Content, valueBytesMax))
	return strings.TrimSpace(string(text)), err
}

// Notice says that the machine goes.
type Notice struct {
	Action string // "terminate", "stop", "hibernate"
	At     time.Time
}

// Notice asks whether a spot interruption was announced; nil: none was.
func (m *Metadata) Notice(ctx context.Context) (*Notice, error) {
	text, err := m.get(ctx, "spot/instance-action")
	if response := (*awshttp.ResponseError)(nil); errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask the metadata service of EC2 for a spot interruption: %w", err)
	}
	var said struct {
		Action string    `json:"action"`
		Time   time.Time `json:"time"`
	}
	if err := json.Unmarshal([]byte(text), &said); err != nil || said.Action == "" {
		return nil, fmt.Errorf("the metadata service of EC2 announces an interruption in words that are not known: %.100q", text)
	}
	return &Notice{said.Action, said.Time}, nil
}

// Watch asks every so often until an interruption is announced, or until ctx ends: then it gives nil. What goes wrong is told and asked
// again.
func (m *Metadata) Watch(ctx context.Context, every time.Duration, wrong func(error)) *Notice {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		n, err := m.Notice(ctx)
		if n != nil {
			return n
		}
		if err != nil && ctx.Err() == nil {
			wrong(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
