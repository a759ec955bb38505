//go:build unix && !linux

package cluster

import "errors"

var errNoNetwork = errors.New("network namespaces are there on Linux only")

// CanNetwork says why agents cannot have a network each here.
func CanNetwork() error { return errNoNetwork }

type network struct{}

func newNetwork() (*network, error)                  { return nil, errNoNetwork }
func (*network) host(int) (*launcher, string, error) { return nil, "", errNoNetwork }
func (*network) reach(int, int, bool) error          { return errNoNetwork }
func (*network) close() error                        { return nil }
