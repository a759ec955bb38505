package raftfsm

import (
	"slices"
	"strings"
)

// Cluster is what is said of the cluster as a whole.
type Cluster struct {
	ID       uint64 `json:"id"`      // 0: none yet
	Version  uint64 `json:"version"` // of the settings
	Settings []KV   `json:"settings,omitempty"`
}

// Setting is a setting's value; ok is false when it was never set.
func (c *Cluster) Setting(key string) (value string, ok bool) {
	i, ok := slices.BinarySearchFunc(c.Settings, key, func(kv KV, key string) int { return strings.Compare(kv.Key, key) })
	if !ok {
		return "", false
	}
	return c.Settings[i].Value, true
}

// ClusterInit gives the cluster its id, drawn at random by the first leader. Based on there being none.
type ClusterInit struct {
	ID       uint64 `json:"id"`
	Settings []KV   `json:"settings,omitempty"`
}

func (*ClusterInit) Kind() Kind { return KindClusterInit }

func (k *ClusterInit) apply(c *change) Outcome {
	switch have := c.state.Cluster.ID; {
	case k.ID == 0:
		return refused(Malformed, "cluster id 0 is no id")
	case have == k.ID:
		return already(have)
	case have != 0:
		return refused(OtherCluster, "the cluster has id %x, not %x", have, k.ID)
	}
	settings, out := merged(nil, k.Settings)
	if out.Code != 0 {
		return out
	}
	c.state.Cluster = Cluster{ID: k.ID, Version: 1, Settings: settings}
	return applied(k.ID)
}

// ClusterSet changes settings; an empty value removes one. Based on the version of the settings.
type ClusterSet struct {
	Version uint64 `json:"version"`
	Set     []KV   `json:"set"`
}

func (*ClusterSet) Kind() Kind { return KindClusterSet }

func (k *ClusterSet) apply(c *change) Outcome {
	have := c.state.Cluster
	if have.ID == 0 {
		return refused(NoCluster, "the cluster has no id yet")
	}
	if k.Version != have.Version {
		return stale(OldVersion, "settings have version %d, not %d", have.Version, k.Version)
	}
	settings, out := merged(have.Settings, k.Set)
	if out.Code != 0 {
		return out
	}
	if slices.Equal(settings, have.Settings) {
		return already(have.Version)
	}
	c.state.Cluster = Cluster{ID: have.ID, Version: have.Version + 1, Settings: settings}
	return applied(have.Version + 1)
}

// merged gives old with set applied, ascending by key.
func merged(old, set []KV) ([]KV, Outcome) {
	out := slices.Clone(old)
	for _, kv := range set {
		if kv.Key == "" || len(kv.Key) > MaxNameBytes || len(kv.Value) > MaxTextBytes {
			return nil, refused(OverLimit, "setting %.40q or its value is empty or too long", kv.Key)
		}
		i, ok := slices.BinarySearchFunc(out, kv.Key, func(have KV, key string) int { return strings.Compare(have.Key, key) })
		switch {
		case kv.Value == "" && ok:
			out = slices.Delete(out, i, i+1)
		case kv.Value == "":
		case ok:
			out[i].Value = kv.Value
		default:
			out = slices.Insert(out, i, kv)
		}
	}
	if len(out) > MaxSettings {
		return nil, refused(OverLimit, "%d settings are more than %d", len(out), MaxSettings)
	}
	if len(out) == 0 {
		out = nil
	}
	return out, Outcome{}
}
