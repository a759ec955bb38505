package providertest

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/seepnode/seepnode/autoscale/provider"
)

// Make gives a provider for a cluster. Providers of one test see the same machines: several leaders are several of them.
type Make func(t *testing.T, cluster string) provider.Provider

// Run holds a provider to what package provider says.
func Run(t *testing.T, make Make) {
	t.Run("what is launched is listed until it is terminated", func(t *testing.T) {
		p := make(t, "c1")
		a, b := launch(t, p, "c1-1"), launch(t, p, "c1-2")
		if a.ID == b.ID || a.ID == "" || a.Token != "c1-1" || a.LaunchedMs <= 0 {
			t.Fatalf("launched %+v and %+v", a, b)
		}
		running := wait(t, p, func(list []provider.Instance) bool {
			return len(list) == 2 && list[0].State == provider.Running && list[1].State == provider.Running
		})
		if running[0].ID >= running[1].ID {
			t.Errorf("instances do not ascend by id: %+v", running)
		}
		terminate(t, p, a.ID)
		left := wait(t, p, func(list []provider.Instance) bool { return len(live(list)) == 1 })
		if live(left)[0].ID != b.ID {
			t.Errorf("%s was terminated, left are %+v", a.ID, left)
		}
		terminate(t, p, a.ID, b.ID, a.ID)
		wait(t, p, func(list []provider.Instance) bool { return len(live(list)) == 0 })
	})
	t.Run("a token starts one instance, whoever repeats it", func(t *testing.T) {
		p := make(t, "c2")
		first := launch(t, p, "c2-1")
		again := launch(t, make(t, "c2"), "c2-1")
		if first.ID != again.ID {
			t.Errorf("the token was given %s and %s", first.ID, again.ID)
		}
		if list := wait(t, p, func(list []provider.Instance) bool { return len(list) > 0 }); len(list) != 1 {
			t.Errorf("%d instances of one token", len(list))
		}
		terminate(t, p, first.ID)
		wait(t, p, func(list []provider.Instance) bool { return len(live(list)) == 0 })
	})
	t.Run("another leader finds and ends them", func(t *testing.T) {
		a := launch(t, make(t, "c3"), "c3-1")
		p := make(t, "c3")
		if list := wait(t, p, func(list []provider.Instance) bool { return len(list) == 1 }); list[0].ID != a.ID || list[0].Token != "c3-1" {
			t.Errorf("launched %+v, another finds %+v", a, list)
		}
		terminate(t, p, a.ID)
		wait(t, p, func(list []provider.Instance) bool { return len(live(list)) == 0 })
	})
	t.Run("clusters do not see each other", func(t *testing.T) {
		p, other := make(t, "c4"), make(t, "c5")
		a := launch(t, p, "c4-1")
		wait(t, p, func(list []provider.Instance) bool { return len(list) == 1 })
		list, err := other.List(t.Context())
		if err != nil || len(list) != 0 {
			t.Errorf("another cluster lists %+v, %v", list, err)
		}
		terminate(t, p, a.ID)
		wait(t, p, func(list []provider.Instance) bool { return len(live(list)) == 0 })
	})
	t.Run("many are listed whole", func(t *testing.T) {
		p := make(t, "c6")
		var ids []string
		for i := range 12 {
			ids = append(ids, launch(t, p, "c6-"+strings.Repeat("x", i+1)).ID)
		}
		slices.Sort(ids)
		list := wait(t, p, func(list []provider.Instance) bool { return len(list) == 12 })
		for i := range list {
			if list[i].ID != ids[i] {
				t.Fatalf("the list has %s where %s is", list[i].ID, ids[i])
			}
		}
		terminate(t, p, ids...)
		wait(t, p, func(list []provider.Instance) bool { return len(live(list)) == 0 })
	})
	t.Run("what makes no sense is refused", func(t *testing.T) {
		p := make(t, "c7")
		for _, token := range []string{"", "a b", "../x", strings.Repeat("x", 65)} {
			if i, err := p.Launch(t.Context(), provider.Request{Token: token}); err == nil {
				t.Errorf("token %q was launched as %+v", token, i)
			}
		}
		if err := p.Terminate(t.Context(), nil); err != nil {
			t.Errorf("terminating nothing: %v", err)
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := p.Launch(ended, provider.Request{Token: "c7-1"}); err == nil {
			t.Error("launched with a context that had ended")
		}
	})
}

func launch(t *testing.T, p provider.Provider, token string) provider.Instance {
	t.Helper()
	i, err := p.Launch(t.Context(), provider.Request{Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func terminate(t *testing.T, p provider.Provider, ids ...string) {
	t.Helper()
	if err := p.Terminate(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
}

func live(list []provider.Instance) []provider.Instance {
	return slices.DeleteFunc(slices.Clone(list), func(i provider.Instance) bool { return i.State == provider.Stopping })
}

// wait lists until it is as it should be.
func wait(t *testing.T, p provider.Provider, good func([]provider.Instance) bool) []provider.Instance {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		list, err := p.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if good(list) {
			return list
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after 30 s the list is %+v", list)
		}
	}
}
