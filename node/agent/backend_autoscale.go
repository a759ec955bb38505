package agent

import (
	"cmp"

	"github.com/seepnode/seepnode/autoscale"
	"github.com/seepnode/seepnode/autoscale/pool"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/raftfsm"
)

// addLoads adds what this node, which leads, sees, wants and does.
func (b backend) addLoads(s *raftfsm.State, out *client.Autoscale) {
	now := b.a.scaler.stands()
	out.Policy, out.Leader, out.WantedNodes, out.Why = b.a.config.Autoscale, string(b.a.self.Node), now.nodes, now.text
	if now.nodes == 0 {
		out.Why = "the leader has not looked yet"
	}
	for i := range now.queries {
		if q := s.Incarnation(now.queries[i].id.Incarnation); q != nil {
			out.Loads = append(out.Loads, autoscaleQuery(q, &now.queries[i]))
		}
	}
	for _, n := range now.loads {
		out.Nodes = append(out.Nodes, client.AutoscaleNode{Name: string(n.Process.Node), Use: n.Use, Cores: n.Cores})
	}
	if now.pool != nil {
		out.Pool = b.pool(s, now.pool)
	}
}

func autoscaleQuery(q *raftfsm.Query, x *queryScaling) client.AutoscaleQuery {
	out := client.AutoscaleQuery{Name: q.Name, Waiting: cmp.Or(x.why, x.standing.Waiting), Hot: x.hot}
	if x.last != nil {
		out.Decided, out.Text = x.lastAt.UTC(), x.last.Text
	}
	for i := range x.plan.Stages {
		st := &x.plan.Stages[i]
		one := client.AutoscaleStage{Stage: i, Name: st.Name, Partitions: len(q.Stages[i].Partitions), Fixed: st.Fixed, Min: st.Min, Max: st.Max}
		if i < len(x.standing.Stages) {
			addFigures(&one, &x.standing.Stages[i])
		}
		out.Stages = append(out.Stages, one)
	}
	return out
}

func addFigures(one *client.AutoscaleStage, f *autoscale.Figures) {
	one.RowsInPerS, one.DemandRowsPerS, one.TrueRateRowsPerS = f.RowsIn, f.Demand, f.TrueRate
	one.FixedUse = f.Fixed
	one.UsedNodes, one.NeededNodes, one.HottestUse, one.LagMs = f.Now, f.Work, f.Hottest, int64(1000*f.LagS)
}

// pool tells of the pool.
func (b backend) pool(s *raftfsm.State, p *pool.Standing) *client.AutoscalePool {
	out := &client.AutoscalePool{Provider: b.a.config.Provider, Spares: b.a.config.Spares, MaxNodes: b.a.config.MaxNodes, Nodes: p.Have, Needed: p.Needed, Starting: p.Starting,
		Returnable: p.Pool, Waiting: p.Waiting, Error: p.Error, ErrorKind: string(p.ErrorKind), Problems: p.Problems}
	if p.Error != "" && p.RetryMs > 0 {
		out.Retry = client.UnixMs(p.RetryMs)
	}
	for _, i := range p.Instances {
		one := client.AutoscaleInstance{ID: i.ID, Token: i.Token, State: string(i.State), Launched: client.UnixMs(i.LaunchedMs), Zone: i.Zone, Spot: i.Spot, Address: i.Address}
		for _, n := range s.Nodes {
			if at := n.Tag(tagInstance); at != "" && (at == i.ID || at == i.Token) && n.Status != raftfsm.Left {
				one.Node = string(n.ID)
			}
		}
		out.Instances = append(out.Instances, one)
	}
	for _, e := range p.Events {
		out.Events = append(out.Events, client.AutoscaleEvent{Time: client.UnixMs(e.AtMs), Text: e.Text})
	}
	return out
}
