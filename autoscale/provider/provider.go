package provider

import (
	"context"
	"errors"
	"fmt"
)

// Provider starts and ends instances of one cluster. Its methods may be called concurrently and end with their context.
type Provider interface {
	// Name is "local", "exec" or "ec2".
	Name() string
	// Launch starts an instance, or gives the one that was started under the token before. It does not wait until that runs.
	Launch(ctx context.Context, r Request) (Instance, error)
	// Terminate ends instances, whatever they do. Those that are not there any more are passed over.
	Terminate(ctx context.Context, ids []string) error
	// List gives all instances of the cluster that have not ended, ascending by ID.
	List(ctx context.Context) ([]Instance, error)
}

// Request asks for an instance.
type Request struct {
	// Token names the request: 1 to 48 letters, digits and "-".
	Token string
}

// Instance is a machine or process of a cluster.
type Instance struct {
	ID         string `json:"id"`
	Token      string `json:"token"`
	State      State  `json:"state"`
	LaunchedMs int64  `json:"launched_ms"` // milliseconds since 1970
	Zone       string `json:"zone,omitempty"`
	Spot       bool   `json:"spot,omitempty"`
	Address    string `json:"address,omitempty"` // for people
}

// State is what an instance does.
type State string

const (
	Pending State = "pending"
	Running State = "running"
	// Stopping: it ends; it counts for nothing any more.
	Stopping State = "stopping"
	// Stopped: it does not run and has not ended. Somebody stopped it and may start it again; its disk is there, and paid for.
	Stopped State = "stopped"
)

// Kind says what went wrong, and with it when to try again.
type Kind string

const (
	// Capacity: there is none just now; another type or zone may have some.
	Capacity Kind = "capacity"
	// Quota: the account may have no more. Somebody has to ask for more.
	Quota Kind = "quota"
	// Throttled: too many requests.
	Throttled Kind = "throttled"
	// Denied: credentials or rights are missing.
	Denied Kind = "denied"
	// Other is anything else.
	Other Kind = "other"
)

// Error is a provider's refusal.
type Error struct {
	Kind Kind
	Do   string // what a person can do; "" nothing
	Err  error
}

func (e *Error) Error() string {
	if e.Do == "" {
		return e.Err.Error()
	}
	return fmt.Sprintf("%v: %s", e.Err, e.Do)
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf is what went wrong; Other when the error does not say.
func KindOf(err error) Kind {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Kind
	}
	return Other
}

// CheckToken says what is wrong with a token.
func CheckToken(token string) error {
	if len(token) == 0 || len(token) > 48 {
		return fmt.Errorf("token %.40q has %d bytes; it must have 1 to 48", token, len(token))
	}
	for _, r := range token {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-') {
			return fmt.Errorf("token %q: only letters, digits and - are allowed", token)
		}
	}
	return nil
}
