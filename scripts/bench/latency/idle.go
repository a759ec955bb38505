package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/seepnode/seepnode/scripts/bench/host"
	"github.com/seepnode/seepnode/scripts/cluster"
)

// idleText is a query of four stages whose source has no row: nothing is ever written to its directory.
const idleText = `
SET 'parallelism.default' = '4';
CREATE TABLE lines (k STRING, v STRING, w STRING) WITH ('connector' = 'filesystem', 'path' = '%s', 'format' = 'csv', 'source.monitor-interval' = '1 s');
CREATE TABLE counts (n BIGINT, m BIGINT, PRIMARY KEY (n) NOT ENFORCED) WITH ('connector' = 'table');
INSERT INTO counts
SELECT n, COUNT(*) FROM (SELECT v, COUNT(*) AS n FROM (SELECT k, v, COUNT(*) AS c FROM lines GROUP BY k, v) GROUP BY v) GROUP BY n;
`

// idle measures a cluster without a query, then with one that has nothing to do.
func idle(ctx context.Context, o options, out *strings.Builder) (err error) {
	if _, statErr := os.Stat("/proc/self/stat"); errors.Is(statErr, os.ErrNotExist) {
		fmt.Fprint(out, "\nThe cost of idle nodes is not measured: there is no /proc here.\n")
		return nil
	}
	nodes, err := cluster.New(o.cluster())
	if err != nil {
		return err
	}
	defer func() { err = nodes.Stop(err) }()
	if err := nodes.Start(ctx, nodeCount); err != nil {
		return err
	}
	fmt.Fprint(out, "\n| idle | % of a core per node | the busiest | the others | switches of threads/s per node | greatest RSS of a node, MB | aim |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	alone, err := cost(ctx, nodes, o, "idle")
	if err != nil {
		return err
	}
	rss, err := rssOf(nodes)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| no query | %v | %.0f | 1 %%, 60 MB: %s |\n", alone, rss, verdict(alone.mean() <= 0.01 && rss <= 60))
	if _, err := addQuery(ctx, nodes, fmt.Sprintf(idleText, nodes.Dir()+"/empty"), 0); err != nil {
		return err
	}
	with, err := cost(ctx, nodes, o, "query")
	if err != nil {
		return err
	}
	if rss, err = rssOf(nodes); err != nil {
		return err
	}
	more := with.mean() - alone.mean()
	fmt.Fprintf(out, "| one query of 4 stages | %v | %.0f | %.2f more: 1 %%: %s |\n", with, rss, 100*more, verdict(more <= 0.01))
	return nodes.Check()
}

// usage is what nodes used in a while.
type usage struct {
	cores    []float64 // of each node, ascending
	switches float64   // a second and node
}

func (u usage) mean() float64 {
	sum := 0.0
	for _, c := range u.cores {
		sum += c
	}
	return sum / float64(len(u.cores))
}

// String is columns of the table.
func (u usage) String() string {
	last := len(u.cores) - 1
	return fmt.Sprintf("%.2f | %.2f | %.2f | %.0f", 100*u.mean(), 100*u.cores[last], 100*usage{cores: u.cores[:last]}.mean(), u.switches)
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

// cost is what the nodes use for a while, after they have settled.
func cost(ctx context.Context, nodes *cluster.Cluster, o options, name string) (u usage, err error) {
	if err := pause(ctx, o.idle/4); err != nil {
		return u, err
	}
	type counts struct {
		cpu      time.Duration
		switches int64
	}
	var before [nodeCount]counts
	count := func(i int) (c counts, err error) {
		pid := nodes.PID(nodes.Running()[i])
		if c.cpu, err = host.CPU(pid); err == nil {
			c.switches, err = host.Switches(pid)
		}
		return c, err
	}
	if err := nodes.Check(); err != nil { // all run
		return u, err
	}
	for i := range before {
		if before[i], err = count(i); err != nil {
			return u, err
		}
	}
	started := time.Now()
	if err := profiled(ctx, nodes, o, name); err != nil {
		return u, err
	}
	lasted := time.Since(started).Seconds()
	if err := nodes.Check(); err != nil {
		return u, err
	}
	for i, b := range before {
		now, err := count(i)
		if err != nil {
			return u, err
		}
		u.cores = append(u.cores, (now.cpu-b.cpu).Seconds()/lasted)
		u.switches += float64(now.switches-b.switches) / lasted / nodeCount
	}
	slices.Sort(u.cores)
	return u, nil
}

// cpuOf is the processor time that all agents have used; 0 where the system does not tell.
func cpuOf(nodes *cluster.Cluster) (time.Duration, error) {
	var all time.Duration
	for _, i := range nodes.Running() {
		used, err := host.CPU(nodes.PID(i))
		if errors.Is(err, os.ErrNotExist) {
			return 0, nodes.Check()
		}
		if err != nil {
			return 0, err
		}
		all += used
	}
	return all, nil
}

// rssOf is the greatest resident memory of an agent in MB.
func rssOf(nodes *cluster.Cluster) (float64, error) {
	most := 0.0
	for _, i := range nodes.Running() {
		rss, err := host.RSS(nodes.PID(i))
		if err != nil {
			return 0, err
		}
		most = max(most, float64(rss)/1e6)
	}
	return most, nil
}
