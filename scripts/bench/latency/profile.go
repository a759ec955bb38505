package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/seepnode/seepnode/scripts/cluster"
)

// token lets profiles be asked for; nothing but the loopback hears it.
const token = "bench-latency-loopback"

// profileMin is the shortest time that a profile covers, its unit.
const profileMin = time.Second

func (o *options) cluster() cluster.Config {
	c := cluster.Config{Program: o.program, KeepLogs: o.logs, Flags: []string{"--autoscale", "off"}}
	if o.profile != "" {
		c.Token = token
	}
	return c
}

// profile writes a CPU profile of each agent over about a time, if they are asked for.
func profile(ctx context.Context, o options, nodes *cluster.Cluster, name string, lasts time.Duration) error {
	if o.profile == "" {
		return nil
	}
	var wg sync.WaitGroup
	running := nodes.Running()
	errs := make([]error, len(running))
	for k, i := range running {
		wg.Go(func() {
			a := nodes.Agent(i)
			errs[k] = fetchProfile(ctx, a.HTTP, filepath.Join(o.profile, name+"-"+a.Name+".pprof"), max(profileMin, lasts-2*time.Second))
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func fetchProfile(ctx context.Context, address, file string, lasts time.Duration) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, lasts/time.Second), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("a profile of %s: %w", address, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %.200s", resp.StatusCode, data)
	}
	if err != nil {
		return fmt.Errorf("a profile of %s: %w", address, err)
	}
	return os.WriteFile(file, data, 0o644)
}

// profiled waits for the idle time, profiling if that is asked for.
func profiled(ctx context.Context, nodes *cluster.Cluster, o options, name string) error {
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() { failed = profile(ctx, o, nodes, name, o.idle) })
	err := pause(ctx, o.idle)
	wg.Wait()
	return errors.Join(err, failed)
}
