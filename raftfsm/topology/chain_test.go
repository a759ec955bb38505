package topology

import (
	"math/rand/v2"
	"testing"
)

func TestSumsOfChainsAddUpAndTellTheOneKeyGroupThatDiffers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		n := 1 + r.IntN(400)
		all := Range{KeyGroup(r.IntN(1000)), 0}
		all.To = all.From + KeyGroup(n)
		a := make([]uint64, n)
		for i := range a {
			a[i] = r.Uint64()
		}
		b := append([]uint64(nil), a...)
		cut := r.IntN(n + 1)
		if SumChains(all.From, a) != SumChains(all.From, a[:cut])+SumChains(all.From+KeyGroup(cut), a[cut:]) {
			t.Fatal("the sums of two parts are not that of both")
		}
		if g, ok := DifferingGroup(all, 0); ok {
			t.Fatalf("key group %d differs, and no chain does", g)
		}
		at := r.IntN(n)
		b[at] = r.Uint64()
		one := SumChains(all.From, a) - SumChains(all.From, b)
		if g, ok := DifferingGroup(all, one); !ok || g != all.From+KeyGroup(at) {
			t.Fatalf("key group %d, %v, want %d", g, ok, all.From+KeyGroup(at))
		}
		before := one
		b[at] = r.Uint64()
		if g, ok := DifferingGroup(all, SumChains(all.From, a)-SumChains(all.From, b)-before); !ok || g != all.From+KeyGroup(at) {
			t.Fatalf("by how much more it differs: key group %d, %v, want %d", g, ok, all.From+KeyGroup(at))
		}
		if n < 3 {
			continue
		}
		b[(at+1)%n], b[(at+2)%n] = r.Uint64(), r.Uint64()
		if g, ok := DifferingGroup(all, SumChains(all.From, a)-SumChains(all.From, b)); ok {
			t.Fatalf("key group %d alone, and three differ", g)
		}
	}
}
