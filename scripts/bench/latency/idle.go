package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	fmt.Fprint(out, "\n| idle | % of a core per node | greatest RSS of a node, MB | aim |\n| --- | --- | --- | --- |\n")
	alone, err := cost(ctx, nodes, o, "idle")
	if err != nil {
		return err
	}
	rss, err := rssOf(nodes)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "| no query | %.2f | %.0f | 1 %%, 60 MB: %s |\n", 100*alone, rss, verdict(alone <= 0.01 && rss <= 60))
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
	fmt.Fprintf(out, "| one query of 4 stages, more than none | %.2f | %.0f | 1 %%: %s |\n", 100*(with-alone), rss, verdict(with-alone <= 0.01))
	return nodes.Check()
}

func verdict(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

// cost is the mean share of a core that a node uses for a while, after it has settled.
func cost(ctx context.Context, nodes *cluster.Cluster, o options, name string) (float64, error) {
	if err := pause(ctx, o.idle/4); err != nil {
		return 0, err
	}
	before, err := cpuOf(nodes)
	if err != nil {
		return 0, err
	}
	started := time.Now()
	if err := profiled(ctx, nodes, o, name); err != nil {
		return 0, err
	}
	after, err := cpuOf(nodes)
	return (after - before).Seconds() / time.Since(started).Seconds() / nodeCount, err
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
