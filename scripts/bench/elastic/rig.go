package main

import (
	"context"

	"github.com/seepnode/seepnode/scripts/fleet"
)

// rig is a fleet under measurement.
type rig struct{ *fleet.Fleet }

// newRig starts a fleet with workers of so many cores each. Its layout is what people say, unless the flags name a policy.
func (b *bench) newRig(ctx context.Context, workers int, cores float64, flags ...string) (*rig, error) {
	if len(flags) == 0 {
		flags = []string{"--autoscale", "off"}
	}
	f, err := fleet.New(ctx, fleet.Config{Program: b.program, KeepLogs: b.logs, Workers: workers, Cores: cores, Flags: flags})
	if err != nil {
		return nil, err
	}
	return &rig{f}, nil
}
