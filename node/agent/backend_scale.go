package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seepnode/seepnode/node/api"
	"github.com/seepnode/seepnode/node/api/client"
	"github.com/seepnode/seepnode/node/coordinator"
	"github.com/seepnode/seepnode/raftfsm"
	"github.com/seepnode/seepnode/raftfsm/topology"
)

func (f front) QueryScale(ctx context.Context, name string) (*client.Scale, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Scale, error) { return b.QueryScale(ctx, name) },
		func(ctx context.Context, c *client.Client) (*client.Scale, error) { return c.QueryScale(ctx, name) })
}

func (f front) ScaleQuery(ctx context.Context, id client.RequestID, name string, r client.ScaleRequest) (*client.Scale, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Scale, error) { return b.ScaleQuery(ctx, id, name, r) },
		func(ctx context.Context, c *client.Client) (*client.Scale, error) {
			return c.ScaleQuery(client.WithRequestID(ctx, id), name, r)
		})
}

func (f front) DrainNode(ctx context.Context, id client.RequestID, name string, drain bool) (*client.Node, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Node, error) { return b.DrainNode(ctx, id, name, drain) },
		func(ctx context.Context, c *client.Client) (*client.Node, error) {
			if ctx = client.WithRequestID(ctx, id); drain {
				return c.DrainNode(ctx, name)
			}
			return c.UndrainNode(ctx, name)
		})
}

func (f front) Autoscale(ctx context.Context) (*client.Autoscale, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Autoscale, error) { return b.Autoscale(ctx) },
		func(ctx context.Context, c *client.Client) (*client.Autoscale, error) { return c.Autoscale(ctx) })
}

func (f front) PauseAutoscale(ctx context.Context, id client.RequestID, pause bool) (*client.Autoscale, error) {
	return asCurrent(ctx, f, func(ctx context.Context, b backend) (*client.Autoscale, error) {
		return b.PauseAutoscale(ctx, id, pause)
	},
		func(ctx context.Context, c *client.Client) (*client.Autoscale, error) {
			if ctx = client.WithRequestID(ctx, id); pause {
				return c.PauseAutoscale(ctx)
			}
			return c.ResumeAutoscale(ctx)
		})
}

func (b backend) QueryScale(_ context.Context, name string) (*client.Scale, error) {
	_, q, err := b.query(name)
	if err != nil {
		return nil, err
	}
	return scaleOf(q), nil
}

// scaleOf is what is so and what is wanted of a query's stages.
func scaleOf(q *raftfsm.Query) *client.Scale {
	out := &client.Scale{Query: q.Name, Stages: make([]client.StageScale, len(q.Stages))}
	for i, st := range q.Stages {
		x := q.StageScale(topology.StageID(i))
		out.Stages[i] = client.StageScale{Stage: i, Name: st.Name, KeyGroups: st.Groups, Partitions: coordinator.Partitions(st), Wanted: x.Want, Auto: x.Auto,
			Min: x.Min, Max: x.Max, Changing: coordinator.Moving(st)}
	}
	return out
}

// ScaleQuery says what is wanted; the coordinator brings it about. It is tried again when something else was said meanwhile.
func (b backend) ScaleQuery(ctx context.Context, id client.RequestID, name string, r client.ScaleRequest) (*client.Scale, error) {
	for ctx.Err() == nil {
		_, q, err := b.query(name)
		if err != nil {
			return nil, err
		}
		k := &raftfsm.QueryScale{Query: q.ID, ScaleVersion: q.ScaleVersion, Figures: []raftfsm.KV{{Key: "by", Value: "a person"}}}
		if k.Stages, k.Text, err = wantedStages(q, &r); err != nil {
			return nil, err
		}
		out, err := b.propose(ctx, id, k)
		switch {
		case err != nil:
			return nil, err
		case out.Done():
			return b.QueryScale(ctx, name)
		case out.Code == raftfsm.Refused:
			return nil, api.Conflict("%s", out.Text)
		}
		if !sleep(ctx, awaitEvery) {
			break
		}
	}
	return nil, api.Unavailable("query %s could not be scaled: what is wanted of it changed each time", name)
}

// wantedStages is what a request asks of stages, and how the history tells of it.
func wantedStages(q *raftfsm.Query, r *client.ScaleRequest) ([]raftfsm.StageScale, string, error) {
	var out []raftfsm.StageScale
	var words []string
	add := func(x raftfsm.StageScale, what string) {
		out = append(slices.DeleteFunc(out, func(have raftfsm.StageScale) bool { return have.Stage == x.Stage }), x)
		words = append(words, fmt.Sprintf("%s: %s", q.StageName(x.Stage), what))
	}
	if len(r.Stages) == 0 {
		for i := range q.Stages {
			if have := q.StageScale(topology.StageID(i)); have.Auto {
				x, what := automatic(q, have.Stage, cmp.Or(r.Min, have.Min), cmp.Or(r.Max, have.Max))
				if x.Max > 0 && x.Min > x.Max {
					return nil, "", api.Invalid("%s is to have %d to %d partitions, which makes no sense: give both limits", q.StageName(x.Stage), x.Min, x.Max)
				}
				add(x, what)
			}
		}
		if len(out) == 0 {
			return nil, "", api.Invalid("no stage of query %s is automatic: name those that the limits are of", q.Name)
		}
	}
	for _, want := range r.Stages {
		list, err := stagesNamed(q, want.Stage)
		if err != nil {
			return nil, "", err
		}
		for _, s := range list {
			if want.Partitions == 0 {
				add(automatic(q, s, r.Min, r.Max))
				continue
			}
			x := raftfsm.StageScale{Stage: s, Want: want.Partitions}
			switch groups := q.Stages[s].Groups; {
			case want.Stage == "*":
				x.Want = min(x.Want, groups)
			case x.Want > groups:
				return nil, "", api.Invalid("%s has %d key groups and so at most as many partitions, not %d", q.StageName(s), groups, x.Want)
			}
			add(x, fmt.Sprintf("%d partitions", x.Want))
		}
	}
	return out, short(strings.Join(words, "; ")), nil
}

// automatic is what is wanted of a stage that is automatic within limits, of which 0 is none.
func automatic(q *raftfsm.Query, s topology.StageID, least, most int) (raftfsm.StageScale, string) {
	groups := q.Stages[s].Groups
	x := raftfsm.StageScale{Stage: s, Auto: true, Min: min(least, groups), Max: min(most, groups)}
	switch now := coordinator.Partitions(q.Stages[s]); {
	case now < x.Min:
		x.Want = x.Min
	case x.Max > 0 && now > x.Max:
		x.Want = x.Max
	}
	what := "automatic"
	if x.Min > 0 || x.Max > 0 {
		what += fmt.Sprintf(", at least %d", max(1, x.Min))
	}
	if x.Max > 0 {
		what += fmt.Sprintf(" and at most %d", x.Max)
	}
	return x, what
}

// stagesNamed are the stages that a person means: "*", a number, a name, or a part of one that no other stage has.
func stagesNamed(q *raftfsm.Query, text string) ([]topology.StageID, error) {
	var all, parts []topology.StageID
	var names []string
	for i, st := range q.Stages {
		s := topology.StageID(i)
		all = append(all, s)
		if text == strconv.Itoa(i) || text == st.Name {
			return []topology.StageID{s}, nil
		}
		if strings.Contains(strings.ToLower(st.Name), strings.ToLower(text)) {
			parts = append(parts, s)
		}
		names = append(names, q.StageName(s))
	}
	switch {
	case text == "*":
		return all, nil
	case len(parts) == 1:
		return parts, nil
	case len(parts) > 1:
		return nil, api.Invalid("%q is in the names of %d stages of query %s: give a number; there are %s", text, len(parts), q.Name, strings.Join(names, ", "))
	}
	return nil, api.Invalid("query %s has no stage %q; there are %s", q.Name, text, strings.Join(names, ", "))
}

// DrainNode has a node give everything away, or ends that.
func (b backend) DrainNode(ctx context.Context, id client.RequestID, name string, drain bool) (*client.Node, error) {
	for ctx.Err() == nil {
		s, err := b.state()
		if err != nil {
			return nil, err
		}
		n := s.Node(topology.NodeID(name))
		if n == nil {
			return nil, api.NotFound("there is no node %s", name)
		}
		if drain && !slices.ContainsFunc(s.Nodes, func(o *raftfsm.Node) bool { return o.ID != n.ID && o.Stays() }) {
			return nil, api.Conflict("no other node could take what %s holds: start one first", name)
		}
		out, err := b.propose(ctx, id, &raftfsm.NodeDrain{Node: n.ID, Version: n.Version, Drain: drain})
		switch {
		case err != nil:
			return nil, err
		case out.Done():
			return b.Node(ctx, name)
		case out.Code == raftfsm.Refused:
			return nil, api.Conflict("%s", out.Text)
		}
		if !sleep(ctx, awaitEvery) {
			break
		}
	}
	return nil, api.Unavailable("node %s could not be changed: its record changed each time", name)
}

func (b backend) Autoscale(context.Context) (*client.Autoscale, error) {
	s, err := b.state()
	if err != nil {
		return nil, err
	}
	out := &client.Autoscale{Paused: coordinator.AutoscalePaused(s), Queries: []client.Scale{}}
	for _, q := range s.Queries {
		out.Queries = append(out.Queries, *scaleOf(q))
	}
	b.addLoads(s, out)
	return out, nil
}

// PauseAutoscale sets whether policies may change what is wanted.
func (b backend) PauseAutoscale(ctx context.Context, id client.RequestID, pause bool) (*client.Autoscale, error) {
	value := ""
	if pause {
		value = "true"
	}
	for ctx.Err() == nil {
		s, err := b.state()
		if err != nil {
			return nil, err
		}
		out, err := b.propose(ctx, id, &raftfsm.ClusterSet{Version: s.Cluster.Version, Set: []raftfsm.KV{{Key: coordinator.SettingAutoscalePaused, Value: value}}})
		switch {
		case err != nil:
			return nil, err
		case out.Done():
			return b.Autoscale(ctx)
		case out.Code == raftfsm.Refused:
			return nil, api.Conflict("%s", out.Text)
		}
		if !sleep(ctx, awaitEvery) {
			break
		}
	}
	return nil, api.Unavailable("the cluster's settings could not be changed: they changed each time")
}
